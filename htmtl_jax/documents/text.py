"""A user's own papers: Markdown and plain text files to `Document`.

Both formats are first read into blocks (a heading with its level, and the
paragraphs under it), which `_assemble` folds into top-level sections. Reference
lists and acknowledgements are left out; an abstract that comes before the body
becomes `document.abstract`.
"""

import dataclasses
import os
import re

from absl import logging
from markdown_it import MarkdownIt

from htmtl_jax.documents.document import Document, Section
from htmtl_jax.documents.sentences import split_sentences
from htmtl_jax.errors import UserError

MARKDOWN_SUFFIXES = (".md", ".markdown")
TEXT_SUFFIXES = (".txt", ".text", "")
KNOWN_SUFFIXES = (".md", ".markdown", ".txt", ".text")

_NUMBERING = re.compile(
  r"^(?:section\s+)?(?:(\d+(?:\.\d+)*)\.?|[IVX]+\.|[A-Z]\.)\s+", re.IGNORECASE
)
_ABSTRACT_NAMES = frozenset(("abstract", "summary"))
_LEFT_OUT = re.compile(
  r"(?:references|bibliography|works cited|literature cited|reference list"
  r"|acknowledge?ments?)$"
)
_KNOWN_HEADINGS = frozenset(
  (
    "abstract",
    "summary",
    "introduction",
    "background",
    "motivation",
    "related work",
    "methods",
    "method",
    "methodology",
    "materials and methods",
    "material and methods",
    "model",
    "approach",
    "experiments",
    "experimental setup",
    "results",
    "findings",
    "results and discussion",
    "evaluation",
    "discussion",
    "limitations",
    "conclusion",
    "conclusions",
    "discussion and conclusions",
    "future work",
    "references",
    "bibliography",
    "acknowledgments",
    "acknowledgements",
    "acknowledgment",
    "acknowledgement",
    "appendix",
  )
)
_MAX_HEADING_WORDS = 12
_MAX_TITLE_WORDS = 30


@dataclasses.dataclass
class _Block:
  """A heading (level 1 is the highest, 0 is text before any heading) and what is under it."""

  level: int
  heading: str
  paragraphs: list[tuple[str, ...]] = dataclasses.field(default_factory=list)


def _normalize_heading(heading: str) -> str:
  return _NUMBERING.sub("", heading).strip(" .:").lower()


def _assemble(blocks: list[_Block], title: str, document_id: str) -> Document:
  """Folds blocks into top-level sections; subheadings go, their text stays in order."""
  top = min((b.level for b in blocks if b.level), default=1)
  sections, abstract = [], []
  current, inside_level = None, None  # the list that takes deeper blocks, and whose it is
  for block in blocks:
    name = _normalize_heading(block.heading)
    if inside_level is not None and block.level > inside_level:
      current.extend(block.paragraphs)  # below an abstract, or below a part left out
      continue
    inside_level = None
    has_body = any(paragraphs and heading for heading, paragraphs in sections)
    if block.heading and _LEFT_OUT.match(name):
      current, inside_level = [], block.level
    elif name in _ABSTRACT_NAMES and not abstract and not has_body:
      current, inside_level = abstract, block.level
    elif block.level <= top or not sections or current is not sections[-1][1]:
      sections.append((block.heading, []))
      current = sections[-1][1]
    current.extend(block.paragraphs)
  if abstract and not any(paragraphs for _, paragraphs in sections):
    sections, abstract = [("Abstract", abstract)] + sections, []
  return Document(
    id=document_id,
    title=title,
    abstract=tuple(abstract),
    sections=tuple(Section(h, tuple(p)) for h, p in sections if h or p),
  )


def _with_body(document: Document, headings: list[str]) -> Document:
  """Headings become the text where there is no other, so that one word is a document."""
  if any(section.paragraphs for section in document.sections):
    return document
  words = tuple(h for h in headings if h and not _LEFT_OUT.match(_normalize_heading(h)))
  sections = (Section("", (words,)),) if words else ()
  return dataclasses.replace(document, title="", sections=sections)


# --- Markdown ---------------------------------------------------------------------------------

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)?(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:[ \t]*(.+)$", re.MULTILINE)


def _get_inline_text(token) -> str:
  """The readable text of an inline token: no images, no HTML; links keep their words."""
  parts = []
  for child in token.children or ():
    if child.type in ("text", "text_special", "code_inline"):
      parts.append(child.content)
    elif child.type in ("softbreak", "hardbreak"):
      parts.append(" ")
  return " ".join("".join(parts).split())


def _read_markdown_blocks(text: str) -> list[_Block]:
  blocks = [_Block(0, "")]
  heading_level, table_depth, list_depth, items = 0, 0, 0, []
  for token in MarkdownIt("commonmark").enable("table").parse(text):
    if token.type == "heading_open" and not list_depth:
      heading_level = int(token.tag[1:])
    elif token.type == "heading_close":
      heading_level = 0
    elif token.type in ("table_open", "table_close"):
      table_depth += token.nesting
    elif token.type in (
      "bullet_list_open",
      "ordered_list_open",
      "bullet_list_close",
      "ordered_list_close",
    ):
      list_depth += token.nesting
      if not list_depth and items:  # a whole list, its items one after the other
        blocks[-1].paragraphs.append(tuple(items))
        items = []
    elif token.type == "inline" and not table_depth:
      words = _get_inline_text(token)
      if heading_level:
        if words:
          blocks.append(_Block(heading_level, words))
        continue
      sentences = split_sentences(words)
      if list_depth:
        items.extend(sentences)
      elif sentences:
        blocks[-1].paragraphs.append(tuple(sentences))
  return blocks if blocks[0].paragraphs else blocks[1:]


def parse_markdown(text: str, id: str) -> Document:  # pylint: disable=redefined-builtin
  """Parses CommonMark with tables.

  The only level-1 heading, if it is the first heading and others follow, is the
  title; the highest level among the rest makes the sections, deeper ones are folded
  into them. A list becomes one paragraph; code blocks, tables, images, HTML and
  front matter are left out.

  Args:
    text: the file's content.
    id: of the document.

  Returns:
    The document; without sections if the text holds no words.
  """
  title, text = "", text.replace("\r\n", "\n").replace("\r", "\n")
  front = _FRONT_MATTER.match(text)
  if front:
    text = text[front.end() :]
    found = _FRONT_TITLE.search(front.group(1) or "")
    title = found.group(1).strip().strip("'\"") if found else ""
  blocks = _read_markdown_blocks(text)
  headings = [b.heading for b in blocks]
  headed = [i for i, b in enumerate(blocks) if b.level]
  if len(headed) > 1 and [blocks[i].level for i in headed].count(1) == 1:
    first = blocks[headed[0]]
    if first.level == 1:
      title = first.heading
      blocks[headed[0]] = _Block(0, "", first.paragraphs)
  return _with_body(_assemble(blocks, title, id), headings)


# --- Plain text -------------------------------------------------------------------------------


def _guess_heading_level(line: str, stands_alone: bool) -> int:
  """1 or more if a line looks like a heading, its numbering telling the depth; else 0."""
  line = line.strip()
  words = line.split()
  if not words or len(words) > _MAX_HEADING_WORDS or line[-1] in ".,;!?":
    return 0
  numbering = _NUMBERING.match(line)
  level = numbering.group(1).count(".") + 1 if numbering and numbering.group(1) else 1
  if _normalize_heading(line) in _KNOWN_HEADINGS:
    return level
  letters = [c for c in line if c.isalpha()]
  if len(letters) > 3 and line.upper() == line and line.lower() != line:
    return level
  rest = line[numbering.end() :] if numbering else ""
  if stands_alone and numbering and numbering.group(1) and rest[:1].isupper():
    return level
  return 0


def parse_plain_text(text: str, id: str) -> Document:  # pylint: disable=redefined-builtin
  """Parses text whose paragraphs are separated by blank lines.

  A line counts as a heading if it is short, has no final full stop, and is
  numbered ("2 Methods", "3.1 Data"), in capitals, or a known name. A first line
  that is short and no heading is the title.

  Args:
    text: the file's content.
    id: of the document.

  Returns:
    The document; without sections if the text holds no words.
  """
  text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n")
  chunks = [c.strip("\n").split("\n") for c in re.split(r"\n[^\S\n]*\n", text) if c.strip()]
  title, blocks = "", [_Block(0, "")]
  for position, lines in enumerate(chunks):
    # A numbered line before text is a heading if it ends well before the text does;
    # otherwise it is the first line of a wrapped paragraph, or of a list.
    stands_alone = len(lines) == 1 or (
      len(lines[0]) < 0.6 * len(lines[1]) and not _NUMBERING.match(lines[1].strip())
    )
    level = _guess_heading_level(lines[0], stands_alone)
    line = " ".join(lines[0].split())
    if position == 0 and len(chunks) > 1 and len(lines) <= 2:
      whole = " ".join(" ".join(lines).split())
      is_known = _normalize_heading(line) in _KNOWN_HEADINGS or _NUMBERING.match(line)
      if not is_known and len(whole.split()) <= _MAX_TITLE_WORDS and whole[-1] not in ".,;:":
        title = whole
        continue
    if level:
      blocks.append(_Block(level, line))
      lines = lines[1:]
    sentences = split_sentences(" ".join(lines))
    if sentences:
      blocks[-1].paragraphs.append(tuple(sentences))
  blocks = blocks if blocks[0].paragraphs else blocks[1:]
  return _with_body(_assemble(blocks, title, id), [title] + [b.heading for b in blocks])


# --- Files ------------------------------------------------------------------------------------


def _decode(data: bytes, path: str) -> str:
  if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
    text = data.decode("utf-16", "replace")
  else:
    try:
      text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
      logging.warning("%s: not UTF-8 at byte %d; read as Latin-1", path, error.start)
      text = data.decode("latin-1")
  return text.replace("\x00", "")


def read_paper(path: str) -> Document:
  """Reads one file; its suffix decides the format, its name is the id.

  Raises:
    UserError: a missing file, a folder, an unknown suffix, or a file without text.
  """
  path = os.path.expanduser(str(path))
  if os.path.isdir(path):
    raise UserError(f"{path}: is a folder; give a file")
  if not os.path.exists(path):
    raise UserError(f"{path}: no such file; check the path")
  name = os.path.basename(path)
  stem, suffix = os.path.splitext(name)
  suffix = suffix.lower()
  if suffix not in MARKDOWN_SUFFIXES + TEXT_SUFFIXES:
    raise UserError(
      f"{path}: unknown suffix {suffix!r}; known: {', '.join(KNOWN_SUFFIXES)}, or none"
    )
  try:
    with open(path, "rb") as handle:
      text = _decode(handle.read(), path)
  except OSError as error:
    raise UserError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
  document = (parse_markdown if suffix in MARKDOWN_SUFFIXES else parse_plain_text)(text, stem)
  if not document.sections:
    raise UserError(f"{path}: no text in this file; give a paper with at least one sentence")
  return document


def read_papers(path: str) -> list[Document]:
  """Reads a file, or every file with a known suffix in a folder, sorted by name.

  Unreadable files of a folder are logged and left out. Of files that differ in
  their suffix only, all but the first have it in their id.

  Raises:
    UserError: a missing path, nothing to read in the folder, or nothing readable.
  """
  path = os.path.expanduser(str(path))
  if not os.path.isdir(path):
    return [read_paper(path)]
  names = sorted(
    n for n in os.listdir(path) if not n.startswith(".") and n.lower().endswith(KNOWN_SUFFIXES)
  )
  if not names:
    raise UserError(
      f"{path}: no papers in this folder; known suffixes: {', '.join(KNOWN_SUFFIXES)}"
    )
  documents, used, failures = [], set(), []
  for name in names:
    try:
      document = read_paper(os.path.join(path, name))
    except UserError as error:
      failures.append(str(error))
      logging.warning("%s; left out", error)
      continue
    if document.id in used:
      document = dataclasses.replace(document, id=name)
    used.add(document.id)
    documents.append(document)
  if not documents:
    raise UserError(f"{path}: none of {len(names)} files could be read; the first: {failures[0]}")
  return documents
