"""The TPU compiler: the `libtpu` package, which compiles on any x86 machine with Linux."""

from collections.abc import Mapping
import importlib.metadata
import os
import pathlib
import sys

from htmtl_jax.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# Where `launch/env.sh` puts it: not among the other packages, or JAX would look for a TPU, and
# complain that there is none, whenever anything here is run.
FOLDER = ROOT / ".venv" / "libtpu"

# Keeps libtpu from asking a cloud's metadata server what it runs on, from complaining about
# that on stderr, and from refusing to be loaded by two processes at once.
COMPILER_ENVIRONMENT = {
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_ACCELERATOR_TYPE": "v5litepod-1",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "TPU_WORKER_ID": "0",
  "TPU_MIN_LOG_LEVEL": "3",
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def libtpu_version() -> str | None:
  """Version of libtpu, None where there is none."""
  folders = [str(FOLDER), *sys.path]
  found = next(importlib.metadata.distributions(name="libtpu", path=folders), None)
  return found.version if found else None


def require_libtpu() -> None:
  """Raises a UserError that says how to get libtpu, if it is not there."""
  if libtpu_version() is None:
    raise UserError(
      "compiling for a TPU needs the libtpu package, which is not installed: run "
      "HTMTL_EXTRAS=plan launch/env.sh, or pip install libtpu in the version that jax[tpu] asks for"
    )


def compiler_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
  """Environment of a process that compiles for TPUs, and otherwise runs on the CPU."""
  environment = dict(os.environ if base is None else base)
  environment |= COMPILER_ENVIRONMENT | {"JAX_PLATFORMS": "cpu"}
  environment.pop("XLA_FLAGS", None)  # of the tests, say: eight devices and no optimiser
  environment["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(ROOT), str(FOLDER), environment.get("PYTHONPATH")])
  )
  return environment
