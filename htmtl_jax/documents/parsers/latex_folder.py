"""The folder of a LaTeX paper: which file is the paper, what belongs to it, what it may read."""

from collections.abc import Callable, Sequence
import os
import re

_MAX_BYTES = 32 << 20  # of one file
_CLASS = re.compile(
  rb"^[^%\r\n]*\\document(?:class|style)[ \t]*(?:\[[^\]]*\])?[ \t]*\{[ \t]*([^}\s]*)", re.MULTILINE
)
_PART_CLASSES = frozenset((b"subfiles", b"standalone"))  # of files that a paper includes


def _read(path: str) -> bytes | None:
  """The file, or None if it is none, too large, or not readable."""
  try:
    if not os.path.isfile(path) or os.path.getsize(path) > _MAX_BYTES:
      return None
    with open(path, "rb") as handle:
      return handle.read()
  except OSError:
    return None


def _list_tex(folder: str) -> list[str]:
  try:
    names = sorted(os.listdir(folder))
  except OSError:
    return []
  return [n for n in names if n.lower().endswith(".tex") and not n.startswith(".")]


def _is_main(data: bytes) -> bool:
  found = _CLASS.search(data)
  return bool(found) and found.group(1) not in _PART_CLASSES


def list_mains(folder: str) -> list[str]:
  """Names of the .tex files of a folder that are papers: they have a document class."""
  return [n for n in _list_tex(folder) if _is_main(_read(os.path.join(folder, n)) or b"")]


def is_latex_paper(folder: str) -> bool:
  """Whether a folder is one LaTeX paper: exactly one .tex file in it has a document class."""
  return len(list_mains(folder)) == 1


def leave_out_parts(folder: str, names: Sequence[str]) -> list[str]:
  """Of the files in a folder those that are papers of their own.

  Where one .tex file has a document class, those without are parts of it, and so are
  PDF files that a .tex file shows as figures, or that were made of a .tex file.
  """
  mains = list_mains(folder)
  if not mains:
    return list(names)
  sources = b"\n".join(_read(os.path.join(folder, n)) or b"" for n in _list_tex(folder))
  stems = {os.path.splitext(n)[0] for n in mains}
  kept = []
  for name in names:
    stem, suffix = os.path.splitext(name)
    if suffix.lower() == ".tex":
      is_part = name not in mains
    elif suffix.lower() == ".pdf":
      mention = rb"[{=/,]\s*" + re.escape(os.fsencode(stem)) + rb"(?:\.pdf)?\s*[},]"
      is_part = stem in stems or re.search(mention, sources, re.IGNORECASE) is not None
    else:
      is_part = False
    if not is_part:
      kept.append(name)
  return kept


def make_input_reader(
  folder: str, decode: Callable[[bytes, str], str]
) -> Callable[[str], str | None]:
  """A function from the name of an included file to its text, confined to a folder.

  Args:
    folder: of the paper.
    decode: (content, path) to text.

  Returns:
    The function. It gives None for what is no file there: absolute names, names with
    "..", links that lead out of the folder, and what is no regular file.
  """
  root = os.path.realpath(folder)

  def read_input(name: str) -> str | None:
    if not name or "\0" in name or os.path.isabs(name) or ".." in re.split(r"[/\\]", name):
      return None
    try:
      path = os.path.realpath(os.path.join(root, name))
      if os.path.commonpath([root, path]) != root:
        return None
    except (OSError, ValueError):
      return None
    data = _read(path)
    return None if data is None else decode(data, path)

  return read_input
