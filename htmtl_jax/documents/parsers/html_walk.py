"""From the tree of an HTML page to blocks: headings, paragraphs, lists, formulas, citations."""

import re

from lxml import etree
from selectolax.lexbor import LexborNode

from htmtl_jax.documents.parsers import formulas
from htmtl_jax.documents.parsers.blocks import Block
from htmtl_jax.documents.parsers.citations import (
  BREAK,
  CITATION,
  RAISED_CITATION,
  clean,
  is_numeric,
  tidy,
)
from htmtl_jax.documents.parsers.html_limits import RENAMED
from htmtl_jax.documents.parsers.scripts import read_subscript, read_superscript
from htmtl_jax.documents.sentences import split_sentences

LEFT_OUT_TAGS = (
  "script style noscript template nav footer aside form button select option textarea input svg "
  "canvas iframe object embed video audio picture img figure figcaption dialog head title "
  "pre caption"
).split()
_LEFT_OUT = frozenset(LEFT_OUT_TAGS) | {"table", "header"}
_LEFT_OUT_CLASSES = frozenset(
  "ltx_bibliography ltx_appendix ltx_authors ltx_dates ltx_note ltx_figure ltx_table ltx_float "
  "ltx_listing ltx_TOC ltx_page_footer ltx_page_header ltx_page_navbar ltx_page_logo ltx_algorithm "
  "ltx_acknowledgements ltx_classification ltx_keywords ltx_pagination ltx_ERROR ltx_tag "
  "ref-list ref-list-sec fig fig-group table-wrap kwd-group fn-group ack floats-group boxed-text "
  "supplementary-material associated-data references reference-list reflist bibliography "
  "navbox toc mw-editsection sidebar breadcrumb breadcrumbs visually-hidden sr-only "
  "MathJax_Preview katex-html".split()
)
_DISPLAYED_CLASSES = frozenset(
  "ltx_equation ltx_equationgroup ltx_eqn_table ltx_displaymath disp-formula equation formula "
  "display-formula Equation".split()
)
_RENDERED_CLASSES = frozenset("MathJax MathJax_SVG MathJax_CHTML MJXc-display katex".split())
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_LISTS = frozenset(("ul", "ol", "dl"))
_BLOCKS = frozenset(  # all others, unknown ones too, stand in a line, as in a browser
  "address article aside blockquote body center dd details dialog dir div dl dt fieldset figcaption "
  "figure footer form frameset h1 h2 h3 h4 h5 h6 header hgroup html legend li listing main menu nav "
  "ol optgroup option p pre search section summary table tbody td tfoot th thead tr ul".split()
)
_LINK = RENAMED + "a"
_OWN_TEXT = frozenset(("p", "blockquote", "dd"))  # marked as running text by the page
_TRANSFORMED = frozenset((_LINK, "sup", "sub"))
_REFERENCE = re.compile(
  r"(?:^|[._-])(?:bib|bibr|refs?|cr|cit|cite|citeref|cite_note|reference)[-_.]?[a-z]*[-_.]?\d"
  r"|(?:^|^core-collateral-|^core-)(?:b|r)\d",
  re.IGNORECASE,
)
_INVISIBLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_SENTENCE_STOP = re.compile(r"[.!?:][\"'”’)\]]*$")
_MIN_LOOSE_WORDS = 5
_MENU_SHARE = 0.8


class Walker:
  """Walks a tree once, without recursion, and collects blocks.

  Attributes:
    left_out: `mem_id` of nodes not to enter; the caller has read them elsewhere.
  """

  def __init__(self, left_out: frozenset[int] = frozenset()):
    self.left_out = left_out
    self._headings: list[tuple[int, str]] = [(0, "")]
    # Of each paragraph: its heading's index, its text, whether the page marks it as text.
    self._paragraphs: list[tuple[int, str, bool]] = []
    self._parts: list[str] = []
    self._open_inline: list[tuple[int, int]] = []  # node and where its text begins in parts
    self._list_depth, self._is_menu = 0, False
    self._heading: int | None = None

  def walk(self, root: LexborNode) -> list[Block]:
    """The blocks under a node in reading order, the first without a heading."""
    node = root.child
    while node is not None:
      if self._enter(node) and node.child is not None:
        node = node.child
        continue
      while node.next is None:
        node = node.parent
        if node is None or node.mem_id == root.mem_id:
          self._flush(False)
          return self._make_blocks()
        self._leave(node)
      node = node.next
    self._flush(False)
    return self._make_blocks()

  def _enter(self, node: LexborNode) -> bool:
    """Takes in a node's beginning; whether its children are to be walked."""
    if node.is_text_node:
      self._parts.append(clean(node.text_content))
      return False
    name = node.tag
    if not node.is_element_node or node.mem_id in self.left_out or name in ("math", "br", "hr"):
      if name == "math":
        self._add_formula(node, node.attributes.get("display") == "block")
      elif name == "br":
        self._parts.append(" ")
      return False
    attributes = node.attributes
    classes = frozenset((attributes.get("class") or "").split())
    if not classes.isdisjoint(_DISPLAYED_CLASSES) and self._add_displayed(node):
      return False
    if not classes.isdisjoint(_RENDERED_CLASSES) or name == "mjx-container":
      maths = node.css_first("math")
      if maths is not None:
        self._add_formula(maths, False)
        return False
    if name in _LEFT_OUT or not classes.isdisjoint(_LEFT_OUT_CLASSES) or _is_hidden(attributes):
      self._parts.append(" " if name in _BLOCKS else "")
      return False
    if name in _TRANSFORMED:
      self._open_inline.append((node.mem_id, len(self._parts)))
    elif name in _BLOCKS:
      self._begin_block(node, name, classes)
    # A childless element is left at once: there is nothing to come back from.
    if node.child is None:
      self._leave(node)
    return True

  def _begin_block(self, node: LexborNode, name: str, classes: frozenset[str]) -> None:
    if self._heading is not None:
      self._parts.append(" ")
    elif name in _HEADINGS:
      self._flush(False)
      self._heading = node.mem_id
    elif self._list_depth:
      self._parts.append(BREAK if name != "dd" else " ")
      self._list_depth += name in _LISTS
    elif name in _LISTS:
      self._flush(False)
      self._list_depth = 1
      self._is_menu = _is_menu(node)
    elif "ltx_p" in classes:  # a paragraph of LaTeX is the div around; formulas stand between
      self._parts.append(" ")
    else:
      self._flush(False)

  def _leave(self, node: LexborNode) -> None:
    name = node.tag
    if name in _TRANSFORMED:
      if self._open_inline and self._open_inline[-1][0] == node.mem_id:
        start = self._open_inline.pop()[1]
        text = "".join(self._parts[start:])
        before = "".join(self._parts[max(0, start - 4) : start])[-1:]
        self._parts[start:] = [_transform(node, name, text, before)]
    elif name not in _BLOCKS:
      return
    elif self._heading is not None:
      self._parts.append(" ")
      if self._heading == node.mem_id:
        self._end_heading(_HEADINGS[name])
    elif self._list_depth:
      self._list_depth -= name in _LISTS
      if not self._list_depth:
        self._flush(not self._is_menu)
      elif name == "dt":
        self._parts.append(": ")
      else:
        self._parts.append(BREAK)
    elif "ltx_p" in (node.attributes.get("class") or "").split():
      self._parts.append(" ")
    else:
      self._flush(name in _OWN_TEXT or "ltx_para" in (node.attributes.get("class") or ""))

  def _end_heading(self, level: int) -> None:
    words = " ".join(tidy("".join(self._parts)).split())
    self._parts, self._open_inline, self._heading = [], [], None
    if words:
      self._headings.append((level, words))

  def _flush(self, is_marked: bool) -> None:
    """Ends a paragraph."""
    text = tidy("".join(self._parts))
    self._parts, self._open_inline = [], []
    if text:
      self._paragraphs.append((len(self._headings) - 1, text, is_marked))

  def _add_displayed(self, node: LexborNode) -> bool:
    found = node.css("math")
    if not found:
      return node.tag == "table"
    for maths in found[:3]:
      self._add_formula(maths, True)
    return True

  def _add_formula(self, maths: LexborNode, is_displayed: bool) -> None:
    limit = formulas.MAX_DISPLAYED if is_displayed else formulas.MAX_INLINE
    text = formulas.shorten(clean(_read_maths(maths)), limit)
    if not is_displayed:
      self._parts.append(text)
    elif any(part and not part.isspace() for part in self._parts) or self._list_depth:
      self._parts.append(f" {text} ")
    elif self._paragraphs and self._paragraphs[-1][0] == len(self._headings) - 1:
      heading, before, is_marked = self._paragraphs[-1]
      if not before.endswith((".", "!", "?")):  # goes on with the sentence before
        self._paragraphs[-1] = (heading, f"{before} {text}", is_marked)

  def _make_blocks(self) -> list[Block]:
    """Loose text (menus, dates) goes if the page has text marked as such."""
    blocks = [Block(level, heading) for level, heading in self._headings]
    has_marked = any(is_marked for _, _, is_marked in self._paragraphs)
    for heading, text, is_marked in self._paragraphs:
      is_loose = len(text.split()) < _MIN_LOOSE_WORDS or not _SENTENCE_STOP.search(text)
      if has_marked and not is_marked and is_loose:
        continue
      sentences = tuple(split_sentences(text))
      if sentences:
        blocks[heading].paragraphs.append(sentences)
    return blocks


def _is_hidden(attributes: dict[str, str | None]) -> bool:
  return (
    "hidden" in attributes
    or attributes.get("aria-hidden") == "true"
    or bool(_INVISIBLE.search(attributes.get("style") or ""))
  )


def _is_menu(node: LexborNode) -> bool:
  """Whether nearly all the words of a list are links."""
  linked = sum(len(link.text() or "") for link in node.css(_LINK))
  return linked > _MENU_SHARE * len("".join((node.text() or "").split()))


def _transform(node: LexborNode, name: str, text: str, before: str) -> str:
  if name == "sup":
    return read_superscript(text, before)
  if name == "sub":
    return read_subscript(text, before)
  target = node.attributes.get("href") or ""
  if "#" in target and _REFERENCE.search(target.rpartition("#")[2]):
    if text.strip() and is_numeric(text.replace("^", "")):
      return RAISED_CITATION if "^" in text else CITATION
  return text


def _read_maths(maths: LexborNode) -> str:
  """The TeX that LaTeXML and KaTeX leave beside their MathML, else the MathML."""
  source = maths.attributes.get("alttext") or ""
  if not source:
    note = maths.css_first('annotation[encoding="application/x-tex"]')
    source = note.text() if note is not None else ""
  text = formulas.read_tex(source) if source else ""
  if text and text != formulas.FORMULA:
    return text
  parser = etree.XMLParser(
    resolve_entities=False, no_network=True, load_dtd=False, recover=True, remove_comments=True
  )
  markup = maths.html or ""
  if len(markup) > formulas.MAX_MARKUP:
    return formulas.FORMULA
  root = etree.fromstring(markup.encode("utf-8", "replace"), parser)
  return formulas.read_mathml(root).strip() if root is not None else ""
