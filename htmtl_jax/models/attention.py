"""Attention over few keys: inside rows, among segments.

All functions take heads last-but-one ([..., n, H, E]), compute scores and softmax in
float32, and give zeros for queries that may look at nothing.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from htmtl_jax.models.config import ModelConfig
from htmtl_jax.models.dropout import Dropout
from htmtl_jax.models.gpu import masked, rows
from htmtl_jax.models.gpu.launch import choose
from htmtl_jax.models.layers import RMSNorm, dense, join_heads
from htmtl_jax.models.memory_attention import SCORES, Blocks, attend_to_memory, matmul
from htmtl_jax.models.on_devices import on_every_device, queries_on_a_device
from htmtl_jax.models.rotation import rotate
from htmtl_jax.models.rows import NEGATIVE

_on_every_device = functools.partial(on_every_device, whole_if_uneven=True)


def _heads_first(x):
  """[..., n, H, E] -> [..., H, n, E], and back.

  A CPU is faster at products of matrices that lie whole in memory; where it makes no difference
  the compiler leaves the array as it is.
  """
  return jnp.moveaxis(x, -2, -3)


@jax.custom_vjp
def attend(query, key, value, mask) -> jax.Array:
  """Scaled dot-product attention (Vaswani et al. 2017) under a mask.

  Its own gradient computes the weights again, from the log-sum-exp of the scores, instead of
  keeping them: inside a row that is a hundredth of a layer's work, while the weights are larger
  than all else in it.

  Args:
    query: [..., q, H, E].
    key, value: [..., k, H, E].
    mask: [..., q, k] bool, True where a query may look.

  Returns:
    [..., q, H, E].
  """
  return _attend_forward(query, key, value, mask)[0]


def _attend_forward(query, key, value, mask):
  kernels, axes = _kernels(query, key)
  in_axes = (axes,) * 3 + (_mask_axes(axes),)

  def run(*arrays):
    out = _on_every_device(kernels.forward, in_axes, axes)(*arrays)
    return out, jnp.zeros(query.shape[:-1], jnp.float32)  # the kernels compute it again

  out, lse = choose(_forward, run, query, key, value, mask, suits=kernels is not None)
  return out, (query, key, value, mask, out, lse)


def _attend_backward(residuals, gradient):
  query, key = residuals[:2]
  kernels, axes = _kernels(query, key)
  in_axes = (axes,) * 3 + (_mask_axes(axes),) + (axes,) * 2

  def run(query, key, value, mask, out, lse, gradient):
    del lse
    backward = _on_every_device(kernels.backward, in_axes, (axes,) * 3)
    return backward(query, key, value, mask, out, gradient)

  gradients = choose(_backward, run, *residuals, gradient, suits=kernels is not None)
  return *gradients, None


attend.defvjp(_attend_forward, _attend_backward)


# What follows a product below (a scale, a bias, a normaliser) is written where XLA's CPU backend
# makes it part of the product: it then divides the matrices of all rows and heads among the cores,
# while a product by itself runs on one (docs/performance.md).


def _forward(query, key, value, mask):
  """(output [..., q, H, E], log-sum-exp of the scores [..., q, H])."""
  keys, values = _heads_first(key), _heads_first(value)

  def some(query, mask):
    scores = matmul("...hqe,...hke->...hqk", _heads_first(query), keys) * _scale(query)
    scores += _bias(mask)
    most = scores.max(-1)
    powers = jnp.exp(scores - most[..., None])
    total = powers.sum(-1)
    looks = mask.any(-1)[..., None, :]
    out = matmul("...hqk,...hke->...hqe", powers.astype(value.dtype), values)
    out *= jnp.where(looks, 1 / total, 0.0)[..., None]
    lse = jnp.where(looks, most + jnp.log(total), -NEGATIVE)
    return _heads_first(out.astype(value.dtype)), jnp.moveaxis(lse, -2, -1)

  count = _query_blocks(query, key)
  if count == 1:
    return some(query, mask)
  blocks = jax.lax.map(lambda block: some(*block), (_cut(query, count), _cut(mask, count)))
  return tuple(_join(x) for x in blocks)


def _backward(query, key, value, mask, out, lse, gradient):
  """Gradients of query, key and value.

  Weights and what reaches them come keys first, [..., H, k, q]: so two products of three have
  nothing to turn around, with queries first it would be one.
  """
  keys, values = _heads_first(key), _heads_first(value)

  def some(query, mask, out, lse, gradient):
    query, out, gradient = (_heads_first(x) for x in (query, out, gradient))
    mask = jnp.swapaxes(mask, -1, -2)
    scale, lse = _scale(query), jnp.moveaxis(lse, -1, -2)
    scores = matmul("...hke,...hqe->...hkq", keys, query) * scale + _bias(mask)
    weights = jnp.exp(scores - lse[..., None, :])
    # Changes nothing, since no weight falls on a key that no query may look at; it is there to
    # follow the product, see the comment above `_forward`.
    is_seen = jnp.minimum(mask.sum(-1), 1).astype(jnp.float32)[..., None, :, None]
    d_value = matmul("...hkq,...hqe->...hke", weights.astype(value.dtype), gradient) * is_seen
    # Sum over keys of weight times its gradient, from the output alone (Dao et al. 2022).
    inner = (gradient.astype(jnp.float32) * out.astype(jnp.float32)).sum(-1)  # [..., H, q]
    d_weights = matmul("...hke,...hqe->...hkq", values, gradient)
    d_scores = (weights * (d_weights - inner[..., None, :])).astype(query.dtype)
    d_query = matmul("...hkq,...hke->...hqe", d_scores, keys) * scale
    d_key = matmul("...hkq,...hqe->...hke", d_scores, query) * scale
    return tuple(_heads_first(x.astype(query.dtype)) for x in (d_query, d_key, d_value))

  count = _query_blocks(query, key)
  if count == 1:
    return some(query, mask, out, lse, gradient)

  def body(total, block):
    d_query, *d_keys_values = some(*block)
    return jax.tree.map(lambda x, y: x + y, total, tuple(d_keys_values)), d_query

  zeros = jnp.zeros(key.shape, jnp.float32)
  blocks = tuple(_cut(x, count) for x in (query, mask, out, lse, gradient))
  (d_key, d_value), d_query = jax.lax.scan(body, (zeros, zeros), blocks)
  return _join(d_query), d_key.astype(key.dtype), d_value.astype(value.dtype)


def _scale(query) -> float:
  return query.shape[-1] ** -0.5


def _bias(mask):
  """[..., q, k] bool -> [..., 1, q, k] float32, to be added to scores."""
  return jnp.where(mask, 0.0, NEGATIVE)[..., None, :, :]


def _query_blocks(query, key) -> int:
  """How many blocks of queries are taken one after the other, so that a block's scores stay at hand.

  Rows, [B, r, w, H, E], are short: one. The decoder looks at all of its targets: some, which are
  equal, since queries that fill up would be work.
  """
  if query.ndim > 4:
    return 1
  queries = query.shape[1]
  count = min(-(-queries_on_a_device(query) * key.shape[1] // SCORES), queries)
  while queries % count:
    count += 1
  return count


def _cut(x, count):
  """[B, q, ...] -> [count, B, m, ...]."""
  return jnp.moveaxis(x.reshape(x.shape[0], count, -1, *x.shape[2:]), 1, 0)


def _join(x):
  """The inverse of `_cut`."""
  return jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, *x.shape[3:])


def _kernels(query, key):
  """(the GPU kernels for such arrays or None, the logical axes of [..., q, H, E])."""
  if rows.suits(query, key):
    return rows, ("act_batch", "act_row", None, "heads", None)
  if masked.suits(query, key):
    return masked, ("act_batch", None, "heads", None)
  return None, None


def _mask_axes(axes):
  return axes and (*axes[:-2], None)


class RowAttention(nn.Module):
  """Pre-norm residual self-attention inside rows, under a mask.

  x: [B, r, w, D]; rotation: of positions [B, r, w], see `make_rotation`, or None; mask:
  [B, r, w, w]. Returns [B, r, w, D].
  """

  config: ModelConfig

  @nn.compact
  def __call__(self, x, rotation, mask, deterministic):
    config = self.config
    h = RMSNorm(config, name="norm")(x)
    project = dense(
      (3, config.num_heads, config.head_width),
      ("embed", "qkv", "heads", "head_dim"),
      config,
      name="qkv",
    )
    query, key, value = (project(h, part=(i,)) for i in range(3))  # [B, r, w, H, E] each
    if rotation is not None:
      query, key = rotate(query, rotation), rotate(key, rotation)
    h = self.attend(query, key, value, mask)
    h = join_heads(config, depth=config.encoder_depth, name="out")(h)
    return x + Dropout(config.dropout)(h, deterministic=deterministic)

  def attend(self, query, key, value, mask):
    """All [B, r, w, H, E]: a row's queries look at the keys of the same row."""
    return attend(query, key, value, mask)


class SegmentAttention(nn.Module):
  """Pre-norm residual cross-attention of segments to other segments of the document.

  x: [B, q, D]; memory: [B, k, D]; memory_mask: [B, k] bool. Returns [B, q, D].
  """

  config: ModelConfig

  @nn.compact
  def __call__(self, x, memory, memory_mask, deterministic):
    config = self.config
    heads = (config.num_heads, config.head_width)
    axes = ("embed", "heads", "head_dim")
    h = RMSNorm(config, name="norm")(x)
    memory = RMSNorm(config, name="memory_norm")(memory)
    query = dense(heads, axes, config, name="query")(h)
    # In blocks of keys, so that memory stays linear where a document has thousands of segments.
    blocks = Blocks.cover(memory.shape[1], config.key_block)
    padding = blocks.length - memory.shape[1]
    memory = jnp.pad(memory, [(0, 0), (0, padding), (0, 0)])
    bias = jnp.where(jnp.pad(memory_mask, [(0, 0), (0, padding)]), 0.0, NEGATIVE)[:, None]
    project = lambda name: jnp.moveaxis(
      dense(heads, axes, config, name=name)(memory, transposed=True), -2, 0
    )  # [B, H, E, k]
    same_for_all = jnp.ones((*x.shape[:2], 1), jnp.float32)
    h = attend_to_memory(blocks, query, project("key"), project("value"), bias, same_for_all)
    h = join_heads(config, depth=config.encoder_depth, name="out")(h)
    return x + Dropout(config.dropout)(h, deterministic=deterministic)


class AttentionPool(nn.Module):
  """Learned attention pooling of siblings into their parent, inside rows.

  One learned query a head: weights softmax(x q) among the siblings, so the pooled
  vector is the projected weighted mean. Every real child counts, whatever the padding.

  x: [B, r, w, D]; places: [B, r, w, k] one-hot. Returns [B, r*k, D], 0 at empty places.
  """

  config: ModelConfig

  @nn.compact
  def __call__(self, x, places):
    config = self.config
    h = RMSNorm(config, name="norm")(x)
    logits = dense(config.num_heads, ("embed", "heads"), config, name="query")(h).astype(
      jnp.float32
    )
    value = dense(
      (config.num_heads, config.head_width), ("embed", "heads", "head_dim"), config, name="value"
    )(h)
    belongs = places > 0  # [B, r, w, k]
    among = jnp.where(belongs[..., None], logits[..., None, :], NEGATIVE)  # [B, r, w, k, H]
    weights = jnp.where(belongs[..., None], jax.nn.softmax(among, axis=2), 0.0)
    pooled = jnp.einsum("brwkh,brwhe->brkhe", weights.astype(value.dtype), value)
    pooled = join_heads(config, name="out")(pooled)
    return pooled.reshape(pooled.shape[0], -1, config.width)
