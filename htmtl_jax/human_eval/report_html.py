"""A report as one self-contained HTML page, with the means and their intervals drawn."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from htmtl_jax.human_eval.block import SCORE_NAMES, SIMULATED, Block
from htmtl_jax.human_eval.blocks import make_blocks
from htmtl_jax.human_eval.text import score
from htmtl_jax.human_eval.wording import LEVEL_NAMES
from htmtl_jax.reports.charts import Row, interval_rows
from htmtl_jax.reports.page import render_page
from htmtl_jax.reports.svg import Axis, format_percent

# What a chart's axis begins and ends with, and what its bars begin at.
_AXES = {
  "pairwise": (0.0, 1.0, 0.5),
  "best_worst": (-1.0, 1.0, 0.0),
  "likert": (1.0, 5.0, 1.0),
}


def render_report(report: Mapping[str, Any]) -> str:
  """The page.

  Args:
    report: of `analysis.analyse`.
  """
  parts = _group(make_blocks(report))
  results = [part for part in parts if part["block"].kind == "family"]
  others = [part for part in parts if part["block"].kind != "family"]
  split = next(k for k, part in enumerate(others) if part["block"].kind == "raters") + 1
  significant = sum(table["conclusions"]["significant"] for table in report["tables"])
  total = sum(table["conclusions"]["all"] for table in report["tables"])
  context = {
    "simulated": SIMULATED if report["simulated"] else "",
    "facts": [
      ("documents", report["documents"], f"of the {report['split']} split"),
      ("raters", len(report["raters_returned"]), f"of {report['raters_planned']} planned"),
      ("systems", len(report["systems"]), ", ".join(report["systems"])),
      ("significant", significant, f"of {total} comparisons"),
    ],
    "before": others[:split],
    "levels": _by_level(results),
    "after": others[split:],
  }
  title = ("SIMULATED: " if report["simulated"] else "") + report["title"]
  return render_page(
    "study_report.html",
    title,
    context=context,
    styles=("charts.css", "study_report.css"),
    scripts=("tabs.js",),
  )


def _group(blocks: Sequence[Block]) -> list[dict[str, Any]]:
  """Parts with what belongs to them: {"block", "id", "inner": [{"block", "figure"}]}."""
  parts: list[dict[str, Any]] = []
  for block in blocks:
    if block.depth == 1:
      parts.append({"block": block, "id": f"part-{len(parts) + 1}", "inner": []})
    else:
      inner = parts[-1]["inner"]
      inner.append({"block": block, "figure": _draw(block, f"{parts[-1]['id']}-{len(inner)}")})
  return parts


def _by_level(parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
  levels: dict[str, list] = {}
  for part in parts:
    levels.setdefault(part["block"].source["level"], []).append(part)
  return [
    {"id": f"level-{level}", "name": LEVEL_NAMES[level], "parts": own}
    for level, own in levels.items()
  ]


def _draw(block: Block, identifier: str) -> Markup | None:
  """Means with intervals, a row a system."""
  if block.kind != "scores":
    return None
  own, task = block.source
  low, high, baseline = _AXES[task]
  order = sorted(own["scores"].items(), key=lambda item: -(item[1]["mean"] or 0.0))
  rows = [
    Row(name, 0, each["mean"], each["low"], each["high"], note=score(each["mean"], task))
    for name, each in order
    if each["mean"] is not None
  ]
  if not rows:
    return None
  name = SCORE_NAMES[task]
  axis = Axis(name, low, high, **({"format": format_percent} if task == "pairwise" else {}))
  return interval_rows(
    identifier,
    f"{block.title}: {name}",
    f"{name} of each system with its interval: " + ", ".join(row.name for row in rows),
    rows,
    axis,
    baseline=baseline,
  )
