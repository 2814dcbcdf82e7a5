"""Which systems differ, by a test that takes a document as one observation.

Judgments on a document depend on each other (the same texts, the same raters), so they are
averaged first: d is, of each document, the mean over raters of one system minus that of the
other. The Wilcoxon signed-rank test asks whether the d are centred on 0. Documents with
d = 0 are ranked with the others and then left out (Pratt). SciPy has the exact distribution
without ties, and the normal approximation with them; ratings are full of ties, so for few
documents the exact distribution is computed here.

All comparisons of a level and task, over all criteria, are one family for Holm's correction.

Source: Wilcoxon 1945, "Individual comparisons by ranking methods"; Pratt 1959, "Remarks on
zeros and ties in the Wilcoxon signed rank procedures".
"""

from collections.abc import Sequence
import itertools
from typing import Any

import numpy as np
from scipy import stats

from htmtl_jax.evaluation.significance import holm
from htmtl_jax.human_eval.judgments import Table
from htmtl_jax.human_eval.resampling import mean_interval

ZEROS = "pratt"
_EXACT_UP_TO = 50  # documents


def differences(table: Table) -> tuple[list[tuple[str, str]], np.ndarray]:
  """Pairs of systems, and the difference of each document: [documents, pairs], with NaN."""
  means = table.per_document()
  if table.task == "pairwise":
    return [(a, b) for a, b in table.columns], means
  names = [name for (name,) in table.columns]
  places = list(itertools.combinations(range(len(names)), 2))
  values = np.stack([means[:, i] - means[:, j] for i, j in places], axis=1)
  return [(names[i], names[j]) for i, j in places], values


def wilcoxon(values: np.ndarray) -> float:
  """Two-sided p of differences, NaN left out; 1 where all of them are 0 or there are none."""
  values = values[~np.isnan(values)]
  # Means of raters differ by rounding where they are equal.
  values = np.round(values, 9)
  if not values.any():
    return 1.0
  sizes = np.abs(values)
  tied = len(np.unique(sizes)) < len(sizes) or not values.all()
  if tied and len(values) <= _EXACT_UP_TO:
    return _exact_p(values)
  method = "exact" if not tied and len(values) <= _EXACT_UP_TO else "asymptotic"
  return float(stats.wilcoxon(values, zero_method=ZEROS, method=method).pvalue)


def _exact_p(values: np.ndarray) -> float:
  """The same from the distribution of the rank sum over all signs, given the sizes.

  Each rank is in the sum of positive ranks or not, equally likely, so the numbers of ways
  to reach each sum are the coefficients of a product of polynomials 1 + x^rank.
  """
  ranks = stats.rankdata(np.abs(values))
  doubled = np.rint(2.0 * ranks[values != 0.0]).astype(int)  # means of ranks are halves
  ways = np.ones(1)
  for rank in doubled:
    more = np.zeros(len(ways) + rank)
    more[: len(ways)] += ways
    more[rank:] += ways
    ways = more / 2.0
  observed = int(np.rint(2.0 * ranks[values > 0.0].sum()))
  tail = min(ways[: observed + 1].sum(), ways[observed:].sum())
  return float(min(1.0, 2.0 * tail))


def compare_tables(
  tables: Sequence[Table], weights: np.ndarray, confidence: float, alpha: float
) -> list[list[dict[str, Any]]]:
  """Tests all pairs of systems in tables that are one family.

  Args:
    tables: of one level and task, a criterion each.
    weights: of `resampling.draw_weights`.
    confidence: of the intervals.
    alpha: of the corrected tests.

  Returns:
    For each table a list of {"a", "b", "documents", "difference", "low", "high", "p",
    "p_holm", "significant"}.
  """
  rows, flat = [], []
  for table in tables:
    names, values = differences(table)
    mean, low, high = mean_interval(values, weights, confidence)
    own = [
      {
        "a": a,
        "b": b,
        "documents": int((~np.isnan(values[:, k])).sum()),
        "difference": _number(mean[k]),
        "low": _number(low[k]),
        "high": _number(high[k]),
        "p": wilcoxon(values[:, k]),
      }
      for k, (a, b) in enumerate(names)
    ]
    rows.append(own)
    flat += own
  corrected = holm(np.array([row["p"] for row in flat])) if flat else []
  for row, p in zip(flat, corrected):
    row["p_holm"] = float(p)
    row["significant"] = bool(p < alpha)
  return rows


def _number(value: float) -> float | None:
  """None where nobody judged."""
  return None if np.isnan(value) else float(value)
