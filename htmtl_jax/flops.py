"""Counting the matmul FLOPs of a traced program."""

from collections.abc import Callable
import math

import jax

from htmtl_jax.chips import chip_of_kind

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
  chip = chip_of_kind(device.device_kind)
  return chip and chip.flops / chip.devices


def _count(jaxpr) -> int:
  total = 0
  for equation in jaxpr.eqns:
    if RECOMPUTED in str(equation.source_info.name_stack):
      continue
    if equation.primitive.name == "dot_general":
      (contracted, _), _ = equation.params["dimension_numbers"]
      summed = math.prod(equation.invars[0].aval.shape[i] for i in contracted)
      total += 2 * summed * math.prod(equation.outvars[0].aval.shape)
    if equation.primitive.name == "cond":  # the same for each platform, or one of several: the most
      total += max(_count(branch.jaxpr) for branch in equation.params["branches"])
      continue
    if equation.primitive.name == "pallas_call":
      continue  # one program of a kernel; the plain code beside it is what is counted
    repeats = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
    for value in equation.params.values():
      for inner in jax.tree.leaves(
        value, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")
      ):
        inner = getattr(inner, "jaxpr", inner)
        if hasattr(inner, "eqns"):
          total += repeats * _count(inner)
  return total
