"""The train step as the compiler leaves it, from a process of its own.

JAX has one platform and one number of devices a process, and the compiler may end a process:
so the process that plans compiles nothing itself. (What the other one does: `child.py`.)

Nine tenths of the TPU compiler's time go into machine code; what a program computes, moves and
keeps is settled before. libtpu writes that down when asked to, and then its process is ended.
The two flags are not documented: where they do nothing, the program is compiled to the end, and
the same text comes from JAX.
"""

from collections.abc import Mapping
import dataclasses
import glob
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from typing import Any

from htmtl_jax.config import to_json
from htmtl_jax.errors import UserError
from htmtl_jax.plan.libtpu import ROOT, compiler_environment
from htmtl_jax.plan.topology import CPU, TPU, Topology

_OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"
REQUEST, FACTS, PROGRAM, MEMORY = "request.json", "facts.json", "program.txt", "memory.json"


@dataclasses.dataclass(frozen=True)
class Request:
  """What is compiled.

  Attributes:
    topology: the devices; of kind TPU, CPU or PRESENT.
    config: a whole config.
    token_rows, target_tokens: of the bucket.
    documents: of the global batch; None for as many as training would take.
    to_the_end: machine code for TPUs too, which takes minutes; gives the compiler's own figure
      of the memory, and its estimates of cycles.
  """

  topology: Topology
  config: Mapping[str, Any]
  token_rows: int
  target_tokens: int
  documents: int | None = None
  to_the_end: bool = False


@dataclasses.dataclass(frozen=True)
class CompiledProgram:
  """Attributes: text of the program; facts, see `child.facts_of`; memory, the compiler's, or None."""

  text: str
  facts: dict[str, Any]
  memory: dict[str, int] | None


def compile_step(request: Request) -> CompiledProgram:
  """Compiles the train step in a process of its own.

  Raises:
    UserError: if it could not be compiled; the reason is the last line of that process.
  """
  with tempfile.TemporaryDirectory() as folder:
    dump = os.path.join(folder, "dump")
    os.mkdir(dump)
    written = {
      "topology": request.topology.name,
      "config": json.loads(to_json(request.config)),
      "token_rows": request.token_rows,
      "target_tokens": request.target_tokens,
      "documents": request.documents,
    }
    pathlib.Path(folder, REQUEST).write_text(json.dumps(written), encoding="utf-8")
    log = os.path.join(folder, "log")
    with open(log, "wb") as output:
      process = subprocess.Popen(
        [sys.executable, "-m", "htmtl_jax.plan.child", folder],
        env=_environment(request, dump),
        cwd=ROOT,
        stdout=output,
        stderr=subprocess.STDOUT,
      )
    try:
      text = None
      while text is None and process.poll() is None:
        time.sleep(0.2)
        text = _dumped(dump)
    finally:
      process.kill()
      process.wait()
    read = lambda name: pathlib.Path(folder, name).read_text(encoding="utf-8")
    try:
      text = text or read(PROGRAM)
    except FileNotFoundError:
      raise UserError(_reason(read("log"), process.returncode)) from None
    has_memory = os.path.exists(os.path.join(folder, MEMORY))
    return CompiledProgram(
      text, json.loads(read(FACTS)), json.loads(read(MEMORY)) if has_memory else None
    )


def _environment(request: Request, dump: str) -> dict[str, str]:
  """Of the process that compiles: which platform, how many devices, where to dump."""
  topology = request.topology
  if topology.kind == TPU:
    environment = compiler_environment()
    if not request.to_the_end:
      environment["LIBTPU_INIT_ARGS"] = f"--xla_jf_dump_to={dump} --xla_jf_dump_hlo_text=true"
    return environment
  environment = dict(os.environ)
  search = [str(ROOT), environment.get("PYTHONPATH")]
  environment["PYTHONPATH"] = os.pathsep.join(filter(None, search))
  environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # a plan is compiled once
  if topology.kind == CPU:
    environment["JAX_PLATFORMS"] = "cpu"
    environment["XLA_FLAGS"] = (
      f"--xla_force_host_platform_device_count={topology.chips} "
      "--xla_backend_optimization_level=0"  # of the machine code, which never runs
    )
  return environment


def _dumped(folder: str) -> str | None:
  """The program's text, once libtpu has written all of it and gone on to something else."""
  for path in glob.glob(os.path.join(folder, "*-TLP-hlo.txt")):
    step = os.path.basename(path).removesuffix("-TLP-hlo.txt")
    if len(glob.glob(os.path.join(folder, step + "-TLP-0*"))) > 1:
      text = pathlib.Path(path).read_text(encoding="utf-8")
      if text.startswith("HloModule jit_step") and text.rstrip().endswith("}"):
        return text
  return None


def _reason(log: str, status: int) -> str:
  """What the process said in the end, in one line."""
  lines = [line.strip() for line in log.splitlines() if line.strip()]
  if status == 2 and lines:  # a UserError, a line that is complete
    return lines[-1]
  full = next((line for line in lines if _OUT_OF_MEMORY in line), None)
  if full:
    return (
      f"the train step does not fit: {full[full.index(_OUT_OF_MEMORY) :]}; use more devices, "
      "slices (config.mesh.fsdp), config.model.remat=full, or smaller batches; or try --sweep"
    )
  errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
  last = (errors or lines or [f"its process ended with status {status} and without a word"])[-1]
  return f"the train step does not compile: {last}"
