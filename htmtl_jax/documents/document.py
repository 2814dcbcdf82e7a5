"""The one record that everything upstream makes and everything downstream reads.

Parsers, corpus readers and the generator produce `Document`; tokenising,
packing, references, baselines and reports read only it. A document is a tree:

    document -> sections -> paragraphs -> sentences (plain strings)

Sub-sections are folded into their top-level section, in reading order. Text
without headings is one section whose heading is the empty string.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import functools

Paragraph = tuple[str, ...]  # its sentences, in order, none of them empty


@dataclasses.dataclass(frozen=True)
class Section:
  """A top-level section: a heading (may be empty) and its paragraphs."""

  heading: str
  paragraphs: tuple[Paragraph, ...]

  @functools.cached_property
  def num_words(self) -> int:
    """Words of the body, white-space separated; the heading does not count."""
    return sum(len(s.split()) for p in self.paragraphs for s in p)


@dataclasses.dataclass(frozen=True)
class Document:
  """One paper.

  Attributes:
    id: unique within a corpus; decides the split.
    title: may be empty; not an input of the model.
    sections: in reading order; every section has at least one paragraph or a
      heading, every paragraph at least one sentence.
    abstract: the author's abstract as paragraphs of sentences; empty when there
      is none (a user's own paper needs no abstract).
    abstract_labels: one label per abstract paragraph ("Methods", ...), or empty.
    summaries: the author's other summaries by kind ("one_sentence",
      "author_summary", "digest", ...), each a paragraph of sentences.
    section_summaries: the author's summary of each section, parallel to
      `sections` (an empty tuple for a section without one), or empty.
    paragraphs_are: "source" where the breaks are the author's, "pseudo" where a
      rule made them.
    planted: for generated papers only, the places (section, paragraph,
      sentence) of the sentences that matter; None where the truth is unknown.
  """

  id: str
  title: str
  sections: tuple[Section, ...]
  abstract: tuple[Paragraph, ...] = ()
  abstract_labels: tuple[str, ...] = ()
  summaries: Mapping[str, Paragraph] = dataclasses.field(default_factory=dict)
  section_summaries: tuple[Paragraph, ...] = ()
  paragraphs_are: str = "source"
  planted: frozenset[tuple[int, int, int]] | None = None

  @property
  def abstract_sentences(self) -> tuple[str, ...]:
    return tuple(s for p in self.abstract for s in p)

  @property
  def num_words(self) -> int:
    return sum(section.num_words for section in self.sections)


@dataclasses.dataclass(frozen=True)
class SentencePlace:
  """Where a sentence stands. Headings are sentences of a paragraph of their own.

  Attributes:
    section: index of the section in the document.
    paragraph: index of the paragraph in the section, or -1 for the heading.
    sentence: index of the sentence in the paragraph (0 for a heading).
    text: the sentence.
  """

  section: int
  paragraph: int
  sentence: int
  text: str

  @property
  def is_heading(self) -> bool:
    return self.paragraph < 0

  @property
  def section_id(self) -> str:
    return f"c{self.section}"

  @property
  def paragraph_id(self) -> str:
    """ "c2.h" for a heading, "c2.p0" for the first body paragraph."""
    return f"c{self.section}.h" if self.is_heading else f"c{self.section}.p{self.paragraph}"

  @property
  def sentence_id(self) -> str:
    return f"{self.paragraph_id}.s{self.sentence}"


def iterate_sentences(document: Document) -> Iterator[SentencePlace]:
  """Yields every sentence in reading order, each section's heading first.

  A non-empty heading is a sentence in a one-sentence paragraph of its own, so
  that the importance of a body paragraph speaks of the body only.
  """
  for c, section in enumerate(document.sections):
    if section.heading:
      yield SentencePlace(c, -1, 0, section.heading)
    for p, paragraph in enumerate(section.paragraphs):
      for s, text in enumerate(paragraph):
        yield SentencePlace(c, p, s, text)
