"""Corpora by name: where the training, validation and test documents come from.

A corpus gives *records*, which cost little: an id, a split, and a payload. What costs
(parsing, splitting sentences) is `Corpus.parse`, which worker processes call.
"""

from collections.abc import Iterator
import dataclasses
import hashlib
import json
import os
from typing import Any

from htmtl_jax.documents import jsonl, synthetic
from htmtl_jax.documents.document import Document
from htmtl_jax.documents.parsers import files
from htmtl_jax.errors import UserError

SPLITS = ("train", "validation", "test")
_EDGE_BYTES = 1 << 16  # of each file's beginning and end that the fingerprint reads


@dataclasses.dataclass(frozen=True)
class Record:
  """A document that is not parsed yet.

  Attributes:
    id: unique in the corpus.
    split: one of `SPLITS`.
    payload: what `Corpus.parse` needs; picklable.
    where: file and line, for messages.
  """

  id: str
  split: str
  payload: Any
  where: str


class Corpus:
  """Documents in three splits. Picklable.

  Attributes:
    fingerprint: 16 hexadecimal digits; another corpus or other settings, another one.
    bad_lines: what the latest pass over the records met; says what to do about more.
    num_duplicates: records of the latest pass left out because their id came before.
  """

  fingerprint: str

  def __init__(self, on_bad_line: str = "skip"):
    self._on_bad_line = on_bad_line
    self.bad_lines = jsonl.BadLines(on_bad_line)
    self.num_duplicates = 0

  def records(self, tell: bool = True) -> Iterator[Record]:
    """Every record once, always in the same order.

    Args:
      tell: log malformed lines; False for a second pass.

    Raises:
      UserError: for a source that cannot be read, or holds nothing.
    """
    self.bad_lines = jsonl.BadLines(self._on_bad_line, tell)
    self.num_duplicates = 0
    seen = set()
    for record in self._records():
      if record.id in seen:
        self.num_duplicates += 1
        continue
      seen.add(record.id)
      yield record
    if not seen:
      raise UserError(
        f"{self.describe()}: no documents ({self.bad_lines.count} malformed); every document needs "
        "at least an id and sections"
      )

  def parse(self, record: Record) -> Document:
    """The document of a record.

    Raises:
      ValueError: with a short reason, if it is malformed.
    """
    raise NotImplementedError

  def describe(self) -> str:
    """One line for the log."""
    raise NotImplementedError

  def _records(self) -> Iterator[Record]:
    raise NotImplementedError

  def iterate(self, split: str) -> Iterator[Document]:
    """The split's documents, parsed one after the other.

    Raises:
      UserError: for an unknown split, or one without documents.
    """
    if split not in SPLITS:
      raise UserError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    count = 0
    for record in self.records():
      if record.split != split:
        continue
      try:
        document = self.parse(record)
      except ValueError as error:
        self.bad_lines.add(record.where, error)
        continue
      count += 1
      yield document
    if not count:
      raise UserError(self.describe_empty(split))

  def describe_empty(self, split: str) -> str:
    """What to tell and advise when a split has no documents."""
    return f"{self.describe()}: the {split} split has no documents"


class SyntheticCorpus(Corpus):
  """Papers made by `synthetic.py` when they are asked for."""

  def __init__(self, data_config: Any):
    super().__init__()
    self._seed = int(data_config.synthetic_seed)
    self._counts = {split: int(getattr(data_config, f"num_{split}")) for split in SPLITS}
    # A sample of the text, so that another generator gets another fingerprint.
    sample = synthetic.generate_document(0, "train", self._seed)
    self.fingerprint = compute_fingerprint(
      "synthetic", self._seed, self._counts, repr((sample.sections, sample.abstract))
    )

  def _records(self) -> Iterator[Record]:
    for split, count in self._counts.items():
      for index in range(count):
        name = f"{split} {index}"
        yield Record(name, split, index, f"synthetic paper {name}")

  def parse(self, record: Record) -> Document:
    return synthetic.generate_document(record.payload, record.split, self._seed)

  def describe(self) -> str:
    counts = ", ".join(f"{n} {split}" for split, n in self._counts.items())
    return f"synthetic papers, seed {self._seed}: {counts}"

  def describe_empty(self, split: str) -> str:
    return f"the {split} split has no documents; set config.data.num_{split} above 0"


class SplitByHash(Corpus):
  """Documents whose split is a hash of their id (`jsonl.assign_split`)."""

  def __init__(self, data_config: Any):
    super().__init__(data_config.on_bad_line)
    self._path = os.path.expanduser(str(data_config.path))
    self._max_documents = int(data_config.max_documents or 0)
    self._split_seed = int(data_config.split_seed)
    self._shares = (float(data_config.validation_share), float(data_config.test_share))
    if min(self._shares) < 0 or sum(self._shares) >= 1:
      raise UserError(
        "config.data.validation_share and test_share should be at least 0 and add up "
        f"to less than 1, got {self._shares[0]} and {self._shares[1]}"
      )

  def _records(self) -> Iterator[Record]:
    for count, (id_, payload, where) in enumerate(self._items()):
      if self._max_documents and count >= self._max_documents:
        return
      split = jsonl.assign_split(id_, self._split_seed, *self._shares)
      yield Record(id_, split, payload, where)

  def _items(self) -> Iterator[tuple[str, Any, str]]:
    """(id, payload, where) of every document."""
    raise NotImplementedError

  def _make_fingerprint(self, kind: str, paths: list[str]) -> str:
    return compute_fingerprint(
      kind,
      [summarize_file(path) for path in paths],
      self._max_documents,
      self._on_bad_line,
      self._split_seed,
      self._shares,
    )

  def _describe_as(self, what: str) -> str:
    limit = f", first {self._max_documents} documents" if self._max_documents else ""
    return (
      f"{self._path}: {what}{limit}, {self._shares[0]:.1%} validation, "
      f"{self._shares[1]:.1%} test, split seed {self._split_seed}"
    )

  def describe_empty(self, split: str) -> str:
    remedy = "lower the two shares" if split == "train" else f"raise config.data.{split}_share"
    return (
      f"{self._path}: none of the documents fell into the {split} split; {remedy}, or give "
      "config.data.path more documents"
    )


class JsonlCorpus(SplitByHash):
  """JSON-lines files in the schema of `jsonl.py`."""

  def __init__(self, data_config: Any):
    super().__init__(data_config)
    self._exclude = tuple(data_config.exclude)
    self._files = jsonl.list_files(self._path, self._exclude)
    self.fingerprint = self._make_fingerprint("jsonl", self._files)

  def _items(self):
    for line in jsonl.iterate_lines(self._path, self._exclude, self.bad_lines):
      yield line.id, line.text, line.where

  def parse(self, record: Record) -> Document:
    return jsonl.parse_line(record.payload)

  def describe(self) -> str:
    return self._describe_as(f"{len(self._files)} files")


class PapersCorpus(SplitByHash):
  """A folder of papers in mixed formats, read by `parsers/files.py`."""

  def __init__(self, data_config: Any):
    super().__init__(data_config)
    self._files = files.list_papers(self._path)
    self.fingerprint = self._make_fingerprint("papers", self._files)

  def _items(self):
    used = set()
    for path in self._files:
      name = os.path.basename(path)
      stem = os.path.splitext(name)[0]
      id_ = name if stem in used else stem
      used.add(id_)
      yield id_, path, path

  def parse(self, record: Record) -> Document:
    try:
      return dataclasses.replace(files.read_paper(record.payload), id=record.id)
    except UserError as error:
      raise ValueError(str(error).removeprefix(f"{record.payload}: ")) from error

  def describe(self) -> str:
    return self._describe_as(f"{len(self._files)} papers")


class TfdsCorpus(Corpus):
  """A TFDS dataset of `htmtl_jax/datasets/`, read record by record; made first where need be."""

  def __init__(self, data_config: Any):
    # What an experiment does not use need not be imported.
    from htmtl_jax.datasets import papers

    super().__init__(data_config.on_bad_line)
    self._name = str(data_config.name)
    self._max_documents = int(data_config.max_documents or 0)
    self._dataset = papers.prepare(self._name, str(data_config.path), str(data_config.raw))
    self._description = f"{self._name}, {self._dataset.folder}: " + ", ".join(
      f"{self._dataset.num_documents(split)} {split}" for split in SPLITS
    )
    self.fingerprint = compute_fingerprint(
      "tfds",
      self._name,
      self._max_documents,
      [summarize_file(path) for path in self._dataset.list_files()],
    )

  def __getstate__(self):
    # Workers parse records; the dataset itself stays with the process that reads it.
    return self.__dict__ | {"_dataset": None}

  def _records(self) -> Iterator[Record]:
    for split in SPLITS:
      for number, (id_, text) in enumerate(self._dataset.iterate_examples(split)):
        if self._max_documents and number >= self._max_documents:
          break
        # A paper in two splits stays in both: no test document is ever dropped.
        yield Record(f"{split}/{id_}", split, text, f"{self._name} {split}, document {number}")

  def parse(self, record: Record) -> Document:
    from htmtl_jax.datasets.examples import decode_document

    try:
      return decode_document(record.payload)
    except (KeyError, TypeError) as error:
      raise ValueError(f"not a document of this program ({error!r})") from error

  def describe(self) -> str:
    return self._description


_CORPORA = {
  "synthetic": SyntheticCorpus,
  "jsonl": JsonlCorpus,
  "papers": PapersCorpus,
  "tfds": TfdsCorpus,
}


def open_corpus(data_config: Any) -> Corpus:
  """Opens the corpus that a configuration names.

  Args:
    data_config: `config.data`; see `configs/base.py` for what its keys mean.

  Raises:
    UserError: an unknown source, a missing path, shares that do not leave a train split.
  """
  if data_config.source not in _CORPORA:
    raise UserError(
      f"unknown config.data.source {data_config.source!r}; known: {', '.join(sorted(_CORPORA))}"
    )
  return _CORPORA[data_config.source](data_config)


def compute_fingerprint(*parts) -> str:
  """16 hexadecimal digits that depend on all parts, which JSON can hold."""
  return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def summarize_file(path: str) -> list:
  """Name, size, and a hash of the beginning and the end; not the time, which copying changes.

  Not the whole content: that would read a large corpus at every start. An edit in the
  middle of a file that keeps its size goes unnoticed (docs/data.md says so).
  """
  if os.path.isdir(path):  # a LaTeX paper in a folder of its own
    names = sorted(os.listdir(path))
    inner = [os.path.join(path, n) for n in names if os.path.isfile(os.path.join(path, n))]
    return [os.path.basename(path), [summarize_file(name) for name in inner]]
  try:
    size = os.path.getsize(path)
    with open(path, "rb") as handle:
      digest = hashlib.sha1(handle.read(_EDGE_BYTES))
      handle.seek(max(size - _EDGE_BYTES, 0))
      digest.update(handle.read(_EDGE_BYTES))
  except OSError as error:
    raise UserError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
  return [os.path.basename(path), size, digest.hexdigest()]
