"""The part of an evaluation's report on lengths that were asked for (`evaluate.length_factors`)."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
import numpy as np

from htmtl_jax.evaluation.rouge import METRICS
from htmtl_jax.levels import LEVELS
from htmtl_jax.reports.charts import Guide, Series, line_chart
from htmtl_jax.reports.evaluation_data import EvaluationData
from htmtl_jax.reports.evaluation_tables import Section, label_of
from htmtl_jax.reports.svg import Axis, format_percent


def asked_lengths_section(data: EvaluationData) -> Section | None:
  """How well lengths are met, and ROUGE by length: conciseness against informativeness."""
  rows = data.results.get("by_target_length") or ()
  levels = []
  for level in LEVELS:
    own = [row["levels"][level] for row in rows if level in row["levels"]]
    if own:
      figures = [_draw_rouge(level, own), _draw_words(level, own)]
      levels.append({"key": level, "label": label_of(level), "figures": figures})
  if not levels:
    return None
  text = (
    "The model wrote every document again at lengths it was asked for, shares of the mean length "
    "of the training references. The shorter, the more concise; what the reference says and the "
    "summary no longer does, costs score."
  )
  return Section(
    "asked", "Lengths asked for", "evaluation_levels.html", {"text": text, "levels": levels}
  )


def _draw_rouge(level: str, rows: Sequence[Mapping[str, Any]]) -> Markup:
  words = np.array([row["words"] for row in rows], np.float64)
  order = np.argsort(words, kind="stable")
  series = []
  for style, metric in enumerate(METRICS):
    values = {
      bound: np.array([row[metric][bound] for row in rows], np.float64)[order]
      for bound in ("f", "low", "high")
    }
    series.append(
      Series(
        metric,
        words[order],
        values["f"],
        values["low"],
        values["high"],
        style=style,
        whiskers=True,
      )
    )
  return line_chart(
    f"asked-rouge-{level}",
    "ROUGE by length",
    "Mean ROUGE F against the mean number of words that were written, with 95% intervals.",
    series,
    Axis("words written"),
    Axis("ROUGE F", low=0.0),
  )


def _draw_words(level: str, rows: Sequence[Mapping[str, Any]]) -> Markup:
  asked = np.array([row["target_words"] for row in rows], np.float64)
  order = np.argsort(asked, kind="stable")
  errors = ", ".join(
    f"{format_percent(rows[i]['length_error'])} at {rows[i]['target_words']:,}" for i in order
  )
  caption = f"Length error, mean of |words - asked| / asked: {errors} words."
  return line_chart(
    f"asked-words-{level}",
    "Words asked for and written",
    f"On the line as many words are written as were asked for. {caption}",
    [Series("written", asked[order], np.array([row["words"] for row in rows])[order])],
    Axis("words asked for"),
    Axis("words written, mean", low=0.0),
    guides=[Guide("diagonal")],
    caption=caption,
  )
