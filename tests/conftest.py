"""Runs before any test module: eight fake CPU devices, a fast compiler, a folder for all.

Most of the time of these tests is JAX tracing and XLA compiling programs that then run for a
millisecond. So the optimiser is switched off: several times faster, same results to rounding.
And cycles among the many objects of a trace are looked for less often. `XLA_FLAGS` is put
back afterwards, so that programs a test starts get what a user would have.

Workers share the cores, and OpenMP's threads wait for each other by spinning: of scikit-learn
and NumPy each process has one.
"""

import atexit
import gc
import importlib.metadata
import os
import pathlib
import shutil
import sys
import tempfile


def fast_compilation() -> str:
  """XLA's flags for programs that compile fast and run slowly."""
  # Unless told otherwise XLA makes a program's code in 32 parts, each with its own overhead.
  flags = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
  version = tuple(int(n) for n in importlib.metadata.version("jaxlib").split(".")[:2])
  if version < (0, 11):  # later versions end the process at a flag they do not know
    flags += " --xla_cpu_use_fusion_emitters=false"
  return flags


def _start_jax():
  before = os.environ.get("XLA_FLAGS")
  flags = [before or ""]
  if "xla_force_host_platform_device_count" not in flags[0]:
    flags.append("--xla_force_host_platform_device_count=8")
  if "xla_backend_optimization_level" not in flags[0]:
    flags.append(fast_compilation())
  os.environ["XLA_FLAGS"] = " ".join(flags).strip()
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  os.environ["JAX_COMPILATION_CACHE_DIR"] = ""  # nothing is written into the user's home
  import jax

  jax.devices()  # the flags are read here, once
  if before is None:
    del os.environ["XLA_FLAGS"]
  else:
    os.environ["XLA_FLAGS"] = before


def _share_folder():
  """One for this process and those it starts, pytest-xdist's workers too; see tiny_config.py."""
  if "HTMTL_TESTS_FOLDER" not in os.environ:
    os.environ["HTMTL_TESTS_FOLDER"] = folder = tempfile.mkdtemp(prefix="htmtl_tests_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


# Hundreds of programs compile in one process here: none of them should keep what it has freed. What
# a program does without this line, host_memory_test.py shows.
os.environ.setdefault("GLIBC_TUNABLES", "")
for _library in ("OMP", "OPENBLAS"):
  os.environ.setdefault(f"{_library}_NUM_THREADS", "1")  # read when NumPy is imported
gc.set_threshold(20_000, 50, 100)
_start_jax()
_share_folder()

# Files of about half a minute of processor time and more, the longest first, so that no worker is
# left alone with one of them at the end.
_LONG = (
  "benchmarks_kills_test",
  "benchmarks_accelerator_test",
  "several_processes_test",
  "train_test",
  "train_step_test",
  "decoding_test",
  "evaluate_test",
  "benchmarks_tpu_ruler_test",
  "benchmarks_run_test",
  "models_decoder_test",
  "sharding_golden_test",
  "sharding_collectives_test",
  "plan_compiled_test",
  "summarize_test",
)


def pytest_collection_modifyitems(items):
  """Puts long files first; pytest-xdist deals them out in this order (launch/test.sh)."""
  rank = {name: i for i, name in enumerate(_LONG)}
  items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


# So that `from tests import tiny` works however pytest is started.
_ROOT = str(pathlib.Path(__file__).resolve().parent.parent)
if _ROOT not in sys.path:
  sys.path.insert(0, _ROOT)
