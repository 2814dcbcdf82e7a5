"""The statistics of a study against known answers and other ways to compute them."""

import itertools

from absl.testing import absltest, parameterized
import numpy as np
from scipy import optimize, stats

from htmtl_jax.human_eval import (
  agreement,
  bradley_terry,
  comparisons,
  leave_one_out,
  metric_agreement,
  power,
  resampling,
  scores,
)
from htmtl_jax.human_eval.judgments import Table

NAN = np.nan
# Krippendorff 2011, "Computing Krippendorff's alpha-reliability", example C: four observers,
# twelve units, values missing. He gives 0.743 nominal and 0.815 ordinal.
PUBLISHED = np.array(
  [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
  ]
).T


def make_table(values, columns=("p", "q"), task="likert", **more):
  """A table of values [documents, columns, raters]; a column's name is a system or a pair."""
  values = np.asarray(values, np.float64)
  names = tuple(c if isinstance(c, tuple) else (c,) for c in columns)
  automatic = more.pop("automatic", np.zeros(values.shape[:2], bool))
  return Table("paragraph", task, "overall", names, values, automatic)


class AgreementTest(parameterized.TestCase):
  @parameterized.parameters(("nominal", 0.743), ("ordinal", 0.815))
  def test_published_example(self, scale, expected):
    self.assertAlmostEqual(agreement.alpha(PUBLISHED, scale), expected, delta=0.0005)

  @parameterized.product(scale=("nominal", "ordinal"), seed=(0, 1, 2))
  def test_two_ways_to_compute_it(self, scale, seed):
    rng = np.random.default_rng(seed)
    units = rng.integers(1, 6, (17, 4)).astype(float)
    units[:, 1] = units[:, 0]  # some agreement
    units[rng.random(units.shape) < 0.3] = NAN
    documents = rng.integers(0, 7, 17)
    weights = np.concatenate([np.ones((1, 7)), rng.integers(0, 3, (5, 7))]).astype(float)
    found = agreement.resampled_alpha(units, documents, weights, scale)
    self.assertAlmostEqual(found[0], agreement.alpha(units, scale), places=12)
    for own, value in zip(weights, found):  # a document drawn twice is its units twice
      repeated = np.repeat(units, own[documents].astype(int), axis=0)
      self.assertAlmostEqual(value, agreement.alpha(repeated, scale), places=12)

  @parameterized.parameters("nominal", "ordinal")
  def test_identical_raters_agree_perfectly(self, scale):
    units = np.tile(np.array([1.0, 2, 3, 3, 5, 2])[:, None], (1, 3))
    self.assertEqual(agreement.alpha(units, scale), 1.0)
    self.assertEqual(agreement.mean_agreement(units), 1.0)

  def test_random_raters_agree_as_chance_does(self):
    units = np.random.default_rng(0).integers(1, 6, (3000, 3)).astype(float)
    for scale in ("nominal", "ordinal"):
      self.assertAlmostEqual(agreement.alpha(units, scale), 0.0, delta=0.03)

  def test_ordinal_forgives_near_misses(self):
    near = np.array([[1.0, 2], [2, 3], [4, 5], [5, 4], [3, 3], [1, 1]])
    far = np.array([[1.0, 5], [2, 3], [4, 1], [5, 4], [3, 3], [1, 2]])
    self.assertGreater(agreement.alpha(near, "ordinal"), agreement.alpha(far, "ordinal") + 0.5)
    self.assertGreater(agreement.alpha(near, "ordinal"), agreement.alpha(near, "nominal"))

  def test_where_it_is_not_defined(self):
    self.assertIsNone(agreement.alpha(np.full((5, 2), 3.0), "ordinal"))  # nothing varies
    self.assertIsNone(agreement.alpha(np.array([[1.0, NAN], [NAN, 2.0]]), "nominal"))
    table = make_table(np.full((4, 2, 1), 3.0))
    weights = resampling.draw_weights(4, 100, 0)
    found = scores.describe_agreement(table, weights, 0.95)
    self.assertEqual((found["alpha"], found["low"], found["units"]), (None, None, 0))

  def test_comparisons_have_no_first_and_second(self):
    rng = np.random.default_rng(0)
    values = rng.integers(-1, 2, (30, 1, 3)).astype(float)
    values[:, :, 1] = values[:, :, 0]
    weights = resampling.draw_weights(30, 200, 0)
    describe = lambda v, columns: scores.describe_agreement(
      make_table(v, columns, "pairwise"), weights, 0.95
    )
    found = describe(values, (("p", "q"),))
    self.assertEqual(describe(-values, (("q", "p"),)), found)
    self.assertEqual(found["units"], 30)
    self.assertBetween(found["alpha"], found["low"], found["high"])
    # One system always wins, and everybody sees it: that is agreement.
    self.assertEqual(describe(np.ones((5, 1, 3)), (("p", "q"),))["alpha"], 1.0)

  def test_what_follows_from_equal_texts_is_no_agreement(self):
    rng = np.random.default_rng(0)
    values = rng.integers(1, 6, (10, 2, 3)).astype(float)
    automatic = np.zeros((10, 2), bool)
    automatic[:4, 1] = True
    values[:4, 1] = 2.0
    units, documents = agreement.as_units(values, automatic)
    self.assertEqual(units.shape, (16, 3))
    np.testing.assert_array_equal(units[documents == 0], values[0, :1])


class BradleyTerryTest(parameterized.TestCase):
  @parameterized.parameters((30, 10, 20), (7, 0, 3), (1, 50, 1))
  def test_two_systems_have_a_closed_form(self, wins, ties, losses):
    prior = bradley_terry.PRIOR
    theta, log_nu = bradley_terry.fit([(0, 1)], np.array([[wins, ties, losses]]), 2)
    self.assertAlmostEqual(theta[0] - theta[1], np.log((wins + prior) / (losses + prior)), places=7)
    expected = (ties + prior) / np.sqrt((wins + prior) * (losses + prior))
    self.assertAlmostEqual(log_nu, np.log(expected), places=7)
    self.assertAlmostEqual(theta.sum(), 0.0)

  def test_it_is_the_maximum_of_the_likelihood(self):
    rng = np.random.default_rng(0)
    pairs = list(itertools.combinations(range(4), 2))
    counts = rng.integers(0, 12, (len(pairs), 3))

    def loss(parameters):
      theta, log_nu = parameters[:4], parameters[4]
      total = 0.0
      for (i, j), row in zip(pairs, counts + bradley_terry.PRIOR):
        utility = np.array([theta[i], log_nu + (theta[i] + theta[j]) / 2, theta[j]])
        total -= row @ (utility - np.log(np.exp(utility).sum()))
      return total + theta.sum() ** 2

    best = optimize.minimize(loss, np.zeros(5), tol=1e-12).x
    theta, log_nu = bradley_terry.fit(pairs, counts, 4)
    np.testing.assert_allclose([*theta, log_nu], best, atol=1e-4)

  def test_a_batch_is_its_members_and_a_perfect_system_is_finite(self):
    pairs = [(0, 1), (0, 2), (1, 2)]
    counts = np.array([[[9, 0, 0], [9, 0, 0], [4, 1, 4]], [[0, 0, 9], [0, 0, 9], [2, 3, 1]]])
    thetas, log_nus = bradley_terry.fit(pairs, counts, 3)
    for k in range(2):
      theta, log_nu = bradley_terry.fit(pairs, counts[k], 3)
      np.testing.assert_allclose(thetas[k], theta, atol=1e-7)
      self.assertAlmostEqual(log_nus[k], log_nu, places=6)
    self.assertTrue(np.isfinite(thetas).all())
    self.assertGreater(thetas[0, 0], thetas[0, 1] + 2.0)
    np.testing.assert_allclose(thetas[0, 1], thetas[0, 2], atol=1e-7)

  def test_recovers_what_was_drawn(self):
    rng = np.random.default_rng(0)
    truth, log_nu = np.array([0.8, 0.1, -0.9]), np.log(0.7)
    pairs, counts = [(0, 1), (0, 2), (1, 2)], []
    for i, j in pairs:
      utility = np.exp([truth[i], log_nu + (truth[i] + truth[j]) / 2, truth[j]])
      counts.append(rng.multinomial(20_000, utility / utility.sum()))
    theta, found = bradley_terry.fit(pairs, np.array(counts), 3)
    np.testing.assert_allclose(theta, truth, atol=0.03)
    self.assertAlmostEqual(found, log_nu, delta=0.03)


class ComparisonsTest(parameterized.TestCase):
  def test_wilcoxon_on_a_hand_case(self):
    # Sizes rank 1 to 5, the third alone is negative: W+ = 12 of 15. At least 12 or at most 3
    # come from the subsets {}, {1}, {2}, {3}, {1, 2} and their complements: 10 of 32.
    self.assertAlmostEqual(comparisons.wilcoxon(np.array([1.0, 2, -3, 4, 5])), 10 / 32)

  @parameterized.parameters(*range(8))
  def test_wilcoxon_is_scipys(self, seed):
    rng = np.random.default_rng(seed)
    untied = rng.normal(0.4, 1.0, 9 + seed)
    self.assertAlmostEqual(comparisons.wilcoxon(untied), stats.wilcoxon(untied).pvalue)
    # With ties and zeros SciPy has the exact distribution by enumeration only.
    tied = np.round(rng.normal(0.4, 1.0, 7))
    if tied.any():
      expected = stats.wilcoxon(tied, zero_method="pratt", method=stats.PermutationMethod())
      self.assertAlmostEqual(comparisons.wilcoxon(tied), expected.pvalue)
    long = np.round(rng.normal(0.1, 1.0, 80))
    expected = stats.wilcoxon(long, zero_method="pratt", method="asymptotic").pvalue
    self.assertAlmostEqual(comparisons.wilcoxon(long), expected)

  def test_exact_where_the_approximation_takes_over(self):
    rng = np.random.default_rng(0)
    values = np.round(rng.normal(0.3, 1.0, 50))
    approximate = stats.wilcoxon(values, zero_method="pratt", method="asymptotic").pvalue
    self.assertAlmostEqual(comparisons.wilcoxon(values), approximate, delta=0.02)

  def test_nothing_differs(self):
    for values in (np.zeros(9), np.array([]), np.array([NAN, NAN]), np.full(5, 1e-12)):
      self.assertEqual(comparisons.wilcoxon(values), 1.0)

  def test_documents_count_once_and_holm_is_over_the_family(self):
    rng = np.random.default_rng(0)
    values = rng.integers(1, 6, (15, 3, 4)).astype(float)
    values[:, 0] = np.minimum(values[:, 0] + 2, 5)
    values[3, 1] = NAN  # nobody judged q on one document
    values[4, 2, 1:] = NAN
    tables = [make_table(values, "pqr"), make_table(values[::-1], "pqr")]
    weights = resampling.draw_weights(15, 300, 0)
    rows = comparisons.compare_tables(tables, weights, 0.95, 0.05)
    self.assertEqual([(r["a"], r["b"]) for r in rows[0]], [("p", "q"), ("p", "r"), ("q", "r")])
    others = np.delete(values, 3, axis=0)  # without the document that lacks q
    differences = np.nanmean(others[:, 0], axis=1) - np.nanmean(others[:, 1], axis=1)
    self.assertEqual(rows[0][0]["documents"], 14)
    self.assertAlmostEqual(rows[0][0]["difference"], differences.mean())
    self.assertAlmostEqual(rows[0][0]["p"], comparisons.wilcoxon(differences))
    smallest = min(r["p"] for own in rows for r in own)
    self.assertAlmostEqual(min(r["p_holm"] for own in rows for r in own), min(1, 6 * smallest))
    for own in rows:
      for row in own:
        self.assertLessEqual(row["low"], row["difference"])
        self.assertLessEqual(row["difference"], row["high"])

  def test_leaving_a_rater_out(self):
    rng = np.random.default_rng(0)
    quiet = rng.integers(2, 5, (20, 2, 3)).astype(float)
    quiet[:, 1] = quiet[:, 0]  # three raters see no difference
    loud = np.stack([np.full(20, 5.0), np.full(20, 1.0)], axis=1)[:, :, None]
    table = make_table(np.concatenate([quiet, loud], axis=2))
    weights = resampling.draw_weights(20, 200, 0)
    compared = comparisons.compare_tables([table], weights, 0.95, 0.05)
    self.assertTrue(compared[0][0]["significant"])
    self.assertAlmostEqual(compared[0][0]["difference"], 1.0)
    (own,) = leave_one_out.leave_one_out([table], compared, ("a", "b", "c", "d"), 0.05)[0]
    self.assertFalse(own["holds"])
    self.assertEqual(own["changes"], {"d": "no longer significant"})
    self.assertAlmostEqual(own["without"]["d"], 0.0)
    self.assertAlmostEqual(own["without"]["a"], 4.0 / 3.0)
    self.assertEqual(own["low"], 0.0)
    self.assertAlmostEqual(own["high"], 4.0 / 3.0)
    # Raters who were flagged are also left out all at once.
    (own,) = leave_one_out.leave_one_out([table], compared, ("a", "b", "c", "d"), 0.05, ("c", "d"))[
      0
    ]
    self.assertEqual(own["changes"], {name: "no longer significant" for name in ("d", "c and d")})


class ScoresTest(parameterized.TestCase):
  def test_win_rates_by_hand(self):
    # p against q, p against r, q against r; 2 raters, 2 documents.
    values = [[[1, 1], [1, 0], [0, 0]], [[1, -1], [NAN, 1], [-1, -1]]]
    table = make_table(values, (("p", "q"), ("p", "r"), ("q", "r")), "pairwise")
    weights = resampling.draw_weights(2, 200, 0)
    found = scores.describe(table, ("p", "q", "r"), weights, 0.95)
    pair = found["pairs"][0]
    self.assertEqual((pair["wins"], pair["ties"], pair["losses"]), (3, 0, 1))
    self.assertAlmostEqual(pair["win_rate"]["mean"], 0.75)  # documents 1 and 1/2
    self.assertAlmostEqual(found["pairs"][1]["win_rate"]["mean"], (0.75 + 1.0) / 2)
    # p wins 1 and 3/4 on the first document, 1/2 and 1 on the second.
    self.assertAlmostEqual(found["scores"]["p"]["mean"], (0.875 + 0.75) / 2)
    self.assertAlmostEqual(found["scores"]["r"]["mean"], ((0.25 + 0.5) / 2 + (0.0 + 1.0) / 2) / 2)
    self.assertAlmostEqual(sum(s["mean"] for s in found["strengths"]["systems"].values()), 0.0)
    self.assertAlmostEqual(sum(s["first"] for s in found["strengths"]["systems"].values()), 1.0)

  def test_best_worst_and_likert_by_hand(self):
    values = [[[1, 1], [0, -1], [-1, 0]], [[1, 0], [-1, 1], [0, -1]]]
    weights = resampling.draw_weights(2, 200, 0)
    found = scores.describe(make_table(values, "pqr", "best_worst"), (*"pqr",), weights, 0.95)
    self.assertEqual(
      found["scores"]["p"] | {"low": 0, "high": 0},
      {"mean": 0.75, "low": 0, "high": 0, "best": 3, "worst": 0, "shown": 4},
    )
    self.assertAlmostEqual(found["scores"]["q"]["mean"], -0.25)
    found = scores.describe(make_table([[[1, 2]], [[5, NAN]]], "p"), ("p",), weights, 0.95)
    self.assertAlmostEqual(found["scores"]["p"]["mean"], 3.25)  # (1.5 + 5) / 2
    self.assertEqual(found["scores"]["p"]["counts"], [1, 1, 0, 0, 1])
    self.assertEqual((found["scores"]["p"]["low"], found["scores"]["p"]["high"]), (1.5, 5.0))

  def test_intervals_hold_the_mean_at_the_nominal_rate(self):
    rng = np.random.default_rng(0)
    held = 0
    for k in range(300):
      values = rng.normal(1.0, 2.0, (40, 1))
      weights = resampling.draw_weights(40, 300, k)
      _, low, high = resampling.mean_interval(values, weights, 0.9)
      held += bool(low[0] <= 1.0 <= high[0])
    self.assertBetween(held / 300, 0.84, 0.95)


class MetricAgreementTest(absltest.TestCase):
  def test_by_hand(self):
    # Raters prefer p, nobody, q; the score is right, has no choice to be right about, is equal.
    table = make_table([[[5, 4], [1, 2]], [[3, 3], [3, 3]], [[1, NAN], [2, NAN]]])
    weights = np.ones((100, 3))
    tables = {"p": {"m": [9.0, 1.0, 4.0]}, "q": {"m": [1.0, 9.0, 4.0]}}
    found = metric_agreement.measure_accuracy(table, tables, weights, 0.95)
    self.assertEqual(found["m"], {"mean": 0.75, "low": 0.75, "high": 0.75, "choices": 2})
    del tables["q"]  # the reference has no score
    self.assertEqual(metric_agreement.measure_accuracy(table, tables, weights, 0.95), {})


class PowerTest(parameterized.TestCase):
  def test_spread_is_that_of_the_data(self):
    rng = np.random.default_rng(0)
    document, judgment = 0.8, 1.3
    difference = (
      0.4 + document * rng.standard_normal((3000, 1)) + judgment * rng.standard_normal((3000, 3))
    )
    values = np.stack([difference, np.zeros_like(difference)], axis=1)
    values[rng.random(values.shape) < 0.2] = NAN
    found = power.estimate_spread([make_table(values)])
    self.assertAlmostEqual(found.between, document**2, delta=0.06)
    self.assertAlmostEqual(found.within, judgment**2, delta=0.06)
    self.assertIsNone(power.estimate_spread([make_table(values[:1])]))

  def test_documents_for_a_sign_test(self):
    # Without ties the test of 1 and -1 is the sign test: for 60% against 50% with 80% power it
    # takes ((1.96 / 2 + 0.842 sqrt(0.24)) / 0.1)^2 = 194 documents.
    found = power.find_documents("pairwise", power.Spread(0.0, 1.0), 0.6, 1, 0.05, 2000, 0)
    self.assertBetween(found, 175, 215)

  def test_documents_for_a_difference_of_ratings(self):
    # A t-test needs (2.802 / 0.5)^2 + 2 documents; Wilcoxon's 1 / 0.955 times as many.
    found = power.find_documents("likert", power.Spread(0.5, 1.0), 0.5, 2, 0.05, 2000, 0)
    self.assertBetween(found, 30, 39)
    self.assertIsNone(power.find_documents("likert", power.Spread(9.0, 9.0), 0.05, 1, 0.05, 100, 0))

  def test_power_of_no_difference_is_alpha_and_more_raters_help(self):
    spread = power.Spread(0.1, 0.8, ties=0.3)
    self.assertAlmostEqual(
      power.simulate_power("pairwise", spread, 0.5, 40, 3, 0.05, 3000, 0), 0.05, delta=0.015
    )
    one, three = (
      power.simulate_power("pairwise", spread, 0.65, 40, n, 0.05, 1000, 0) for n in (1, 3)
    )
    self.assertGreater(three, one + 0.15)

  @parameterized.parameters((0.3, 0.6, 0.2), (0.0, 0.7, 0.5), (0.9, 0.7, 0.1))
  def test_simulated_comparisons_are_as_asked(self, ties, win_rate, correlation):
    spread = power.Spread(correlation, 1.0 - correlation, ties)
    rng = np.random.default_rng(0)
    pair = power._draw_comparisons(spread, win_rate, (1, 40_000), 1, rng)
    self.assertAlmostEqual((pair.mean() + 1) / 2, win_rate, delta=0.01)
    possible = min(ties, 1.8 * (1 - win_rate))
    self.assertAlmostEqual((pair == 0).mean(), possible, delta=0.01)
    # The mean of two judgments has (1 + correlation) / 2 of the variance of one.
    even = [power._draw_comparisons(spread, 0.5, (1, 40_000), n, rng).var() for n in (1, 2)]
    self.assertAlmostEqual(even[1] / even[0], (1 + correlation) / 2, delta=0.03)


if __name__ == "__main__":
  absltest.main()
