"""Counting the matmul FLOPs of a program, and what a chip can do at best."""

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

# Bytes a second between one chip and its main memory, and bytes of that memory, from the same
# data sheets (for TPUs: cloud.google.com/tpu/docs/v5e and /v6e).
PEAK_BANDWIDTH = (
  ("H200", 4.8e12),
  ("H100", 3.35e12),
  ("A100", 2.039e12),
  ("TPU v6", 1640e9),
  ("TPU v5p", 2765e9),
  ("TPU v5 lite", 819e9),
  ("TPU v5", 2765e9),
  ("TPU v4", 1228e9),
)
MEMORY = (
  ("H200", 141e9),
  ("H100", 80e9),
  ("A100", 80e9),
  ("TPU v6", 32e9),
  ("TPU v5p", 95e9),
  ("TPU v5 lite", 16e9),
  ("TPU v5", 95e9),
  ("TPU v4", 32e9),
)


# A `jax.named_scope` of matmuls that are computed twice for the sake of memory: not counted,
# since they are no part of what the step has to do.
RECOMPUTED = "computed_twice"


def count_matmul_flops(function: Callable, *args) -> int:
  """Multiplications and additions in the matmuls of `function(*args)`, padding included.

  Walks the traced program, loops counted as often as they run; XLA's own cost analysis
  counts the body of a loop once. Nothing is computed; `args` may be shapes.
  """
  return _count(jax.make_jaxpr(function)(*args).jaxpr)


def peak_flops(device) -> float | None:
  """The device's bfloat16 peak in FLOP/s, None where we do not know it (CPUs)."""
  return _of_kind(PEAK_FLOPS, device)


def peak_bandwidth(device) -> float | None:
  """Bytes a second of the device's main memory, None where we do not know it."""
  return _of_kind(PEAK_BANDWIDTH, device)


def memory_bytes(device) -> float | None:
  """Bytes of the device's main memory, None where we do not know it."""
  return _of_kind(MEMORY, device)


def _of_kind(table, device) -> float | None:
  for name, value in table:
    if name in device.device_kind:
      return value
  return None


def _count(jaxpr) -> int:
  total = 0
  for equation in jaxpr.eqns:
    if RECOMPUTED in str(equation.source_info.name_stack):
      continue
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
