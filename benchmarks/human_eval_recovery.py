"""Does a study find what is there? Simulated raters whose true preferences are known.

    python -m benchmarks.human_eval_recovery [--simulations=300] [--output=FILE.json]

Every simulation plans a study, lets simulated raters answer its packets, checks their
answers as an import does, and analyses them. It counts how often intervals hold the truth
(should be 95%), how often the ranking is right, how often a study in which nothing differs
claims a difference (should be 5% at most, over each level and task), whether studies find a
difference as often as the power table says, and how often careless and careful raters are
flagged. Nobody's judgment is in it.
"""

import argparse
import collections
import json
import os
import platform
import time

import numpy as np
import scipy

from htmtl_jax.human_eval import bradley_terry, power
from htmtl_jax.human_eval.answers import check_record
from htmtl_jax.human_eval.candidates import Candidates
from htmtl_jax.human_eval.comparisons import compare_tables
from htmtl_jax.human_eval.judgments import collect
from htmtl_jax.human_eval.packets import make_key, make_packet
from htmtl_jax.human_eval.plan import make_plan
from htmtl_jax.human_eval.quality import describe_raters
from htmtl_jax.human_eval.resampling import draw_weights
from htmtl_jax.human_eval.sampling import Drawn, Stratum
from htmtl_jax.human_eval.scores import describe
from htmtl_jax.human_eval.settings import Design, Simulation, Study
from htmtl_jax.human_eval.simulate import simulate_answers

SYSTEMS = ("one", "two", "three", "four")
QUALITIES = (0.6, 0.2, -0.1, -0.7)
_LEVEL = "paragraph"
_DRAWS = 400_000  # for what is true


def make_study_key(documents: int, raters: int, seed: int) -> dict:
  """The key of a study of all three tasks at one level; its texts are placeholders."""
  design = Design(
    seed=seed,
    documents=documents,
    raters=raters,
    levels=(_LEVEL,),
    tasks=("pairwise", "best_worst", "likert"),
    criteria=("fluency",),
    show=(),
  )
  ids = [f"document {k}" for k in range(documents)]
  texts = {_LEVEL: {d: {s: f"{s} of {d}" for s in SYSTEMS} for d in ids}}
  candidates = Candidates(
    "test", [], SYSTEMS, tuple(ids), texts, {}, dict.fromkeys(ids, 1), "words", {_LEVEL: {}}
  )
  plan = make_plan(design, SYSTEMS, ids, texts)
  packets = {r: make_packet(design, r, own, candidates, {}) for r, own in plan.raters.items()}
  drawn = [Drawn(d, "", 1) for d in ids]
  return make_key(
    Study(design), plan, candidates, drawn, [Stratum("", documents, documents)], packets
  )


def compute_truth(simulation: Simulation) -> dict:
  """Expected values of everything that is estimated, of raters without leniency.

  Returns:
    {"likert", "best_worst": {system: mean}, "pairwise": {pair: win rate}, "strengths":
    {pair: difference}}; the last of Davidson's model fitted to the true shares.
  """
  rng = np.random.default_rng(0)
  quality = np.array(simulation.qualities)
  spread = simulation.document_spread * rng.standard_normal((_DRAWS, len(quality)))
  felt = quality + spread + simulation.noise * rng.standard_normal(spread.shape)
  truth = {"likert": {}, "best_worst": {}, "pairwise": {}, "strengths": {}}
  ratings = np.clip(np.rint(3.0 + felt), 1, 5)
  best, worst = felt.argmax(axis=1), felt.argmin(axis=1)
  for k, name in enumerate(SYSTEMS):
    truth["likert"][name] = float(ratings[:, k].mean())
    truth["best_worst"][name] = float((best == k).mean() - (worst == k).mean())
  pairs, shares = [], []
  for i in range(len(quality)):
    for j in range(i + 1, len(quality)):
      difference = felt[:, i] - felt[:, j]
      tie = float((np.abs(difference) < simulation.tie_width).mean())
      win = float((difference >= simulation.tie_width).mean())
      truth["pairwise"][SYSTEMS[i], SYSTEMS[j]] = win + tie / 2.0
      pairs.append((i, j))
      shares.append((win, tie, 1.0 - win - tie))
  theta, _ = bradley_terry.fit(pairs, np.array(shares), len(quality), prior=1e-6)
  for i, j in pairs:
    truth["strengths"][SYSTEMS[i], SYSTEMS[j]] = float(theta[i] - theta[j])
  truth["theta"] = dict(zip(SYSTEMS, theta.tolist()))
  return truth


def run_study(key: dict, simulation: Simulation, samples: int, seed: int):
  """(judgments, quality, {task: (described, comparisons)}) of one simulated study."""
  files = simulate_answers(key, simulation)
  returned = [check_record(record, rater, key, "refuse") for rater, record in files.items()]
  judgments = collect(key, returned)
  quality = describe_raters(key, returned, judgments.repeats, Study().analysis.attention)
  weights = draw_weights(len(judgments.documents), samples, seed)
  found = {}
  for table in judgments.tables:
    (rows,) = compare_tables([table], weights, 0.95, 0.05)
    found[table.task] = (describe(table, SYSTEMS, weights, 0.95), rows)
  return judgments, quality, found


def simulate(simulations: int, documents: int, raters: int, samples: int = 1000) -> dict:
  """Counts over many studies.

  Args:
    simulations: with differences, and as many without.
    documents: of each study.
    raters: of each, all of whom judge all documents.
    samples: resamples of each interval.

  Returns:
    Shares by what they are of.
  """
  careful = Simulation(qualities=QUALITIES, leniency=0.0)
  truth = compute_truth(careful)
  held = collections.defaultdict(list)
  for k in range(simulations):
    key = make_study_key(documents, raters, seed=k)
    settings = Simulation(qualities=QUALITIES, leniency=0.0, seed=k)
    judgments, quality, found = run_study(key, settings, samples, k)
    inside = lambda own, value: own["low"] <= value <= own["high"]
    for task, (described, rows) in found.items():
      means = {name: own["mean"] for name, own in described["scores"].items()}
      order = sorted(SYSTEMS, key=lambda name: -means[name])
      held[f"{task}: ranking right"].append(order == list(SYSTEMS))
      held[f"{task}: best system first"].append(order[0] == SYSTEMS[0])
      if task == "pairwise":
        for pair in described["pairs"]:
          right = inside(pair["win_rate"], truth["pairwise"][pair["a"], pair["b"]])
          held["pairwise: 95% interval holds the win rate"].append(right)
        for name, own in described["strengths"]["systems"].items():
          held["pairwise: 95% interval holds the strength"].append(
            inside(own, truth["theta"][name])
          )
      else:
        for name, own in described["scores"].items():
          held[f"{task}: 95% interval holds the mean"].append(inside(own, truth[task][name]))
      held[f"{task}: one to three significant"].append(rows[1]["p"] < 0.05)
    held["careful raters flagged"] += [bool(own["flags"]) for own in quality.values()]
    for table in judgments.tables:
      spread = power.estimate_spread([table])
      effect = _true_effect(table.task, truth)
      held[f"{table.task}: one to three, power foretold"].append(
        power.simulate_power(table.task, spread, effect, documents, raters, 0.05, 200, k)
      )
    settings = Simulation(qualities=QUALITIES, seed=k, careless=1)
    _, quality, _ = run_study(key, settings, 100, k)
    held["careless raters flagged"].append(bool(list(quality.values())[-1]["flags"]))

    settings = Simulation(qualities=(0.0,) * len(SYSTEMS), leniency=0.3, seed=k)
    _, _, found = run_study(key, settings, 100, k)
    for task, (_, rows) in found.items():
      held[f"{task}, nothing differs: any significant"].append(any(r["significant"] for r in rows))
      held[f"{task}, nothing differs: p < 0.05"] += [r["p"] < 0.05 for r in rows]
  return {name: float(np.mean(values)) for name, values in sorted(held.items())}


def _true_effect(task: str, truth: dict) -> float:
  """Between the first and the third system, as the power table counts effects."""
  first, third = SYSTEMS[0], SYSTEMS[2]
  if task == "pairwise":
    return truth["pairwise"][first, third]
  return truth[task][first] - truth[task][third]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--simulations", type=int, default=300)
  parser.add_argument("--raters", type=int, default=3)
  parser.add_argument("--documents", type=int, nargs="*", default=[20, 40])
  parser.add_argument("--output", default="")
  arguments = parser.parse_args()
  started = time.perf_counter()
  results = {}
  for documents in arguments.documents:
    results[str(documents)] = simulate(arguments.simulations, documents, arguments.raters)
    print(f"{documents} documents, {arguments.raters} raters, {arguments.simulations} simulations")
    for name, share in results[str(documents)].items():
      print(f"  {name:<48}{share:7.1%}")
  if arguments.output:
    record = {
      "simulated": True,
      "simulations": arguments.simulations,
      "raters": arguments.raters,
      "seconds": round(time.perf_counter() - started, 1),
      "python": platform.python_version(),
      "numpy": np.__version__,
      "scipy": scipy.__version__,
      "cpus": os.cpu_count(),
      "documents": results,
    }
    os.makedirs(os.path.dirname(arguments.output) or ".", exist_ok=True)
    with open(arguments.output, "w", encoding="utf-8") as file:
      json.dump(record, file, indent=1)


if __name__ == "__main__":
  main()
