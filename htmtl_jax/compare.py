"""Several runs in one table, with significance marks: finds, checks, compares, writes.

The numbers are made in `evaluation/comparison.py`, the text in
`evaluation/comparison_tables.py`.
"""

from collections.abc import Sequence
import json
import os
import pathlib

from htmtl_jax.errors import UserError
from htmtl_jax.evaluation.comparison import compare_runs, read_runs
from htmtl_jax.evaluation.comparison_tables import render_latex, render_markdown, render_terminal
from htmtl_jax.evaluation.results import write_atomically


def run_compare(
  paths: Sequence[str], split: str, output: str | None = None, against: str | None = None
) -> dict:
  """Compares evaluations of one split and prints the tables.

  Args:
    paths: of runs: workdirs, or folders of evaluations.
    split: "validation" or "test".
    output: folder for comparison.json, comparison.md and comparison.tex; None only
      prints.
    against: the system that all others are compared with, "RUN:SYSTEM"; None takes
      the first run's htmtl.

  Returns:
    What comparison.json holds.

  Raises:
    UserError: no runs, or runs that cannot be compared.
  """
  if output and os.path.exists(output) and not os.path.isdir(output):
    raise UserError(f"--output={output} is a file; name a folder")
  runs = read_runs(paths, split)
  comparison = compare_runs(runs, against)
  print(render_terminal(comparison))
  if output:
    folder = pathlib.Path(output)
    try:
      folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
      raise UserError(f"--output={output} cannot be made ({e.strerror}); give a folder") from e
    write_atomically(folder / "comparison.md", [render_markdown(comparison)])
    write_atomically(folder / "comparison.tex", [render_latex(comparison)])
    text = json.dumps(comparison, ensure_ascii=False, allow_nan=False, indent=2)
    write_atomically(folder / "comparison.json", [text])
    print(f"tables: {output}")
  return comparison
