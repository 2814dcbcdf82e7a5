"""When the GPU kernels are taken, and how one is called."""

from collections.abc import Callable
import contextlib
import functools

import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
import jax.numpy as jnp

_enabled, _interpreted = True, False  # see the two functions below


@contextlib.contextmanager
def reference_only():
  """What is traced meanwhile uses plain JAX, to compare or to time the kernels with.

  JAX remembers what it has traced: enter this before, or call `jax.clear_caches`.
  """
  global _enabled
  before, _enabled = _enabled, False
  try:
    yield
  finally:
    _enabled = before


@contextlib.contextmanager
def interpreted():
  """Kernels that are called meanwhile run on any device, slowly: for tests without a GPU."""
  global _interpreted
  before, _interpreted = _interpreted, True
  try:
    yield
  finally:
    _interpreted = before


def choose(reference: Callable, kernels: Callable, *arrays, suits: bool):
  """`kernels(*arrays)` where the program is compiled for an NVIDIA GPU, else `reference(*arrays)`.

  Args:
    reference, kernels: the same function twice.
    arrays: their arguments.
    suits: whether dtype and shapes are among those the kernels are written for.
  """
  # Without a GPU the kernels are not even traced.
  if not (suits and _enabled and jax.default_backend() == "gpu"):
    return reference(*arrays)
  return jax.lax.platform_dependent(*arrays, cuda=kernels, default=reference)


def is_power_of_two(n: int) -> bool:
  return n & (n - 1) == 0


def call(
  kernel: Callable, outputs, grid, in_specs, out_specs, *, warps: int, stages: int
) -> Callable:
  """`pl.pallas_call` by way of Triton, named after the kernel."""
  named = kernel.func if isinstance(kernel, functools.partial) else kernel
  return pl.pallas_call(
    kernel,
    out_shape=outputs,
    grid=grid,
    in_specs=in_specs,
    out_specs=out_specs,
    compiler_params=triton.CompilerParams(num_warps=warps, num_stages=stages),
    interpret=_interpreted,
    name=named.__name__.strip("_"),
  )


def matmul(a, b, a_axis: int, b_axis: int) -> jax.Array:
  """Sums over one axis of each [m, n] matrix, in float32; transposing costs nothing here."""
  return jax.lax.dot_general(
    a, b, (((a_axis,), (b_axis,)), ((), ())), preferred_element_type=jnp.float32
  )
