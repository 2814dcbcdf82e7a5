"""Sentence splitting of scientific prose: the `sentencex` library plus merge rules.

The library finds boundaries fast and keeps every character, but stops at some
abbreviations of papers ("Eq. (1)", "Figs. 4a", "approx. 30"). A piece whose last
word is in the table below is joined with the next piece when what follows shows
that the sentence goes on. The rules only ever join; they never add a boundary.
"""

import re

import sentencex

# The last word of a piece, lower case, without its full stop -> the rule to ask.
_RULE_OF_WORD = {
  **dict.fromkeys("e.g eg i.e ie cf approx ca vs viz resp".split(), "always"),
  **dict.fromkeys(
    "fig figs eq eqs eqn eqns tab tabs sec secs sect sects ref refs ch chap thm "
    "prop def lem alg app append panel".split(),
    "label",
  ),
  **dict.fromkeys("suppl supp".split(), "supplement"),
  **dict.fromkeys("p pp vol vols no nos nr art".split(), "number"),
  **dict.fromkeys("al".split(), "et_al"),
  **dict.fromkeys("etc sp spp subsp ssp var cv wt inc co ltd corp dept univ".split(), "lower"),
}
_LONGEST_WORD = max(map(len, _RULE_OF_WORD)) + 3  # with a bracket and the full stop

# What a label looks like: 3, (1), [2], S2, 4a, A, IV, b; "@" and "<" start placeholders.
_LABEL_START = re.compile(
  r"[\d(\[@#<$]|[A-Z]{1,2}\.?\d|[A-Z](?![\w.'])|[IVXivx]+(?!\w)|[a-z](?!\w)"
)
_SUPPLEMENT_START = re.compile(r"fig|tab|mat|inf|data|movie|video|note|text|method|eq|sec", re.I)
_CITATION_START = re.compile(r"[a-z\d(\[,;:]")
_SPECIES_START = re.compile(r"[a-z]{2,}(?![\w-])")  # "aegypti", but neither "mRNA" nor "p53"
_GENUS = re.compile(r"(?:^|[(\[/-])[A-Z][a-z]?\.$")  # "E.", "Ae."; also an initial
_INITIALS = re.compile(
  r"(?:^\s*(?:[A-Z]\.[\s-]*)*|\b[A-Z]\.[\s-]|\b(?:by|Dr\.|Prof\.|Mrs?\.|Ms\.) )[A-Z]\.\s*$"
)
_LIST_MARKER = re.compile(r"\s*[(\[]?(?:\d{1,3}|[ivx]{1,4}|[a-zA-Z])[.)\]]+\s*$")
_LONGEST_MARKER = 10
_HAS_WORD = re.compile(r"\w")
_BLANK_LINE = re.compile(r"\n\s*\n")
_PLAIN_BOUNDARY = re.compile(r"(?<=[.!?])(?=\s)")


def _goes_on(piece: str, following: str) -> bool:
  """Whether the sentence that the raw `piece` ends in goes on in the raw `following`."""
  first = following[:1]
  if not piece[-1].isspace() and piece[-1] in ".]" and (first.islower() or first.isdigit()):
    return True  # cut inside a number, a name or an address: "0." + "05"
  if len(piece) <= _LONGEST_MARKER and _LIST_MARKER.match(piece):
    return True
  words = piece[-80:].rsplit(None, 2)
  if not words:
    return False
  last, cited = words[-1], False
  if last == "." and len(words) > 1:  # tokenised text: "fig . 2"
    last = words[-2] + "."
  elif last[-1] == "]":  # "Ref. [3]" + " for more"
    last = last.split("[", 1)[0] or words[-2] if len(words) > 1 else ""
    cited = True
  if last[-1:] != "." or (len(last) > _LONGEST_WORD and last[-3] not in "-/"):
    return False
  rest = following.lstrip()
  next_is_lower = rest[:1].islower()
  rule = _RULE_OF_WORD.get(last[:-1].lstrip("([").lower())
  if rule is None:  # an initial, a genus, the end of "in panel A.", or a plain word
    if not _GENUS.search(last):
      return False
    return bool(_SPECIES_START.match(rest) or _INITIALS.search(piece[-80:]))
  if cited:
    return next_is_lower
  if rule == "always":
    return True
  if rule == "label":
    if last.lower() == "sec." and words[-2:-1] and words[-2][-1].isdigit():  # "for 30 sec."
      return next_is_lower
    return bool(_LABEL_START.match(rest))
  if rule == "supplement":
    return bool(_SUPPLEMENT_START.match(rest) or _LABEL_START.match(rest))
  if rule == "number":
    return rest[:1].isdigit()
  if rule == "et_al":
    return bool(_CITATION_START.match(rest))
  return next_is_lower or rest[:1] in (",", ";", ")", "%")


def _segment(text: str) -> list[str]:
  """Raw pieces whose concatenation is `text`."""
  try:
    pieces = sentencex.segment("en", text)
    if sum(map(len, pieces)) == len(text):
      return pieces
  except UnicodeEncodeError:  # a lone surrogate, which the library cannot take
    pass
  return _PLAIN_BOUNDARY.split(text)


def split_sentences(text: str) -> list[str]:
  """Splits running text into sentences.

  Args:
    text: usually one paragraph. A blank line always ends a sentence, a single
      line break does not.

  Returns:
    The sentences in order, white space runs made one space, none empty. Nothing
    but white space is lost or added.
  """
  sentences = []
  for block in _BLANK_LINE.split(text) if "\n" in text else (text,):
    if not block or block.isspace():
      continue
    pending, first = "", len(sentences)
    for piece in _segment(block):
      if pending and not _goes_on(pending, piece):
        sentences.append(pending)
        pending = ""
      if not pending and len(sentences) > first and not _HAS_WORD.search(piece):
        sentences[-1] += piece  # stray brackets and dots belong to what they follow
      else:
        pending += piece
    if pending:
      sentences.append(pending)
  return [" ".join(s.split()) for s in sentences if not s.isspace()]
