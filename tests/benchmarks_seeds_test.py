"""Several seeds side by side, against numbers worked out by hand."""

from absl.testing import absltest
import numpy as np

from benchmarks import seeds
from htmtl_jax.errors import UserError
from htmtl_jax.evaluation.saved import SavedEvaluation

IDS = tuple("abcdefgh")


def evaluation(first_scores, reference=b"r"):
  """An evaluation whose four metrics are the given scores plus 0, 1, 2, 3."""
  scores = np.array(first_scores, np.float64)[:, None] + np.arange(4)
  return SavedEvaluation(
    "runs/x",
    step=1,
    split="test",
    documents={"paragraph": IDS},
    scores={"paragraph": {"htmtl": scores, "lead": scores - 10}},
    systems={},
    reference_kinds={},
    references={("paragraph", i): reference for i in IDS},
  )


class SeedsTest(absltest.TestCase):
  def test_means_spread_and_tests_by_hand(self):
    a = [evaluation([20.0] * 8), evaluation([24.0] * 8)]
    b = [evaluation([19.0] * 8), evaluation([25.0] * 7 + [17.0])]
    rows = seeds.compare_seeds(a, b, "htmtl", "htmtl")
    self.assertEqual([row["metric"] for row in rows], ["rouge1", "rouge2", "rougeL", "rougeLsum"])
    row = rows[0]
    self.assertEqual((row["a"], row["b"]), (22.0, 21.5))
    self.assertAlmostEqual(row["a_spread"], np.sqrt(8.0))
    self.assertAlmostEqual(row["b_spread"], 5 / np.sqrt(2))  # of 19 and 24
    # By document, means over seeds: 22 beside 22, seven times, and 22 beside 18.
    self.assertAlmostEqual(row["difference"], 0.5)
    # One difference that is not zero: either sign is as likely.
    self.assertEqual(row["randomisation_p"], 1.0)
    self.assertEqual(row["seeds_won"], "1/2")  # 20 > 19, but not 24 > 24
    self.assertIn(
      "| paragraph | rouge1 | 22.00 ± 2.83 | 21.50 ± 3.54 | +0.50 [", seeds.render(rows)
    )

  def test_a_difference_at_every_document_is_significant_after_correction(self):
    rows = seeds.compare_seeds([evaluation(range(8))], [evaluation(range(8))], "htmtl", "lead")
    for row in rows:
      self.assertAlmostEqual(row["difference"], 10.0)
      self.assertAlmostEqual(row["randomisation_p"], 4 * 2 / 2**8)  # Holm over four metrics
      self.assertIsNone(row["a_spread"])

  def test_other_references_are_refused(self):
    with self.assertRaisesRegex(UserError, "scored on other documents"):
      seeds.compare_seeds([evaluation(range(8))], [evaluation(range(8), b"s")], "htmtl", "htmtl")

  def test_a_missing_system_is_named(self):
    with self.assertRaisesRegex(UserError, "no system learned at the paragraph level"):
      seeds.compare_seeds([evaluation(range(8))], [evaluation(range(8))], "learned", "htmtl")


if __name__ == "__main__":
  absltest.main()
