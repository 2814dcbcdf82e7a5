"""A report as one self-contained HTML page, with the intervals drawn."""

from collections.abc import Mapping
from typing import Any

from htmtl_jax.human_eval.blocks import SCORE_NAMES, SIMULATED, Block, make_blocks
from htmtl_jax.human_eval.text import interval
from htmtl_jax.reports.page import render_page


def render_report(report: Mapping[str, Any]) -> str:
  """The page.

  Args:
    report: of `analysis.analyse`.
  """
  blocks = make_blocks(report)
  title = ("SIMULATED: " if report["simulated"] else "") + report["title"]
  context = {
    "simulated": SIMULATED if report["simulated"] else "",
    "parts": [_part(block, blocks) for block in blocks if block.depth == 1],
  }
  return render_page("study_report.html", title, context=context, styles=("study_report.css",))


def _part(block: Block, blocks: list[Block]) -> dict[str, Any]:
  """A part with what belongs to it."""
  at = blocks.index(block) + 1
  inner = []
  while at < len(blocks) and blocks[at].depth == 2:
    inner.append(blocks[at])
    at += 1
  return {"block": block, "inner": [{"block": b, "chart": _chart(b)} for b in inner]}


# Of a chart, in units of its view box.
_WIDTH, _ROW, _LEFT, _RIGHT, _TOP = 640.0, 30.0, 140.0, 20.0, 8.0


def _chart(block: Block) -> dict[str, Any] | None:
  """Means with intervals, a line a system, or of pairwise differences: what the template draws."""
  if block.kind != "scores":
    return None
  own, task = block.source
  low, high, ticks, middle = {
    "pairwise": (0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0), 0.5),
    "best_worst": (-1.0, 1.0, (-1.0, -0.5, 0.0, 0.5, 1.0), 0.0),
    "likert": (1.0, 5.0, (1.0, 2.0, 3.0, 4.0, 5.0), None),
  }[task]
  place = lambda value: round(
    _LEFT + (_WIDTH - _LEFT - _RIGHT) * (min(max(value, low), high) - low) / (high - low), 2
  )
  order = sorted(own["scores"].items(), key=lambda item: -(item[1]["mean"] or 0.0))
  rows = [
    {
      "label": name,
      "y": _TOP + _ROW * (k + 0.5),
      "mean": place(score["mean"]),
      "low": place(score["low"]),
      "high": place(score["high"]),
      "text": interval(score, task),
    }
    for k, (name, score) in enumerate(order)
    if score["mean"] is not None and score["low"] is not None
  ]
  bottom = _TOP + _ROW * len(rows)
  show = (lambda value: f"{value:.0%}") if task == "pairwise" else (lambda value: f"{value:g}")
  return {
    "width": _WIDTH,
    "height": bottom + 40.0,
    "top": _TOP,
    "bottom": bottom,
    "label_x": _LEFT - 12.0,
    "rows": rows,
    "ticks": [{"x": place(value), "text": show(value)} for value in ticks],
    "middle": None if middle is None else place(middle),
    "axis": SCORE_NAMES[task],
    "axis_x": (_LEFT + _WIDTH - _RIGHT) / 2.0,
    "title": f"{SCORE_NAMES[task]} by system, {block.title}",
  }
