"""The level-conditioned decoder: one stack, one memory, three kinds of summary.

Each layer is causal self-attention, cross-attention over the memory and an MLP. The
level enters by an embedding and by which segment keys a query may see. The keys and
values of all layers come from one projection of the memory, done once, in training
and in decoding alike.

The last layer's cross-attention, meaned over heads, is the decoder's *score*: it says
what each summary unit was drawn from (coverage, provenance), and where to copy from.
It is computed in chunks of queries, so that no [T, M] array per head need exist.
"""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from htmtl_jax.layout import Targets
from htmtl_jax.levels import NUM_LEVELS
from htmtl_jax.models.attention import attend, attention_weights
from htmtl_jax.models.config import ModelConfig
from htmtl_jax.models.layers import (
  Mlp,
  RMSNorm,
  TokenShift,
  dense,
  previous_in_row,
  rematerialise,
  rotate,
  scan_layers,
)
from htmtl_jax.models.memory import Memory
from htmtl_jax.models.rows import EXACT


@flax.struct.dataclass
class DecoderOutput:
  """What the losses read of one teacher-forced pass.

  Attributes:
    states: [B, T, D] final states, normed.
    contexts: [B, T, D] what the last cross-attention read.
    unit_attention: [B, U, M] float32, attention over the memory summed over the target
      tokens of each unit.
    copy_mass: [B, T] float32, attention on keys that hold the target token.
    token_mass: [B, T] float32, attention on all keys that can be copied.
  """

  states: jax.Array
  contexts: jax.Array
  unit_attention: jax.Array
  copy_mass: jax.Array
  token_mass: jax.Array


@flax.struct.dataclass
class Cache:
  """Everything a decoding step needs besides the last token.

  Attributes:
    memory_keys_values: per stack, [layers, B, M, 2, H, E].
    bias: [B, 3, M] float32.
    keys, values: per stack, [layers, B, Q, T, H, E], filled up to the last step.
  """

  memory_keys_values: tuple[jax.Array, ...]
  bias: jax.Array
  keys: tuple[jax.Array, ...]
  values: tuple[jax.Array, ...]


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
    h = attend(query[:, :, None], own_keys, own_values, mask=mask)[:, :, 0]
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

  def step_with_scores(self, x, keys_values, bias, level_weights):
    """Like `with_scores` for one step: (x, context, attention [B, Q, M])."""
    query = self.query(self.norm(x))
    weights = attention_weights(query, keys_values[:, :, 0], bias=_query_bias(level_weights, bias))
    h = jnp.einsum("bhqm,bmhe->bqhe", weights.astype(query.dtype), keys_values[:, :, 1])
    context = self.out(h)
    return x + context, context, weights.mean(axis=1)


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

  def step(self, x, layer, keys_values, position, keys, values, bias, level_weights):
    x, keys, values = self.self_attention.step(x, position, layer, keys, values)
    x, context, attention = self.cross_attention.step_with_scores(
      x, keys_values, bias, level_weights
    )
    return self.mlp(x, True), keys, values, context, attention


class DecoderStack(nn.Module):
  """The layers, and the projection of the memory to all their keys and values.

  All layers but the last run in a scan (or a loop); the last gives the scores.
  """

  config: ModelConfig

  def setup(self):
    config = self.config
    self.memory_norm = RMSNorm(config)
    self.memory_projection = dense(
      (config.decoder_layers, 2, config.num_heads, config.head_width),
      ("embed", "layers", "qkv", "heads", "head_dim"),
      config,
    )
    if config.scan_layers and config.decoder_layers > 1:
      self.layers = DecoderLayer(config)
    else:
      self.layer = [DecoderLayer(config) for _ in range(config.decoder_layers - 1)]
    self.last_layer = DecoderLayer(config)
    self.final_norm = RMSNorm(config)

  def project(self, memory_states):
    """[B, M, D] -> [layers, B, M, 2, H, E]."""
    return jnp.moveaxis(self.memory_projection(self.memory_norm(memory_states)), 2, 0)

  def _run(self, function, carry, keys_values):
    """Runs `function(layer, carry, (index, keys_values)) -> (carry, None)` over all but the last."""
    count = self.config.decoder_layers - 1
    if count == 0:
      return carry
    if self.config.scan_layers:
      carry, _ = scan_layers(function, count)(
        self.layers, carry, (jnp.arange(count), keys_values[:-1])
      )
      return carry
    for i, layer in enumerate(self.layer):
      carry, _ = function(layer, carry, (i, keys_values[i]))
    return carry

  def __call__(
    self, x, targets: Targets, memory: Memory, unit_weights, level_weights, deterministic
  ):
    keys_values = self.project(memory.states)
    same = targets.level[:, :, None] == targets.level[:, None, :]
    causal = targets.position[:, :, None] >= targets.position[:, None, :]
    mask = same & causal & targets.mask[:, :, None]
    shared = (targets.position, mask, memory.bias, level_weights)

    apply = rematerialise(lambda layer, x, kv: layer(x, kv, *shared, deterministic), self.config)
    x = self._run(lambda layer, x, xs: (apply(layer, x, xs[1]), None), x, keys_values)
    x, (context, unit_attention, copy_mass, token_mass) = self.last_layer.with_scores(
      x, keys_values[-1], *shared, unit_weights, targets.ids, memory.token_ids, deterministic
    )
    return DecoderOutput(self.final_norm(x), context, unit_attention, copy_mass, token_mass)

  def step(self, x, position, memory_keys_values, bias, level_weights, keys, values):
    """One position: (states [B, Q, D], contexts [B, Q, D], attention [B, Q, M], keys, values)."""

    def body(layer, carry, xs):
      x, keys, values = carry
      index, keys_values = xs
      x, keys, values, _, _ = layer.step(
        x, index, keys_values, position, keys, values, bias, level_weights
      )
      return (x, keys, values), None

    x, keys, values = self._run(body, (x, keys, values), memory_keys_values)
    x, keys, values, context, attention = self.last_layer.step(
      x,
      self.config.decoder_layers - 1,
      memory_keys_values[-1],
      position,
      keys,
      values,
      bias,
      level_weights,
    )
    return self.final_norm(x), context, attention, keys, values


class Decoder(nn.Module):
  """Level-conditioned decoder; one shared stack, or one a level (`decoder_stacks`)."""

  config: ModelConfig

  def setup(self):
    config = self.config
    count = NUM_LEVELS if config.decoder_stacks == "separate" else 1
    self.stacks = [DecoderStack(config, name=f"stack_{i}") for i in range(count)]
    self.level_embedding = self.param(
      "level_embedding",
      nn.with_logical_partitioning(nn.initializers.normal(config.position_scale), (None, "embed")),
      (NUM_LEVELS, config.width),
    )
    if config.token_shift:
      self.token_shift = TokenShift(config)

  def _inputs(self, embeddings, previous, level_weights):
    if self.config.token_shift:
      embeddings = self.token_shift(embeddings, previous)
    level = jnp.einsum("bql,ld->bqd", level_weights, self.level_embedding)
    return embeddings + level.astype(embeddings.dtype)

  def __call__(
    self, embeddings, targets: Targets, memory: Memory, num_units: int, deterministic: bool
  ):
    """Teacher-forced pass over packed targets.

    Args:
      embeddings: [B, T, D] of the input tokens.
      targets: the packed summaries.
      memory: what to read.
      num_units: U.
      deterministic: True switches dropout off.

    Returns:
      `DecoderOutput`.
    """
    level_weights = jax.nn.one_hot(targets.level, NUM_LEVELS, dtype=jnp.float32)  # zeros at padding
    unit_weights = jax.nn.one_hot(targets.unit, num_units, dtype=jnp.float32)
    x = self._inputs(embeddings, previous_in_row(embeddings, targets.position), level_weights)
    x = nn.with_logical_constraint(x, ("act_batch", "act_target", "act_embed"))
    outputs = [
      s(x, targets, memory, unit_weights, level_weights, deterministic) for s in self.stacks
    ]
    if len(outputs) == 1:
      return outputs[0]
    # Separate stacks (the ablation): every stack ran on every level; keep its own.
    per_unit = jnp.einsum("btu,btl->bul", unit_weights, level_weights) > 0  # level of a unit
    pick = lambda parts, weights: sum(
      jnp.where(weights[..., i : i + 1] > 0, part, 0) for i, part in enumerate(parts)
    )
    pick_scalar = lambda parts: sum(
      jnp.where(level_weights[..., i] > 0, part, 0) for i, part in enumerate(parts)
    )
    return DecoderOutput(
      states=pick([o.states for o in outputs], level_weights),
      contexts=pick([o.contexts for o in outputs], level_weights),
      unit_attention=pick([o.unit_attention for o in outputs], per_unit),
      copy_mass=pick_scalar([o.copy_mass for o in outputs]),
      token_mass=pick_scalar([o.token_mass for o in outputs]),
    )

  def start(self, memory: Memory, num_queries: int, max_length: int) -> Cache:
    """Projects the memory and makes room for `max_length` steps of `num_queries` queries."""
    config = self.config
    shape = (
      config.decoder_layers,
      memory.states.shape[0],
      num_queries,
      max_length,
      config.num_heads,
      config.head_width,
    )
    empty = tuple(jnp.zeros(shape, config.compute_dtype) for _ in self.stacks)
    return Cache(
      memory_keys_values=tuple(stack.project(memory.states) for stack in self.stacks),
      bias=memory.bias,
      keys=empty,
      values=empty,
    )

  def step(self, embeddings, previous, position, levels, cache: Cache):
    """One position for every query.

    Args:
      embeddings, previous: [B, Q, D] of the last token and the one before it (zeros at
        the first step).
      position: scalar int32.
      levels: [Q] int32.
      cache: as returned by `start` or the step before.

    Returns:
      (states [B, Q, D], contexts [B, Q, D], attention [B, Q, M] float32, cache).
    """
    batch_size = embeddings.shape[0]
    level_weights = jax.nn.one_hot(levels, NUM_LEVELS, dtype=jnp.float32)
    level_weights = jnp.broadcast_to(level_weights, (batch_size, *level_weights.shape))
    x = self._inputs(embeddings, previous, level_weights)
    results = [
      stack.step(
        x,
        position,
        cache.memory_keys_values[i],
        cache.bias,
        level_weights,
        cache.keys[i],
        cache.values[i],
      )
      for i, stack in enumerate(self.stacks)
    ]
    new_cache = cache.replace(
      keys=tuple(r[3] for r in results), values=tuple(r[4] for r in results)
    )
    if len(results) == 1:
      return (*results[0][:3], new_cache)
    pick = lambda i: sum(level_weights[..., k : k + 1] * r[i] for k, r in enumerate(results))
    return (*(pick(i).astype(results[0][i].dtype) for i in range(3)), new_cache)
