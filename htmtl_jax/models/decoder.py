"""The level-conditioned decoder: one stack, one memory, three kinds of summary.

Each layer is causal self-attention, cross-attention over the memory and an MLP. The
level enters by an embedding and by which segment keys a query may see. The keys and
values of all layers come from one projection of the memory, done once, in training
and in decoding alike.

The last layer's cross-attention, meaned over heads, is the decoder's *score*: it says
what each summary unit was drawn from (coverage, provenance), and where to copy from.
It is computed block by block of the memory (`memory_attention.py`), so that no [T, M]
array per head exists.
"""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from htmtl_jax.layout import Targets
from htmtl_jax.levels import NUM_LEVELS
from htmtl_jax.models.cached_attention import cut_tiles
from htmtl_jax.models.config import ModelConfig
from htmtl_jax.models.decoder_layer import DecoderLayer
from htmtl_jax.models.decoding_cache import Cache, write_own_slots
from htmtl_jax.models.layers import (
  LengthEmbedding,
  PositionEmbedding,
  RMSNorm,
  TokenShift,
  dense,
  previous_in_row,
  rematerialise,
  scan_layers,
)
from htmtl_jax.models.memory import Memory
from htmtl_jax.models.memory_attention import Scores


@flax.struct.dataclass
class DecoderOutput:
  """What the losses read of one teacher-forced pass.

  Attributes:
    states: [B, T, D] final states, normed.
    contexts: [B, T, D] what the last cross-attention read.
    scores: what the last cross-attention says, see `Scores`.
  """

  states: jax.Array
  contexts: jax.Array
  scores: Scores


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
    """[B, M, D] -> keys and values of all layers but the last, as `_run` takes them, and of the last.

    Both are ([B, H, E, M], [B, H, E, M]), of the layers a list of them, or where layers are
    scanned one, [layers - 1, B, H, E, M]. The weights are the left factor of the product, so that
    it comes out transposed; each is a product of its own, so that none is cut out of another.
    """
    normed = self.memory_norm(memory_states)
    last = self.config.decoder_layers - 1

    def keys_and_values(layer):
      project = lambda i: self.memory_projection(normed, transposed=True, part=(layer, i))
      return tuple(jnp.moveaxis(project(i), -2, -4) for i in range(2))

    if self.config.scan_layers and last:
      return keys_and_values(slice(last)), keys_and_values(last)
    return [keys_and_values(i) for i in range(last)], keys_and_values(last)

  def _run(self, function, carry, keys_values):
    """Runs `function(layer, carry, keys_values) -> (carry, None)` over all layers but the last."""
    count = self.config.decoder_layers - 1
    if count and self.config.scan_layers:
      scanned = scan_layers(function, count, self.config.scan_unroll)
      return scanned(self.layers, carry, keys_values)[0]
    for layer, layer_keys_values in zip(self.layer if count else [], keys_values, strict=True):
      carry, _ = function(layer, carry, layer_keys_values)
    return carry

  def __call__(
    self, x, targets: Targets, memory: Memory, unit_weights, level_weights, deterministic
  ):
    keys_values, last_keys_values = self.project(memory.states)
    same = targets.level[:, :, None] == targets.level[:, None, :]
    causal = targets.position[:, :, None] >= targets.position[:, None, :]
    mask = same & causal & targets.mask[:, :, None]
    shared = (targets.position, mask, memory.bias, level_weights)

    run = lambda layer, x, kv: layer(x, kv, *shared, deterministic)
    count = self.config.decoder_layers - 1
    apply = rematerialise(run, self.config, count, self.config.scan_unroll)
    x = self._run(lambda layer, x, kv: (apply(layer, x, kv), None), x, keys_values)
    x, context, scores = self.last_layer.with_scores(
      x, last_keys_values, *shared, unit_weights, targets.ids, memory.token_ids, deterministic
    )
    return DecoderOutput(self.final_norm(x), context, scores)

  def project_for_steps(self, memory_states, tile: int):
    """[B, M, D] -> keys and values per layer, as in `Cache`, the keys in tiles."""
    normed = self.memory_norm(memory_states)
    tile = tile or normed.shape[1]
    tiled = normed.reshape(normed.shape[0], -1, tile, normed.shape[-1])
    kernel = self.memory_projection.variables["params"]["kernel"].astype(normed.dtype)
    layers = range(self.config.decoder_layers)
    keys = tuple(jnp.einsum("dhe,bncd->bhnec", kernel[:, i, 0], tiled) for i in layers)
    values = tuple(jnp.einsum("dhe,bmd->bhem", kernel[:, i, 1], normed) for i in layers)
    return keys, values

  def _single_layers(self) -> list[DecoderLayer]:
    """The layers one by one, scanned ones with their slice of the parameters."""
    count = self.config.decoder_layers - 1
    if not (self.config.scan_layers and count):
      return [*self.layer, self.last_layer]
    stacked = self.layers.variables["params"]
    slices = [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(count)]
    detached = DecoderLayer(self.config, parent=None)
    return [*(detached.bind({"params": params}) for params in slices), self.last_layer]

  def step(self, x, position, cache: Cache, stack: int):
    """One position: (states, contexts [B, Q, D], attention [B, n, Q, c], keys, values)."""
    keys, values = [], []
    for i, layer in enumerate(self._single_layers()):
      x, context, attention, layer_keys, layer_values = layer.step(
        x,
        position,
        cache.ancestors,
        cache.memory_keys[stack][i],
        cache.memory_values[stack][i],
        cache.bias,
        cache.keys[stack][i],
        cache.values[stack][i],
      )
      keys.append(layer_keys)
      values.append(layer_values)
    return self.final_norm(x), context, attention, tuple(keys), tuple(values)


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
    if config.piece_positions:
      self.piece_position = PositionEmbedding(config)
    if config.length_condition:
      self.length = LengthEmbedding(config)

  def _inputs(self, embeddings, previous, level_weights, pieces, remaining):
    if self.config.token_shift:
      embeddings = self.token_shift(embeddings, previous)
    level = jnp.einsum("bql,ld->bqd", level_weights, self.level_embedding)
    embeddings = embeddings + level.astype(embeddings.dtype)
    if self.config.piece_positions:
      embeddings = embeddings + self.piece_position(pieces)
    if self.config.length_condition:
      embeddings = embeddings + self.length(remaining)
    return embeddings

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
    previous = previous_in_row(embeddings, targets.position)
    x = self._inputs(embeddings, previous, level_weights, targets.piece, targets.remaining)
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
      scores=Scores(
        unit_attention=pick([o.scores.unit_attention for o in outputs], per_unit),
        copy_mass=pick_scalar([o.scores.copy_mass for o in outputs]),
        token_mass=pick_scalar([o.scores.token_mass for o in outputs]),
      ),
    )

  def start(
    self, memory: Memory, output, levels: tuple[int, ...], beams: int, length: int, tile: int
  ) -> Cache:
    """Projects the memory and makes room for `length` steps.

    Args:
      memory: as `of_levels` gives it.
      output: [V, D], the generator's matrix.
      levels: G of them, static.
      beams: K.
      length: T.
      tile: c, see `tile_width`.
    """
    config = self.config
    groups = (memory.states.shape[0], len(levels))
    slots = (config.num_heads, config.head_width, length * beams)
    empty = jnp.zeros((*groups, *slots), config.compute_dtype)
    empty = ((empty,) * config.decoder_layers,) * len(self.stacks)
    keys, values = zip(*(stack.project_for_steps(memory.states, tile) for stack in self.stacks))
    return Cache(
      levels=tuple(levels),
      memory_keys=keys,
      memory_values=values,
      bias=memory.bias,
      token_ids=memory.token_ids,
      output=cut_tiles(output.astype(config.compute_dtype).T, tile),
      ancestors=jnp.zeros((*groups, beams, length), jnp.int32),
      keys=empty,
      values=empty,
    )

  def step(self, embeddings, previous, position, pieces, remaining, cache: Cache):
    """One position for every query, Q = G * K.

    Args:
      embeddings, previous: [B, Q, D] of the last token and the one before it (zeros at
        the first step).
      position: scalar int32.
      pieces, remaining: [B, Q] int32, see `Targets`.
      cache: as returned by `start` or the step before.

    Returns:
      (states [B, Q, D], contexts [B, Q, D], attention [B, n, Q, c] float32, cache).
    """
    levels = jnp.repeat(jnp.asarray(cache.levels), cache.beams)  # [Q]
    level_weights = jax.nn.one_hot(levels, NUM_LEVELS, dtype=jnp.float32)
    level_weights = jnp.broadcast_to(level_weights, (embeddings.shape[0], *level_weights.shape))
    x = self._inputs(embeddings, previous, level_weights, pieces, remaining)
    cache = write_own_slots(cache, position)
    results = [stack.step(x, position, cache, i) for i, stack in enumerate(self.stacks)]
    cache = cache.replace(keys=tuple(r[3] for r in results), values=tuple(r[4] for r in results))
    if len(results) == 1:
      return (*results[0][:3], cache)
    # Separate stacks (the ablation): every stack ran on every level; keep its own.
    own = jnp.moveaxis(level_weights, -1, 0)[..., None]  # [3, B, Q, 1]
    pick = lambda i, own: sum(w * r[i] for w, r in zip(own, results)).astype(results[0][i].dtype)
    return pick(0, own), pick(1, own), pick(2, own[:, :, None]), cache
