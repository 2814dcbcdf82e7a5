"""What every parser does last: blocks (a heading and what is under it) to a `Document`.

A parser reads its format into blocks in reading order; `assemble` folds them into
top-level sections, takes out the abstract, and leaves out what is no part of the
paper's argument (references, acknowledgements, funding and the like).
"""

from collections.abc import Mapping, Sequence
import dataclasses
import re

from htmtl_jax.documents.document import Document, Paragraph, Section

NUMBERING = re.compile(r"^(?:section\s+)?(?:(\d+(?:\.\d+)*)\.?|[IVX]+\.|[A-Z]\.)\s+", re.IGNORECASE)
ABSTRACT_NAMES = frozenset(("abstract", "summary"))
_LEFT_OUT = re.compile(
  r"(?:references?|references cited|bibliography|works cited|literature cited|reference list"
  r"|references and notes|footnotes|acknowledge?ments?(?: and .*)?"
  r"|(?:funding|financial support|financial disclosure)(?: (?:information|statement|sources?|and .*))?"
  r"|(?:declarations? of )?(?:conflicts? of interests?|competing (?:financial )?interests?)"
  r"(?: statement| disclosure)?|disclosures?|declarations?|ethics (?:statement|approval)(?: and .*)?"
  r"|(?:credit )?authors?['’]? ?(?:s['’] )?contributions?(?: statement)?|credit authorship .*"
  r"|(?:data|code)(?: and (?:materials?|code|software))? availability(?: statement)?"
  r"|availability of (?:supporting )?data(?: and materials?)?|data accessibility"
  r"|supplementary (?:materials?|information|data|files?)|supporting information"
  r"|additional (?:files?|information)|electronic supplementary material"
  r"|abbreviations?|list of abbreviations|consent for publication"
  r"|publisher['’]s note|peer review(?: file)?|pre-?publication history)$"
)


@dataclasses.dataclass
class Block:
  """A heading (level 1 is the highest, 0 is text before any heading) and what is under it."""

  level: int
  heading: str
  paragraphs: list[Paragraph] = dataclasses.field(default_factory=list)


def normalize_heading(heading: str) -> str:
  """Lower case, without numbering and final punctuation: "2.1. Methods:" is "methods"."""
  return NUMBERING.sub("", heading).strip(" .:").lower()


def is_left_out(heading: str) -> bool:
  """Whether what is under such a heading is no part of the paper's argument."""
  return bool(_LEFT_OUT.match(normalize_heading(heading)))


def assemble(
  blocks: Sequence[Block],
  title: str,
  document_id: str,
  abstract: Sequence[Paragraph] = (),
  abstract_labels: Sequence[str] = (),
  summaries: Mapping[str, Paragraph] | None = None,
) -> Document:
  """Folds blocks into top-level sections; subheadings go, their text stays in order.

  Args:
    blocks: in reading order.
    title: of the paper, or "".
    document_id: its id.
    abstract: where the format marks it; otherwise a block headed "Abstract" that comes
      before the body is taken.
    abstract_labels: one a paragraph of `abstract`, or none.
    summaries: the author's other summaries by kind.

  Returns:
    The document; if there is no text but headings, they are the text (`with_body`).
  """
  top = min((b.level for b in blocks if b.level), default=1)
  sections, abstract, is_marked = [], list(abstract), bool(abstract)
  section_level = 0  # of the last section's heading
  current, inside_level = None, None  # the list that takes deeper blocks, and whose it is
  has_body = False  # whether a section with a heading has text
  for block in blocks:
    if inside_level is not None and block.level > inside_level:
      current.extend(block.paragraphs)  # below an abstract, or below a part left out
      continue
    inside_level = None
    if block.heading and is_left_out(block.heading):
      current, inside_level = [], block.level
    elif normalize_heading(block.heading) in ABSTRACT_NAMES and not abstract and not has_body:
      current, inside_level = abstract, block.level
    elif (
      block.level <= top
      or not sections
      or (current is not sections[-1][1] and not 0 < section_level < block.level)
    ):
      sections.append((block.heading, []))
      current, section_level = sections[-1][1], block.level
    else:  # also where a part of this section was left out before
      current = sections[-1][1]
    current.extend(block.paragraphs)
    has_body |= bool(sections and current is sections[-1][1] and sections[-1][0] and current)
  if abstract and not is_marked and not any(paragraphs for _, paragraphs in sections):
    sections, abstract = [("Abstract", abstract)] + sections, []
  document = Document(
    id=document_id,
    title=title,
    abstract=tuple(abstract),
    abstract_labels=tuple(abstract_labels),
    summaries=dict(summaries or {}),
    sections=tuple(Section(h, tuple(p)) for h, p in sections if h or p),
  )
  return _with_body(document, [title] + [b.heading for b in blocks])


def _with_body(document: Document, headings: Sequence[str]) -> Document:
  """Headings become the text where there is no other, so that one word is a document."""
  if document.abstract or any(section.paragraphs for section in document.sections):
    return document
  words = tuple(h for h in headings if h and not is_left_out(h))
  sections = (Section("", (words,)),) if words else ()
  return dataclasses.replace(document, title="", sections=sections)
