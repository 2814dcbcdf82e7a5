"""Work on documents, few at a time, on all cores and in order, with progress shown."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from htmtl_jax.data.shard_worker import in_order, workers
from htmtl_jax.progress import Progress

MIN_DOCUMENTS_FOR_WORKERS = 40  # fewer do not earn back the seconds that starting takes
CHUNK = 8  # documents that a worker does at a time


def split_into_chunks(items: Iterable, size: int = CHUNK) -> Iterator[list]:
  """Lists of `size` items, the last one perhaps shorter."""
  chunk: list = []
  for item in items:
    chunk.append(item)
    if len(chunk) == size:
      yield chunk
      chunk = []
  if chunk:
    yield chunk


def work(
  maker: Any,
  function: Callable,
  chunks: Iterable[Sequence],
  done: Callable,
  total: int,
  label: str,
  processes: int,
) -> None:
  """Calls function(maker, chunk) on all cores, and done(result) in the order of the chunks.

  Args:
    maker: sent to each worker process once.
    function: picklable.
    chunks: read in this process, little ahead of the work.
    done: called in this process.
    total: documents expected, for the progress that is shown.
    label: what is being done, one word.
    processes: 1 works in this process. The results are the same.
  """
  sizes: list[int] = []

  def calls():
    for chunk in chunks:
      sizes.append(len(chunk))
      yield function, chunk

  with workers(maker, processes) as executor, Progress(total, label, unit="document") as progress:

    def finish(result):
      done(result)
      progress.update(min(sizes.pop(0), total - progress.count))

    in_order(executor, calls(), 2 * processes, finish)
