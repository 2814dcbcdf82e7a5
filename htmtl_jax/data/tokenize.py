"""A document and its references as integers, and summaries back as text.

The grammar of a summary (every mark is an id, never text):

    sentence    s EOS
    paragraph   s SENTENCE s SENTENCE s EOS
    section     SECTION s SENTENCE s SECTION s ... EOS

so at the section level every piece opens with SECTION. Each target token belongs
to a *unit*, which the loss treats as one thing: the one sentence (level sentence),
a sentence with the mark that ends it (paragraph), a section's piece with the mark
that opens it (section); EOS belongs to the last unit.
"""

from collections.abc import Iterable, Mapping
import dataclasses

import numpy as np

from htmtl_jax.data.tokenized import TokenizedDocument
from htmtl_jax.data.tokenizer import (
  EOS_ID,
  NUM_STRUCTURE_IDS,
  SECTION_ID,
  SENTENCE_ID,
  UNK_ID,
  Tokenizer,
)
from htmtl_jax.documents import references as references_lib
from htmtl_jax.documents.document import Document, SentencePlace, iterate_sentences
from htmtl_jax.errors import UserError
from htmtl_jax.levels import LEVELS


@dataclasses.dataclass(frozen=True)
class Limits:
  """How long things may get.

  Attributes:
    max_input_tokens: source tokens of a document.
    max_target_tokens: target tokens with marks and EOS, by level (sentence,
      paragraph, section).
  """

  max_input_tokens: int
  max_target_tokens: tuple[int, int, int] = (64, 512, 640)

  def __post_init__(self):
    if self.max_input_tokens < 1 or len(self.max_target_tokens) != len(LEVELS):
      raise UserError(
        f"config.data: max_input_tokens={self.max_input_tokens} must be at least 1, and "
        f"max_target_tokens={self.max_target_tokens} needs a maximum for each of {', '.join(LEVELS)}"
      )
    if min(self.max_target_tokens) < 1:
      raise UserError(
        f"config.data.max_target_tokens: {self.max_target_tokens}: each must be at least 1"
      )


def tokenize_document(
  document: Document,
  tokenizer: Tokenizer,
  limits: Limits,
  labels: bool = False,
  references: Mapping[str, references_lib.Reference] | None = None,
) -> TokenizedDocument:
  """Turns one document into flat arrays.

  Sentence number i of the arrays is sentence number i of `iterate_sentences`, so
  that reports find their way back; a sentence without a visible character is one
  UNK. Where the maximum is exceeded, whole sentences are dropped from the end, but
  a sentence that only headings precede is cut to fit instead, so that a document
  with text keeps some.

  Args:
    document: may be without abstract (empty targets) and even without text (S=0).
    tokenizer: the shared vocabulary.
    limits: maximum lengths; a longer target is cut and then has no EOS.
    labels: whether to compute importance labels from the abstract.
    references: `make_references(document)`, if the caller has it already.

  Returns:
    The arrays, as `TokenizedDocument` describes them.
  """
  places = list(iterate_sentences(document))
  sentences = [ids or [UNK_ID] for ids in tokenizer.encode_batch([p.text for p in places])]
  num_source_tokens = sum(map(len, sentences))
  sentences = _cut_source(sentences, places, limits.max_input_tokens)
  places = places[: len(sentences)]
  sentence_paragraph, paragraph_section = _number_parents(places)
  lengths = np.array([len(ids) for ids in sentences], np.int32)

  if references is None:
    references = references_lib.make_references(document)
  targets = [
    _encode_reference(references.get(level), level, tokenizer, max_tokens)
    for level, max_tokens in zip(LEVELS, limits.max_target_tokens, strict=True)
  ]
  planted = None
  if document.planted is not None:
    planted = np.array(
      [(p.section, p.paragraph, p.sentence) in document.planted for p in places], bool
    )
  importance_labels = None
  if labels:
    importance_labels = _cut_labels(references_lib.compute_importance_labels(document), len(places))
  return TokenizedDocument(
    id=document.id,
    token_ids=np.array([i for ids in sentences for i in ids], np.int32),
    sentence_lengths=lengths,
    sentence_paragraph=sentence_paragraph,
    paragraph_section=paragraph_section,
    is_heading=np.array([p.is_heading for p in places], bool),
    target_ids=tuple(np.array(ids, np.int32) for ids, _, _ in targets),
    target_units=tuple(np.array(units, np.int32) for _, units, _ in targets),
    num_pieces=len(references_lib.eligible_sections(document)),
    planted=planted,
    importance_labels=importance_labels,
    num_truncated=num_source_tokens - int(lengths.sum()),
    num_cut_target_tokens=sum(num_cut for _, _, num_cut in targets),
  )


def decode_summary(
  ids: Iterable[int], level: str, tokenizer: Tokenizer, keep_empty: bool = False
) -> list[list[str]]:
  """Text of a generated or a reference summary; the inverse of the grammar above.

  Any sequence of ids is understood: EOS or the end of the sequence ends it, marks
  that do not belong to the level are skipped, missing or repeated ones make no
  empty sentences or pieces, and text before the first SECTION is a piece.

  Args:
    ids: target ids, of any integer type.
    level: one of `LEVELS`.
    tokenizer: the shared vocabulary.
    keep_empty: keep a section's piece that holds no text, as [], so that piece j stays
      that of section j.

  Returns:
    The pieces, each a list of sentences: [[sentence]] at the sentence level, one
    piece at the paragraph level, one a section at the section level; [] where
    nothing was written.

  Raises:
    ValueError: if the level is unknown.
  """
  if level not in LEVELS:
    raise ValueError(f"unknown level {level!r}; known: {', '.join(LEVELS)}")
  pieces: list[list[list[int]]] = [[[]]]
  for i in ids:
    i = int(i)
    if i == EOS_ID:
      break
    if i == SECTION_ID and level == "section":
      pieces.append([[]])
    elif i in (SENTENCE_ID, SECTION_ID) and level != "sentence":
      pieces[-1].append([])
    elif i >= NUM_STRUCTURE_IDS:
      pieces[-1][-1].append(i)
  texts = [[tokenizer.decode(sentence).strip() for sentence in piece] for piece in pieces]
  texts = [[sentence for sentence in piece if sentence] for piece in texts]
  if keep_empty and level == "section":
    return texts if texts[0] else texts[1:]  # before the first marker there is no piece
  return [piece for piece in texts if piece]


def _cut_source(
  sentences: list[list[int]], places: list[SentencePlace], max_tokens: int
) -> list[list[int]]:
  """The first sentences (token ids) that fit in `max_tokens` together."""
  total = 0
  only_headings = True
  for s, ids in enumerate(sentences):
    if total + len(ids) > max_tokens:
      room = max_tokens - total
      cut = [ids[:room]] if only_headings and room else []
      return sentences[:s] + cut
    total += len(ids)
    only_headings = only_headings and places[s].is_heading
  return sentences


def _number_parents(places: list[SentencePlace]) -> tuple[np.ndarray, np.ndarray]:
  """Each sentence's paragraph [S] int32 and each paragraph's section [P] int32.

  Numbers have no gaps even where a record has an empty section or paragraph.
  """
  sentence_paragraph = np.zeros(len(places), np.int32)
  paragraph_section = []
  section = -1
  previous = None
  for s, place in enumerate(places):
    if previous is None or place.section != previous.section:
      section += 1
    if previous is None or (place.section, place.paragraph) != (
      previous.section,
      previous.paragraph,
    ):
      paragraph_section.append(section)
    sentence_paragraph[s] = len(paragraph_section) - 1
    previous = place
  return sentence_paragraph, np.array(paragraph_section, np.int32)


def _encode_reference(
  reference: references_lib.Reference | None, level: str, tokenizer: Tokenizer, max_tokens: int
) -> tuple[list[int], list[int], int]:
  """(target ids, target units, tokens cut off) of one reference, at most `max_tokens` long."""
  if reference is None:
    return [], [], 0
  texts = [text for piece in reference.pieces for text in piece.sentences]
  encoded = iter(tokenizer.encode_batch(texts))
  ids: list[int] = []
  units: list[int] = []
  unit = 0

  def add(new_ids):
    ids.extend(new_ids)
    units.extend([unit] * len(new_ids))

  num_pieces = 0
  for piece in reference.pieces:
    sentences = [e for e in (next(encoded) for _ in piece.sentences) if e]
    if not sentences:
      continue
    if level == "section":
      unit = num_pieces
      add([SECTION_ID])
    num_pieces += 1
    for s, sentence in enumerate(sentences):
      if s:
        add([SENTENCE_ID])
        unit += level == "paragraph"
      add(sentence)
  if ids:
    add([EOS_ID])
  return ids[:max_tokens], units[:max_tokens], max(len(ids) - max_tokens, 0)


def _cut_labels(labels: np.ndarray | None, num_sentences: int) -> np.ndarray | None:
  """Labels of the sentences that are left, [num_sentences] float32 summing to 1."""
  if labels is None:
    return None
  labels = np.asarray(labels[:num_sentences], np.float64)
  total = labels.sum()
  return (labels / total).astype(np.float32) if total > 0 else None
