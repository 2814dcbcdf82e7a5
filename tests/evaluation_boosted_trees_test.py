"""Boosted trees as arrays, against the library that fitted them."""

from unittest import mock

from absl.testing import absltest, parameterized
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
import threadpoolctl

from htmtl_jax.errors import UserError
from htmtl_jax.evaluation import boosted_trees

_SETTINGS = {"seed": 0, "trees": 12, "learning_rate": 0.2, "leaves": 9, "least_rows": 12}


def _draw(rows=120, seed=0):
  rng = np.random.default_rng(seed)
  features = rng.normal(size=(rows, 5)).astype(np.float32)
  features[:, 1] = rng.integers(0, 3, rows)  # ties
  odds = features[:, 0] * features[:, 2] + (features[:, 1] == 1)
  return features, odds + rng.normal(0, 0.5, rows) > 0.5


class BoostedTreesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    # Threads that wait for each other on a busy machine take far longer than one.
    self.enter_context(threadpoolctl.threadpool_limits(1, user_api="openmp"))

  def test_scores_are_the_librarys_own(self):
    features, labels = _draw()
    trees, version = boosted_trees.fit(features, labels, **_SETTINGS)
    self.assertRegex(version, r"^\d+\.\d+")
    model = HistGradientBoostingClassifier(
      max_iter=12,
      learning_rate=0.2,
      max_leaf_nodes=9,
      min_samples_leaf=12,
      early_stopping=False,
      random_state=0,
    ).fit(features, labels)
    others = _draw(100, seed=1)[0]
    for rows in (features, others, features[:0], features[:1]):
      np.testing.assert_allclose(
        trees.score(rows), model.decision_function(rows) if len(rows) else [], rtol=1e-9, atol=1e-12
      )
    # Trees of different sizes share one table.
    self.assertGreater(len(set((trees.left != np.arange(trees.left.shape[1])).sum(axis=1))), 1)
    right = labels == (trees.score(features) > 0)
    self.assertGreater(right.mean(), 0.85)

  def test_arrays_and_back(self):
    features, labels = _draw()
    trees, _ = boosted_trees.fit(features, labels, **_SETTINGS)
    again = boosted_trees.BoostedTrees.from_arrays(trees.to_arrays())
    np.testing.assert_array_equal(again.score(features), trees.score(features))

  @parameterized.parameters(
    ({"value": np.zeros((1, 2))}, ValueError),
    ({"left": np.full((12, 17), 99)}, ValueError),
    ({"right": np.full((12, 17), -1)}, ValueError),
    ({"feature": np.zeros(3, np.int32)}, ValueError),
    ({"threshold": None}, KeyError),
  )
  def test_damaged_arrays_are_refused(self, change, error):
    arrays = boosted_trees.fit(*_draw(), **_SETTINGS)[0].to_arrays()
    self.assertEqual(arrays["left"].shape, (12, 17))
    arrays |= change
    with self.assertRaises(error):
      boosted_trees.BoostedTrees.from_arrays({k: v for k, v in arrays.items() if v is not None})

  def test_the_number_of_threads_changes_nothing(self):
    features, labels = _draw(1000)
    found = []
    for threads in (1, 2):
      with threadpoolctl.threadpool_limits(threads, user_api="openmp"):
        found.append(boosted_trees.fit(features, labels, **_SETTINGS)[0].to_arrays())
    for name in found[0]:
      np.testing.assert_array_equal(found[0][name], found[1][name])

  def test_without_the_library(self):
    with mock.patch.object(boosted_trees.importlib.util, "find_spec", return_value=None):
      with self.assertRaisesRegex(UserError, "^the system learned needs .*HTMTL_EXTRAS=sklearn"):
        boosted_trees.fit(*_draw(), **_SETTINGS)


if __name__ == "__main__":
  absltest.main()
