"""Papers as JSON lines, plain or gzip: one object a line, the project's exchange format.

    {"id": "p1", "title": "...",
     "abstract": ["paragraph", ...], "abstract_labels": ["Methods", ...],
     "summaries": {"one_sentence": "..."}, "section_summaries": ["...", ...],
     "sections": [{"heading": "...", "paragraphs": ["...", ...]}, ...],
     "paragraphs_are": "pseudo: ..."}

Only `id` and `sections` are required. A paragraph is a string, which is split
into sentences, or a list of sentences, which is taken as it is. Further keys
are ignored.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import gzip
import hashlib
import json
import os
import zlib

from absl import logging

from htmtl_jax.documents.document import Document, Paragraph, Section
from htmtl_jax.documents.sentences import split_sentences
from htmtl_jax.errors import UserError

SUFFIXES = (".jsonl", ".jsonl.gz")
ON_BAD_LINE = ("skip", "stop")
_MAX_WARNINGS = 5


@dataclasses.dataclass(frozen=True)
class Line:
  """A line of a corpus: its document's id, its bytes, and the file and number for messages."""

  id: str
  text: bytes
  where: str


def list_files(path: str, exclude: Sequence[str] = ()) -> list[str]:
  """The files to read, sorted by name.

  Args:
    path: a file of any name, or a folder, of which the `SUFFIXES` count.
    exclude: names to leave out of a folder, with or without their suffix.

  Raises:
    UserError: if there is nothing at `path`, or nothing to read in the folder.
  """
  path = os.path.expanduser(str(path))
  if os.path.isfile(path):
    return [path]
  if not os.path.isdir(path):
    problem = f"{path}: no such file or folder" if path else "config.data.path is empty"
    raise UserError(
      f"{problem}; set config.data.path to a {' or '.join(SUFFIXES)} file or a folder of them"
    )
  names = sorted(n for n in os.listdir(path) if n.endswith(SUFFIXES))
  kept = [n for n in names if n not in exclude and n.split(".jsonl")[0] not in exclude]
  if not kept:
    problem = (
      f"all {len(names)} files are excluded; shorten config.data.exclude"
      if names
      else f"no {' or '.join(SUFFIXES)} files in this folder; give another path"
    )
    raise UserError(f"{path}: {problem}")
  return [os.path.join(path, n) for n in kept]


def assign_split(document_id: str, seed: int, validation_share: float, test_share: float) -> str:
  """The split of a document, by a hash of the seed and its id alone.

  Adding or removing other documents moves none, and raising `validation_share`
  moves none out of test.

  Args:
    document_id: the id.
    seed: another seed gives another, independent split.
    validation_share: from 0 to 1.
    test_share: from 0 to 1; the two add up to at most 1.

  Returns:
    "train", "validation" or "test".
  """
  digest = hashlib.sha256(f"{seed}/{document_id}".encode("utf-8", "replace")).digest()
  point = int.from_bytes(digest[:8], "big") / 2**64
  if point < test_share:
    return "test"
  return "validation" if point < test_share + validation_share else "train"


class BadLines:
  """What happens to malformed lines: told and counted, or the end of the run.

  Attributes:
    count: lines so far.
  """

  def __init__(self, on_bad_line: str = "skip", tell: bool = True):
    """Args:
      on_bad_line: "skip" or "stop".
      tell: log the first ones; False for a second pass over the same lines.

    Raises:
      UserError: for another word.
    """
    if on_bad_line not in ON_BAD_LINE:
      raise UserError(
        f"config.data.on_bad_line: {on_bad_line!r} is unknown; known: {', '.join(ON_BAD_LINE)}"
      )
    self._stop = on_bad_line == "stop"
    self._tell = tell
    self.count = 0

  def add(self, where: str, reason) -> None:
    """Logs the first few under "skip"; raises UserError under "stop"."""
    if self._stop:
      raise UserError(
        f"{where}: {reason}; correct the line, or set config.data.on_bad_line to 'skip'"
      )
    self.count += 1
    if self._tell and self.count <= _MAX_WARNINGS:
      last = " (further ones only counted)" if self.count == _MAX_WARNINGS else ""
      logging.warning("%s: %s; skipped%s", where, reason, last)


def iterate_lines(path: str, exclude: Sequence[str], bad_lines: BadLines) -> Iterator[Line]:
  """The lines of a corpus with their ids, in the order of the files' names and lines.

  Args:
    path: a file, or a folder of `SUFFIXES` files.
    exclude: names of files to leave out of a folder.
    bad_lines: told of every line that is no JSON object with an id.

  Raises:
    UserError: a missing path, a broken gzip file, or what `bad_lines` raises.
  """
  for file in list_files(path, exclude):
    for number, text in _iterate_lines(file):
      where = f"{file}, line {number}"
      try:
        yield Line(load_record(text)["id"], text, where)
      except ValueError as error:
        bad_lines.add(where, error)


def parse_line(text: bytes) -> Document:
  """The document on one line.

  Raises:
    ValueError: with a short reason, for a malformed one.
  """
  return parse_record(load_record(text))


def _iterate_lines(file: str) -> Iterator[tuple[int, bytes]]:
  """The lines with anything on them, numbered from 1."""
  number = 0
  try:
    with (gzip.open if file.endswith(".gz") else open)(file, "rb") as handle:
      for number, line in enumerate(handle, 1):
        if number == 1:
          line = line.removeprefix(b"\xef\xbb\xbf")
        if line.strip():
          yield number, line
  except (EOFError, zlib.error, gzip.BadGzipFile) as error:
    raise UserError(
      f"{file}: broken gzip file after line {number} ({error}); copy or compress it again"
    ) from error
  except OSError as error:
    raise UserError(
      f"{file}: cannot be read ({error.strerror or error}); check the file and its permissions"
    ) from error


def load_record(line: bytes) -> dict:
  """The JSON object of a line, with an id; ValueError with a short reason if there is none."""
  try:
    record = json.loads(line)
  except UnicodeDecodeError as error:
    raise ValueError(f"not UTF-8 ({error.reason} at byte {error.start})") from error
  except json.JSONDecodeError as error:
    raise ValueError(f"not JSON ({error.msg} at column {error.colno})") from error
  except RecursionError as error:
    raise ValueError("not usable JSON (nested too deeply)") from error
  if not isinstance(record, dict):
    raise ValueError(f"should be a JSON object, is a {type(record).__name__}")
  if not isinstance(record.get("id"), str) or not record["id"]:
    raise ValueError("'id' should be a non-empty string")
  return record


def parse_record(record: dict) -> Document:
  """Makes a document of one parsed JSON object.

  Raises:
    ValueError: with a short reason, if something needed is missing or of a wrong type.
  """
  raw_sections = _get(record, "sections", list, None)
  if not raw_sections:
    raise ValueError("'sections' should be a non-empty list")
  raw_summaries = record.get("section_summaries") or []
  if not isinstance(raw_summaries, list) or len(raw_summaries) not in (0, len(raw_sections)):
    raise ValueError("'section_summaries' should be a list with one item for each section")
  sections, section_summaries = [], []
  for c, raw in enumerate(raw_sections):
    if not isinstance(raw, dict):
      raise ValueError(f"section {c} should be an object, is a {type(raw).__name__}")
    heading = " ".join(_clean(_get(raw, "heading", str, "")).split())
    raw_paragraphs = _get(raw, "paragraphs", list, [])
    paragraphs = [_parse_paragraph(p, f"a paragraph of section {c}") for p in raw_paragraphs]
    paragraphs = tuple(p for p in paragraphs if p)
    if heading or paragraphs:
      sections.append(Section(heading, paragraphs))
      if raw_summaries:
        section_summaries.append(_parse_summary(raw_summaries[c], f"section summary {c}"))
  if not any(section.paragraphs for section in sections):
    raise ValueError("'sections' hold no text")

  raw_abstract = record.get("abstract") or []
  if isinstance(raw_abstract, str):
    raw_abstract = [raw_abstract]
  if not isinstance(raw_abstract, list):
    raise ValueError("'abstract' should be a list of paragraphs")
  labels = _get(record, "abstract_labels", list, [])
  if labels and (
    len(labels) != len(raw_abstract) or not all(isinstance(label, str) for label in labels)
  ):
    raise ValueError("'abstract_labels' should be one string for each paragraph of the abstract")
  abstract = [_parse_paragraph(p, "a paragraph of the abstract") for p in raw_abstract]
  labels = tuple(
    " ".join(_clean(label).split()) for label, p in zip(labels, abstract, strict=False) if p
  )  # there may be none

  summaries = {}
  for kind, raw in _get(record, "summaries", dict, {}).items():
    summary = _parse_summary(raw, f"summary {kind!r}")
    if summary:
      summaries[kind] = summary
  is_pseudo = _get(record, "paragraphs_are", str, "").startswith("pseudo")
  return Document(
    id=record["id"],
    title=" ".join(_clean(_get(record, "title", str, "")).split()),
    sections=tuple(sections),
    abstract=tuple(p for p in abstract if p),
    abstract_labels=labels,
    summaries=summaries,
    section_summaries=tuple(section_summaries),
    paragraphs_are="pseudo" if is_pseudo else "source",
  )


def _get(record: dict, key: str, kind: type, default):
  """record[key], the default if it is missing or null, ValueError if it is of another type."""
  value = record.get(key)
  if value is None:
    return default
  if not isinstance(value, kind):
    raise ValueError(f"{key!r} should be a {kind.__name__}, is a {type(value).__name__}")
  return value


def _clean(text: str) -> str:
  """Without NUL characters and lone surrogates, which JSON escapes can smuggle in."""
  return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def _parse_paragraph(raw, what: str) -> Paragraph:
  if isinstance(raw, str):
    return tuple(split_sentences(_clean(raw)))
  if isinstance(raw, list) and all(isinstance(s, str) for s in raw):
    sentences = (" ".join(_clean(s).split()) for s in raw)
    return tuple(s for s in sentences if s)
  raise ValueError(f"{what} should be a string or a list of strings")


def _parse_summary(raw, what: str) -> Paragraph:
  """A string, or a list of strings (bullets, paragraphs), as sentences; null is none."""
  raw = [] if raw is None else [raw] if isinstance(raw, str) else raw
  if not isinstance(raw, list) or not all(isinstance(s, str) for s in raw):
    raise ValueError(f"{what} should be a string or a list of strings")
  return tuple(sentence for s in raw for sentence in split_sentences(_clean(s)))
