"""What a table says of each system: mean ratings, best-worst scores, win rates, strengths."""

from typing import Any

import numpy as np

from htmtl_jax.human_eval import bradley_terry
from htmtl_jax.human_eval.agreement import (
  NOMINAL,
  ORDINAL,
  alpha,
  as_units,
  mean_agreement,
  resampled_alpha,
)
from htmtl_jax.human_eval.answers import SCALE
from htmtl_jax.human_eval.judgments import Table
from htmtl_jax.human_eval.resampling import mean_interval, percentile_interval


def describe(
  table: Table, systems: tuple[str, ...], weights: np.ndarray, confidence: float
) -> dict[str, Any]:
  """Scores of all systems in one table.

  Args:
    table: of any task.
    systems: of the study.
    weights: of `resampling.draw_weights`.
    confidence: of the intervals.

  Returns:
    {"scores": {system: {"mean", "low", "high", ...}}, "agreement": {...}} and, of
    comparisons of two, "pairs" and "strengths". What a mean is:

      likert      the mean rating, with "counts" of 1 to 5
      best_worst  share of best minus share of worst, with "best" and "worst" counted
      pairwise    the win rate over all others, a tie being half a win
  """
  if table.task == "likert":
    found = _likert(table, weights, confidence)
  elif table.task == "best_worst":
    found = _best_worst(table, weights, confidence)
  else:
    found = _pairwise(table, systems, weights, confidence)
  return {**found, "agreement": describe_agreement(table, weights, confidence)}


def _bounds(mean, low, high, k: int) -> dict[str, float | None]:
  number = lambda value: None if np.isnan(value) else float(value)
  return {"mean": number(mean[k]), "low": number(low[k]), "high": number(high[k])}


def _likert(table: Table, weights: np.ndarray, confidence: float) -> dict[str, Any]:
  found = mean_interval(table.per_document(), weights, confidence)
  return {
    "scores": {
      name: {
        **_bounds(*found, k),
        "counts": [int((table.values[:, k] == point).sum()) for point in SCALE],
      }
      for k, (name,) in enumerate(table.columns)
    }
  }


def _best_worst(table: Table, weights: np.ndarray, confidence: float) -> dict[str, Any]:
  found = mean_interval(table.per_document(), weights, confidence)
  return {
    "scores": {
      name: {
        **_bounds(*found, k),
        "best": int((table.values[:, k] == 1.0).sum()),
        "worst": int((table.values[:, k] == -1.0).sum()),
        "shown": int((~np.isnan(table.values[:, k])).sum()),
      }
      for k, (name,) in enumerate(table.columns)
    }
  }


def _pairwise(
  table: Table, systems: tuple[str, ...], weights: np.ndarray, confidence: float
) -> dict[str, Any]:
  means = table.per_document()  # [documents, pairs], -1 to 1
  rates = mean_interval((means + 1.0) / 2.0, weights, confidence)
  counts = bradley_terry.count_outcomes(table.values)  # [documents, pairs, 3]
  total = counts.sum(axis=0)
  pairs = [
    {
      "a": a,
      "b": b,
      "wins": int(total[k, 0]),
      "ties": int(total[k, 1]),
      "losses": int(total[k, 2]),
      "identical": int(table.automatic[:, k].sum()),
      "win_rate": _bounds(*rates, k),
    }
    for k, (a, b) in enumerate(table.columns)
  ]

  # A system's own win rate: over its pairs, each document and pair alike.
  own = np.full((len(means), len(systems)), np.nan)
  for s, name in enumerate(systems):
    signed = [
      means[:, k] if a == name else -means[:, k]
      for k, (a, b) in enumerate(table.columns)
      if name in (a, b)
    ]
    stacked = (np.stack(signed, axis=1) + 1.0) / 2.0
    judged = ~np.isnan(stacked)
    number = judged.sum(axis=1)
    np.divide(np.where(judged, stacked, 0.0).sum(axis=1), number, out=own[:, s], where=number > 0)
  overall = mean_interval(own, weights, confidence)

  places = [(systems.index(a), systems.index(b)) for a, b in table.columns]
  theta, log_nu = bradley_terry.fit(places, total, len(systems))
  resampled = np.einsum("rd,dpk->rpk", weights, counts.astype(np.float64), optimize=True)
  thetas, _ = bradley_terry.fit(places, resampled, len(systems))
  low, high = percentile_interval(thetas, confidence)
  first = np.bincount(thetas.argmax(axis=1), minlength=len(systems)) / len(thetas)
  return {
    "scores": {name: _bounds(*overall, s) for s, name in enumerate(systems)},
    "pairs": pairs,
    "strengths": {
      "log_nu": float(log_nu),
      "systems": {
        name: {**_bounds(theta, low, high, s), "first": float(first[s])}
        for s, name in enumerate(systems)
      },
    },
  }


def describe_agreement(
  table: Table, weights: np.ndarray, confidence: float
) -> dict[str, float | str | None]:
  """Krippendorff's alpha with its interval, and the share of equal judgments."""
  scale = ORDINAL if table.task == "likert" else NOMINAL
  units, document_of = as_units(table.values, table.automatic)
  count, equal = int(((~np.isnan(units)).sum(axis=1) >= 2).sum()), mean_agreement(units)
  if table.task == "pairwise":
    # Which system of a pair is called the first is ours to choose, so every comparison is
    # taken both ways round; else agreement would depend on that.
    units, document_of = np.concatenate([units, -units]), np.tile(document_of, 2)
  value = alpha(units, scale)
  low = high = None
  if value is not None:
    bounds = percentile_interval(resampled_alpha(units, document_of, weights, scale), confidence)
    low, high = (None if np.isnan(bound) else float(bound) for bound in bounds)
  return {
    "scale": scale,
    "alpha": value,
    "low": low,
    "high": high,
    "equal": equal,
    "units": count,
  }
