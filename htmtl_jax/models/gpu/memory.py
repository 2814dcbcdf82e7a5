"""Attention over a long memory, its scores never leaving the chip (Dao et al. 2022).

The sums of `htmtl_jax/models/memory_attention.py`, with its shapes and names, in four kernels.
A program holds a block of queries and walks over the keys, or the other way round;
scores and weights of one block by the other are all that there ever is of them.

    _read_memory    output, log-sum-exp, and what the attention puts on tokens to copy
    _sum_units      attention summed over heads and over the queries of each unit
    _grad_queries   gradient of the queries (and `delta`, where scores are used)
    _grad_keys      gradients of keys, values and bias

Parts that a caller does not use are None, and the kernel is compiled without them.
"""

import functools

import jax
from jax.experimental import pallas as pl
import jax.numpy as jnp

from htmtl_jax.models.gpu.blocks import (
  BlockSpecs,
  Memory,
  Readers,
  Tiles,
  pad_last,
  pad_queries,
)
from htmtl_jax.models.gpu.launch import call, is_power_of_two, matmul
from htmtl_jax.models.rows import NEGATIVE

_LOG2_E = 1.4426950408889634  # the chip has a power of two, not of e
_BIAS_ROWS = 16  # the least that a matrix unit takes
_LEAST = -1e30  # below any score; with an infinity there would be infinity minus infinity


# The fastest of fifteen on an H200 at 1,216 queries, 17,920 keys, heads of 64 (docs/performance.md).
READ = Tiles(128, 64, warps=8, stages=3)
UNITS = Tiles(128, 64, warps=4, stages=2)
GRAD_QUERIES = Tiles(64, 64, warps=4, stages=3)
GRAD_KEYS = Tiles(64, 64, warps=4, stages=2)


def suits(query: jax.Array, keys: jax.Array) -> bool:
  """Whether these kernels take [B, T, H, E] queries and [B, H, E, M] keys like these."""
  head_width = query.shape[-1]
  return (
    query.dtype == jnp.bfloat16
    and keys.dtype == jnp.bfloat16
    and keys.shape[-1] % 128 == 0
    and 16 <= head_width <= 128
    and is_power_of_two(head_width)
  )


def split_bias(bias: jax.Array, level_weights: jax.Array, scale: float):
  """A float32 bias by level as a product of bfloat16 matrices, which the chip adds for nothing.

  Three bfloat16 numbers hold the 24 bits of a float32, so nothing is rounded off.

  Args:
    bias: [B, L, M] float32, L at most 5.
    level_weights: [B, T, L] float32, one-hot level of each query.
    scale: what scores are multiplied by, the bias among them.

  Returns:
    (bias [B, N, M], levels [B, T, N]) bfloat16, N = 16; the first L of N are the bias rounded.
  """
  rest, parts = bias / scale, []
  for _ in range(3):
    # Not a cast there and back, which XLA may leave out as if it were exact.
    rounded = jax.lax.reduce_precision(rest, exponent_bits=8, mantissa_bits=7)
    parts.append(rounded.astype(jnp.bfloat16))
    rest = rest - rounded
  missing = _BIAS_ROWS - 3 * bias.shape[1]
  levels = jnp.concatenate([level_weights.astype(jnp.bfloat16)] * 3, axis=-1)
  return (
    jnp.pad(jnp.concatenate(parts, axis=1), [(0, 0), (0, missing), (0, 0)]),
    jnp.pad(levels, [(0, 0), (0, 0), (0, missing)]),
  )


def read(readers: Readers, memory: Memory):
  """Softmax attention of every query over the whole memory.

  Returns:
    (out [B, T, H, E], lse [B, H, T] float32, copy_mass and token_mass [B, H, T] float32 or None).
  """
  tiles = READ
  batch, length, heads, width = readers.query.shape
  padded, readers, memory = pad_queries(tiles, readers, memory)
  by_query = jax.ShapeDtypeStruct((batch, heads, padded), jnp.float32)
  mass = None if readers.targets is None else by_query
  specs = BlockSpecs(tiles, padded, memory.keys.shape[-1], width, query_programs=True)
  run = call(
    functools.partial(_read_memory, tiles=tiles),
    (
      jax.ShapeDtypeStruct((batch, padded, heads, width), readers.query.dtype),
      by_query,
      mass,
      mass,
    ),
    (padded // tiles.queries, heads, batch),
    (specs.of(readers), specs.of(memory)),
    (specs.query, specs.by_head, *(mass and specs.by_head,) * 2),
    warps=tiles.warps,
    stages=tiles.stages,
  )
  out, lse, copy_mass, token_mass = run(readers, memory)
  cut = lambda x: None if x is None else x[..., :length]
  return out[:, :length], cut(lse), cut(copy_mass), cut(token_mass)


def sum_units(readers: Readers, memory: Memory, lse) -> jax.Array:
  """[B, U, M] float32: attention, a mean over heads, summed over the queries of each unit."""
  tiles = UNITS
  batch, _, heads, width = readers.query.shape
  keys = memory.keys.shape[-1]
  padded, readers, memory = pad_queries(tiles, readers, memory)
  lse = pad_last(lse, padded)
  specs = BlockSpecs(tiles, padded, keys, width, query_programs=False, heads=heads)
  run = call(
    functools.partial(_sum_units, tiles=tiles),
    jax.ShapeDtypeStruct((batch, readers.units.shape[1], keys), jnp.float32),
    (keys // tiles.keys, batch),
    (specs.of(readers), specs.of(memory), specs.by_head),
    specs.by_unit_and_key(readers.units.shape[1]),
    warps=tiles.warps,
    stages=tiles.stages,
  )
  return run(readers, memory, lse)


def gradients(
  readers: Readers,
  memory: Memory,
  gradient,
  lse,
  delta,
  through_scores=None,
):
  """Gradients of query, keys, values and bias.

  Args:
    readers, memory: as in `read`.
    gradient: [B, T, H, E], of the output.
    lse: [B, H, T], from `read`.
    delta: [B, H, T] float32, the output times its gradient, summed over E.
    through_scores: [B, T, M] bfloat16, what reaches every head's weights through the scores, or None.

  Returns:
    ([B, T, H, E], [B, H, E, M] twice, [B, H, N, M] float32 or None: the bias's, by head, not scaled).
  """
  batch, length, heads, width = readers.query.shape
  num_keys = memory.keys.shape[-1]

  tiles = GRAD_QUERIES
  padded, *all_padded = pad_queries(tiles, readers, memory, gradient, lse, delta, through_scores)
  specs = BlockSpecs(tiles, padded, num_keys, width, query_programs=True)
  extra = through_scores is not None and specs.mask or None
  run = call(
    functools.partial(_grad_queries, tiles=tiles),
    (
      jax.ShapeDtypeStruct((batch, padded, heads, width), readers.query.dtype),
      jax.ShapeDtypeStruct((batch, heads, padded), jnp.float32),
    ),
    (padded // tiles.queries, heads, batch),
    (*map(specs.of, (readers, memory)), specs.query, *(specs.by_head,) * 2, extra),
    (specs.query, specs.by_head),
    warps=tiles.warps,
    stages=tiles.stages,
  )
  d_query, delta = run(*all_padded)
  d_query, delta = d_query[:, :length], delta[..., :length]

  tiles = GRAD_KEYS
  padded, *all_padded = pad_queries(tiles, readers, memory, gradient, lse, delta, through_scores)
  specs = BlockSpecs(tiles, padded, num_keys, width, query_programs=False)
  extra = through_scores is not None and specs.mask or None
  d_keys = jax.ShapeDtypeStruct(memory.keys.shape, memory.keys.dtype)
  d_bias = bias_spec = None
  if memory.bias is not None:
    levels = memory.bias.shape[1]
    d_bias = jax.ShapeDtypeStruct((batch, heads, levels, num_keys), jnp.float32)
    bias_spec = pl.BlockSpec((None, None, levels, tiles.keys), lambda j, h, b: (b, h, 0, j))
  run = call(
    functools.partial(_grad_keys, tiles=tiles),
    (d_keys, d_keys, d_bias),
    (num_keys // tiles.keys, heads, batch),
    (*map(specs.of, (readers, memory)), specs.query, *(specs.by_head,) * 2, extra),
    (specs.keys, specs.keys, bias_spec),
    warps=tiles.warps,
    stages=tiles.stages,
  )
  return d_query, *run(*all_padded)


# ------------------------------------------------------------------------------------- kernels


def _read_memory(readers, memory, out_ref, lse_ref, copy_ref, token_ref, *, tiles):
  query = readers.query[...]
  own = pl.ds(0, tiles.queries)
  nothing = jnp.zeros(tiles.queries, jnp.float32)

  def body(j, carry):
    most, total, out, copy, token = carry
    there = pl.ds(j * tiles.keys, tiles.keys)
    scores, mask = _scores(query, memory.keys[:, there], readers, memory, own, there)
    higher = jnp.maximum(most, scores.max(-1))
    weights = _powers(scores - higher[:, None], mask)
    shrink = jnp.exp2(most - higher)
    values = memory.values[:, there]
    out = out * shrink[:, None] + matmul(weights.astype(values.dtype), values, 1, 1)
    if copy_ref is not None:
      same, copyable = _copies(readers, memory, own, there)
      copy = copy * shrink + jnp.where(same, weights, 0.0).sum(-1)
      token = token * shrink + jnp.where(copyable, weights, 0.0).sum(-1)
    return higher, total * shrink + weights.sum(-1), out, copy, token

  start = (nothing + _LEAST, nothing, jnp.zeros(query.shape, jnp.float32), nothing, nothing)
  steps = memory.keys.shape[-1] // tiles.keys
  most, total, out, copy, token = jax.lax.fori_loop(0, steps, body, start)
  total = jnp.maximum(total, 1e-30)
  out_ref[...] = (out / total[:, None]).astype(out_ref.dtype)
  lse_ref[...] = (most + jnp.log2(total)) / _LOG2_E
  if copy_ref is not None:
    copy_ref[...] = copy / total
    token_ref[...] = token / total


def _sum_units(readers, memory, lse_ref, units_ref, *, tiles):
  heads = readers.query.shape[1]
  there = pl.ds(0, tiles.keys)

  def over_queries(i, units):
    here = pl.ds(i * tiles.queries, tiles.queries)

    def over_heads(h, total):
      scores, mask = _scores(
        readers.query[here, h, :], memory.keys[h, :, :], readers, memory, here, there
      )
      return total + _powers(scores - lse_ref[h, here][:, None] * _LOG2_E, mask)

    zeros = jnp.zeros((tiles.queries, tiles.keys), jnp.float32)
    weights = jax.lax.fori_loop(0, heads, over_heads, zeros) / heads
    # In two halves of eight bits each, so that nothing of note is rounded off.
    high = weights.astype(jnp.bfloat16)
    low = (weights - high.astype(jnp.float32)).astype(jnp.bfloat16)
    chosen = readers.units[:, here]
    return units + matmul(chosen, high, 1, 0) + matmul(chosen, low, 1, 0)

  steps = readers.query.shape[0] // tiles.queries
  units_ref[...] = jax.lax.fori_loop(
    0, steps, over_queries, jnp.zeros(units_ref.shape, jnp.float32)
  )


def _grad_queries(
  readers,
  memory,
  gradient_ref,
  lse_ref,
  delta_ref,
  through_ref,
  d_query_ref,
  delta_out_ref,
  *,
  tiles,
):
  query, gradient, lse = readers.query[...], gradient_ref[...], lse_ref[...] * _LOG2_E
  delta = delta_ref[...]
  own = pl.ds(0, tiles.queries)
  steps = memory.keys.shape[-1] // tiles.keys

  def weights_of(j):
    there = pl.ds(j * tiles.keys, tiles.keys)
    scores, mask = _scores(query, memory.keys[:, there], readers, memory, own, there)
    return there, _powers(scores - lse[:, None], mask)

  if through_ref is not None:

    def add_scores(j, total):
      there, weights = weights_of(j)
      return total + (weights * through_ref[own, there].astype(jnp.float32)).sum(-1)

    delta = jax.lax.fori_loop(0, steps, add_scores, delta)

  def body(j, d_query):
    there, weights = weights_of(j)
    keys = memory.keys[:, there]
    d_weights = matmul(gradient, memory.values[:, there], 1, 0)
    if through_ref is not None:
      d_weights += through_ref[own, there].astype(jnp.float32)
    d_scores = weights * (d_weights - delta[:, None])
    return d_query + matmul(d_scores.astype(keys.dtype), keys, 1, 1)

  d_query = jax.lax.fori_loop(0, steps, body, jnp.zeros(query.shape, jnp.float32))
  d_query_ref[...] = (d_query * _scale(query)).astype(d_query_ref.dtype)
  delta_out_ref[...] = delta


def _grad_keys(
  readers, memory, gradient_ref, lse_ref, delta_ref, through_ref, d_keys_ref, d_values_ref, d_bias_ref,
  *, tiles,
):  # fmt: skip
  # Keys before queries, [k, q]: so the products that are summed have their left side in registers.
  keys, values = memory.keys[...].T, memory.values[...].T
  bias = None if memory.bias is None else memory.bias[...].T
  there = pl.ds(0, tiles.keys)

  def body(i, carry):
    d_keys, d_values, d_bias = carry
    here = pl.ds(i * tiles.queries, tiles.queries)
    query, gradient = readers.query[here, :], gradient_ref[here, :]
    scores = matmul(keys, query, 1, 1)
    if bias is not None:
      scores += matmul(bias, readers.levels[here, :], 1, 1)
    scores *= _scale(query) * _LOG2_E
    mask = None
    if memory.mask is not None:
      mask = memory.mask[here, there].T
      scores = jnp.where(mask, scores, NEGATIVE)
    weights = _powers(scores - lse_ref[here][None, :] * _LOG2_E, mask)
    d_weights = matmul(values, gradient, 1, 1)
    if through_ref is not None:
      d_weights += through_ref[here, there].T.astype(jnp.float32)
    d_scores = (weights * (d_weights - delta_ref[here][None, :])).astype(query.dtype)
    if bias is not None:
      d_bias += matmul(d_scores, readers.levels[here, :], 1, 0)
    d_keys += matmul(d_scores, query, 1, 0)
    d_values += matmul(weights.astype(gradient.dtype), gradient, 1, 0)
    return d_keys, d_values, d_bias

  zeros = jnp.zeros(keys.shape, jnp.float32)
  d_bias = None if bias is None else jnp.zeros(bias.shape, jnp.float32)
  steps = readers.query.shape[0] // tiles.queries
  d_keys, d_values, d_bias = jax.lax.fori_loop(0, steps, body, (zeros, zeros, d_bias))
  d_keys_ref[...] = (d_keys * _scale(keys)).T.astype(d_keys_ref.dtype)
  d_values_ref[...] = d_values.T.astype(d_values_ref.dtype)
  if bias is not None:
    d_bias_ref[...] = d_bias.T


# ------------------------------------------------------------------ what the kernels have in common


def _scores(query, keys, readers, memory, here, there):
  """([q, k] float32 scores in powers of two, the mask [q, k] or None)."""
  scores = matmul(query, keys, 1, 0)
  if memory.bias is not None:
    scores += matmul(readers.levels[here, :], memory.bias[:, there], 1, 0)
  scores *= _scale(query) * _LOG2_E
  mask = None
  if memory.mask is not None:
    mask = memory.mask[here, there]
    scores = jnp.where(mask, scores, NEGATIVE)
  return scores, mask


def _powers(scores, mask):
  powers = jnp.exp2(scores)
  return powers if mask is None else jnp.where(mask, powers, 0.0)


def _copies(readers, memory, here, there):
  """([q, k], [1, k]) bool: keys with the query's target, and with any token."""
  ids = memory.token_ids[there][None, :]
  return readers.targets[here][:, None] == ids, ids >= 0


def _scale(query) -> float:
  return query.shape[-1] ** -0.5
