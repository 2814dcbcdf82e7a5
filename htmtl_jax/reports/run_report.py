"""The report of a run: its curves, its best checkpoint and its config, as one HTML file.

Made from what lies in the workdir, without the model: `train` writes it when it ends or is
stopped, `--mode=report` at any time, also while somebody else is training there.
"""

from collections.abc import Mapping, Sequence
import os
import pathlib
import time
from typing import Any
from urllib.parse import quote

from markupsafe import Markup
import numpy as np

from htmtl_jax.config import load_saved_config, load_schema
from htmtl_jax.config_keys import flatten
from htmtl_jax.errors import UserError
from htmtl_jax.evaluation.saved import EVALUATION
from htmtl_jax.metrics import METRICS_FILE, read_metrics
from htmtl_jax.progress import format_duration
from htmtl_jax.reports import charts, curves
from htmtl_jax.reports.page import render_page, write_page
from htmtl_jax.reports.svg import Axis, format_number

REPORT_FILE = "report.html"

_BEST_BY = "ce/paragraph"  # what `train.py` chooses the best checkpoint by
_MAX_MARKERS = 60  # on a curve; with more they touch
_GROUPS = {
  "totals": ("Loss and importance", ""),
  "losses": (
    "Loss terms by level",
    "A row a term, each shown before its weight.",
  ),
  "optimiser": ("Optimiser", ""),
  "speed": ("Speed and memory", "Means since the report before; the first holds compiling."),
  "other": ("Other metrics", ""),
}


def write_run_report(workdir: str) -> str:
  """Writes WORKDIR/report.html; returns its path.

  Raises:
    UserError: if nothing was trained there, or the file cannot be written.
  """
  return write_page(os.path.join(workdir, REPORT_FILE), render_run_report(workdir))


def render_run_report(workdir: str) -> str:
  """The report of the run in a workdir, as HTML.

  Raises:
    UserError: if there is no metrics.jsonl with any line in it.
  """
  try:
    lines = read_metrics(workdir)
  except OSError:
    lines = []
  if not lines:
    raise UserError(
      f"--workdir={workdir} holds no {METRICS_FILE} with any line in it; train first with "
      "--mode=train, or wait for its first report"
    )
  config = load_saved_config(workdir)
  found = curves.read_curves(lines)
  groups = curves.group_panels(found)
  steps = (min(line["step"] for line in lines), max(line["step"] for line in lines))
  name = os.path.basename(os.path.abspath(workdir))
  return render_page(
    "run.html",
    f"Training of {name}",
    context={
      "where": _describe_span(lines),
      "facts": _make_facts(lines, found, config, workdir),
      "warnings": _make_warnings(found),
      "groups": [
        {
          "id": key,
          "title": _GROUPS[key][0],
          "text": _GROUPS[key][1],
          "rows": _draw_rows(groups[key], key, steps),
        }
        for key in _GROUPS
        if key in groups
      ],
      "evaluations": _find_evaluations(workdir),
      "config": [] if config is None else _list_keys(flatten(config)),
      "changed": _list_changes(config),
    },
    styles=("charts.css",),
  )


def _draw_rows(
  panels: Sequence[curves.Panel], group: str, steps: tuple[int, int]
) -> list[list[Markup]]:
  """The charts of a group: a row for each term that has levels, else one row."""
  rows: dict[str, list[Markup]] = {}
  for i, panel in enumerate(panels):
    term, _, level = panel.name.partition("/")
    rows.setdefault(term if level else "", []).append(_draw(panel, f"{group}-{i}", steps))
  return list(rows.values())


def _draw(panel: curves.Panel, identifier: str, steps: tuple[int, int]) -> Markup:
  """One chart; all of a page have the same steps below them."""
  series = []
  for curve in panel.curves:
    kept = curves.decimate(curve.values)
    last = "" if curve.last is None else f", last {format_number(float(f'{curve.last:.4g}'))}"
    validation = curve.kind == "eval"
    series.append(
      charts.Series(
        ("validation" if validation else "training") + last,
        curve.steps[kept],
        curve.values[kept],
        style=1 if validation else 0,
        markers=validation and len(kept) <= _MAX_MARKERS,
      )
    )
  values = np.concatenate([curve.values for curve in panel.curves])
  finite = values[np.isfinite(values)]
  span = (
    f"from {format_number(float(finite.min()))} to {format_number(float(finite.max()))}"
    if finite.size
    else "no finite number"
  )
  # Shares and what cannot be negative stand on zero where that does not flatten the curve.
  from_zero = finite.size and 0 <= finite.min() < 0.5 * finite.max()
  return charts.line_chart(
    identifier,
    panel.title,
    f"{panel.title} over steps {steps[0]:,} to {steps[1]:,}: {span}.",
    series,
    Axis("step", low=float(steps[0]), high=float(steps[1])),
    Axis(panel.axis, low=0.0 if from_zero else None),
    keep_legend=True,
  )


def _describe_span(lines: Sequence[Mapping[str, Any]]) -> str:
  """When the first and the newest line were written."""
  times = [line["time"] for line in lines if isinstance(line.get("time"), (int, float))]
  if not times:
    return ""
  shown = [time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(t)) for t in (times[0], times[-1])]
  return f"Metrics from {shown[0]} to {shown[1]}."


def _fact(name: str, value: str, note: str = "") -> dict[str, str]:
  return {"name": name, "value": value, "note": note}


def _make_facts(lines, found: Mapping[str, Sequence[curves.Curve]], config, workdir: str):
  step = max(line["step"] for line in lines)
  facts = []
  if config is None:
    facts.append(_fact("Step", f"{step:,}"))
  else:
    total = int(config.train.num_steps)
    state = "finished" if step >= total else f"{step / max(total, 1):.0%} of {total:,}"
    facts.append(_fact("Step", f"{step:,}", state))
  kept = _list_checkpoints(workdir)
  validation = [c for c in found.get(_BEST_BY, ()) if c.kind == "eval"]
  if validation and validation[0].last is not None:
    curve = validation[0]
    best = int(np.nanargmin(curve.values))
    note = f"validation cross-entropy of the paragraph {curve.values[best]:.3f}"
    if int(curve.steps[best]) not in kept:
      note += "; its checkpoint is not there"
    facts.append(_fact("Best step", f"{curve.steps[best]:,}", note))
    facts.append(
      _fact("Newest validation", f"{curve.last:.3f}", f"the same, at step {curve.steps[-1]:,}")
    )
  if kept:
    shown = ", ".join(f"{s:,}" for s in kept[-4:])
    facts.append(_fact("Checkpoints", f"{len(kept)}", f"{'…, ' if len(kept) > 4 else ''}{shown}"))
  for name, label, unit in (
    ("tokens_per_second", "Source tokens a second", "median of the reports"),
    ("peak_memory_gib", "Peak device memory, GiB", ""),
  ):
    own = [c.values[np.isfinite(c.values)] for c in found.get(name, ()) if c.kind == "train"]
    if own and own[0].size:
      value = np.median(own[0]) if name == "tokens_per_second" else own[0].max()
      facts.append(_fact(label, f"{value:,.0f}" if value >= 100 else f"{value:.1f}", unit))
  padding = [c.values[np.isfinite(c.values)] for c in found.get("padding_share", ())]
  if padding and padding[0].size:
    facts.append(_fact("Padding", f"{padding[0].mean():.1%}", "of token slots"))
  speed = [c for c in found.get("steps_per_second", ()) if c.kind == "train"]
  if speed and speed[0].values[-1] > 0 and config is not None and step < config.train.num_steps:
    left = (config.train.num_steps - step) / speed[0].values[-1]
    facts.append(_fact("Left, at the newest speed", format_duration(left)))
  return facts


def _make_warnings(found: Mapping[str, Sequence[curves.Curve]]) -> list[str]:
  """What a glance at the curves could miss."""
  broken = sorted(
    {name for name, own in found.items() for c in own if not np.isfinite(c.values).all()}
  )
  if not broken:
    return []
  more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
  return [f"Not finite at some step, a gap in the curve: {', '.join(broken[:5])}{more}."]


def _list_checkpoints(workdir: str) -> list[int]:
  """Steps whose checkpoint is there, by the names of the folders: nothing is opened."""
  try:
    names = os.listdir(os.path.join(workdir, "checkpoints"))
  except OSError:
    return []
  return sorted(int(name) for name in names if name.isdigit())


def _find_evaluations(workdir: str) -> list[dict[str, str]]:
  """Links to the reports of evaluations in the workdir, newest first."""
  root = pathlib.Path(workdir)
  pattern = f"{EVALUATION}/*/{REPORT_FILE}", f"{EVALUATION}/*/*/{REPORT_FILE}"
  paths = [path for own in pattern for path in root.glob(own)]
  paths.sort(key=lambda path: -path.stat().st_mtime)
  links = []
  for path in paths:
    parts = path.relative_to(root).parts[1:-1]
    name = "without a trained system" if parts[0] == "untrained" else f"of step {parts[0]}"
    if len(parts) > 1:
      name += f", {parts[1]} split"
    href = quote(path.relative_to(root).as_posix())
    links.append({"href": href, "text": f"Evaluation {name}"})
  return links


def _list_keys(values: Mapping[str, Any]) -> list[dict[str, str]]:
  return [{"name": name, "value": repr(values[name])} for name in sorted(values)]


def _list_changes(config) -> list[dict[str, str]] | None:
  """Keys with another value than `configs/base.py` gives them; None where that is not there."""
  schema = None if config is None else load_schema()
  if schema is None:
    return None
  values, defaults = flatten(config), flatten(schema)
  return [
    {
      "name": name,
      "value": repr(values[name]),
      "default": repr(defaults[name]) if name in defaults else "unknown key",
    }
    for name in sorted(values)
    if name not in defaults or values[name] != defaults[name]
  ]
