"""The reference summaries of a document at the three levels, by the rules of the design.

- sentence: the author's one-sentence summary (gold), else the abstract sentence
  most central to the abstract (silver).
- paragraph: the abstract (gold).
- section: one piece for each section of at least 50 words, in document order: the
  author's section summaries (gold); else the labelled paragraphs of a structured
  abstract, each given whole to the section it matches best by label and words
  (gold); else each abstract sentence, given to the section that holds its best
  single sentence by ROUGE-L recall (silver; after DANCER, Gidiotis and Tsoumakas
  2020). A piece left empty takes the section's own most central sentence, a *filler*.

ROUGE here is computed on lower-case runs of letters and digits, without stemming.
"""

import dataclasses
import re

import numpy as np

from htmtl_jax.documents import overlap
from htmtl_jax.documents.document import Document, iterate_sentences

MIN_SECTION_WORDS = 50
# A sentence of a long section is compared with so many others when a filler is
# looked for, which keeps the work linear in the section.
MAX_FILLER_COMPARISONS = 100
# Of the softmax over ROUGE gains, which are of the order of 0.1. At 0.03, half of the
# weight of a paper of 180 sentences falls on about 11 of them.
IMPORTANCE_TEMPERATURE = 0.03

# What the labels of structured abstracts and the headings of sections have in common.
_ROLE_PATTERNS = {
  role: re.compile(rf"\b(?:{words})", re.IGNORECASE)
  for role, words in {
    "background": "background|introduction|rationale|context|objective|aim|purpose|motivation",
    "methods": "method|material|design|experimental|procedure|patients and|subjects and",
    "results": "result|finding|observation",
    "conclusion": "conclusion|discussion|interpretation|significance|implication",
  }.items()
}


@dataclasses.dataclass(frozen=True)
class Piece:
  """One unit group of a summary.

  Attributes:
    sentences: in the order they are to be written.
    section: at the section level, the index of the section in the document.
    filler: whether a sentence of the source stands in for a missing reference.
  """

  sentences: tuple[str, ...]
  section: int | None = None
  filler: bool = False


@dataclasses.dataclass(frozen=True)
class Reference:
  """A reference summary at one level.

  Attributes:
    level: "sentence", "paragraph" or "section".
    kind: "gold" if its author wrote it for this purpose, "silver" if a rule made it.
    pieces: one at the sentence and paragraph levels; at the section level one for
      each eligible section, in document order.
  """

  level: str
  kind: str
  pieces: tuple[Piece, ...]

  @property
  def text(self) -> str:
    """All sentences, one a line, as ROUGE-Lsum wants them."""
    return "\n".join(s for piece in self.pieces for s in piece.sentences)

  @property
  def text_without_fillers(self) -> str:
    return "\n".join(s for piece in self.pieces if not piece.filler for s in piece.sentences)


def eligible_sections(document: Document) -> tuple[int, ...]:
  """The sections that get a piece in a section-level summary.

  Those with at least `MIN_SECTION_WORDS` words; where none has, the longest one
  (the first of equals); none only if the document has no body text at all.
  """
  num_words = [section.num_words for section in document.sections]
  eligible = tuple(c for c, n in enumerate(num_words) if n >= MIN_SECTION_WORDS)
  if not eligible and any(num_words):
    eligible = (num_words.index(max(num_words)),)
  return eligible


def make_references(document: Document) -> dict[str, Reference]:
  """The references of a document by level; a level without any source is absent."""
  references = {}
  one_sentence = tuple(document.summaries.get("one_sentence", ()))
  abstract = document.abstract_sentences
  if one_sentence:
    references["sentence"] = Reference("sentence", "gold", (Piece(one_sentence),))
  elif abstract:
    ids = overlap.Ids()
    centrality = overlap.compute_rouge_1_centrality([ids.encode(s) for s in abstract])
    central = abstract[int(np.argmax(centrality))]
    references["sentence"] = Reference("sentence", "silver", (Piece((central,)),))
  if abstract:
    references["paragraph"] = Reference("paragraph", "gold", (Piece(abstract),))
  section_reference = _make_section_reference(document)
  if section_reference is not None:
    references["section"] = section_reference
  return references


def _make_section_reference(document: Document) -> Reference | None:
  eligible = eligible_sections(document)
  given = document.section_summaries
  if not eligible or not (document.abstract_sentences or any(given)):
    return None
  ids = overlap.Ids()
  abstract = [[ids.encode(s) for s in paragraph] for paragraph in document.abstract]
  num_abstract_ids = len(ids)
  bodies = [_get_body_sentences(document, c) for c in eligible]
  encoded_bodies = [[ids.encode(s) for s in body] for body in bodies]

  kind, assigned = "gold", {c: list(given[c]) for c in eligible if c < len(given) and given[c]}
  if not assigned and abstract:
    match = _Matcher(abstract, encoded_bodies, num_abstract_ids, len(ids))
    # One label beside one paragraph is no structure: the abstract would go to one section whole.
    labels = document.abstract_labels
    if len(abstract) > 1 and len(labels) == len(abstract) and any(labels):
      roles = [get_roles(document.sections[c].heading) for c in eligible]
      for i, paragraph in enumerate(document.abstract):
        best = match.find_section_of_paragraph(i, get_roles(labels[i]), roles)
        assigned.setdefault(eligible[best], []).extend(paragraph)
    else:
      kind = "silver"
      for i, sentence in enumerate(document.abstract_sentences):
        assigned.setdefault(eligible[match.find_section_of_sentence(i)], []).append(sentence)
  if not assigned:
    return None

  pieces = []
  for c, body, encoded in zip(eligible, bodies, encoded_bodies, strict=True):
    if c in assigned:
      pieces.append(Piece(tuple(assigned[c]), section=c))
    else:
      centrality = overlap.compute_rouge_1_centrality(encoded, max_others=MAX_FILLER_COMPARISONS)
      pieces.append(Piece((body[int(np.argmax(centrality))],), section=c, filler=True))
  return Reference("section", kind, tuple(pieces))


def _get_body_sentences(document: Document, section: int) -> list[str]:
  return [s for paragraph in document.sections[section].paragraphs for s in paragraph]


def get_roles(heading: str) -> frozenset[str]:
  """The parts of a paper that a heading or an abstract label names; often none.

  "Materials and methods" names the methods, "Results and discussion" two parts.
  """
  return frozenset(role for role, pattern in _ROLE_PATTERNS.items() if pattern.search(heading))


class _Matcher:
  """Finds the section that covers a sentence or a paragraph of the abstract best.

  A section covers a sentence by the longest common subsequence with the best of
  its single sentences, a paragraph by the sum of that over the paragraph. Equals
  go to the earlier section; so does what shares no word with any section.
  """

  def __init__(self, abstract, bodies, num_abstract_ids: int, num_ids: int):
    """Prepares upper bounds of all pairs.

    Args:
      abstract: ids, by paragraph and sentence.
      bodies: ids of the eligible sections, by section and sentence.
      num_abstract_ids: ids below this one occur in the abstract; others cannot match.
      num_ids: number of ids in all.
    """
    self._abstract = [s for paragraph in abstract for s in paragraph]
    self._first = np.cumsum([0] + [len(paragraph) for paragraph in abstract])
    self._bodies = bodies
    self._sources = [s for body in bodies for s in body]
    self._starts = np.cumsum([0] + [len(body) for body in bodies])
    columns = np.full(num_ids, -1, np.int64)
    columns[:num_abstract_ids] = np.arange(num_abstract_ids)
    self._bounds = overlap.compute_pairwise_overlap(
      overlap.count_ids(self._abstract, columns, num_abstract_ids),
      overlap.count_ids(self._sources, columns, num_abstract_ids),
    )

  def find_section_of_sentence(self, index: int) -> int:
    """The position among `bodies` that holds the best sentence for abstract sentence `index`."""
    best, _ = overlap.find_best_by_rouge_l_recall(
      self._abstract[index], self._sources, self._bounds[index]
    )
    return int(np.searchsorted(self._starts, best, side="right")) - 1

  def find_section_of_paragraph(
    self, index: int, label_roles: frozenset[str], section_roles: list[frozenset[str]]
  ) -> int:
    """The position among `bodies` that paragraph `index` of the abstract matches best.

    Where headings name the same part of a paper as the label does, only those
    sections compete: by words alone, 8 of the 18 Methods paragraphs in a sample of
    biomedical papers went to another section, since all speak of the same things.
    """
    candidates = [c for c, roles in enumerate(section_roles) if roles & label_roles]
    if len(candidates) == 1:
      return candidates[0]
    covered = np.full(len(self._bodies), -1.0)
    for c in candidates or range(len(self._bodies)):
      covered[c] = 0.0
      for i in range(self._first[index], self._first[index + 1]):
        sentence = self._abstract[i]
        _, recall = overlap.find_best_by_rouge_l_recall(
          sentence, self._bodies[c], self._bounds[i, self._starts[c] : self._starts[c + 1]]
        )
        covered[c] += recall * len(sentence)
    return int(np.argmax(covered))


def compute_importance_labels(
  document: Document, temperature: float = IMPORTANCE_TEMPERATURE
) -> np.ndarray | None:
  """Soft labels of sentence importance from the abstract.

  The gain of a body sentence is the mean of its ROUGE-1 F and ROUGE-2 F against
  the whole abstract; the labels are softmax(gain / temperature) over the body.

  Args:
    document: with or without abstract.
    temperature: above 0; lower puts more weight on the best sentences.

  Returns:
    [S] float32 over the sentences of `iterate_sentences`, zero at headings, summing
    to 1; None without an abstract or without a body.

  Raises:
    ValueError: if `temperature` is not above 0.
  """
  if temperature <= 0:
    raise ValueError(f"temperature must be above 0, got {temperature}")
  places = list(iterate_sentences(document))
  is_body = np.array([not place.is_heading for place in places], bool)
  if not document.abstract_sentences or not is_body.any():
    return None
  ids = overlap.Ids()
  reference = np.array(ids.encode("\n".join(document.abstract_sentences)), np.int64)
  encoded = [ids.encode(place.text) for place in places if not place.is_heading]
  words, lengths = overlap.flatten_ids(encoded)
  rows = np.repeat(np.arange(len(encoded)), lengths)

  # A pair of neighbouring words is one number; pairs across sentences do not count.
  same_sentence = rows[1:] == rows[:-1]
  pairs = (words[:-1] * len(ids) + words[1:])[same_sentence]
  reference_pairs = reference[:-1] * len(ids) + reference[1:]

  f1 = overlap.compute_f_measure(
    _compute_clipped_overlap(words, rows, len(encoded), reference), lengths, len(reference)
  )
  f2 = overlap.compute_f_measure(
    _compute_clipped_overlap(pairs, rows[1:][same_sentence], len(encoded), reference_pairs),
    np.maximum(lengths - 1, 0),
    len(reference_pairs),
  )
  logits = (f1 + f2) / (2.0 * temperature)
  weights = np.exp(logits - logits.max())
  labels = np.zeros(len(places), np.float32)
  labels[is_body] = weights / weights.sum()
  return labels


def _compute_clipped_overlap(
  keys: np.ndarray, rows: np.ndarray, num_rows: int, reference: np.ndarray
) -> np.ndarray:
  """For each row, the sum over keys of min(count in the row, count in the reference).

  Args:
    keys: [K] int64.
    rows: [K] int64, the row each key belongs to.
    num_rows: R.
    reference: [M] int64 keys.

  Returns:
    [R] int64.
  """
  if not reference.size or not keys.size:
    return np.zeros(num_rows, np.int64)
  known, reference_counts = np.unique(reference, return_counts=True)
  columns = np.minimum(np.searchsorted(known, keys), known.size - 1)
  keep = known[columns] == keys
  counts = np.bincount(rows[keep] * known.size + columns[keep], minlength=num_rows * known.size)
  return np.minimum(counts.reshape(num_rows, known.size), reference_counts).sum(1)
