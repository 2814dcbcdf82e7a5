"""Cross-attention over a long memory, block by block of its keys.

Scores of T queries by M keys for every head would be the largest arrays of the whole
model: 1,216 targets over a paper of 16k tokens are 0.7 GB in float32 at 8 heads. So keys
are taken a block at a time, with the running softmax of Milakov & Gimelshein (2018), and
the backward pass recomputes each block from the stored log-sum-exp (Rabe & Staats 2021,
Dao et al. 2022). Cost and results are those of plain attention; no [H, T, M] array exists.

Keys and values come transposed, [B, H, E, M]: so the projection writes them, both products
of a block are plain matmuls, and no copy of them is ever turned around.

The bias of a key depends on the level of the query alone ([B, 3, M], see `memory.py`); where
queries have no levels there is one kind of them, and 1 in place of 3.
`attend_with_scores` also returns what the attention says; the last decoder layer needs it.
"""

import dataclasses
import functools

import flax.struct
import jax
import jax.numpy as jnp

from htmtl_jax.flops import RECOMPUTED
from htmtl_jax.models.gpu import cross
from htmtl_jax.models.gpu.launch import choose
from htmtl_jax.models.rows import EXACT

_ALIGN = 128  # lanes of a TPU; a multiple of any CPU's vector
SCORES = 6 << 20  # at most so many of a block, where that leaves a block: 24 MB


@dataclasses.dataclass(frozen=True)
class Blocks:
  """How M keys are cut: `count` blocks of `size`, along the last axis of any array."""

  count: int
  size: int

  @classmethod
  def cover(cls, keys: int, most: int) -> "Blocks":
    """The fewest equal blocks of at most `most` keys, rounded up; M is then `length`, not `keys`.

    Covering `length` keys gives the same blocks again: who makes a memory and who reads it
    each ask.
    """
    count = -(-keys // _round_up(most, _ALIGN))
    return cls(count, _round_up(-(-keys // count), _ALIGN))

  def for_queries(self, queries: int) -> "Blocks":
    """The same keys in blocks so small that the scores of so many queries stay close at hand.

    Args:
      queries: documents times heads times queries of each, on a device.
    """
    units = self.size // _ALIGN
    fits = [n for n in range(1, units + 1) if units % n == 0 and n * _ALIGN * queries <= SCORES]
    size = max(fits, default=1) * _ALIGN
    return Blocks(self.length // size, size)

  @property
  def length(self) -> int:
    return self.count * self.size

  def take(self, array: jax.Array, i) -> jax.Array:
    if self.count == 1:
      return array
    return jax.lax.dynamic_slice_in_dim(array, i * self.size, self.size, axis=-1)

  def put(self, array: jax.Array, block: jax.Array, i) -> jax.Array:
    if self.count == 1:
      return block
    return jax.lax.dynamic_update_slice_in_dim(array, block, i * self.size, axis=-1)

  def loop(self, body, start):
    """`carry = body(i, carry)` for every block; no loop where there is only one."""
    return body(0, start) if self.count == 1 else jax.lax.fori_loop(0, self.count, body, start)


@flax.struct.dataclass
class Scores:
  """What the attention of the last layer says; a mean over heads, float32.

  Attributes:
    unit_attention: [B, U, M] summed over the queries of each unit.
    copy_mass: [B, T] on keys that hold the target token.
    token_mass: [B, T] on all keys that can be copied.
  """

  unit_attention: jax.Array
  copy_mass: jax.Array
  token_mass: jax.Array


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def attend_to_memory(blocks: Blocks, query, keys, values, bias, level_weights) -> jax.Array:
  """Softmax attention of every query over the whole memory.

  Args:
    blocks: how M is cut.
    query: [B, T, H, E].
    keys, values: [B, H, E, M].
    bias: [B, 3, M] float32.
    level_weights: [B, T, 3] float32, one-hot level of each query; no gradient.

  Returns:
    [B, T, H, E].
  """
  return _attend_forward(blocks, query, keys, values, bias, level_weights)[0]


def _attend_forward(blocks, *inputs):
  def plain(*inputs):
    out, residuals = attend_forward(blocks, *inputs)
    return out, residuals[-1]

  out, lse = choose(plain, cross.forward, *inputs, suits=cross.suits(*inputs[:2]))
  return out, (*inputs, out, lse)


def _attend_backward(blocks, residuals, gradient):
  plain = lambda *arrays: attend_backward(blocks, arrays[:-1], arrays[-1])[:4]
  suits = cross.suits(*residuals[:2])
  return *choose(plain, cross.backward, *residuals, gradient, suits=suits), None


attend_to_memory.defvjp(_attend_forward, _attend_backward)


def attend_forward(blocks, query, keys, values, bias, level_weights):
  """(output, what the backward pass needs; the last of it is the log-sum-exp [B, H, T])."""
  scaled = _scaled(query)
  batch, heads, length, width = scaled.shape

  def body(i, carry):
    most, total, out = carry
    s = _block_scores(blocks, scaled, keys, bias, level_weights, i)
    higher = jnp.maximum(most, s.max(-1))
    p = jnp.exp(s - higher[..., None])
    shrink = jnp.exp(most - higher)
    out = out * shrink[..., None] + _read(blocks, p, values, i)
    return higher, total * shrink + p.sum(-1), out

  start = (
    jnp.full((batch, heads, length), -jnp.inf, jnp.float32),
    jnp.zeros((batch, heads, length), jnp.float32),
    jnp.zeros((batch, heads, length, width), jnp.float32),
  )
  most, total, out = blocks.loop(body, start)
  lse = most + jnp.log(total)  # [B, H, T]
  out = jnp.moveaxis(out / total[..., None], 1, 2).astype(query.dtype)
  return out, (query, keys, values, bias, level_weights, out, lse)


def attend_backward(blocks, residuals, gradient):
  """Gradients of `attend_to_memory`; of some keys alone, where output and log-sum-exp are of all."""
  query, keys, values, bias, level_weights, out, lse = residuals
  delta = _dot_heads(gradient, out)  # [B, H, T]
  no_extra = lambda i, p: 0.0
  return _gradients(
    blocks, query, keys, values, bias, level_weights, gradient, lse, delta, no_extra
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def attend_with_scores(
  blocks: Blocks, query, keys, values, bias, level_weights, unit_weights, targets, token_ids
) -> tuple[jax.Array, Scores]:
  """`attend_to_memory`, and what the attention says.

  The scores need the softmax's denominator, so that the products of queries and keys are
  computed twice forward, and once more backward.

  Args:
    blocks, query, keys, values, bias, level_weights: as in `attend_to_memory`.
    unit_weights: [B, T, U] float32, one-hot unit of each query; no gradient.
    targets: [B, T] int32, the tokens to be predicted.
    token_ids: [B, M] int32, -1 where not copyable.
  """
  return _scores_forward(
    blocks, query, keys, values, bias, level_weights, unit_weights, targets, token_ids
  )[0]


def _scores_forward(blocks, *inputs):
  def plain(*inputs):
    (out, scores), residuals = scores_forward(blocks, *inputs)
    return out, residuals[-1], scores

  def kernels(*inputs):
    out, lse, *scores = cross.forward_with_scores(*inputs)
    return out, lse, Scores(*scores)

  out, lse, scores = choose(plain, kernels, *inputs, suits=cross.suits(*inputs[:2]))
  return (out, scores), (*inputs, out, lse)


def _scores_backward(blocks, residuals, gradients):
  gradient, scores = gradients
  towards = (scores.unit_attention, scores.copy_mass, scores.token_mass)

  def plain(*arrays):
    *residuals, gradient, units, copy, token = arrays
    return scores_backward(blocks, residuals, (gradient, Scores(units, copy, token)))[:4]

  suits = cross.suits(*residuals[:2])
  kernels = cross.backward_with_scores
  return *choose(plain, kernels, *residuals, gradient, *towards, suits=suits), *(None,) * 4


attend_with_scores.defvjp(_scores_forward, _scores_backward)


def scores_forward(
  blocks, query, keys, values, bias, level_weights, unit_weights, targets, token_ids,
  whole_lse=lambda lse: lse,
):  # fmt: skip
  """(result, what the backward pass needs; the last of it is the log-sum-exp [B, H, T]).

  Where these are some of the keys, `whole_lse` gives the log-sum-exp of all from theirs. The
  output and the masses are then what these keys add to the whole.
  """
  scaled = _scaled(query)
  batch, heads, length, width = scaled.shape
  lse = whole_lse(_log_normaliser(blocks, scaled, keys, bias, level_weights))

  def body(i, carry):
    out, units, copy_mass, token_mass = carry
    p = jnp.exp(_block_scores(blocks, scaled, keys, bias, level_weights, i) - lse[..., None])
    mean = p.mean(1)  # [B, T, m]
    block_units = jnp.einsum("btu,btm->bum", unit_weights, mean, precision=EXACT)
    same, copyable = _copy_masks(blocks, targets, token_ids, i)
    return (
      out + _read(blocks, p, values, i),
      blocks.put(units, block_units, i),
      copy_mass + jnp.where(same, mean, 0.0).sum(-1),
      token_mass + jnp.where(copyable, mean, 0.0).sum(-1),
    )

  start = (
    jnp.zeros((batch, heads, length, width), jnp.float32),
    jnp.zeros((batch, unit_weights.shape[-1], keys.shape[-1]), jnp.float32),
    jnp.zeros((batch, length), jnp.float32),
    jnp.zeros((batch, length), jnp.float32),
  )
  out, units, copy_mass, token_mass = blocks.loop(body, start)
  out = jnp.moveaxis(out, 1, 2).astype(query.dtype)
  residuals = (
    query, keys, values, bias, level_weights, unit_weights, targets, token_ids, out, lse,
  )  # fmt: skip
  return (out, Scores(units, copy_mass, token_mass)), residuals


def scores_backward(blocks, residuals, gradients, sum_over_keys=None):
  """Gradients of `attend_with_scores`.

  Of some keys alone, where output and log-sum-exp are of all and `sum_over_keys` adds up
  what [B, H, T] of these keys and of the others.
  """
  query, keys, values, bias, level_weights, unit_weights, targets, token_ids, out, lse = residuals
  gradient, scores = gradients
  heads = query.shape[2]
  scaled = _scaled(query)

  def extra(i, p):
    """[B, 1, T, m]: the gradient that reaches every head's weights through the scores."""
    del p
    by_unit = jnp.einsum(
      "btu,bum->btm", unit_weights, blocks.take(scores.unit_attention, i), precision=EXACT
    )
    same, copyable = _copy_masks(blocks, targets, token_ids, i)
    by_token = jnp.where(same, scores.copy_mass[..., None], 0.0)
    by_token += jnp.where(copyable, scores.token_mass[..., None], 0.0)
    return ((by_unit + by_token) / heads)[:, None]

  def body(i, delta):
    p = jnp.exp(_block_scores(blocks, scaled, keys, bias, level_weights, i) - lse[..., None])
    return delta + jnp.einsum('bhtm,m->bht', p * extra(i, p), jnp.ones(p.shape[-1]))

  if sum_over_keys is None:
    delta = blocks.loop(body, _dot_heads(gradient, out))
  else:
    delta = _dot_heads(gradient, out) + sum_over_keys(blocks.loop(body, jnp.zeros_like(lse)))
  return (
    *_gradients(blocks, query, keys, values, bias, level_weights, gradient, lse, delta, extra),
    *(None,) * 3,
  )


def _log_normaliser(blocks, scaled, keys, bias, level_weights) -> jax.Array:
  """[B, H, T] float32: log of the softmax's denominator."""

  def body(i, carry):
    most, total = carry
    with jax.named_scope(RECOMPUTED):
      s = _block_scores(blocks, scaled, keys, bias, level_weights, i)
    higher = jnp.maximum(most, s.max(-1))
    return higher, total * jnp.exp(most - higher) + jnp.exp(s - higher[..., None]).sum(-1)

  shape = scaled.shape[:3]
  start = jnp.full(shape, -jnp.inf, jnp.float32), jnp.zeros(shape, jnp.float32)
  most, total = blocks.loop(body, start)
  return most + jnp.log(total)


def _gradients(blocks, query, keys, values, bias, level_weights, gradient, lse, delta, extra):
  """Gradients of query, keys, values and bias, recomputing the weights of each block.

  Args:
    gradient: [B, T, H, E], of the output.
    lse: [B, H, T].
    delta: [B, H, T], sum over keys of weight times the weight's gradient.
    extra: (block, weights) -> what is added to the gradient of the weights.
  """
  scaled = _scaled(query)
  towards = jnp.moveaxis(gradient, 2, 1)  # [B, H, T, E]

  def body(i, carry):
    d_query, d_keys, d_values, d_bias = carry
    k, v = blocks.take(keys, i), blocks.take(values, i)
    p = jnp.exp(_block_scores(blocks, scaled, keys, bias, level_weights, i) - lse[..., None])
    d_p = matmul("bhte,bhem->bhtm", towards, v) + extra(i, p)
    d_s = p * (d_p - delta[..., None])
    narrow = d_s.astype(query.dtype)
    return (
      d_query + matmul("bhtm,bhem->bhte", narrow, k),
      blocks.put(d_keys, matmul("bhte,bhtm->bhem", scaled, narrow).astype(keys.dtype), i),
      blocks.put(
        d_values, matmul("bhte,bhtm->bhem", towards, p.astype(query.dtype)).astype(keys.dtype), i
      ),
      blocks.put(d_bias, jnp.einsum("btl,btm->blm", level_weights, d_s.sum(1), precision=EXACT), i),
    )

  start = (
    jnp.zeros(scaled.shape, jnp.float32),
    jnp.zeros_like(keys),
    jnp.zeros_like(values),
    jnp.zeros_like(bias),
  )
  d_query, d_keys, d_values, d_bias = blocks.loop(body, start)
  d_query = jnp.moveaxis(d_query * _scale(query), 1, 2).astype(query.dtype)
  return d_query, d_keys, d_values, d_bias, None


def _block_scores(blocks, scaled, keys, bias, level_weights, i) -> jax.Array:
  """[B, H, T, m] float32 scores of block i, bias included."""
  own = jnp.einsum("btl,blm->btm", level_weights, blocks.take(bias, i), precision=EXACT)
  return matmul("bhte,bhem->bhtm", scaled, blocks.take(keys, i)) + own[:, None]


def _read(blocks, p, values, i) -> jax.Array:
  """[B, H, T, E] float32: weights of block i times its values."""
  return matmul("bhtm,bhem->bhte", p.astype(values.dtype), blocks.take(values, i))


def _copy_masks(blocks, targets, token_ids, i):
  """([B, T, m], [B, 1, m]) bool: keys of block i with the target's token, with any token."""
  ids = blocks.take(token_ids, i)[:, None, :]
  return targets[..., None] == ids, ids >= 0


def _scaled(query):
  """[B, T, H, E] -> [B, H, T, E], divided by the square root of E."""
  return jnp.moveaxis(query * _scale(query), 2, 1).astype(query.dtype)


def _scale(query) -> float:
  return query.shape[-1] ** -0.5


def _dot_heads(a, b) -> jax.Array:
  """[B, T, H, E] twice -> [B, H, T] float32 sums over E."""
  return jnp.moveaxis((a.astype(jnp.float32) * b.astype(jnp.float32)).sum(-1), 1, 2)


# Accumulates in float32, whatever the operands are.
matmul = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)


def _round_up(n: int, multiple: int) -> int:
  return -(-n // multiple) * multiple
