"""Streams documents for a dataset, and writes a document as an example of it.

An example is four strings: `id`, `title`, `abstract` (a sentence a line), and `document`,
which is JSON of the whole document with the version of this form in front.
"""

import collections
from collections.abc import Iterator
import dataclasses
import types

from absl import logging

from htmtl_jax.datasets.raw_release import RawFile, parse_paper
from htmtl_jax.datasets.repair import RepairCounts, repair
from htmtl_jax.documents import sources
from htmtl_jax.documents.document import Document
from htmtl_jax.documents.serialise import document_from_json, document_to_json
from htmtl_jax.errors import UserError

# Goes up whenever `document` changes so that an older program could not read it.
SCHEMA_VERSION = 1
_PREFIX = f'{{"schema_version": {SCHEMA_VERSION}, '
_MAX_WARNINGS = 5


def _count(meaning: str):
  return dataclasses.field(default=0, metadata={"meaning": meaning})


@dataclasses.dataclass
class SplitReport:
  """What was met in a split, up to date while it is streamed.

  Attributes:
    repairs: None for a corpus that needs none.
  """

  records: int = _count("records in the source")
  malformed: int = _count("records that could not be read, left out")
  repeated_ids: int = _count("records with the id of an earlier one, left out")
  renamed_ids: int = _count(
    "held-out records with the id of an earlier one, kept under another id (ID#2)"
  )
  empty_left_out: int = _count("training papers without any text, left out")
  documents: int = _count("documents in the dataset")
  repairs: RepairCounts | None = None


def encode_example(document: Document) -> dict[str, str]:
  """The example of a document."""
  return {
    "id": document.id,
    "title": document.title,
    "abstract": "\n".join(document.abstract_sentences),
    "document": _PREFIX + document_to_json(document).removeprefix("{"),
  }


def decode_document(text: str) -> Document:
  """The document that `encode_example` wrote as "document".

  Raises:
    ValueError, KeyError or TypeError: if it is of another version or another form.
  """
  if not text.startswith(_PREFIX):
    raise ValueError(f"should begin with {_PREFIX!r}, begins with {text[: len(_PREFIX)]!r}")
  return document_from_json(text)


def stream_raw(
  file: RawFile, split: str, text_source: str, report: SplitReport
) -> Iterator[Document | None]:
  """Repairs the papers of a split, one for each line, in the order of the file.

  Of the training split, what cannot be used is left out and counted. Of the others nothing
  is: scores are means over all papers, so an empty paper stays as a document without
  sections, and a line that cannot be read is an error.

  Args:
    file: of the split.
    split: "train", "validation" or "test".
    text_source: see `repair.py`.
    report: filled in on the way.

  Yields:
    A document, or None for a line that is left out.

  Raises:
    UserError: for a damaged file, or a malformed line of a held-out split.
  """
  is_training = split == "train"
  report.repairs = RepairCounts()
  num_of_id: dict[str, int] = {}
  for line in file.iterate_lines():
    report.records += 1
    try:
      paper = parse_paper(line)
    except ValueError as error:
      _report_malformed(file, is_training, report, error)
      yield None
      continue
    num_of_id[paper.id] = num_of_id.get(paper.id, 0) + 1
    is_repeated = num_of_id[paper.id] > 1
    if is_repeated and is_training:
      report.repeated_ids += 1
      yield None
      continue
    document, counts = repair(paper, text_source)
    report.repairs.add(counts)
    if is_training and not document.sections:
      report.empty_left_out += 1
      yield None
      continue
    if is_repeated:
      report.renamed_ids += 1
      document = dataclasses.replace(document, id=f"{paper.id}#{num_of_id[paper.id]}")
    report.documents += 1
    yield document


def _report_malformed(
  file: RawFile, is_training: bool, report: SplitReport, error: ValueError
) -> None:
  where = f"{file}, record {report.records}"
  if not is_training:
    raise UserError(
      f"{where}: {error}; no paper of a held-out split is left out: get the file again"
    ) from error
  report.malformed += 1
  if report.malformed <= _MAX_WARNINGS:
    more = " (further ones only counted)" if report.malformed == _MAX_WARNINGS else ""
    logging.warning("%s: %s; left out%s", where, error, more)


@dataclasses.dataclass(frozen=True)
class JsonlSource:
  """A user's corpus in the form of `documents/jsonl.py`, split by a hash of the ids.

  Attributes:
    path: a file or a folder.
    exclude: names of files to leave out.
    validation_share: from 0 to 1.
    test_share: from 0 to 1.
    split_seed: of the hash.
  """

  path: str
  exclude: tuple[str, ...] = ()
  validation_share: float = 0.05
  test_share: float = 0.05
  split_seed: int = 0

  def _open(self) -> sources.JsonlCorpus:
    return sources.JsonlCorpus(
      types.SimpleNamespace(**dataclasses.asdict(self), max_documents=0, on_bad_line="skip")
    )

  def count(self) -> dict[str, int]:
    """Documents by split, readable or not; UserError if a split has none."""
    corpus = self._open()
    counts = collections.Counter(record.split for record in corpus.records(tell=False))
    for split in sources.SPLITS:
      if not counts[split]:
        raise UserError(corpus.describe_empty(split))
    return dict(counts)

  def stream(self, split: str, report: SplitReport) -> Iterator[Document]:
    """The documents of a split in the order of the files.

    A line without an id belongs to no split; the training split's report counts it.
    """
    corpus = self._open()
    for record in corpus.records(tell=split == "train"):
      if record.split != split:
        continue
      try:
        document = corpus.parse(record)
      except ValueError as error:
        report.malformed += 1
        logging.warning("%s: %s; left out", record.where, error)
        continue
      report.documents += 1
      yield document
    if split == "train":
      report.malformed += corpus.bad_lines.count
    report.records = report.documents + report.malformed
    if split == "train":
      report.repeated_ids = corpus.num_duplicates
      report.records += corpus.num_duplicates
