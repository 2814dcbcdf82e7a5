"""Counting the matmul FLOPs of a program, and what fraction of the chip they keep busy."""

from collections.abc import Callable
import math

import jax

# Dense bfloat16 peak of one chip in FLOP/s, from the makers' data sheets, by a part of
# `device_kind`; the first match counts.
PEAK_FLOPS = (
  ("H200", 989e12),
  ("H100", 989e12),
  ("A100", 312e12),
  ("TPU v6", 918e12),
  ("TPU v5p", 459e12),
  ("TPU v5 lite", 197e12),
  ("TPU v5", 459e12),
  ("TPU v4", 275e12),
)


def count_matmul_flops(function: Callable, *args) -> int:
  """Multiplications and additions in the matmuls of `function(*args)`, padding included.

  Walks the traced program, loops counted as often as they run; XLA's own cost analysis
  counts the body of a loop once. Nothing is computed; `args` may be shapes.
  """
  return _count(jax.make_jaxpr(function)(*args).jaxpr)


def peak_flops(device) -> float | None:
  """The device's bfloat16 peak in FLOP/s, None where we do not know it (CPUs)."""
  for name, peak in PEAK_FLOPS:
    if name in device.device_kind:
      return peak
  return None


def _count(jaxpr) -> int:
  total = 0
  for equation in jaxpr.eqns:
    if equation.primitive.name == "dot_general":
      (contracted, _), _ = equation.params["dimension_numbers"]
      summed = math.prod(equation.invars[0].aval.shape[i] for i in contracted)
      total += 2 * summed * math.prod(equation.outvars[0].aval.shape)
    repeats = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
    for value in equation.params.values():
      for inner in jax.tree.leaves(
        value, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")
      ):
        inner = getattr(inner, "jaxpr", inner)
        if hasattr(inner, "eqns"):
          total += repeats * _count(inner)
  return total
