"""One decoder layer: self-attention, cross-attention over the memory, MLP.

Each in two forms: over all positions at once (training), and one step with a cache
(decoding). The last layer's cross-attention also returns what it looked at: summed by
unit for coverage, at the target token for the copy gate.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from htmtl_jax.models.attention import attend
from htmtl_jax.models.config import ModelConfig
from htmtl_jax.models.dropout import Dropout
from htmtl_jax.models.layers import Mlp, RMSNorm, dense, rotate
from htmtl_jax.models.memory_attention import Blocks, attend_to_memory, attend_with_scores
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
    self.drop = Dropout(config.dropout)

  def __call__(self, x, positions, mask, deterministic):
    """x: [B, T, D]; positions: [B, T]; mask: [B, T, T] bool."""
    query, key, value = self._project(x, positions)
    h = attend(query, key, value, mask)
    return x + self.drop(self.out(h), deterministic=deterministic)

  def step(self, x, position, layer, keys, values):
    """x: [B, Q, D] at scalar `position` of layer number `layer`; keys, values as in `Cache`.

    The whole cache travels through and one slot of it is written, so that XLA can
    update it in place instead of copying a layer's cache at every step.
    """
    query, key, value = self._project(x, jnp.full(x.shape[:2], position))
    start = (layer, 0, 0, position, 0, 0)
    keys = jax.lax.dynamic_update_slice(keys, key[None, :, :, None].astype(keys.dtype), start)
    values = jax.lax.dynamic_update_slice(
      values, value[None, :, :, None].astype(values.dtype), start
    )
    own_keys = jax.lax.dynamic_index_in_dim(keys, layer, keepdims=False)  # [B, Q, T, H, E]
    own_values = jax.lax.dynamic_index_in_dim(values, layer, keepdims=False)
    seen = jnp.arange(keys.shape[3]) <= position
    mask = jnp.broadcast_to(seen, (*x.shape[:2], 1, keys.shape[3]))
    h = attend(query[:, :, None], own_keys, own_values, mask)[:, :, 0]
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
    self.drop = Dropout(config.dropout)

  def __call__(self, x, keys_values, bias, level_weights, deterministic):
    """The plain layer: [B, T, D] -> [B, T, D].

    Args:
      x: [B, T, D].
      keys_values: [2, B, H, E, M], see `memory_attention.py`.
      bias: [B, 3, M] float32.
      level_weights: [B, T, 3] float32, one-hot level of each query.
      deterministic: True switches dropout off.
    """
    h = attend_to_memory(
      self._blocks(bias), self.query(self.norm(x)), *keys_values, bias, level_weights
    )
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
      (x, context [B, T, D], `Scores`).
    """
    h, scores = attend_with_scores(
      self._blocks(bias),
      self.query(self.norm(x)),
      *keys_values,
      bias,
      level_weights,
      unit_weights,
      targets,
      token_ids,
    )
    context = self.out(h)
    return x + self.drop(context, deterministic=deterministic), context, scores

  def step_with_scores(self, x, keys_values, bias, level_weights):
    """Like `with_scores` for one step: (x, context, attention [B, Q, M])."""
    query = self.query(self.norm(x))
    keys, values = keys_values
    own_bias = jnp.einsum("bql,blm->bqm", level_weights, bias, precision=EXACT)
    scores = jnp.einsum("bqhe,bhem->bhqm", query, keys, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(scores * query.shape[-1] ** -0.5 + own_bias[:, None], axis=-1)
    h = jnp.einsum("bhqm,bhem->bqhe", weights.astype(query.dtype), values)
    context = self.out(h)
    return x + context, context, weights.mean(axis=1)

  def _blocks(self, bias) -> Blocks:
    return Blocks.cover(bias.shape[-1], self.config.key_block)


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
    x, context, scores = self.cross_attention.with_scores(
      x, keys_values, bias, level_weights, unit_weights, targets, token_ids, deterministic
    )
    return self.mlp(x, deterministic), context, scores

  def step(self, x, layer, keys_values, position, keys, values, bias, level_weights):
    x, keys, values = self.self_attention.step(x, position, layer, keys, values)
    x, context, attention = self.cross_attention.step_with_scores(
      x, keys_values, bias, level_weights
    )
    return self.mlp(x, True), keys, values, context, attention
