"""Which documents form batch number k: arithmetic on indices, no data, no devices.

A plan is a pure function of (seed, each document's bucket, the batch sizes), so
the position in the data is one integer, a resumed run continues exactly, and
every host computes the same shapes. A bucket is a set of array shapes that
documents of similar length share; buckets are ordered from small to large, and a
document fits its own bucket and every larger one.
"""

from collections.abc import Sequence

import numpy as np

BLANK = -1  # a place in a batch without a document

Batch = tuple[int, np.ndarray]  # bucket, document indices [batch size of the bucket]


class BatchPlan:
  """An endless sequence of batches in which each epoch has every document once.

  An epoch shuffles the documents and fills each bucket's batches in that order.
  What is left over in a bucket (less than a batch) moves up to the next larger
  bucket in use; what is left over in the largest is filled with blanks. So an
  epoch has at most one batch with blanks, and the number of batches is the same
  in every epoch. Then the order of the batches is shuffled.

  Attributes:
    batches_per_epoch: batches of every epoch.
  """

  def __init__(self, bucket_of: np.ndarray, batch_sizes: Sequence[int], seed: int = 0):
    """Args:
      bucket_of: [documents] int, each document's bucket.
      batch_sizes: documents a batch, by bucket.
      seed: of the order, not negative.

    Raises:
      ValueError: without documents, with a bucket that has no batch size, or with a
        batch size below 1.
    """
    self._bucket_of, self._batch_sizes = _check(bucket_of, batch_sizes)
    if not len(self._bucket_of):
      raise ValueError("no documents to make batches of")
    self._seed = seed
    self._epoch = 0
    self._batches = self._make_epoch(0)
    self.batches_per_epoch = len(self._batches)

  def batch(self, index: int) -> Batch:
    """Batch number `index`, counted from 0 over all epochs.

    Returns:
      (bucket, indices): [batch size of the bucket] int64, -1 at blank places.
    """
    if index < 0:
      raise IndexError(f"batch index {index} is negative")
    epoch, position = divmod(index, self.batches_per_epoch)
    if epoch != self._epoch:  # remembered only to save time: it is recomputed at will
      self._batches, self._epoch = self._make_epoch(epoch), epoch
    bucket, indices = self._batches[position]
    return bucket, indices.copy()

  def _make_epoch(self, epoch: int) -> list[Batch]:
    rng = np.random.default_rng((self._seed, epoch))
    order = rng.permutation(len(self._bucket_of))
    batches = _fill_batches(order, self._bucket_of, self._batch_sizes)
    return [batches[i] for i in rng.permutation(len(batches))]


def evaluation_batches(bucket_of: np.ndarray, batch_sizes: Sequence[int]) -> list[Batch]:
  """Every document once, in a fixed order, smallest bucket first.

  Args:
    bucket_of: [documents] int, each document's bucket.
    batch_sizes: documents a batch, by bucket.

  Returns:
    [(bucket, indices)], indices [batch size] int64 with -1 at blank places; empty
    without documents. Leftovers move up as in `BatchPlan`.
  """
  bucket_of, batch_sizes = _check(bucket_of, batch_sizes)
  return _fill_batches(np.arange(len(bucket_of)), bucket_of, batch_sizes)


def take_parts(array: np.ndarray, own: Sequence[int], parts: int, axis: int = 0) -> np.ndarray:
  """Those numbered `own` of the equal `parts` of an array along `axis`: what one host has of all."""
  pieces = np.split(array, parts, axis)
  return np.concatenate([pieces[part] for part in own], axis)


def _check(bucket_of, batch_sizes) -> tuple[np.ndarray, tuple[int, ...]]:
  bucket_of = np.asarray(bucket_of, dtype=np.int64)
  batch_sizes = tuple(int(n) for n in batch_sizes)
  if any(n < 1 for n in batch_sizes):
    raise ValueError(f"batch sizes {batch_sizes} must be at least 1")
  if len(bucket_of) and not 0 <= bucket_of.min() <= bucket_of.max() < len(batch_sizes):
    raise ValueError(
      f"buckets from {bucket_of.min()} to {bucket_of.max()}, but {len(batch_sizes)} batch sizes"
    )
  return bucket_of, batch_sizes


def _fill_batches(
  order: np.ndarray, bucket_of: np.ndarray, batch_sizes: tuple[int, ...]
) -> list[Batch]:
  """Batches of the documents in `order` ([documents] int, a permutation)."""
  batches = []
  place = np.empty(len(order), np.int64)  # where in the order a document stands
  place[order] = np.arange(len(order))
  # Buckets nobody is in are passed over, or a leftover would compile their shapes.
  used = np.unique(bucket_of)
  leftover = np.empty(0, np.int64)
  for bucket in used:
    bucket = int(bucket)
    size = batch_sizes[bucket]
    documents = np.concatenate([leftover, np.flatnonzero(bucket_of == bucket)])
    documents = documents[np.argsort(place[documents])]
    num_full = len(documents) // size
    batches += [(bucket, row) for row in documents[: num_full * size].reshape(num_full, size)]
    leftover = documents[num_full * size :]
  if len(leftover):
    last = np.full(size, BLANK, np.int64)
    last[: len(leftover)] = leftover
    batches.append((bucket, last))
  return batches
