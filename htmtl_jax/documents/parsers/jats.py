"""JATS and NLM XML (PubMed Central, PLOS, eLife and others) to `Document`."""

import re

from lxml import etree

from htmtl_jax.documents.document import Document, Paragraph
from htmtl_jax.documents.parsers import jats_abstracts
from htmtl_jax.documents.parsers.blocks import Block, assemble, is_left_out
from htmtl_jax.documents.parsers.citations import tidy
from htmtl_jax.documents.parsers.jats_inline import read_line, read_text
from htmtl_jax.documents.sentences import split_sentences
from htmtl_jax.errors import UserError

_WRAPPERS = frozenset(("pmc-articleset", "OAI-PMH", "record", "GetRecord"))
_LEFT_OUT_KINDS = re.compile(
  r"supplementary|display-objects|figs|data-availability|coi|conflict|ethics|author-contrib|fund"
  r"|ack|ref-list|glossary|abbrev|availability",
  re.IGNORECASE,
)
_INSIDE_A_SECTION = frozenset(
  ("disp-quote", "statement", "speech", "verse-group", "disp-formula-group")
)


def _parse_xml(data: bytes, where: str) -> etree._Element:
  """The root, its names without namespaces.

  Nothing is fetched and no entity is expanded; what is nested more than 256 levels
  deep, or holds a text of more than 10 MB, is refused by libxml2.
  """
  parser = etree.XMLParser(
    resolve_entities=False,
    no_network=True,
    load_dtd=False,
    dtd_validation=False,
    attribute_defaults=False,
    huge_tree=False,
    recover=False,
    remove_comments=True,
    remove_pis=True,
  )
  try:
    root = etree.fromstring(data.lstrip(b" \t\r\n"), parser)
  except etree.XMLSyntaxError as error:
    reason = " ".join((error.msg or "it is damaged").split())
    reason = re.sub(r",? line \d+, column \d+.*", "", reason)
    if "XML_PARSE_HUGE" in reason:
      reason = "nested too deep, or one text too long, for a paper"
    raise UserError(
      f"{where}: not well-formed XML at line {error.lineno or 1}: {reason}; get the file again"
    ) from error
  for element in root.iter(etree.Element):
    if "}" in element.tag:
      element.tag = element.tag.rpartition("}")[2]
  return root


def _get_article(root: etree._Element, where: str) -> etree._Element:
  article = root
  if root.tag in _WRAPPERS:
    article = next(root.iter("article"), root)
  if article.tag != "article":
    hint = "; save a web page as .html" if root.tag == "html" else ""
    raise UserError(f"{where}: not JATS: the root element is <{root.tag}>, not <article>{hint}")
  if article.find("front") is None and article.find("body") is None:
    raise UserError(f"{where}: not JATS: <article> has neither <front> nor <body>")
  return article


def _is_formula_alone(paragraph: etree._Element) -> bool:
  return (
    len(paragraph) == 1
    and paragraph[0].tag == "disp-formula"
    and not (paragraph.text or "").strip()
    and not (paragraph[0].tail or "").strip()
  )


def _read_paragraphs(element: etree._Element, texts: list[str]) -> None:
  """Appends the raw texts under an element, those of nested sections in their places."""
  for child in element:
    name = child.tag
    if name == "disp-formula" or (name == "p" and _is_formula_alone(child)):
      if texts and not texts[-1].rstrip().endswith((".", "!", "?")):  # goes on with the sentence
        texts[-1] += f" {read_text(child)}"
    elif name in ("p", "list", "def-list"):
      texts.append(read_text(child))
    elif name == "sec":
      if not _is_section_left_out(child):
        _read_paragraphs(child, texts)
    elif name in _INSIDE_A_SECTION:
      _read_paragraphs(child, texts)


def _is_section_left_out(section: etree._Element) -> bool:
  kind = section.get("sec-type") or ""
  return bool(_LEFT_OUT_KINDS.match(kind)) or is_left_out(read_line(section.find("title")))


def _split(texts: list[str]) -> list[Paragraph]:
  paragraphs = (tuple(split_sentences(tidy(text))) for text in texts)
  return [paragraph for paragraph in paragraphs if paragraph]


def _read_body(body: etree._Element) -> list[Block]:
  """A block for every top-level section, and one for text before, between or after them."""
  blocks, loose = [], []
  for child in [*body, None]:
    if child is not None and child.tag != "sec":
      loose.append(child)
      continue
    if loose:
      holder = etree.Element("sec")
      holder.extend(loose)  # moves them; the tree is ours
      texts, loose = [], []
      _read_paragraphs(holder, texts)
      blocks.append(Block(1 if blocks else 0, "", _split(texts)))
    if child is not None and not _is_section_left_out(child):
      texts = []
      _read_paragraphs(child, texts)
      blocks.append(Block(1, read_line(child.find("title")), _split(texts)))
  with_text = [block for block in blocks if block.paragraphs]
  return with_text or [block for block in blocks if block.heading]


def _read_title(article: etree._Element) -> str:
  group = article.find("front/article-meta/title-group")
  if group is None:
    return ""
  title, subtitle = read_line(group.find("article-title")), read_line(group.find("subtitle"))
  return f"{title.rstrip(':')}: {subtitle}" if title and subtitle else title or subtitle


def parse_jats(data: bytes, id: str, path: str = "") -> Document:  # pylint: disable=redefined-builtin
  """Parses the main article of a JATS or NLM file, with or without namespaces.

  Top-level `sec` elements of the body are the sections, nested ones are folded into
  them in order; text outside them is a section with an empty heading. Left out: all of
  `back` (appendices too: they are what the abstract does not speak of), sub-articles,
  figures, tables, boxes, footnotes, supplementary material. Numeric citations go
  (`citations.tidy`), formulas become short plain text (`formulas`), superscripts
  "10^3", subscripts "H2O" where they are digits after a letter and "V_max" otherwise.

  Args:
    data: the file's content.
    id: of the document.
    path: for messages.

  Returns:
    The document.

  Raises:
    UserError: not well-formed, not JATS, or only an abstract.
  """
  where = path or id
  article = _get_article(_parse_xml(data, where), where)
  body = article.find("body")
  if body is None:
    raise UserError(f"{where}: this article has no <body>, only its front; get the full text")
  abstracts = jats_abstracts.read_abstracts(article)
  return assemble(
    _read_body(body),
    _read_title(article),
    id,
    abstracts.paragraphs,
    abstracts.labels,
    abstracts.summaries,
  )
