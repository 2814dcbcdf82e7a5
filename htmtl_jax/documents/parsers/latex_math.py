"""Formulas as plain text: "$\\\\alpha = 0.05$" reads "α = 0.05", a long one "<formula>"."""

from collections.abc import Sequence
import re

from htmtl_jax.documents.parsers.latex_symbols import (
  FUNCTION_NAMES,
  MATH_ACCENTS,
  SYMBOLS,
  add_accent,
)

FORMULA = "<formula>"
MAX_FORMULA_LENGTH = 40  # in characters; what is longer reads as noise in a sentence
MAX_FORMULA_TOKENS = 200  # longer ones are not looked at
_MAX_DEPTH = 20

_RELATION = re.compile(r"\s*([<>=]+|[≤≥≈≠≡∼≃≅∝∈∉⊂⊆⊃⊇→←↔⇒⇐⇔≪≫≲≳↦])\s*")
_OPERATOR = re.compile(r"(?<=[^\s(\[,/^_])\s*([±×∓÷∪∩∧∨⊕⊗])\s*")
_SPACES = re.compile(r"\s+")
_COMPOUND = re.compile(r"[\s+\-−*/·±×=<>,]")
_ORDINAL = ("st", "nd", "rd", "th")
_SIZES = re.compile(r"\\(?:left|right|middle|[bB]igg?[lrm]?|displaystyle|textstyle|limits)$")
_SKIPPED = {  # commands to the number of their arguments that say nothing
  **dict.fromkeys(("\\label", "\\tag", "\\cite", "\\citep", "\\citet", "\\footnote"), 1),
  **dict.fromkeys(("\\hspace", "\\vspace", "\\phantom", "\\hphantom", "\\vphantom"), 1),
  **dict.fromkeys(("\\textcolor", "\\color", "\\overset", "\\underset", "\\stackrel"), 1),
  **dict.fromkeys(("\\!", "\\/", "\\nonumber", "\\notag", "\\relax", "\\xspace", "\\-"), 0),
}
_FONTS = ("\\math", "\\text", "\\mbox", "\\bm", "\\bold", "\\rm", "\\bf", "\\it", "\\cal")
_REFERENCES = frozenset(("\\ref", "\\eqref", "\\cref", "\\autoref"))


class _TooHard(Exception):
  """The formula has no short reading."""


class _Reader:
  """Recursive descent over the tokens of one formula."""

  def __init__(self, tokens: Sequence[str]):
    self._tokens = list(reversed(tokens))
    self.is_lossy = False  # whether a command was met that has no reading

  @property
  def has_more(self) -> bool:
    return bool(self._tokens)

  def _next(self) -> str | None:
    return self._tokens.pop() if self._tokens else None

  def _next_visible(self) -> str | None:
    token = self._next()
    while token is not None and token.isspace():
      token = self._next()
    return token

  def read_sequence(self, depth: int) -> str:
    """Up to the end of the group; spaces stay, for "\\text{ if }"."""
    if depth > _MAX_DEPTH:
      raise _TooHard
    text = ""
    while (token := self._next()) not in (None, "}"):
      if token == "\\over":  # the fraction that the whole group is
        text = _divide(text, self.read_sequence(depth + 1))
        break
      if token in ("^", "_"):
        text = self._add_script(text, token, depth)
      elif token.isspace() or token == "~":
        text += " "
      elif token[0] == "\\" and len(token) > 1:
        if text[-1:].isalnum() and (token in FUNCTION_NAMES or token == "\\operatorname"):
          text += " "
        text += self._read_command(token, depth)
      elif token == "{":
        text += self.read_sequence(depth + 1)
      elif token not in ("&", "$"):
        text += token
    if not depth:
      text = _OPERATOR.sub(r" \1 ", _RELATION.sub(r" \1 ", text))
    return _SPACES.sub(" ", text)

  def _read_atom(self, depth: int) -> str:
    """An argument: a group, or one character or command."""
    token = self._next_visible()
    if token is None:
      return ""
    if token == "}":
      self._tokens.append(token)
      return ""
    if token == "{":
      return self.read_sequence(depth + 1).strip()
    if token[0] == "\\" and len(token) > 1:
      return self._read_command(token, depth + 1).strip()
    if len(token) > 1:
      self._tokens.append(token[1:])
    return token[0]

  def _add_script(self, base: str, sign: str, depth: int) -> str:
    script = self._read_atom(depth + 1)
    if sign == "^" and script in ("∘", "°"):
      return base.rstrip() + "°"
    if sign == "^" and script in ("′", "′′", "'", "''"):
      return base.rstrip() + script
    if not script or (sign == "^" and script in _ORDINAL):
      return base.rstrip() + script
    if len(script) > 1 and _COMPOUND.search(script.lstrip("-+−")):
      script = f"({script})"
    if not base and sign == "_":
      return script  # "CO$_2$"
    return f"{base.rstrip()}{sign}{script}"

  def _read_command(self, token: str, depth: int) -> str:
    if depth > _MAX_DEPTH:
      raise _TooHard
    if token.startswith(("\\begin", "\\end")):
      raise _TooHard  # a matrix, an array, cases
    if token in MATH_ACCENTS:
      letter = self._read_atom(depth)
      return add_accent(letter, MATH_ACCENTS[token]) if len(letter) == 1 else letter
    if token in ("\\frac", "\\tfrac", "\\dfrac", "\\nicefrac", "\\sfrac"):
      return _divide(self._read_atom(depth), self._read_atom(depth))
    if token == "\\sqrt":
      self._skip_optional()
      inner = self._read_atom(depth)
      return "√" + (f"({inner})" if len(inner) > 1 and not inner.isalnum() else inner)
    if token in ("\\binom", "\\tbinom", "\\dbinom"):
      return f"({self._read_atom(depth)} choose {self._read_atom(depth)})"
    if token == "\\not":
      return {"=": " ≠ ", "∈": " ∉ ", "<": " ≮ ", ">": " ≯ "}.get(self._read_atom(depth), "")
    if token in FUNCTION_NAMES:
      return self._read_function(token[1:])
    if token == "\\operatorname":
      if self._tokens and self._tokens[-1] == "*":
        self._next()
      return self._read_function(self._read_atom(depth))
    if _SIZES.match(token):
      if (
        token in ("\\left", "\\right", "\\middle")
        and self._tokens[-1:]
        and (self._tokens[-1][0] == ".")
      ):
        rest = self._tokens.pop()[1:]  # the invisible bracket
        self._tokens.extend([rest] if rest else [])
      return ""
    if token in _SKIPPED:
      for _ in range(_SKIPPED[token]):
        self._read_atom(depth)
      return ""
    if token in _REFERENCES:
      self._read_atom(depth)
      return "[ref]"
    if token in SYMBOLS:
      return SYMBOLS[token]
    if token.startswith(_FONTS):
      return ""  # a font; the group that follows is read as what it holds
    self.is_lossy = True
    return ""

  def _read_function(self, name: str) -> str:
    """ "log n" but "log(n)" and "max_i"."""
    following = self._tokens[-1] if self._tokens else ""
    needs_space = following[:1].isalnum() or (following[:1] == "\\" and len(following) > 2)
    return name + (" " if needs_space else "")

  def _skip_optional(self) -> None:
    if self._tokens[-1:] == ["["]:
      while self._next() not in ("]", None):
        pass


def _divide(*parts: str) -> str:
  parts = [part.strip() for part in parts]
  return "/".join(f"({part})" if _COMPOUND.search(part) else part for part in parts)


def shorten_formula(text: str) -> str:
  """The formula if it reads well in a sentence, otherwise the mark that one stands here."""
  text = " ".join(text.split())
  return text if len(text) <= MAX_FORMULA_LENGTH else FORMULA


def format_formula(tokens: Sequence[str]) -> str:
  """A formula inside a sentence as plain text.

  Args:
    tokens: what stands between the dollars, macros expanded.

  Returns:
    The text, "<formula>" if it is long or has no reading, "" if there is nothing.
  """
  if len(tokens) > MAX_FORMULA_TOKENS:
    return FORMULA
  reader, parts = _Reader(tokens), []
  try:
    while not parts or reader.has_more:  # more than once if there is a "}" too many
      parts.append(reader.read_sequence(0))
  except _TooHard:
    return FORMULA
  text = " ".join("".join(parts).split())
  if not text and reader.is_lossy:  # nothing but commands of a package unknown here
    return FORMULA
  ends_in_space = tokens and SYMBOLS.get(tokens[-1], tokens[-1]) in (" ", "~") and tokens[-1] != " "
  return shorten_formula(text) + (" " if ends_in_space else "")
