"""Moving between the layers of the tree: inside rows by matmul, between layers by index.

Letters as in `htmtl_jax.layout`; here `r, w, k` are the rows, width and parent slots
of whichever layer is meant and `p` its parent slots (p is S, P or C). No scatter
appears in either direction: `up` and `down` are inverse indices, so the gradient of
each gather is the other gather.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from htmtl_jax.layout import Rows

# Masks and sums must not be rounded to bfloat16 or TF32, as accelerators do by default.
EXACT = jax.lax.Precision.HIGHEST
NEGATIVE = -1e9  # stands for minus infinity where a softmax must stay finite


@jax.custom_vjp
def _permute(values, index, index_mask, inverse, inverse_mask):
  """values[index] where index_mask, else 0; `inverse` undoes it.

  Shapes: values [n, ...], index and its mask [m], inverse and its mask [n].
  """
  del inverse, inverse_mask
  taken = jnp.take(values, index, axis=0)
  return jnp.where(index_mask.reshape(index_mask.shape + (1,) * (values.ndim - 1)), taken, 0)


def _permute_forward(values, index, index_mask, inverse, inverse_mask):
  return _permute(values, index, index_mask, inverse, inverse_mask), (
    index,
    index_mask,
    inverse,
    inverse_mask,
  )


def _permute_backward(residuals, gradient):
  index, index_mask, inverse, inverse_mask = residuals
  return _permute(gradient, inverse, inverse_mask, index, index_mask), None, None, None, None


_permute.defvjp(_permute_forward, _permute_backward)


def permute(values, index, index_mask, inverse, inverse_mask):
  """values[index] for each document, 0 where not index_mask; its gradient is a gather, too.

  Args:
    values: [B, n, ...].
    index, index_mask: [B, m] int32 and bool.
    inverse, inverse_mask: [B, n], what undoes it.

  Returns:
    [B, m, ...].
  """
  # NumPy constants are not accepted under a custom gradient; device arrays are.
  arrays = map(jnp.asarray, (values, index, index_mask, inverse, inverse_mask))
  return jax.vmap(_permute)(*arrays)


def whole(values: jax.Array) -> jax.Array:
  """[B, n, ...] of a few segments, all of which every device has that shares the document.

  Said of sections wherever they meet what is cut: else the compiler cuts them as well, which
  gains nothing, and the one for TPUs fails at numbers that do not divide (libtpu 0.0.42.1).
  """
  return nn.with_logical_constraint(values, ("act_batch", *[None] * (values.ndim - 1)))


def places_to_parents(values: jax.Array, rows: Rows) -> jax.Array:
  """[B, r*k, ...] at places of this layer -> [B, p, ...] at slots of the layer above, 0 at padding."""
  return permute(values, rows.up, rows.parent_mask, rows.down, rows.place_mask)


def parents_to_places(values: jax.Array, rows: Rows) -> jax.Array:
  """[B, p, ...] at slots of the layer above -> [B, r*k, ...] at places of this layer, 0 where empty."""
  return permute(values, rows.down, rows.place_mask, rows.up, rows.parent_mask)


def one_hot_places(rows: Rows, dtype=jnp.float32) -> jax.Array:
  """[B, r, w, k]: 1 where child w of row r belongs to slot k; all zero at padding."""
  slots = rows.place_mask.shape[-1] // rows.slot.shape[-2]
  return jax.nn.one_hot(rows.slot, slots, dtype=dtype)


def sum_to_parents(values: jax.Array, rows: Rows) -> jax.Array:
  """Sums children into parents: [B, r, w] -> [B, p], in float32."""
  sums = jnp.einsum(
    "brw,brwk->brk", values.astype(jnp.float32), one_hot_places(rows), precision=EXACT
  )
  return places_to_parents(sums.reshape(sums.shape[0], -1), rows)


def spread_to_children(values: jax.Array, rows: Rows) -> jax.Array:
  """Gives every child its parent's vector: [B, p, F] -> [B, r, w, F], 0 at padding."""
  num_rows = rows.slot.shape[-2]
  places = parents_to_places(values, rows)  # [B, r*k, F]
  places = places.reshape(places.shape[0], num_rows, -1, places.shape[-1])  # [B, r, k, F]
  return jnp.einsum("brkf,brwk->brwf", places, one_hot_places(rows, places.dtype), precision=EXACT)


def same_parent_mask(rows: Rows) -> jax.Array:
  """[B, r, w, w] bool: which children of a row are siblings. Padding sees nothing."""
  slot = rows.slot
  return (slot[..., :, None] == slot[..., None, :]) & (slot[..., :, None] >= 0)


def log_softmax_among_siblings(logits: jax.Array, rows: Rows) -> jax.Array:
  """log w(child | parent) in float32: [B, r, w] -> [B, r, w], NEGATIVE at padding."""
  logits = logits.astype(jnp.float32)
  # [B, r, w, w]: a row is short, and this needs no gather back from the parents.
  among = jnp.where(same_parent_mask(rows), logits[..., None, :], NEGATIVE)
  log_shares = logits - jax.nn.logsumexp(among, axis=-1)
  return jnp.where(rows.mask, log_shares, NEGATIVE)
