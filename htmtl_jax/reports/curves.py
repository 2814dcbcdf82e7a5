"""The curves of a run, from its metrics.jsonl: what belongs into one chart, and thinned.

Metrics are named `train/TERM/LEVEL`, `eval/TERM/LEVEL`, `train/NAME` or `speed/NAME`
(`train.py`, `validate.py`). A panel is one TERM at one LEVEL, or one NAME, with its
training and its validation curve. A name that nobody foresaw has a panel, too.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from htmtl_jax.levels import LEVELS

MAX_POINTS = 1000  # of a curve; a screen has fewer columns
_PADDING = "padding_share"  # made here: people ask for it, the trainer logs its complement

# (name, title, axis) in the order of the page; the first group is by level where it can be.
LOSSES = (
  ("ce", "Cross-entropy", "nats a token"),
  ("coverage", "Coverage", "KL, nats"),
  ("twice", "Covering twice", "share"),
  ("diversity", "Similarity of units", "mean cosine"),
)
TOTALS = (
  ("loss", "Total loss", "weighted sum"),
  ("importance", "Importance against its labels", "KL, nats"),
  ("sentence_auc", "Importance finds what was planted", "AUC"),
)
OPTIMISER = (
  ("learning_rate", "Learning rate", "learning rate"),
  ("gradient_norm", "Gradient norm, before clipping", "norm"),
  ("update_norm", "Update norm", "norm"),
  ("parameter_norm", "Parameter norm", "norm"),
)
SPEED = (
  ("tokens_per_second", "Source tokens a second", "tokens/s"),
  ("steps_per_second", "Steps a second", "steps/s"),
  (_PADDING, "Padding", "share of token slots"),
  ("mfu", "Use of the device's peak", "share of FLOP/s"),
  ("peak_memory_gib", "Peak device memory", "GiB"),
  ("input_tokens", "Source tokens in the step's batch", "tokens"),
  ("target_tokens", "Target tokens in the step's batch", "tokens"),
)


@dataclasses.dataclass(frozen=True)
class Curve:
  """One metric over the run.

  Attributes:
    kind: "train" or "eval".
    steps: [n] int64, ascending.
    values: [n] float64, NaN where the run had no finite number.
  """

  kind: str
  steps: np.ndarray
  values: np.ndarray

  @property
  def last(self) -> float | None:
    """The newest finite value."""
    finite = self.values[np.isfinite(self.values)]
    return float(finite[-1]) if finite.size else None


@dataclasses.dataclass(frozen=True)
class Panel:
  """One chart: `curves` of one quantity.

  Attributes:
    name: "ce/sentence", "learning_rate", ...
    title: for people.
    axis: what the numbers are.
    curves: training first.
  """

  name: str
  title: str
  axis: str
  curves: tuple[Curve, ...]


def read_curves(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[Curve]]:
  """Every metric as a curve, by its name without `train/`, `eval/` or `speed/`.

  Args:
    lines: of `metrics.read_metrics`.

  Returns:
    Training before validation; later lines of the same step replace earlier ones.
  """
  found: dict[tuple[str, str], dict[int, float]] = {}
  for line in lines:
    kind = "eval" if line.get("kind") == "eval" else "train"
    for name, value in line.items():
      if name in ("step", "time", "kind"):
        continue
      if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        continue  # not a number: not written by the trainer
      prefix, _, rest = name.partition("/")
      own = rest if rest and prefix in ("train", "eval", "speed") else name
      by_step = found.setdefault((own, kind), {})
      by_step[line["step"]] = np.nan if value is None else float(value)
      if name == "speed/real_token_share":
        share = found.setdefault((_PADDING, kind), {})
        share[line["step"]] = 1.0 - by_step[line["step"]]
  found.pop(("real_token_share", "train"), None)
  curves: dict[str, list[Curve]] = {}
  for (name, kind), by_step in sorted(found.items(), key=lambda item: item[0][1] != "train"):
    steps = np.array(sorted(by_step), np.int64)
    curves.setdefault(name, []).append(
      Curve(kind, steps, np.array([by_step[s] for s in steps], np.float64))
    )
  return curves


def group_panels(curves: Mapping[str, Sequence[Curve]]) -> dict[str, list[Panel]]:
  """Panels by part of the page: "losses", "totals", "optimiser", "speed", "other".

  Curves that are zero throughout (terms that the run does not use) have none.
  """
  left = {name: own for name, own in curves.items() if any(np.any(c.values != 0) for c in own)}

  def take(name: str, title: str, axis: str) -> list[Panel]:
    own = left.pop(name, None)
    return [] if own is None else [Panel(name, title, axis, tuple(own))]

  groups: dict[str, list[Panel]] = {"totals": [], "losses": [], "optimiser": [], "speed": []}
  for key, known in (("totals", TOTALS), ("optimiser", OPTIMISER), ("speed", SPEED)):
    for entry in known:
      groups[key] += take(*entry)
  for term, title, axis in LOSSES:
    for level in LEVELS:
      groups["losses"] += take(f"{term}/{level}", f"{title}, {level}", axis)
  groups["other"] = [Panel(name, name, name, tuple(left[name])) for name in sorted(left)]
  return {key: panels for key, panels in groups.items() if panels}


def decimate(values: np.ndarray, limit: int = MAX_POINTS) -> np.ndarray:
  """Indices of at most `limit` of the values, so that a line through them looks the same.

  The values are cut into equal runs, and each gives its lowest, its highest, and one that
  is not finite, if it has any: no peak, dip or gap is lost. The first and the last value
  are kept, too. (Largest-triangle sampling draws smoother lines, but drops peaks.)

  Args:
    values: [n].
    limit: at least 5.

  Returns:
    Ascending indices.
  """
  count = len(values)
  if count <= limit:
    return np.arange(count)
  kept = {0, count - 1}
  for run in np.array_split(np.arange(count), (limit - 2) // 3):
    own = values[run]
    finite = np.isfinite(own)
    if finite.any():
      kept.add(int(run[np.where(finite, own, np.inf).argmin()]))
      kept.add(int(run[np.where(finite, own, -np.inf).argmax()]))
    if not finite.all():
      kept.add(int(run[(~finite).argmax()]))
  return np.array(sorted(kept))
