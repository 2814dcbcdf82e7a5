"""Everything a decoding step needs besides the last token."""

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class Cache:
  """The memory as a step reads it, and what the steps before wrote.

  Per stack and layer, so that no step slices a layer out of a larger array. Letters as in
  `cached_attention.py`.

  Attributes:
    levels: static, [G] the level of each group of queries.
    memory_keys: per stack and layer, [B, H, n, E, c].
    memory_values: per stack and layer, [B, H, E, M].
    bias: [B, G, M] float32.
    token_ids: [B, M] int32, the token at a key that can be copied, else -1.
    output: [n, D, c], the output matrix.
    ancestors: [B, G, K, T] int32, the beam in whose slot the token of each step lies that a
      beam continues.
    keys, values: per stack and layer, [B, G, H, E, T * K], filled up to the last step.
  """

  levels: tuple[int, ...] = flax.struct.field(pytree_node=False)
  memory_keys: tuple[tuple[jax.Array, ...], ...]
  memory_values: tuple[tuple[jax.Array, ...], ...]
  bias: jax.Array
  token_ids: jax.Array
  output: jax.Array
  ancestors: jax.Array
  keys: tuple[tuple[jax.Array, ...], ...]
  values: tuple[tuple[jax.Array, ...], ...]

  @property
  def beams(self) -> int:
    return self.ancestors.shape[2]


def reorder(cache: Cache, parents: jax.Array) -> Cache:
  """Beam k continues beam `parents[..., k]` [B, G, K]; nothing but the ancestors moves."""
  if cache.beams == 1:
    return cache
  return cache.replace(
    ancestors=jnp.take_along_axis(cache.ancestors, parents[..., None], axis=2)
  )


def write_own_slots(cache: Cache, position: jax.Array) -> Cache:
  """From this step on, every beam's token of this step lies in its own slot."""
  own = jnp.arange(cache.beams, dtype=jnp.int32)[:, None]
  here = jnp.arange(cache.ancestors.shape[-1]) == position
  return cache.replace(ancestors=jnp.where(here, own, cache.ancestors))


def resize(cache: Cache, kept: Sequence[int], length: int) -> Cache:
  """The cache of some groups alone, with room for `length` steps, no less than before."""
  groups = jnp.asarray(kept)

  def grow(array, wanted):  # [B, G, ..., slots]
    room = [(0, 0)] * (array.ndim - 1) + [(0, wanted - array.shape[-1])]
    return jnp.pad(array[:, groups], room)

  slots = lambda array: grow(array, length * cache.beams)
  return cache.replace(
    levels=tuple(cache.levels[g] for g in kept),
    bias=cache.bias[:, groups],
    ancestors=grow(cache.ancestors, length),
    keys=jax.tree.map(slots, cache.keys),
    values=jax.tree.map(slots, cache.values),
  )
