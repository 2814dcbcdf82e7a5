"""Builds a prepared corpus: vocabulary, arrays, documents, statistics.

Two passes over the training split, one for the vocabulary and one for the arrays. A
small corpus is kept in memory between them, a large one is read again. Documents are
encoded by worker processes (`document_encoder.py`) and written in the corpus's order,
so the files do not depend on how many there are.

Everything is built in DIRECTORY/building and then moved to its place, the
statistics last: a run killed anywhere leaves a directory that the next run
completes, and a running program keeps the files that it has mapped.
"""

from collections.abc import Callable, Iterable, Iterator
import contextlib
import gzip
import json
import os
import shutil
import sys
import time

from absl import logging

from htmtl_jax.data.array_store import ArrayStoreWriter
from htmtl_jax.data.document_encoder import SplitCounts, make_encoder
from htmtl_jax.data.prepared import (
  DOCUMENT_SPLITS,
  SPLITS,
  STATISTICS_FILE,
  VOCABULARY_FILE,
  PreparationSettings,
  documents_file,
)
from htmtl_jax.data.tokenize import Limits
from htmtl_jax.data.tokenizer import Tokenizer, train_tokenizer
from htmtl_jax.documents.document import Document, iterate_sentences
from htmtl_jax.errors import UserError
from htmtl_jax.progress import Progress

# Starting workers takes a second or two, which few documents do not earn back.
_MIN_DOCUMENTS_FOR_WORKERS = 100
_SECONDS_BETWEEN_LINES = 10.0
# Characters of training documents that are kept in memory between the passes.
_MAX_KEPT_CHARACTERS = 300_000_000
# More lines hardly change the pieces, and cost time: 20 sentences for each piece of
# the vocabulary show each piece some hundreds of times on average.
_LINES_PER_PIECE = 20
_MAX_LINES = 200_000
_BUILDING = "building"
_LOCK_FILE = "lock"


def build(
  corpus,
  settings: PreparationSettings,
  directory: str,
  processes: int,
  is_done: Callable[[], bool] = lambda: False,
) -> None:
  """Makes the files of a prepared corpus; see `prepared.py` for what they are.

  Args:
    corpus: from `sources.open_corpus`.
    settings: what to make.
    directory: where; made if missing.
    processes: worker processes, 0 for one a core.
    is_done: asked once the directory is ours; True if another run made it meanwhile.

  Raises:
    UserError: see `prepared.prepare_corpus`.
  """
  started = time.monotonic()
  try:
    os.makedirs(directory, exist_ok=True)
    with _lock(directory):
      if is_done():
        return
      _say(f"preparing the corpus: the first time takes a while ({corpus.describe()})")
      building = os.path.join(directory, _BUILDING)
      shutil.rmtree(building, ignore_errors=True)
      os.makedirs(building)
      # Held in memory, as evaluation does; first, so that an empty split is told at once.
      held = {split: list(corpus.iterate(split)) for split in DOCUMENT_SPLITS}
      tokenizer, training = _train_vocabulary(corpus, settings, building)
      statistics = _encode_splits(held, training, settings, tokenizer, building, processes)
      seconds = time.monotonic() - started
      num_documents = sum(split["documents"] for split in statistics.values())
      _publish(
        building,
        directory,
        {
          "settings": settings.to_json(),
          "corpus": corpus.describe(),
          "vocabulary_size": tokenizer.vocab_size,
          "splits": statistics,
          **_count_left_out(corpus),
          "seconds": round(seconds, 1),
          "documents_per_second": round(num_documents / seconds, 1),
        },
      )
      _say(
        f"prepared {num_documents} documents in {seconds:.0f} s:"
        f" {statistics['train']['tokens']:,} training tokens, {tokenizer.vocab_size} pieces"
      )
      _report_truncation(statistics, settings)
  except OSError as e:
    raise UserError(
      f"the prepared corpus cannot be written to {directory} ({e.strerror or e}): free the space"
      " or set data.prepared to another directory"
    ) from e


def iterate_training_text(document: Document) -> Iterator[str]:
  """What the vocabulary is trained on: headings, body and abstract, by sentence."""
  for place in iterate_sentences(document):
    yield place.text
  yield from document.abstract_sentences


class _TrainingDocuments:
  """Iterates over the training split, keeping it the first time if it is small.

  Attributes:
    count: documents, known after the first pass.
  """

  def __init__(self, corpus):
    self._corpus = corpus
    self._kept: list[Document] | None = None
    self.count = 0

  def read(self) -> Iterator[Document]:
    """The first pass, from the source."""
    kept: list[Document] | None = []
    num_characters = 0
    last_told = time.monotonic()
    for document in self._corpus.iterate("train"):
      self.count += 1
      if kept is not None:
        kept.append(document)
        num_characters += sum(len(place.text) for place in iterate_sentences(document))
        if num_characters > _MAX_KEPT_CHARACTERS:
          kept = None
      if time.monotonic() - last_told > _SECONDS_BETWEEN_LINES:
        last_told = time.monotonic()
        _say(f"reading the training split, {self.count} documents so far")
      yield document
    self._kept = kept

  def read_again(self) -> Iterable[Document]:
    """The second pass, from memory where there was room."""
    return self._corpus.iterate("train") if self._kept is None else self._kept


def _train_vocabulary(corpus, settings, building: str) -> tuple[Tokenizer, _TrainingDocuments]:
  training = _TrainingDocuments(corpus)

  def texts():
    for document in training.read():
      yield from iterate_training_text(document)
    _say(f"read {training.count} training documents; training the vocabulary")

  tokenizer = train_tokenizer(
    texts(),
    settings.vocab_size,
    os.path.join(building, VOCABULARY_FILE),
    max_lines=min(_MAX_LINES, _LINES_PER_PIECE * settings.vocab_size),
    model_type=settings.tokenizer_type,
  )
  return tokenizer, training


def _encode_splits(held, training, settings, tokenizer, building, processes) -> dict[str, dict]:
  """Writes arrays and documents of every split; returns the statistics by split."""
  limits = Limits(settings.max_input_tokens, settings.max_target_tokens)
  if processes <= 0:
    processes = _count_cores()
  if training.count < _MIN_DOCUMENTS_FOR_WORKERS:
    processes = 1
  statistics = {}
  with make_encoder(tokenizer, limits, settings.importance_labels, processes) as encode:
    for split in SPLITS:
      keep_text = split in DOCUMENT_SPLITS
      documents = held[split] if split in held else training.read_again()
      total = len(held[split]) if split in held else training.count
      counts = SplitCounts()
      with contextlib.ExitStack() as stack:
        writer = stack.enter_context(
          ArrayStoreWriter(os.path.join(building, split), tokenizer.vocab_size)
        )
        progress = stack.enter_context(Progress(total, f"encoding {split}", unit="document"))
        if keep_text:
          path = os.path.join(building, documents_file(split))
          # No name and no time in the header, so that equal content is an equal file.
          raw = stack.enter_context(open(path, "wb"))
          text = stack.enter_context(
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6)
          )
        for encoded in encode(documents, keep_text):
          writer.append(encoded.document)
          counts.add(encoded)
          if keep_text:
            text.write(encoded.line.encode("ascii") + b"\n")
          progress.update(1)
      statistics[split] = counts.to_json()
  return statistics


def _report_truncation(statistics: dict, settings: PreparationSettings) -> None:
  for split, counts in statistics.items():
    if counts["truncated_documents"]:
      share = counts["truncated_tokens"] / (counts["tokens"] + counts["truncated_tokens"])
      logging.warning(
        "%s: %d of %d documents are longer than data.max_input_tokens=%d; %.1f%% of the tokens"
        " were cut off",
        split,
        counts["truncated_documents"],
        counts["documents"],
        settings.max_input_tokens,
        100 * share,
      )


def _count_left_out(corpus) -> dict[str, int]:
  """What the latest pass over the source left out, told and counted; {} for generated papers."""
  report = getattr(corpus, "report", None)
  if report is None:
    return {}
  counts = {"malformed_lines": report.num_bad_lines, "repeated_ids": report.num_duplicates}
  for name, count in counts.items():
    if count:
      _say(f"{count} {name.replace('_', ' ')} were skipped")
  return counts


def _count_cores() -> int:
  try:
    return len(os.sched_getaffinity(0))
  except AttributeError:  # not on every system
    return os.cpu_count() or 1


# --------------------------------------------------------------------- files


def _publish(building: str, directory: str, statistics: dict) -> None:
  """Moves the files to their place; the statistics, which make them valid, last."""
  with contextlib.suppress(FileNotFoundError):
    os.remove(os.path.join(directory, STATISTICS_FILE))
  for name in sorted(os.listdir(building)):
    target = os.path.join(directory, name)
    if os.path.isdir(target):
      shutil.rmtree(target)
    os.replace(os.path.join(building, name), target)
  path = os.path.join(building, STATISTICS_FILE)
  with open(path, "w", encoding="utf-8") as f:
    json.dump(statistics, f, indent=2)
    f.write("\n")
    f.flush()
    os.fsync(f.fileno())
  os.replace(path, os.path.join(directory, STATISTICS_FILE))
  os.rmdir(building)


@contextlib.contextmanager
def _lock(directory: str):
  """Only one run at a time builds in a directory; the lock ends with the process."""
  try:
    import fcntl
  except ImportError:  # not on every system
    yield
    return
  with open(os.path.join(directory, _LOCK_FILE), "w") as f:
    try:
      fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      _say(f"waiting for another run that prepares the corpus in {directory}")
      fcntl.flock(f, fcntl.LOCK_EX)
    except OSError:
      logging.warning("%s: no file locks here; do not prepare it from two runs at once", directory)
    yield


def _say(text: str) -> None:
  print(text, file=sys.stderr, flush=True)
