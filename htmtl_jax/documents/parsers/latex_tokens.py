"""LaTeX source to tokens, read lazily, so that an included file can come in between.

A token is a string: a command ("\\\\section", "\\\\%"), one of { } [ ] $ & ~ ^ _, a
parameter ("#1"), a space (" "), the end of a paragraph ("\\\\par"), or a run of other
characters. Comments are gone; verbatim text comes as tokens that print it.
"""

import re

PARAGRAPH = "\\par"
_SPACE = r"(?:[ \t]*\n(?![ \t]*\n)[ \t]*|[ \t]*)"  # what a command swallows: no blank line
_TOKEN = r"""
    (?P<space>[ \t\n]+)
  | (?P<comment>%[^\n]*\n?[ \t]*)
  | (?P<word>[^\\{}$&~^_#%\s\[\]]+)
  | (?P<command>\\[LETTERS]+)SPACE
  | (?P<symbol>\\[^LETTERS])
  | (?P<parameter>\#+\d?)
  | (?P<other>.)
"""
_PATTERNS = {
  letters: re.compile(
    _TOKEN.replace("LETTERS", letters).replace("SPACE", _SPACE), re.VERBOSE | re.DOTALL
  )
  for letters in ("a-zA-Z", "a-zA-Z@")
}
_VERBATIM_NAMES = r"(?:[BL]?[Vv]erbatim|lstlisting|minted|comment|filecontents|alltt)\*?"
_VERBATIM = re.compile(r"\\begin[ \t]*\{(" + _VERBATIM_NAMES + r")\}")
_VERB = re.compile(r"\\(?:verb|lstinline)\*?(?:\[[^\]\n]*\])?([^a-zA-Z\s*{])([^\n]*?)\1")
_ADDRESS = re.compile(r"\\(url|nolinkurl|path|href|lstinline)[ \t]*\{([^{}\n]*)\}")
_RAW_TEXT = re.compile(r"[{}$&~^_#\\\[\]]|--|[^\S\n]+|[^{}$&~^_#\\\[\]\s-]+|-")
_PRINTED_BY = {
  "\\": "\\textbackslash",
  "~": "\\textasciitilde",
  "^": "\\textasciicircum",
  **{sign: "\\" + sign for sign in "{}$&_#"},
}
_DOCUMENT_BEGIN = re.compile(r"^(?:[^%\n\\]|\\[^\n])*?\\begin[ \t]*\{document\}", re.MULTILINE)
_DOCUMENT_END = re.compile(r"^(?:[^%\n\\]|\\[^\n])*?(\\end[ \t]*\{document\})", re.MULTILINE)
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def clean_source(text: str) -> str:
  """One kind of line ends, no control characters; a form feed ends a paragraph as in TeX."""
  text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n")
  return _CONTROL_CHARACTERS.sub("", text)


def has_document(text: str) -> bool:
  """Whether the text holds a \\begin{document} that is no comment."""
  return bool(_DOCUMENT_BEGIN.search(text))


def get_document_body(text: str) -> str:
  """What stands between \\begin{document} and \\end{document}; without these, the text."""
  begin = _DOCUMENT_BEGIN.search(text)
  if not begin:
    return text
  text = text[begin.end() :]
  end = _DOCUMENT_END.search(text)
  return text[: end.start(1)] if end else text


def _print_raw(text: str) -> list[str]:
  """Tokens that print `text` as it stands."""
  tokens = []
  for piece in _RAW_TEXT.findall(text):
    if piece == "--":
      tokens += ["-", "-"]  # two tokens are no dash
    elif piece.isspace():
      tokens.append("~")
    else:
      tokens.append(_PRINTED_BY.get(piece, piece))
  return tokens


class Source:
  """The tokens of one file.

  Attributes:
    name: of the file, "" for the main one.
    directory: where \\import found it: its own \\input is looked up there first.
    at_is_letter: as between \\makeatletter and \\makeatother.
  """

  def __init__(self, text: str, name: str = "", directory: str = ""):
    self.name = name
    self.directory = directory
    self.at_is_letter = False
    self._text = text
    self._position = 0
    self._ready = []  # tokens of verbatim text, the next one last
    self._never_closed = set()  # verbatim environments whose end was searched for in vain

  def next(self) -> str | None:
    """The next token; None at the end of the file."""
    while True:
      if self._ready:
        return self._ready.pop()
      if self._position >= len(self._text):
        return None
      if self._text[self._position] == "\\" and self._skip_verbatim():
        continue
      letters = "a-zA-Z@" if self.at_is_letter else "a-zA-Z"
      match = _PATTERNS[letters].match(self._text, self._position)
      if match is None:  # a backslash that ends the file
        self._position = len(self._text)
        return None
      self._position = match.end()
      if match.lastgroup == "space":
        return PARAGRAPH if match.group().count("\n") > 1 else " "
      if match.lastgroup == "comment":
        # What follows is at the start of a line: a line break there is an empty line.
        if "\n" in match.group() and self._text[self._position : self._position + 1] == "\n":
          return PARAGRAPH
        continue
      return match.group(match.lastgroup)

  def _skip_verbatim(self) -> bool:
    """Passes over what TeX does not read as commands; False if there is none here."""
    text, position = self._text, self._position
    match = _VERBATIM.match(text, position)
    if match:
      end_mark = "\\end{" + match.group(1) + "}"
      if end_mark in self._never_closed:
        return False
      end = text.find(end_mark, match.end())
      if end < 0:
        self._never_closed.add(end_mark)
        return False
      self._position = end + len(end_mark)
      if match.group(1).rstrip("*") != "comment":
        self._ready.append(PARAGRAPH)
      return True
    match = _ADDRESS.match(text, position)
    if match:
      self._position = match.end()
      if match.group(1) != "href":
        self._ready.extend(reversed(_print_raw(match.group(2))))
      return True
    match = _VERB.match(text, position)
    if match:
      self._position = match.end()
      self._ready.extend(reversed(_print_raw(match.group(2))))
      return True
    return False

  def stop(self) -> None:
    """Ends the file here, as \\endinput does."""
    self._position = len(self._text)
    self._ready.clear()
