"""Encoding documents in worker processes, and counting what was encoded.

Knows nothing of files: documents in, `EncodedDocument`s out, in the same order
whatever the number of processes.
"""

import collections
from collections.abc import Callable, Iterable, Iterator
import concurrent.futures
from concurrent.futures.process import BrokenProcessPool
import contextlib
import dataclasses
import itertools
import multiprocessing
import os
import signal
import threading

from htmtl_jax.data.tokenize import Limits, tokenize_document
from htmtl_jax.data.tokenized import TokenizedDocument
from htmtl_jax.data.tokenizer import Tokenizer
from htmtl_jax.documents.document import Document
from htmtl_jax.documents.references import make_references
from htmtl_jax.documents.serialise import document_to_json
from htmtl_jax.errors import UserError
from htmtl_jax.levels import LEVELS

_CHUNK_DOCUMENTS = 16
# Read by the linear algebra under NumPy: several workers with a thread a core each
# would only be in each other's way.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclasses.dataclass(frozen=True)
class EncodedDocument:
  """What a worker makes of one document.

  Attributes:
    document: the arrays.
    references: by level (kind, words, fillers), only levels that have one.
    line: the document as JSON, or None where its text is not kept.
  """

  document: TokenizedDocument
  references: dict[str, tuple[str, int, int]]
  line: str | None


_worker_arguments = None  # (tokenizer, limits, labels) of a worker process, set once


def _start_worker(tokenizer: Tokenizer, limits: Limits, labels: bool) -> None:
  global _worker_arguments
  _worker_arguments = (tokenizer, limits, labels)
  # Ctrl-C reaches the whole process group; the parent alone decides.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  # A parent that is killed cannot end its workers, and they would wait for ever.
  threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
  multiprocessing.parent_process().join()
  os._exit(1)


def _encode_in_worker(documents: list[Document], keep_text: bool) -> list[EncodedDocument]:
  return [_encode_document(document, keep_text, *_worker_arguments) for document in documents]


def _encode_document(
  document: Document, keep_text: bool, tokenizer: Tokenizer, limits: Limits, labels: bool
) -> EncodedDocument:
  references = make_references(document)
  return EncodedDocument(
    document=tokenize_document(document, tokenizer, limits, labels, references),
    references={
      level: (
        reference.kind,
        len(reference.text.split()),
        sum(piece.filler for piece in reference.pieces),
      )
      for level, reference in references.items()
    },
    line=document_to_json(document) if keep_text else None,
  )


@contextlib.contextmanager
def make_encoder(
  tokenizer: Tokenizer, limits: Limits, labels: bool, processes: int
) -> Iterator[Callable[[Iterable[Document], bool], Iterator[EncodedDocument]]]:
  """A context with a function (documents, keep_text) -> iterator of `EncodedDocument`.

  Args:
    tokenizer: the shared vocabulary.
    limits: maximum lengths.
    labels: whether to compute importance labels.
    processes: worker processes; 1 works in this one. The result is the same.

  Raises:
    UserError: if a worker dies.
  """
  if processes == 1:

    def encode_here(documents, keep_text):
      for document in documents:
        yield _encode_document(document, keep_text, tokenizer, limits, labels)

    yield encode_here
    return

  # Spawn, because the parent may already hold a device and threads.
  pool = concurrent.futures.ProcessPoolExecutor(
    processes,
    mp_context=multiprocessing.get_context("spawn"),
    initializer=_start_worker,
    initargs=(tokenizer, limits, labels),
  )

  def encode_in_pool(documents, keep_text):
    chunks = _split_into_chunks(documents)
    pending = collections.deque()
    # Only a few chunks are under way at a time: the corpus need not fit in memory.
    for chunk in itertools.chain(chunks, itertools.repeat(None)):
      if chunk is not None:
        pending.append(pool.submit(_encode_in_worker, chunk, keep_text))
        if len(pending) < 3 * processes:
          continue
      if not pending:
        return
      yield from pending.popleft().result()

  try:
    with _one_thread_in_children():
      yield encode_in_pool
  except BrokenProcessPool as e:
    raise UserError(
      "a worker process died while preparing the corpus (out of memory, or a script without"
      " `if __name__ == '__main__'`): try again with data.processes=1"
    ) from e
  finally:
    pool.shutdown(wait=True, cancel_futures=True)


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


def _split_into_chunks(documents: Iterable[Document]) -> Iterator[list[Document]]:
  iterator = iter(documents)
  while chunk := list(itertools.islice(iterator, _CHUNK_DOCUMENTS)):
    yield chunk


class SplitCounts:
  """Sums over the documents of one split."""

  def __init__(self):
    self._totals = collections.Counter()
    self._references = {level: collections.Counter() for level in LEVELS}

  def add(self, encoded: EncodedDocument) -> None:
    document = encoded.document
    parents = document.paragraph_section
    self._totals.update(
      documents=1,
      tokens=len(document.token_ids),
      sentences=len(document.sentence_lengths),
      paragraphs=len(parents),
      sections=int(parents[-1]) + 1 if len(parents) else 0,
      truncated_tokens=document.num_truncated,
      truncated_documents=int(document.num_truncated > 0),
    )
    for level, (kind, num_words, num_fillers) in encoded.references.items():
      self._references[level].update({kind: 1, "words": num_words, "fillers": num_fillers})
    for level, ids in zip(LEVELS, document.target_ids, strict=True):
      self._references[level]["tokens"] += len(ids)

  def to_json(self) -> dict:
    """Totals, and by level: references of each kind, tokens (cut), mean words (uncut)."""
    names = (
      "documents",
      "tokens",
      "sentences",
      "paragraphs",
      "sections",
      "truncated_tokens",
      "truncated_documents",
    )
    return {name: self._totals[name] for name in names} | {
      "references": {level: _describe_references(c) for level, c in self._references.items()}
    }


def _describe_references(counts: collections.Counter) -> dict:
  number = counts["gold"] + counts["silver"]
  return {
    "gold": counts["gold"],
    "silver": counts["silver"],
    "fillers": counts["fillers"],
    "tokens": counts["tokens"],
    "mean_words": counts["words"] / number if number else None,
  }
