"""Everything that is reported of a study, as one value that JSON can hold."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import itertools
from typing import Any

from htmtl_jax.human_eval.answers import Returned
from htmtl_jax.human_eval.comparisons import compare_tables
from htmtl_jax.human_eval.judgments import Judgments, Table
from htmtl_jax.human_eval.leave_one_out import leave_one_out
from htmtl_jax.human_eval.metric_agreement import measure_accuracy
from htmtl_jax.human_eval.power import make_power_table
from htmtl_jax.human_eval.quality import describe_raters
from htmtl_jax.human_eval.resampling import draw_weights
from htmtl_jax.human_eval.scores import describe
from htmtl_jax.human_eval.settings import Analysis

REPORT_FORMAT = "htmtl_jax human evaluation report"


def analyse(
  key: Mapping[str, Any],
  returned: Sequence[Returned],
  judgments: Judgments,
  settings: Analysis,
) -> dict[str, Any]:
  """Analyses the answers of a study.

  Args:
    key: of the study.
    returned: of `answers.read_answers`; at least one.
    judgments: of `judgments.collect`, without the excluded raters.
    settings: what is made of them.

  Returns:
    The content of report.json:

      {"format", "study", "title", "simulated", "systems", "split", "documents",
       "raters_planned", "raters_returned", "excluded", "settings": {"design",
       "analysis"}, "raters": of `quality.describe_raters`,
       "comments": [{"rater", "document", "level", "task", "comment"}],
       "tables": [{"level", "task", "criteria": [{"criterion", ... of `scores.describe`,
         "comparisons": of `compare_tables`, with "leave_one_out" in each,
         "metrics": of `measure_accuracy`}],
         "conclusions": {"significant", "all", "hold"}, "power": of `make_power_table`}]}
  """
  quality = describe_raters(key, returned, judgments.repeats, settings.attention)
  weights = draw_weights(len(judgments.documents), settings.samples, settings.seed)
  flagged = [name for name in judgments.raters if quality[name]["flags"]]
  tables = []
  families = itertools.groupby(judgments.tables, key=lambda table: (table.level, table.task))
  for _, family in families:
    tables.append(_analyse_family(list(family), key, judgments, flagged, weights, settings))
  return {
    "format": REPORT_FORMAT,
    "study": key["study"],
    "title": key["settings"]["design"]["title"],
    "simulated": judgments.simulated,
    "systems": list(judgments.systems),
    "split": key["split"],
    "runs": key["runs"],
    "documents": len(judgments.documents),
    "raters_planned": len(key["raters"]),
    "raters_returned": [one.rater for one in returned],
    "excluded": list(settings.exclude),
    "settings": {"design": key["settings"]["design"], "analysis": _as_json(settings)},
    "raters": {
      name: {**own, "excluded": name in settings.exclude} for name, own in quality.items()
    },
    "comments": list(_comments(key, returned)),
    "tables": tables,
  }


def _comments(key: Mapping[str, Any], returned: Sequence[Returned]) -> Iterator[dict[str, str]]:
  for one in returned:
    for name, answer in one.answers.items():
      if answer.comment:
        question = key["raters"][one.rater]["questions"][name]
        where = {field: question[field] for field in ("document", "level", "task")}
        yield {"rater": one.rater, **where, "comment": answer.comment}


def _analyse_family(
  tables: list[Table],
  key: Mapping[str, Any],
  judgments: Judgments,
  flagged: Sequence[str],
  weights,
  settings: Analysis,
) -> dict[str, Any]:
  """One level and task: its criteria, their comparisons as one family, and power."""
  level, task = tables[0].level, tables[0].task
  compared = compare_tables(tables, weights, settings.confidence, settings.alpha)
  if len(judgments.raters) > 1:
    robust = leave_one_out(tables, compared, judgments.raters, settings.alpha, flagged)
    for rows, own in zip(compared, robust):
      for row, left_out in zip(rows, own):
        row["leave_one_out"] = left_out
  criteria = [
    {
      "criterion": table.criterion,
      **describe(table, judgments.systems, weights, settings.confidence),
      "comparisons": rows,
      "metrics": measure_accuracy(table, key["scores"][level], weights, settings.confidence),
    }
    for table, rows in zip(tables, compared)
  ]
  every = [row for rows in compared for row in rows]
  effects = {
    "pairwise": settings.power_win_rates,
    "best_worst": settings.power_best_worst,
    "likert": settings.power_likert,
  }[task]
  return {
    "level": level,
    "task": task,
    "criteria": criteria,
    "conclusions": {
      "all": len(every),
      "significant": sum(row["significant"] for row in every),
      "hold": sum(row["leave_one_out"]["holds"] for row in every)
      if len(judgments.raters) > 1
      else None,
    },
    "power": make_power_table(
      tables,
      effects,
      settings.power_raters,
      settings.alpha,
      settings.power_simulations,
      settings.seed,
    ),
  }


def _as_json(settings: Analysis) -> dict[str, Any]:
  return {
    name: list(value) if isinstance(value, tuple) else value
    for name, value in dataclasses.asdict(settings).items()
  }
