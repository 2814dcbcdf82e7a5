"""The charts of an evaluation's report: distributions, length, position."""

from collections.abc import Sequence

from markupsafe import Markup
import numpy as np

from htmtl_jax.evaluation.rouge import bootstrap_interval
from htmtl_jax.evaluation.systems import CEILINGS
from htmtl_jax.levels import LEVELS
from htmtl_jax.reports.charts import (
  Guide,
  Row,
  Series,
  histogram_rows,
  interval_rows,
  line_chart,
)
from htmtl_jax.reports.evaluation_data import POSITION_BINS, EvaluationData
from htmtl_jax.reports.evaluation_tables import (
  SHOWN_METRIC,
  Section,
  label_of,
  ordered_keys,
)
from htmtl_jax.reports.svg import Axis, format_percent

_SCORE_BINS = 20
_MIN_DOCUMENTS_A_BIN = 8  # below, a mean over documents says little
_MAX_LENGTH_BINS = 6
_MAX_LINES = 5  # in a chart by length; more cannot be followed
_MAX_DOTS = 300
_SAMPLES = 1000  # of intervals made here


def _interval(values: np.ndarray, data: EvaluationData) -> tuple[float, float]:
  return bootstrap_interval(values, _SAMPLES, data.seed)


# -------------------------------------------------------------------- distributions


def distributions_section(data: EvaluationData) -> Section:
  """How the scores of single documents lie, a row a system."""
  figures = [_draw_distribution(data, key) for key in ordered_keys(data) if key in LEVELS]
  text = (
    f"{SHOWN_METRIC} of every single document; the mark and the number are the median. Each row has "
    "its own height. A mean can hide that a system fails on some documents altogether: look at the "
    "bar at 0."
  )
  return Section(
    "distributions",
    "Scores of single documents",
    "evaluation_charts.html",
    {"text": text, "figures": figures},
  )


def _draw_distribution(data: EvaluationData, key: str) -> Markup:
  scores = {name: data.columns[key][name][SHOWN_METRIC] for name in data.present(key)}
  top = max(float(own.max()) for own in scores.values())
  step = next(s for s in (1, 2, 2.5, 5) if s * _SCORE_BINS >= top)
  edges = step * np.arange(_SCORE_BINS + 1.0)
  rows = []
  for name, own in scores.items():
    counts = np.histogram(own, edges)[0]
    median = float(np.median(own))
    rows.append(
      Row(
        name,
        data.style_of(name),
        heights=counts / len(own),
        mark=median,
        note=f"{median:.1f}",
      )
    )
  medians = ", ".join(f"{row.name} {row.note}" for row in rows)
  return histogram_rows(
    f"distribution-{key}",
    label_of(key),
    f"Histograms of {SHOWN_METRIC} by document. Medians: {medians}.",
    rows,
    edges,
    Axis(f"{SHOWN_METRIC} F"),
  )


# --------------------------------------------------------------------------- length


def lengths_section(data: EvaluationData) -> Section | None:
  """Scores by length of the source and of the summary; how well lengths are met."""
  levels = []
  for key in ordered_keys(data):
    if key not in LEVELS:
      continue
    figures = [
      figure
      for figure in (
        _draw_by_length(data, key, "source"),
        _draw_by_length(data, key, "summary"),
        _draw_length_errors(data, key),
        _draw_words(data, key),
      )
      if figure is not None
    ]
    if figures:
      levels.append({"key": key, "label": label_of(key), "figures": figures})
  if not levels:
    return None
  text = (
    "Documents in groups of equal size by length. Vertical bars are 95% intervals of the mean, "
    f"drawn for {data.first}; those of the others are among the numbers."
  )
  return Section("length", "Length", "evaluation_levels.html", {"text": text, "levels": levels})


def split_by_length(lengths: np.ndarray) -> list[np.ndarray]:
  """Indices of documents in groups of about equal size, from short to long.

  At most `_MAX_LENGTH_BINS` groups of `_MIN_DOCUMENTS_A_BIN` or more; documents of the same
  length are never parted, so there may be fewer. Unknown lengths are in none.
  """
  known = np.flatnonzero(np.isfinite(lengths))
  count = min(_MAX_LENGTH_BINS, len(known) // _MIN_DOCUMENTS_A_BIN)
  if count < 1:
    return []
  order = known[np.argsort(lengths[known], kind="stable")]
  groups: list[np.ndarray] = []
  for part in np.array_split(order, count):
    if groups:  # a tie over the border goes with those before
      same = lengths[part] == lengths[groups[-1][-1]]
      groups[-1] = np.concatenate([groups[-1], part[same]])
      part = part[~same]
    if part.size:
      groups.append(part)
  return groups


def _lines(data: EvaluationData, key: str, with_ceiling: bool) -> list[str]:
  """The first system, the best of the others, and perhaps a ceiling."""
  score = lambda name: -float(np.mean(data.columns[key][name][SHOWN_METRIC]))
  others = [n for n in data.present(key) if n != data.first and n not in CEILINGS]
  ceilings = [n for n in data.present(key) if n in CEILINGS][: int(with_ceiling)]
  first = [data.first] if data.first in data.columns[key] else []
  room = _MAX_LINES - len(first) - len(ceilings)
  return first + sorted(others, key=score)[:room] + ceilings


def _draw_by_length(data: EvaluationData, key: str, what: str) -> Markup | None:
  """Mean score by length of "source" or of the own "summary"."""
  series = []
  # The oracle's lengths are its own; beside them those that keep to a budget are a speck.
  for name in _lines(data, key, with_ceiling=what == "source"):
    columns = data.columns[key][name]
    lengths = data.source_words[key] if what == "source" else columns.get("words")
    groups = [] if lengths is None else split_by_length(lengths)
    if len(groups) < 2:
      continue
    own = [columns[SHOWN_METRIC][group] for group in groups]
    bounds = np.array([_interval(values, data) for values in own])
    series.append(
      Series(
        name,
        np.array([np.median(lengths[group]) for group in groups]),
        np.array([values.mean() for values in own]),
        bounds[:, 0],
        bounds[:, 1],
        style=data.style_of(name),
        whiskers=name == data.first,
      )
    )
  if not series:
    return None
  return line_chart(
    f"length-{what}-{key}",
    f"{SHOWN_METRIC} by length of the {what}",
    f"Mean {SHOWN_METRIC} against the median number of words of the {what}, documents in groups.",
    series,
    Axis(f"words of the {what}", log=what == "source"),
    Axis(f"{SHOWN_METRIC} F", low=0.0),
  )


def _draw_length_errors(data: EvaluationData, key: str) -> Markup | None:
  rows = []
  for name in data.present(key):
    own = data.columns[key][name].get("length_error", np.zeros(0))
    own = own[np.isfinite(own)]
    if not own.size:
      continue
    low, high = _interval(own, data)
    value = float(own.mean())
    rows.append(
      Row(name, data.style_of(name), value=value, low=low, high=high, note=format_percent(value))
    )
  if not rows:
    return None
  return interval_rows(
    f"length-error-{key}",
    "Length error",
    "How far lengths are from the reference's, mean with 95% intervals: "
    + ", ".join(f"{row.name} {row.note}" for row in rows)
    + ".",
    rows,
    Axis("|words - reference| / reference", format=format_percent),
  )


def _draw_words(data: EvaluationData, key: str) -> Markup | None:
  """Words of the first system's summaries against those of the references."""
  reference = data.reference_words[key]
  words = data.columns[key].get(data.first, {}).get("words")
  if words is None:
    return None
  known = np.flatnonzero(np.isfinite(reference) & np.isfinite(words))
  if known.size < 2:
    return None
  order = known[np.argsort(reference[known], kind="stable")]
  shown = order
  if len(order) > _MAX_DOTS:
    shown = order[np.linspace(0, len(order) - 1, _MAX_DOTS).round().astype(int)]
  correlation = _correlate(reference[known], words[known])
  caption = f"{len(shown):,} of {len(known):,} documents. " if len(shown) < len(known) else ""
  if correlation is not None:
    caption += f"Correlation {correlation:.2f}."
  return line_chart(
    f"words-{key}",
    f"Length of {data.first} and of the reference",
    f"Each dot is a document; on the line both have as many words. {caption}",
    [
      Series(
        data.first,
        reference[shown],
        words[shown],
        style=data.style_of(data.first),
        line=False,
      )
    ],
    Axis("words of the reference"),
    Axis("words of the summary", low=0.0),
    guides=[Guide("diagonal")],
    caption=caption,
  )


def _correlate(a: np.ndarray, b: np.ndarray) -> float | None:
  """Pearson's; None where one of the two does not vary."""
  if np.ptp(a) == 0 or np.ptp(b) == 0:
    return None
  return float(np.corrcoef(a, b)[0, 1])


# ------------------------------------------------------------------------- position


def positions_section(data: EvaluationData) -> Section | None:
  """Where in the document systems take their sentences from."""
  figures = []
  for level in (key for key in ordered_keys(data) if key in LEVELS):
    rows = []
    if level in data.attention:
      style = data.style_of("htmtl") if "htmtl" in data.systems else 0
      rows.append(_position_row("htmtl draws on", style, data.attention[level]))
    own = data.positions.get(level, {})
    rows += [
      _position_row(name, data.style_of(name), own[name])
      for name in sorted(own, key=lambda name: name in CEILINGS)
    ]
    if rows:
      figures.append(_draw_positions(level, rows))
  if not figures:
    return None
  text = (
    "Where in the document the chosen sentences stand, from its beginning to its end, the mean over "
    "documents; the number is the largest share. The oracle’s show where what the reference says is "
    "to be found."
  )
  if data.attention:
    text += " For htmtl, which writes: where its attention lay."
  return Section(
    "position", "Position", "evaluation_charts.html", {"text": text, "figures": figures}
  )


def _position_row(name: str, style: int, shares: np.ndarray) -> Row:
  return Row(name, style, heights=shares, note=f"{shares.max():.0%}")


def _draw_positions(level: str, rows: Sequence[Row]) -> Markup:
  edges = np.linspace(0.0, 1.0, POSITION_BINS + 1)
  firsts = ", ".join(f"{row.name} {format_percent(float(row.heights[0]))}" for row in rows)
  return histogram_rows(
    f"position-{level}",
    label_of(level),
    f"Shares of chosen sentences by tenths of the document. In the first tenth: {firsts}.",
    rows,
    edges,
    Axis("place in the document", format=format_percent),
  )
