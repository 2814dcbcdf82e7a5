"""The machine's own rates of plain matrix products: the fastest, and the one it can keep up.

The fastest of many short products is what a chip can do for milliseconds; a step lasts
longer, and meets lower clocks, limits of power, and neighbours on a shared host. So the
rate kept up is measured between the steps.
"""

from collections.abc import Callable
import os
import time

SIDES = {"cpu": (1024, 2048, 4096), "gpu": (4096, 8192)}
_SECONDS = 1.0  # for each side
_STEADY_SIDE = {"cpu": 2048, "gpu": 8192}  # on a CPU no larger: its arrays are in no measured peak


def rate_of(framework: str, dtype: str, quick: bool = False) -> dict:
  """Measures [n, n] @ [n, n] on random numbers; the best of a few n.

  Args:
    framework: "jax" or "torch".
    dtype: "float32" or "bfloat16".
    quick: a small product only, for sizes whose speeds mean nothing.

  Returns:
    flops_per_second, side (the n it was reached at), backend.
  """
  multiply_by_side, backend = (_jax if framework == "jax" else _torch)(dtype)
  rates = {}
  for side in (256,) if quick else SIDES["cpu" if backend == "cpu" else "gpu"]:
    multiply = multiply_by_side(side)
    multiply()
    best, until = float("inf"), time.perf_counter() + (0.05 if quick else _SECONDS)
    while time.perf_counter() < until:
      start = time.perf_counter()
      multiply()
      best = min(best, time.perf_counter() - start)
    rates[side] = 2 * side**3 / best
  side = max(rates, key=rates.get)
  return {"flops_per_second": rates[side], "side": side, "backend": backend}


def steady_rate_of(framework: str, dtype: str, seconds: float = _SECONDS) -> float:
  """FLOPs a second of products that go on for `seconds`: all of them over all of the time."""
  multiply_by_side, backend = (_jax if framework == "jax" else _torch)(dtype)
  side = _STEADY_SIDE["cpu" if backend == "cpu" else "gpu"]
  multiply = multiply_by_side(side)
  multiply()
  count, start = 0, time.perf_counter()
  while (elapsed := time.perf_counter() - start) < seconds:
    multiply()
    count += 1
  return 2 * side**3 * count / elapsed


def _jax(dtype: str) -> tuple[Callable[[int], Callable], str]:
  from benchmarks.htmtl_system import set_flags

  set_flags()
  import jax
  import jax.numpy as jnp

  def make(side):
    x, y = (jax.random.normal(jax.random.key(i), (side, side), jnp.dtype(dtype)) for i in range(2))
    product = jax.jit(jnp.matmul)
    return lambda: jax.block_until_ready(product(x, y))

  return make, jax.default_backend()


def _torch(dtype: str) -> tuple[Callable[[int], Callable], str]:
  import torch

  torch.set_num_threads(os.cpu_count())
  device = "cuda" if torch.cuda.is_available() else "cpu"

  def make(side):
    x, y = (torch.randn(side, side, device=device).to(getattr(torch, dtype)) for _ in range(2))

    def run():
      torch.matmul(x, y)
      if device == "cuda":
        torch.cuda.synchronize()

    return run

  return make, device
