"""Formulas as short plain text: "x^2", "p < 0.05", "a/b", Greek letters as they are.

Two notations: MathML elements (`read_mathml`) and TeX strings (`read_tex`). What
would be long or unreadable is "<formula>" (`shorten`).
"""

import re
import unicodedata

from lxml import etree

FORMULA = "<formula>"
MAX_DISPLAYED = 40  # characters of a formula on lines of its own
MAX_INLINE = 80
_MAX_SOURCE = 4000  # characters; longer, it will not be short plain text
MAX_MARKUP = 100_000  # characters of MathML with its tags
_MAX_ROUNDS = 40  # of taking the innermost braces away

_RELATIONS = frozenset("=<>≤≥≈≠≡≃≅∼∝∈∉⊂⊆→←↔⇒⇔⟶≪≫≲≳|")
_SIGNS = frozenset("+-−±∓×·⋅∗÷∪∩∧∨∘⊗⊕")
_INVISIBLE = re.compile("[\u2061-\u2064\u200b-\u200d\ufeff\ufe00-\ufe0f]")
_STYLED_LETTERS = re.compile("[\U0001d400-\U0001d7ff\u210b-\u2112\u211b-\u2131]+")
_SIMPLE = re.compile(r"[-−+]?(?:\w+(?:\.\w+)*|\S)[*′']*(?:\^[-−]?\w+)?")
_SKIPPED = frozenset(("annotation", "annotation-xml", "mphantom", "none", "mprescripts", "label"))


def shorten(text: str, limit: int) -> str:
  """The formula in single spaces, or "<formula>" if it is empty or longer than `limit`.

  The stop or comma at its end belongs to the sentence around it and stays.
  """
  text = " ".join(text.split())
  if 0 < len(text) <= limit:
    return text
  return FORMULA + text[-1] if text.endswith((".", ",", ";")) else FORMULA


def _group(text: str) -> str:
  """In brackets unless it is one number, name or sign."""
  text = text.strip()
  return text if _SIMPLE.fullmatch(text) or not text else f"({text})"


def _raise(base: str, exponent: str) -> str:
  exponent = exponent.strip()
  if exponent in ("′", "'", "″", "*", "∗", "†", "°", "∘"):
    return base + exponent.replace("∘", "°")
  return f"{base}^{_group(exponent)}" if exponent else base


def _lower(base: str, index: str) -> str:
  return f"{base}_{_group(index)}" if index.strip() else base


def _join(parts: list[str]) -> str:
  """Parts of a row side by side; "log" and "n" get a space between, "a" and "b", "2" and "x" not."""
  out, last = [], ""
  for part in parts:
    if last[-1:].isalnum() and part[:1].isalnum():
      left = re.search(r"\w+$", last[-20:])[0]
      right = re.match(r"\w+", part[:20])[0]
      is_factor = left.isdigit() and len(right) == 1 and right.isalpha()
      is_script = "_" in last or "^" in last
      if is_script or (max(len(left), len(right)) > 1 and not is_factor):
        out.append(" ")
    out.append(part)
    last = part
  return "".join(out)


def _operator(text: str, is_first: bool) -> str:
  if text in _RELATIONS:
    return f" {text} "
  if text in _SIGNS:
    return text if is_first else f" {text} "
  if text in (",", ";"):
    return text + " "
  return text


def normalize_letters(text: str) -> str:
  """Letters of the mathematical alphabets as plain ones; invisible operators go."""
  text = _STYLED_LETTERS.sub(lambda m: unicodedata.normalize("NFKC", m[0]), text)
  return _INVISIBLE.sub("", text)


def _get_name(element: etree._Element) -> str:
  return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def read_mathml(element: etree._Element) -> str:
  """The text of a `math` element; "<formula>" if it is too long to be read as text.

  Recursive; libxml2 refuses what is nested more than 256 levels deep.
  """
  if sum(map(len, element.itertext())) > _MAX_SOURCE:
    return FORMULA
  return _read_part(element)


def _read_part(element: etree._Element) -> str:
  name = _get_name(element)
  if not name or name in _SKIPPED:
    return ""
  if name in ("mi", "mn", "mo", "mtext", "ms", "ci", "cn"):
    text = normalize_letters(" ".join("".join(element.itertext()).split()))
    return f" {text} " if name == "mtext" and text else text
  if name == "mspace":
    return " "
  children = [c for c in element if _get_name(c)]
  if name == "semantics":
    return _read_part(children[0]) if children else ""
  if name == "mtable":
    return "; ".join(filter(None, (_read_part(row).strip() for row in children)))
  if name == "mtr":
    return ", ".join(filter(None, (_read_part(cell).strip() for cell in children)))
  if name == "mfenced" and element.get("separators") == "":
    return element.get("open", "(") + _read_row(children) + element.get("close", ")")
  if name in _CONSTRUCTIONS and len(children) >= _CONSTRUCTIONS[name][0]:
    return _CONSTRUCTIONS[name][1](element, [_read_part(c) for c in children])
  return _read_row(children)


def _read_row(children: list[etree._Element]) -> str:
  parts, is_first = [], True
  for child in children:
    text = _read_part(child)
    if _get_name(child) == "mo":
      text = _operator(text, is_first)
      is_first = text.strip() in _RELATIONS or text in ("(", "[", "{", "|", ", ")
    elif text.strip():
      is_first = False
    if text:
      parts.append(text)
  return re.sub(r"\s+", " ", _join(parts))


def _fence(element: etree._Element, parts: list[str]) -> str:
  inside = ", ".join(part.strip() for part in parts)
  return element.get("open", "(") + inside + element.get("close", ")")


def _read_fraction(element: etree._Element, parts: list[str]) -> str:
  if element.get("linethickness", "").strip() in ("0", "0pt", "0px"):
    return f"({parts[0].strip()} choose {parts[1].strip()})"
  return f"{_group(parts[0])}/{_group(parts[1])}"


def _read_over(element: etree._Element, parts: list[str]) -> str:
  base, over = parts[0].strip(), parts[1].strip()
  is_accent = len(over) == 1 and not over.isalnum() and over not in _SIGNS - {"-", "−", "·", "⋅"}
  return base if is_accent else _raise(base, over)


# Element -> (fewest children, what is made of it and their texts).
_CONSTRUCTIONS = {
  "mfrac": (2, _read_fraction),
  "msup": (2, lambda e, t: _raise(t[0].strip(), t[1])),
  "msub": (2, lambda e, t: _lower(t[0].strip(), t[1])),
  "munder": (2, lambda e, t: _lower(t[0].strip(), t[1])),
  "mover": (2, _read_over),
  "msubsup": (3, lambda e, t: _raise(_lower(t[0].strip(), t[1]), t[2])),
  "munderover": (3, lambda e, t: _raise(_lower(t[0].strip(), t[1]), t[2])),
  "msqrt": (1, lambda e, t: f"sqrt({' '.join(_join(t).split())})"),
  "mroot": (2, lambda e, t: f"{_group(t[0])}^(1/{_group(t[1])})"),
  "mfenced": (0, _fence),
}

_GREEK = (
  "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
  "upsilon phi chi psi omega"
).split()
_TEX_WORDS = {
  **{n: unicodedata.lookup(f"GREEK SMALL LETTER {n.replace('lambda', 'lamda')}") for n in _GREEK},
  **{
    n.capitalize(): unicodedata.lookup(f"GREEK CAPITAL LETTER {n.replace('lambda', 'lamda')}")
    for n in _GREEK
  },
  "varepsilon": "ε", "vartheta": "θ", "varrho": "ρ", "varsigma": "σ", "varphi": "φ", "varpi": "π",
  "leq": "≤", "le": "≤", "leqslant": "≤", "geq": "≥", "ge": "≥", "geqslant": "≥",
  "neq": "≠", "ne": "≠", "approx": "≈", "simeq": "≃", "cong": "≅", "equiv": "≡", "sim": "~",
  "propto": "∝", "in": "∈", "notin": "∉", "subset": "⊂", "subseteq": "⊆", "cup": "∪", "cap": "∩",
  "to": "→", "rightarrow": "→", "leftarrow": "←", "Rightarrow": "⇒", "leftrightarrow": "↔",
  "longrightarrow": "→", "mapsto": "→", "ll": "≪", "gg": "≫", "lesssim": "≲", "gtrsim": "≳",
  "times": "×", "cdot": "·", "pm": "±", "mp": "∓", "div": "÷", "ast": "*", "star": "*",
  "circ": "°", "degree": "°", "prime": "′", "infty": "∞", "partial": "∂", "nabla": "∇",
  "sum": "∑", "prod": "∏", "int": "∫", "ell": "ℓ", "hbar": "ħ", "forall": "∀", "exists": "∃",
  "ldots": "...", "cdots": "...", "dots": "...", "mid": "|", "vert": "|", "Vert": "‖", "lVert": "‖",
  "rVert": "‖", "langle": "⟨", "rangle": "⟩", "lbrace": "{", "rbrace": "}", "emptyset": "∅",
  "odot": "⊙", "otimes": "⊗", "oplus": "⊕", "lt": "<", "gt": ">", "wedge": "∧", "vee": "∨",
  "setminus": "∖", "backslash": "\\", "dagger": "†", "AA": "Å", "textmu": "μ", "micro": "μ",
}  # fmt: skip
_TEX_DROPPED = frozenset(
  "left right big Big bigg Bigg bigl bigr Bigl Bigr displaystyle textstyle scriptstyle limits "
  "nolimits hat bar tilde vec dot ddot widehat widetilde overline underline boldsymbol bm mathbf "
  "mathrm mathit mathsf mathcal mathbb mathfrak mathscr text textrm textbf textit textsf texttt "
  "mbox hbox operatorname rm bf it sf mathop mathrel mathbin boldmath pmb ensuremath nonumber "
  "notag protect relax scriptscriptstyle cal".split()
)
_TEX_BODY = re.compile(r"\\begin\{document\}(.*?)\\end\{document\}", re.DOTALL)
_TEX_COMMAND = re.compile(r"\\([A-Za-z]+)\s*|\\(.)", re.DOTALL)
_TEX_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_TEX_SHORT_FRACTION = re.compile(r"\\[dt]?frac\s*(\w)\s*(\w)")
_TEX_ROOT = re.compile(r"\\sqrt\s*\{([^{}]*)\}")
_TEX_SCRIPT = re.compile(r"\s*([\^_])\s*\{([^{}]*)\}")
_TEX_LABEL = re.compile(
  r"\\(?:label|tag\*?|vspace|hspace\*?|phantom|vphantom|begin|end)\s*\{[^{}]*\}"
)
_TEX_STYLED = re.compile(r"\\(%s)\s*\{([^{}]*)\}" % "|".join(sorted(_TEX_DROPPED, reverse=True)))
_TEX_BARE_GROUP = re.compile(r"(?<![\\\w}^_])\{([^{}]*)\}")
_TEX_GROUP = re.compile(r"\{([^{}]*)\}")
_TEX_MATRIX = re.compile(r"\\begin\s*\{[^{}]*(?:matrix|array|cases|split|aligned|tabular)")


def _replace_command(match: re.Match) -> str:
  word, sign = match.groups()
  if word is None:  # \, \; \! \: \\ are spaces; \% \& \{ are themselves
    return sign if sign in "%&#_$|" else " "
  if word in _TEX_DROPPED:
    return ""
  symbol = _TEX_WORDS.get(word)
  if symbol in _RELATIONS or symbol in _SIGNS or symbol == "~":
    return f" {symbol} "
  if symbol:
    return symbol
  return " " if word in ("quad", "qquad", "space") else f" {word} "


def read_tex(source: str) -> str:
  """The text of a TeX formula, with or without dollars or a whole document around it."""
  found = _TEX_BODY.search(source)
  text = (found.group(1) if found else source).strip()
  text = re.sub(r"(?<!\\)%.*", "", text).replace("$", "").replace("~", " ")
  if len(text) > _MAX_SOURCE or _TEX_MATRIX.search(text):
    return FORMULA
  text = text.replace(r"\{", "\ufdd3").replace(r"\}", "\ufdd4")
  text = _TEX_LABEL.sub("", text)
  text = re.sub(r"\s+(?=\{)", "", text)
  for _ in range(_MAX_ROUNDS):  # innermost braces first
    before = text
    text = _TEX_STYLED.sub(r"\2", text)
    text = _TEX_FRACTION.sub(lambda m: f"{_group_tex(m[1])}/{_group_tex(m[2])}", text)
    text = _TEX_ROOT.sub(lambda m: f"sqrt({m[1].strip()})", text)
    text = _TEX_SCRIPT.sub(lambda m: m[1] + _group_tex(m[2]), text)
    text = _TEX_BARE_GROUP.sub(r"\1", text)
    if text == before:  # arguments of commands not known here
      text = _TEX_GROUP.sub(r" \1 ", text)
    if "{" not in text:
      break
  text = _TEX_SHORT_FRACTION.sub(r"\1/\2", text)
  text = _TEX_COMMAND.sub(_replace_command, text.replace(r"\left.", "").replace(r"\right.", ""))
  text = text.replace("&", " ").translate(str.maketrans("", "", "{}"))
  text = text.replace("\ufdd3", "{").replace("\ufdd4", "}")
  text = re.sub(r"\s*([=<>≤≥≈≠])\s*", r" \1 ", text)
  text = re.sub(r"\^\s*[°*′]", lambda m: m[0][-1], text)
  text = re.sub(r"(?<=[\[(])\s+|\s+(?=[\]),;])", "", normalize_letters(text))
  return " ".join(text.split())


def _group_tex(text: str) -> str:
  """`_group`, where a single command counts as a single name."""
  text = text.strip()
  return text if re.fullmatch(r"\\[A-Za-z]+", text) else _group(text)
