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

from collections.abc import Callable, Iterator, Sequence
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


@dataclasses.dataclass
class ReadReport:
  """What `read_jsonl` met, up to date while it runs."""

  num_documents: int = 0
  num_bad_lines: int = 0
  num_duplicates: int = 0


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
    raise UserError(
      f"{path or 'the empty path'}: no such file or folder; set config.data.path "
      f"to a {' or '.join(SUFFIXES)} file or a folder of them"
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


def read_jsonl(
  path: str,
  on_bad_line: str = "skip",
  max_documents: int | None = None,
  report: ReadReport | None = None,
  exclude: Sequence[str] = (),
  select: Callable[[str], bool] | None = None,
) -> Iterator[Document]:
  """Reads documents one by one, in the order of the files' names and lines.

  Args:
    path: a file, or a folder of `SUFFIXES` files.
    on_bad_line: "skip" logs the first malformed lines and counts all, "stop" raises.
    max_documents: stop after so many; None or 0 for all.
    report: filled in on the way.
    exclude: names of files to leave out of a folder.
    select: called with each id; False leaves the document out after it has been
      counted, before the work of splitting its sentences.

  Yields:
    Documents with different ids: the second of two equal ids is left out and counted.

  Raises:
    UserError: a missing path, a broken gzip file, a malformed line under "stop",
      or no documents at all.
  """
  if on_bad_line not in ON_BAD_LINE:
    raise UserError(f"unknown on_bad_line {on_bad_line!r}; known: {', '.join(ON_BAD_LINE)}")
  report = ReadReport() if report is None else report
  seen = set()
  for file in list_files(path, exclude):
    for number, line in _iterate_lines(file):
      try:
        record = _load_record(line)
        document_id = record["id"]
        if document_id in seen:
          report.num_duplicates += 1
          continue
        is_selected = select is None or select(document_id)
        document = parse_record(record) if is_selected else None
      except ValueError as error:
        if on_bad_line == "stop":
          raise UserError(
            f"{file}, line {number}: {error}; correct the line, or set "
            "config.data.on_bad_line to 'skip'"
          ) from error
        report.num_bad_lines += 1
        if report.num_bad_lines <= _MAX_WARNINGS:
          logging.warning(
            "%s, line %d: %s; skipped%s",
            file,
            number,
            error,
            " (further ones only counted)" if report.num_bad_lines == _MAX_WARNINGS else "",
          )
        continue
      seen.add(document_id)
      report.num_documents += 1
      if document is not None:
        yield document
      if max_documents and report.num_documents >= max_documents:
        return
  if not report.num_documents:
    raise UserError(
      f"{path}: no documents ({report.num_bad_lines} malformed lines); "
      "every line needs at least an id and sections"
    )


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


def _load_record(line: bytes) -> dict:
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
