"""Two processes that train and evaluate as one, on CPUs: the same numbers as one process.

python -m pytest -q tests/several_processes_test.py
for i in $(seq 20); do python -m pytest -q tests/several_processes_test.py || break; done
"""

import json
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

from absl.testing import absltest, parameterized
import jax
import numpy as np

from htmtl_jax import distributed
from htmtl_jax.checkpoint import CheckpointStore
from htmtl_jax.errors import UserError
from htmtl_jax.metrics import read_metrics
from tests import tiny_config
from tests.conftest import fast_compilation

TIMEOUT = 900  # seconds, for each child process on a busy machine
SETTINGS = (  # little to compile: process 1 finds nothing in the cache on a CPU
  f"--config={tiny_config.PATH}",
  "--config.train.accumulate=1",
  "--config.model.decoder_layers=1",
  "--config.train.evaluate_at_end=false",
  "--config.decode.beam_size=1",
  "--config.evaluate.reports=0",
)


def free_port() -> int:
  with socket.socket() as listener:
    listener.bind(("localhost", 0))
    return listener.getsockname()[1]


class Processes:
  """One command line run by `count` processes together, with two devices in all."""

  def __init__(self, folder: pathlib.Path, name: str, count: int, *flags: str):
    environment = {
      **tiny_config.environment(),
      "JAX_PLATFORMS": "cpu",
      "HTMTL_HEARTBEAT_SECONDS": str(TIMEOUT),  # a test machine may stand still for minutes
      "XLA_FLAGS": f"--xla_force_host_platform_device_count={2 // count} {fast_compilation()}",
      "JAX_COMPILATION_CACHE_DIR": str(folder / "compilations"),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    together = [f"--coordinator=localhost:{free_port()}", f"--num_processes={count}"]
    self._logs, self.processes = [], []
    for index in range(count):
      self._logs.append(open(folder / f"{name}{index}.log", "w+"))
      own = [*together, f"--process_id={index}"] if count > 1 else []
      self.processes.append(
        subprocess.Popen(
          [sys.executable, "-m", "htmtl_jax.main", *SETTINGS, *flags, *own],
          stdout=self._logs[-1],
          stderr=subprocess.STDOUT,
          cwd=tiny_config.REPOSITORY,
          env=environment,
        )
      )

  def __enter__(self):
    return self

  def __exit__(self, *exception_info):
    for process, log in zip(self.processes, self._logs):
      process.kill()  # JAX takes SIGTERM for a request
      process.wait()
      log.close()

  def said(self, index: int = 0) -> str:
    return pathlib.Path(self._logs[index].name).read_text()

  def everything_said(self) -> str:
    return "\n".join(self.said(i)[-3000:] for i in range(len(self._logs)))

  def wait_for(self, text: str) -> None:
    deadline = time.monotonic() + TIMEOUT
    while text not in self.said():
      if any(process.poll() is not None for process in self.processes):
        raise AssertionError(f"ended early: {self.everything_said()}")
      if time.monotonic() > deadline:
        raise AssertionError(f"not {text!r} after {TIMEOUT} s: {self.everything_said()}")
      time.sleep(0.02)

  def wait(self) -> list[int]:
    return [process.wait(TIMEOUT) for process in self.processes]


def logged(workdir: pathlib.Path) -> dict[tuple[str, int], dict[str, float]]:
  """What metrics.jsonl holds, by kind and step, without the numbers that a clock decides."""
  numbers = {}
  for line in read_metrics(workdir):
    key = (line["kind"], line["step"])
    assert key not in numbers, f"{key} is logged twice"
    numbers[key] = {k: v for k, v in line.items() if k.startswith(("train/", "eval/"))}
  return numbers


class TwoProcessesTest(absltest.TestCase):
  """One run: two processes, told to stop; one process goes on; two evaluate what it left."""

  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

  def run_all(self, name, count, *flags):
    with Processes(self.folder, name, count, *flags) as run:
      statuses = run.wait()
      self.assertEqual(statuses, [0] * count, run.everything_said())
      return run.said()

  def train(self, name, count, workdir, *flags):
    return self.run_all(name, count, "--mode=train", f"--workdir={workdir}", *flags)

  def assert_same(self, found, expected):
    self.assertEqual(found.keys(), expected.keys())
    for key, numbers in expected.items():
      self.assertEqual(found[key].keys(), numbers.keys())
      for name, value in numbers.items():
        np.testing.assert_allclose(found[key][name], value, 1e-4, 1e-5, err_msg=f"{key} {name}")

  def test_two_processes_are_one_run(self):
    # SIGTERM at process 1 alone stops both after the same step, saved.
    workdir, reference = self.folder / "run", self.folder / "reference"
    flags = ("--mode=train", f"--workdir={workdir}", "--config.train.num_steps=100000")
    with Processes(self.folder, "endless", 2, *flags) as run:
      run.wait_for("saved step 4")
      run.processes[1].send_signal(signal.SIGTERM)
      self.assertEqual(run.wait(), [75, 75], run.everything_said())
      self.assertIn("process 0 of 2", run.said(0))
      self.assertIn("2 processes, 2 devices", run.said(0))
      self.assertNotIn("saved step", run.said(1))  # told once
    steps = sorted(step for kind, step in logged(workdir) if kind == "train")
    stopped = steps[-1]
    self.assertEqual(steps, list(range(1, stopped + 1)))
    with CheckpointStore(workdir / "checkpoints", read_only=True) as store:
      self.assertEqual(store.latest_step(), stopped)

    # One process with as many devices goes on, and would have come to the same by itself.
    end = f"--config.train.num_steps={stopped + 2}"
    said = self.train("on", 1, workdir, end, "--config.train.evaluate_at_end=true")
    self.assertIn(f"resuming at step {stopped}\n", said)
    self.train("alone", 1, reference, end)
    self.assert_same(logged(workdir), logged(reference))
    params = []
    for path in (workdir, reference):
      with CheckpointStore(path / "checkpoints", read_only=True) as store:
        params.append(store.restore_params(stopped + 2))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, 1e-4, 1e-6), *params)

    # Documents are divided, the results are those of one process, and written once.
    (of_one,) = (workdir / "evaluation").iterdir()
    of_one = of_one.rename(self.folder / "of_one")
    said = self.run_all("both", 2, "--mode=evaluate", f"--workdir={workdir}", "--split=test")
    self.assertEqual(said.count("results: "), 1)
    self.assertEqual((self.folder / "both1.log").read_text().count("results: "), 0)
    (of_two,) = (workdir / "evaluation").iterdir()
    results = [json.loads((path / "results.json").read_text()) for path in (of_two, of_one)]
    self.assertEqual(results[0]["documents"], 4)
    self.assertEqual(results[0]["systems"], results[1]["systems"])
    for name in ("scores.jsonl", "predictions.jsonl"):
      self.assertEqual((of_two / name).read_text(), (of_one / name).read_text())

  def test_an_error_of_the_first_ends_both_in_one_line(self):
    flags = ("--mode=train", f"--workdir={self.folder / 'bad'}", "--config.data.source=jsonl")
    with Processes(self.folder, "bad", 2, *flags, "--config.data.path=/no/such/corpus") as run:
      self.assertEqual(run.wait(), [2, 2], run.everything_said())
      self.assertRegex(run.said(0), "(?m)^htmtl_jax: error: .*/no/such/corpus")
      self.assertRegex(run.said(1), "(?m)^htmtl_jax: error: process 0: .*/no/such/corpus")
      self.assertNotIn("Traceback", run.everything_said())


class DetectTest(parameterized.TestCase):
  SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_NTASKS": "16",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "3",
  }
  SETTINGS = {"HTMTL_COORDINATOR": "node1:8476", "HTMTL_NUM_PROCESSES": "4"}

  def detect(self, environment, hosts=1, **flags):
    return distributed.detect(flags, {"JAX_PLATFORMS": "", **environment}, lambda: hosts)

  def test_alone(self):
    self.assertIsNone(self.detect({}))
    self.assertIsNone(self.detect({**self.SLURM, "SLURM_NTASKS": "1"}))
    batch = {name: value for name, value in self.SLURM.items() if name != "SLURM_STEP_NODELIST"}
    self.assertIsNone(self.detect(batch))  # of sbatch itself, outside of srun
    self.assertIsNone(self.detect({"TPU_WORKER_HOSTNAMES": "localhost"}))
    self.assertIsNone(self.detect({"JOB_COMPLETION_INDEX": "1"}))  # runs of their own
    self.assertIsNone(self.detect({"JAX_PLATFORMS": "cpu"}, hosts=4))
    one = dict(coordinator="localhost:1", num_processes="1", process_id="0")
    self.assertIsNone(self.detect(self.SLURM, **one))  # what is said beats what is found

  @parameterized.parameters(
    (SLURM, {}, "Slurm: process 3 of 16"),
    (
      SLURM,
      dict(coordinator="a:1", num_processes="2", process_id="1"),
      "its settings: process 1 of 2, coordinator a:1",
    ),
    ({**SETTINGS, "HTMTL_PROCESS_ID": "0"}, {}, "process 0 of 4, coordinator node1:8476"),
    ({**SETTINGS, "JOB_COMPLETION_INDEX": "2"}, {}, "process 2 of 4, coordinator node1:8476"),
    ({"TPU_WORKER_HOSTNAMES": "a,b"}, {}, "TPU_WORKER_HOSTNAMES"),
    ({"MEGASCALE_COORDINATOR_ADDRESS": "a"}, {}, "TPU_WORKER_HOSTNAMES"),
    ({"HTMTL_MULTIHOST": "1"}, {}, "HTMTL_MULTIHOST=1"),
    ({"JAX_PLATFORMS": "tpu,cpu"}, {"hosts": 4}, r"metadata \(4 hosts\)"),
  )
  def test_found(self, environment, options, pattern):
    self.assertRegex(self.detect(environment, **options).describe(), pattern)

  @parameterized.parameters(
    (dict(num_processes="2"), "--coordinator and --process_id missing"),
    (dict(coordinator="a:1", num_processes="2"), "--process_id missing"),
    (dict(coordinator="a", num_processes="2", process_id="0"), "--coordinator=a is not HOST:PORT"),
    (dict(coordinator="a:99999", num_processes="2", process_id="0"), "is not HOST:PORT"),
    (dict(coordinator="a:1", num_processes="two", process_id="0"), "num_processes=two is not"),
    (dict(coordinator="a:1", num_processes="2", process_id="2"), "must be from 0 to 1"),
  )
  def test_settings_that_cannot_be(self, flags, message):
    with self.assertRaisesRegex(UserError, message):
      self.detect({}, **flags)

  def test_the_command_line_refuses_them_where_they_mean_nothing(self):
    status, _, err = tiny_config.run_main("--mode=report", "--workdir=x", "--process_id=1")
    self.assertEqual(status, 2)
    self.assertIn("--process_id has no meaning with --mode=report", err)


if __name__ == "__main__":
  absltest.main()
