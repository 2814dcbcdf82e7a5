"""Superscripts and subscripts as plain text: "10^3", "Ca^2+", "H2O", "V_max"."""

import re

from htmtl_jax.documents.parsers.citations import RAISED_CITATION, is_only_citations

_SIMPLE = re.compile(r"[-−–+]?[\w.]+[-−–+*′']*|[^\w\s,;]+")
_ATTACHED = frozenset("th st nd rd ® ™ © ° º ª ′ ″ * ** *** , ; .".split())
_NOTE_SIGNS = re.compile(r"[†‡§¶#‖\s]+")
_DASHES = frozenset("-–−‐‑")


def read_superscript(text: str, before: str) -> str:
  """What a superscript adds to the line; the mark of a citation if it holds nothing else.

  Args:
    text: inside it.
    before: the character before it.
  """
  text = text.strip()
  if is_only_citations(text):
    return RAISED_CITATION
  if not text or _NOTE_SIGNS.fullmatch(text):
    return ""
  if text in _ATTACHED or (text in _DASHES and before == RAISED_CITATION):
    return text
  return f"^{text}" if _SIMPLE.fullmatch(text) else f"^({text})"


def read_subscript(text: str, before: str) -> str:
  """What a subscript adds: digits after a letter or bracket stand alone, the rest has "_"."""
  text = text.strip()
  if not text:
    return ""
  if text.isdigit() and (before.isalpha() or before in (")", "]")):
    return text
  return f"_{text}" if _SIMPLE.fullmatch(text) else f"_({text})"
