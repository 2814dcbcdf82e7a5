"""The tables of an evaluation's report: scores with tests, and what summaries are like.

`Section`s are what the page consists of: an id, a title, a template that renders it, and
what that template reads. The charts' are in `evaluation_charts.py`.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np

from htmtl_jax.evaluation.rouge import METRICS
from htmtl_jax.evaluation.saved import level_of
from htmtl_jax.evaluation.systems import CEILINGS
from htmtl_jax.evaluation.terminal import LEVEL_LABELS
from htmtl_jax.evaluation.text_measures import MEASURES
from htmtl_jax.reports.charts import Row, interval_rows
from htmtl_jax.reports.evaluation_data import EvaluationData
from htmtl_jax.reports.svg import Axis

# The benchmark's output first: it is what a tab shows when the page is opened.
ORDER = ("paragraph", "sentence", "section", "section_without_fillers")
SHOWN_METRIC = "rouge2"  # in charts; tables are sorted by it, here and in the terminal

MEASURE_LABELS = {
  "words": "words",
  "length_error": "length error",
  "compression": "compression",
  "coverage": "coverage",
  "density": "density",
  **{f"repetition_{n}": f"repeated {n}-grams" for n in (2, 3, 4)},
  **{f"novelty_{n}": f"new {n}-grams" for n in (1, 2, 3, 4)},
  "new_numbers": "new numbers",
  "new_names": "new names",
}
_PLAIN_MEASURES = ("words", "compression", "density")  # the others are shares


@dataclasses.dataclass(frozen=True)
class Section:
  """One part of the page.

  Attributes:
    id: unique in the page; links lead there.
    title: its heading.
    template: a file of `templates/` that is included with `section` in scope.
    content: what the template reads.
  """

  id: str
  title: str
  template: str
  content: Mapping[str, Any]


def ordered_keys(data: EvaluationData) -> list[str]:
  """The keys of the results in the order of the page."""
  return [key for key in ORDER if key in data.keys]


def label_of(key: str) -> str:
  """A level for people, with a capital."""
  label = LEVEL_LABELS.get(key, key)
  return label[0].upper() + label[1:]


def describe_documents(data: EvaluationData, key: str) -> str:
  """How many documents a level has, and what their references are."""
  level = data.comparison["levels"][key]
  kinds = ", ".join(f"{n:,} {kind}" for kind, n in level["reference_kinds"].items())
  count = level["documents"]
  return f"{count:,} document{'' if count == 1 else 's'}; references: {kinds}"


# --------------------------------------------------------------------------- scores


def scores_section(data: EvaluationData) -> Section:
  """Systems by metrics, a tab a level, tested against the first system."""
  return Section(
    "scores",
    "Scores",
    "evaluation_scores.html",
    {
      "first": data.first,
      "metrics": METRICS,
      "alpha": data.comparison["alpha"],
      "samples": data.comparison["samples"],
      "has_ceiling": any(name in CEILINGS for name in data.systems),
      "levels": [_score_level(data, key) for key in ordered_keys(data)],
    },
  )


def _score_level(data: EvaluationData, key: str) -> dict[str, Any]:
  level = data.comparison["levels"][key]
  by_score = lambda item: (
    item[1]["ceiling"],
    -item[1]["metrics"][SHOWN_METRIC]["f"],
    item[0],
  )
  systems = sorted(level["systems"].items(), key=by_score)
  rows = [
    {
      "system": name,
      "ceiling": system["ceiling"],
      "cells": [_score_cell(system["metrics"][metric]) for metric in METRICS],
    }
    for name, system in systems
  ]
  differences = [
    _difference_row(name, metric, system["metrics"][metric])
    for name, system in systems
    for metric in METRICS
    if "p_holm" in system["metrics"][metric]
  ]
  figure = interval_rows(
    f"scores-chart-{key}",
    f"{SHOWN_METRIC}, {LEVEL_LABELS.get(key, key)}",
    f"Mean {SHOWN_METRIC} of {len(rows)} systems with 95% intervals: "
    + ", ".join(f"{name} {s['metrics'][SHOWN_METRIC]['f']:.1f}" for name, s in systems)
    + ".",
    [
      Row(
        name,
        data.style_of(name),
        value=system["metrics"][SHOWN_METRIC]["f"],
        low=system["metrics"][SHOWN_METRIC]["low"],
        high=system["metrics"][SHOWN_METRIC]["high"],
        note=f"{system['metrics'][SHOWN_METRIC]['f']:.1f}",
      )
      for name, system in systems
    ],
    Axis(f"{SHOWN_METRIC} F"),
  )
  return {
    "key": key,
    "label": label_of(key),
    "note": describe_documents(data, key),
    "comparisons": level["comparisons"],
    "rows": rows,
    "kinds": _tables_by_kind(data, key),
    "differences": differences,
    "figure": figure,
  }


def _tables_by_kind(data: EvaluationData, key: str) -> list[dict[str, Any]]:
  """The scores against gold and against silver references alone, where there are both."""
  parts = (data.results.get("by_reference_kind") or {}).get(key, {})
  tables = []
  for kind, part in parts.items():
    order = lambda item: (item[0] in CEILINGS, -item[1][SHOWN_METRIC]["f"], item[0])
    tables.append(
      {
        "kind": kind,
        "documents": part["documents"],
        "rows": [
          {
            "system": name,
            "ceiling": name in CEILINGS,
            "cells": [
              {"value": f"{c['f']:.1f}", "half": f"{(c['high'] - c['low']) / 2.0:.1f}"}
              for c in (scores[metric] for metric in METRICS)
            ],
          }
          for name, scores in sorted(part["systems"].items(), key=order)
        ],
      }
    )
  return tables


def _score_cell(cell: Mapping[str, Any]) -> dict[str, Any]:
  mark = ""
  if cell.get("significant"):
    mark = "better" if cell["difference"] > 0 else "worse"
  return {
    "value": f"{cell['f']:.1f}",
    "half": f"{(cell['high'] - cell['low']) / 2.0:.1f}",
    "best": cell["best"],
    "mark": mark,
  }


def _difference_row(system: str, metric: str, cell: Mapping[str, Any]) -> dict[str, Any]:
  return {
    "system": system,
    "metric": metric,
    "difference": format_difference(cell["difference"]),
    "interval": " to ".join(
      format_difference(cell[bound]) for bound in ("difference_low", "difference_high")
    ),
    "p": format_p(cell["p_randomisation"]),
    "p_holm": format_p(cell["p_holm"]),
    "significant": cell["significant"],
  }


def format_difference(value: float, digits: int = 2) -> str:
  """With its sign, a real minus among them."""
  return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def format_p(value: float) -> str:
  """Two significant digits, enough for any claim."""
  return f"{value:.2g}" if value >= 1e-4 else f"{value:.0e}"


# ------------------------------------------------------------------------- measures


def measures_section(data: EvaluationData) -> Section | None:
  """What summaries are like beside their sources, measures by systems."""
  measures = data.results.get("measures") or {}
  levels = []
  for key in ordered_keys(data):
    own = {name: measures[name][key] for name in data.systems if key in measures.get(name, {})}
    names = [m for m in MEASURES if any(row.get(m) is not None for row in own.values())]
    if not names:
      continue
    levels.append(
      {
        "key": key,
        "label": label_of(key),
        "note": _describe_reference_length(data, key),
        "systems": list(own),
        "rows": [
          {
            "measure": MEASURE_LABELS.get(name, name),
            "cells": [format_measure(name, row.get(name)) for row in own.values()],
          }
          for name in names
        ],
      }
    )
  if not levels:
    return None
  title = "What the summaries are like"
  return Section("measures", title, "evaluation_measures.html", {"levels": levels})


def _describe_reference_length(data: EvaluationData, key: str) -> str:
  words = data.reference_words.get(level_of(key), np.zeros(0))
  words = words[np.isfinite(words)]
  return f"References have {words.mean():,.0f} words on average." if words.size else ""


def format_measure(name: str, value: float | None) -> str:
  """As it stands in the table: shares in percent, "–" for a share of nothing."""
  if value is None or not np.isfinite(value):
    return "–"
  if name in _PLAIN_MEASURES:
    return f"{value:,.1f}"
  return f"{100.0 * value:.1f}%"
