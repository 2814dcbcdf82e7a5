"""Which character a LaTeX command prints: Greek by name, accents, signs, units."""

import unicodedata

_GREEK = (
  "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho "
  "sigma tau upsilon phi chi psi omega"
)


def _make_greek() -> dict[str, str]:
  """ "\\alpha" to "α" and "\\Alpha" to "Α"; Unicode writes lambda "lamda"."""
  symbols = {}
  for name in _GREEK.split():
    unicode_name = "LAMDA" if name == "lambda" else name.upper()
    small = unicodedata.lookup(f"GREEK SMALL LETTER {unicode_name}")
    capital = unicodedata.lookup(f"GREEK CAPITAL LETTER {unicode_name}")
    for prefix in ("", "var", "up", "text"):
      symbols[f"\\{prefix}{name}"] = small
      symbols[f"\\{prefix}{name.capitalize()}"] = capital
  return symbols


# The name of the command, then what it prints.
_TABLE = """
leq ≤  le ≤  leqslant ≤  geq ≥  ge ≥  geqslant ≥  neq ≠  ne ≠  approx ≈  sim ∼  simeq ≃
equiv ≡  cong ≅  propto ∝  ll ≪  gg ≫  lesssim ≲  gtrsim ≳  lt <  gt >  prec ≺  succ ≻
in ∈  notin ∉  ni ∋  subset ⊂  subseteq ⊆  supset ⊃  supseteq ⊇  cup ∪  cap ∩  setminus ∖
emptyset ∅  varnothing ∅  forall ∀  exists ∃  neg ¬  lnot ¬  land ∧  wedge ∧  lor ∨  vee ∨
to →  rightarrow →  longrightarrow →  xrightarrow →  leftarrow ←  gets ←  leftrightarrow ↔
Rightarrow ⇒  Longrightarrow ⇒  implies ⇒  Leftarrow ⇐  Leftrightarrow ⇔  iff ⇔  mapsto ↦
uparrow ↑  downarrow ↓  textrightarrow →  textleftarrow ←
times ×  cdot ·  pm ±  mp ∓  div ÷  ast *  star ⋆  circ ∘  bullet •  oplus ⊕  otimes ⊗  odot ⊙
sum ∑  prod ∏  int ∫  oint ∮  partial ∂  nabla ∇  infty ∞  bigcup ∪  bigcap ∩
angle ∠  perp ⊥  parallel ∥  mid |  vert |  lvert |  rvert |  Vert ‖  lVert ‖  rVert ‖
langle ⟨  rangle ⟩  lfloor ⌊  rfloor ⌋  lceil ⌈  rceil ⌉  lbrace {  rbrace }  lbrack [  rbrack ]
ell ℓ  hbar ℏ  Re Re  Im Im  aleph ℵ  prime ′  degree °  top ⊤  bot ⊥  dagger †  ddagger ‡
ldots ...  dots ...  cdots ...  dotsc ...  dotsb ...  vdots ...  ddots ...  textellipsis ...
colon :  backslash \\
S §  P ¶  pounds £  euro €  EUR €  texteuro €  textsterling £  textyen ¥  copyright ©
textcopyright ©  textregistered ®  texttrademark ™  textdegree °  textmu µ  textpm ±
texttimes ×  textperthousand ‰  textbackslash \\  textasciitilde ~  textasciicircum ^
textunderscore _  textbar |  textless <  textgreater >  textbraceleft {  textbraceright }
textdollar $  textendash –  textemdash —  textquoteleft ‘  textquoteright ’
textquotedblleft “  textquotedblright ”  textquotesingle '  textquotedbl "  guillemotleft «
guillemotright »  lq ‘  rq ’  textbullet •  textsection §  textdagger †  textordmasculine º
textordfeminine ª  checkmark ✓  ding ✓
ss ß  SS SS  ae æ  AE Æ  oe œ  OE Œ  o ø  O Ø  aa å  AA Å  l ł  L Ł  i ı  j ȷ  imath ı  jmath ȷ
dh ð  DH Ð  th þ  TH Þ  dj đ  DJ Đ
LaTeX LaTeX  TeX TeX  LaTeXe LaTeX2e  BibTeX BibTeX
metre m  meter m  gram g  second s  minute min  hour h  kelvin K  mole mol  ampere A  volt V
watt W  joule J  newton N  pascal Pa  hertz Hz  litre L  liter L  tonne t  bar bar  byte B
electronvolt eV  percent %  celsius °C  degreeCelsius °C  micro µ  milli m  kilo k  mega M
giga G  nano n  pico p  centi c  per /  squared ^2  cubed ^3
"""

SYMBOLS: dict[str, str] = {
  **_make_greek(),
  **{"\\" + name: sign for name, sign in zip(_TABLE.split()[::2], _TABLE.split()[1::2])},
  **{"\\" + sign: sign for sign in "%$#&_{}"},
  "\\,": " ",
  "\\;": " ",
  "\\:": " ",
  "\\>": " ",
  "\\ ": " ",
  "\\\n": " ",
  "\\\t": " ",
  "\\\\": " ",
  "\\|": "‖",
  "\\thinspace": " ",
  "\\enspace": " ",
  "\\space": " ",
  "\\quad": " ",
  "\\qquad": " ",
  "\\newline": " ",
  "\\linebreak": " ",
  "\\tabularnewline": " ",
  "\\textvisiblespace": " ",
}

# A command to the combining character that its letter takes.
ACCENTS: dict[str, str] = {
  "\\`": "\u0300",
  "\\'": "\u0301",
  "\\^": "\u0302",
  "\\~": "\u0303",
  "\\=": "\u0304",
  "\\u": "\u0306",
  "\\.": "\u0307",
  '\\"': "\u0308",
  "\\r": "\u030a",
  "\\H": "\u030b",
  "\\v": "\u030c",
  "\\d": "\u0323",
  "\\c": "\u0327",
  "\\k": "\u0328",
  "\\b": "\u0331",
}
MATH_ACCENTS: dict[str, str] = {
  "\\hat": "\u0302",
  "\\widehat": "\u0302",
  "\\tilde": "\u0303",
  "\\widetilde": "\u0303",
  "\\bar": "\u0304",
  "\\dot": "\u0307",
  "\\ddot": "\u0308",
  "\\check": "\u030c",
  "\\vec": "\u20d7",
}
FUNCTION_NAMES = frozenset(
  "\\" + name
  for name in (
    "arccos arcsin arctan arg cos cosh cot coth csc deg det dim exp gcd hom inf ker lg lim "
    "liminf limsup ln log max min Pr sec sin sinh sup tan tanh argmax argmin mod bmod"
  ).split()
)


def add_accent(letter: str, combining: str) -> str:
  """ "o" and a diaeresis to "ö"; the dotless i and j take their dots back first."""
  letter = {"ı": "i", "ȷ": "j"}.get(letter, letter)
  return unicodedata.normalize("NFC", letter[:1] + combining) + letter[1:] if letter else ""
