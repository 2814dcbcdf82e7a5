"""What a worker process does of a preparation: records to lines of text, records to a shard.

`ShardMaker` is what is sent to a worker once. A shard depends on its records and the
settings alone, so it is the same whoever makes it, and a killed preparation goes on
with the next one.
"""

from collections.abc import Callable, Iterator
import concurrent.futures
from concurrent.futures.process import BrokenProcessPool
import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading

import numpy as np

from htmtl_jax.data import shards
from htmtl_jax.data.placement import measure_document
from htmtl_jax.data.tokenize import Limits, tokenize_document
from htmtl_jax.data.tokenized import TokenizedDocument
from htmtl_jax.data.tokenizer import Tokenizer
from htmtl_jax.documents.document import Document, iterate_sentences
from htmtl_jax.documents.references import make_references
from htmtl_jax.documents.sources import Corpus, Record
from htmtl_jax.errors import UserError
from htmtl_jax.layout import Geometry
from htmtl_jax.levels import LEVELS

# Read by the linear algebra under NumPy: several workers with a thread a core each
# would only be in each other's way.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_KINDS = ("none", "silver", "gold")  # as the index numbers them


@dataclasses.dataclass(frozen=True)
class ShardMaker:
  """Makes shards of a corpus.

  Attributes:
    corpus: parses records.
    tokenizer: the shared vocabulary.
    limits: maximum lengths.
    labels: whether to compute importance labels.
    geometry: of the rows that `needs` are measured for.
  """

  corpus: Corpus
  tokenizer: Tokenizer
  limits: Limits
  labels: bool
  geometry: Geometry

  def make(
    self, directory: str, number: int, records: list[Record], keep_text: bool
  ) -> list[tuple[str, str]]:
    """Writes shard `number` of the split in `directory`.

    Returns:
      (where, reason) of every malformed record; it is not in the shard.
    """
    documents, texts, rows, malformed = [], [], [], []
    for record in records:
      try:
        text = self.corpus.parse(record)
      except ValueError as error:
        malformed.append((record.where, str(error)))
        continue
      document, row = self.encode(text)
      documents.append(document)
      rows.append(row)
      texts.append(text)
    columns = {
      name: np.array([row[name] for row in rows], np.int32).reshape(-1, *shape)
      for name, shape in shards.COLUMNS.items()
    }
    shards.write_shard(
      directory, number, documents, columns, texts if keep_text else None, {"malformed": malformed}
    )
    return malformed

  def encode(self, document: Document) -> tuple[TokenizedDocument, dict]:
    """A document's arrays, and its row of the index."""
    references = make_references(document)
    arrays = tokenize_document(document, self.tokenizer, self.limits, self.labels, references)
    found = [references.get(level) for level in LEVELS]
    return arrays, {
      "tokens": len(arrays.token_ids),
      "truncated_tokens": arrays.num_truncated,
      "sentences": len(arrays.sentence_lengths),
      "paragraphs": len(arrays.paragraph_section),
      "sections": int(arrays.paragraph_section[-1]) + 1 if len(arrays.paragraph_section) else 0,
      "words": document.num_words,
      "target_tokens": [len(ids) for ids in arrays.target_ids],
      "cut_target_tokens": arrays.num_cut_target_tokens,
      "reference_kind": [_KINDS.index(r.kind) if r else 0 for r in found],
      "reference_words": [len(r.text.split()) if r else 0 for r in found],
      "fillers": [sum(piece.filler for piece in r.pieces) if r else 0 for r in found],
      "needs": measure_document(arrays, self.geometry),
    }


def read_lines(corpus: Corpus, records: list[Record]) -> list[str]:
  """What the vocabulary is trained on: headings, body and abstract, by sentence."""
  lines = []
  for record in records:
    try:
      document = corpus.parse(record)
    except ValueError:
      continue  # told and counted when the shards are made
    lines += [place.text for place in iterate_sentences(document)]
    lines += document.abstract_sentences
  return lines


# ---------------------------------------------------------------------- processes

_worker_maker = None  # what `call` works with in a worker process, sent once


def _start_worker(maker) -> None:
  global _worker_maker
  _worker_maker = maker
  # Ctrl-C and SIGTERM may reach the whole process group; the parent alone decides.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  signal.signal(signal.SIGTERM, signal.SIG_DFL)
  # A parent that is killed cannot end its workers, and they would wait for ever.
  threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
  multiprocessing.parent_process().join()
  os._exit(1)


def _call(function, *arguments):
  return function(_worker_maker, *arguments)


class _Here:
  """An executor of this process: what is submitted is done at once."""

  def __init__(self, maker):
    self._maker = maker

  def submit(self, function, *arguments) -> concurrent.futures.Future:
    future = concurrent.futures.Future()
    future.set_result(function(self._maker, *arguments))
    return future


class _Pool:
  """An executor of worker processes that were sent `maker` once."""

  def __init__(self, pool):
    self._pool = pool

  def submit(self, function, *arguments) -> concurrent.futures.Future:
    return self._pool.submit(_call, function, *arguments)


@contextlib.contextmanager
def workers(maker, processes: int) -> Iterator:
  """A context with an executor: `submit(function, ...)` calls function(maker, ...).

  Args:
    maker: the first argument of every call, picklable.
    processes: worker processes; 1 works in this one. The result is the same.

  Raises:
    UserError: if a worker dies.
  """
  if processes == 1:
    yield _Here(maker)
    return
  # Spawn, because the parent may already hold a device and threads.
  with _one_thread_in_children():
    pool = concurrent.futures.ProcessPoolExecutor(
      processes,
      mp_context=multiprocessing.get_context("spawn"),
      initializer=_start_worker,
      initargs=(maker,),
    )
    try:
      yield _Pool(pool)
    except BrokenProcessPool as e:
      raise UserError(
        "a worker process died while reading the corpus (out of memory, or a script without"
        " `if __name__ == '__main__'`): try again with data.processes=1"
      ) from e
    finally:
      pool.shutdown(wait=True, cancel_futures=True)


def in_order(executor, calls: Iterator[tuple], ahead: int, done: Callable) -> None:
  """Submits calls (function, *arguments), at most `ahead` at a time; `done(result)` in order."""
  pending = []
  for call in calls:
    pending.append(executor.submit(*call))
    if len(pending) >= ahead:
      done(pending.pop(0).result())
  for future in pending:
    done(future.result())


@contextlib.contextmanager
def _one_thread_in_children():
  """Child processes started meanwhile use one thread each; this one has its threads."""
  before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
  os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
  try:
    yield
  finally:
    for name, value in before.items():
      if value is None:
        del os.environ[name]
      else:
        os.environ[name] = value
