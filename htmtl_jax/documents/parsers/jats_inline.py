"""The running text of JATS elements, with citations, formulas and scripts made plain text."""

import html.entities
import re

from lxml import etree

from htmtl_jax.documents.parsers import formulas
from htmtl_jax.documents.parsers.citations import (
  BREAK,
  CITATION,
  RAISED_CITATION,
  clean,
  is_numeric,
  tidy,
)
from htmtl_jax.documents.parsers.scripts import read_subscript, read_superscript

_LEFT_OUT = frozenset(
  "fig fig-group table-wrap table-wrap-group table supplementary-material fn fn-group media graphic "
  "inline-graphic boxed-text chem-struct-wrap chem-struct label caption object-id ref-list index-term "
  "permissions attrib code preformat sec-meta related-article related-object def-head term-head "
  "graphics alt-text long-desc private-char question-wrap".split()
)
_ON_ITS_OWN = frozenset(
  "p list list-item def-list def-item disp-quote statement speech title".split()
)
_MARKERS = frozenset(
  "fn table-fn author-notes corresp aff contrib".split()
)  # of notes, not of text
_REFERENCE_ID = re.compile(r"(?:b|r|ref|bib|bibr|cr|cit)[-_.a-z]*\d", re.IGNORECASE)
_FORMULAS = frozenset("inline-formula disp-formula math tex-math".split())


def read_text(element: etree._Element) -> str:
  """The raw text of an element, marks of `citations` in it; `citations.tidy` ends the work.

  Recursive; libxml2 refuses what is nested more than 256 levels deep.
  """
  if element.tag in _FORMULAS:
    return _read_formula(element)
  parts = [clean(element.text)]
  for child in element:
    before = next((part for part in reversed(parts) if part), "")[-1:]
    parts += (_read_child(child, before), clean(child.tail))
  return "".join(parts)


def read_line(element: etree._Element | None) -> str:
  """The readable text of a title or heading, on one line; "" if there is no such element."""
  return "" if element is None else " ".join(tidy(read_text(element)).split())


def _read_child(child: etree._Element, before: str) -> str:
  name = child.tag
  if name is etree.Entity:
    return clean(html.entities.html5.get(f"{child.name};", ""))
  if not isinstance(name, str):
    return ""
  if name in _LEFT_OUT:
    return " "
  if name == "xref":
    return _read_reference(child)
  if name == "sup":
    return read_superscript(read_text(child), before)
  if name == "sub":
    return read_subscript(read_text(child), before)
  if name in _FORMULAS:
    return _read_formula(child)
  if name == "alternatives":
    return _read_alternatives(child)
  if name == "break":
    return " "
  if name == "abbrev":  # without the definition inside it
    return clean(child.text) + "".join(clean(c.tail) for c in child)
  if name == "term":
    return read_text(child).strip() + ": "
  if name == "def":
    return read_text(child).replace(BREAK, " ")
  if name in _ON_ITS_OWN:
    return f"{BREAK}{read_text(child)}{BREAK}"
  return read_text(child)


def _read_reference(xref: etree._Element) -> str:
  kind, text = xref.get("ref-type", ""), read_text(xref)
  if kind in _MARKERS:
    return ""
  if kind == "bibr" or (not kind and _REFERENCE_ID.match(xref.get("rid", ""))):
    if is_numeric(text.replace("^", "")):
      return CITATION if xref.find("sup") is None else RAISED_CITATION
  return text


def _read_formula(element: etree._Element) -> str:
  """MathML first, then TeX, then whatever is written in letters."""
  is_displayed = element.tag == "disp-formula" or element.get("display") == "block"
  limit = formulas.MAX_DISPLAYED if is_displayed else formulas.MAX_INLINE
  text = ""
  for maths in element.iter("math"):
    text = text or formulas.read_mathml(maths).strip()
  if not text:
    for tex in element.iter("tex-math"):
      text = text or formulas.read_tex("".join(tex.itertext()))
  if not text and element.tag in ("inline-formula", "disp-formula"):
    parts = [clean(element.text)]
    for child in element:
      if child.tag not in ("math", "tex-math", "alternatives"):
        parts.append(_read_child(child, parts[-1][-1:]))
      parts.append(clean(child.tail))
    text = "".join(parts)
  text = formulas.shorten(clean(text), limit)
  return f" {text} " if is_displayed else text


def _read_alternatives(element: etree._Element) -> str:
  for name in ("math", "tex-math"):
    if element.find(name) is not None:
      return _read_formula(element)
  for child in element:
    if isinstance(child.tag, str) and child.tag not in _LEFT_OUT:
      return _read_child(child, "")
  return " "
