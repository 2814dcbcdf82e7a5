"""The rows of importance.jsonl, and calibration against known answers."""

from absl.testing import absltest
import numpy as np

from htmtl_jax.evaluation import importance_rows


class RowTest(absltest.TestCase):
  def test_headings_are_left_out_and_the_rest_is_a_whole(self):
    row = importance_rows.make_row(
      "d",
      "planted",
      importance=np.array([0.2, 0.4, 0.1, 0.1, 0.2]),
      matters=np.array([False, True, False, False, True]),
      is_heading=np.array([True, False, False, True, False]),
      num_body=10,
      attention={"sentence": np.array([0.5, 0.1, 0.1, 0.1, 0.2]), "section": None},
    )
    np.testing.assert_allclose(row["importance"], [4 / 7, 1 / 7, 2 / 7], atol=1e-4)
    self.assertEqual(row["matters"], [0, 2])
    self.assertAlmostEqual(row["headings"], 0.3)
    self.assertEqual(list(row["attention"]), ["sentence"])
    # Three sentences were read of ten: they stand in the middle of the first three tenths.
    shares = np.zeros(20)
    shares[[1, 3, 5]] = 0.25, 0.25, 0.5
    np.testing.assert_allclose(row["attention"]["sentence"], shares)

  def test_nothing_read(self):
    none = np.zeros(0)
    row = importance_rows.make_row(
      "d", "oracle", none, none.astype(bool), none.astype(bool), 4, {"sentence": none}
    )
    self.assertEqual((row["importance"], row["matters"], row["attention"]), ([], [], {}))

  def test_places(self):
    bins = importance_rows.position_bins(range(5), 5, 10)
    np.testing.assert_array_equal(bins, [1, 3, 5, 7, 9])
    np.testing.assert_array_equal(importance_rows.position_bins([0], 1, 10), [5])
    self.assertEqual(importance_rows.position_bins([999], 1000, 10)[0], 9)


class CalibrationTest(absltest.TestCase):
  def test_known_answer(self):
    # One document, two groups: six sentences of 1/12, and one of 1/2. The truth is the
    # large one and two of the small ones.
    row = {"importance": [1 / 12] * 6 + [1 / 2], "matters": [0, 1, 6]}
    found = importance_rows.calibrate([row] * 3, bins=2, samples=50)
    np.testing.assert_allclose(found.predicted, [1 / 12, 1 / 2])
    np.testing.assert_allclose(found.actual, [(2 / 3) / 6, 1 / 3])
    np.testing.assert_array_equal(found.sentences, [18, 3])
    np.testing.assert_allclose(found.predicted_mass, [0.5, 0.5])
    np.testing.assert_allclose(found.actual_mass, [2 / 3, 1 / 3])
    self.assertAlmostEqual(found.moved, 1 / 6)
    np.testing.assert_allclose(found.low, found.actual)  # equal documents: no doubt
    self.assertEqual(found.documents, 3)

  def test_calibrated_importance_lies_on_the_diagonal(self):
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(2000):
      share = rng.dirichlet(np.full(12, 0.7))
      rows.append({"importance": list(share), "matters": [int(rng.choice(12, p=share))]})
    found = importance_rows.calibrate(rows, samples=300)
    self.assertLen(found.predicted, 10)
    np.testing.assert_allclose(found.predicted_mass, 0.1, atol=0.01)
    inside = (found.low <= found.predicted) & (found.predicted <= found.high)
    self.assertGreaterEqual(inside.sum(), 8)  # of 95% intervals
    self.assertLess(found.moved, 0.03)
    # Squared importance is too sure of itself: the top is given more than it deserves.
    sure = [
      {"importance": list(np.square(r["importance"]) / np.square(r["importance"]).sum())}
      | {"matters": r["matters"]}
      for r in rows
    ]
    overconfident = importance_rows.calibrate(sure, samples=300)
    self.assertGreater(overconfident.predicted[-1], overconfident.high[-1])
    self.assertGreater(overconfident.moved, 3 * found.moved)

  def test_documents_without_truth_do_not_count(self):
    row = {"importance": [0.5, 0.5], "matters": []}
    self.assertIsNone(importance_rows.calibrate([row, {"importance": [], "matters": []}]))
    found = importance_rows.calibrate([row, {"importance": [0.25, 0.75], "matters": [1]}])
    self.assertEqual(found.documents, 1)


if __name__ == "__main__":
  absltest.main()
