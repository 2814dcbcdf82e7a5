"""The comparison as one HTML page, with the charts of the project's reports."""

from collections.abc import Sequence

from markupsafe import Markup
import numpy as np

from htmtl_jax.reports import charts
from htmtl_jax.reports.page import render_page
from htmtl_jax.reports.svg import Axis, format_percent

# (key of a row, title, label of the axis, scale of the value, logarithmic)
_MEASURES = (
  ("median_seconds", "Time", "seconds", 1.0, True),
  ("real_tokens_per_second", "Source tokens a second", "tokens/s", 1.0, True),
  ("peak_memory_bytes", "Peak memory", "GiB", 2.0**-30, True),
  ("share_of_matmul_rate", "Share of the machine's matmul rate", "share", 1.0, False),
)
_TASKS = {"train": "Train step", "decode": "Writing a summary"}


def render(record: dict, order: Sequence[str]) -> str:
  """The page.

  Args:
    record: what the JSON file holds.
    order: all systems there are, so that each has its colour whatever was measured.
  """
  rows = record["rows"]
  groups = []
  for task in dict.fromkeys(row["task"] for row in rows):
    own = [row for row in rows if row["task"] == task and row.get("median_seconds")]
    figures = [figure for m in _MEASURES for figure in _draw(task, own, m, order)]
    if figures:
      groups.append(
        {"id": task, "title": _TASKS[task], "text": _describe(record), "rows": [figures]}
      )
  failed = [
    f"{row['system']}, {row['task']}, {row['length']:,} tokens: {row['status']}. {row['message']}"
    for row in rows
    if row["status"] != "ok"
  ]
  machine = record["machine"]
  return render_page(
    "run.html",
    "HTMTL beside its peers",
    context={
      "where": f"{record['date']}, size {record['size']}, {record['dtype']}, seed {record['seed']}.",
      "facts": [
        {"name": "Processor", "value": machine["cpu"], "note": f"{machine['cores']} cores"},
        *(
          {"name": f"Matmul rate, {name}", "value": f"{rate / 1e9:,.0f}", "note": "GFLOP/s"}
          for name, rate in record["matmul_flops_per_second"].items()
          if rate
        ),
      ],
      "warnings": [*record["warnings"], *failed],
      "groups": groups,
      "evaluations": [],
      "config": [],
      "changed": None,
    },
    styles=("charts.css",),
  )


def _describe(record: dict) -> str:
  versions = record["versions"]
  return "Medians. " + ", ".join(f"{name} {v}" for name, v in versions.items() if v) + "."


def _draw(task: str, rows, measure, order: Sequence[str]) -> list[Markup]:
  """A chart of one measure over the length; none where nothing has it."""
  key, title, label, scale, log = measure
  series = []
  for style, system in enumerate(order):
    own = sorted(
      (row["length"], row[key] * scale) for row in rows if row["system"] == system and row.get(key)
    )
    if own:
      x, y = np.array(own, float).T
      series.append(charts.Series(system, x, y, style=style))
  if not series:
    return []
  lengths = sorted({row["length"] for row in rows})
  axis = Axis(label, log=log, low=None if log else 0.0)
  if key == "share_of_matmul_rate":
    axis = Axis(label, low=0.0, format=format_percent)
  return [
    charts.line_chart(
      f"{task}-{key}",
      title,
      f"{title} of {len(series)} systems at {', '.join(f'{n:,}' for n in lengths)} tokens.",
      series,
      Axis("source tokens", log=True),
      axis,
      keep_legend=True,
    )
  ]
