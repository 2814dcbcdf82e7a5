"""The last step of a LaTeX paragraph: what citations and footnotes leave behind.

While a paper is read, a citation is one mark and anything else that was taken out of a
sentence another, because what a citation reads like depends on the words around it.
"""

import re

CITED = "\x01"  # a citation in brackets or as a raised number
REMOVED = "\x02"  # a footnote, a label
REFERENCE = "[ref]"

_DASHES = (
  ("---", "—"),
  ("--", "–"),
  ("``", "“"),
  ("''", "”"),
  ("`", "‘"),
)
_REMOVED = re.compile(r"(?: *\x02+)+( *(?=[.,;:!?)\]]|$))?")
_SEVERAL = re.compile(r"\x01(?:\s*(?:,|;|and|&|–|-|,\s*and)?\s*\x01)+")
_IN_BRACKETS = re.compile(
  r"\s*(?:\((?:(?:[\s,;]|see|also|and|e\.g\.|i\.e\.|cf\.|for example|for instance)*\x01)+[\s,;]*\)"
  r"|\[\s*\x01\s*\])"
)
# Words that leave a sentence without its object if the citation after them is removed.
_NOUN_PLACE = re.compile(
  r"(\b(?:in|by|of|from|to|with|following|see|also|see,? e\.g\.,?|cf\.|than|unlike|like|per"
  r"|e\.g\.,?|(?:refs?|reference|references|works?|papers?|article)\.?))\s*\x01",
  re.IGNORECASE,
)
_SUBJECT = re.compile(
  r"((?:^|[.!?:]\s+|\b(?:[Aa]s|[Ww]hile|[Ww]hereas|that|and|but)\s+))\x01(?=\s+[a-z])"
)
_CITED = re.compile(r"\s*\x01")
_HAS_WORD = re.compile(r"\w")


def convert_quotes_and_dashes(word: str) -> str:
  """ "--" to "–" and "``" to "“", as TeX prints them."""
  if "-" in word or "`" in word or "'" in word:
    for source, printed in _DASHES:
      word = word.replace(source, printed)
  return word


def _fill_gap(match: re.Match) -> str:
  is_before_punctuation = match.group(1) is not None
  return "" if is_before_punctuation or " " not in match.group() else " "


def clean_text(text: str) -> str:
  """One line without marks and without the spaces that they leave; "" if no word is in it."""
  text = " ".join(text.split())
  if REMOVED in text:
    text = _REMOVED.sub(_fill_gap, text)
  if CITED in text:
    text = _SEVERAL.sub(CITED, text)
    text = _IN_BRACKETS.sub(CITED, text)
    text = _SUBJECT.sub(r"\1" + REFERENCE, text)
    text = _NOUN_PLACE.sub(r"\1 " + REFERENCE, text)
    text = _CITED.sub("", text)
  text = " ".join(text.split())
  return text if _HAS_WORD.search(text) else ""
