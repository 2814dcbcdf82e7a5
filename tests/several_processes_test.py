"""Two processes that train and evaluate as one, on CPUs: the same numbers as one process.

python -m pytest -q tests/several_processes_test.py
for i in $(seq 20); do python -m pytest -q tests/several_processes_test.py || break; done
"""

import contextlib
import io
import json
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from unittest import mock

from absl.testing import absltest, parameterized
import jax
import numpy as np

from htmtl_jax import distributed, hosts, main, startup
from htmtl_jax.checkpoint import CheckpointStore
from htmtl_jax.errors import UserError
from htmtl_jax.metrics import read_metrics
from tests import several_processes_program, tiny_config
from tests.conftest import fast_compilation

TIMEOUT = 900  # seconds, for each child process on a busy machine
MAIN = "htmtl_jax.main"
SETTINGS = (
  f"--config={tiny_config.PATH}",
  *tiny_config.LITTLE_TO_COMPILE,
  "--config.train.evaluate_every=100000",
  "--config.train.evaluate_at_end=false",
  "--config.data.num_validation=2",
  "--config.decode.beam_size=1",
  "--config.decode.max_tokens=(6,8,10)",
  "--config.evaluate.reports=0",
  "--config.evaluate.batch_token_rows=16",  # two documents a batch: one for each process
)
SEQUENCE = ("--config.mesh.data=1", "--config.mesh.sequence=2")
FSDP = ("--config.mesh.data=1", "--config.mesh.fsdp=2")


def free_port() -> int:
  with socket.socket() as listener:
    listener.bind(("localhost", 0))
    return listener.getsockname()[1]


def xla_flags(devices: int) -> str:
  """Compiles what this process would: only equal programs compute equal bits."""
  flags = f"--xla_force_host_platform_device_count={devices} {fast_compilation()}"
  with mock.patch.dict("os.environ", XLA_FLAGS=""):
    startup.prepare_jax("")
    added = startup.os.environ["XLA_FLAGS"]
  return f"{flags} {added.split('=')[0]}=" if added else flags


class Processes:
  """Two processes that run one module together."""

  def __init__(
    self,
    folder: pathlib.Path,
    name: str,
    module: str,
    *flags: str,
    devices: int = 1,
    heartbeat: int = TIMEOUT,  # a test machine may stand still for minutes
  ):
    environment = {
      **tiny_config.environment(),
      "JAX_PLATFORMS": "cpu",
      "HTMTL_HEARTBEAT_SECONDS": str(heartbeat),
      "XLA_FLAGS": xla_flags(devices),
      "JAX_COMPILATION_CACHE_DIR": str(folder / "compilations"),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    together = [f"--coordinator=localhost:{free_port()}", "--num_processes=2"]
    self._logs, self.processes = [], []
    for index in range(2):
      self._logs.append(open(folder / f"{name}{index}.log", "w+"))
      self.processes.append(
        subprocess.Popen(
          [sys.executable, "-m", module, *flags, *together, f"--process_id={index}"],
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
    return "\n".join(self.said(i)[-3000:] for i in range(2))

  def wait_for(self, text: str) -> None:
    deadline = time.monotonic() + TIMEOUT
    while text not in self.said():
      if any(process.poll() is not None for process in self.processes):
        statuses = [process.poll() for process in self.processes]
        raise AssertionError(f"ended early with {statuses}: {self.everything_said()}")
      if time.monotonic() > deadline:
        raise AssertionError(f"not {text!r} after {TIMEOUT} s: {self.everything_said()}")
      time.sleep(0.02)

  def wait(self) -> list[int]:
    return [process.wait(TIMEOUT) for process in self.processes]


def run_alone(*flags: str) -> tuple[int, str]:
  """One process with two devices, this one: (exit status, what it said)."""
  said = io.StringIO()
  with (
    tiny_config.setting(devices=2),
    contextlib.redirect_stdout(said),
    contextlib.redirect_stderr(said),
  ):
    return main.run([*SETTINGS, *flags]), said.getvalue()


def logged(workdir: pathlib.Path, kind: str) -> dict[int, dict[str, float]]:
  """What metrics.jsonl holds by step, without the numbers that a clock decides."""
  numbers = {}
  for line in read_metrics(workdir, kind=kind):
    assert line["step"] not in numbers, f"step {line['step']} is logged twice"
    numbers[line["step"]] = {k: v for k, v in line.items() if k.startswith(("train/", "eval/"))}
  return numbers


class TwoProcessesTest(parameterized.TestCase):
  """One run, taken up by two processes, by one, and by two again, each on another mesh."""

  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

  def assert_same(self, found, expected):
    self.assertEqual(found.keys(), expected.keys())
    for step, numbers in expected.items():
      self.assertEqual(found[step].keys(), numbers.keys())
      for name, value in numbers.items():
        np.testing.assert_allclose(found[step][name], value, 1e-4, 1e-5, err_msg=f"{step} {name}")

  def test_processes_may_change_and_the_run_stays_the_same(self):
    workdir, reference = self.folder / "run", self.folder / "reference"
    train = ("--mode=train", f"--workdir={workdir}")
    steps = lambda count: f"--config.train.num_steps={count}"

    # Two processes read each document together. SIGTERM at process 1 alone stops both after the
    # same step, saved.
    flags = (*SETTINGS, *SEQUENCE, *train, steps(100000))
    with Processes(self.folder, "endless", MAIN, *flags) as run:
      run.wait_for("saved step 2")
      run.processes[1].send_signal(signal.SIGTERM)
      self.assertEqual(run.wait(), [75, 75], run.everything_said())
      self.assertIn("process 0 of 2", run.said(0))
      self.assertIn("2 processes, 2 devices", run.said(0))
      self.assertNotIn("saved step", run.said(1))  # told once
    stopped = max(logged(workdir, "train"))
    with CheckpointStore(workdir / "checkpoints", read_only=True) as store:
      self.assertEqual(store.latest_step(), stopped)

    # One process goes on. Then two, which share the parameters, and evaluate.
    status, said = run_alone(*FSDP, *train, steps(stopped + 1))
    self.assertEqual(status, 0, said)
    self.assertIn(f"resuming at step {stopped}\n", said)
    flags = (*SETTINGS, *FSDP, *train, steps(stopped + 3), "--config.train.evaluate_at_end=true")
    with Processes(self.folder, "both", MAIN, *flags) as run:
      self.assertEqual(run.wait(), [0, 0], run.everything_said())
      self.assertIn(f"resuming at step {stopped + 1}\n", run.said(0))
      self.assertEqual([run.said(i).count("results: ") for i in range(2)], [1, 0])

    # One process would have come to the same by itself.
    alone = ("--mode=train", f"--workdir={reference}", steps(stopped + 3))
    status, said = run_alone(*FSDP, *alone)
    self.assertEqual(status, 0, said)
    self.assertEqual(list(logged(workdir, "train")), list(range(1, stopped + 4)))
    self.assert_same(logged(workdir, "train"), logged(reference, "train"))
    evaluated = logged(workdir, "eval")
    del evaluated[stopped + 1]  # the end of the one process
    self.assert_same(evaluated, logged(reference, "eval"))
    params = []
    for path in (workdir, reference):
      with CheckpointStore(path / "checkpoints", read_only=True) as store:
        leaves = jax.tree.leaves(store.restore_params(stopped + 3))
        params.append(leaves)
    # Not number by number: Adam makes whole steps of gradients that are nothing but rounding.
    for found, expected in zip(*params, strict=True):
      self.assertLess(np.linalg.norm(found - expected), 1e-2 * np.linalg.norm(expected) + 1e-3)

    # Documents were divided; the results are those of one process, and written once.
    (of_two,) = (workdir / "evaluation").iterdir()
    step = ("--split=test", f"--checkpoint={of_two.name}")
    of_two = of_two.rename(self.folder / "of_two")
    status, said = run_alone(*FSDP, "--mode=evaluate", f"--workdir={workdir}", *step)
    self.assertEqual(status, 0, said)
    (of_one,) = (workdir / "evaluation").iterdir()
    results = [json.loads((path / "results.json").read_text()) for path in (of_two, of_one)]
    self.assertEqual(results[0]["documents"], 4)
    self.assertEqual(results[0]["systems"], results[1]["systems"])
    for name in ("scores.jsonl", "predictions.jsonl"):
      self.assertEqual((of_two / name).read_text(), (of_one / name).read_text())

    # So are those of two processes that do nothing else.
    of_one = of_one.rename(self.folder / "of_one")
    flags = (*SETTINGS, *FSDP, "--mode=evaluate", f"--workdir={workdir}", *step)
    with Processes(self.folder, "evaluates", MAIN, *flags) as run:
      self.assertEqual(run.wait(), [0, 0], run.everything_said())
      self.assertEqual([run.said(i).count("results: ") for i in range(2)], [1, 0])
    (again,) = (workdir / "evaluation").iterdir()
    results = json.loads((again / "results.json").read_text())
    self.assertEqual(results["systems"], json.loads((of_one / "results.json").read_text())["systems"])
    self.assertEqual((again / "scores.jsonl").read_text(), (of_one / "scores.jsonl").read_text())

  def test_an_error_of_the_first_ends_both_in_one_line(self):
    flags = ("--mode=train", f"--workdir={self.folder / 'bad'}", "--config.data.source=jsonl")
    flags = (*SETTINGS, *flags, "--config.data.path=/no/such/corpus")
    with Processes(self.folder, "bad", MAIN, *flags) as run:
      self.assertEqual(run.wait(), [2, 2], run.everything_said())
      self.assertRegex(run.said(0), "(?m)^htmtl_jax: error: .*/no/such/corpus")
      self.assertRegex(run.said(1), "(?m)^htmtl_jax: error: process 0: .*/no/such/corpus")
      self.assertNotIn("Traceback", run.everything_said())

  def test_waits_damage_and_documents(self):
    program = several_processes_program.__name__
    with Processes(self.folder, "small", program, str(self.folder / "saved"), devices=2) as run:
      # What the first met in the end is its own matter.
      self.assertEqual(run.wait(), [2, 0], run.everything_said())
      said = [run.said(i) for i in range(2)]
      lines = [line for own in said for line in own.splitlines() if line.startswith('{"told"')]
      found = [json.loads(line) for line in lines]

    # The first is late: the other one waits, says so, and enters no collective operation before.
    for own in found:
      self.assertEqual(own["told"], ["process 0", "process 1"])
      self.assertGreaterEqual(own["entered"], found[0]["arrived"])
    self.assertLess(found[1]["arrived"], found[0]["arrived"])
    self.assertIn("process 1 waits for the others, for up to 24 h", said[1])

    # Process 1 alone cannot read its slices of the second checkpoint: all take the first.
    self.assertEqual([own["own_damage"] for own in found], [False, True])
    for own in found:
      self.assertEqual(own["restored"], [1, 1, True])
      self.assertEqual(own["best"], 1)
      self.assertTrue(own["saves_again"])
      self.assertRegex(own["refused"], "the checkpoint at step 2 .* cannot be read")
    self.assertIn("kept aside: 2.unreadable", said[0])
    self.assertNotIn("unreadable", said[1])  # told once
    self.assertEqual(
      sorted(path.name for path in (self.folder / "saved").iterdir()), ["1", "2", "2.unreadable"]
    )

    # Documents of a batch: [parts of each process, how many, whether every device got its own].
    expected = {
      "together": ([[0, 1], 4, True], [[2, 3], 4, True]),
      "a square of a torus": ([[0, 2], 4, True], [[1, 3], 4, True]),
      "one document on both": ([[0, 1], 2, True], [[0, 1], 2, True]),
    }
    for name, values in expected.items():
      self.assertEqual([own[name] for own in found], list(values), name)

  # The first is missed at once, it is the one that is asked; the others by their heartbeat alone.
  @parameterized.parameters((0, TIMEOUT), (1, 30))
  def test_who_waits_for_the_dead_ends(self, dead, heartbeat):
    flags = (str(self.folder / "nothing"), f"--dies={dead}")
    program = several_processes_program.__name__
    with Processes(self.folder, "dies", program, *flags, heartbeat=heartbeat) as run:
      statuses = run.wait()
      self.assertEqual(statuses[dead], 9, run.everything_said())
      self.assertNotEqual(statuses[1 - dead], 0, run.everything_said())
      self.assertRegex(run.said(1 - dead), "waits\n(?s:.*)another task died")


class MeetTest(absltest.TestCase):
  """The wait itself, with a service that takes its time."""

  def meet(self, wait_at_barrier):
    said = io.StringIO()
    client = mock.Mock(wait_at_barrier=wait_at_barrier)
    with (
      mock.patch.object(hosts.distributed.global_state, "client", client),
      mock.patch.object(jax, "process_count", lambda: 2),
      mock.patch.object(hosts, "_QUIET_SECONDS", 0.05),
      contextlib.redirect_stderr(said),
    ):
      hosts.meet()
    return said.getvalue()

  def test_hours_are_a_setting_and_their_end_is_one_line(self):
    asked = []

    def wait(name, milliseconds):
      asked.append(milliseconds)
      time.sleep(min(milliseconds / 1000, 0.4))
      raise RuntimeError("DEADLINE_EXCEEDED: Barrier timed out")

    with mock.patch.dict("os.environ", HTMTL_WAIT_HOURS="0.0001"):
      with self.assertRaisesRegex(UserError, r"^process 0 has waited 0\.0001 h .*HTMTL_WAIT_HOURS"):
        self.meet(wait)
    # At once: the others have waited, and it is this process that was late.
    with self.assertRaisesRegex(UserError, "^process 0 came too late: the others had waited 24 h"):
      self.meet(wait)
    self.assertEqual(asked, [360, 24 * 60 * 60_000])
    for hours in ("soon", "0", "inf", "1e300", "1e-9"):
      with mock.patch.dict("os.environ", HTMTL_WAIT_HOURS=hours):
        with self.assertRaisesRegex(UserError, f"HTMTL_WAIT_HOURS={hours} must be a number"):
          self.meet(wait)

  def test_another_error_stays_what_it_is(self):
    with self.assertRaisesRegex(RuntimeError, "UNAVAILABLE"):
      self.meet(mock.Mock(side_effect=RuntimeError("UNAVAILABLE: a task died")))

  def test_a_long_wait_is_said_once(self):
    self.assertEqual(self.meet(lambda *unused: None), "")
    said = self.meet(lambda *unused: time.sleep(0.3))
    self.assertEqual(
      said, "htmtl_jax: process 0 waits for the others, for up to 24 h (HTMTL_WAIT_HOURS)\n"
    )

  def test_sigterm_is_heard_while_waiting(self):
    class Came(BaseException):
      pass

    def handle(*unused):
      raise Came

    previous = signal.signal(signal.SIGALRM, handle)
    try:
      signal.setitimer(signal.ITIMER_REAL, 0.2)
      with self.assertRaises(Came):
        self.meet(lambda *unused: time.sleep(2))
    finally:
      signal.setitimer(signal.ITIMER_REAL, 0)
      signal.signal(signal.SIGALRM, previous)


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
