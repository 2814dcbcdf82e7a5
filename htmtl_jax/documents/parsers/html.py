"""Saved web pages of papers (arXiv's HTML, PubMed Central, any other) to `Document`."""

import re

from absl import logging
from selectolax.lexbor import LexborHTMLParser, LexborNode

from htmtl_jax.documents.document import Document, Paragraph
from htmtl_jax.documents.parsers.blocks import (
  ABSTRACT_NAMES,
  Block,
  assemble,
  is_left_out,
  normalize_heading,
)
from htmtl_jax.documents.parsers.html_limits import prepare_page
from htmtl_jax.documents.parsers.html_walk import LEFT_OUT_TAGS, Walker
from htmtl_jax.documents.parsers.summary_kinds import IGNORED, get_kind_of_title
from htmtl_jax.errors import UserError

_CHARSET = re.compile(
  rb"<meta[^>]{0,300}?charset\s*=\s*[\"']?\s*([\w-]{2,40})"
  rb"|<\?xml[^>]{0,200}encoding=[\"']([\w-]{2,40})",
  re.IGNORECASE,
)
_PAGE_ENCODING = re.compile(
  r"utf-?8|windows-\d+|cp\d+|iso-?8859-?\d+|latin-?\d|us-ascii|ascii|gb\d+|gbk|big5|koi8-[ru]"
  r"|shift[-_]jis|euc-(?:jp|kr)",
  re.IGNORECASE,
)
_HAS_TAG = re.compile(r"<[a-zA-Z!/]")
_EMPTY_ELEMENT = re.compile(
  r"<(script|style|title|textarea|iframe|a|div|span|p|i|b|em|strong|td|li)\b([^<>]{0,1000}?)/>",
  re.IGNORECASE,
)
_BODIES = ("article.ltx_document", ".ltx_document", "section.main-article-body")
_MAX_ARTICLES = 20
_MIN_SHARE = 0.3  # of the page's text, for an <article> to be the paper
_ABSTRACTS = (
  ".ltx_abstract, section.abstract, div.abstract, .abstractSection, .hlFld-Abstract, "
  'section#abstract, div#abstract, section[id^="abstract"], div[id^="abstract"], '
  'section[role="doc-abstract"]'
)
_MAX_ABSTRACTS = 20
_MAX_ABSTRACT_SHARE = 0.9
_NOT_OF_AN_ABSTRACT = frozenset(
  ("keywords", "keyword", "key words", "subject terms", "graphical abstract")
)


def _decode(data: bytes, where: str) -> str:
  """By byte order mark, then the page's own word, then UTF-8, then Latin-1."""
  if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
    return data.decode("utf-16", "replace")
  if data[:3] == b"\xef\xbb\xbf":
    return data[3:].decode("utf-8", "replace")
  found = _CHARSET.search(data[:4096])
  declared = (found.group(1) or found.group(2)).decode("ascii", "replace") if found else "utf-8"
  if not _PAGE_ENCODING.fullmatch(declared):
    declared = "utf-8"
  elif declared.lower() in ("iso-8859-1", "latin1", "ascii", "us-ascii"):
    declared = "windows-1252"  # what browsers take it for
  for encoding in (declared, "utf-8"):
    try:
      return data.decode(encoding)
    except (UnicodeDecodeError, LookupError):
      continue
  logging.warning("%s: neither %s nor UTF-8; read as Latin-1", where, declared)
  return data.decode("latin-1")


def _get_length(node: LexborNode) -> int:
  return len(node.text() or "")


def _find_body(tree: LexborHTMLParser) -> LexborNode | None:
  """The element that holds the paper: by the site's own mark, else the main part of the page."""
  for selector in _BODIES:
    found = tree.css_first(selector)
    if found is not None:
      return found
  body = tree.body or tree.root
  section = tree.css_first("div.tsec")
  if section is not None and section.parent is not None:
    return section.parent
  enough = _MIN_SHARE * _get_length(body) if body is not None else 0
  articles = sorted(tree.css("article")[:_MAX_ARTICLES], key=_get_length, reverse=True)
  for candidate in articles[:1] + tree.css("main, [role=main]")[:1]:
    if _get_length(candidate) >= enough:
      return candidate
  return body


def _get_content(tree: LexborHTMLParser, name: str) -> str:
  for meta in tree.css("meta"):
    attributes = meta.attributes
    if (attributes.get("name") or attributes.get("property") or "").lower() == name:
      return " ".join((attributes.get("content") or "").replace("\x00", "").split())
  return ""


def _take_title(blocks: list[Block], named: str, page_title: str) -> str:
  """The title; its heading loses its place among the sections.

  The only heading of level 1, or the first if it says what the page's metadata say, is
  the title; without either it is the page's <title>.
  """
  tops = [i for i, block in enumerate(blocks) if block.level == 1]
  heading = blocks[tops[0]].heading if tops else ""
  if heading and (len(tops) == 1 or heading.lower() in (named.lower(), page_title.lower())):
    blocks[tops[0]] = Block(0, "", blocks[tops[0]].paragraphs)
    return named or heading
  return named or page_title


def _drop_empty(blocks: list[Block]) -> list[Block]:
  """Without headings that nothing is under ("Share this page"), if there is any text."""
  kept = []
  for block in reversed(blocks):
    if block.paragraphs or (kept and kept[-1].level > block.level > 0):
      kept.append(block)
  return kept[::-1] or [block for block in blocks if block.heading]


def _take_abstract(blocks: list[Block]) -> tuple[list[Block], list[Paragraph], list[str]]:
  """The blocks without the one headed "Abstract" and those below it; what these say."""
  for i, block in enumerate(blocks):
    if normalize_heading(block.heading) in ABSTRACT_NAMES:
      end = i + 1
      while end < len(blocks) and blocks[end].level > block.level:
        end += 1
      _, paragraphs, labels = _read_summary(blocks[i:end])
      rest = blocks[:i] + blocks[end:]
      if paragraphs and any(b.paragraphs for b in rest):
        return rest, paragraphs, labels
    elif block.level and block.paragraphs:
      break  # the text has begun
  return blocks, [], []


def _read_summary(blocks: list[Block]) -> tuple[str | None, list[Paragraph], list[str]]:
  """Kind (None for the abstract itself), paragraphs and labels of a part that sums up."""
  headed = [block for block in blocks if block.heading]
  kind = get_kind_of_title(headed[0].heading) if headed else None
  paragraphs, labels = [], []
  for block in blocks:
    name = normalize_heading(block.heading)
    if not block.paragraphs or name in _NOT_OF_AN_ABSTRACT or is_left_out(block.heading):
      continue
    is_label = bool(name) and name not in ABSTRACT_NAMES and get_kind_of_title(name) is None
    if is_label:
      paragraphs.append(tuple(s for p in block.paragraphs for s in p))
      labels.append(block.heading.rstrip(" :."))
    else:
      paragraphs += block.paragraphs
      labels += [""] * len(block.paragraphs)
  return kind, paragraphs, labels if any(labels) else []


def _take_summaries(blocks: list[Block], summaries: dict[str, Paragraph]) -> list[Block]:
  """The blocks without those that, before the text begins, are headed "Highlights" or the like."""
  kept, has_begun = [], False
  for block in blocks:
    kind = get_kind_of_title(block.heading) if block.heading and not has_begun else None
    if kind is None:
      kept.append(block)
      is_abstract = normalize_heading(block.heading) in ABSTRACT_NAMES
      has_begun = has_begun or bool(block.level and block.paragraphs and not is_abstract)
    elif kind != IGNORED and block.paragraphs:
      summaries.setdefault(kind, tuple(s for p in block.paragraphs for s in p))
  return kept


def parse_html(data: bytes, id: str, path: str = "") -> Document:  # pylint: disable=redefined-builtin
  """Parses a saved page: headings make the sections, as in Markdown.

  Known by their marks: arXiv's HTML (LaTeXML) and PubMed Central, old and new. Of other
  pages the largest <article>, else <main>, else the whole body is read. Left out: menus,
  headers, footers, asides, forms, scripts, figures, tables, code, footnotes, references,
  appendices (LaTeXML's), what is hidden. Citations, formulas and scripts are written as
  by `parse_jats`.

  Args:
    data: the file's content.
    id: of the document.
    path: for messages.

  Returns:
    The document; without sections if the page holds no words.

  Raises:
    UserError: no HTML, or nested beyond what a paper is.
  """
  where = path or id
  text = _decode(data, where)
  if not _HAS_TAG.search(text):
    raise UserError(f"{where}: no HTML tag in this file; a text without tags has the suffix .txt")
  if text.lstrip()[:5] == "<?xml":
    text = _EMPTY_ELEMENT.sub(r"<\1\2></\1>", text)
  tree = LexborHTMLParser(prepare_page(text, where))
  page_title = tree.css_first("head title")
  page_title = " ".join((page_title.text() or "").split()) if page_title is not None else ""
  named = _get_content(tree, "citation_title")
  tree.strip_tags([tag for tag in LEFT_OUT_TAGS if tag not in ("head", "title")])
  body = _find_body(tree)
  if body is None:
    return assemble([], "", id)
  abstract, labels, summaries, read = [], [], {}, set()
  for node in tree.css(_ABSTRACTS)[:_MAX_ABSTRACTS]:
    if _is_inside(node, read) or _get_length(node) > _MAX_ABSTRACT_SHARE * _get_length(body):
      continue  # part of one that was read, or the whole page
    kind, paragraphs, names = _read_summary(Walker().walk(node))
    if not paragraphs:
      continue
    read.add(node.mem_id)
    if kind is None and not abstract:
      abstract, labels = paragraphs, names
    elif kind not in (None, IGNORED):
      summaries.setdefault(kind, tuple(s for p in paragraphs for s in p))
  blocks = Walker(frozenset(read)).walk(body)
  if not any(block.level == 1 for block in blocks) and not named:
    heading = tree.css_first("h1")
    named = " ".join((heading.text() or "").split()) if heading is not None else ""
  title = _take_title(blocks, named, page_title)
  blocks = _drop_empty(_take_summaries(blocks, summaries))
  if not abstract:
    blocks, abstract, labels = _take_abstract(blocks)
  return assemble(blocks, title if blocks else "", id, abstract, labels, summaries)


def _is_inside(node: LexborNode, others: set[int]) -> bool:
  parent = node
  while parent is not None and others:
    if parent.mem_id in others:
      return True
    parent = parent.parent
  return False
