"""Whether a conclusion is one rater's: every comparison again without each rater.

A conclusion is which of two systems is better and whether that is significant. It *holds*
if both are the same whoever is left out.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from htmtl_jax.evaluation.significance import holm
from htmtl_jax.human_eval.comparisons import differences, wilcoxon
from htmtl_jax.human_eval.judgments import Table


def leave_one_out(
  tables: Sequence[Table],
  compared: Sequence[Sequence[dict[str, Any]]],
  raters: Sequence[str],
  alpha: float,
  together: Sequence[str] = (),
) -> list[list[dict[str, Any]]]:
  """Repeats the tests of one family without each rater.

  Args:
    tables: of one level and task.
    compared: of `comparisons.compare_tables`, with everybody.
    raters: names, the last axis of the tables; at least two.
    alpha: of the corrected tests.
    together: raters who are also left out all at once (those that were flagged).

  Returns:
    Parallel to `compared`, for each comparison {"holds", "low", "high", "changes",
    "without"}: the range of the difference, {rater: what changes} for those whose absence
    changes the conclusion, and {name: difference} of everyone left out.
  """
  left_out = [((name,), name) for name in raters]
  if len(together) > 1 and len(together) < len(raters):
    left_out.append((tuple(together), " and ".join(together)))
  found = [[{"holds": True, "changes": {}, "without": {}} for _ in rows] for rows in compared]
  for names, label in left_out:
    places = [raters.index(name) for name in names]
    values = [differences(table.without(places))[1] for table in tables]
    p_values = holm(np.array([wilcoxon(d[:, k]) for d in values for k in range(d.shape[1])]))
    at = 0
    for rows, d, out in zip(compared, values, found):
      for k, row in enumerate(rows):
        judged = d[:, k][~np.isnan(d[:, k])]
        mean = float(judged.mean()) if len(judged) else None
        significant = bool(p_values[at] < alpha)
        at += 1
        out[k]["without"][label] = mean
        change = _describe_change(row, mean, significant)
        if change:
          out[k]["holds"] = False
          out[k]["changes"][label] = change
  for rows in found:
    for own in rows:
      means = [mean for mean in own["without"].values() if mean is not None]
      own["low"], own["high"] = (min(means), max(means)) if means else (None, None)
  return found


def _describe_change(row: dict[str, Any], mean: float | None, significant: bool) -> str:
  """What differs from the conclusion with everybody; "" if nothing does."""
  if mean is None or row["difference"] is None:
    return "" if mean is row["difference"] else "nothing left to compare"
  if row["significant"] and not significant:
    return "no longer significant"
  if row["significant"] and mean * row["difference"] < 0:
    return "the other way round"
  if significant and not row["significant"]:
    return "becomes significant"
  return ""
