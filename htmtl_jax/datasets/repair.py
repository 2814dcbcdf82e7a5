"""Repairs a paper of the raw release and makes a `Document` of it.

Under "intersect" (the default) the body is exactly the text of `article_text`, which is
what other systems read, and `sections` only says where each sentence belongs. What is in
`sections` alone goes; what a parent section and its child both hold is kept once. Under
"sections" the body is the text of `sections` without copies.

The release has no paragraphs, so consecutive sentences of a section are packed into
pseudo-paragraphs. No word is changed: the text stays lower-case and tokenised.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import re

from htmtl_jax.datasets.raw_release import RawPaper
from htmtl_jax.documents.document import Document, Paragraph, Section

TEXT_SOURCES = ("intersect", "sections")
PARAGRAPH_WORDS = 128  # of a pseudo-paragraph; the text is tokenised, so words are tokens
# A sentence that comes twice is a copy from so many words on. Shorter ones ("see table 1 .")
# come twice by chance.
MIN_COPY_WORDS = 8

# Labels of LaTeX, left in names: "[intro]introduction" (no space, unlike "[oiii] emission"),
# "methods [sec:methods]", "[ sec : methods ] methods".
_LABEL = re.compile(
  r"^\s*\[[^\[\]\s]+\](?=[\w@])"
  r"|\[[^\[\]\s]+:[^\[\]\s]+\]"
  r"|\[\s*(?:sub)*sec(?:t|tion)?\s*[:._-][^\[\]]*\]"
)


def _count(meaning: str):
  return dataclasses.field(default=0, metadata={"meaning": meaning})


@dataclasses.dataclass
class RepairCounts:
  """What was met and done; the report is made of the fields and their meanings."""

  papers: int = _count("papers repaired")
  empty_articles: int = _count("papers without any text")
  empty_abstracts: int = _count("papers without an abstract")
  unmatched_names: int = _count(
    "papers with more or fewer section names than sections: named section_1, section_2, ..."
  )
  labels: int = _count("section names with a LaTeX label, taken off")
  empty_sections: int = _count("sections without any text, left out with their names")
  foreign_sentences: int = _count(
    "sentences of `sections` that `article_text` does not hold, left out"
  )
  copied_sentences: int = _count("further copies of a sentence in `sections`, left out")
  repeated_sentences: int = _count(
    f"sentences of at least {MIN_COPY_WORDS} words that `article_text` itself repeats, left out"
  )
  homeless_sentences: int = _count(
    "sentences of `article_text` that no section holds, put behind the sentence before them"
  )
  moved_sentences: int = _count(
    "sentences that `sections` has in another order than `article_text`, left where they are there"
  )
  emptied_sections: int = _count(
    "sections that held copies or foreign sentences only, left out with their names"
  )
  sections: int = _count("sections kept")
  paragraphs: int = _count("pseudo-paragraphs made")
  sentences: int = _count("sentences kept")

  def add(self, other: "RepairCounts") -> None:
    for field in dataclasses.fields(self):
      setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


def repair(paper: RawPaper, text_source: str = "intersect") -> tuple[Document, RepairCounts]:
  """Makes a document, in time linear in the paper.

  Args:
    paper: as read.
    text_source: one of `TEXT_SOURCES`.

  Returns:
    The document, without sections if the article has no text, and what was done.

  Raises:
    ValueError: for an unknown `text_source`.
  """
  if text_source not in TEXT_SOURCES:
    raise ValueError(f"unknown text_source {text_source!r}; known: {', '.join(TEXT_SOURCES)}")
  counts = RepairCounts(papers=1, empty_abstracts=int(not paper.abstract))
  names = _clean_names(paper, counts)
  article = [s for s in paper.article if s]
  flat = [(c, s) for c, sentences in enumerate(paper.sections) for s in sentences if s]
  holds_text = {c for c, _ in flat}
  counts.empty_sections = len(paper.sections) - len(holds_text)
  if text_source == "intersect":
    placed = _drop_repeats(_place(article, flat, counts), counts)
  else:
    placed = _drop_copies(flat, counts)

  sections = []
  kept: dict[int | None, list[str]] = {}
  for c, sentence in placed:
    kept.setdefault(c, []).append(sentence)
  for c, sentences in kept.items():
    heading = "" if c is None else names[c]
    sections.append(Section(heading, tuple(pack_paragraphs(sentences))))
  counts.empty_articles = int(not sections)
  counts.emptied_sections = len(holds_text - kept.keys())
  counts.sections = len(sections)
  counts.paragraphs = sum(len(section.paragraphs) for section in sections)
  counts.sentences = len(placed)
  document = Document(
    id=paper.id,
    title="",
    sections=tuple(sections),
    abstract=(paper.abstract,) if paper.abstract else (),
    paragraphs_are="pseudo",
  )
  return document, counts


def pack_paragraphs(sentences: Iterable[str], max_words: int = PARAGRAPH_WORDS) -> list[Paragraph]:
  """Packs sentences in order: each paragraph takes as many as fit, and at least one."""
  paragraphs: list[list[str]] = []
  room = 0
  for sentence in sentences:
    num_words = len(sentence.split())
    if not paragraphs or num_words > room:
      paragraphs.append([])
      room = max_words
    paragraphs[-1].append(sentence)
    room -= num_words
  return [tuple(paragraph) for paragraph in paragraphs]


def _clean_names(paper: RawPaper, counts: RepairCounts) -> list[str]:
  """One name for each section."""
  if len(paper.section_names) != len(paper.sections):
    counts.unmatched_names = 1
    return [f"section_{c + 1}" for c in range(len(paper.sections))]
  names = []
  for name in paper.section_names:
    cleaned = " ".join(_LABEL.sub(" ", name).split())
    counts.labels += cleaned != name
    names.append(cleaned)
  return names


def _place(
  article: Sequence[str], flat: Sequence[tuple[int, str]], counts: RepairCounts
) -> list[tuple[int | None, str]]:
  """Gives every sentence of the article a section.

  A monotone match: each sentence of the article takes the first equal one of the sections
  behind the one that the sentence before it took. One that finds none takes the first equal
  one that is free anywhere; one that has no equal goes behind the sentence before it.

  Args:
    article: sentences in order.
    flat: (section, sentence) of all sections in order.
    counts: filled in.

  Returns:
    (section, sentence) for each sentence of the article, sections ascending; the section
    is None where no sentence of the article is in any section.
  """
  positions: dict[str, list[int]] = {}
  for position, (_, sentence) in enumerate(flat):
    positions.setdefault(sentence, []).append(position)

  # Both passes only ever move forward in the lists, which makes them linear.
  taken = [False] * len(flat)
  place: list[int | None] = [None] * len(article)
  next_index = dict.fromkeys(positions, 0)
  last = -1
  for h, sentence in enumerate(article):
    candidates = positions.get(sentence, ())
    i = next_index.get(sentence, 0)
    while i < len(candidates) and candidates[i] <= last:
      i += 1
    if i < len(candidates):
      place[h] = last = candidates[i]
      taken[last] = True
    if candidates:
      next_index[sentence] = i

  next_index = dict.fromkeys(positions, 0)
  for h, sentence in enumerate(article):
    if place[h] is not None or sentence not in positions:
      continue
    candidates, i = positions[sentence], next_index[sentence]
    while i < len(candidates) and taken[candidates[i]]:
      i += 1
    next_index[sentence] = i
    if i < len(candidates):
      place[h] = candidates[i]
      taken[candidates[i]] = True
      counts.moved_sentences += 1

  counts.homeless_sentences = sum(position is None for position in place)
  in_article = set(article)
  for is_taken, (_, sentence) in zip(taken, flat, strict=True):
    if not is_taken:
      counts.copied_sentences += sentence in in_article
      counts.foreign_sentences += sentence not in in_article

  keys = []
  before = -1  # homeless sentences at the very beginning open the first section
  for h, position in enumerate(place):
    before = before if position is None else position
    keys.append((before, h))
  keys.sort()
  first = next((position for position, _ in keys if position >= 0), None)
  placed = []
  for position, h in keys:
    position = first if position < 0 else position
    placed.append((None if position is None else flat[position][0], article[h]))
  return placed


def _drop_repeats(
  placed: Iterable[tuple[int | None, str]], counts: RepairCounts
) -> list[tuple[int | None, str]]:
  """Without long sentences that came before."""
  seen, kept = set(), []
  for section, sentence in placed:
    if sentence in seen and _is_long(sentence):
      counts.repeated_sentences += 1
    else:
      seen.add(sentence)
      kept.append((section, sentence))
  return kept


def _drop_copies(
  flat: Iterable[tuple[int, str]], counts: RepairCounts
) -> list[tuple[int | None, str]]:
  """Without sentences of an earlier section, and long ones that came before in their own."""
  first_section, kept = {}, []
  for section, sentence in flat:
    first = first_section.get(sentence)
    if first is not None and (first != section or _is_long(sentence)):
      counts.copied_sentences += 1
    else:
      first_section[sentence] = section
      kept.append((section, sentence))
  return kept


def _is_long(sentence: str) -> bool:
  return len(sentence.split(None, MIN_COPY_WORDS - 1)) == MIN_COPY_WORDS
