"""The calibration of the tests: its distributions are what they say, and it can find fault."""

from unittest import mock

from absl.testing import absltest, parameterized
import numpy as np

from benchmarks import significance_calibration as calibration
from htmtl_jax.evaluation import significance


class CalibrationTest(parameterized.TestCase):
  @parameterized.parameters(*calibration.DISTRIBUTIONS)
  def test_both_systems_have_the_mean_that_is_claimed(self, name):
    draw = calibration.DISTRIBUTIONS[name]
    first, second, mean = draw(np.random.default_rng(0), 200_000)
    for scores in (first, second):
      self.assertAlmostEqual(scores.mean(), mean, delta=4 * scores.std() / np.sqrt(200_000))
      self.assertBetween(scores.min(), 0.0, scores.max())
      self.assertLessEqual(scores.max(), 100.0)

  def test_rates(self):
    rates = calibration.simulate(calibration.draw_dense, 25, 80, 300, (0,))
    self.assertLess(rates["randomisation_rejects"], 0.15)
    self.assertGreater(rates["difference_covered"], 0.8)
    self.assertGreater(rates["mean_covered"], 0.8)
    self.assertBetween(rates["randomisation_power"], rates["randomisation_rejects"] + 0.01, 0.6)

  def test_a_wrong_test_is_seen(self):
    def wrong(*arguments):
      found = significance_compare(*arguments)
      return found._replace(p_randomisation=found.p_randomisation / 10.0, low=found.difference)

    significance_compare = significance.compare
    with mock.patch.object(significance, "compare", wrong):
      rates = calibration.simulate(calibration.draw_dense, 25, 80, 300, (0,))
    self.assertGreater(rates["randomisation_rejects"], 0.25)
    self.assertLess(rates["difference_covered"], 0.7)


if __name__ == "__main__":
  absltest.main()
