"""Running text as parsers collect it: citation numbers and breaks are marks, then tidied away.

A parser that knows what is a citation writes a mark where its number stood, and `tidy`
removes it with the brackets, commas and dashes around it. Where the sentence needs a
noun ("as described in [12]") "[ref]" stays. Marks are Unicode noncharacters, which no
text holds (`clean` sees to it).
"""

import re

CITATION = "\ufdd0"  # a citation number on the line
RAISED_CITATION = "\ufdd1"  # a superscript one
BREAK = "\ufdd2"  # a sentence ends here whatever its punctuation: between items of a list
REFERENCE = "[ref]"

_MARKS = re.compile("[\ufdd0-\ufdef]")
_DASH = "\u2010-\u2014\u2212\\-"
_NUMBER = r"\d{1,4}[a-z]?"
_IS_NUMERIC = re.compile(
  rf"[\[(\s]*(?:refs?\.?\s*)?{_NUMBER}(?:[\s,;&{_DASH}\[\]]+{_NUMBER})*[\])\s,;]*", re.IGNORECASE
)
_YEAR = re.compile(r"\b(?:1[5-9]|20)\d\d[a-z]?\b")

_ANY = f"[{CITATION}{RAISED_CITATION}]"
_FILLER = rf"(?:{_ANY}|[\s,;&{_DASH}.]|\b{_NUMBER}\b|\band\b)"  # goes with the marks beside it
_LEAD = (
  r"(?:(?:see|cf|e\.g|i\.e|eg|reviewed|described|reported|for|in|by|reviews?|details|examples?"
  r"|and|also|refs?|references?)\b[\s.,:]*){0,6}"
)
_BRACKETED = re.compile(rf"[\[(]\s*{_LEAD}(?=[^\[\]()]{{0,400}}{_ANY}){_FILLER}*+[\])]", re.I)
_RUN = re.compile(rf"{_ANY}(?:\s*(?:[,;&{_DASH}]|\band\b)?\s*{_ANY})++")
_INSIDE_END = re.compile(rf"[\s,;]{{0,4}}(?:\brefs?\b\.?\s*)?{_ANY}\s*(?=[\])])", re.IGNORECASE)
_INSIDE_START = re.compile(rf"(?<=[\[(]){_ANY}[\s,;]+")
_NEEDS_NOUN = re.compile(
  r"(?:^|[\s(\[])(?:in|by|from|of|with|see|to|than|also|following|per|on|and|or|both|under|via"
  r"|refs?\.?|references?)\s*$",
  re.IGNORECASE,
)
_NAMES_A_REFERENCE = re.compile(r"\b(?:refs?\.?|references?)\s*$", re.IGNORECASE)
_SENTENCE_END = re.compile(rf"(?:^|[.!?:;{BREAK}][\"'”’)\]]*\s+)$")
_ABBREVIATION = re.compile(r"\b(?:al|etc|vs|cf|e\.g|i\.e|[A-Z])\.\s+$")
_SPACE_BEFORE_STOP = re.compile(r" +(?=[,.;:](?:\s|$))")


def clean(text: str | None) -> str:
  """Without NUL characters and without the characters that are marks here."""
  return _MARKS.sub("", text.replace("\x00", "")) if text else ""


def is_numeric(text: str) -> bool:
  """Whether the text of a link to the reference list is numbers: "12", "[3-5]", not "1998"."""
  text = text.strip()
  return not text or bool(_IS_NUMERIC.fullmatch(text) and not _YEAR.search(text))


def is_only_citations(text: str) -> bool:
  """Whether a superscript holds nothing but marks, numbers and what stands between them."""
  return bool(re.search(_ANY, text)) and not re.sub(rf"{_FILLER}|[\[\]()]", "", text)


def _needs_noun(mark: str, before: str, after: str) -> bool:
  if mark == RAISED_CITATION:
    return bool(_NAMES_A_REFERENCE.search(before))
  if _NEEDS_NOUN.search(before):
    return True
  starts = _SENTENCE_END.search(before) and not _ABBREVIATION.search(before)
  return bool(starts) and after.lstrip()[:1].islower()  # "[12] showed that"


def _resolve_marks(text: str) -> str:
  pieces, end = [], 0
  for match in re.finditer(_ANY, text):
    before, end_of_mark = text[max(end, match.start() - 40) : match.start()], match.end()
    piece = text[end : match.start()].rstrip()
    end = end_of_mark
    if _needs_noun(match.group(), before, text[end : end + 20]):
      pieces += [piece, " " + REFERENCE]
      continue
    following = text[end : end + 2].lstrip()[:1]
    if following and following in ",.;:)]":
      piece = piece.rstrip(" ,;")
      end += text[end : end + 1].isspace()
    pieces.append(piece)
  return ("".join(pieces) + text[end:]).strip(" ,;")


def tidy(text: str) -> str:
  """Resolves the marks of one paragraph and makes white-space runs one space.

  Returns:
    The text; breaks are blank lines, which `split_sentences` ends a sentence at.
  """
  text = " ".join(text.split())
  if CITATION in text or RAISED_CITATION in text:
    for _ in range(2):  # the inner brackets of "(reviewed in [12])" first
      text = _BRACKETED.sub(lambda m: CITATION if CITATION in m[0] else RAISED_CITATION, text)
    text = _RUN.sub(lambda m: m[0][0], text)
    text = _INSIDE_START.sub("", _INSIDE_END.sub("", text))
    text = _resolve_marks(text)
  parts = (part.strip() for part in _SPACE_BEFORE_STOP.sub("", text).split(BREAK))
  return "\n\n".join(part for part in parts if part)
