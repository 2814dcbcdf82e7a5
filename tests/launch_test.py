"""Launch scripts: they parse, and --dry_run prints what would run."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from absl.testing import absltest, parameterized

_ROOT = pathlib.Path(__file__).resolve().parent.parent
SCRIPTS = sorted(
  [*(_ROOT / "launch").glob("*.sh"), _ROOT / "launch" / "slurm.sbatch", _ROOT / ".ci" / "run"]
)


def run_script(script, *arguments, cwd=None, **environment):
  """Returns the finished process of one script, run by bash."""
  variables = {
    name: value for name, value in os.environ.items() if not name.startswith(("HTMTL_", "SLURM_"))
  }
  return subprocess.run(
    ["bash", str(script), *arguments],
    cwd=cwd,
    env={**variables, "HTMTL_SETTINGS": os.devnull, **environment},
    capture_output=True,
    text=True,
    timeout=60,
    check=False,
  )


@absltest.skipIf(shutil.which("bash") is None, "needs bash")
class LaunchTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

  def dry_run(self, script, *arguments, **options):
    done = run_script(_ROOT / "launch" / script, *arguments, cwd=self.folder, **options)
    self.assertEqual(done.returncode, 0, done.stderr)
    self.assertEmpty(list(self.folder.iterdir()))  # nothing was done
    return done.stdout.splitlines()

  @parameterized.parameters(*[(script.name,) for script in SCRIPTS])
  def test_parses(self, name):
    (script,) = [path for path in SCRIPTS if path.name == name]
    done = subprocess.run(
      ["bash", "-n", str(script)], capture_output=True, text=True, timeout=30, check=False
    )
    self.assertEqual((done.returncode, done.stderr), (0, ""))

  def test_scripts_are_executable(self):
    for script in SCRIPTS:
      if script.name != "common.sh":  # sourced only
        self.assertTrue(os.access(script, os.X_OK), script.name)

  def test_quickstart(self):
    env, train, again = self.dry_run("quickstart.sh", "--dry_run")
    self.assertStartsWith(again, "# again, as long as")
    self.assertTrue(env.endswith("/launch/env.sh"))
    self.assertRegex(
      train,
      r"/\.venv/bin/python -m htmtl_jax\.main --config=\S+/configs/"
      r"quickstart\.py --workdir=\S+/runs/quickstart --mode=train$",
    )
    _, train, _ = self.dry_run("quickstart.sh", "my run", "--dry_run")
    self.assertIn(r"--workdir=my\ run --mode=train", train)

  def test_tests(self):
    env, pytest = self.dry_run("test.sh", "--dry_run", "-k", "a or b")
    self.assertTrue(env.endswith("/launch/env.sh test"))
    self.assertRegex(pytest, r"/.venv/bin/python -m pytest -q .*--no-loadscope-reorder -k a\\ or\\ b$")

  def test_gpu_run(self):
    env, main, again = self.dry_run("gpu_run.sh", "--config=c.py", "--dry_run", "--mode=train")
    self.assertEqual(again, "# again, as long as it ends with 75")
    self.assertRegex(env, r"^env HTMTL_EXTRAS=cuda13 .*/launch/env\.sh$")
    self.assertTrue(main.endswith("-m htmtl_jax.main --config=c.py --mode=train"), main)

  def test_slurm(self):
    env, main = self.dry_run("slurm.sbatch", "--dry_run", "--config=c.py")
    self.assertRegex(env, r"^env HTMTL_EXTRAS=cuda13 .*/launch/env\.sh$")
    self.assertRegex(
      main,
      r"^srun \S+ \S+ -m htmtl_jax\.main "
      r"--config=c\.py$",
    )

  def test_slurm_runs_a_copy_from_a_spool_folder(self):
    spool = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    shutil.copy(_ROOT / "launch" / "slurm.sbatch", spool / "script")
    done = run_script(spool / "script", "--dry_run", "--config=c.py", SLURM_SUBMIT_DIR=str(_ROOT))
    self.assertEqual(done.returncode, 0, done.stderr)
    self.assertIn(f"{_ROOT}/.venv/bin/python", done.stdout.replace("\\", ""))

  def test_slurm_queues_again_after_75_only(self):
    """The real script, with a srun that ends in 75 and a scontrol that tells."""
    tools = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    project = tools / "project"
    (project / "launch").mkdir(parents=True)
    shutil.copy(_ROOT / "launch" / "common.sh", project / "launch")
    for name, text in (
      ("project/launch/env.sh", "exit 0"),
      ("srun", 'exit "$SRUN_STATUS"'),
      ("scontrol", 'echo "scontrol $*"'),
    ):
      (tools / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
      (tools / name).chmod(0o755)
    for status, said in (("75", "scontrol requeue 12\n"), ("0", ""), ("2", "")):
      done = run_script(
        _ROOT / "launch" / "slurm.sbatch",
        "--config=c.py",
        SLURM_SUBMIT_DIR=str(project),
        SLURM_JOB_ID="12",
        SRUN_STATUS=status,
        PATH=f"{tools}:{os.environ['PATH']}",
      )
      self.assertEqual((str(done.returncode), done.stdout), (status, said), done.stderr)

  def test_tpu_create(self):
    place = ("--name=n", "--zone=z", "--dry_run")
    self.assertEqual(
      self.dry_run("tpu_create.sh", *place, "--spot"),
      [
        "gcloud compute tpus tpu-vm create n --version=v2-alpha-tpuv5-lite --zone=z "
        "--accelerator-type=v5litepod-16 --spot"
      ],
    )
    self.assertEqual(
      self.dry_run(
        "tpu_create.sh", *place, "--queued", "--type=v6e-8", "--version=v", "--project=p"
      ),
      [
        "gcloud compute tpus queued-resources create n --node-id=n --runtime-version=v "
        "--zone=z --accelerator-type=v6e-8 --project=p"
      ],
    )

  def test_tpu_run(self):
    tar, scp, ssh = self.dry_run(
      "tpu_run.sh",
      "--name=n",
      "--zone=z",
      "--dry_run",
      "--",
      "--config=configs/a.py",
      "--workdir=/mnt/my run",
      "--mode=train",
    )
    self.assertIn("--exclude=./.venv", tar)
    self.assertRegex(
      scp,
      r"^gcloud compute tpus tpu-vm scp \S+\.tar\.gz n:htmtl_jax\.tar\.gz "
      r"--zone=z --worker=all$",
    )
    self.assertRegex(ssh, r"^gcloud compute tpus tpu-vm ssh n --zone=z --worker=all --command=")
    # One level of quoting is the dry run's, the next reaches the shell of the TPU's host.
    command = subprocess.run(
      ["bash", "-c", "printf '%s' " + ssh.split(" --worker=all ")[1]],
      capture_output=True,
      text=True,
      timeout=30,
      check=True,
    ).stdout
    self.assertIn(
      "HTMTL_EXTRAS=tpu launch/env.sh && HTMTL_MULTIHOST=1 .venv/bin/python "
      r"-m htmtl_jax.main --config=configs/a.py --workdir=/mnt/my\ run",
      command,
    )

  @parameterized.parameters(
    ("quickstart.sh", ["--hepl"], "unknown flag --hepl"),
    ("tpu_create.sh", ["--name=n", "--zone=z", "--type=v9-8"], "give it as --version"),
    ("tpu_run.sh", ["--name=n", "--zone=z", "--", "--workdir=runs/x"], "lost with the machine"),
    ("quickstart.sh", ["a", "b"], "more than one WORKDIR"),
    ("env.sh", ["tset"], "unknown argument 'tset'"),
    ("gpu_run.sh", [], "nothing to run"),
    ("slurm.sbatch", ["--dry_run"], "nothing to run"),
    ("tpu_create.sh", ["--zone=z"], "--name is missing"),
    ("tpu_create.sh", ["--name=n"], "--zone is missing"),
    ("tpu_create.sh", ["--nmae=n"], "unknown argument --nmae=n"),
    ("tpu_run.sh", ["--name=n", "--zone=z"], "nothing to run"),
    ("tpu_run.sh", ["--config=a.py"], "stand after --"),
  )
  def test_wrong_arguments_are_one_line(self, script, arguments, message):
    done = run_script(_ROOT / "launch" / script, *arguments)
    self.assertEqual(done.returncode, 2)
    self.assertEqual(done.stderr.count("\n"), 1)
    self.assertIn(f"{script}: error: ", done.stderr)
    self.assertIn(message, done.stderr)

  def test_help_is_the_head_of_the_script(self):
    scripts = sorted((_ROOT / "launch").glob("*.sh"))
    for script in [*scripts, _ROOT / "launch" / "slurm.sbatch"]:
      if script.name in ("common.sh", "test.sh"):  # sourced; pytest has a help of its own
        continue
      done = run_script(script, "--help")
      self.assertEqual((done.returncode, done.stderr), (0, ""), script)
      self.assertIn(f"launch/{script.name}", done.stdout)
      self.assertNotIn("set -euo", done.stdout)

  def test_unknown_accelerator(self):
    done = run_script(_ROOT / "launch" / "env.sh", HTMTL_EXTRAS="cuda99")
    self.assertEqual(done.returncode, 2)
    self.assertIn("HTMTL_EXTRAS: cuda99 is unknown; known: cuda13, tpu", done.stderr)


@absltest.skipIf(shutil.which("bash") is None, "needs bash")
class EnvironmentTest(parameterized.TestCase):
  """env.sh in a project of its own, with a pip that only takes notes."""

  def setUp(self):
    super().setUp()
    # The space is part of the test.
    self.project = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory())) / "a project"
    (self.project / "launch").mkdir(parents=True)
    for name in ("common.sh", "env.sh"):
      shutil.copy(_ROOT / "launch" / name, self.project / "launch")
    for name in (
      "requirements.txt",
      "constraints-py311.txt",
      "constraints-py312.txt",
      "pyproject.toml",
    ):
      shutil.copy(_ROOT / name, self.project)
    self.log = self.project / "pip.log"
    fake = self.project / ".venv" / "bin" / "python"
    fake.parent.mkdir(parents=True)
    fake.write_text(
      '#!/usr/bin/env bash\nif [[ "$2" == pip ]]; then\n'
      '  echo "$*" >> pip.log\n'
      '  if [[ "${PIP_FAILS:-none}" == "${*: -1}" ]]; then exit 1; fi\n'
      '  exit "${PIP_STATUS:-0}"\nfi\n'
      'if [[ "$2" == *"(3, 12)"* ]]; then exit "${IS_312:-0}"; fi\n'
    )
    fake.chmod(0o755)

  def run_env(self, *arguments, **environment):
    """Returns (exit status, stderr, pip's command lines) of one run of env.sh."""
    self.log.write_text("")
    done = run_script(self.project / "launch" / "env.sh", *arguments, **environment)
    return done.returncode, done.stderr, self.log.read_text().splitlines()

  def test_installs_once(self):
    status, said, (requirements, itself) = self.run_env()
    self.assertEqual((status, said), (0, "installing (about a minute the first time)\n"))
    self.assertIn("--constraint constraints-py311.txt --requirement requirements.txt", requirements)
    self.assertIn("--no-deps --editable .", itself)
    self.assertEqual(self.run_env(), (0, "", []))

  def test_extras_add_to_what_is_there(self):
    self.run_env()
    self.assertLen(self.run_env("test")[2], 2)
    self.assertLen(self.run_env(HTMTL_EXTRAS="cuda13")[2], 1)
    self.assertLen(self.run_env(HTMTL_EXTRAS="cuda13,pdf,sklearn")[2], 2)  # the first is there
    for arguments, environment in ((("test",), {}), ((), {"HTMTL_EXTRAS": "cuda13"}), ((), {})):
      self.assertEqual(self.run_env(*arguments, **environment), (0, "", []))

  @parameterized.parameters("requirements.txt", "constraints-py311.txt")
  def test_installs_again_when_the_list_changes(self, name):
    self.run_env()
    with (self.project / name).open("a") as file:
      file.write("\n# changed\n")
    self.assertLen(self.run_env()[2], 2)

  def test_a_moved_project_is_installed_again(self):
    self.run_env()
    self.project = self.project.rename(self.project.with_name("moved"))
    self.log = self.project / "pip.log"
    self.assertLen(self.run_env()[2], 2)

  def test_a_failed_install_leaves_no_stamp(self):
    status, said, calls = self.run_env(PIP_STATUS="1")
    self.assertEqual(status, 2)
    self.assertIn("pip could not install", said)
    self.assertLen(calls, 1)
    self.assertLen(self.run_env()[2], 2)

  def test_the_tpu_compiler_lies_apart_and_may_be_missing(self):
    self.run_env()
    status, said, calls = self.run_env("test", PIP_FAILS="libtpu")
    self.assertEqual(status, 0)
    self.assertIn("the tests that compile for TPUs are skipped", said)
    self.assertIn("--target .venv/libtpu libtpu", calls[-1])
    _, said, calls = self.run_env("test")
    self.assertNotIn("skipped", said)
    self.assertLen(calls, 1)  # the tests' packages are there, the compiler is tried again
    self.assertEqual(self.run_env("test"), (0, "", []))

  def test_newer_python_has_its_own_versions(self):
    self.assertIn("--constraint constraints-py312.txt", self.run_env(IS_312="1")[2][0])

  def test_no_python_is_one_line(self):
    shutil.rmtree(self.project / ".venv")
    status, said, _ = self.run_env(HTMTL_PYTHON="/no/such/python")
    self.assertEqual(status, 2)
    self.assertRegex(said, r"^env\.sh: error: HTMTL_PYTHON=/no/such/python does not run.*\n$")
    self.assertFalse((self.project / ".venv").exists())


class PinsTest(parameterized.TestCase):
  @parameterized.parameters(("constraints-py311.txt", "0.10"), ("constraints-py312.txt", "0.11"))
  def test_every_requirement_is_pinned_exactly(self, name, jax_series):
    normalise = lambda text: re.sub(r"[-_.]+", "-", text).lower()
    lines = [
      line for line in (_ROOT / name).read_text().splitlines() if line and not line.startswith("#")
    ]
    for line in lines:
      self.assertRegex(line, r"^[\w.-]+==[\w.]+$")
    pins = {normalise(line.split("==")[0]): line.split("==")[1] for line in lines}
    self.assertLen(pins, len(lines))
    self.assertTrue(pins["jax"].startswith(jax_series + "."))
    self.assertIn("pytest", pins)
    for line in (_ROOT / "requirements.txt").read_text().splitlines():
      if line and not line.startswith("#"):
        self.assertIn(normalise(re.match(r"[\w.-]+", line).group()), pins)


if __name__ == "__main__":
  absltest.main()
