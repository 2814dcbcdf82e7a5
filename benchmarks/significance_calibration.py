"""Do the tests of significance and the intervals keep their promises?

    python -m benchmarks.significance_calibration [--output=FILE.json]

Draws per-document scores of two systems from distributions whose means are known,
and counts over many simulations: how often a test finds a difference at 0.05 where
there is none (should be 5%), how often it finds one that is there (its power), and
how often a 95% interval holds the true mean (should be 95%). Needs no corpus and no
model.
"""

import argparse
from collections.abc import Sequence
import json
import math
import os
import platform
import time

import numpy as np

from htmtl_jax.evaluation import rouge, significance

_LEVEL = 0.05
_DOCUMENTS = (30, 100, 300)


def _beta(rng, mean, concentration):
  """Beta variables of these means; one of mean 1 is 1."""
  mean = np.minimum(mean, 1.0 - 1e-9)
  return rng.beta(mean * concentration, (1.0 - mean) * concentration)


def draw_dense(rng, documents: int) -> tuple[np.ndarray, np.ndarray, float]:
  """Like rouge1 of paragraphs: bell-shaped about 40, documents differ in difficulty.

  Sd about 10 of each system, correlation about 0.4, sd of the difference about 11.
  The systems are exchangeable.
  """
  difficulty = _beta(rng, np.full(documents, 0.4), 60.0)
  first, second = (100.0 * _beta(rng, difficulty, 36.0) for _ in range(2))
  return first, second, 40.0


def draw_sparse(rng, documents: int) -> tuple[np.ndarray, np.ndarray, float]:
  """Like rouge2 of single sentences: about 60% exact zeros, a long tail. Exchangeable."""
  share = _beta(rng, np.full(documents, 0.4), 4.0)
  first, second = (
    100.0 * (rng.random(documents) < share) * rng.beta(1.5, 6.0, documents) for _ in range(2)
  )
  return first, second, 100.0 * 0.4 * 1.5 / 7.5


def draw_unequal(rng, documents: int) -> tuple[np.ndarray, np.ndarray, float]:
  """Equal means, unequal shapes: the second system writes nothing for 5% of the documents.

  It is a little better on the others, so that the means agree. The systems are not
  exchangeable, which the randomisation test supposes: its hardest case here.
  """
  difficulty = _beta(rng, np.full(documents, 0.4 / 0.95), 60.0)
  first = 100.0 * _beta(rng, 0.95 * difficulty, 36.0)
  second = 100.0 * _beta(rng, difficulty, 36.0) * (rng.random(documents) >= 0.05)
  return first, second, 40.0


DISTRIBUTIONS = {"dense": draw_dense, "sparse": draw_sparse, "unequal": draw_unequal}


def simulate(
  draw, documents: int, simulations: int, samples: int, seed: Sequence[int]
) -> dict[str, float]:
  """Rates over simulations of one distribution.

  Args:
    draw: takes (generator, documents), returns the scores of two systems of equal
      mean, and that mean.
    documents: in each simulation.
    simulations: how many, each with its own scores and its own resampling.
    samples: resamples of each test and interval.
    seed: numbers that together seed the scores and the resampling.

  Returns:
    Shares of the simulations: `bootstrap_rejects`, `randomisation_rejects` (p < 0.05
    without a difference), `bootstrap_power`, `randomisation_power` (p < 0.05 where the
    first system is better by 2 points throughout), `mean_covered` (the true mean of
    the first system is in its 95% interval), `difference_covered` (0 is in the
    interval of the difference).
  """
  counts = dict.fromkeys(
    (
      "bootstrap_rejects",
      "randomisation_rejects",
      "bootstrap_power",
      "randomisation_power",
      "mean_covered",
      "difference_covered",
    ),
    0,
  )
  for simulation in range(simulations):
    # The scores and the resampling of a simulation come from streams of their own.
    scores_seed, test_seed = np.random.SeedSequence((*seed, documents, simulation)).spawn(2)
    resampling = int(test_seed.generate_state(1)[0])
    first, second, mean = draw(np.random.default_rng(scores_seed), documents)
    d = first - second
    found = significance.compare(np.stack([d, d + 2.0], axis=1), samples, resampling)
    counts["bootstrap_rejects"] += found.p_bootstrap[0] < _LEVEL
    counts["randomisation_rejects"] += found.p_randomisation[0] < _LEVEL
    counts["bootstrap_power"] += found.p_bootstrap[1] < _LEVEL
    counts["randomisation_power"] += found.p_randomisation[1] < _LEVEL
    counts["difference_covered"] += found.low[0] <= 0.0 <= found.high[0]
    low, high = rouge.bootstrap_interval(first, samples, resampling)
    counts["mean_covered"] += low <= mean <= high
  return {name: float(count) / simulations for name, count in counts.items()}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--simulations", type=int, default=1000)
  parser.add_argument("--samples", type=int, default=2000, help="of each test and interval")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--output", default="", help="a JSON file")
  arguments = parser.parse_args()
  error = math.sqrt(_LEVEL * (1.0 - _LEVEL) / arguments.simulations)
  print(
    f"{arguments.simulations} simulations, {arguments.samples} resamples, seed {arguments.seed};"
    f" a true rate of 5% shows as 5.0% ± {196.0 * error:.1f}%, one of 95% likewise"
  )
  columns = ("bootstrap", "randomisation", "mean", "difference", "bootstrap", "randomisation")
  print(" " * 19 + f"{'false positives':>28}{'coverage at 95%':>28}{'power at 2 points':>28}")
  print("scores    documents" + "".join(name.rjust(14) for name in columns))
  rows = []
  start = time.perf_counter()
  for index, (name, draw) in enumerate(DISTRIBUTIONS.items()):
    for documents in _DOCUMENTS:
      seed = (arguments.seed, index)
      rates = simulate(draw, documents, arguments.simulations, arguments.samples, seed)
      rows.append({"scores": name, "documents": documents} | rates)
      shown = (
        "bootstrap_rejects",
        "randomisation_rejects",
        "mean_covered",
        "difference_covered",
        "bootstrap_power",
        "randomisation_power",
      )
      cells = "".join(f"{100.0 * rates[key]:13.1f}%" for key in shown)
      print(f"{name:<10}{documents:>9}{cells}", flush=True)
  seconds = time.perf_counter() - start
  print(f"{seconds:.0f} s")
  if arguments.output:
    os.makedirs(os.path.dirname(os.path.abspath(arguments.output)), exist_ok=True)
    record = {
      "simulations": arguments.simulations,
      "samples": arguments.samples,
      "seed": arguments.seed,
      "numpy": np.__version__,
      "machine": platform.machine(),
      "seconds": seconds,
      "rows": rows,
    }
    with open(arguments.output, "w", encoding="utf-8") as file:
      json.dump(record, file, indent=2)
      file.write("\n")


if __name__ == "__main__":
  main()
