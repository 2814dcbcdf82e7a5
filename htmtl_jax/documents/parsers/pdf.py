"""PDF to `Document`, as well as it goes: a PDF knows glyphs and places, no paragraphs.

Running lines and page numbers go, words broken at line ends are joined, paragraphs are
put together again; then the headings are guessed as in plain text.
"""

import collections
from collections.abc import Iterator
import contextlib
import io
import logging
import math
import re
import time

from absl import logging as absl_logging

from htmtl_jax.documents.document import Document
from htmtl_jax.documents.parsers.blocks import NUMBERING, is_left_out, normalize_heading
from htmtl_jax.documents.parsers.plain_text import KNOWN_HEADINGS, parse_plain_text
from htmtl_jax.errors import UserError

MAX_PAGES = 2_000
MAX_SECONDS = 120.0  # for one file; a thesis takes a tenth

_MIN_LETTERS = 20  # fewer are the stamp of a scanner
_EDGE_LINES = 3  # of a page, in which running lines are looked for
_RUNNING_SHARE = 0.4  # of the pages; odd and even pages have lines of their own,
_RUNNING_PAGES = 4  # and so have chapters
_SHORT_LINE = 0.75  # of the usual length: the last line of a paragraph
_MAX_HEADING_WORDS = 12
_MAX_HEADING_NUMBER = 40  # what starts with a larger one is a year or an amount
_MIN_TITLE_WORDS, _MAX_TITLE_WORDS = 3, 30
_TITLE_SIZE = 1.15  # of the usual letters: a title is larger than that

_PAGE_NUMBER = re.compile(r"(?:page )?[-–—\s]*#[-–—\s]*(?:(?:of|/) *#)?", re.IGNORECASE)
_ENDS_SENTENCE = re.compile(r"[.!?:][\"”’')\]\d,\s]*$")
_RUN_IN_ABSTRACT = re.compile(r"^(abstract)\s*[.:—–-]+\s*(?=\w)", re.IGNORECASE)
_BROKEN_WORD = re.compile(r"([^\W\d_]+)[-\u00ad\u2010]$")
_FIRST_WORD = re.compile(r"[^\W\d_]+")
_WORDS = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_LIGATURES = str.maketrans(
  {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}
)
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class _OutOfTime(Exception):
  """Raised from inside the library."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """The library warns of every flaw that it works around."""
  logger = logging.getLogger("pypdf")
  level = logger.level
  logger.setLevel(logging.CRITICAL)
  try:
    yield
  finally:
    logger.setLevel(level)


# From the file to lines.


def _open(data: bytes, document_id: str):
  """The pages.

  Raises:
    UserError: damaged, encrypted, or too long.
  """
  try:
    import pypdf
  except ImportError as error:
    raise UserError('PDF needs the extra: pip install "htmtl_jax[pdf]"') from error
  try:
    reader = pypdf.PdfReader(io.BytesIO(data))
    is_locked = reader.is_encrypted and not reader.decrypt("")
    num_pages = 0 if is_locked else len(reader.pages)
  except pypdf.errors.DependencyError:  # a cipher that is not installed
    is_locked = True
  except Exception as error:  # whatever a damaged file makes the library raise
    raise UserError(
      f"{document_id}: no PDF, or a damaged one ({type(error).__name__}: "
      f"{' '.join(str(error).split())[:120]}); print it to a new PDF, or give another format"
    ) from error
  if is_locked:
    raise UserError(f"{document_id}: an encrypted PDF; save it without a password")
  if num_pages > MAX_PAGES:
    raise UserError(
      f"{document_id}: {num_pages:,} pages are too many for a paper (at most {MAX_PAGES:,}); "
      "split it"
    )
  return reader.pages


class _SizedText:
  """Takes the pieces of the first page with the size of their letters."""

  def __init__(self):
    self.pieces = []

  def visit(self, text, cm, tm, font, size) -> None:
    del font
    if not text.strip() or abs(tm[1]) > abs(tm[0]):  # a stamp along the margin is turned
      return
    scale = math.hypot(tm[2], tm[3]) * math.hypot(cm[2], cm[3])
    self.pieces.append((text, round(float(size) * scale, 1)))

  def find_title(self) -> str:
    """The largest letters, if they are few words and larger than most; else ""."""
    letters = collections.Counter()
    for text, size in self.pieces:
      letters[size] += len(text)
    if not letters:
      return ""
    usual, largest = letters.most_common(1)[0][0], max(letters)
    title = " ".join(" ".join(t for t, size in self.pieces if size == largest).split())
    is_title = _MIN_TITLE_WORDS <= len(title.split()) <= _MAX_TITLE_WORDS
    return title if is_title and largest > _TITLE_SIZE * usual else ""


def _extract_pages(data: bytes, document_id: str) -> tuple[list[list[str]], str]:
  """The lines of each page, and the title as far as its letters tell."""
  deadline = time.monotonic() + MAX_SECONDS
  sized, lines, num_failed, error = _SizedText(), [], 0, None

  def check_time(*_) -> None:
    if time.monotonic() > deadline:
      raise _OutOfTime

  pages = _open(data, document_id)
  for index in range(len(pages)):
    try:
      check_time()
      visitors = {"visitor_operand_before": check_time}  # asks at every operator of a page
      if index == 0:
        visitors["visitor_text"] = sized.visit
      text = pages[index].extract_text(**visitors)
    except _OutOfTime:
      raise UserError(
        f"{document_id}: reading this PDF takes more than {MAX_SECONDS:.0f} s (stopped at page "
        f"{index + 1}); print it to a new PDF, or give another format"
      ) from None
    except Exception as failure:  # whatever a damaged page makes the library raise
      num_failed, error, text = num_failed + 1, failure, ""
    text = _CONTROL_CHARACTERS.sub("", text.translate(_LIGATURES).replace("\r", "\n"))
    lines.append([" ".join(line.split()) for line in text.split("\n")])
  if num_failed:
    absl_logging.warning(
      "%s: %d of %d pages could not be read (%s)", document_id, num_failed, len(lines), error
    )
  return lines, sized.find_title()


# From lines to paragraphs.


def _get_edges(lines: list[str]) -> list[int]:
  """Where the first and the last lines of a page are."""
  filled = [i for i, line in enumerate(lines) if line]
  return sorted(set(filled[:_EDGE_LINES] + filled[-_EDGE_LINES:]))


def _remove_running_lines(pages: list[list[str]]) -> list[list[str]]:
  """Leaves out page numbers, and lines at the edge of many pages, equal but for numbers."""
  keys = [{i: re.sub(r"\d+", "#", page[i]).lower() for i in _get_edges(page)} for page in pages]
  counts = collections.Counter(key for page_keys in keys for key in set(page_keys.values()))
  enough = max(2, min(_RUNNING_PAGES, math.ceil(_RUNNING_SHARE * len(pages))))

  def is_kept(page_keys: dict[int, str], i: int) -> bool:
    key = page_keys.get(i, "")
    return counts[key] < enough and not _PAGE_NUMBER.fullmatch(key)

  return [
    [line for i, line in enumerate(page) if is_kept(page_keys, i)]
    for page, page_keys in zip(pages, keys)
  ]


def _is_heading(line: str, usual: float, is_after_end: bool, is_in_references: bool) -> bool:
  """Whether a line looks like a heading to `plain_text`, and is not the middle of a sentence."""
  if not line or len(line.split()) > _MAX_HEADING_WORDS or line[-1] in ".,;:?!":
    return False
  if normalize_heading(line) in KNOWN_HEADINGS or is_left_out(line):
    return line[:1].isupper() or line[:1].isdigit()
  if is_in_references or not is_after_end or len(line) > _SHORT_LINE * usual:
    return False
  if sum(map(str.isalpha, line)) > 3 and line.upper() == line and line.lower() != line:
    return True
  numbering = NUMBERING.match(line)
  number = numbering.group(1) if numbering else None
  if not number or int(number.split(".")[0]) > _MAX_HEADING_NUMBER:
    return False
  return line[numbering.end() :][:1].isupper()


def _join_lines(lines: list[str], vocabulary: collections.Counter) -> str:
  """One line of several; a word broken between two is whole again."""
  text = ""
  for line in lines:
    broken, first = _BROKEN_WORD.search(text), _FIRST_WORD.match(line)
    if not broken or not first or not first.group()[0].islower():
      text = f"{text} {line}" if text else line
      continue
    start, end = broken.group(1).lower(), first.group().lower()
    keeps_hyphen = vocabulary[f"{start}-{end}"] and not vocabulary[start + end]
    text = text[:-1] + ("-" if keeps_hyphen else "") + line
  return text


def _make_paragraphs(lines: list[str]) -> str:
  """Text with a blank line between paragraphs, and around headings."""
  lengths = sorted(len(line) for line in lines if line)
  usual = lengths[int(0.8 * (len(lengths) - 1))] if lengths else 0
  vocabulary = collections.Counter(w.lower() for line in lines for w in _WORDS.findall(line))
  chunks, current, is_in_references = [], [], False

  def end_chunk() -> None:
    if current:
      chunks.append(_join_lines(current, vocabulary))
      current.clear()

  for line in lines:
    is_after_end = not current or bool(_ENDS_SENTENCE.search(current[-1]))
    if not line:
      if is_after_end and not is_in_references:
        end_chunk()
      continue
    abstract = _RUN_IN_ABSTRACT.match(line)
    if abstract:
      end_chunk()
      chunks.append(abstract.group(1).capitalize())
      line = line[abstract.end() :]
    elif _is_heading(line, usual, is_after_end, is_in_references):
      end_chunk()
      chunks.append(line)
      is_in_references = is_left_out(line)
      continue
    current.append(line)
    if not is_in_references and _ENDS_SENTENCE.search(line) and len(line) < _SHORT_LINE * usual:
      end_chunk()
  end_chunk()
  return "\n\n".join(chunks)


def _take_title(lines: list[str], title: str) -> list[str]:
  """The lines without those that are the title."""
  words = "".join(title.split())
  for start in range(len(lines)):
    joined = ""
    for end in range(start, len(lines)):
      joined += "".join(lines[end].split())
      if not words.startswith(joined):
        break
      if joined == words:
        return lines[:start] + lines[end + 1 :]
  return lines


def parse_pdf(data: bytes, id: str) -> Document:  # pylint: disable=redefined-builtin
  """Parses a PDF that holds text. Best effort: give another format where there is one.

  Args:
    data: the file's content.
    id: of the document.

  Returns:
    The document, its headings guessed (`parse_plain_text`). The title is what the
    first page sets in the largest letters.

  Raises:
    UserError: pypdf is not installed, or the file is damaged, encrypted, without text (a
      scan), or takes too long.
  """
  with _quiet():
    pages, title = _extract_pages(data, id)
  if sum(c.isalpha() for page in pages for line in page for c in line) < _MIN_LETTERS:
    raise UserError(f"{id}: no text in this PDF; it may be a scan, which needs OCR first")
  if title and pages:
    pages[0] = _take_title(pages[0], title)
  lines = [line for page in _remove_running_lines(pages) for line in (*page, "")]
  text = _make_paragraphs(lines)
  return parse_plain_text(f"{title}\n\n{text}" if title else text, id)
