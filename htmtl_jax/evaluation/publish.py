"""The end of every evaluation: score the pairs, write the files, show the table."""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import json
import os
import shutil
from typing import Any

from htmtl_jax.data.corpus_builder import count_cores
from htmtl_jax.errors import UserError
from htmtl_jax.evaluation.results import SummaryPair, compute_results, write_results
from htmtl_jax.evaluation.saved import EVALUATION
from htmtl_jax.evaluation.terminal import choose_examples, render_examples, render_table
from htmtl_jax.progress import Progress
from htmtl_jax.reports.evaluation_report import (
  DOCUMENTS,
  Describe,
  write_evaluation_report,
)

_MIN_SUMMARIES_FOR_WORKERS = 3000  # four seconds of scoring: starting processes pays from here on


def make_directory(workdir: str, name: str) -> str:
  """Makes WORKDIR/evaluation/NAME, before anything that takes time; returns its path.

  Raises:
    UserError: if it cannot be made.
  """
  directory = os.path.join(workdir, EVALUATION, name)
  try:
    os.makedirs(directory, exist_ok=True)
  except OSError as e:
    raise UserError(
      f"the results cannot be written to {directory} ({e.strerror or e}); give another --workdir"
    ) from e
  return directory


def score_and_publish(
  config: Any,
  pairs: Sequence[SummaryPair],
  directory: str,
  step: int | None,
  split: str,
  word_budgets: Mapping[str, float],
  importance: Mapping[str, Any] | None = None,
  shown: Sequence[str] = ("htmtl",),
  by_target_length: Sequence[Mapping[str, Any]] = (),
  learned: Mapping[str, Any] | None = None,
  importance_rows: Sequence[Mapping[str, Any]] | None = None,
  ranking_rows: Sequence[Mapping[str, Any]] | None = None,
  describe: Describe | None = None,
) -> dict[str, Any]:
  """Scores on all cores, writes files and reports, and prints the table and examples.

  Args:
    config: of the experiment; reads `evaluate`, `seed` and `data.processes`.
    pairs: of `compute_results`.
    directory: existing; results of another split in it move to a folder of its name.
    step: of the checkpoint, or None.
    split: of the documents.
    word_budgets: by level, what systems that choose sentences were given.
    importance: of `compute_results`.
    shown: systems whose summaries are printed.
    by_target_length: of `evaluate_lengths.score_by_length`.
    learned: what the learned extractor learnt from, if it took part.
    importance_rows, ranking_rows: of `write_results`.
    describe: makes the records of documents that get a report of their own.

  Returns:
    What results.json holds, and "scores".
  """
  with contextlib.ExitStack() as stack:
    results = compute_results(
      pairs,
      step,
      split,
      importance,
      processes=_choose_processes(config, sum(len(pair.systems) for pair in pairs)),
      bootstrap_samples=config.evaluate.bootstrap_samples,
      seed=config.seed,
      progress=_show_progress(stack),
    )
  results["word_budgets"] = dict(word_budgets)
  if learned is not None:
    results["learned"] = dict(learned)
  if by_target_length:
    results["by_target_length"] = list(by_target_length)
  keep_other_split(directory, split)
  write_results(directory, results, pairs, importance_rows, ranking_rows)
  print(render_table(results))
  if config.evaluate.examples:
    print(render_examples(pairs, shown, count=config.evaluate.examples))
  print(f"results: {directory}", flush=True)
  report = write_evaluation_report(
    directory,
    config.evaluate.reports,
    choose_examples(pairs, config.evaluate.examples),
    describe,
  )
  print(f"report: {report}")
  return results


def keep_other_split(directory: str, split: str) -> None:
  """Moves the results of another split, if there are any here, to a folder of its name."""
  path = os.path.join(directory, "results.json")
  try:
    with open(path, encoding="utf-8") as f:
      other = json.load(f)["split"]
  except (OSError, ValueError, KeyError):
    return
  if other == split:
    return
  os.makedirs(os.path.join(directory, other), exist_ok=True)
  for name in os.listdir(directory):
    source, target = os.path.join(directory, name), os.path.join(directory, other, name)
    if os.path.isfile(source):
      os.replace(source, target)
    elif name == DOCUMENTS:  # the reports that the moved one links to
      shutil.rmtree(target, ignore_errors=True)
      os.replace(source, target)


def _choose_processes(config: Any, num_summaries: int) -> int:
  if num_summaries < _MIN_SUMMARIES_FOR_WORKERS:
    return 1
  return config.data.processes or count_cores()


def _show_progress(stack: contextlib.ExitStack) -> Callable[[int, int], None]:
  """Shows (done, total) as progress until the stack is closed.

  How many summaries there are to score is known when the first one is: equal ones count once.
  """
  shown: list[Progress] = []

  def update(done: int, total: int) -> None:
    if not shown:
      shown.append(stack.enter_context(Progress(total, "score", unit="summary")))
    shown[0].update(done - shown[0].count)

  return update
