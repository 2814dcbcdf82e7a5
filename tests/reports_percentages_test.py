"""Percentages that add up, against exact arithmetic."""

from decimal import Decimal
from fractions import Fraction
import math
import random

from absl.testing import absltest, parameterized

from htmtl_jax.reports import percentages


def shown(text: str) -> Decimal:
  return Decimal(text.removesuffix("%"))


class ApportionTest(parameterized.TestCase):
  @parameterized.parameters(
    ([1, 1, 1], 100, [34, 33, 33]),
    ([0.5, 0.25, 0.25], 10, [5, 3, 2]),
    ([0, 3, 0, 1], 3, [0, 2, 0, 1]),
    ([5], 7, [7]),
    ([0.0, 0.0], 10, [0, 0]),
    ([1, 2], 0, [0, 0]),
    ([], 5, []),
    ([1e-300, 1], 10, [0, 10]),
  )
  def test_known_answers(self, values, units, expected):
    self.assertEqual(percentages.apportion(values, units), expected)

  @parameterized.parameters(range(20))
  def test_every_share_is_its_exact_quota_rounded_down_or_up(self, seed):
    rng = random.Random(seed)
    for _ in range(20):
      values = [
        rng.choice((0.0, rng.random(), math.exp(rng.uniform(-40, 3))))
        for _ in range(rng.randint(1, 60))
      ] + [rng.random()]
      units = rng.choice((1, 10, 99, 1000, 100_000))
      given = percentages.apportion(values, units)
      self.assertEqual(sum(given), units)
      total = sum(map(Fraction, values))
      for value, share in zip(values, given, strict=True):
        quota = units * Fraction(value) / total
        self.assertBetween(share, math.floor(quota - Fraction(1, 10**6)), math.ceil(quota))
        if not value:
          self.assertEqual(share, 0)


class TreeTest(parameterized.TestCase):
  @parameterized.parameters((1, 1), (9, 1), (100, 1), (101, 2), (1000, 2), (1001, 3), (100_000, 4))
  def test_the_mean_sentence_has_two_digits(self, num_sentences, decimals):
    self.assertEqual(percentages.choose_decimals(num_sentences), decimals)

  @parameterized.parameters(range(12))
  def test_what_is_shown_adds_up(self, seed):
    rng = random.Random(seed)
    sentences = []
    for c in range(rng.randint(1, 9)):
      sentences += [f"c{c}.h.s0"] * rng.randint(0, 1)
      for p in range(rng.randint(1, 7)):
        sentences += [f"c{c}.p{p}.s{s}" for s in range(rng.randint(1, 11))]
    weights = {i: rng.choice((0.0, rng.random(), rng.random() ** 8)) for i in sentences}
    weights[sentences[0]] = 0.5
    total = sum(weights.values())
    sums = {}
    for i, weight in weights.items():
      paragraph, section = i.rpartition(".")[0], i.partition(".")[0]
      for parent in (i, paragraph, section):
        sums[parent] = sums.get(parent, 0.0) + weight / total
    as_list = lambda dots: [
      {"id": i, "importance": v} for i, v in sums.items() if i.count(".") == dots
    ]
    result = percentages.compute_percentages(
      {"sections": as_list(0), "paragraphs": as_list(1), "sentences": as_list(2)}
    )
    unit = 10.0**-result.decimals
    children = {}
    for i, value in sums.items():
      self.assertAlmostEqual(float(shown(result.show(i))), 100 * value, delta=3 * unit)
      children.setdefault(i.rpartition(".")[0], []).append(shown(result.show(i)))
    self.assertEqual(sum(children.pop("")), 100)
    for parent, values in children.items():
      self.assertEqual(sum(values), shown(result.show(parent)))

  def test_nothing_of_importance_is_shown_as_nothing(self):
    segment = lambda i: [{"id": i, "importance": 0.0}]
    importance = {
      "sections": segment("c0"),
      "paragraphs": segment("c0.p0"),
      "sentences": segment("c0.p0.s0"),
    }
    result = percentages.compute_percentages(importance)
    self.assertEqual({result.show(i) for i in result.units}, {"0.0%"})

  @parameterized.parameters(
    (125, 1, "12.5%"), (7, 2, "0.07%"), (3, 0, "3%"), (10_000, 2, "100.00%")
  )
  def test_format(self, units, decimals, expected):
    self.assertEqual(percentages.format_units(units, decimals), expected)


if __name__ == "__main__":
  absltest.main()
