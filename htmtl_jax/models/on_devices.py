"""Code that every device runs on its own part of each array, and sums over what others have.

The compiler cuts most of the model by itself. It cannot cut a kernel, and would gather all that
one reads; nor can it merge two halves of a softmax.
"""

from collections.abc import Callable
import math

import flax.linen as nn
import jax
from jax.sharding import PartitionSpec


def on_every_device(
  function: Callable, in_axes, out_axes, *, whole_if_uneven: bool = False
) -> Callable:
  """Each device runs `function` on its own part of each array; where there is one, on all.

  Args:
    function: of arrays, or trees of them.
    in_axes: logical axes of each argument (`htmtl_jax/sharding.py`), as tuples, or trees of such.
    out_axes: those of the result.
    whole_if_uneven: a logical axis that does not divide some argument cuts none; else it is an
      error. For functions that do not mind whether they have a part or the whole.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1:
    return function

  def run(*arrays):
    uneven = _uneven_axes(in_axes, arrays) if whole_if_uneven else ()

    def spec(axes):
      kept = tuple(None if axis in uneven else axis for axis in axes)
      return PartitionSpec(*nn.logical_to_mesh_axes(kept))

    specs = lambda tree: jax.tree.map(spec, tree, is_leaf=_is_axes)
    # Not checked: a loop starts from constants, which are the same everywhere.
    return jax.shard_map(
      function, in_specs=specs(in_axes), out_specs=specs(out_axes), check_vma=False
    )(*arrays)

  return run


def devices_along(logical_axis: str) -> int:
  """Devices that share an axis, by the mesh and the table in context; 1 without them."""
  sizes = jax.sharding.get_abstract_mesh().shape
  return math.prod(sizes.get(axis, 1) for axis in mesh_axes(logical_axis))


def queries_on_a_device(query: jax.Array) -> int:
  """Documents times heads times queries of [B, T, H, E], as a device has them."""
  batch, length, heads, _ = query.shape
  return -(-batch // devices_along("act_batch")) * -(-heads // devices_along("heads")) * length


def mesh_axes(logical_axis: str) -> tuple[str, ...]:
  """Axes of the mesh that cut it; () where there is no table of axes in context."""
  (axes,) = nn.logical_to_mesh_axes((logical_axis,))
  return (axes,) if isinstance(axes, str) else tuple(axes or ())


def sum_over(logical_axis: str, x: jax.Array) -> jax.Array:
  """The sum over the devices that share an axis, inside of `on_every_device`."""
  return jax.lax.psum(x, mesh_axes(logical_axis)) if devices_along(logical_axis) > 1 else x


def _is_axes(node) -> bool:
  return type(node) is tuple and not isinstance(node[0], tuple)


def _uneven_axes(in_axes, arrays) -> set[str]:
  found = set()

  def look(axes, array):
    for axis, size in zip(axes, getattr(array, "shape", ())):
      if axis is not None and size % devices_along(axis):
        found.add(axis)

  jax.tree.map(look, tuple(in_axes), arrays, is_leaf=_is_axes)
  return found
