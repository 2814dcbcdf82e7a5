"""Packed batches of a prepared split, ready for the device.

Which documents form a batch is `batches.py`'s business, how one is packed
`packing.py`'s; here the two meet, in a background thread.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from htmtl_jax.data.batches import BLANK, BatchPlan, evaluation_batches, prefetch
from htmtl_jax.data.packing import (
  PieceIndex,
  blank_document,
  choose_bucket,
  pack_document,
  stack_documents,
)
from htmtl_jax.data.tokenized import TokenizedDocument
from htmtl_jax.layout import Batch, Bucket
from htmtl_jax.progress import Progress


class PackedSplit:
  """The documents of a split, each with the bucket it goes into.

  Attributes:
    documents: the tokenized documents.
    buckets: from small to large.
    bucket_of: [documents] int32, index of each document's bucket.
    batch_sizes: documents a batch, by bucket: as many as fit in `batch_token_rows`.
    num_dropped_tokens: source tokens that the largest bucket could not hold, so far.
  """

  def __init__(
    self, documents: Sequence[TokenizedDocument], buckets: Sequence[Bucket], batch_token_rows: int
  ):
    self.documents = documents
    self.buckets = tuple(buckets)
    self.bucket_of = np.zeros(len(documents), np.int32)
    with Progress(len(documents), "measure", unit="document") as progress:
      for i, document in enumerate(documents):
        self.bucket_of[i] = choose_bucket(document, self.buckets)
        progress.update()
    self.batch_sizes = tuple(
      max(1, batch_token_rows // bucket.token_rows) for bucket in self.buckets
    )
    self.num_dropped_tokens = 0

  def pack(
    self, bucket: int, indices: np.ndarray, multiple: int = 1
  ) -> tuple[Batch, list[PieceIndex | None]]:
    """Packs the documents at `indices` (-1 for a blank), filled with blanks to a multiple.

    Returns:
      (batch, index): NumPy arrays, and each document's map back, None for a blank.
    """
    packed, pieces = [], []
    for i in indices:
      if i == BLANK:
        packed.append(blank_document(self.buckets[bucket]))
        pieces.append(None)
        continue
      arrays, index, dropped = pack_document(self.documents[int(i)], self.buckets[bucket])
      self.num_dropped_tokens += dropped
      packed.append(arrays)
      pieces.append(index)
    missing = -len(packed) % multiple
    packed += [blank_document(self.buckets[bucket])] * missing
    return stack_documents(packed), pieces + [None] * missing

  def training_batches(
    self, seed: int, start: int, multiple: int
  ) -> Iterator[tuple[int, np.ndarray, Batch]]:
    """Endless (bucket, document indices, batch) from batch number `start` on.

    The order is a function of the seed, the batch number and the documents' lengths
    alone, so any host, after any restart, sees the same.
    """
    plan = BatchPlan(self.bucket_of, self.batch_sizes, seed)

    def generate():
      index = start
      while True:
        bucket, indices = plan.batch(index)
        yield bucket, indices, self.pack(bucket, indices, multiple)[0]
        index += 1

    return prefetch(generate(), buffer_size=4)

  def evaluation_batches(
    self, multiple: int
  ) -> Iterator[tuple[int, np.ndarray, Batch, list[PieceIndex | None]]]:
    """Every document once: (bucket, document indices, batch, maps back)."""

    def generate():
      for bucket, indices in evaluation_batches(self.bucket_of, self.batch_sizes):
        yield (bucket, indices, *self.pack(bucket, indices, multiple))

    return prefetch(generate(), buffer_size=2)
