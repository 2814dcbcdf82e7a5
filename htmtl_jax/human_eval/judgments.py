"""Answers, unblinded: numbers by document, system and rater.

A *table* is one level, task and criterion. Its columns are systems, or, in comparisons of
two, pairs of systems:

    likert        the rating, 1 to 5
    best_worst    1 for the best, -1 for the worst, 0 for the others
    pairwise      1 where the first of the pair is better, -1 where the second, 0 for a tie

Texts that were equal were shown once, or not at all (`plan.py`). Each system that wrote
such a text has the judgment; `automatic` marks those that nobody gave twice.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from htmtl_jax.errors import UserError
from htmtl_jax.human_eval.answers import TIE, Returned
from htmtl_jax.human_eval.plan import list_pairs

Column = tuple[str, ...]  # one system, or a pair


@dataclasses.dataclass(frozen=True)
class Table:
  """The judgments of one level, task and criterion.

  Attributes:
    level: of `LEVELS`.
    task: of `settings.TASKS`.
    criterion: what was asked for.
    columns: what was judged.
    values: [documents, columns, raters], NaN where a rater gave no judgment.
    automatic: [documents, columns], judgments that follow from equal texts; they count in
      means and tests, not in agreement.
  """

  level: str
  task: str
  criterion: str
  columns: tuple[Column, ...]
  values: np.ndarray
  automatic: np.ndarray

  def without(self, raters: Sequence[int]) -> "Table":
    """The table without some raters, by their place."""
    return dataclasses.replace(self, values=np.delete(self.values, list(raters), axis=2))

  def per_document(self) -> np.ndarray:
    """Means over raters, [documents, columns], NaN where nobody judged."""
    judged = ~np.isnan(self.values)
    count = judged.sum(axis=2)
    total = np.where(judged, self.values, 0.0).sum(axis=2)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


@dataclasses.dataclass(frozen=True)
class Repeat:
  """A question that a rater answered twice.

  Attributes:
    rater: name.
    task: of `settings.TASKS`.
    first, second: the two answers, as `answers.Answer.value`.
    first_systems, second_systems: {label: systems} of each question.
  """

  rater: str
  task: str
  first: Mapping[str, Any]
  second: Mapping[str, Any]
  first_systems: Mapping[str, Sequence[str]]
  second_systems: Mapping[str, Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Judgments:
  """Everything that the raters of a study said.

  Attributes:
    systems: in the order of the study.
    documents: ids, the first axis of all tables.
    raters: names, the last axis.
    tables: in the order of levels, tasks, criteria.
    repeats: questions answered twice.
    simulated: whether programs answered.
  """

  systems: tuple[str, ...]
  documents: tuple[str, ...]
  raters: tuple[str, ...]
  tables: tuple[Table, ...]
  repeats: tuple[Repeat, ...]
  simulated: bool


def collect(
  key: Mapping[str, Any], returned: Sequence[Returned], exclude: Sequence[str] = ()
) -> Judgments:
  """Opens the blinded answers with the key.

  Args:
    key: of the study.
    returned: of `answers.read_answers`.
    exclude: raters to leave out.

  Raises:
    UserError: an unknown rater in `exclude`, or nobody left.
  """
  for name in exclude:
    if name not in key["raters"]:
      raise UserError(
        f"study.analysis.exclude names {name!r}; the study has {', '.join(key['raters'])}"
      )
  kept = [one for one in returned if one.rater not in exclude]
  if not kept:
    raise UserError("study.analysis.exclude leaves no rater whose answers are there")
  raters = tuple(one.rater for one in kept)
  documents = tuple(d["id"] for d in key["documents"])
  tables = _empty_tables(key, len(documents), len(raters))
  row_of = {d: k for k, d in enumerate(documents)}
  repeats = []
  for r, one in enumerate(kept):
    questions = key["raters"][one.rater]["questions"]
    for name, answer in one.answers.items():
      question = questions[name]
      if answer.value is None:
        continue
      if question["repeat_of"] is not None:
        original = one.answers.get(question["repeat_of"])
        if original is not None and original.value is not None:
          first = questions[question["repeat_of"]]
          repeats.append(
            Repeat(
              one.rater,
              question["task"],
              original.value,
              answer.value,
              first["candidates"],
              question["candidates"],
            )
          )
        continue
      for criterion, column, value in decode(question, answer.value):
        table = tables[question["level"], question["task"], criterion]
        c, sign = _find_column(table.columns, column)
        table.values[row_of[question["document"]], c, r] = sign * value
  _fill_automatic(key, tables, row_of, raters)
  return Judgments(
    tuple(key["systems"]),
    documents,
    raters,
    tuple(tables.values()),
    tuple(repeats),
    kept[0].simulated,
  )


def decode(
  question: Mapping[str, Any], value: Mapping[str, Any]
) -> Iterator[tuple[str, Column, float]]:
  """Yields (criterion, column, number) of one answer."""
  candidates = question["candidates"]
  if question["task"] == "likert":
    for label, ratings in value.items():
      for criterion, rating in ratings.items():
        for system in candidates[label]:
          yield criterion, (system,), float(rating)
  elif question["task"] == "best_worst":
    for criterion, chosen in value.items():
      for label, systems in candidates.items():
        score = float(label == chosen["best"]) - float(label == chosen["worst"])
        for system in systems:
          yield criterion, (system,), score
  else:
    pair = (candidates["A"][0], candidates["B"][0])
    for criterion, choice in value.items():
      yield criterion, pair, {"A": 1.0, TIE: 0.0, "B": -1.0}[choice]


def _find_column(columns: Sequence[Column], column: Column) -> tuple[int, float]:
  """The place of a column and the sign of its values: pairs may be turned."""
  if column in columns:
    return columns.index(column), 1.0
  return columns.index(column[::-1]), -1.0


def _empty_tables(
  key: Mapping[str, Any], documents: int, raters: int
) -> dict[tuple[str, str, str], Table]:
  design = key["settings"]["design"]
  systems = [(name,) for name in key["systems"]]
  tables = {}
  for level in design["levels"]:
    for task in design["tasks"]:
      columns = list_pairs(key["systems"], design["pairs"]) if task == "pairwise" else systems
      for criterion in design["criteria" if task == "likert" else "compare_by"]:
        tables[level, task, criterion] = Table(
          level,
          task,
          criterion,
          tuple(columns),
          np.full((documents, len(columns), raters), np.nan),
          np.zeros((documents, len(columns)), bool),
        )
  return tables


def _fill_automatic(
  key: Mapping[str, Any],
  tables: Mapping[tuple[str, str, str], Table],
  row_of: Mapping[str, int],
  raters: Sequence[str],
) -> None:
  """Ties of systems that wrote the same, and marks on judgments that count for several."""
  assigned = {d["id"]: [r in d["raters"] for r in raters] for d in key["documents"]}
  for same in key["identical"]:
    for table in tables.values():
      if table.task == "pairwise" and table.level == same["level"]:
        c, _ = _find_column(table.columns, tuple(same["systems"]))
        table.values[row_of[same["document"]], c, assigned[same["document"]]] = 0.0
        table.automatic[row_of[same["document"]], c] = True
  order = list(key["systems"])
  asked = set()  # documents with a question of best_worst
  for own in key["raters"].values():
    for question in own["questions"].values():
      level, task = question["level"], question["task"]
      asked.add((level, task, question["document"]))
      if task == "pairwise":
        continue
      for systems in question["candidates"].values():
        for system in sorted(systems, key=order.index)[1:]:
          for table in tables.values():
            if (table.level, table.task) == (level, task):
              c, _ = _find_column(table.columns, (system,))
              table.automatic[row_of[question["document"]], c] = True
  for (level, task, _), table in tables.items():
    if task != "best_worst":
      continue
    for d, k in row_of.items():
      if (level, task, d) not in asked:  # all wrote the same: nobody is best or worst
        table.values[k][:, assigned[d]] = 0.0
        table.automatic[k] = True
