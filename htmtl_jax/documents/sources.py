"""Corpora by name: where the training, validation and test documents come from."""

from collections.abc import Iterator
import hashlib
import json
import os
from typing import Any, Protocol

from htmtl_jax.documents import jsonl, synthetic
from htmtl_jax.documents.document import Document
from htmtl_jax.errors import UserError

SPLITS = ("train", "validation", "test")
_EDGE_BYTES = 1 << 16  # of each file's beginning and end that the fingerprint reads


class Corpus(Protocol):
  """Documents in three splits.

  Attributes:
    fingerprint: 16 hexadecimal digits; another corpus or other settings, another one.
  """

  fingerprint: str

  def iterate(self, split: str) -> Iterator[Document]:
    """One document after the other, always in the same order."""

  def documents(self, split: str) -> list[Document]:
    """All documents of a split; UserError if there are none."""

  def describe(self) -> str:
    """One line for the log."""


def open_corpus(data_config: Any) -> Corpus:
  """Opens the corpus that a configuration names.

  Args:
    data_config: has `source` and, for "synthetic", `synthetic_seed`, `num_train`,
      `num_validation`, `num_test`; for "jsonl", `path`, `exclude`, `max_documents`
      (0 for all), `on_bad_line`, `split_seed`, `validation_share`, `test_share`; for
      "tfds", `name`, `path`, `raw`.

  Raises:
    UserError: an unknown source, a missing path, shares that do not leave a train split.
  """
  openers = {"synthetic": SyntheticCorpus, "jsonl": JsonlCorpus, "tfds": TfdsCorpus}
  if data_config.source not in openers:
    raise UserError(
      f"unknown config.data.source {data_config.source!r}; known: {', '.join(sorted(openers))}"
    )
  return openers[data_config.source](data_config)


def _check_split(split: str) -> None:
  if split not in SPLITS:
    raise UserError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")


def compute_fingerprint(*parts) -> str:
  """16 hexadecimal digits that depend on all parts, which JSON can hold."""
  return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


class SyntheticCorpus:
  """Papers made by `synthetic.py` when they are asked for."""

  def __init__(self, data_config: Any):
    self._seed = int(data_config.synthetic_seed)
    self._counts = {split: int(getattr(data_config, f"num_{split}")) for split in SPLITS}
    # A sample of the text, so that another generator gets another fingerprint.
    sample = synthetic.generate_document(0, "train", self._seed)
    self.fingerprint = compute_fingerprint(
      "synthetic", self._seed, self._counts, repr((sample.sections, sample.abstract))
    )

  def iterate(self, split: str) -> Iterator[Document]:
    _check_split(split)
    if self._counts[split] < 1:
      raise UserError(f"the {split} split has no documents; set config.data.num_{split} above 0")
    for index in range(self._counts[split]):
      yield synthetic.generate_document(index, split, self._seed)

  def documents(self, split: str) -> list[Document]:
    return list(self.iterate(split))

  def describe(self) -> str:
    counts = ", ".join(f"{n} {split}" for split, n in self._counts.items())
    return f"synthetic papers, seed {self._seed}: {counts}"


class JsonlCorpus:
  """JSON-lines files, split by a hash of each document's id; read anew at each iteration.

  Attributes:
    report: what the latest iteration met.
  """

  def __init__(self, data_config: Any):
    self._path = os.path.expanduser(str(data_config.path))
    self._exclude = tuple(data_config.exclude)
    self._max_documents = int(data_config.max_documents or 0)
    self._on_bad_line = data_config.on_bad_line
    self._split_seed = int(data_config.split_seed)
    self._shares = (float(data_config.validation_share), float(data_config.test_share))
    if min(self._shares) < 0 or sum(self._shares) >= 1:
      raise UserError(
        "config.data.validation_share and test_share should be at least 0 and add up "
        f"to less than 1, got {self._shares[0]} and {self._shares[1]}"
      )
    self._files = jsonl.list_files(self._path, self._exclude)
    self.report = jsonl.ReadReport()
    self.fingerprint = compute_fingerprint(
      "jsonl",
      [summarize_file(f) for f in self._files],
      self._max_documents,
      self._on_bad_line,
      self._split_seed,
      self._shares,
    )

  def iterate(self, split: str) -> Iterator[Document]:
    _check_split(split)
    self.report = jsonl.ReadReport()
    num_found = 0
    for document in jsonl.read_jsonl(
      self._path,
      self._on_bad_line,
      self._max_documents,
      self.report,
      self._exclude,
      select=lambda i: jsonl.assign_split(i, self._split_seed, *self._shares) == split,
    ):
      num_found += 1
      yield document
    if not num_found:
      remedy = "lower the two shares" if split == "train" else f"raise config.data.{split}_share"
      raise UserError(
        f"{self._path}: none of the {self.report.num_documents} documents fell into "
        f"the {split} split; {remedy}, or give config.data.path more documents"
      )

  def documents(self, split: str) -> list[Document]:
    return list(self.iterate(split))

  def describe(self) -> str:
    limit = f", first {self._max_documents} documents" if self._max_documents else ""
    return (
      f"{self._path}: {len(self._files)} files{limit}, {self._shares[0]:.1%} validation, "
      f"{self._shares[1]:.1%} test, split seed {self._split_seed}"
    )


class TfdsCorpus:
  """A TFDS dataset of `htmtl_jax/datasets/`, read record by record; made first where need be."""

  def __init__(self, data_config: Any):
    # What an experiment does not use need not be installed.
    from htmtl_jax.datasets import papers

    self._name = str(data_config.name)
    self._dataset = papers.prepare(self._name, str(data_config.path), str(data_config.raw))
    self.fingerprint = compute_fingerprint(
      "tfds", self._name, [summarize_file(f) for f in self._dataset.list_files()]
    )

  def iterate(self, split: str) -> Iterator[Document]:
    _check_split(split)
    return self._dataset.iterate(split)

  def documents(self, split: str) -> list[Document]:
    return list(self.iterate(split))

  def describe(self) -> str:
    counts = ", ".join(f"{self._dataset.num_documents(s)} {s}" for s in SPLITS)
    return f"{self._name}, {self._dataset.folder}: {counts}"


def summarize_file(file: str) -> list:
  """Name, size, and a hash of the beginning and the end; not the time, which copying changes."""
  try:
    size = os.path.getsize(file)
    with open(file, "rb") as handle:
      digest = hashlib.sha1(handle.read(_EDGE_BYTES))
      handle.seek(max(size - _EDGE_BYTES, 0))
      digest.update(handle.read(_EDGE_BYTES))
  except OSError as error:
    raise UserError(f"{file}: cannot be read ({error.strerror}); check its permissions") from error
  return [os.path.basename(file), size, digest.hexdigest()]
