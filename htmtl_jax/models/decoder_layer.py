"""One decoder layer: self-attention, cross-attention over the memory, MLP.

Each in two forms: over all positions at once (training), and one step with a cache
(decoding). The last layer's cross-attention also returns what it looked at: summed by
unit for coverage, at the target token for the copy gate.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from htmtl_jax.models.attention import attend, attention_weights
from htmtl_jax.models.cached_attention import attend_to_memory, attend_to_past, write_slots
from htmtl_jax.models.config import ModelConfig
from htmtl_jax.models.layers import Mlp, RMSNorm, dense, rotate
from htmtl_jax.models.rows import EXACT


class SelfAttention(nn.Module):
  """Pre-norm residual causal self-attention with rotary positions."""

  config: ModelConfig

  def setup(self):
    config = self.config
    self.norm = RMSNorm(config)
    self.qkv = dense(
      (3, config.num_heads, config.head_width), ("embed", "qkv", "heads", "head_dim"), config
    )
    self.out = dense(config.width, ("heads", "head_dim", "embed"), config, contract=2)
    self.drop = nn.Dropout(config.dropout)

  def __call__(self, x, positions, mask, deterministic):
    """x: [B, T, D]; positions: [B, T]; mask: [B, T, T] bool."""
    query, key, value = self._project(x, positions)
    h = attend(query, key, value, mask=mask)
    return x + self.drop(self.out(h), deterministic=deterministic)

  def step(self, x, position, ancestors, keys, values):
    """One position: x [B, Q, D] at scalar `position`; the rest as in `Cache`, of one layer."""
    query, key, value = self._project(x, jnp.full(x.shape[:2], position))
    keys = write_slots(keys, key, position)
    values = write_slots(values, value, position)
    h = attend_to_past(query, keys, values, ancestors, position)
    return x + self.out(h), keys, values

  def _project(self, x, positions):
    qkv = self.qkv(self.norm(x))
    query, key, value = (qkv[..., i, :, :] for i in range(3))
    return rotate(query, positions), rotate(key, positions), value


class CrossAttention(nn.Module):
  """Pre-norm residual cross-attention over the memory; keys and values come projected."""

  config: ModelConfig

  def setup(self):
    config = self.config
    self.norm = RMSNorm(config)
    self.query = dense(
      (config.num_heads, config.head_width), ("embed", "heads", "head_dim"), config
    )
    self.out = dense(config.width, ("heads", "head_dim", "embed"), config, contract=2)
    self.drop = nn.Dropout(config.dropout)

  def __call__(self, x, keys_values, bias, level_weights, deterministic):
    """The plain layer: [B, T, D] -> [B, T, D].

    Args:
      x: [B, T, D].
      keys_values: [B, M, 2, H, E].
      bias: [B, 3, M] float32.
      level_weights: [B, T, 3] float32, one-hot level of each query.
      deterministic: True switches dropout off.
    """
    query = self.query(self.norm(x))

    def chunk(query, level_weights):
      return attend(
        query, keys_values[:, :, 0], keys_values[:, :, 1], bias=_query_bias(level_weights, bias)
      )

    h = _map_chunks(chunk, self.config.query_chunk, query, level_weights)
    return x + self.drop(self.out(h), deterministic=deterministic)

  def with_scores(
    self, x, keys_values, bias, level_weights, unit_weights, targets, token_ids, deterministic
  ):
    """The last layer: also returns what the attention says.

    Args:
      unit_weights: [B, T, U] float32, one-hot unit of each query.
      targets: [B, T] int32, the tokens to be predicted.
      token_ids: [B, M] int32, -1 where not copyable.

    Returns:
      (x, context, unit_attention [B, U, M], copy_mass [B, T], token_mass [B, T]).
    """
    query = self.query(self.norm(x))
    copyable = (token_ids >= 0)[:, None, :]  # [B, 1, M]

    def chunk(query, level_weights, unit_weights, targets):
      weights = attention_weights(
        query, keys_values[:, :, 0], bias=_query_bias(level_weights, bias)
      )
      h = jnp.einsum("bhqm,bmhe->bqhe", weights.astype(query.dtype), keys_values[:, :, 1])
      mean = weights.mean(axis=1)  # [B, q, M]
      unit_attention = jnp.einsum("bqu,bqm->bum", unit_weights, mean, precision=EXACT)
      copy_mass = jnp.where(targets[..., None] == token_ids[:, None, :], mean, 0.0).sum(-1)
      token_mass = jnp.where(copyable, mean, 0.0).sum(-1)
      return h, copy_mass, token_mass, unit_attention

    h, copy_mass, token_mass, unit_attention = _map_chunks(
      chunk, self.config.query_chunk, query, level_weights, unit_weights, targets, num_summed=1
    )
    context = self.out(h)
    x = x + self.drop(context, deterministic=deterministic)
    return x, context, unit_attention, copy_mass, token_mass

  def step(self, x, keys, values, bias):
    """One position: (x [B, Q, D], context, attention [B, n, Q, c]); the rest as in `Cache`."""
    query = self.query(self.norm(x))
    h, attention = attend_to_memory(query, keys, values, bias)
    context = self.out(h)
    return x + context, context, attention


def _query_bias(level_weights, bias):
  """[B, q, 3] one-hot and [B, 3, M] -> [B, q, M]: the bias row of each query's level."""
  return jnp.einsum("bql,blm->bqm", level_weights, bias, precision=EXACT)


def _map_chunks(function, chunk, *arrays, num_summed=0):
  """Applies `function` to slices of `chunk` along axis 1, recomputed in the backward pass.

  The first outputs are laid side by side along axis 1, the last `num_summed` added up.
  With no more than `chunk` queries there is one slice and nothing is recomputed.
  """
  length = arrays[0].shape[1]
  if length <= chunk:
    return function(*arrays)
  padding = -length % chunk
  slices = []
  for array in arrays:
    array = jnp.pad(array, [(0, 0), (0, padding)] + [(0, 0)] * (array.ndim - 2))
    array = array.reshape(array.shape[0], -1, chunk, *array.shape[2:])
    slices.append(jnp.moveaxis(array, 1, 0))  # [chunks, B, chunk, ...]

  first = jax.eval_shape(function, *(s[0] for s in slices))
  single = not isinstance(first, tuple)
  as_tuple = (lambda *xs: (function(*xs),)) if single else function
  outputs = first if not single else (first,)
  split = len(outputs) - num_summed
  zeros = tuple(jnp.zeros(o.shape, o.dtype) for o in outputs[split:])

  def body(sums, inputs):
    results = as_tuple(*inputs)
    return tuple(a + b for a, b in zip(sums, results[split:])), results[:split]

  sums, stacked = jax.lax.scan(jax.checkpoint(body, prevent_cse=False), zeros, tuple(slices))
  joined = []
  for array in stacked:
    array = jnp.moveaxis(array, 0, 1)  # [B, chunks, chunk, ...]
    joined.append(array.reshape(array.shape[0], -1, *array.shape[3:])[:, :length])
  result = (*joined, *sums)
  return result[0] if single else result


class DecoderLayer(nn.Module):
  """Self-attention, cross-attention, MLP."""

  config: ModelConfig

  def setup(self):
    self.self_attention = SelfAttention(self.config)
    self.cross_attention = CrossAttention(self.config)
    self.mlp = Mlp(self.config)

  def __call__(self, x, keys_values, positions, mask, bias, level_weights, deterministic):
    x = self.self_attention(x, positions, mask, deterministic)
    x = self.cross_attention(x, keys_values, bias, level_weights, deterministic)
    return self.mlp(x, deterministic)

  def with_scores(
    self,
    x,
    keys_values,
    positions,
    mask,
    bias,
    level_weights,
    unit_weights,
    targets,
    token_ids,
    deterministic,
  ):
    x = self.self_attention(x, positions, mask, deterministic)
    x, *scores = self.cross_attention.with_scores(
      x, keys_values, bias, level_weights, unit_weights, targets, token_ids, deterministic
    )
    return self.mlp(x, deterministic), scores

  def step(self, x, position, ancestors, memory_keys, memory_values, bias, keys, values):
    """One position: (x, context, attention, keys, values), see the parts."""
    x, keys, values = self.self_attention.step(x, position, ancestors, keys, values)
    x, context, attention = self.cross_attention.step(x, memory_keys, memory_values, bias)
    return self.mlp(x, True), context, attention, keys, values
