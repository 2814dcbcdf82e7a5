"""A paper's file, or a folder of papers in mixed formats, to documents.

The suffix decides the format, the file's name is the id. Every format is a row of
`FORMATS`; its parser is imported when a file needs it.
"""

from collections.abc import Callable, Iterator
import dataclasses
import os

from absl import logging

from htmtl_jax.documents.document import Document
from htmtl_jax.documents.parsers import latex_folder
from htmtl_jax.errors import UserError

_MIB = 1 << 20


def _parse_jats(data: bytes, id: str, path: str) -> Document:  # pylint: disable=redefined-builtin
  from htmtl_jax.documents.parsers.jats import parse_jats

  return parse_jats(data, id, path)


def _parse_html(data: bytes, id: str, path: str) -> Document:  # pylint: disable=redefined-builtin
  from htmtl_jax.documents.parsers.html import parse_html
  from htmtl_jax.reports.page import is_own_page

  if is_own_page(data):  # written beside the papers by an earlier `summarize`
    raise UserError(f"{id}: is a report of htmtl_jax, not a paper; give the paper itself")
  return parse_html(data, id, path)


def _parse_markdown(data: bytes, id: str, path: str) -> Document:  # pylint: disable=redefined-builtin
  from htmtl_jax.documents.parsers.markdown import parse_markdown

  return parse_markdown(decode_text(data, path), id)


def _parse_plain_text(data: bytes, id: str, path: str) -> Document:  # pylint: disable=redefined-builtin
  from htmtl_jax.documents.parsers.plain_text import parse_plain_text

  return parse_plain_text(decode_text(data, path), id)


def _parse_latex(data: bytes, id: str, path: str) -> Document:  # pylint: disable=redefined-builtin
  from htmtl_jax.documents.parsers.latex import parse_latex

  read_input = latex_folder.make_input_reader(os.path.dirname(path) or ".", decode_text)
  return parse_latex(decode_text(data, path), id, read_input)


def _parse_docx(data: bytes, id: str, path: str) -> Document:  # pylint: disable=redefined-builtin
  from htmtl_jax.documents.parsers.docx import parse_docx

  return parse_docx(data, id)


def _parse_pdf(data: bytes, id: str, path: str) -> Document:  # pylint: disable=redefined-builtin
  from htmtl_jax.documents.parsers.pdf import parse_pdf

  return parse_pdf(data, id)


@dataclasses.dataclass(frozen=True)
class Format:
  """One row of the table of formats.

  Attributes:
    name: for people.
    suffixes: of its files, lower case.
    parse: (content, id, path) to a document; the path is for messages, and for what
      the file includes. Raises UserError with one clear line for what is no such file.
    max_bytes: larger files are refused, which bounds time and memory. Where a format
      carries pictures its files are larger.
  """

  name: str
  suffixes: tuple[str, ...]
  parse: Callable[[bytes, str, str], Document]
  max_bytes: int = 32 * _MIB


FORMATS = (
  Format("JATS XML", (".xml", ".nxml"), _parse_jats),
  Format("HTML", (".html", ".htm", ".xhtml"), _parse_html),
  # markdown-it-py reads 20 kB a second of nothing but brackets: this bounds the time.
  Format("Markdown", (".md", ".markdown"), _parse_markdown, max_bytes=4 * _MIB),
  Format("plain text", (".txt", ".text", ""), _parse_plain_text),
  Format("LaTeX", (".tex",), _parse_latex),
  Format("DOCX", (".docx",), _parse_docx, max_bytes=128 * _MIB),
  Format("PDF", (".pdf",), _parse_pdf, max_bytes=128 * _MIB),
)
_FORMAT_OF_SUFFIX = {suffix: format for format in FORMATS for suffix in format.suffixes}
KNOWN_SUFFIXES = tuple(suffix for suffix in _FORMAT_OF_SUFFIX if suffix)


def decode_text(data: bytes, path: str) -> str:
  """The text of a file, without NUL characters; not UTF-8 or UTF-16, it is read as Latin-1."""
  if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
    text = data.decode("utf-16", "replace")
  else:
    try:
      text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
      logging.warning("%s: not UTF-8 at byte %d; read as Latin-1", path, error.start)
      text = data.decode("latin-1")
  return text.replace("\x00", "")


def read_paper(path: str) -> Document:
  """Reads one file, or the folder of one LaTeX paper; its name is the id.

  Raises:
    UserError: a missing file, another folder, an unknown suffix, a file that is too large or
      damaged, or one without text.
  """
  path = os.path.expanduser(str(path))
  if os.path.isdir(path):
    mains = latex_folder.list_mains(path)
    if len(mains) != 1:
      raise UserError(
        f"{path}: is a folder; give a file, or a folder in which exactly one .tex file has a "
        f"\\documentclass (found: {', '.join(mains) or 'none'})"
      )
    folder_name = os.path.basename(os.path.abspath(path))
    return _read_file(os.path.join(path, mains[0]), folder_name)
  if not os.path.exists(path):
    raise UserError(f"{path}: no such file; check the path")
  return _read_file(path, os.path.splitext(os.path.basename(path))[0])


def _read_file(path: str, document_id: str) -> Document:
  suffix = os.path.splitext(os.path.basename(path))[1]
  found = _FORMAT_OF_SUFFIX.get(suffix.lower())
  if found is None:
    raise UserError(
      f"{path}: unknown suffix {suffix.lower()!r}; known: {', '.join(KNOWN_SUFFIXES)}, or none"
    )
  try:
    size = os.path.getsize(path)
    if size > found.max_bytes:
      raise UserError(
        f"{path}: {size / _MIB:,.0f} MiB is too large for a paper in {found.name} (at most "
        f"{found.max_bytes // _MIB} MiB); split it, or give another file"
      )
    with open(path, "rb") as handle:
      data = handle.read()
  except OSError as error:
    raise UserError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
  try:
    document = found.parse(data, document_id, path)
  except UserError as error:  # parsers know the paper by its id, people by its path
    raise UserError(f"{path}: {str(error).removeprefix(f'{document_id}: ')}") from error
  if not document.sections:
    raise UserError(f"{path}: no text in this file; give a paper with at least one sentence")
  return document


def list_papers(path: str) -> list[str]:
  """The papers of a folder, sorted by name; of a file, itself.

  These are its files with a known suffix and its sub-folders that are a LaTeX paper,
  without the parts of a LaTeX paper; a folder that holds nothing but one LaTeX paper is
  itself that paper.

  Raises:
    UserError: a missing path, or nothing to read in the folder.
  """
  path = os.path.expanduser(str(path))
  if not os.path.isdir(path):
    return [path]
  visible = [n for n in sorted(os.listdir(path)) if not n.startswith(".")]
  is_folder = {n: os.path.isdir(os.path.join(path, n)) for n in visible}
  files = [n for n in visible if n.lower().endswith(KNOWN_SUFFIXES) and not is_folder[n]]
  files = latex_folder.leave_out_parts(path, files)
  names = [
    n
    for n in visible
    if n in files or (is_folder[n] and latex_folder.is_latex_paper(os.path.join(path, n)))
  ]
  if len(names) == 1 and latex_folder.list_mains(path) == names:
    return [path]
  if not names:
    raise UserError(
      f"{path}: no papers in this folder; known suffixes: {', '.join(KNOWN_SUFFIXES)}"
    )
  return [os.path.join(path, name) for name in names]


def iterate_papers(path: str) -> Iterator[Document]:
  """Reads a file, or every paper of a folder (`list_papers`), one after the other.

  Unreadable files of a folder are logged and left out. Of files that differ in
  their suffix only, all but the first have it in their id.

  Raises:
    UserError: a missing path, nothing to read in the folder, or nothing readable.
  """
  path = os.path.expanduser(str(path))
  if not os.path.isdir(path):
    yield read_paper(path)
    return
  files, used, failures = list_papers(path), set(), []
  for file in files:
    try:
      document = read_paper(file)
    except UserError as error:
      failures.append(str(error))
      logging.warning("%s; left out", error)
      continue
    if document.id in used:
      document = dataclasses.replace(document, id=os.path.basename(file))
    used.add(document.id)
    yield document
  if not used:
    raise UserError(f"{path}: none of {len(files)} files could be read; the first: {failures[0]}")


def read_papers(path: str) -> list[Document]:
  """`iterate_papers` as a list."""
  return list(iterate_papers(path))
