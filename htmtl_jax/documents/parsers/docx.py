"""DOCX (Office Open XML word processing) to `Document`.

python-docx opens the package and knows the styles; the body is read from its XML,
because content controls, tracked changes and formulas are no paragraphs to the library.
"""

import io
import re
import zipfile
import zlib

import docx
from docx.oxml.ns import nsmap, qn

from htmtl_jax.documents.document import Document
from htmtl_jax.documents.parsers.blocks import NUMBERING, Block, assemble, normalize_heading
from htmtl_jax.documents.parsers.docx_math import read_formula
from htmtl_jax.documents.parsers.latex_math import FORMULA
from htmtl_jax.documents.parsers.plain_text import KNOWN_HEADINGS
from htmtl_jax.documents.sentences import split_sentences
from htmtl_jax.errors import UserError

MAX_UNPACKED_BYTES = 256 << 20  # of all files in the package
MAX_XML_BYTES = 32 << 20  # of those that become trees in memory, ten times as large there
MAX_RATIO = 200  # of unpacked to packed; text packs to a tenth, bombs to a thousandth
_MIN_BYTES_FOR_RATIO = 16 << 20  # below this no ratio does harm
_MAX_MEMBERS = 10_000
_CHUNK = 1 << 20
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # .doc, and .docx with a password

_MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_MAX_STYLE_DEPTH = 20
_MAX_HEADING_WORDS = 12
_MAX_TITLE_WORDS = 30
_HEADING_NAME = re.compile(r"(?:heading|überschrift|titre|título|titolo|kop|rubrik)\s*(\d)$", re.I)
_LEFT_OUT_STYLE = re.compile(
  r"(?:toc|table of|caption|bibliography|header|footer|endnote|footnote)"
)
_FORMULA_LINE = re.compile(re.escape(FORMULA) + r"\W*\w{0,3}\W*")  # and its number
_BODY_LEVEL = 9  # an outline level that says "no heading"

# Elements whose children are read as if they stood in their place.
_TRANSPARENT = frozenset(
  qn("w:" + name)
  for name in "r hyperlink ins moveTo sdt sdtContent smartTag customXml fldSimple bdo dir".split()
)
_SPACES = frozenset(qn("w:" + name) for name in ("tab", "br", "cr", "ptab"))


def _check_package(data: bytes, document_id: str) -> None:
  """Raises UserError for what is no package of a sane size; unpacks it once to be sure."""
  if data.startswith(_OLD_OFFICE):
    raise UserError(
      f"{document_id}: an old .doc, or protected by a password; save it as .docx without one"
    )
  total, total_xml, limit = 0, 0, MAX_UNPACKED_BYTES
  if len(data) * MAX_RATIO < limit:
    limit = max(len(data) * MAX_RATIO, _MIN_BYTES_FOR_RATIO)
  too_large = UserError(
    f"{document_id}: unpacks to more than {limit / (1 << 20):,.0f} MiB, or to more than "
    f"{MAX_XML_BYTES >> 20} MiB of text, which no paper in DOCX needs; save it again without pictures"
  )
  try:
    with zipfile.ZipFile(io.BytesIO(data)) as package:
      members = package.infolist()
      if len(members) > _MAX_MEMBERS or sum(m.file_size for m in members) > limit:
        raise too_large
      if any(m.flag_bits & 1 for m in members):
        raise UserError(f"{document_id}: a DOCX with a password; save it without one")
      for member in members:  # what the directory says need not be true
        is_xml = member.filename.lower().endswith((".xml", ".rels"))
        with package.open(member) as handle:
          while chunk := handle.read(_CHUNK):
            total += len(chunk)
            total_xml += len(chunk) if is_xml else 0
            if total > limit or total_xml > MAX_XML_BYTES:
              raise too_large
  except (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
  ) as error:
    raise UserError(
      f"{document_id}: no DOCX, or a damaged one ({error}); open it in a word processor and "
      "save it again"
    ) from error


class _Styles:
  """What the styles of one file say of a paragraph."""

  def __init__(self, document):
    self._by_id = {}
    for element in document.styles.element.findall(qn("w:style")):
      self._by_id.setdefault(element.get(qn("w:styleId")), element)

  def _iterate(self, paragraph):
    """The properties of a paragraph itself, then its style and those it is based on."""
    style_id = _get_value(paragraph, "w:pPr/w:pStyle")
    yield "", paragraph
    for _ in range(_MAX_STYLE_DEPTH):  # styles can be based on each other in a circle
      style = self._by_id.get(style_id)
      if style is None:
        return
      yield _get_value(style, "w:name") or "", style
      style_id = _get_value(style, "w:basedOn")

  def get_kind(self, paragraph) -> tuple[str, int]:
    """ "title", "heading" with its level from 1, "left out" or "text"."""
    for name, element in self._iterate(paragraph):
      name = name.strip().lower()
      if name == "title":
        return "title", 0
      if _LEFT_OUT_STYLE.match(name):
        return "left out", 0
      outline = _get_value(element, "w:pPr/w:outlineLvl")
      if outline is not None and outline.isdecimal() and len(outline) == 1:
        return ("text", 0) if int(outline) == _BODY_LEVEL else ("heading", int(outline) + 1)
      heading = _HEADING_NAME.match(name)
      if heading:
        return "heading", int(heading.group(1)) or 1
    return "text", 0

  def is_in_list(self, paragraph) -> bool:
    for name, element in self._iterate(paragraph):
      number = _get_value(element, "w:pPr/w:numPr/w:numId")
      if number is not None:
        return number != "0"
      if name.strip().lower().startswith("list"):
        return True
    return False


def _get_value(element, path: str) -> str | None:
  """The w:val of what is at a path below an element."""
  found = element.find(path, nsmap)
  return None if found is None else found.get(qn("w:val"))


def _iterate_paragraphs(element):
  """Paragraphs in reading order; tables and text boxes are not entered."""
  for child in element:
    if child.tag == qn("w:p"):
      yield child
    elif child.tag in _TRANSPARENT:
      yield from _iterate_paragraphs(child)


def _add_text(element, parts: list[str]) -> None:
  for child in element:
    if child.tag == qn("w:t"):
      parts.append(child.text or "")
    elif child.tag in _SPACES:
      parts.append(" ")
    elif child.tag == qn("w:noBreakHyphen"):
      parts.append("-")
    elif child.tag == _MATH + "oMath":
      parts.append(read_formula(child))
    elif child.tag == _MATH + "oMathPara":
      parts.append(f" {read_formula(child, is_display=True)} ")
    elif child.tag in _TRANSPARENT:
      if child.tag != qn("w:r") or not _is_hidden(child):
        _add_text(child, parts)


def _is_hidden(run) -> bool:
  vanish = run.find("w:rPr/w:vanish", nsmap)
  return vanish is not None and vanish.get(qn("w:val")) not in ("0", "false")


def _read_text(paragraph) -> str:
  parts = []
  _add_text(paragraph, parts)
  return " ".join("".join(parts).split())


def _is_bold(paragraph) -> bool:
  """Whether every run with text is bold by its own setting."""
  runs = [run for run in paragraph.iter(qn("w:r")) if _has_text(run)]
  for run in runs:
    bold = run.find("w:rPr/w:b", nsmap)
    if bold is None or bold.get(qn("w:val")) in ("0", "false"):
      return False
  return bool(runs)


def _has_text(run) -> bool:
  return any((text.text or "").strip() for text in run.findall(qn("w:t")))


def _guess_level(paragraph, text: str) -> int:
  """The level of a heading that only looks like one, where no style says so; else 0."""
  if len(text.split()) > _MAX_HEADING_WORDS or text[-1] in ".,;?!":
    return 0
  if not _is_bold(paragraph) and normalize_heading(text) not in KNOWN_HEADINGS:
    return 0
  numbering = NUMBERING.match(text)
  return numbering.group(1).count(".") + 1 if numbering and numbering.group(1) else 1


def _read_blocks(document) -> tuple[list[Block], str]:
  """Blocks and the title."""
  styles = _Styles(document)
  found = []  # (kind, level, paragraph, text)
  for paragraph in _iterate_paragraphs(document.element.body):
    text = _read_text(paragraph)
    if text:
      found.append((*styles.get_kind(paragraph), paragraph, text))
  if not any(kind == "heading" for kind, *_ in found):
    found = [_guess_heading(*entry) for entry in found]
  title, blocks, is_in_list = "", [Block(0, "")], False
  for position, (kind, level, paragraph, text) in enumerate(found):
    was_in_list, is_in_list = is_in_list, False
    if kind == "title":
      title = title or text
    elif kind == "heading":
      # Without a style for it, a title is the first line and looks like a heading.
      is_title = not title and position == 0 and _starts_paper(found)
      if is_title:
        title = text
      else:
        blocks.append(Block(level, text))
    elif kind == "text" and (sentences := tuple(split_sentences(text))):
      if _FORMULA_LINE.fullmatch(text) and blocks[-1].paragraphs:
        *before, last = blocks[-1].paragraphs.pop()  # it belongs to the sentence before it
        blocks[-1].paragraphs.append((*before, f"{last} {FORMULA}"))
        continue
      is_in_list = styles.is_in_list(paragraph)
      if is_in_list and was_in_list:  # a whole list is one paragraph
        sentences = blocks[-1].paragraphs.pop() + sentences
      blocks[-1].paragraphs.append(sentences)
  return blocks if blocks[0].paragraphs else blocks[1:], title


def _guess_heading(kind: str, level: int, paragraph, text: str):
  if kind == "text":
    level = _guess_level(paragraph, text)
    kind = "heading" if level else kind
  return kind, level, paragraph, text


def _starts_paper(found) -> bool:
  """Whether the heading that comes first is the title: no known one, and alone on its level,
  or, where all headings are guessed, without a number while others have one or are known."""
  headings = [(level, text) for kind, level, _, text in found if kind == "heading"]
  level, text = headings[0]
  if normalize_heading(text) in KNOWN_HEADINGS or NUMBERING.match(text) or len(headings) < 2:
    return False
  if len(text.split()) > _MAX_TITLE_WORDS:
    return False
  others = headings[1:]
  return all(other > level for other, _ in others) or any(
    NUMBERING.match(other) or normalize_heading(other) in KNOWN_HEADINGS for _, other in others
  )


def parse_docx(data: bytes, id: str) -> Document:  # pylint: disable=redefined-builtin
  """Parses a DOCX file.

  Headings are paragraphs with an outline level or a heading style, their own or
  inherited; in a file without any, short bold lines and known names ("Methods"). Lists
  become one paragraph each. Tables, pictures, text boxes, footnotes, captions, comments
  and deleted text are left out.

  Args:
    data: the file's content.
    id: of the document.

  Returns:
    The document; without sections if the file holds no words.

  Raises:
    UserError: no DOCX, a damaged or protected one, or one that unpacks to too much.
  """
  _check_package(data, id)
  try:
    blocks, title = _read_blocks(docx.Document(io.BytesIO(data)))
  except Exception as error:  # the library lets through whatever a damaged part causes
    raise UserError(
      f"{id}: a damaged DOCX ({type(error).__name__}: {' '.join(str(error).split())[:120]}); "
      "open it in a word processor and save it again"
    ) from error
  return assemble(blocks, title, id)
