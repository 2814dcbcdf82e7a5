"""Gradient-boosted trees: fitted by scikit-learn, kept and evaluated as plain arrays.

What is kept runs nothing when it is read, unlike a pickled model, and needs no scikit-learn:
that is an extra, imported by `fit` alone.
"""

from collections.abc import Mapping
import dataclasses
import importlib.util

import numpy as np

from htmtl_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class BoostedTrees:
  """T binary trees of at most N nodes each, whose leaf values are summed.

  Attributes:
    start: what is added to the sum.
    feature: [T, N] int32 that a node asks about.
    threshold: [T, N] float64; a row with at most this goes left.
    left, right: [T, N] int32 nodes; a leaf leads to itself.
    value: [T, N] float64 of leaves.
    depth: steps from the root to the deepest leaf.
  """

  start: float
  feature: np.ndarray
  threshold: np.ndarray
  left: np.ndarray
  right: np.ndarray
  value: np.ndarray
  depth: int

  def score(self, features: np.ndarray) -> np.ndarray:
    """[R] float64 log odds of the [R, F] rows; larger is more likely."""
    rows = np.asarray(features, np.float64)
    num_trees = len(self.feature)
    tree = np.arange(num_trees)[None, :]
    node = np.zeros((len(rows), num_trees), np.int32)  # [R, T], the root is 0
    row = np.arange(len(rows))[:, None]
    for _ in range(self.depth):
      goes_left = rows[row, self.feature[tree, node]] <= self.threshold[tree, node]
      node = np.where(goes_left, self.left[tree, node], self.right[tree, node])
    return self.start + self.value[tree, node].sum(axis=1)

  def to_arrays(self) -> dict[str, np.ndarray]:
    """Arrays that `from_arrays` reads."""
    return {field.name: np.asarray(getattr(self, field.name)) for field in dataclasses.fields(self)}

  @classmethod
  def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "BoostedTrees":
    """The trees of `to_arrays`.

    Raises:
      KeyError: one is missing.
      ValueError: they do not belong together.
    """
    values = {field.name: np.asarray(arrays[field.name]) for field in dataclasses.fields(cls)}
    shape = values["feature"].shape
    for name in ("threshold", "left", "right", "value"):
      if len(shape) != 2 or values[name].shape != shape:
        raise ValueError(f"{name} has shape {values[name].shape}, feature {shape}")
    for name in ("left", "right"):
      if not ((values[name] >= 0) & (values[name] < shape[1])).all():
        raise ValueError(f"{name} leads out of the tree")
    return cls(**values | {"start": float(values["start"]), "depth": int(values["depth"])})


def is_available() -> bool:
  """Whether scikit-learn is installed; does not import it, which takes a second."""
  return importlib.util.find_spec("sklearn") is not None


def require() -> None:
  """Raises UserError if scikit-learn is missing."""
  if not is_available():
    raise UserError(
      "the system learned needs scikit-learn, which is not installed: run "
      "HTMTL_EXTRAS=sklearn launch/env.sh, or leave learned out of --systems"
    )


def fit(
  features: np.ndarray,
  labels: np.ndarray,
  seed: int,
  trees: int,
  learning_rate: float,
  leaves: int,
  least_rows: int,
) -> tuple[BoostedTrees, str]:
  """Fits the log odds of a label.

  Args:
    features: [R, F] finite.
    labels: [R] bool, both values among them.
    seed: of the sample by which features are binned.
    trees: T.
    learning_rate: by which each tree's values are shrunk.
    leaves: of a tree, at most.
    least_rows: of a leaf.

  Returns:
    The trees, and the version of scikit-learn that fitted them. The same arguments give
    the same trees, on any number of cores.

  Raises:
    UserError: without scikit-learn.

  Source: Friedman 2001, "Greedy function approximation: a gradient boosting machine".
  """
  require()
  import sklearn
  from sklearn.ensemble import HistGradientBoostingClassifier

  model = HistGradientBoostingClassifier(
    max_iter=trees,
    learning_rate=learning_rate,
    max_leaf_nodes=leaves,
    min_samples_leaf=least_rows,
    early_stopping=False,
    random_state=seed,
  ).fit(features, labels)
  # The library has no public form of its trees that is not a pickle; a test holds the
  # scores of these arrays equal to its own.
  nodes = [predictors[0].nodes for predictors in model._predictors]
  size = max(len(own) for own in nodes)
  itself = np.arange(size, dtype=np.int32)
  table = {
    "feature": np.zeros((len(nodes), size), np.int32),
    "threshold": np.zeros((len(nodes), size)),
    "left": np.tile(itself, (len(nodes), 1)),
    "right": np.tile(itself, (len(nodes), 1)),
    "value": np.zeros((len(nodes), size)),
  }
  for tree, own in enumerate(nodes):
    inner = np.flatnonzero(own["is_leaf"] == 0)
    table["feature"][tree, inner] = own["feature_idx"][inner]
    table["threshold"][tree, inner] = own["num_threshold"][inner]
    table["left"][tree, inner] = own["left"][inner]
    table["right"][tree, inner] = own["right"][inner]
    table["value"][tree, : len(own)] = own["value"]
  return (
    BoostedTrees(
      start=float(np.ravel(model._baseline_prediction)[0]),
      depth=int(max(own["depth"].max() for own in nodes)),
      **table,
    ),
    sklearn.__version__,
  )
