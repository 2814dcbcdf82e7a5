"""Importance in an evaluation's report: is it right as a number, and does it find what matters?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from htmtl_jax.evaluation.importance_rows import Calibration, calibrate
from htmtl_jax.reports.charts import Guide, Series, line_chart
from htmtl_jax.reports.evaluation_data import EvaluationData
from htmtl_jax.reports.evaluation_tables import Section
from htmtl_jax.reports.svg import Axis, format_percent

_SAMPLES = 1000  # of intervals made here


def importance_section(data: EvaluationData) -> Section | None:
  """Calibration, and the run's ranking of sentences beside others."""
  found = calibrate(data.importance, samples=_SAMPLES, seed=data.seed)
  importance = data.results.get("importance") or {}
  rankings = _tabulate_rankings(importance.get("rankings") or {})
  if found is not None and len(found.predicted) < 2:
    found = None  # every sentence has the same: nothing to compare
  if found is None and rankings is None:
    return None
  planted = (importance.get("labels") or "planted") == "planted"
  return Section(
    "importance",
    "Importance",
    "evaluation_importance.html",
    {
      "truth": "the planted sentences" if planted else "the oracle’s sentences",
      "auc": importance.get("sentence_auc"),
      "supervised": bool(importance.get("supervised")),
      "rankings": rankings,
      "calibration": None if found is None else _describe_calibration(found, data.importance),
    },
  )


def _describe_calibration(found: Calibration, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  floor = float(found.actual[found.actual > 0].min()) / 2.0  # where zeros are drawn
  figure = line_chart(
    "calibration-chart",
    "Importance given, importance deserved",
    f"Sentences in {len(found.predicted)} groups by importance, each holding the same part of it. "
    "On the dotted line, a sentence was given just the share of what matters that it has.",
    [
      Series(
        "importance", found.predicted, found.actual, found.low, found.high, style=0, whiskers=True
      )
    ],
    Axis("importance given to a sentence", log=True, format=format_percent),
    Axis("its share of what matters", low=floor, log=True, format=format_percent),
    guides=[Guide("diagonal")],
  )
  return {
    "figure": figure,
    "documents": found.documents,
    "moved": format_percent(found.moved),
    "equal": format_percent(1.0 / len(found.predicted)),
    "headings": format_percent(float(np.mean([row["headings"] for row in rows]))),
    "rows": [
      {
        "range": i + 1,
        "sentences": f"{found.sentences[i]:,}",
        "predicted": f"{found.predicted[i]:.2%}",
        "actual": f"{found.actual[i]:.2%}",
        "interval": f"{found.low[i]:.2%} to {found.high[i]:.2%}",
        "actual_mass": f"{found.actual_mass[i]:.1%}",
      }
      for i in range(len(found.predicted))
    ],
  }


def _tabulate_rankings(rankings: Mapping[str, Any]) -> dict[str, Any] | None:
  """{ranking: {measure: {"mean", "low", "high"} or None}} as a table; None where there is none."""
  names = list(dict.fromkeys(name for own in rankings.values() for name in own))
  if not names:
    return None
  best = {
    name: max((own[name]["mean"] for own in rankings.values() if own.get(name)), default=None)
    for name in names
  }
  rows = []
  for ranking, own in rankings.items():
    cells = []
    for name in names:
      cell = own.get(name)
      cells.append(
        {"value": "–", "interval": "", "best": False}
        if cell is None
        else {
          "value": f"{cell['mean']:.3f}",
          "interval": f"{cell['low']:.3f} to {cell['high']:.3f}",
          "best": cell["mean"] == best[name],
        }
      )
    rows.append({"ranking": ranking, "cells": cells})
  return {"measures": [name.replace("_", " ") for name in names], "rows": rows}
