"""Two systems trained with several seeds each: mean, spread over seeds, paired tests.

    python -m benchmarks.seeds --a=runs/htmtl.0,runs/htmtl.1 --b=runs/flat.0,runs/flat.1 \\
        [--system=htmtl] [--other=htmtl] [--split=test] [--out=FILE.json]

Each run has been evaluated (`--mode=evaluate`) on the same documents. A document's score
is its mean over the seeds, so that the tests ask: would other documents say the same of
these two recipes? What seeds do to it is the spread beside the means, and the number of
seed pairs (i-th of a, i-th of b) that a wins.
"""

import argparse
import json

import numpy as np

from htmtl_jax.errors import UserError
from htmtl_jax.evaluation import significance
from htmtl_jax.evaluation.rouge import METRICS
from htmtl_jax.evaluation.saved import SavedEvaluation, find_evaluation, read_evaluation


def compare_seeds(
  a: list[SavedEvaluation], b: list[SavedEvaluation], system: str, other: str
) -> list[dict]:
  """A row for each level and metric.

  Args:
    a, b: evaluations of the same documents against the same references, one a seed.
    system, other: which of their systems to compare.

  Returns:
    Rows {"level", "metric", "a", "a_spread", "b", "b_spread", "difference", "low", "high",
    "randomisation_p", "bootstrap_p" (both corrected by Holm over all rows), "seeds_won"};
    the spread is the standard deviation over seeds, None for a single one.

  Raises:
    UserError: if documents or references differ, or a system is missing.
  """
  for run in (*a, *b):
    if run.references != a[0].references:
      raise UserError(f"{run.directory} was scored on other documents than {a[0].directory}")
  rows = []
  for level in a[0].documents:
    scores = [_stack(a, level, system), _stack(b, level, other)]  # [seeds, documents, metrics]
    differences = scores[0].mean(0) - scores[1].mean(0)  # [documents, metrics]
    value, low, high = significance.difference_interval(differences)
    randomisation = significance.randomisation_test(differences)
    bootstrap = significance.paired_bootstrap(differences)
    means = [own.mean(1) for own in scores]  # [seeds, metrics]
    pairs = min(len(a), len(b))
    won = (means[0][:pairs] > means[1][:pairs]).sum(0)
    for m, metric in enumerate(METRICS):
      row = {"level": level, "metric": metric}
      for name, own in zip("ab", means, strict=True):
        row[name] = float(own[:, m].mean())
        row[f"{name}_spread"] = float(own[:, m].std(ddof=1)) if len(own) > 1 else None
      row |= {
        "difference": float(value[m]),
        "low": float(low[m]),
        "high": float(high[m]),
        "randomisation_p": float(randomisation[m]),
        "bootstrap_p": float(bootstrap[m]),
        "seeds_won": f"{won[m]}/{pairs}",
      }
      rows.append(row)
  for test in ("randomisation_p", "bootstrap_p"):
    corrected = significance.holm(np.array([row[test] for row in rows]))
    for row, p in zip(rows, corrected, strict=True):
      row[test] = float(p)
  return rows


def _stack(runs: list[SavedEvaluation], level: str, system: str) -> np.ndarray:
  for run in runs:
    if system not in run.scores[level]:
      raise UserError(f"{run.directory} holds no system {system} at the {level} level")
  return np.stack([run.scores[level][system] for run in runs])


def render(rows: list[dict]) -> str:
  """The rows as a Markdown table."""
  lines = [
    "| level | metric | a | b | a - b [95%] | p randomisation / bootstrap | seeds won |",
    "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
  ]
  with_spread = lambda row, name: (
    f"{row[name]:.2f}"
    + ("" if row[f"{name}_spread"] is None else f" ± {row[f'{name}_spread']:.2f}")
  )
  for row in rows:
    lines.append(
      f"| {row['level']} | {row['metric']} | {with_spread(row, 'a')} | {with_spread(row, 'b')} "
      f"| {row['difference']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}] "
      f"| {row['randomisation_p']:.4f} / {row['bootstrap_p']:.4f} | {row['seeds_won']} |"
    )
  return "\n".join(lines)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--a", required=True, help="workdirs, or folders of evaluations, by commas")
  parser.add_argument("--b", required=True)
  parser.add_argument("--system", default="htmtl", help="of a")
  parser.add_argument("--other", default="", help="of b; default: the same")
  parser.add_argument("--split", default="test")
  parser.add_argument("--out", default="")
  arguments = parser.parse_args()
  try:
    a, b = (
      [read_evaluation(find_evaluation(run, arguments.split)) for run in runs.split(",")]
      for runs in (arguments.a, arguments.b)
    )
    rows = compare_seeds(a, b, arguments.system, arguments.other or arguments.system)
  except UserError as error:
    raise SystemExit(f"error: {error}") from error
  print(render(rows))
  if arguments.out:
    with open(arguments.out, "w", encoding="utf-8") as f:
      json.dump(rows, f, indent=2)


if __name__ == "__main__":
  main()
