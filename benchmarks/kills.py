"""Kills a training run over and over, and checks that nothing is ever lost.

    python benchmarks/kills.py --kills=30 [--seed=0] [--config=FILE] [--folder=DIR] [--patience=600]

Each child trains the same workdir and ends by SIGKILL: every other one at a moment drawn from
all of its life, start-up included, the others while a checkpoint is being written. A child that
trains must go on at a step no earlier than the last one that was said to be saved, not from
scratch, and must not hang. In the end the run is finished, and compared with one that nobody
disturbed: every logged number of every step, and the parameters, bit for bit.
"""

import argparse
import dataclasses
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

_REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
_ENDLESS = 1_000_000  # steps
_MORE_STEPS = 3  # that the last child trains
_MAX_SAVES = 8  # a child that is killed in a save is killed in one of its first so many
_PATIENCE = 600  # seconds until a child that saves nothing counts as hanging, its start included
# On top of the config: less to trace at each start, and a save every other step.
_SETTINGS = (
  "--config.model.decoder_layers=1",
  "--config.train.evaluate_at_end=false",
  "--config.train.evaluate_every=6",
  "--config.train.checkpoint_every=2",
  "--config.train.keep_latest=2",
)


@dataclasses.dataclass
class Child:
  """What came of one child.

  Attributes:
    moment: when it was killed, for people.
    resumed: the step that it said it goes on from, or None.
    trained: whether it came so far that it would have said so.
    saved: the last step that it called saved, or None.
    in_save: whether a checkpoint was half written when it ended.
    seconds: that it lived.
    until_saving: seconds until it first wrote a checkpoint, None if it never did.
  """

  moment: str
  resumed: int | None
  trained: bool
  saved: int | None
  in_save: bool
  seconds: float
  until_saving: float | None


class Run:
  """One workdir, and children that train it."""

  def __init__(
    self, workdir: pathlib.Path, config: str, cache: pathlib.Path, patience: float = _PATIENCE
  ):
    self.workdir, self._config, self._cache, self._patience = workdir, config, cache, patience
    self._checkpoints = workdir / "checkpoints"

  def start(self, num_steps: int, log: pathlib.Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "htmtl_jax.main", "--mode=train", *_SETTINGS]
    command += [f"--config={self._config}", f"--workdir={self.workdir}"]
    command += [f"--config.train.num_steps={num_steps}"]
    environment = {
      **os.environ,
      "JAX_COMPILATION_CACHE_DIR": str(self._cache),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    with open(log, "w") as file:
      return subprocess.Popen(command, stdout=file, stderr=file, cwd=_REPOSITORY, env=environment)

  def half_written(self) -> list[str]:
    """Names of checkpoints that are being written, or were when a child was killed."""
    return [name for name in self._listed() if "tmp" in name]

  def _listed(self) -> list[str]:
    return os.listdir(self._checkpoints) if self._checkpoints.is_dir() else []

  def kill_one(self, choose: random.Random, in_save: bool, until_saving: float) -> Child:
    """Starts a child and kills it.

    Raises:
      SystemExit: it ended by itself, met an error, or hangs.
    """
    log = self.workdir.with_suffix(".log")
    left = set(self.half_written())  # of the child before, until this one clears it away
    started = time.monotonic()
    process = self.start(_ENDLESS, log)
    patience = _Clock(self._patience)
    wanted, seen, first = choose.randrange(_MAX_SAVES), set(), None
    end = choose.uniform(0, 1.5 * until_saving)
    linger = choose.choice((0, choose.uniform(0, 0.05), choose.uniform(0, 0.3)))
    while process.poll() is None:
      elapsed = time.monotonic() - started
      new = set(self.half_written()) - left - seen
      left &= set(self.half_written())
      if new and first is None:
        first = elapsed
      seen |= new
      if not in_save and elapsed >= end:
        break
      if in_save and new and len(seen) > wanted:
        time.sleep(linger)
        break
      if patience.is_over(len(seen)):
        _give_up(process, log, self._patience)
      time.sleep(0.003)
    else:
      raise SystemExit(f"a child ended by itself with {process.returncode}:\n{log.read_text()}")
    process.send_signal(signal.SIGKILL)
    process.wait()
    text = log.read_text()
    if "Traceback" in text or "error:" in text:
      raise SystemExit(f"a child met an error:\n{text}")
    resumed = re.search(r"resuming at step (\d+)\n", text)
    saved = re.findall(r"saved step (\d+)\n", text)
    return Child(
      "in a save" if in_save else "anywhere",
      int(resumed[1]) if resumed else None,
      bool(resumed or saved or "compiled the step" in text),
      int(saved[-1]) if saved else None,
      bool(set(self.half_written()) - left),
      time.monotonic() - started,
      first,
    )

  def finish(self, num_steps: int) -> str:
    """Trains to the end; returns what it said.

    Raises:
      SystemExit: it ended in an error, or hangs.
    """
    log = self.workdir.with_suffix(".log")
    process = self.start(num_steps, log)
    patience = _Clock(self._patience)
    while (status := process.poll()) is None:
      if patience.is_over(self._listed()):
        _give_up(process, log, self._patience)
      time.sleep(0.05)
    if status:
      raise SystemExit(f"the run is unusable, it ends in {status}:\n{log.read_text()}")
    return log.read_text()


class _Clock:
  """Tells whether nothing has changed for so many seconds."""

  def __init__(self, patience: float):
    self._patience, self._last, self._since = patience, None, time.monotonic()

  def is_over(self, seen) -> bool:
    if seen != self._last:
      self._last, self._since = seen, time.monotonic()
    return time.monotonic() - self._since > self._patience


def _give_up(process: subprocess.Popen, log: pathlib.Path, patience: float) -> None:
  process.kill()
  process.wait()
  raise SystemExit(f"a child hangs, it saved nothing for {patience:g} s:\n{log.read_text()}")


def compare(first: pathlib.Path, second: pathlib.Path, step: int) -> None:
  """Raises where two finished runs differ in a logged number or a bit of the parameters."""
  import jax
  import numpy as np

  from htmtl_jax.checkpoint import CheckpointStore
  from htmtl_jax.metrics import read_metrics

  params, numbers = [], []
  for workdir in (first, second):
    with CheckpointStore(workdir / "checkpoints", read_only=True) as store:
      params.append(store.restore_params(step))
    numbers.append(
      [
        {name: value for name, value in line.items() if name.startswith("train/")}
        for line in read_metrics(workdir, kind="train")
      ]
    )
  if numbers[0] != numbers[1]:
    raise SystemExit("the runs logged different numbers")
  jax.tree.map(np.testing.assert_array_equal, *params)


def run(
  kills: int, seed: int, config: str, folder: pathlib.Path, patience: float = _PATIENCE
) -> list[Child]:
  """Kills, checks, finishes, compares; returns what came of each child.

  Raises:
    SystemExit: says what was lost.
  """
  choose = random.Random(seed)
  cache = folder / "compilations"
  killed = Run(folder / "killed", config, cache, patience)
  children: list[Child] = []
  promised, until_saving = 0, 60.0

  def check(resumed: int | None) -> None:
    if (resumed or 0) < promised:
      how = "started from scratch" if resumed is None else f"resumed at {resumed}"
      raise SystemExit(f"step {promised} was called saved, but the run {how}")

  for number in range(kills):
    # The first is killed in a save: from it is known how long a start takes.
    child = killed.kill_one(choose, number % 2 == 0, until_saving)
    children.append(child)
    if child.trained:
      check(child.resumed)
    if child.until_saving is not None and number > 0:
      until_saving = child.until_saving
    promised = max(promised, child.saved or 0)
    print(
      f"{number + 1:3d}/{kills} killed {child.moment} after {child.seconds:.1f} s, resumed at "
      f"{child.resumed}, called saved {promised}, "
      f"{'a' if child.in_save else 'no'} checkpoint half written",
      flush=True,
    )
  steps = [int(name) for name in os.listdir(killed.workdir / "checkpoints") if name.isdecimal()]
  end = max(steps, default=0) + _MORE_STEPS
  said = killed.finish(end)
  resumed = re.search(r"resuming at step (\d+)\n", said)
  check(int(resumed[1]) if resumed else None)
  undisturbed = Run(folder / "undisturbed", config, cache, patience)
  undisturbed.finish(end)
  compare(killed.workdir, undisturbed.workdir, end)
  print(
    f"{kills} kills, {sum(child.in_save for child in children)} of them while a checkpoint was "
    f"half written: no step called saved was lost, and after {end} steps the run equals one "
    "without kills bit for bit"
  )
  return children


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--kills", type=int, default=30)
  parser.add_argument("--seed", type=int, default=0, help="of the moments")
  parser.add_argument("--config", default=str(_REPOSITORY / "tests" / "tiny_config.py"))
  parser.add_argument(
    "--patience", type=float, default=_PATIENCE, help="seconds without a save, for a child to hang"
  )
  parser.add_argument("--folder", help="where to train (default: a temporary folder)")
  arguments = parser.parse_args()
  with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
    run(arguments.kills, arguments.seed, arguments.config, pathlib.Path(folder), arguments.patience)


if __name__ == "__main__":
  main()
