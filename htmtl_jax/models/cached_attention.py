"""The products of one decoding step, laid out for the machine.

A step has few queries (levels times beams) and many keys, so its time is that of reading
keys and values once; nothing may be copied or transposed on the way (docs/performance.md).
So keys lie in tiles, values with the keys last, and what a beam wrote stays where it is.
Letters as in `htmtl_jax/layout.py`, and

    G, K, T   groups (the levels being written), beams of a group, steps there is room for
    n, c      tiles, and keys of a tile
"""

import jax
import jax.numpy as jnp

from htmtl_jax.models.rows import NEGATIVE


def tile_width(size: int) -> int:
  """c for `size` keys.

  XLA's CPU kernels stream a matrix at the speed of the memory only in tiles that lie in one
  piece; everywhere else one large product is best.
  """
  return 64 if jax.default_backend() == "cpu" else size


def multiply_tiles(query, tiles) -> jax.Array:
  """[..., q, E] and [..., n, E, c] -> [..., n, q, c] float32, the products with every tile."""
  shape = (*tiles.shape[:-2], *query.shape[-2:])
  return jnp.einsum(
    "...qe,...ec->...qc",
    jnp.broadcast_to(query[..., None, :, :], shape),
    tiles,
    preferred_element_type=jnp.float32,
  )


def attend_to_memory(query, keys, values, bias) -> tuple[jax.Array, jax.Array]:
  """All beams of all groups read the one memory of their document.

  Args:
    query: [B, Q, H, E], Q = G * K.
    keys: [B, H, n, E, c].
    values: [B, H, E, M], M = n * c.
    bias: [B, G, M] float32, added to the scores of a group.

  Returns:
    (read [B, Q, H, E], attention [B, n, Q, c] float32, its mean over the heads).
  """
  batch_size, queries, heads, width = query.shape
  groups, tiles, tile = bias.shape[1], keys.shape[2], keys.shape[-1]
  scores = multiply_tiles(jnp.moveaxis(query * width**-0.5, 1, 2), keys)  # [B, H, n, Q, c]
  scores = scores.reshape(batch_size, heads, tiles, groups, -1, tile)
  scores += jnp.moveaxis(bias.reshape(batch_size, groups, tiles, tile), 1, 2)[:, None, :, :, None]
  scores = scores.reshape(batch_size, heads, tiles, queries, tile)
  # A softmax that divides what was read instead of every weight.
  weights = jnp.exp(scores - scores.max(axis=(2, 4), keepdims=True))
  share = 1.0 / weights.sum(axis=(2, 4))  # [B, H, Q]
  flat = jnp.moveaxis(weights, 2, 3).reshape(batch_size, heads, queries, -1)
  read = jnp.einsum("bhqm,bhem->bqhe", flat.astype(values.dtype), values)
  read = (read * jnp.moveaxis(share, 1, 2)[..., None]).astype(values.dtype)
  # Added one by one: XLA's CPU reduction over an axis in the middle is forty times slower.
  attention = sum(weights[:, h] * share[:, h, None, :, None] for h in range(heads)) / heads
  return read, attention


def attend_to_past(query, keys, values, ancestors, position) -> jax.Array:
  """Every beam reads what its own ancestors wrote, wherever that lies.

  Beams change places at every step, but keys and values stay where they were written: a
  beam computes its scores over the slots of its whole group, and those that are not its
  ancestors' are masked. K times the (few) scores, and no cache is ever moved.

  Args:
    query: [B, G * K, H, E].
    keys, values: [B, G, H, E, T * K], the K slots of a step side by side.
    ancestors: [B, G, K, T] int32, the beam whose slot holds a beam's token of each step.
    position: [] int32, of the query; later slots are empty.

  Returns:
    [B, G * K, H, E].
  """
  batch_size, queries, heads, width = query.shape
  _, groups, beams, length = ancestors.shape
  query = query.reshape(batch_size, groups, beams, heads, width) * width**-0.5
  scores = jnp.einsum("bgkhe,bghes->bghks", query, keys, preferred_element_type=jnp.float32)
  own = ancestors[..., None] == jnp.arange(beams)  # [B, G, K, T, K]
  own &= (jnp.arange(length) <= position)[:, None]
  own = own.reshape(batch_size, groups, 1, beams, -1)
  weights = jax.nn.softmax(jnp.where(own, scores, NEGATIVE), axis=-1)
  read = jnp.einsum("bghks,bghes->bgkhe", weights.astype(values.dtype), values)
  return read.reshape(batch_size, queries, heads, width)


def write_slots(cache, new, position) -> jax.Array:
  """Puts `new` [B, G * K, H, E] into the slots of a step: [B, G, H, E, T * K]."""
  batch_size, groups, heads, width, _ = cache.shape
  new = new.reshape(batch_size, groups, -1, heads, width)
  new = jnp.moveaxis(new, 2, 4).astype(cache.dtype)  # [B, G, H, E, K]
  return jax.lax.dynamic_update_slice_in_dim(cache, new, position * new.shape[-1], axis=4)
