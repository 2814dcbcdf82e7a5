"""Formulas of Office files (OMML) as plain text."""

from htmtl_jax.documents.parsers.latex_math import FORMULA, shorten_formula

_MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"


def _read_child(element, name: str) -> str:
  child = element.find(_MATH + name)
  return "" if child is None else _read(child)


def _in_brackets(text: str) -> str:
  """The text, in brackets if it is more than one term."""
  return text if len(text) < 2 or text.isalnum() else f"({text})"


def _read(element) -> str:
  """The text of an element's children."""
  parts = []
  for child in element:
    if not isinstance(child.tag, str) or not child.tag.startswith(_MATH):
      continue
    name = child.tag[len(_MATH) :]
    if name == "t":
      parts.append(child.text or "")
    elif name == "f":
      over, under = _read_child(child, "num"), _read_child(child, "den")
      parts.append(f"{_in_brackets(over)}/{_in_brackets(under)}")
    elif name in ("sSup", "sSub", "sSubSup"):
      script = _read_child(child, "e")
      if name != "sSup":
        script += "_" + _in_brackets(_read_child(child, "sub"))
      if name != "sSub":
        script += "^" + _in_brackets(_read_child(child, "sup"))
      parts.append(script)
    elif name == "rad":
      parts.append("√" + _in_brackets(_read_child(child, "e")))
    elif name == "d":
      begin, end = _read_bracket(child, "begChr", "("), _read_bracket(child, "endChr", ")")
      parts.append(begin + ", ".join(_read(e) for e in child.findall(_MATH + "e")) + end)
    elif name == "nary":
      sign = child.find(f"{_MATH}naryPr/{_MATH}chr")
      sign = "∫" if sign is None else sign.get(_MATH + "val", "∫")
      for script, mark in (("sub", "_"), ("sup", "^")):
        bound = _read_child(child, script)
        sign += mark + _in_brackets(bound) if bound else ""
      parts.append(f"{sign} {_read_child(child, 'e')}")
    else:
      parts.append(_read(child))
  return "".join(parts)


def _read_bracket(element, name: str, default: str) -> str:
  found = element.find(f"{_MATH}dPr/{_MATH}{name}")
  return default if found is None else found.get(_MATH + "val", default)


def read_formula(element, is_display: bool = False) -> str:
  """An m:oMath or m:oMathPara: its text if it is short, otherwise "<formula>".

  Args:
    element: of lxml.
    is_display: whether the formula stands on a line of its own.

  Returns:
    The text, "" if there is none.
  """
  text = _read(element)
  if not text.strip():
    return ""
  return FORMULA if is_display else shorten_formula(text)
