"""Builds a prepared corpus: vocabulary, shards, index, statistics.

Three passes: over the records (ids and splits), over a sample of the training documents
(the vocabulary), over everything (the shards, by worker processes). What is built stays
in DIRECTORY/building until all of it is whole; a preparation that was killed goes on with
the first shard that is missing, and ends with the same bytes, since a shard depends on
the records and the settings alone.

Then the files are moved to their place, the statistics last: a run killed anywhere leaves
a directory that the next one completes.
"""

import collections
from collections.abc import Callable, Iterator
import contextlib
import hashlib
import heapq
import json
import os
import shutil
import sys
import time

from absl import logging

from htmtl_jax.data import shards
from htmtl_jax.data.prepared import (
  DOCUMENT_SPLITS,
  SPLITS,
  STATISTICS_FILE,
  VOCABULARY_FILE,
  PreparationSettings,
)
from htmtl_jax.data.shard_worker import ShardMaker, in_order, read_lines, workers
from htmtl_jax.data.statistics import compute_statistics
from htmtl_jax.data.tokenize import Limits
from htmtl_jax.data.tokenizer import Tokenizer, train_tokenizer
from htmtl_jax.documents.sources import Corpus, Record
from htmtl_jax.errors import UserError
from htmtl_jax.file_lock import lock_file
from htmtl_jax.layout import Bucket
from htmtl_jax.progress import Progress

SHARD_DOCUMENTS = 256  # what a kill may cost, and what a worker does at a time
_READ_DOCUMENTS = 64  # what a worker reads at a time for the vocabulary
# Starting workers takes a second or two, which few documents do not earn back.
_MIN_DOCUMENTS_FOR_WORKERS = 100
# More lines hardly change the pieces, and cost time: 20 sentences for each piece of
# the vocabulary show each piece some hundreds of times on average.
_LINES_PER_PIECE = 20
_MAX_LINES = 200_000
# Of a large corpus a sample is read for the vocabulary; papers have 50 lines and more.
_LINES_PER_DOCUMENT = 50
_MIN_SAMPLE = 2_000
_BUILDING = "building"
_SETTINGS_FILE = "settings.json"
_LOCK_FILE = "lock"


def build(
  corpus: Corpus,
  settings: PreparationSettings,
  buckets: tuple[Bucket, ...],
  directory: str,
  processes: int,
  is_done: Callable[[], bool] = lambda: False,
) -> None:
  """Makes the files of a prepared corpus; see `prepared.py` for what they are.

  Args:
    corpus: from `sources.open_corpus`.
    settings: what to make.
    buckets: that the statistics are told for, and whose row geometry is measured.
    directory: where; made if missing.
    processes: worker processes, 0 for one a core.
    is_done: asked once the directory is ours; True if another run made it meanwhile.

  Raises:
    UserError: see `prepared.prepare_corpus`.
  """
  try:
    os.makedirs(directory, exist_ok=True)
    waiting = f"waiting for another run that prepares the corpus in {directory}"
    with lock_file(os.path.join(directory, _LOCK_FILE), lambda: _say(waiting)):
      if not is_done():
        _build(corpus, settings, buckets, directory, processes)
  except OSError as e:
    raise UserError(
      f"the prepared corpus cannot be written to {directory} ({e.strerror or e}): free the space"
      " or set data.prepared to another directory"
    ) from e


def _build(corpus, settings, buckets, directory, processes) -> None:
  started = time.monotonic()
  building = os.path.join(directory, _BUILDING)
  resumed = _open_building(building, settings)
  _say(
    f"{'going on with preparing' if resumed else 'preparing'} the corpus: the first time takes a "
    f"while ({corpus.describe()})"
  )
  counts, sample = _scan(corpus, settings)
  num_malformed = corpus.bad_lines.count
  if processes <= 0:
    processes = count_cores()
  if sum(counts.values()) < _MIN_DOCUMENTS_FOR_WORKERS:
    processes = 1

  tokenizer = _train_vocabulary(corpus, settings, sample, building, processes)
  maker = ShardMaker(
    corpus,
    tokenizer,
    Limits(settings.max_input_tokens, settings.max_target_tokens),
    settings.importance_labels,
    buckets[0].geometry,
  )
  made_seconds, num_made, num_shards = _make_shards(maker, counts, building, processes)

  indexes = {}
  for split in SPLITS:
    folder = os.path.join(building, split)
    reports = shards.write_index(folder, num_shards[split], buckets[0].geometry)
    num_malformed += sum(len(report["malformed"]) for report in reports)
    indexes[split] = shards.ShardedSplit(folder).index
    if not len(indexes[split]["tokens"]):
      raise UserError(corpus.describe_empty(split))
  skipped = {"malformed_lines": num_malformed, "repeated_ids": corpus.num_duplicates}
  for name, count in skipped.items():
    if count:
      _say(f"{count} {name.replace('_', ' ')} were skipped")

  seconds = time.monotonic() - started
  statistics = compute_statistics(indexes, settings, buckets) | {
    "corpus": corpus.describe(),
    "vocabulary_size": tokenizer.vocab_size,
    **skipped,
    "seconds": round(seconds, 1),
    # Of this run, all of it, vocabulary included; a resumed one made the rest only.
    "documents_per_second": round(num_made / max(seconds, 1e-9), 1),
    "encoded_documents_per_second": round(num_made / max(made_seconds, 1e-9), 1),
    "processes": processes,
  }
  _publish(building, directory, statistics)
  _say(
    f"prepared {statistics['documents']:,} documents in {seconds:.0f} s:"
    f" {statistics['splits']['train']['tokens']:,} training tokens, {tokenizer.vocab_size} pieces"
    + (
      f" (asked for {settings.vocab_size}: the text supports no more)"
      if tokenizer.vocab_size < settings.vocab_size
      else ""
    )
  )
  _report_truncation(statistics["splits"], settings)


# -------------------------------------------------------------------------- passes


def _scan(corpus: Corpus, settings) -> tuple[collections.Counter, list[Record]]:
  """Counts records by split, and draws the training records that the vocabulary reads.

  The sample is those whose ids have the smallest hashes: it depends neither on the
  order nor on what else there is.
  """
  size = max(_MIN_SAMPLE, _num_lines(settings) // _LINES_PER_DOCUMENT)
  counts: collections.Counter = collections.Counter()
  heap: list[tuple[int, int, Record]] = []  # the `size` smallest, the largest of them first
  for number, record in enumerate(corpus.records()):
    counts[record.split] += 1
    if record.split != "train":
      continue
    digest = hashlib.sha256(record.id.encode("utf-8", "replace")).digest()
    entry = (-int.from_bytes(digest[:8], "big"), number, record)
    if len(heap) < size:
      heapq.heappush(heap, entry)
    elif entry[:2] > heap[0][:2]:
      heapq.heapreplace(heap, entry)
  for split in SPLITS:
    if not counts[split]:
      raise UserError(corpus.describe_empty(split))
  return counts, [record for _, _, record in sorted(heap, key=lambda entry: entry[1])]


def _num_lines(settings) -> int:
  return min(_MAX_LINES, _LINES_PER_PIECE * settings.vocab_size)


def _train_vocabulary(corpus, settings, sample, building: str, processes: int) -> Tokenizer:
  path = os.path.join(building, VOCABULARY_FILE)
  if os.path.exists(path):
    return Tokenizer.load(path)
  lines: list[str] = []
  chunks = (sample[i : i + _READ_DOCUMENTS] for i in range(0, len(sample), _READ_DOCUMENTS))
  with (
    workers(corpus, min(processes, -(-len(sample) // _READ_DOCUMENTS))) as executor,
    Progress(len(sample), "read", unit="document") as progress,
  ):

    def done(result):
      lines.extend(result)
      progress.update(min(_READ_DOCUMENTS, len(sample) - progress.count))

    in_order(executor, ((read_lines, chunk) for chunk in chunks), 2 * processes, done)
  _say(f"training the vocabulary on {len(sample):,} documents of the training split")
  return train_tokenizer(
    lines,
    settings.vocab_size,
    path,
    max_lines=_num_lines(settings),
    model_type=settings.tokenizer_type,
  )


def _make_shards(maker: ShardMaker, counts, building: str, processes: int):
  """Makes the shards that are missing; (seconds, documents made, shards by split)."""
  started = time.monotonic()
  num_shards = collections.Counter({split: 0 for split in SPLITS})
  bad_lines = maker.corpus.bad_lines
  total, num_made = sum(counts.values()), 0
  sizes: collections.deque[int] = collections.deque()  # of the shards that are being made
  for split in SPLITS:
    os.makedirs(os.path.join(building, split), exist_ok=True)
  with Progress(total, "prepare", unit="document") as progress:

    def calls() -> Iterator[tuple]:
      for split, number, records in _group_into_shards(maker.corpus):
        num_shards[split] = number + 1
        folder = os.path.join(building, split)
        if shards.is_whole(folder, number):
          progress.skip(len(records))
          continue
        sizes.append(len(records))
        yield ShardMaker.make, folder, number, records, split in DOCUMENT_SPLITS

    def done(malformed):
      nonlocal num_made
      for where, reason in malformed:
        bad_lines.add(where, reason)
      num_made += sizes[0]
      progress.update(sizes.popleft())

    with workers(maker, processes) as executor:
      in_order(executor, calls(), processes + 1, done)
  return time.monotonic() - started, num_made, num_shards


def _group_into_shards(corpus: Corpus) -> Iterator[tuple[str, int, list[Record]]]:
  """(split, shard number, records) in an order that depends on the corpus alone."""
  waiting: dict[str, list[Record]] = {split: [] for split in SPLITS}
  numbers: collections.Counter = collections.Counter()
  for record in corpus.records(tell=False):
    records = waiting[record.split]
    records.append(record)
    if len(records) == SHARD_DOCUMENTS:
      yield record.split, numbers[record.split], records
      numbers[record.split] += 1
      waiting[record.split] = []
  for split, records in waiting.items():
    if records:
      yield split, numbers[split], records


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


def count_cores() -> int:
  """Cores that this process may use."""
  try:
    return len(os.sched_getaffinity(0))
  except AttributeError:  # not on every system
    return os.cpu_count() or 1


# --------------------------------------------------------------------------- files


def _open_building(building: str, settings: PreparationSettings) -> bool:
  """Makes the folder, or keeps it if a run with the same settings was killed there."""
  path = os.path.join(building, _SETTINGS_FILE)
  with contextlib.suppress(OSError, ValueError):
    with open(path, encoding="utf-8") as f:
      if json.load(f) == settings.to_json():
        return True
  shutil.rmtree(building, ignore_errors=True)
  os.makedirs(building)
  with open(path, "w", encoding="utf-8") as f:
    json.dump(settings.to_json(), f)
  return False


def _publish(building: str, directory: str, statistics: dict) -> None:
  """Moves the files to their place; the statistics, which make them valid, last."""
  with contextlib.suppress(FileNotFoundError):
    os.remove(os.path.join(directory, STATISTICS_FILE))
  os.remove(os.path.join(building, _SETTINGS_FILE))
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


def _say(text: str) -> None:
  print(text, file=sys.stderr, flush=True)
