"""How long training takes to start: from the command to a compiled step, and to the first step done.

    python -m benchmarks.startup [--config=configs/papers_base.py] [--rounds=3] [--out=FILE.json]

Starts the real thing, `python -m htmtl_jax.main --mode=train`, each time in a process of its
own that is ended after the first step: with an empty compilation cache, and again with what
that start has put into it. The corpus is generated and prepared beforehand, so its
preparation is not in the times. Batches are of one document, since the first step of a larger
one takes minutes on a CPU; what has to be compiled is the same.

Processor time is printed beside, so that one sees whether the machine was idle: on two
cores it is at most twice the time by the clock, and hardly less where other programs ran.
"""

import argparse
from collections.abc import Sequence
import dataclasses
import datetime
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks import machine
from benchmarks.scoring import TextMaker

_PATIENCE = 900.0  # seconds until a start has failed
# What JAX says of its work with JAX_LOG_COMPILES=1.
_COMPILED = re.compile(r"Finished XLA compilation of (?:jit\()?(\w+)\)? in ([\d.]+) sec")
_STARTS = ("init_state", "step")  # the programs without which no step can be taken


@dataclasses.dataclass
class Start:
  """One start; the first three in seconds since the command was given.

  Attributes:
    described: until the corpus was opened and the model's shapes known.
    ready: until the initial state and the step were compiled, or read from the cache.
    first_step: until a step was done.
    compiling: seconds spent on compiling, or reading from the cache, by program: the two that
      a step needs, and others of 0.1 s and more.
    processor: seconds of processor time until the first step was done.
  """

  described: float | None = None
  ready: float | None = None
  first_step: float | None = None
  compiling: dict[str, float] = dataclasses.field(default_factory=dict)
  processor: float = 0.0


def write_corpus(path: pathlib.Path, documents: int = 240, seed: int = 0) -> None:
  """Short papers of nonsense, with enough different words for a vocabulary of 32,000 pieces."""
  maker = TextMaker(seed, vocabulary_size=60_000)
  paragraph = lambda: maker.make_pair()[0]
  with open(path, "w", encoding="utf-8") as f:
    for number in range(documents):
      sections = [
        {"heading": f"Section {s}", "paragraphs": [paragraph().replace("\n", " ") for _ in "12"]}
        for s in range(3)
      ]
      paper = {"id": f"p{number}", "abstract": paragraph().split("\n"), "sections": sections}
      f.write(json.dumps(paper) + "\n")


def start_once(command: Sequence[str], workdir: pathlib.Path) -> Start:
  """Runs a training until its first step is done, and ends it."""
  result = Start()
  begun = time.time()
  environment = os.environ | {"JAX_LOG_COMPILES": "1"}
  process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
  lines = []
  try:
    for line in process.stderr:
      lines.append(line)
      now = time.time() - begun
      if found := _COMPILED.search(line):
        name, seconds = found[1], float(found[2])
        if name in _STARTS:
          result.ready = now
        if name in _STARTS or seconds >= 0.1:
          result.compiling[name] = round(result.compiling.get(name, 0.0) + seconds, 2)
      elif " parameters on " in line:
        result.described = now
      elif line.startswith("compiled the step"):
        result.first_step = _wait_for_step(process, workdir) - begun
        result.processor = _processor_seconds(process.pid)
        return result
  finally:
    process.kill()
    process.wait()
    process.stderr.close()
  raise RuntimeError("the training ended before its first step:\n" + "".join(lines[-20:]))


def _wait_for_step(process, workdir: pathlib.Path) -> float:
  """When the first line of metrics was written, in seconds since 1970."""
  metrics = workdir / "metrics.jsonl"
  deadline = time.time() + _PATIENCE
  while time.time() < deadline and process.poll() is None:
    if metrics.exists() and (line := metrics.read_text().partition("\n"))[1]:
      return json.loads(line[0])["time"]
    time.sleep(0.02)
  raise RuntimeError("the training ended or hung in its first step")


def _processor_seconds(pid: int) -> float:
  """Used by a process so far; 0 where the operating system does not say."""
  try:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
  except OSError:
    return 0.0
  return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(arguments: argparse.Namespace, folder: pathlib.Path) -> dict[str, list[Start]]:
  """{"cold": starts, "warm": starts}."""
  corpus, cache = folder / "corpus.jsonl", folder / "cache"
  base = [sys.executable, "-m", "htmtl_jax.main", f"--config={arguments.config}"]
  base += [f"--config.data.path={corpus}", f"--config.data.prepared={folder / 'prepared'}"]
  base += [f"--config.{key}" for key in arguments.set]
  base += [f"--compilation_cache={cache}"]
  if not corpus.exists():
    write_corpus(corpus)
  subprocess.run(
    [*base, f"--workdir={folder / 'run'}", "--mode=prepare"], check=True, stdout=subprocess.DEVNULL
  )
  train = ["--mode=train", "--config.train.batch_token_rows=1", "--config.train.log_every=1"]
  starts = {"cold": [], "warm": []}
  for number in range(arguments.rounds):
    for kind in starts:
      if kind == "cold":
        shutil.rmtree(cache, ignore_errors=True)
      workdir = folder / f"run_{kind}_{number}"
      shutil.rmtree(workdir, ignore_errors=True)
      start = start_once([*base, *train, f"--workdir={workdir}"], workdir)
      starts[kind].append(start)
      print(describe(kind, start), flush=True)
      shutil.rmtree(workdir, ignore_errors=True)
  return starts


def describe(kind: str, start: Start) -> str:
  programs = ", ".join(f"{name} {seconds:.1f}" for name, seconds in start.compiling.items())
  return (
    f"{kind}: ready after {start.ready:.1f} s (shapes after {start.described:.1f}), first step done "
    f"after {start.first_step:.1f} s; compiling or reading: {programs}; processors "
    f"{start.processor:.1f} s"
  )


def main(argv: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--config", default="configs/papers_base.py")
  parser.add_argument(
    "--set", action="append", default=[], metavar="KEY=VALUE", help="of the config"
  )
  parser.add_argument("--rounds", type=int, default=1)
  parser.add_argument("--folder", help="keep corpus and cache here (default: a temporary folder)")
  parser.add_argument("--out", help="a JSON file")
  arguments = parser.parse_args(argv)
  with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(arguments.folder or temporary)
    folder.mkdir(parents=True, exist_ok=True)
    starts = measure(arguments, folder)
    size = sum(path.stat().st_size for path in (folder / "cache").rglob("*") if path.is_file())
  median = {kind: statistics.median(start.ready for start in own) for kind, own in starts.items()}
  print(f"median of {arguments.rounds}: " + ", ".join(f"{k} {s:.1f} s" for k, s in median.items()))
  print(f"the cache holds {size / 1e6:.1f} MB")
  if arguments.out:
    record = {
      "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
      "config": arguments.config,
      "set": arguments.set,
      "machine": machine.describe_machine(),
      "versions": machine.describe_versions(),
      "load": os.getloadavg(),
      "cache_bytes": size,
      "median_ready_seconds": median,
      "starts": {
        kind: [dataclasses.asdict(start) for start in own] for kind, own in starts.items()
      },
    }
    pathlib.Path(arguments.out).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
  main()
