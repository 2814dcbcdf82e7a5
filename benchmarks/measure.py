"""One measurement, in a process of its own: memory, threads and caches are nobody else's.

    python -m benchmarks.measure RESULT.json < REQUEST.json

`benchmarks.run` starts it; the request, a line, is a `Request` or one for `matmul.rate_of`. With "in_turns"
in it, it says "ready" before each timing and waits for a line (`apart.measure_in_turns`).
What goes wrong inside is a result too: {"status": "failed", "message": ...}.
"""

import contextlib
import ctypes
import gc
import json
import os
import pathlib
import re
import resource
import statistics
import sys
import time

from benchmarks import matmul
from benchmarks.kernels import kernels_by_time
from benchmarks.prepared_system import PreparedSystem, Request
from htmtl_jax import host_memory
from htmtl_jax.errors import UserError

_OUT_OF_MEMORY = re.compile(
  r"out of memory|RESOURCE_EXHAUSTED|can't allocate memory|not enough memory", re.IGNORECASE
)


def measure(request: Request, in_turns: bool = False) -> dict:
  """Warms a system up, times it, and returns its row; `in_turns` waits for a line before each timing."""
  keep = (
    request.allocator == "keep"
    and host_memory.computes_on_cpu()
    and host_memory.keep_freed_memory()
  )
  if not keep:
    os.environ.setdefault("GLIBC_TUNABLES", "")  # what `prepare_jax` leaves the allocator alone for
  system = _prepare(request)
  start = time.perf_counter()
  system.warm_up()
  first_seconds = time.perf_counter() - start
  if not keep:
    _give_back_memory()
  seconds, ended, others, peaks, steady = [], [], [], [], []
  for _ in range(request.repeats):
    if in_turns:
      print("ready", flush=True)
      sys.stdin.readline()
    if request.task == "train" and request.size != "tiny":
      steady.append(matmul.steady_rate_of(system.facts["framework"].split()[0], request.dtype))
    _reset_peak(system)
    busy = _busy_seconds()
    start = time.perf_counter()
    shown = system.run()
    seconds.append(time.perf_counter() - start)
    ended.append(time.time())
    others.append(_others_share(busy, _busy_seconds(), seconds[-1]))
    peaks.append(_peak_bytes(system))
  peak, peak_with_start = (max(own) for own in zip(*peaks, strict=True))
  profile = {}
  if request.profile and system.trace is not None:
    system.trace(request.profile)
    profile = {"kernels": kernels_by_time(request.profile)}
  flops, useful_flops = system.count_flops()
  return {
    "status": "ok",
    **system.facts,
    **shown,
    "first_seconds": first_seconds,
    "seconds": seconds,
    "ended": ended,
    "median_seconds": statistics.median(seconds),
    "peak_memory_bytes": peak,
    "peak_memory_with_compilation_bytes": peak_with_start,
    "flops": flops,
    "useful_flops": useful_flops,
    "other_programs_share": None if None in others else statistics.mean(others),
    "steady_matmul_flops_per_second": statistics.median(steady) if steady else None,
    **profile,
  }


def _prepare(request: Request) -> PreparedSystem:
  from benchmarks.peer_names import PEERS

  if request.system in PEERS:
    from benchmarks import peer_system as module  # PyTorch only
  else:
    from benchmarks import htmtl_system as module  # JAX only
  return module.prepare(request)


def _give_back_memory() -> None:
  """Once, so that what building and compiling took is in no peak; a training loop does not.

  Not where freed memory is kept, as training keeps it: there the peak holds what compiling took.
  """
  gc.collect()
  with contextlib.suppress(OSError, AttributeError):  # not glibc
    ctypes.CDLL(None).malloc_trim(0)


def _reset_peak(system: PreparedSystem) -> None:
  """Forgets the most memory that was used so far, where the system lets us."""
  system.reset_peak()
  try:
    pathlib.Path("/proc/self/clear_refs").write_text("5")
  except OSError:
    pass  # not Linux: the peak of the whole process then


def _peak_bytes(system: PreparedSystem) -> tuple[int, int]:
  """(during the timed calls, since the process began) of the device or of the process."""
  of_device = system.peak_bytes()
  if of_device is not None:
    return of_device, of_device
  unit = 1 if sys.platform == "darwin" else 1024
  whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
  try:
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024, whole
  except (OSError, TypeError):
    return whole, whole


def _busy_seconds() -> tuple[float, float] | None:
  """(processor seconds of the whole machine, of this process) so far; None if not Linux."""
  try:
    fields = pathlib.Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
  except OSError:
    return None
  ticks = [int(field) for field in fields]
  own = os.times()
  busy = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")  # idle, waiting for disks
  return busy, own.user + own.system


def _others_share(before, after, seconds: float) -> float | None:
  """Share of the processors that other programs used meanwhile: timings are only good near 0."""
  if before is None or after is None or seconds <= 0:
    return None
  others = (after[0] - before[0]) - (after[1] - before[1])
  return max(0.0, others / (os.cpu_count() * seconds))


def answer(request: dict) -> dict:
  """`measure`, or the matmul rate; an exception becomes a row that says what it was."""
  in_turns = request.pop("in_turns", False)
  try:
    if "matmul" in request:
      return {
        "status": "ok",
        **matmul.rate_of(request["matmul"], request["dtype"], request["quick"]),
      }
    return measure(Request(**request), in_turns)
  except UserError as error:
    return {"status": "wrong input", "message": str(error)}
  except Exception as error:  # whatever a library raises for a size that it cannot do
    text = " ".join(str(error).split()) or "no message"
    out_of_memory = isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(text)
    return {
      "status": "out of memory" if out_of_memory else "failed",
      "message": f"{type(error).__name__}: {text[:500]}",
    }


def main() -> None:
  result = answer(json.loads(sys.stdin.readline()))
  pathlib.Path(sys.argv[1]).write_text(json.dumps(result))


if __name__ == "__main__":
  main()
