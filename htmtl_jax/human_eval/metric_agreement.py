"""Whether automatic scores prefer what raters prefer.

For each document and pair of systems, raters prefer one by their mean, or neither; a score
prefers the higher. The *accuracy* of a score is how often it names the raters' choice, of
all documents and pairs where they have one, an equal score counting half: 50% by chance,
whatever the scales. (Kendall's tau is 2 accuracy - 1, without the raters' ties.)

Source: Kendall 1938, "A new measure of rank correlation", for counting pairs in the same order.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from htmtl_jax.human_eval.comparisons import differences
from htmtl_jax.human_eval.judgments import Table
from htmtl_jax.human_eval.resampling import percentile_interval


def measure_accuracy(
  table: Table,
  scores: Mapping[str, Mapping[str, list[float]]],
  weights: np.ndarray,
  confidence: float,
) -> dict[str, dict[str, Any]]:
  """The accuracy of each metric on one table.

  Args:
    table: of any task.
    scores: {system: {metric: a score a document}} of its level; systems without, such as
      the reference, are left out.
    weights: of `resampling.draw_weights`.
    confidence: of the intervals.

  Returns:
    {metric: {"mean", "low", "high", "choices"}}, the last how many choices there were;
    empty where there are none.
  """
  pairs, human = differences(table)
  known = [k for k, (a, b) in enumerate(pairs) if a in scores and b in scores]
  if not known:
    return {}
  human = np.sign(np.nan_to_num(np.round(human[:, known], 9)))  # [documents, pairs]
  chosen = human != 0.0
  if not chosen.any():
    return {}
  found = {}
  for metric in next(iter(scores.values())):
    ours = np.stack(
      [np.subtract(scores[pairs[k][0]][metric], scores[pairs[k][1]][metric]) for k in known], axis=1
    )
    right = np.where(chosen, (1.0 + human * np.sign(ours)) / 2.0, 0.0).sum(axis=1)
    count = chosen.sum(axis=1).astype(np.float64)
    resampled = np.full(len(weights), np.nan)
    drawn = weights @ count
    np.divide(weights @ right, drawn, out=resampled, where=drawn > 0)
    low, high = percentile_interval(resampled, confidence)
    found[metric] = {
      "mean": float(right.sum() / count.sum()),
      "low": float(low),
      "high": float(high),
      "choices": int(count.sum()),
    }
  return found
