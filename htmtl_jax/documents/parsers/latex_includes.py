"""The files that a LaTeX paper includes, found and bounded."""

from collections.abc import Callable, Sequence
import posixpath

from absl import logging

from htmtl_jax.documents.parsers.latex_expander import Expander, join_tokens
from htmtl_jax.documents.parsers.latex_tokens import Source, clean_source, get_document_body

COMMANDS = frozenset(("input", "include", "subfile", "import", "subimport"))
MAX_FILES = 500  # that one paper may include, every time counted
MAX_CHARACTERS = 32 << 20  # of all included files
_MAX_DEPTH = 20

ReadInput = Callable[[str], str | None]  # a name in the paper's folder to the file's content


class Includer:
  """Pushes included files to an expander; what cannot be included is warned of."""

  def __init__(self, expander: Expander, read_input: ReadInput | None, document_id: str):
    self._expander = expander
    self._read_input = read_input
    self._document_id = document_id
    self._num_files = 0
    self._num_characters = 0

  def include(self, command: str) -> None:
    """Does \\input and its like, whose arguments come next."""
    directory = ""
    if command in ("import", "subimport"):
      directory = join_tokens(self._expander.read_argument(is_short=True) or ())
    name = self._read_name()
    if not name:
      return
    problem = self._push(directory, name)
    if problem:
      logging.warning("%s: \\%s{%s} left out: %s", self._document_id, command, name, problem)

  def _read_name(self) -> str:
    if self._expander.peek() == "{":
      tokens = self._expander.read_argument(is_short=True) or ()
    else:  # \input name, up to a space
      tokens = []
      while (token := self._expander.peek(skip_spaces=False)) and token[0] not in " \\{}":
        tokens.append(self._expander.read_raw())
    return join_tokens(tokens).strip('"')

  def _push(self, directory: str, name: str) -> str:
    """Returns why not, or ""."""
    files = self._expander.files
    self._num_files += 1
    if self._read_input is None:
      return "no folder is known to look in"
    if self._num_files > MAX_FILES:
      return f"more than {MAX_FILES} files"
    if len(files) > _MAX_DEPTH:
      return f"more than {_MAX_DEPTH} files inside one another"
    outer = files[-1].directory if files else ""
    for candidate in _list_candidates((outer, ""), directory, name):
      if any(candidate == file.name for file in files):
        return "it includes itself"
      text = self._read_input(candidate)
      if text is not None:
        break
    else:
      return "no such file in the paper's folder"
    self._num_characters += len(text)
    if self._num_characters > MAX_CHARACTERS:
      return "the included files are too large together"
    base = posixpath.join(outer, directory)
    self._expander.push_file(Source(get_document_body(clean_source(text)), candidate, base))
    return ""


def _list_candidates(bases: Sequence[str], directory: str, name: str) -> list[str]:
  """Names to try: TeX adds ".tex", and looks in \\import's folder, then in the paper's."""
  suffixes = ("",) if name.endswith(".tex") else (".tex", "")
  places = dict.fromkeys(posixpath.join(base, directory, name) for base in bases)
  return [posixpath.normpath(place) + suffix for place in places for suffix in suffixes]
