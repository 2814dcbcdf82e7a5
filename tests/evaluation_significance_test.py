"""Tests of significance against enumeration, SciPy, textbook numbers, and their own symmetry."""

import itertools
from unittest import mock

from absl.testing import absltest, parameterized
import numpy as np
from scipy import stats

from htmtl_jax.evaluation import rouge, significance

_TESTS = (significance.paired_bootstrap, significance.randomisation_test)


class RandomisationTest(parameterized.TestCase):
  def test_by_hand(self):
    # Sums of +-1 +-2 +-3 that reach 6 in size: 6 and -6, of 8.
    self.assertEqual(significance.randomisation_test(np.array([1.0, 2.0, 3.0])), 0.25)
    # That reach 1 + 2 - 3 = 0: all.
    self.assertEqual(significance.randomisation_test(np.array([1.0, 2.0, -3.0])), 1.0)
    # One document can never be significant.
    self.assertEqual(significance.randomisation_test(np.array([50.0])), 1.0)

  @parameterized.parameters(2, 5, 10)
  def test_exact_equals_enumeration_and_scipy(self, documents):
    d = np.random.default_rng(documents).normal(0.6, 1.0, documents)
    signs = itertools.product((-1.0, 1.0), repeat=documents)
    hits = sum(abs(np.dot(s, d)) >= abs(d.sum()) - 1e-9 for s in signs)
    found = significance.randomisation_test(d, samples=2**documents)
    self.assertEqual(found, hits / 2**documents)
    scipys = stats.permutation_test(
      (d,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=False
    )
    self.assertAlmostEqual(found, scipys.pvalue)

  @parameterized.parameters(
    ((-5, 5, 2, 6), 8), ((-1, 7, 5, 7, -2), 8), ((0, -2, -3, -1, 0, 3), 48), ((1, 1, -2), 8)
  )
  def test_ties_are_not_lost_to_rounding(self, tenths, hits):
    # As integers these sums are exact; in tenths, which binary fractions cannot hold,
    # sums that tie with the observed one come out on either side of it.
    whole = significance.randomisation_test(np.array(tenths, np.float64))
    self.assertEqual(whole, hits / 2 ** len(tenths))
    self.assertEqual(significance.randomisation_test(np.array(tenths) / 10.0), whole)

  def test_drawn_signs_approach_the_exact_answer(self):
    d = np.random.default_rng(1).normal(0.5, 1.0, 10)
    exact = significance.randomisation_test(d, samples=1024)
    drawn = significance.randomisation_test(d, samples=1000)  # below 2^10: draws
    self.assertNotEqual(exact, drawn)
    self.assertAlmostEqual(exact, drawn, delta=4 * np.sqrt(exact * (1 - exact) / 1000))

  def test_never_zero_when_drawn(self):
    d = np.full(40, 1.0)  # 2 of 2^40 sign vectors reach it
    self.assertAlmostEqual(significance.randomisation_test(d, samples=999), 1 / 1000)


class BootstrapTest(parameterized.TestCase):
  def test_equals_a_loop_over_resamples(self):
    d = np.random.default_rng(2).normal(0.3, 1.0, 13)
    rng = np.random.default_rng(7)
    means = [np.mean([d[i] for i in row]) for row in rng.integers(0, 13, (300, 13))]
    below, above = sum(m <= 0 for m in means), sum(m >= 0 for m in means)
    self.assertBetween(below, 10, 290)  # both tails are seen
    expected = 2 * min(1 + below, 1 + above) / 301
    self.assertAlmostEqual(significance.paired_bootstrap(d, samples=300, seed=7), expected)

  def test_approaches_the_enumerated_answer(self):
    d = np.array([3.0, 1.0, -2.0, -1.0])  # 4^4 equally likely resamples
    means = [np.mean(draw) for draw in itertools.product(d, repeat=4)]
    exact = 2 * min(np.mean(np.array(means) <= 0), np.mean(np.array(means) >= 0))
    self.assertBetween(exact, 0.3, 0.95)
    found = significance.paired_bootstrap(d, samples=40_000)
    self.assertAlmostEqual(found, exact, delta=0.02)

  def test_never_zero(self):
    self.assertAlmostEqual(significance.paired_bootstrap(np.ones(5), samples=999), 2 / 1000)

  def test_interval_is_that_of_the_scores_module(self):
    d = np.random.default_rng(8).normal(1.0, 5.0, 37)
    mean, low, high = significance.difference_interval(d, samples=500, seed=4, confidence=0.9)
    self.assertAlmostEqual(mean, d.mean())
    np.testing.assert_allclose((low, high), rouge.bootstrap_interval(d, 500, 4, 0.9), rtol=1e-9)

  def test_interval_by_hand(self):
    # Resampled means of two documents: 0, 1, 2 with probability 1/4, 1/2, 1/4.
    d = np.array([0.0, 2.0])
    self.assertEqual(significance.difference_interval(d), (1.0, 0.0, 2.0))
    self.assertEqual(significance.difference_interval(d, confidence=0.4), (1.0, 1.0, 1.0))


class BothTestsTest(parameterized.TestCase):
  @parameterized.parameters(*_TESTS)
  def test_find_a_difference_and_find_none(self, test):
    rng = np.random.default_rng(3)
    noise = rng.normal(0.0, 8.0, 400)
    noise -= noise.mean()
    self.assertLess(test(noise + 2.0), 0.001)
    self.assertGreater(test(noise + 0.1), 0.5)
    self.assertEqual(test(np.zeros(400)), 1.0)

  @parameterized.parameters(*_TESTS)
  def test_known_size_of_p(self, test):
    # For many documents both tests are the z-test.
    d = np.random.default_rng(4).normal(0.0, 8.0, 2000)
    d += 2.0 * d.std() / np.sqrt(2000) - d.mean()
    self.assertAlmostEqual(test(d), 2 * stats.norm.sf(2.0), delta=0.01)

  @parameterized.parameters(*itertools.product(_TESTS, (6, 30)))
  def test_symmetric(self, test, documents):
    d = np.random.default_rng(5).normal(0.3, 1.0, documents)
    # The order of the systems, the unit and the order of the documents are arbitrary.
    # (Only the last changes which documents a seed draws.)
    self.assertEqual(test(d, 2000), test(-d, 2000))
    self.assertEqual(test(d, 2000), test(10.0 * d, 2000))
    self.assertAlmostEqual(test(d, 20_000), test(d[::-1], 20_000), delta=0.02)

  @parameterized.parameters(*_TESTS)
  def test_columns_blocks_and_seeds(self, test):
    rng = np.random.default_rng(6)
    d = rng.normal(0.2, 1.0, (50, 3))
    together = test(d, samples=501, seed=2)
    self.assertEqual(together.shape, (3,))
    np.testing.assert_array_equal(together, [test(d[:, k], samples=501, seed=2) for k in range(3)])
    with mock.patch.object(significance, "_BLOCK", 333):
      np.testing.assert_array_equal(test(d, samples=501, seed=2), together)
    self.assertFalse(np.array_equal(test(d, samples=501, seed=3), together))

  @parameterized.parameters(*_TESTS)
  def test_leave_the_global_generator_alone(self, test):
    before = np.random.get_state()[1].copy()
    test(np.arange(20.0))
    np.testing.assert_array_equal(np.random.get_state()[1], before)

  @parameterized.parameters(*itertools.product(_TESTS, ([], [[[1.0]]], [1.0, np.nan])))
  def test_refuse(self, test, differences):
    with self.assertRaisesRegex(ValueError, "differences"):
      test(np.array(differences))
    with self.assertRaisesRegex(ValueError, "samples"):
      test(np.ones(3), samples=0)

  def test_together_equal_one_by_one(self):
    d = np.random.default_rng(9).normal(0.2, 1.0, (40, 2))
    found = significance.compare(d, samples=400, seed=1, confidence=0.8)
    np.testing.assert_array_equal(
      found[:3], significance.difference_interval(d, 400, 1, confidence=0.8)
    )
    np.testing.assert_array_equal(found.p_bootstrap, significance.paired_bootstrap(d, 400, 1))
    np.testing.assert_array_equal(found.p_randomisation, significance.randomisation_test(d, 400, 1))
    single = significance.compare(d[:, 1], samples=400, seed=1, confidence=0.8)
    np.testing.assert_allclose([x[1] for x in found], single, rtol=1e-12)
    for call in (significance.compare, significance.difference_interval):
      with self.assertRaisesRegex(ValueError, "confidence"):
        call(d, confidence=1.0)


class HolmTest(parameterized.TestCase):
  def test_textbook(self):
    # Four hypotheses at 0.05: the two smallest are rejected (0.005 <= 0.05/4,
    # 0.01 <= 0.05/3), 0.03 > 0.05/2 stops the procedure, so 0.04 is kept as well.
    np.testing.assert_allclose(
      significance.holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02]
    )

  def test_shape_bounds_and_single(self):
    np.testing.assert_allclose(significance.holm(np.array([[0.5], [0.6]])), [[1.0], [1.0]])
    self.assertEqual(significance.holm(np.array([0.03])), 0.03)
    self.assertEqual(significance.holm(np.array([])).size, 0)

  def test_between_nothing_and_bonferroni_and_in_order(self):
    p = np.random.default_rng(0).uniform(0.0, 0.05, 30)
    adjusted = significance.holm(p)
    self.assertTrue((adjusted >= p).all())
    self.assertTrue((adjusted <= np.minimum(1.0, 30 * p)).all())
    self.assertTrue((np.diff(adjusted[np.argsort(p)]) >= 0.0).all())

  @parameterized.parameters(-0.1, 1.1, np.nan)
  def test_refuses(self, value):
    with self.assertRaisesRegex(ValueError, "between 0 and 1"):
      significance.holm(np.array([0.5, value]))


if __name__ == "__main__":
  absltest.main()
