"""Batch plans against their definition."""

from absl.testing import absltest, parameterized
import numpy as np

from htmtl_jax.data import batches


def _draw_buckets(num_documents, num_buckets, seed=0):
  return np.random.default_rng(seed).integers(0, num_buckets, num_documents)


class BatchPlanTest(parameterized.TestCase):
  @parameterized.parameters(
    (1, 1, (1,)),
    (1, 3, (4, 2, 1)),
    (7, 1, (3,)),
    (50, 3, (8, 4, 2)),
    (101, 4, (7, 5, 3, 1)),
    (64, 2, (8, 8)),
    (5, 3, (8, 8, 8)),
  )
  def test_every_document_exactly_once_in_each_epoch(self, num_documents, num_buckets, sizes):
    bucket_of = _draw_buckets(num_documents, num_buckets)
    plan = batches.BatchPlan(bucket_of, sizes, seed=3)
    for epoch in range(4):
      seen = []
      blank_batches = 0
      for k in range(plan.batches_per_epoch):
        bucket, indices = plan.batch(epoch * plan.batches_per_epoch + k)
        self.assertLen(indices, sizes[bucket])
        real = indices[indices != batches.BLANK]
        self.assertNotEmpty(real)
        self.assertTrue((bucket_of[real] <= bucket).all(), "a document must fit its batch")
        blank_batches += len(real) < len(indices)
        seen += real.tolist()
      self.assertEqual(sorted(seen), list(range(num_documents)))
      self.assertLessEqual(blank_batches, 1)

  def test_number_of_batches_by_hand(self):
    # 5 small (size 2): 2 batches, 1 moves up; 1 + 3 (size 3): 1 batch, 1 moves up;
    # 1 + 2 large (size 2): 2 batches, one of them with a blank.
    plan = batches.BatchPlan(np.array([0] * 5 + [1] * 3 + [2] * 2), (2, 3, 2))
    self.assertEqual(plan.batches_per_epoch, 5)
    buckets = sorted(plan.batch(k)[0] for k in range(5))
    self.assertEqual(buckets, [0, 0, 1, 2, 2])

  def test_no_shape_is_used_that_no_document_needs(self):
    plan = batches.BatchPlan(np.array([0, 0, 0, 2]), (2, 2, 2, 2))
    self.assertEqual({plan.batch(k)[0] for k in range(plan.batches_per_epoch)}, {0, 2})
    plan = batches.BatchPlan(np.zeros(3, int), (2, 2))
    self.assertEqual([plan.batch(k)[0] for k in range(2)], [0, 0])

  def test_any_position_without_the_ones_before(self):
    bucket_of = _draw_buckets(40, 3)
    walked = batches.BatchPlan(bucket_of, (8, 4, 2), seed=5)
    for k in range(3 * walked.batches_per_epoch):
      bucket, indices = walked.batch(k)
      jumped = batches.BatchPlan(bucket_of, (8, 4, 2), seed=5)
      other_bucket, other = jumped.batch(k)
      self.assertEqual(bucket, other_bucket)
      np.testing.assert_array_equal(indices, other)

  def test_caller_may_write_into_a_batch(self):
    plan = batches.BatchPlan(np.zeros(4, int), (4,))
    plan.batch(0)[1][:] = -7
    self.assertEqual(sorted(plan.batch(0)[1]), [0, 1, 2, 3])

  def test_epochs_and_seeds_differ_in_order(self):
    bucket_of = np.zeros(32, int)
    plan = batches.BatchPlan(bucket_of, (32,), seed=0)
    other = batches.BatchPlan(bucket_of, (32,), seed=1)
    first, second = plan.batch(0)[1], plan.batch(1)[1]
    self.assertFalse(np.array_equal(first, second))
    self.assertFalse(np.array_equal(first, other.batch(0)[1]))

  def test_every_order_is_possible(self):
    # With 3 documents, one a batch, an epoch is a permutation; all 6 about equally often.
    plan = batches.BatchPlan(np.zeros(3, int), (1,), seed=0)
    counts = {}
    for epoch in range(600):
      key = tuple(int(plan.batch(3 * epoch + k)[1][0]) for k in range(3))
      counts[key] = counts.get(key, 0) + 1
    self.assertLen(counts, 6)
    self.assertGreater(min(counts.values()), 60)

  def test_mistakes_of_the_caller(self):
    with self.assertRaisesRegex(ValueError, "no documents"):
      batches.BatchPlan(np.zeros(0, int), (1,))
    with self.assertRaisesRegex(ValueError, "at least 1"):
      batches.BatchPlan(np.zeros(2, int), (0,))
    with self.assertRaisesRegex(ValueError, "batch sizes"):
      batches.BatchPlan(np.array([0, 3]), (1, 1))
    with self.assertRaises(IndexError):
      batches.BatchPlan(np.zeros(2, int), (1,)).batch(-1)


class EvaluationBatchesTest(absltest.TestCase):
  def test_by_hand(self):
    result = batches.evaluation_batches(np.array([1, 0, 0, 1, 0]), (2, 4))
    self.assertLen(result, 2)
    self.assertEqual([bucket for bucket, _ in result], [0, 1])
    np.testing.assert_array_equal(result[0][1], [1, 2])
    np.testing.assert_array_equal(result[1][1], [0, 3, 4, -1])

  def test_no_documents(self):
    self.assertEqual(batches.evaluation_batches(np.zeros(0, int), (2,)), [])


if __name__ == "__main__":
  absltest.main()
