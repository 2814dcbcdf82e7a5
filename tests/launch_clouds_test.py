"""Scripts for clouds and clusters: what they would do, their manifests, and their loops."""

import copy
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import time

from absl.testing import absltest, parameterized
import jsonschema
import yaml

from tests.launch_schemas import JOB_SET, SKY_TASK
from tests.launch_test import SCRIPTS, run_script

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_LAUNCH = _ROOT / "launch"
_EXAMPLE = str(_LAUNCH / "settings.env.example")
_ARGUMENTS = ["--config=configs/a.py", '--workdir=/workdir/my "run"', "--mode=train"]


def find_shellcheck() -> str | None:
  beside = pathlib.Path(sysconfig.get_path("scripts")) / "shellcheck"
  return str(beside) if beside.exists() else shutil.which("shellcheck")


def refuses(schema, manifest) -> bool:
  return not jsonschema.Draft202012Validator(schema).is_valid(manifest)


class LintTest(absltest.TestCase):
  @absltest.skipIf(find_shellcheck() is None, "needs shellcheck")
  def test_shellcheck(self):
    done = subprocess.run(
      [find_shellcheck(), "--external-sources", f"--source-path={_LAUNCH}", *map(str, SCRIPTS)],
      capture_output=True,
      text=True,
      timeout=60,
      check=False,
    )
    self.assertEqual((done.returncode, done.stdout), (0, ""))

  def test_every_setting_that_is_used_is_in_the_example_and_is_no_secret(self):
    lines = pathlib.Path(_EXAMPLE).read_text().splitlines()
    names = {line.split("=")[0] for line in lines if line and not line.startswith("#")}
    used = set()
    for path in _LAUNCH.glob("*.yaml"):
      used |= set(re.findall(r"\$\{(HTMTL_\w+)\}", path.read_text()))
    self.assertContainsSubset(used - {"HTMTL_ARGUMENTS", "HTMTL_COMMAND", "HTMTL_ROOT"}, names)
    for script in SCRIPTS:
      for needed in re.findall(r"^ *need (.*)$", script.read_text(), re.MULTILINE):
        self.assertContainsSubset(needed.split(), names)
    for path in _LAUNCH.iterdir():
      if path.is_file() and path.name != "README.md":
        self.assertNotRegex(path.read_text(), r"(?im)^[^#\n]*(password|token|api_?key|secret)")

  def test_the_containers_sources_exist_and_its_base_is_pinned(self):
    lines = re.sub(r"\\\n", " ", (_LAUNCH / "Containerfile").read_text()).splitlines()
    instructions = [line.split(maxsplit=1) for line in lines if line and line[0] not in "# "]
    known = {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "ENV", "ENTRYPOINT", "CMD"}
    self.assertContainsSubset({name for name, _ in instructions}, known)
    bases = [rest for name, rest in instructions if name == "FROM"]
    self.assertLen(bases, 1)
    self.assertRegex(bases[0], r"^docker\.io/library/python:3\.12\.\d+-slim-\w+$")
    let_in = (_ROOT / ".dockerignore").read_text().splitlines()
    for name, rest in instructions:
      if name == "COPY":
        for source in rest.split()[:-1]:
          self.assertTrue((_ROOT / source).exists(), source)
          self.assertIn(f"!{source}", let_in)


@absltest.skipIf(shutil.which("bash") is None, "needs bash")
class CloudsTest(parameterized.TestCase):
  def run_dry(self, script, *flags, **environment):
    environment.setdefault("HTMTL_SETTINGS", _EXAMPLE)
    done = run_script(_LAUNCH / script, *flags, "--dry_run", "--", *_ARGUMENTS, **environment)
    self.assertEqual(done.returncode, 0, done.stderr)
    return done.stdout

  @parameterized.parameters("tpu", "gpu")
  def test_gke(self, kind):
    manifest = yaml.safe_load(self.run_dry("gke.sh", f"--kind={kind}", HTMTL_JOB="paper"))
    jsonschema.Draft202012Validator(JOB_SET).validate(manifest)
    (job,) = manifest["spec"]["replicatedJobs"]
    pods = job["template"]["spec"]
    container = pods["template"]["spec"]["containers"][0]
    self.assertEqual(container["args"], _ARGUMENTS)
    self.assertEqual(pods["parallelism"], pods["completions"])
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    self.assertEqual(mounts, {volume["name"] for volume in pods["template"]["spec"]["volumes"]})
    limits = container["resources"]["limits"]
    if kind == "tpu":
      self.assertEqual((pods["parallelism"], limits), (4, {"google.com/tpu": 4}))
      return
    self.assertEqual((pods["parallelism"], limits), (2, {"nvidia.com/gpu": 8}))
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    self.assertEqual(
      environment,
      {"HTMTL_COORDINATOR": "paper-hosts-0-0.paper:8476", "HTMTL_NUM_PROCESSES": "2"},
    )
    self.assertEqual(job["name"], "hosts")  # as the coordinator's name says

  def test_the_schemas_refuse_mistakes(self):
    manifest = yaml.safe_load(self.run_dry("gke.sh", "--kind=gpu"))
    spec = lambda m: m["spec"]["replicatedJobs"][0]["template"]["spec"]
    for change in (
      lambda m: m["spec"].update(failurePolicies={}),
      lambda m: m.update(apiVersion="v1"),
      lambda m: spec(m).update(parallelism="2"),
      lambda m: spec(m)["template"]["spec"].update(restartPolicy="OnFailure"),
      lambda m: spec(m)["template"]["spec"]["containers"][0].pop("image"),
      lambda m: m["metadata"].update(name="Under_score"),
    ):
      wrong = copy.deepcopy(manifest)
      change(wrong)
      self.assertTrue(refuses(JOB_SET, wrong))

  def test_skypilot(self):
    task = yaml.safe_load(self.run_dry("sky.sh"))
    jsonschema.Draft202012Validator(SKY_TASK).validate(task)
    self.assertEqual(task["workdir"], str(_ROOT))
    self.assertEqual(shlex.split(task["run"].splitlines()[-1])[-3:], _ARGUMENTS)
    # The commands of two nodes, as the second one would run them.
    with tempfile.TemporaryDirectory() as folder:
      (pathlib.Path(folder) / "launch").mkdir()
      (pathlib.Path(folder) / "launch" / "gpu_run.sh").write_text('env | grep ^HTMTL_; echo "$#"')
      nodes = {"NUM_NODES": "2", "NODE_IPS": "10.0.0.1\n10.0.0.2", "NODE_RANK": "1"}
      said = subprocess.run(
        ["bash", "-c", task["run"]],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **{f"SKYPILOT_{k}": v for k, v in nodes.items()}},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
      ).stdout
    self.assertCountEqual(
      said.split(),
      ["HTMTL_COORDINATOR=10.0.0.1:8476", "HTMTL_NUM_PROCESSES=2", "HTMTL_PROCESS_ID=1", "3"],
    )
    self.assertTrue(refuses(SKY_TASK, {**task, "num_node": 1}))

  def test_container(self):
    done = run_script(
      _LAUNCH / "container.sh", "--dry_run", "--push", "--extras=tpu", HTMTL_SETTINGS=_EXAMPLE
    )
    build, push = done.stdout.splitlines()
    image = "us-central1-docker.pkg.dev/my-project/htmtl/htmtl:latest"
    self.assertRegex(
      build, rf"^docker build --file=\S+/launch/Containerfile --build-arg=EXTRAS=tpu --tag={image} "
    )
    self.assertEqual(push, f"docker push {image}")

  def test_flags_beat_the_environment_beats_the_file(self):
    said = self.run_dry("tpu_train.sh", "--name=mine", HTMTL_ZONE="z")
    self.assertIn("tpu_create.sh --name=mine --zone=z --project=my-project --queued", said)
    said = run_script(_LAUNCH / "tpu_create.sh", "--dry_run", HTMTL_SETTINGS=_EXAMPLE).stdout
    self.assertIn("--accelerator-type=v5litepod-16 --project=my-project --spot", said)

  @parameterized.parameters(
    ("gke.sh", ["--kind=cpu", "--", "a"], {}, "--kind=cpu is unknown"),
    ("gke.sh", ["--kind=tpu", "--", "a"], {}, "not set: HTMTL_JOB, HTMTL_IMAGE, "),
    ("gke.sh", ["--", "a"], {}, "--kind is missing"),
    ("gke.sh", ["--kind=gpu", "--", "--workdir=/x"], {}, "it has to lie in /workdir/"),
    ("sky.sh", [], {}, "nothing to run"),
    ("container.sh", [], {}, "--image is missing"),
    ("container.sh", ["--image=a:b", "--extras=cuda99"], {}, "--extras=cuda99 is unknown"),
    ("tpu_train.sh", ["--name=n", "--zone=z"], {}, "nothing to run"),
    ("sky.sh", ["--", "a"], {"HTMTL_SETTINGS": "/no/such"}, "HTMTL_SETTINGS=/no/such not found"),
  )
  def test_wrong_arguments_are_one_line(self, script, arguments, environment, message):
    done = run_script(_LAUNCH / script, *arguments, **environment)
    self.assertEqual((done.returncode, done.stderr.count("\n")), (2, 1), done.stderr)
    self.assertIn(f"{script}: error: ", done.stderr)
    self.assertIn(message, done.stderr)

  def test_settings_are_read_and_not_run(self):
    with tempfile.NamedTemporaryFile("w", suffix=".env") as file:
      file.write("HTMTL_ZONE=$(touch /tmp/no) `x` z\nHTMTL_TPU_NAME=n")
      file.flush()
      said = run_script(_LAUNCH / "tpu_create.sh", "--dry_run", HTMTL_SETTINGS=file.name).stdout
      self.assertIn(r"--zone=\$\(touch\ /tmp/no\)\ \`x\`\ z", said)
      file.write("\nrm -rf x\n")
      file.flush()
      done = run_script(_LAUNCH / "tpu_create.sh", "--dry_run", HTMTL_SETTINGS=file.name)
      self.assertIn("'rm -rf x' is not HTMTL_NAME=VALUE", done.stderr)


@absltest.skipIf(shutil.which("bash") is None, "needs bash")
class LoopsTest(absltest.TestCase):
  """The real scripts, in a project whose tools play what a test says."""

  def setUp(self):
    super().setUp()
    self.tools = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    self.project = self.tools / "project"
    (self.project / "launch").mkdir(parents=True)
    for name in ("common.sh", "gpu_run.sh", "tpu_train.sh"):
      shutil.copy(_LAUNCH / name, self.project / "launch")

  def tool(self, path, text):
    path = self.tools / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)

  def play(self, name, *lines):
    (self.tools / name).write_text("".join(f"{line}\n" for line in lines))

  def next_line(self, name):
    """Shell text that takes the first line of a file."""
    file = shlex.quote(str(self.tools / name))
    return f"line=$(head -n 1 {file}); sed -i 1d {file}; "

  def run_project(self, script, *flags):
    return run_script(
      self.project / "launch" / script,
      *flags,
      PATH=f"{self.tools}:{os.environ['PATH']}",
      HTMTL_POLL_SECONDS="0",
    )

  def test_a_gpu_box_goes_on_after_75_only(self):
    self.tool("project/launch/env.sh", "exit 0")
    self.tool("project/.venv/bin/python", self.next_line("ends") + 'echo "main"; exit "$line"')
    for ends, status, times in (("75 75 0", 0, 3), ("75 2", 2, 2), ("134", 134, 1)):
      self.play("ends", *ends.split())
      done = self.run_project("gpu_run.sh", "--mode=train")
      self.assertEqual((done.returncode, done.stdout.count("main")), (status, times), done.stderr)

  def test_sigterm_reaches_the_program_which_saves_and_is_not_run_again(self):
    self.tool("project/launch/env.sh", "exit 0")
    self.tool(
      "project/.venv/bin/python",
      "trap 'sleep 0.3; echo saved; exit 75' TERM; echo started; while true; do sleep 0.05; done",
    )
    process = subprocess.Popen(
      ["bash", str(self.project / "launch" / "gpu_run.sh"), "--mode=train"],
      stdout=subprocess.PIPE,
      text=True,
    )
    self.assertEqual(process.stdout.readline(), "started\n")
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=30)
    self.assertEqual((process.returncode, said), (75, "saved\n"))

  def play_tpu(self, states, ends):
    """Runs tpu_train.sh: (exit status, what was done, standard error).

    Args:
      states: of the slice, as asked for.
      ends: of each training, its exit status and the steps that it says it has saved.
    """
    self.play("states", *states)
    self.play("ends", *ends)
    log = shlex.quote(str(self.tools / "log"))
    self.tool(
      "gcloud",
      f'echo "$4" >> {log}\nif [[ "$4" == describe ]]; then\n  {self.next_line("states")}\n'
      '  if [[ "$line" == NONE ]]; then echo "NOT_FOUND: no" >&2; exit 1; fi\n'
      '  if [[ "$line" == DENIED ]]; then echo "PERMISSION_DENIED" >&2; exit 1; fi\n'
      '  echo "$line"\nfi',
    )
    self.tool("project/launch/tpu_create.sh", f"echo create >> {log}")
    self.tool(
      "project/launch/tpu_run.sh",
      f'{self.next_line("ends")} echo train >> {log}; echo a table\n'
      'for word in ${line#* }; do [[ "$line" != *" "* ]] || echo "saved step $word" >&2; done\n'
      'exit "${line%% *}"',
    )
    (self.tools / "log").write_text("")
    done = self.run_project("tpu_train.sh", "--name=n", "--zone=z", "--", "--mode=train")
    did = [word for word in (self.tools / "log").read_text().split() if word != "describe"]
    # Results and progress stay apart.
    self.assertEqual(done.stdout.splitlines(), ["a table"] * did.count("train"))
    return done.returncode, " ".join(did), done.stderr

  def test_a_spot_slice_that_is_taken_away_is_asked_for_again(self):
    status, did, _ = self.play_tpu(
      ["NONE", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]  # trains, is taken away
      + ["SUSPENDING", "SUSPENDING", "SUSPENDED", "NONE", "ACTIVE"],  # trains to the end
      ["255", "0"],
    )
    self.assertEqual((status, did), (0, "create train delete create train delete"))

  def test_interrupted_on_a_slice_that_stays(self):
    self.assertEqual(
      self.play_tpu(["ACTIVE", "ACTIVE"], ["75", "0"])[:2], (0, "train train delete")
    )

  def test_errors_end_it_and_the_slice_stays(self):
    status, did, err = self.play_tpu(["ACTIVE"], ["2"])
    self.assertEqual((status, did), (2, "train"))
    self.assertIn("wrong input", err)
    status, did, err = self.play_tpu(["ACTIVE"] * 6, ["1", "1", "1"])
    self.assertEqual((status, did), (2, "train train train"))
    self.assertIn("failed three times in a row", err)
    # With each failure a little further: that may go on. Without progress it is over.
    ends = ["1 2 4", "1 6", "1 8", "1", "1 8", "1"]
    status, did, err = self.play_tpu(["ACTIVE"] * 20, [*ends[:4], "0"])
    self.assertEqual((status, did), (0, "train train train train train delete"))
    status, did, err = self.play_tpu(["ACTIVE"] * 20, [*ends, "0"])
    self.assertEqual((status, did), (2, "train train train train train"))
    self.assertIn("failed three times in a row", err)
    status, did, err = self.play_tpu(["DENIED"], [])
    self.assertEqual((status, did), (2, ""))
    self.assertIn("PERMISSION_DENIED", err)


if __name__ == "__main__":
  absltest.main()
