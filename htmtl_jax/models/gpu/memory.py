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

import dataclasses
import functools

import flax.struct
import jax
from jax.experimental import pallas as pl
import jax.numpy as jnp

from htmtl_jax.models.gpu.launch import call, is_power_of_two, matmul
from htmtl_jax.models.rows import NEGATIVE

_LOG2_E = 1.4426950408889634  # the chip has a power of two, not of e
_BIAS_ROWS = 16  # the least that a matrix unit takes
_LEAST = -1e30  # below any score; with an infinity there would be infinity minus infinity


@dataclasses.dataclass(frozen=True)
class Tiles:
  """How a kernel is cut: queries and keys of a block, warps of a program, stages of its loop."""

  queries: int
  keys: int
  warps: int = 4
  stages: int = 2


# The fastest of fifteen on an H200 at 1,216 queries, 17,920 keys, heads of 64 (docs/performance.md).
READ = Tiles(128, 64, warps=8, stages=3)
UNITS = Tiles(128, 64, warps=4, stages=2)
GRAD_QUERIES = Tiles(64, 64, warps=4, stages=3)
GRAD_KEYS = Tiles(64, 64, warps=4, stages=2)


@flax.struct.dataclass
class Readers:
  """Who reads: everything that has a value for each query.

  Attributes:
    query: [B, T, H, E] bfloat16, not scaled.
    levels: [B, T, N] bfloat16, what each query takes of the bias (`split_bias`); None without one.
    units: [B, U, T] bfloat16, one-hot unit of each query, U a power of two; None without scores.
    targets: [B, T] int32, the tokens to be predicted; None without scores.
  """

  query: jax.Array
  levels: jax.Array | None = None
  units: jax.Array | None = None
  targets: jax.Array | None = None


@flax.struct.dataclass
class Memory:
  """What is read: everything that has a value for each key.

  Attributes:
    keys, values: [B, H, E, M] bfloat16.
    bias: [B, N, M] bfloat16, see `split_bias`, or None.
    mask: [B, T, M] bool, True where a query may look, or None.
    token_ids: [B, M] int32, -1 where not copyable; None without scores.
  """

  keys: jax.Array
  values: jax.Array
  bias: jax.Array | None = None
  mask: jax.Array | None = None
  token_ids: jax.Array | None = None


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
  padded, readers, memory = _pad_queries(tiles, readers, memory)
  by_query = jax.ShapeDtypeStruct((batch, heads, padded), jnp.float32)
  mass = None if readers.targets is None else by_query
  specs = _Specs(tiles, padded, memory.keys.shape[-1], width, query_programs=True)
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
  padded, readers, memory = _pad_queries(tiles, readers, memory)
  lse = _pad_last(lse, padded)
  specs = _Specs(tiles, padded, keys, width, query_programs=False, heads=heads)
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
  padded, *all_padded = _pad_queries(tiles, readers, memory, gradient, lse, delta, through_scores)
  specs = _Specs(tiles, padded, num_keys, width, query_programs=True)
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
  padded, *all_padded = _pad_queries(tiles, readers, memory, gradient, lse, delta, through_scores)
  specs = _Specs(tiles, padded, num_keys, width, query_programs=False)
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


# ---------------------------------------------------------------------------------------- blocks


class _Specs:
  """Which part of each array a program gets: of programs (block, head, document)."""

  def __init__(
    self, tiles: Tiles, queries: int, keys: int, width: int, *, query_programs: bool, heads: int = 0
  ):
    """With `heads` a program gets them all, and its grid is (block, document)."""
    t, m = (tiles.queries, keys) if query_programs else (queries, tiles.keys)
    place = lambda i: (i, 0) if query_programs else (0, i)  # (of queries, of keys)

    def spec(shape, index):
      if heads:
        return pl.BlockSpec(shape, lambda i, b: index(b, 0, *place(i)))
      return pl.BlockSpec(shape, lambda i, h, b: index(b, h, *place(i)))

    head = heads or None
    self.query = spec((None, t, head, width), lambda b, h, i, j: (b, i, h, 0))
    self.keys = spec((None, head, width, m), lambda b, h, i, j: (b, h, 0, j))
    self.by_head = spec((None, head, t), lambda b, h, i, j: (b, h, i))
    self.by_unit_and_key = lambda n: spec((None, n, m), lambda b, h, i, j: (b, 0, j))
    self._units = lambda n: spec((None, n, t), lambda b, h, i, j: (b, 0, i))
    self._levels = lambda n: spec((None, t, n), lambda b, h, i, j: (b, i, 0))
    self.mask = spec((None, t, m), lambda b, h, i, j: (b, i, j))
    self._by_query = spec((None, t), lambda b, h, i, j: (b, i))
    self._by_key = spec((None, m), lambda b, h, i, j: (b, j))

  def of(self, record):
    """The same record with a spec in place of each array."""
    if record is None:
      return None
    known = {
      Readers: lambda: Readers(
        query=self.query,
        levels=self._if(record.levels, self._levels, 2),
        units=self._if(record.units, self._units, 1),
        targets=None if record.targets is None else self._by_query,
      ),
      Memory: lambda: Memory(
        keys=self.keys,
        values=self.keys,
        bias=self._if(record.bias, self.by_unit_and_key, 1),
        mask=None if record.mask is None else self.mask,
        token_ids=None if record.token_ids is None else self._by_key,
      ),
    }
    return known[type(record)]()

  @staticmethod
  def _if(array, make, axis):
    return None if array is None else make(array.shape[axis])


def _pad_queries(tiles: Tiles, readers: Readers, memory: Memory, *others):
  """(padded T, and all with so many queries): the added ones see all and count for nothing."""
  length = readers.query.shape[1]
  padded = -(-length // tiles.queries) * tiles.queries
  if padded == length:
    return padded, readers, memory, *others
  extra = padded - length
  first = lambda x: jnp.pad(x, [(0, 0), (0, extra)] + [(0, 0)] * (x.ndim - 2))
  last = lambda x: None if x is None else _pad_last(x, padded)
  readers = Readers(
    first(readers.query),
    None if readers.levels is None else first(readers.levels),
    last(readers.units),
    None if readers.targets is None else _pad_last(readers.targets, padded, -2),
  )
  if memory.mask is not None:
    memory = memory.replace(mask=first(memory.mask))
  if not others:
    return padded, readers, memory
  gradient, lse, delta, through_scores = others
  through_scores = None if through_scores is None else first(through_scores)
  return padded, readers, memory, first(gradient), last(lse), last(delta), through_scores


def _pad_last(array, length, value=0):
  """With zeros, or `value`, up to a length of the last axis."""
  missing = length - array.shape[-1]
  padding = [(0, 0)] * (array.ndim - 1) + [(0, missing)]
  return jnp.pad(array, padding, constant_values=value)
