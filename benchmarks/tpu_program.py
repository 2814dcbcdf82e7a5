"""The train step as the TPU compiler leaves it, in a process of its own.

    python -m benchmarks.tpu_program --topology=v5e --config=configs/papers_base.py \
        --token_rows=128 --target_tokens=1216 --documents=1 --out=DIR [--override=a.b=v ...]

`compile_program` starts it. Nine tenths of the compiler's time go into machine code; what a
program computes and moves is settled before. libtpu writes that down when asked to, and
then its process is ended. The last flags are not documented: where they do nothing, the
program is compiled to the end, and the same text comes from JAX.
"""

import argparse
import dataclasses
import glob
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

from htmtl_jax.errors import UserError

_ROOT = pathlib.Path(__file__).resolve().parent.parent
# Where `launch/env.sh test` puts libtpu: not among the other packages, or JAX would look for
# a TPU, and complain that there is none, whenever anything here is run.
LIBTPU = _ROOT / ".venv" / "libtpu"


@dataclasses.dataclass(frozen=True)
class Sizes:
  """What is compiled: a config's file, one batch of it, and overrides `a.b=v`."""

  config: str
  token_rows: int
  target_tokens: int
  documents: int
  overrides: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class CompiledProgram:
  """Attributes: text of the program; facts, see `_compile`; memory, the compiler's, or None."""

  text: str
  facts: dict[str, Any]
  memory: dict[str, int] | None


def libtpu_version() -> str | None:
  """Version of libtpu, None where there is none."""
  folders = [str(LIBTPU), *sys.path]
  found = next(importlib.metadata.distributions(name="libtpu", path=folders), None)
  return found.version if found else None


def compiler_environment() -> dict[str, str]:
  """Environment of a process that compiles for TPUs, and otherwise runs on the CPU."""
  from htmtl_jax.ahead_of_time import TPU_COMPILER_ENVIRONMENT

  environment = os.environ | TPU_COMPILER_ENVIRONMENT | {"JAX_PLATFORMS": "cpu"}
  environment.pop("XLA_FLAGS", None)  # of the tests, say: eight devices and no optimiser
  environment["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(_ROOT), str(LIBTPU), os.environ.get("PYTHONPATH")])
  )
  return environment


def compile_program(topology: str, sizes: Sizes, to_the_end: bool = False) -> CompiledProgram:
  """Compiles for a topology in a process of its own.

  Args:
    topology: see `ahead_of_time.tpu_devices`.
    sizes: what to compile.
    to_the_end: machine code too, which takes minutes; gives the compiler's own figure of
      the memory, and its estimates of cycles.

  Raises:
    UserError: if the program could not be compiled; the reason is the compiler's last line.
  """
  with tempfile.TemporaryDirectory() as folder:
    dump = os.path.join(folder, "dump")
    os.mkdir(dump)
    environment = compiler_environment()
    if not to_the_end:
      environment["LIBTPU_INIT_ARGS"] = f"--xla_jf_dump_to={dump} --xla_jf_dump_hlo_text=true"
    command = [
      sys.executable,
      "-m",
      "benchmarks.tpu_program",
      f"--topology={topology}",
      *(f"--{f.name}={getattr(sizes, f.name)}" for f in dataclasses.fields(sizes)[:-1]),
      *(f"--override={override}" for override in sizes.overrides),
      f"--out={folder}",
    ]
    log = os.path.join(folder, "log")
    with open(log, "wb") as output:
      process = subprocess.Popen(
        command, env=environment, cwd=_ROOT, stdout=output, stderr=subprocess.STDOUT
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
      text = text or read("program.txt")
    except FileNotFoundError:
      lines = [line for line in read("log").splitlines() if line.strip()]
      raise UserError(lines[-1] if lines else "the compiler ended without a word") from None
    memory = json.loads(read("memory.json")) if to_the_end else None
    return CompiledProgram(text, json.loads(read("facts.json")), memory)


def _dumped(folder: str) -> str | None:
  """The program's text, once libtpu has written all of it and gone on to something else."""
  for path in glob.glob(os.path.join(folder, "*-TLP-hlo.txt")):
    step = os.path.basename(path).removesuffix("-TLP-hlo.txt")
    if len(glob.glob(os.path.join(folder, step + "-TLP-0*"))) > 1:
      text = pathlib.Path(path).read_text(encoding="utf-8")
      if text.startswith("HloModule jit_step") and text.rstrip().endswith("}"):
        return text
  return None


def _compile(args) -> None:
  """Traces and compiles; leaves facts.json before the compiler starts, the rest after."""
  import jax

  from htmtl_jax.ahead_of_time import lower_train_step, tpu_devices
  from htmtl_jax.config import get_frozen, load_config
  from htmtl_jax.flops import memory_bytes, peak_bandwidth, peak_flops
  from htmtl_jax.layout import LayoutConfig, make_bucket
  from htmtl_jax.sharding import MeshConfig, make_mesh

  devices = tpu_devices(args.topology)
  config = load_config(args.config, args.override)
  bucket = make_bucket(
    get_frozen(config.layout, LayoutConfig, "layout"), args.token_rows, args.target_tokens
  )
  step = lower_train_step(config, bucket, args.documents, make_mesh(MeshConfig(), devices))
  facts = {
    "device": devices[0].device_kind,
    "peak_flops": peak_flops(devices[0]),
    "peak_bandwidth": peak_bandwidth(devices[0]),
    "memory_limit": memory_bytes(devices[0]),
    "documents": args.documents,
    "tokens": args.documents * bucket.tokens,
    "target_tokens": args.documents * bucket.target_tokens,
    "parameters": step.parameters,
    "useful_flops": step.useful_flops,
    "jax": jax.__version__,
    "libtpu": libtpu_version(),
  }
  write = lambda name, text: pathlib.Path(args.out, name).write_text(text, encoding="utf-8")
  write("facts.json", json.dumps(facts))
  compiled = step.lowered.compile()
  memory = compiled.memory_analysis()
  names = ("argument", "output", "alias", "temp", "generated_code")
  sizes = {name: getattr(memory, f"{name}_size_in_bytes") for name in names}
  write("memory.json", json.dumps(sizes | {"peak": memory.peak_memory_in_bytes}))
  write("program.txt", compiled.as_text())


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--topology", required=True)
  parser.add_argument("--config", required=True)
  parser.add_argument("--token_rows", type=int, required=True)
  parser.add_argument("--target_tokens", type=int, required=True)
  parser.add_argument("--documents", type=int, required=True)
  parser.add_argument("--override", action="append", default=[])
  parser.add_argument("--out", required=True)
  try:
    _compile(parser.parse_args())
  except UserError as error:
    print(error, file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main())
