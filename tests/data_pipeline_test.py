"""Batches: the same whatever the workers, hosts and restarts; measured once."""

import dataclasses
import itertools
import os
import tempfile
from unittest import mock

from absl.testing import absltest
import jax
import numpy as np

from htmtl_jax.data import packing, pipeline, placement, shards
from htmtl_jax.data.batches import BLANK
from tests import data_shards_test, tiny

BUCKETS = (
  dataclasses.replace(tiny.BUCKET, token_rows=3),
  dataclasses.replace(tiny.BUCKET, token_rows=5),
  tiny.BUCKET,
)


def make_documents(count=23):
  rng = np.random.default_rng(3)
  return [
    tiny.make_document(tiny.random_shape(rng, sections=3, paragraphs=2, sentences=3, tokens=9), i)
    for i in range(count)
  ]


def assert_same_batches(actual, expected):
  for (bucket_a, indices_a, batch_a), (bucket_b, indices_b, batch_b) in zip(
    actual, expected, strict=True
  ):
    assert bucket_a == bucket_b
    np.testing.assert_array_equal(indices_a, indices_b)
    jax.tree.map(np.testing.assert_array_equal, batch_a, batch_b)


class PipelineTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.directory = self.enter_context(tempfile.TemporaryDirectory())
    self.documents = make_documents()
    data_shards_test.write(self.directory, self.documents, (10, 13))
    self.split = pipeline.PackedSplit(shards.ShardedSplit(self.directory), BUCKETS, 20)

  def take(self, count, start=0, **kwargs):
    batches = self.split.training_batches(7, start, kwargs.pop("multiple", 2), **kwargs)
    try:
      return list(itertools.islice(batches, count))
    finally:
      batches.close()

  def test_buckets_are_the_smallest_that_fit(self):
    for document, bucket in zip(self.documents, self.split.bucket_of):
      fitting = [i for i, b in enumerate(BUCKETS) if placement.fits(document, b)]
      self.assertEqual(bucket, fitting[0] if fitting else len(BUCKETS) - 1)
    self.assertGreater(len(set(self.split.bucket_of)), 1)

  def test_an_epoch_has_every_document_once(self):
    seen = []
    batches = self.split.training_batches(7, 0, 2)
    while len(seen) < len(self.documents):
      bucket, indices, batch = next(batches)
      real = indices[indices != BLANK]
      seen += real.tolist()
      self.assertEqual(batch.token_ids.shape[-2], BUCKETS[bucket].token_rows)
      self.assertEqual(batch.document_mask.sum(), len(real))
      self.assertEqual(len(batch.document_mask) % 2, 0)
    batches.close()
    self.assertCountEqual(seen, range(len(self.documents)))

  def test_worker_processes_change_nothing(self):
    assert_same_batches(self.take(5, workers=2), self.take(5))

  def test_a_restart_continues_whatever_the_workers(self):
    whole = self.take(9)
    assert_same_batches(self.take(4, start=5), whole[5:])
    assert_same_batches(self.take(4, start=5, workers=1), whole[5:])

  def test_hosts_share_each_batch(self):
    whole = self.take(6, multiple=4)
    parts = [self.take(6, multiple=4, own=own, parts=4) for own in ((0, 2), (1, 3))]
    for (bucket, indices, batch), *of_hosts in zip(whole, *parts):
      for part in of_hosts:
        self.assertEqual(part[0], bucket)  # the same shapes everywhere, or hosts would hang
        np.testing.assert_array_equal(part[1], indices)
      joined = jax.tree.map(lambda *x: np.concatenate(x), *(part[2] for part in of_hosts))
      batch = jax.tree.map(
        lambda x: np.concatenate(np.split(x, 4)[::2] + np.split(x, 4)[1::2]), batch
      )
      jax.tree.map(np.testing.assert_array_equal, joined, batch)
    with self.assertRaisesRegex(ValueError, "cannot be cut into 3 parts"):
      self.take(1, multiple=4, parts=3)

  def test_evaluation_sees_every_document_once_and_finds_its_way_back(self):
    seen = []
    for bucket, indices, batch, pieces in self.split.evaluation_batches(2):
      for row, index in enumerate(pieces):
        if index is None:
          self.assertFalse(batch.document_mask[row])
          continue
        document = self.documents[indices[row]]
        seen.append(int(indices[row]))
        arrays, _, _ = packing.pack_document(document, BUCKETS[bucket])
        np.testing.assert_array_equal(batch.token_ids[row], arrays.token_ids)
        self.assertEqual(index.sentence.max() + 1, len(document.sentence_lengths))
    self.assertCountEqual(seen, range(len(self.documents)))
    empty = pipeline.PackedSplit([], BUCKETS, 20)
    self.assertEqual(list(empty.evaluation_batches(2)), [])

  def test_rows_of_another_geometry_are_measured_once(self):
    wider = tuple(dataclasses.replace(b, row_tokens=b.row_tokens + 4) for b in BUCKETS)
    documents = shards.ShardedSplit(self.directory)
    first = pipeline.PackedSplit(documents, wider, 20)
    self.assertEqual(
      first.bucket_of.tolist(), pipeline.PackedSplit(self.documents, wider, 20).bucket_of.tolist()
    )
    with mock.patch.object(pipeline, "measure_document", side_effect=AssertionError):
      again = pipeline.PackedSplit(documents, wider, 20)
      pipeline.PackedSplit(documents, BUCKETS, 20)  # and the index's own, never
    np.testing.assert_array_equal(again.bucket_of, first.bucket_of)
    self.assertLen([n for n in os.listdir(self.directory) if n.startswith("needs-")], 1)

  def test_what_no_bucket_holds_is_told(self):
    small = tuple(dataclasses.replace(b, sections=1) for b in BUCKETS)
    with self.assertLogs(level="WARNING") as logs:
      split = pipeline.PackedSplit(self.documents, small, 20)
    expected = sum(not placement.fits(d, small[-1]) for d in self.documents)
    self.assertEqual(split.num_beyond, expected)
    self.assertGreater(expected, 0)
    self.assertIn(f"{expected} of 23 documents have more segments", logs.output[0])

  def test_an_error_of_packing_reaches_the_trainer(self):
    with mock.patch.object(pipeline, "pack_document", side_effect=MemoryError("no room")):
      with self.assertRaisesRegex(MemoryError, "no room"):
        self.take(1)


if __name__ == "__main__":
  absltest.main()
