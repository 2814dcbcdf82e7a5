"""Self-attention inside short rows: a row's scores live and die on the chip.

In plain JAX the scores of all rows, [B, R, H, L, L] float32, are written and read several times, and
at a row of 128 tokens that takes longer than the matmuls. Here a program takes one
head of one row, forward and backward.
"""

import functools

import jax
from jax.experimental import pallas as pl
import jax.numpy as jnp

from htmtl_jax.models.gpu.launch import call, is_power_of_two, matmul
from htmtl_jax.models.rows import NEGATIVE

_QUERIES = 64  # of a row that the forward pass takes at a time
_MOST = 128  # longest row: a whole row's scores fit the registers of a program
_LOG2_E = 1.4426950408889634  # the chip has a power of two, not of e


def suits(query: jax.Array, key: jax.Array) -> bool:
  """Whether these kernels take [B, r, w, H, E] like these: bfloat16, w and E powers of two."""
  width, head_width = query.shape[-3], query.shape[-1]
  return (
    query.dtype == jnp.bfloat16
    and query.ndim == 5
    and query.shape == key.shape
    and 16 <= width <= _MOST
    and 16 <= head_width <= 128
    and is_power_of_two(width)
    and is_power_of_two(head_width)
  )


def forward(query, key, value, mask) -> jax.Array:
  """`attention.attend`: query, key, value [B, r, w, H, E], mask [B, r, w, w] -> [B, r, w, H, E]."""
  batch, count, width, heads, head_width = query.shape
  run = call(
    functools.partial(_row_forward, scale=head_width**-0.5),
    jax.ShapeDtypeStruct(query.shape, query.dtype),
    (heads, count, batch),
    [_head(width, head_width)] * 3 + [_mask(width)],
    _head(width, head_width),
    warps=4,
    stages=1,
  )
  return run(query, key, value, mask)


def backward(query, key, value, mask, out, gradient):
  """Gradients of query, key and value; the weights are computed again."""
  del out  # what it is good for is computed on the way
  batch, count, width, heads, head_width = query.shape
  run = call(
    functools.partial(_row_backward, scale=head_width**-0.5),
    [jax.ShapeDtypeStruct(query.shape, query.dtype)] * 3,
    (heads, count, batch),
    [_head(width, head_width)] * 3 + [_mask(width), _head(width, head_width)],
    [_head(width, head_width)] * 3,
    warps=8,
    stages=1,
  )
  return run(query, key, value, mask, gradient)


def _head(width, head_width):
  return pl.BlockSpec(
    (None, None, width, None, head_width), lambda head, row, b: (b, row, 0, head, 0)
  )


def _mask(width):
  return pl.BlockSpec((None, None, width, width), lambda head, row, b: (b, row, 0, 0))


def _row_forward(query_ref, key_ref, value_ref, mask_ref, out_ref, *, scale):
  key, value = key_ref[...], value_ref[...]
  for start in range(0, query_ref.shape[0], _QUERIES):
    part = pl.ds(start, min(_QUERIES, query_ref.shape[0]))
    weights = _weights(query_ref[part, :], key, mask_ref[part, :], scale)
    out_ref[part, :] = matmul(weights.astype(value.dtype), value, 1, 0).astype(out_ref.dtype)


def _row_backward(
  query_ref,
  key_ref,
  value_ref,
  mask_ref,
  gradient_ref,
  d_query_ref,
  d_key_ref,
  d_value_ref,
  *,
  scale,
):
  query, key, value, gradient = query_ref[...], key_ref[...], value_ref[...], gradient_ref[...]
  weights = _weights(query, key, mask_ref[...], scale)
  d_weights = matmul(gradient, value, 1, 1)
  inner = (weights * d_weights).sum(-1, keepdims=True)
  d_scores = (weights * (d_weights - inner) * scale).astype(query.dtype)
  d_query_ref[...] = matmul(d_scores, key, 1, 0).astype(d_query_ref.dtype)
  d_key_ref[...] = matmul(d_scores, query, 0, 0).astype(d_key_ref.dtype)
  d_value_ref[...] = matmul(weights.astype(value.dtype), gradient, 0, 0).astype(d_value_ref.dtype)


def _weights(query, key, mask, scale):
  """Softmax over the keys under the mask, [q, w] float32; zeros where a query sees nothing."""
  scores = jnp.where(mask, matmul(query, key, 1, 1) * (scale * _LOG2_E), NEGATIVE)
  powers = jnp.where(mask, jnp.exp2(scores - scores.max(-1, keepdims=True)), 0.0)
  return powers / jnp.maximum(powers.sum(-1, keepdims=True), 1e-30)
