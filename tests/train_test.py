"""Training end to end: exact resume, interruption, and runs that are started again."""

import copy
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from unittest import mock

from absl.testing import absltest, parameterized
import jax
import numpy as np

from htmtl_jax import train, workdir_lock
from htmtl_jax.checkpoint import CheckpointStore
from htmtl_jax.config import check_resume
from htmtl_jax.config_keys import flatten
from htmtl_jax.file_lock import lock_file
from htmtl_jax.levels import LEVELS
from htmtl_jax.metrics import METRICS_FILE, read_metrics
from tests import tiny_config

NO_EVALUATION = "--config.train.evaluate_at_end=false"
TIMEOUT = 240  # seconds, for a child process on a busy machine


def read_steps(workdir) -> dict[int, dict[str, float]]:
  """What training logged, by step, without the numbers that a clock decides."""
  steps = {}
  for line in read_metrics(workdir, kind="train"):
    assert line["step"] not in steps, f"step {line['step']} is logged twice"
    steps[line["step"]] = {k: v for k, v in line.items() if k.startswith("train/")}
  return steps


def checkpoint_steps(workdir) -> list[int]:
  with CheckpointStore(workdir / "checkpoints") as store:
    return store.steps()


class _Child:
  """A training run in a process of its own."""

  def __init__(self, workdir, *flags):
    self._metrics, self._checkpoints = workdir / METRICS_FILE, workdir / "checkpoints"
    self._errors = open(workdir.with_suffix(".stderr"), "w+")
    self._process = subprocess.Popen(
      [sys.executable, "-m", "tests.tiny_config", *tiny_config.train_flags(workdir, *flags)],
      stdout=subprocess.DEVNULL,
      stderr=self._errors,
      cwd=tiny_config.REPOSITORY,
      env=tiny_config.environment(),
    )

  def __enter__(self):
    return self

  def __exit__(self, *exception_info):
    self._process.kill()
    self._process.wait()
    self._errors.close()

  def stderr(self) -> str:
    return pathlib.Path(self._errors.name).read_text()

  def wait_for_step(self, step: int) -> None:
    """Returns once it has trained, logged a step of at least `step`, and a checkpoint is whole."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
      if self._process.poll() is not None:
        raise AssertionError(f"ended with {self._process.returncode}: {self.stderr()}")
      if "compiled the step" in self.stderr():  # so the file has no lines of an earlier child
        lines = self._metrics.read_text().rpartition("\n")[0].splitlines()
        saved = any(path.name.isdecimal() for path in self._checkpoints.iterdir())
        if saved and lines and json.loads(lines[-1])["step"] >= step:
          return
      time.sleep(0.005)
    raise AssertionError(f"not at step {step} after {TIMEOUT} s: {self.stderr()}")

  def end(self, number: signal.Signals) -> int:
    self._process.send_signal(number)
    return self._process.wait(TIMEOUT)


class ExactResumeTest(absltest.TestCase):
  """Dropout and accumulation are on (see the config), so any lost randomness shows."""

  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

  def assert_same_run(self, workdir, reference):
    """Every logged number of every step, and the last state's parameters, bit for bit."""
    steps, expected = read_steps(workdir), read_steps(reference)
    self.assertEqual(list(steps), list(range(1, len(expected) + 1)))
    self.assertEqual(steps, expected)
    params = []
    for folder in (workdir, reference):
      with CheckpointStore(folder / "checkpoints") as store:
        self.assertEqual(store.latest_step(), len(expected))
        params.append(store.restore_params(len(expected)))
    jax.tree.map(np.testing.assert_array_equal, *params)

  def test_killed_then_terminated_then_stopped_then_finished(self):
    # One run, interrupted in every way there is, against one that never was.
    workdir = self.folder / "run"
    workdir.mkdir()
    endless = (NO_EVALUATION, "--config.train.num_steps=100000")
    with _Child(workdir, *endless) as child:
      child.wait_for_step(3)
      self.assertEqual(child.end(signal.SIGKILL), -signal.SIGKILL)
    saved = max(checkpoint_steps(workdir))
    with _Child(workdir, *endless) as child:
      child.wait_for_step(saved + 1)
      self.assertEqual(child.end(signal.SIGTERM), 75)
      self.assertIn(f"resuming at step {saved}\n", child.stderr())
      self.assertIn("interrupted and saved; run the same command again", child.stderr())
    self.assertIn("0% of 100,000", (workdir / "report.html").read_text())
    saved = max(checkpoint_steps(workdir))
    self.assertEqual(max(read_steps(workdir)), saved)  # saved where it stood, nothing lost

    # Stopped by a smaller number of steps, at one where no checkpoint is due; with
    # other cadences, which may differ.
    stop = saved + 1
    status, _, err = tiny_config.run_train(
      workdir,
      NO_EVALUATION,
      f"--config.train.num_steps={stop}",
      "--config.train.checkpoint_every=50",
      "--config.train.evaluate_every=50",
    )
    self.assertEqual(status, 0, err)
    self.assertIn(f"resuming at step {saved}\n", err)
    self.assertEqual(max(checkpoint_steps(workdir)), stop)

    num_steps = max(stop + 1, tiny_config.NUM_STEPS)
    flags = (NO_EVALUATION, f"--config.train.num_steps={num_steps}")
    status, _, err = tiny_config.run_train(workdir, *flags)
    self.assertEqual(status, 0, err)
    self.assertIn(f"resuming at step {stop}\n", err)
    reference, _, _ = tiny_config.trained()
    if num_steps > tiny_config.NUM_STEPS:  # the children got further than usual
      reference = self.folder / "reference"
      self.assertEqual(tiny_config.run_train(reference, *flags)[0], 0)
    self.assert_same_run(workdir, reference)

  def test_on_several_devices_resume_is_exact_too(self):
    flags = (
      NO_EVALUATION,
      *tiny_config.LITTLE_TO_COMPILE,
      "--config.train.evaluate_every=100000",
      "--config.mesh.data=1",
      "--config.mesh.fsdp=2",
      "--config.mesh.sequence=2",
    )
    for name, ends in (("reference", (4,)), ("run", (2, 4))):
      for steps in ends:
        status, _, err = tiny_config.run_train(
          self.folder / name, *flags, f"--config.train.num_steps={steps}", devices=4
        )
        self.assertEqual(status, 0, err)
    self.assertIn("resuming at step 2\n", err)
    self.assertIn("fsdp=2 tensor=1 sequence=2", err)
    self.assert_same_run(self.folder / "run", self.folder / "reference")


class StartedAgainTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

  def test_what_a_run_leaves_behind(self):
    workdir, out, err = tiny_config.trained()
    for name in ("config.json", "vocabulary.model", "statistics.json", METRICS_FILE):
      self.assertTrue((workdir / name).is_file(), name)
    self.assertEqual(checkpoint_steps(workdir), list(tiny_config.CHECKPOINT_STEPS))
    self.assertNotEmpty(list((workdir / "tensorboard").iterdir()))
    self.assertIn("one sentence", out)
    self.assertIn("lexrank", out)
    self.assertIn("12/12", err)

    steps = read_steps(workdir)
    self.assertLen(steps, tiny_config.NUM_STEPS)
    for values in steps.values():
      # "twice" and "diversity" compare units, and the one sentence is one unit.
      for term in ("ce", "coverage", "twice", "diversity"):
        for level in LEVELS:
          self.assertIn(f"train/{term}/{level}", values)
      self.assertTrue(all(np.isfinite(v) for v in values.values()), values)
    self.assertLess(steps[12]["train/ce/paragraph"], steps[1]["train/ce/paragraph"])
    evaluations = read_metrics(workdir, kind="eval")
    self.assertEqual([line["step"] for line in evaluations], [4, 8, 12])
    self.assertIn("eval/ce/paragraph", evaluations[0])

  def test_a_finished_run_only_evaluates(self):
    workdir = tiny_config.copy_trained(self.folder)
    before = (workdir / METRICS_FILE).read_bytes()
    # Asking for fewer steps than were taken is no reason to train either.
    status, out, err = tiny_config.run_train(workdir, "--config.train.num_steps=6")
    self.assertEqual(status, 0, err)
    self.assertEqual((workdir / METRICS_FILE).read_bytes(), before)
    self.assertEqual(checkpoint_steps(workdir), list(tiny_config.CHECKPOINT_STEPS))
    is_path = lambda line: line.startswith(("results: ", "report: "))
    without_path = lambda text: [line for line in text.splitlines() if not is_path(line)]
    self.assertEqual(without_path(out), without_path(tiny_config.trained()[1]))

  def test_a_second_training_is_kept_out(self):
    workdir = tiny_config.copy_trained(self.folder)
    lock = workdir / workdir_lock.LOCK
    before = {path.name for path in workdir.rglob("*")} | {workdir_lock.LOCK}
    with (
      lock_file(str(lock), self.fail),
      mock.patch.object(workdir_lock, "_PATIENCE_SECONDS", 0.1),
    ):
      status, out, err = tiny_config.run_train(workdir, "--config.train.num_steps=20")
      self.assertEqual((status, out), (2, ""))
      waits, refused = err.splitlines()
      self.assertIn("another training seems to be in ", waits)
      self.assertRegex(refused, "^htmtl_jax: error: --workdir=.* is in use by another training; end")
      self.assertEqual({path.name for path in workdir.rglob("*")}, before)

      # Of another machine, which may be gone for good, it is a warning.
      lock.write_text("another machine")
      flags = (NO_EVALUATION, "--config.train.num_steps=6")  # done already
      status, _, err = tiny_config.run_train(workdir, *flags)
      self.assertEqual(status, 0, err)
      self.assertIn(f"warning: another machine holds {lock}; going on", err)

  def test_keys_that_do_not_change_the_course_may_differ(self):
    saved = tiny_config.get_config()
    for key in train.MAY_DIFFER:
      names = [name for name in flatten(saved) if name == key or name.startswith(f"{key}.")]
      self.assertNotEmpty(names, f"{key} is no key")
    now = copy.deepcopy(saved)
    now.train.num_steps, now.train.log_every, now.mesh.fsdp, now.decode.beam_size = 99, 7, 2, 1
    check_resume(saved, now, train.MAY_DIFFER)

  @parameterized.parameters(
    ("model.width", "16 -> 32"),
    ("optimizer.learning_rate", "0.003 -> 0.5"),
    ("seed", "0 -> 7"),
    ("loss.coverage", "0.1 -> 0.0"),
    ("train.batch_token_rows", "64 -> 32"),
    ("train.accumulate", "2 -> 1"),
    ("data.num_train", "24 -> 25"),
  )
  def test_a_key_that_changes_the_course_is_refused(self, key, change):
    workdir, _, _ = tiny_config.trained()
    before = sorted(os.listdir(workdir / "checkpoints"))
    status, out, err = tiny_config.run_train(workdir, f"--config.{key}={change.split()[-1]}")
    self.assertEqual((status, out), (2, ""))
    self.assertRegex(
      err, f"^htmtl_jax: error: the workdir holds a run with another config .*{key}: {change};.*\n$"
    )
    self.assertEqual(sorted(os.listdir(workdir / "checkpoints")), before)


if __name__ == "__main__":
  absltest.main()
