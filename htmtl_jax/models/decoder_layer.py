"""One decoder layer: self-attention, cross-attention over the memory, MLP.

Each in two forms: over all positions at once (training), and one step with a cache
(decoding). The last layer's cross-attention also returns what it looked at: summed by
unit for coverage, at the target token for the copy gate.
"""

import flax.linen as nn
import jax.numpy as jnp

from htmtl_jax.models import cached_attention
from htmtl_jax.models.attention import attend
from htmtl_jax.models.config import ModelConfig
from htmtl_jax.models.dropout import Dropout
from htmtl_jax.models.layers import Mlp, RMSNorm, dense, join_heads
from htmtl_jax.models.rotation import make_rotation, rotate
from htmtl_jax.models.sharded_memory_attention import attend_to_memory, attend_with_scores


class SelfAttention(nn.Module):
  """Pre-norm residual causal self-attention with rotary positions."""

  config: ModelConfig

  def setup(self):
    config = self.config
    self.norm = RMSNorm(config)
    self.qkv = dense(
      (3, config.num_heads, config.head_width), ("embed", "qkv", "heads", "head_dim"), config
    )
    self.out = join_heads(config, depth=config.decoder_layers)
    self.drop = Dropout(config.dropout)

  def __call__(self, x, positions, mask, deterministic):
    """x: [B, T, D]; positions: [B, T]; mask: [B, T, T] bool."""
    query, key, value = self._project(x, positions)
    h = attend(query, key, value, mask)
    return x + self.drop(self.out(h), deterministic=deterministic)

  def step(self, x, position, ancestors, keys, values):
    """One position: x [B, Q, D] at scalar `position`; the rest as in `Cache`, of one layer."""
    query, key, value = self._project(x, jnp.full(x.shape[:2], position))
    keys = cached_attention.write_slots(keys, key, position)
    values = cached_attention.write_slots(values, value, position)
    h = cached_attention.attend_to_past(query, keys, values, ancestors, position)
    return x + self.out(h), keys, values

  def _project(self, x, positions):
    qkv = self.qkv(self.norm(x))
    query, key, value = (qkv[..., i, :, :] for i in range(3))
    rotation = make_rotation(positions, query.shape[-1])
    return rotate(query, rotation), rotate(key, rotation), value


class CrossAttention(nn.Module):
  """Pre-norm residual cross-attention over the memory; keys and values come projected."""

  config: ModelConfig

  def setup(self):
    config = self.config
    self.norm = RMSNorm(config)
    self.query = dense(
      (config.num_heads, config.head_width), ("embed", "heads", "head_dim"), config
    )
    self.out = join_heads(config, depth=config.decoder_layers)
    self.drop = Dropout(config.dropout)

  def __call__(self, x, keys_values, bias, level_weights, deterministic):
    """The plain layer: [B, T, D] -> [B, T, D].

    Args:
      x: [B, T, D].
      keys_values: both [B, H, E, M], see `memory_attention.py`.
      bias: [B, 3, M] float32.
      level_weights: [B, T, 3] float32, one-hot level of each query.
      deterministic: True switches dropout off.
    """
    h = attend_to_memory(
      self.config.key_block, self.query(self.norm(x)), *keys_values, bias, level_weights
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
      self.config.key_block,
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

  def step(self, x, keys, values, bias):
    """One position: (x [B, Q, D], context, attention [B, n, Q, c]); the rest as in `Cache`."""
    query = self.query(self.norm(x))
    h, attention = cached_attention.attend_to_memory(query, keys, values, bias)
    context = self.out(h)
    return x + context, context, attention


class DecoderLayer(nn.Module):
  """Self-attention, cross-attention, MLP."""

  config: ModelConfig

  def setup(self):
    self.self_attention = SelfAttention(self.config)
    self.cross_attention = CrossAttention(self.config)
    self.mlp = Mlp(self.config, self.config.decoder_layers)

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

  def step(self, x, position, ancestors, memory_keys, memory_values, bias, keys, values):
    """One position: (x, context, attention, keys, values), see the parts."""
    x, keys, values = self.self_attention.step(x, position, ancestors, keys, values)
    x, context, attention = self.cross_attention.step(x, memory_keys, memory_values, bias)
    return self.mlp(x, True), context, attention, keys, values
