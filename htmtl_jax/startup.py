"""What must be set before JAX starts its first device."""

import gc
import importlib.metadata
import os
import sys

from htmtl_jax import host_memory

# Matmuls inside rows run three times as fast with it on a CPU (docs/performance.md). XLA ends the
# process at a flag that it does not know, hence only where it was seen to exist.
_CPU_FLAG = "--xla_cpu_experimental_ynn_fusion_type"
_CPU_FLAG_VERSIONS = ((0, 10), (0, 11))
_MIN_COMPILE_SECONDS = 1.0  # what compiles faster is not worth a file
# Tracing a model makes millions of small objects, hardly one of them garbage. Python looks through
# them after every 700 new ones; a fifth of the time to trace was that.
_GARBAGE_THRESHOLDS = (50_000, 20, 100)


def prepare_jax(compilation_cache: str | None = None) -> None:
  """Sets XLA's flags for CPUs, and where compiled programs are kept for the next start.

  Python's garbage collector is made to look less often, too, and where there are CPUs alone
  memory that was freed is kept for the next step (`host_memory`).

  Has no effect on devices that are in use already. What the user has set himself, in
  XLA_FLAGS or JAX_COMPILATION_CACHE_DIR, stays as it is.

  Args:
    compilation_cache: a folder, "" for none, None for the user's own cache folder.
  """
  gc.set_threshold(*_GARBAGE_THRESHOLDS)
  if host_memory.computes_on_cpu():
    host_memory.keep_freed_memory()
  flags = os.environ.get("XLA_FLAGS", "")
  version = tuple(int(n) for n in importlib.metadata.version("jaxlib").split(".")[:2])
  if _CPU_FLAG not in flags and version in _CPU_FLAG_VERSIONS:
    os.environ["XLA_FLAGS"] = f"{flags} {_CPU_FLAG}=dot".strip()

  if compilation_cache is None:
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
      return  # JAX reads it itself
    compilation_cache = _default_folder()
  if not compilation_cache:
    _set("jax_enable_compilation_cache", False)
    return
  try:
    os.makedirs(compilation_cache, exist_ok=True)
  except OSError as error:
    print(
      f"htmtl_jax: warning: compiled programs are not kept: {compilation_cache} cannot be made "
      f"({error.strerror}); give --compilation_cache=FOLDER",
      file=sys.stderr,
    )
    return
  _set("jax_compilation_cache_dir", compilation_cache)
  _set("jax_persistent_cache_min_compile_time_secs", _MIN_COMPILE_SECONDS)


def _set(name: str, value: bool | float | str) -> None:
  """One of JAX's options; JAX is not imported for it, since not every mode needs it in the end."""
  if "jax" in sys.modules:
    sys.modules["jax"].config.update(name, value)
  else:
    os.environ[name.upper()] = str(value)


def _default_folder() -> str:
  cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
  return os.path.join(cache, "htmtl_jax", "compilations")
