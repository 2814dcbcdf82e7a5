"""HTMTL: the encoder, the decoder and the generator over one shared vocabulary."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from htmtl_jax.layout import Batch, Targets
from htmtl_jax.models.config import ModelConfig, round_up_vocabulary
from htmtl_jax.models.decoder import Decoder
from htmtl_jax.models.decoding_cache import Cache
from htmtl_jax.models.decoding_memory import of_important_tokens, of_levels, round_up
from htmtl_jax.models.dropout import Dropout
from htmtl_jax.models.encoder import Encoder, EncoderOutput
from htmtl_jax.models.generator import Generator
from htmtl_jax.models.memory import make_memory, segment_scores
from htmtl_jax.models.sharded_memory_attention import memory_slices


@flax.struct.dataclass
class ModelOutput:
  """One teacher-forced pass over all three levels.

  Attributes:
    encoded: the encoder's output, importance among it.
    log_probs: [B, T] float32, log p of each target token.
    smooth_log_probs: [B, T] float32, mean log p of the vocabulary softmax.
    gate: [B, T] float32, probability to generate rather than copy.
    states: [B, T, D] final decoder states.
    unit_scores: scores over sentences, paragraphs, sections summed over the tokens of
      each unit: ([B, U, S], [B, U, P], [B, U, C]) float32.
  """

  encoded: EncoderOutput
  log_probs: jax.Array
  smooth_log_probs: jax.Array
  gate: jax.Array
  states: jax.Array
  unit_scores: tuple[jax.Array, jax.Array, jax.Array]


class Htmtl(nn.Module):
  """The whole model.

  Attributes:
    config: sizes and choices.
    vocabulary_size: ids of the tokenizer; the embedding is rounded up, see
      `round_up_vocabulary`.
  """

  config: ModelConfig
  vocabulary_size: int

  def setup(self):
    config = self.config
    size = round_up_vocabulary(self.vocabulary_size)
    # Variance 1 / D makes tied logits of normed states start at variance 1; inputs are
    # scaled back up to unit variance.
    self.embedding = self.param(
      "embedding",
      nn.with_logical_partitioning(nn.initializers.normal(config.width**-0.5), ("vocab", "table")),
      (size, config.width),
    )
    self.encoder = Encoder(config)
    self.decoder = Decoder(config)
    self.generator = Generator(config, self.vocabulary_size)
    self.drop = Dropout(config.dropout)

  def embed(self, ids, deterministic=True):
    """[...] int32 -> [..., D] of about unit variance."""
    x = jnp.take(self.whole_embedding(), ids, axis=0) * self.config.width**0.5
    return self.drop(x.astype(self.config.compute_dtype), deterministic=deterministic)

  def whole_embedding(self):
    """[V, D], brought together from where it is stored.

    Left to itself the compiler may rather bring together the states of all documents.
    """
    return nn.with_logical_constraint(self.embedding, ("act_vocab", "act_embed"))

  def encode(self, batch: Batch, deterministic: bool = True) -> EncoderOutput:
    return self.encoder(batch, self.embed(batch.token_ids, deterministic), deterministic)

  def __call__(
    self, batch: Batch, num_units: int, importance_ramp=1.0, deterministic: bool = True
  ) -> ModelOutput:
    """Encodes once and scores the three reference summaries.

    Args:
      batch: packed documents.
      num_units: U of the bucket.
      importance_ramp: scalar in [0, 1], how much importance gates the memory.
      deterministic: True switches dropout off.
    """
    encoded = self.encode(batch, deterministic)
    return self.score_targets(
      encoded, batch, batch.targets, num_units, importance_ramp, deterministic
    )

  def score_targets(
    self,
    encoded: EncoderOutput,
    batch: Batch,
    targets: Targets,
    num_units: int,
    importance_ramp=1.0,
    deterministic: bool = True,
  ) -> ModelOutput:
    """Teacher-forced scores of any packed summaries: references, or the model's own."""
    slices = memory_slices()
    memory = make_memory(encoded, batch, self.config, importance_ramp, slices)
    embeddings = self.embed(targets.input_ids, deterministic)
    decoded = self.decoder(embeddings, targets, memory, num_units, deterministic)
    log_probs, smooth, gate = self.generator.target_log_probs(
      decoded.states,
      decoded.contexts,
      self.whole_embedding(),
      targets.ids,
      decoded.scores.copy_mass,
      decoded.scores.token_mass,
    )
    return ModelOutput(
      encoded=encoded,
      log_probs=log_probs,
      smooth_log_probs=smooth,
      gate=gate,
      states=decoded.states,
      unit_scores=segment_scores(decoded.scores.unit_attention, encoded, batch, slices),
    )

  # ---------------------------------------------------------------- step by step

  def start_decoding(
    self,
    batch: Batch,
    levels: tuple[int, ...],
    beams: int,
    length: int = 0,
    importance_ramp=1.0,
    tile: int = 0,
    memory_tokens: int = 0,
  ) -> tuple[EncoderOutput, Cache]:
    """Encodes, and prepares the cache for `length` steps of `beams` beams of each level.

    Args:
      batch: packed documents.
      levels: G of them, static.
      beams: K.
      length: T.
      importance_ramp: as in training.
      tile: how wide the tiles are in which a step reads the keys, see `tile_width`.
      memory_tokens: read so many tokens alone, see `of_important_tokens`; 0 for all.
    """
    encoded = self.encode(batch)
    memory = make_memory(encoded, batch, self.config, importance_ramp)
    # Levels first, as long as the memory is in its full order.
    memory = of_levels(memory, batch, levels)
    if memory_tokens:
      memory = of_important_tokens(memory, encoded.importance, batch, memory_tokens)
    memory = round_up(memory, max(tile, 1))
    return encoded, self.decoder.start(memory, self.embedding, levels, beams, length, tile)

  def decode_step(self, ids, previous_ids, position, pieces, remaining, cache: Cache):
    """log p of the next token for every beam of every group.

    Args:
      ids, previous_ids: [B, G, K] int32, the last input token and the one before it.
      position: scalar int32, index of `ids` in the summary; at 0 there is none before it.
      pieces, remaining: [B, G, K] int32, where in its summary the input stands, and how many
        tokens are left to write, see `Targets`.
      cache: the state so far.

    Returns:
      (log_probs [B, G, K, V] float32, attention [B, G, K, M] float32 with M as rounded up by
      `round_up`, cache).
    """
    flat = lambda x: x.reshape(x.shape[0], -1)
    previous = jnp.where(position > 0, self.embed(flat(previous_ids)), 0)
    states, contexts, attention, cache = self.decoder.step(
      self.embed(flat(ids)), previous, position, flat(pieces), flat(remaining), cache
    )
    log_probs = self.generator.log_probs(
      states, contexts, cache.output, attention, cache.token_ids
    )
    grouped = lambda x: x.reshape(*ids.shape, -1)
    return grouped(log_probs), grouped(jnp.moveaxis(attention, 1, 2)), cache
