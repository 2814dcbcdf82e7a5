"""Several runs in one table: the same documents, systems side by side, tested.

Every system is compared with one, by the paired randomisation test of
`significance.py`, at each level and by each metric. The comparisons of a level, which
are printed as one table, are one family for Holm's correction.

Baselines say the same in every run on the same documents. A system whose scores are
equal in all runs, to the last digit, is therefore one row.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import os
import pathlib
from typing import Any

import numpy as np

from htmtl_jax.errors import UserError
from htmtl_jax.evaluation import significance
from htmtl_jax.evaluation.results import WITHOUT_FILLERS
from htmtl_jax.evaluation.rouge import METRICS
from htmtl_jax.evaluation.saved import (
  EVALUATION,
  SavedEvaluation,
  find_evaluation,
  holds_evaluation,
  level_of,
  name_some,
  read_evaluation,
)
from htmtl_jax.evaluation.systems import CEILINGS
from htmtl_jax.levels import LEVELS

ALPHA = 0.05  # the chance of any false claim in a table

_MODEL = "htmtl"


@dataclasses.dataclass(frozen=True)
class Run:
  """One evaluation that takes part.

  Attributes:
    given: as the user wrote it.
    name: short, distinct from the others'.
    evaluation: what it scored.
  """

  given: str
  name: str
  evaluation: SavedEvaluation


@dataclasses.dataclass(frozen=True)
class Row:
  """One line of the tables: a system of a run, or of all runs alike.

  Attributes:
    label: distinct from the other rows'.
    system: its name in the evaluation.
    evaluation: the first that has it.
    aliases: what a user may call it: RUN:SYSTEM of each run that has it, and the label.
  """

  label: str
  system: str
  evaluation: SavedEvaluation
  aliases: frozenset[str]


def read_runs(paths: Sequence[str], split: str) -> list["Run"]:
  """The evaluations of a split that `--runs` names, in its order.

  Args:
    paths: workdirs, or folders of evaluations.
    split: that must have been evaluated.

  Raises:
    UserError: no run, an evaluation that is missing or damaged, or one named twice.
  """
  if not paths:
    raise UserError("--runs names no run; write --runs=WORKDIR,WORKDIR,...")
  directories = [find_evaluation(path, split) for path in paths]
  seen: dict[str, str] = {}
  for path, directory in zip(paths, directories):
    other = seen.setdefault(os.path.realpath(directory), path)
    if other is not path:
      raise UserError(f"--runs: {other} and {path} are the same evaluation; name it once")
  return [
    Run(path, name, read_evaluation(directory))
    for path, name, directory in zip(paths, name_runs(paths), directories)
  ]


def name_runs(paths: Sequence[str]) -> list[str]:
  """Short names of runs: the last parts of their paths that tell them apart.

  An evaluation's own folder is called after its run: runs/a/evaluation/400 is a@400.
  """
  parts = [_name_parts(path) for path in paths]
  depth = 1
  while True:
    names = ["/".join(p[-depth:]) for p in parts]
    if len(set(names)) == len(names) or depth >= max(map(len, parts)):
      return names
    depth += 1


def _name_parts(path: str) -> tuple[str, ...]:
  parts = pathlib.PurePath(os.path.abspath(path)).parts
  # WORKDIR/evaluation/STEP or WORKDIR/evaluation/STEP/SPLIT
  at = max((i for i, part in enumerate(parts) if part == EVALUATION), default=0)
  if at > 1 and len(parts) > at + 1 and holds_evaluation(path):
    parts = (*parts[: at - 1], f"{parts[at - 1]}@{'/'.join(parts[at + 1 :])}")
  return parts


# --------------------------------------------------------------------- checking


def check_comparable(runs: Sequence[Run]) -> list[str]:
  """The keys of the results that all runs have, in the order of the tables.

  Raises:
    UserError: no key in common, or, at one of them, other documents or other
      references; says which.
  """
  first, *others = runs
  keys = [
    key
    for key in (*LEVELS, WITHOUT_FILLERS)
    if all(key in run.evaluation.documents for run in runs)
  ]
  if not keys:
    raise UserError(
      f"--runs: no level was scored in all of {', '.join(run.name for run in runs)}; "
      "leave out the runs that lack the level you want"
    )
  for other in others:
    for key in keys:
      _check_pair(first, other, key)
  return keys


def _check_pair(first: Run, other: Run, key: str) -> None:
  ours, theirs = first.evaluation.documents[key], other.evaluation.documents[key]
  for name, extra in (
    (first.name, sorted(set(ours) - set(theirs))),
    (other.name, sorted(set(theirs) - set(ours))),
  ):
    if extra:
      raise UserError(
        f"--runs: {first.name} and {other.name} scored different documents at the {key} level: "
        f"{name_some(extra)} only in {name}; evaluate both with the same data and "
        "evaluate.max_documents"
      )
  level = level_of(key)
  differing = [
    i
    for i in ours
    if first.evaluation.references[level, i] != other.evaluation.references[level, i]
  ]
  if differing:
    raise UserError(
      f"--runs: {first.name} and {other.name} were scored against different references at the "
      f"{key} level: {name_some(differing)}; evaluate both with the same data and version"
    )


# --------------------------------------------------------------------- comparing


def make_rows(runs: Sequence[Run], keys: Sequence[str]) -> list[Row]:
  """The systems of all runs; one whose scores are equal in all of them is one row."""
  rows, merged = [], set()
  for run in runs:
    systems = dict.fromkeys(name for key in keys for name in run.evaluation.scores[key])
    for system in systems:
      if system in merged:
        continue
      same = all(_equal_scores(run.evaluation, other.evaluation, system, keys) for other in runs)
      if same:
        merged.add(system)
      owners = runs if same else [run]
      aliases = {f"{name}:{system}" for o in owners for name in (o.name, o.given)}
      label = system if same else f"{run.name}:{system}"
      rows.append(Row(label, system, run.evaluation, frozenset(aliases | {label})))
  return rows


def _equal_scores(
  first: SavedEvaluation, other: SavedEvaluation, system: str, keys: Sequence[str]
) -> bool:
  pairs = [(first.scores[key].get(system), other.scores[key].get(system)) for key in keys]
  return all(a is b or (a is not None and b is not None and np.array_equal(a, b)) for a, b in pairs)


def _find_reference(runs: Sequence[Run], rows: Sequence[Row], against: str | None) -> Row:
  wanted = f"{runs[0].name}:{_MODEL}" if against is None else against
  for row in rows:
    if wanted in row.aliases:
      return row
  known = ", ".join(row.label for row in rows)
  if against is None:
    raise UserError(
      f"--runs: {runs[0].name} has no system {_MODEL} to compare with; "
      f"choose one with --against: {known}"
    )
  raise UserError(f"--against={against} is not among the systems; choose one of {known}")


def compare_runs(
  runs: Sequence[Run], against: str | None = None, samples: int = 10_000, seed: int = 0
) -> dict[str, Any]:
  """Tests every system of every run against one.

  Args:
    runs: at least one; of the same split.
    against: "RUN:SYSTEM", the run by its name or as given, or a label of a row; None
      takes the first run's htmtl.
    samples: of each test and of the intervals of the differences.
    seed: of both.

  Returns:
    The content of comparison.json:

      {"split", "against", "runs": [{"name", "step", "directory"}], "metrics",
       "test": "approximate randomisation", "correction": "holm", "alpha", "samples",
       "seed", "left_out": [levels that some run lacks],
       "levels": {key: {"documents", "reference_kinds", "comparisons", "systems":
         {label: {"ceiling", "metrics": {metric: CELL}}}}}}

    CELL holds "f", "low", "high" as results.json does, "best", and, unless the system
    is the one compared with or a ceiling, "difference" to it with bounds
    "difference_low" and "difference_high", "p_randomisation", "p_bootstrap", both as
    they came out, "p_holm", the first corrected, and "significant".

  Raises:
    UserError: runs that cannot be compared, or `against` is none of the systems.
  """
  keys = check_comparable(runs)
  rows = make_rows(runs, keys)
  reference = _find_reference(runs, rows, against)
  scored = {key for run in runs for key in run.evaluation.documents}
  return {
    "split": runs[0].evaluation.split,
    "against": reference.label,
    "runs": [
      {"name": r.name, "step": r.evaluation.step, "directory": r.evaluation.directory} for r in runs
    ],
    "metrics": list(METRICS),
    "test": "approximate randomisation",
    "correction": "holm",
    "alpha": ALPHA,
    "samples": samples,
    "seed": seed,
    "left_out": [k for k in (*LEVELS, WITHOUT_FILLERS) if k in scored and k not in keys],
    "levels": {key: _compare_level(rows, reference, key, samples, seed) for key in keys},
  }


def _compare_level(
  rows: Sequence[Row], reference: Row, key: str, samples: int, seed: int
) -> dict[str, Any]:
  present = [row for row in rows if row.system in row.evaluation.scores[key]]
  systems: dict[str, Any] = {}
  for row in present:
    stored = row.evaluation.systems[row.system][key]
    cells = {m: {bound: stored[m][bound] for bound in ("f", "low", "high")} for m in METRICS}
    systems[row.label] = {"ceiling": row.system in CEILINGS, "metrics": cells}
  for metric in METRICS:
    contest = [s["metrics"][metric]["f"] for s in systems.values() if not s["ceiling"]]
    for system in systems.values():
      cell = system["metrics"][metric]
      cell["best"] = not system["ceiling"] and cell["f"] == max(contest)

  tested = [row for row in present if row is not reference and row.system not in CEILINGS]
  if not any(row is reference for row in present):
    tested = []
  if tested:
    base = reference.evaluation.scores[key][reference.system]
    # [documents, systems * metrics]: all comparisons share their resamples.
    differences = np.concatenate(
      [row.evaluation.scores[key][row.system] - base for row in tested], axis=1
    )
    found = significance.compare(differences, samples, seed)
    _fill_cells([systems[row.label]["metrics"] for row in tested], found)
  evaluation = present[0].evaluation
  return {
    "documents": len(evaluation.documents[key]),
    "reference_kinds": dict(evaluation.reference_kinds.get(level_of(key), {})),
    "comparisons": len(tested) * len(METRICS),
    "systems": systems,
  }


def _fill_cells(
  systems: Sequence[Mapping[str, dict[str, Any]]], found: significance.Comparisons
) -> None:
  """Writes the comparisons, system by system and metric by metric, into their cells."""
  corrected = significance.holm(found.p_randomisation)
  cells = [cells[metric] for cells in systems for metric in METRICS]
  for k, cell in enumerate(cells):
    cell |= {
      "difference": float(found.difference[k]),
      "difference_low": float(found.low[k]),
      "difference_high": float(found.high[k]),
      "p_randomisation": float(found.p_randomisation[k]),
      "p_bootstrap": float(found.p_bootstrap[k]),
      "p_holm": float(corrected[k]),
      "significant": bool(corrected[k] < ALPHA),
    }
