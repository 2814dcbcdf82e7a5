"""The recovery of what simulated raters prefer, in small."""

from absl.testing import absltest
import numpy as np

from benchmarks import human_eval_recovery as recovery
from htmtl_jax.human_eval.settings import Simulation


class RecoveryTest(absltest.TestCase):
  def test_truth_by_hand(self):
    truth = recovery.compute_truth(Simulation(qualities=(0.0,) * 4, tie_width=0.0))
    for name in recovery.SYSTEMS:
      self.assertAlmostEqual(truth["likert"][name], 3.0, delta=0.01)
      self.assertAlmostEqual(truth["best_worst"][name], 0.0, delta=0.01)
      self.assertAlmostEqual(truth["theta"][name], 0.0, delta=0.02)
    # Without noise a better system always wins, and ratings are rounded qualities.
    settings = Simulation(qualities=(2.0, 1.0, -1.0, -4.0), noise=0.0, document_spread=0.0)
    truth = recovery.compute_truth(settings)
    self.assertEqual(list(truth["likert"].values()), [5.0, 4.0, 2.0, 1.0])
    self.assertEqual(set(truth["pairwise"].values()), {1.0})
    self.assertEqual(list(truth["best_worst"].values()), [1.0, 0.0, 0.0, -1.0])

  def test_intervals_and_ranking(self):
    shares = recovery.simulate(simulations=10, documents=24, raters=3, samples=300)
    for name, share in shares.items():
      if "95% interval" in name:
        self.assertGreater(share, 0.7, name)  # of few simulations; a wrong one holds none
      elif "nothing differs: any" in name:
        self.assertLess(share, 0.4, name)
      elif "best system first" in name:
        self.assertGreater(share, 0.6, name)
    self.assertGreater(shares["careless raters flagged"], shares["careful raters flagged"] + 0.4)
    for task in ("pairwise", "best_worst", "likert"):
      found = shares[f"{task}: one to three significant"]
      self.assertAlmostEqual(shares[f"{task}: one to three, power foretold"], found, delta=0.35)
    self.assertTrue(all(np.isfinite(share) for share in shares.values()))


if __name__ == "__main__":
  absltest.main()
