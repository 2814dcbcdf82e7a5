"""When the GPU kernels are taken, and how they run over a mesh."""

from collections.abc import Callable
import contextlib
import functools
import math

import flax.linen as nn
import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
import jax.numpy as jnp
from jax.sharding import PartitionSpec

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


def over_mesh(
  function: Callable, in_axes, out_axes, mean_over_heads: tuple[int, ...] = ()
) -> Callable:
  """Each device runs `function` on its own documents, rows and heads.

  XLA cannot cut a kernel up by itself: it would gather all that it reads.

  Args:
    function: of arrays; returns an array or a tuple of them.
    in_axes: logical axes of each argument (`htmtl_jax/sharding.py`), as tuples.
    out_axes: those of the result, or a tuple of such tuples.
    mean_over_heads: numbers of the results that are a mean over the heads of a device, and
      are to be one over all.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1:
    return function

  head_axes = nn.logical_to_mesh_axes(("heads",))[0]

  def on_device(*arrays):
    out = function(*arrays)
    if not mean_over_heads or head_axes is None:
      return out
    mean = lambda x: jax.lax.pmean(x, head_axes)
    return tuple(mean(x) if i in mean_over_heads else x for i, x in enumerate(out))

  def run(*arrays):
    spec = lambda array, axes: _spec(mesh, axes, array.shape)
    out = jax.eval_shape(function, *arrays)
    is_many = isinstance(out, (tuple, list))
    return jax.shard_map(
      on_device,
      in_specs=tuple(map(spec, arrays, in_axes)),
      out_specs=tuple(map(spec, out, out_axes)) if is_many else spec(out, out_axes),
      check_vma=False,
    )(*arrays)

  return run


def _spec(mesh, axes: tuple[str | None, ...], shape: tuple[int, ...]) -> PartitionSpec:
  """Mesh axes of each dimension; none where they do not divide it."""

  def fit(size, along):
    names = (along,) if isinstance(along, str) else tuple(along or ())
    return along if size % math.prod(mesh.shape[name] for name in names) == 0 else None

  return PartitionSpec(*map(fit, shape, nn.logical_to_mesh_axes(axes)))
