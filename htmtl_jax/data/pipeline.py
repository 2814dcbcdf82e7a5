"""Packed batches of a prepared split, ready for the device, by Grain.

Which documents form batch number k is arithmetic (`batches.py`), how one is packed is
`packing.py`'s business; here Grain maps the numbers k, k + 1, ... to packed batches in
threads or worker processes, ahead of the device. A batch depends on its number alone, so
the position in the data is one integer: a resumed run continues exactly, with any number
of workers, and every host knows every step's shapes.
"""

from collections.abc import Iterator, Sequence
import contextlib
import dataclasses
import hashlib
import os
import uuid

from absl import flags, logging
import grain
import numpy as np

from htmtl_jax.data.batches import BLANK, BatchPlan, evaluation_batches, take_parts
from htmtl_jax.data.packing import (
  PieceIndex,
  blank_document,
  pack_document,
  stack_documents,
)
from htmtl_jax.data.placement import choose_buckets, measure_document
from htmtl_jax.data.shards import ShardedSplit
from htmtl_jax.data.tokenized import TokenizedDocument
from htmtl_jax.layout import Batch, Bucket, Geometry
from htmtl_jax.progress import Progress

_ENDLESS = 1 << 40  # batches; more than anybody trains on
_BUFFER = 4  # batches made ahead of the device, a worker


class PackedSplit:
  """The documents of a split, each with the bucket it goes into. Picklable.

  Attributes:
    documents: the tokenized documents.
    buckets: from small to large.
    bucket_of: [documents] int32, index of each document's bucket.
    batch_sizes: documents a batch, by bucket: as many as fit in `batch_token_rows`.
    num_beyond: documents that not even the largest bucket holds whole; they are cut.
  """

  def __init__(
    self, documents: Sequence[TokenizedDocument], buckets: Sequence[Bucket], batch_token_rows: int
  ):
    """Args:
    documents: of a prepared split, or a list. If the split's index was made for rows of
      another geometry, the documents are measured now, and the result kept beside it.
    buckets: from small to large.
    batch_token_rows: token rows of a batch, all its documents together.
    """
    self.documents = documents
    self.buckets = tuple(buckets)
    needs = _measure(documents, self.buckets[0].geometry)
    self.bucket_of, fits = choose_buckets(needs, self.buckets)
    self.batch_sizes = tuple(
      max(1, batch_token_rows // bucket.token_rows) for bucket in self.buckets
    )
    self.num_beyond = int((~fits).sum())
    if self.num_beyond:
      logging.warning(
        "%d of %d documents have more segments, or longer summaries, than the largest bucket "
        "holds; what does not fit is cut: raise config.layout.*_per_token_row or add a bucket",
        self.num_beyond,
        len(documents),
      )

  def pack(
    self, bucket: int, indices: np.ndarray, multiple: int = 1
  ) -> tuple[Batch, list[PieceIndex | None]]:
    """Packs the documents at `indices` (-1 for a blank), filled with blanks to a multiple.

    Returns:
      (batch, index): NumPy arrays, and each document's map back, None for a blank.
    """
    packed, pieces = [], []
    for i in _fill(indices, multiple):
      if i == BLANK:
        packed.append(blank_document(self.buckets[bucket]))
        pieces.append(None)
        continue
      arrays, index, _ = pack_document(self.documents[int(i)], self.buckets[bucket])
      packed.append(arrays)
      pieces.append(index)
    return stack_documents(packed), pieces

  def training_batches(
    self,
    seed: int,
    start: int,
    multiple: int,
    own: Sequence[int] = (0,),
    parts: int = 1,
    workers: int = 0,
  ) -> Iterator[tuple[int, np.ndarray, Batch]]:
    """Endless (bucket, document indices, batch) from batch number `start` on; close it.

    The order is a function of the seed, the batch number and the documents' lengths
    alone, so any host, after any restart, sees the same buckets; `workers` changes
    the speed only.

    Args:
      seed: of the order.
      start: batches that were taken before.
      multiple: batches are filled with blanks to a multiple of it.
      own: numbers of the parts of every batch that are packed here.
      parts: how many equal parts there are; divides `multiple`.
      workers: processes that pack; 0 packs in a thread of this one.

    Yields:
      Indices of the whole batch, and the arrays of this host's parts.
    """
    if multiple % parts:
      raise ValueError(f"batches of a multiple of {multiple} cannot be cut into {parts} parts")
    plan = BatchPlan(self.bucket_of, self.batch_sizes, seed)
    make = _TrainingBatch(self, plan, multiple, tuple(own), parts)
    return _iterate(make, start, _ENDLESS, workers)

  def evaluation_batches(
    self, multiple: int, own: Sequence[int] = (0,), parts: int = 1
  ) -> Iterator[tuple[int, np.ndarray, Batch, list[PieceIndex | None]]]:
    """Every document once: (bucket, document indices, batch, maps back).

    Of several hosts each packs its own parts of every batch, see `training_batches`, and gets
    their indices alone (-1 for a blank), so that together they have every document once.
    """
    batches = evaluation_batches(self.bucket_of, self.batch_sizes)
    make = _EvaluationBatch(self, batches, multiple, tuple(own), parts)
    return _iterate(make, 0, len(batches), 0)


@dataclasses.dataclass(frozen=True)
class _TrainingBatch:
  """Batch number to batch; what a worker process is sent."""

  split: PackedSplit
  plan: BatchPlan
  multiple: int
  own: tuple[int, ...]
  parts: int

  def __call__(self, number: int) -> tuple[int, np.ndarray, Batch]:
    bucket, indices = self.plan.batch(int(number))
    own = take_parts(_fill(indices, self.multiple), self.own, self.parts)
    return bucket, indices, self.split.pack(bucket, own)[0]


@dataclasses.dataclass(frozen=True)
class _EvaluationBatch:
  """The same for evaluation, with the maps back."""

  split: PackedSplit
  batches: list
  multiple: int
  own: tuple[int, ...]
  parts: int

  def __call__(self, number: int):
    bucket, indices = self.batches[int(number)]
    indices = take_parts(_fill(indices, self.multiple), self.own, self.parts)
    return (bucket, indices, *self.split.pack(bucket, indices))


def _fill(indices: np.ndarray, multiple: int) -> np.ndarray:
  return np.concatenate([indices, np.full(-len(indices) % multiple, BLANK)])


def _iterate(make, start: int, stop: int, workers: int) -> Iterator:
  """make(start), make(start + 1), ..., made ahead in a thread or in worker processes."""
  if stop <= start:
    return
  if not flags.FLAGS.is_parsed():  # Grain reads absl's flags, which nobody else parses here
    flags.FLAGS.mark_as_parsed()
  dataset = grain.MapDataset.range(start, stop).map(make)
  dataset = dataset.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=_BUFFER))
  if workers:
    dataset = dataset.mp_prefetch(
      grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=_BUFFER)
    )
  with contextlib.closing(iter(dataset)) as iterator:
    yield from iterator


def _measure(documents: Sequence[TokenizedDocument], geometry: Geometry) -> np.ndarray:
  """[documents, 5] of `measure_document`, kept beside the shards where that can be written."""
  path = None
  if isinstance(documents, ShardedSplit):
    if documents.geometry == geometry:
      return documents.index["needs"]
    digest = hashlib.sha256(repr(geometry).encode()).hexdigest()[:12]
    path = os.path.join(documents.directory, f"needs-{digest}.npy")
    with contextlib.suppress(OSError, ValueError):
      needs = np.load(path)
      if len(needs) == len(documents):
        return needs
  needs = np.zeros((len(documents), 5), np.int32)
  with Progress(len(documents), "measure", unit="document") as progress:
    for i, document in enumerate(documents):
      needs[i] = measure_document(document, geometry)
      progress.update()
  if path is not None:
    with contextlib.suppress(OSError):
      temporary = f"{path}.{uuid.uuid4().hex}.npy"  # of several hosts, perhaps
      np.save(temporary, needs)
      os.replace(temporary, path)
  return needs
