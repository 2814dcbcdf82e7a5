"""Where layers should stand: held-out loss against time, for several splits and the flat Transformer.

    python -m benchmarks.splits --papers=FOLDER_OF_JSONL --prepared=FOLDER --out=runs/splits
    python -m benchmarks.splits --out=runs/splits --prepared=FOLDER --time

The first command trains every split, one after the other, on the same papers in the same
order; a split that is finished is not trained again, one that was interrupted goes on. The
second times a step of each, on a machine where nothing else runs, all in one process and in
turns, and writes the table, splits.json and a chart of what is there. Time to a loss is steps
times the median step, so training may share the machine and timing may not.

Papers of up to 4,096 tokens, width 128, all three summaries, dropout 0, a cosine schedule: small
enough for two cores. What a split is: `SPLITS`.
"""

import argparse
from collections.abc import Sequence
import datetime
import json
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np

from benchmarks import machine
from benchmarks.prepared_system import PreparedSystem, Request
from htmtl_jax.config import load_config
from htmtl_jax.errors import UserError
from htmtl_jax.levels import LEVELS
from htmtl_jax.reports import charts
from htmtl_jax.reports.page import render_page, write_page
from htmtl_jax.reports.svg import Axis

LENGTH = 4096
_HTMTL = "configs/papers_tiny.py"
_FLAT = "configs/flat_transformer.py:papers_tiny"


def _layers(
  token: int,
  paragraph: int,
  section: int = 0,
  document: int = 0,
  mlps: str = "none",
) -> tuple[str, ...]:
  """Overrides: layers by level, MLPs on the way down."""
  return (
    f"model.token_layers={token}",
    f"model.paragraph_layers={paragraph}",
    f"model.section_layers={section}",
    f"model.document_layers={document}",
    f"model.top_down_mlps={mlps}",
  )


_DEEP = ("model.decoder_layers=6", "model.residual_init=depth")


# Name: config and its own overrides. The first is that of `sizes.py`, small. Those that begin with
# "shipped" are as deep as `configs/sizes.py`, small: its split, and others of as many parameters.
SPLITS = {
  "1 token, 1 paragraph": (_HTMTL, _layers(1, 1)),
  "flat, 4 token": (_FLAT, ("model.token_layers=4",)),
  "2 token": (_HTMTL, _layers(2, 0)),
  "2 token, 1 paragraph, 1 section, 1 document, MLPs down": (_HTMTL, _layers(2, 1, 1, 1, "all")),
  "4 token, 1 paragraph": (_HTMTL, _layers(4, 1)),
  "1 token, 2 paragraph, 1 section, 1 document": (_HTMTL, _layers(1, 2, 1, 1)),
  "shipped: 6 token, 5 paragraph, 2 section, 2 document, no MLPs down to tokens": (
    _HTMTL,
    (*_layers(6, 5, 2, 2, "segments"), *_DEEP),
  ),
  "shipped depth: 6 token, 5 paragraph, 2 section, 2 document": (
    _HTMTL,
    (*_layers(6, 5, 2, 2, "all"), *_DEEP),
  ),
  "shipped depth: flat, 18 token": (_FLAT, ("model.token_layers=18", *_DEEP)),
  "shipped depth: 12 token, 1 paragraph, 1 section, 1 document, no MLPs down to tokens": (
    _HTMTL,
    (*_layers(12, 1, 1, 1, "segments"), *_DEEP),
  ),
}
_COMMON = (
  f"data.max_input_tokens={LENGTH}",
  "layout.buckets=((36,1216),)",
  "train.batch_token_rows=36",
  "train.evaluate_at_end=False",
  "train.validation_documents=48",
  "train.log_every=20",
  "model.width=128",
  "model.mlp_width=512",
  "model.num_heads=4",
)


def overrides_of(name: str, steps: int, seed: int) -> list[str]:
  """All that is set for a split, as `a.b=value`."""
  own = SPLITS[name][1]
  schedule = (
    f"train.num_steps={steps}",
    f"optimizer.schedule_steps={steps}",
    f"train.checkpoint_every={steps // 2}",
    f"train.evaluate_every={steps // 4}",
    f"seed={seed}",
  )
  return [*_COMMON, *schedule, *own]


def workdir_of(out: pathlib.Path, name: str) -> pathlib.Path:
  return out / name.replace(",", "").replace(" ", "_")


def train(name: str, args: argparse.Namespace) -> None:
  """Trains one split, unless it is trained.

  Raises:
    UserError: training failed; its own message stands above.
  """
  overrides = overrides_of(name, args.steps, args.seed)
  overrides += [f"data.path={args.papers}", f"data.prepared={args.prepared}"]
  flags = [f"--config.{override}" for override in overrides]
  command = [sys.executable, "-m", "htmtl_jax.main", "--mode=train", f"--config={SPLITS[name][0]}"]
  command += [f"--workdir={workdir_of(args.out, name)}", *flags]
  print(f"training: {name}", file=sys.stderr, flush=True)
  if subprocess.run(command, check=False).returncode:
    raise UserError(f"training of {name!r} failed; run the same command again to go on from there")


def read_validations(out: pathlib.Path, name: str) -> dict[int, list[float]]:
  """Step: cross-entropy a token on held-out papers, by level; nothing if it was not trained."""
  path = workdir_of(out, name) / "metrics.jsonl"
  if not path.is_file():
    return {}
  rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
  return {
    row["step"]: [row[f"eval/ce/{level}"] for level in LEVELS]
    for row in rows
    if row["kind"] == "eval" and f"eval/ce/{LEVELS[0]}" in row
  }


def prepare(name: str, vocabulary: int, prepared: str) -> PreparedSystem:
  """The split's train step on papers of the corpus, cut at `LENGTH` tokens, full targets."""
  from benchmarks import htmtl_system  # starts JAX

  config = load_config(SPLITS[name][0], overrides_of(name, 1, 0))
  request = Request("htmtl_three", "train", LENGTH, name, "float32", prepared=prepared)
  return htmtl_system.prepare_config(config, vocabulary, request)


def time_steps(names: Sequence[str], prepared: str, rounds: int) -> dict[str, dict]:
  """By split: median seconds of a step, all of them, parameters, when and where. In turns, here."""
  systems = {name: prepare(name, 8000, prepared) for name in names}
  for name, system in systems.items():
    print(f"compiling: {name}", file=sys.stderr, flush=True)
    system.warm_up()
  seconds = {name: [] for name in names}
  for _ in range(rounds):
    for name, system in systems.items():
      start = time.perf_counter()
      system.run()
      seconds[name].append(time.perf_counter() - start)
  when = {
    "date": datetime.date.today().isoformat(),
    "machine": machine.describe_machine(),
    "versions": machine.describe_versions(),
  }
  shown = ("parameters", "non_embedding_parameters", "token_and_decoder_share")
  return {
    name: {key: system.facts[key] for key in shown}
    | {"step_seconds": statistics.median(seconds[name]), "all_step_seconds": seconds[name]}
    | {"timed": when}
    for name, system in systems.items()
  }


def render_table(results: dict[str, dict]) -> str:
  """Markdown: a row for each split and validation."""
  lines = [
    "| split | M parameters (no embeddings) | s a step | step | s of steps | "
    + " | ".join(LEVELS) + " | mean |",
    "| --- | ---: | ---: | ---: | ---: |" + " ---: |" * (len(LEVELS) + 1),
  ]  # fmt: skip
  for name, result in results.items():
    seconds = result.get("step_seconds")
    parameters = result.get("non_embedding_parameters")
    for step, losses in result["validations"].items():
      cells = [
        name,
        f"{parameters / 1e6:.2f}" if parameters else "",
        f"{seconds:.2f}" if seconds else "",
        str(step),
        f"{seconds * int(step):,.0f}" if seconds else "",
        *(f"{loss:.3f}" for loss in (*losses, np.mean(losses))),
      ]
      lines.append(f"| {' | '.join(cells)} |")
  return "\n".join(lines)


def render_page_of(splits: dict[str, dict]) -> str:
  """HTML: mean held-out loss against seconds of training, a line for each split."""
  series = []
  for style, (name, result) in enumerate(splits.items()):
    if result["validations"] and result.get("step_seconds"):
      steps = np.array([int(step) for step in result["validations"]], float)
      losses = np.array([np.mean(losses) for losses in result["validations"].values()])
      series.append(charts.Series(name, steps * result["step_seconds"], losses, style=style))
  title = "Held-out loss against time"
  groups = []
  if series:
    figure = charts.line_chart(
      "splits", title, f"{title} of {len(series)} splits.", series,
      Axis("seconds of training"), Axis("cross-entropy a token"), keep_legend=True,
    )  # fmt: skip
    groups = [{"id": "splits", "title": title, "text": "", "rows": [[figure]]}]
  return render_page(
    "run.html",
    "Splits",
    context={
      "where": f"Papers of {LENGTH:,} tokens.",
      "facts": [],
      "warnings": [],
      "groups": groups,
      "evaluations": [],
      "config": [],
      "changed": None,
    },
    styles=("charts.css",),
  )


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--out", required=True, type=pathlib.Path, help="folder of runs and results")
  parser.add_argument("--prepared", required=True, help="folder for, or of, the prepared corpus")
  parser.add_argument("--papers", default="", help="JSONL papers; needed for training")
  parser.add_argument("--only", default="", help="splits with this in their name")
  parser.add_argument("--steps", type=int, default=200)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--time", action="store_true", help="time steps, train nothing")
  parser.add_argument("--rounds", type=int, default=5, help="timings of each")
  args = parser.parse_args()
  names = [name for name in SPLITS if args.only in name]
  try:
    if args.time:
      write(args.out, time_steps(names, args.prepared, args.rounds))
    elif not args.papers:
      raise UserError("--papers=FOLDER_OF_JSONL is needed for training; or --time")
    else:
      for name in names:
        train(name, args)
      write(args.out, {})
  except UserError as error:
    raise SystemExit(f"error: {error}") from error


def write(out: pathlib.Path, timings: dict[str, dict]) -> None:
  """Joins timings, or those there are, with validations; prints and writes all.

  New timings replace all old ones: times are compared only where they were taken together.
  """
  path = out / "splits.json"
  if not timings and path.is_file():
    timings = json.loads(path.read_text(encoding="utf-8"))
  splits = {
    name: timings.get(name, {})
    | {"validations": {str(k): v for k, v in read_validations(out, name).items()}}
    for name in SPLITS
  }
  out.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(splits, indent=1) + "\n", encoding="utf-8")
  write_page(str(out / "splits.html"), render_page_of(splits))
  print(render_table(splits))


if __name__ == "__main__":
  main()
