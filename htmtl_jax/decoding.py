"""Writing the three summaries: beam search over the model's cached decoder.

The three levels are three groups of one search over one encoding; memory keys and
values are shared by all levels and beams.
"""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp

from htmtl_jax.beam_search import NEVER, SearchResult, beam_search, repeated_ngram_mask
from htmtl_jax.data.packing import tokens_left
from htmtl_jax.data.tokenizer import (
  BOS_ID,
  EOS_ID,
  NUM_STRUCTURE_IDS,
  PIECE_MARKERS,
  SECTION_ID,
  SENTENCE_ID,
)
from htmtl_jax.errors import UserError
from htmtl_jax.layout import Batch
from htmtl_jax.levels import NUM_LEVELS, PARAGRAPH, SECTION
from htmtl_jax.losses import LossConfig
from htmtl_jax.models.htmtl import Htmtl
from htmtl_jax.train_step import under_mesh


@dataclasses.dataclass(frozen=True)
class DecodeConfig:
  """Each field's meaning stands beside it in `configs/base.py`; triples go by level."""

  beam_size: int = 4
  length_penalty: float = 0.8
  min_tokens: tuple[int, int, int] = (8, 32, 32)
  max_tokens: tuple[int, int, int] = (64, 512, 640)
  no_repeat_ngram: tuple[int, int, int] = (4, 4, 0)
  target_words: tuple[int, int, int] = (0, 0, 0)

  def __post_init__(self):
    if self.beam_size < 1:
      raise UserError(f"config.decode.beam_size: {self.beam_size} must be at least 1")
    for low, high in zip(self.min_tokens, self.max_tokens):
      if not 0 <= low <= high or high < 1:
        raise UserError(
          f"config.decode: min_tokens {self.min_tokens} must not exceed max_tokens {self.max_tokens}"
        )
    if min(self.target_words) < 0:
      raise UserError(
        f"config.decode.target_words: {self.target_words}: each must be 0 (left to the model) or more"
      )
    if any(n == 1 or n < 0 for n in self.no_repeat_ngram):
      raise UserError(
        f"config.decode.no_repeat_ngram: {self.no_repeat_ngram}: each must be 0 (off) or at least 2"
      )


def make_decoder(
  model: Htmtl, config: DecodeConfig, loss_config: LossConfig, mesh
) -> Callable[..., SearchResult]:
  """Compiles decoding: decode(params, step_number, batch, num_pieces, lengths) -> SearchResult.

  `num_pieces` [B] says how many section pieces the digest must have; the search writes
  exactly so many, room permitting. `lengths` [3] or [B, 3] int32 says how many tokens each
  summary should have, 0 (the default) leaves it to the model.
  """
  max_length = max(config.max_tokens)

  def decode(params, step_number, batch: Batch, num_pieces, lengths=(0, 0, 0)):
    batch_size = batch.token_ids.shape[0]
    lengths = jnp.broadcast_to(jnp.asarray(lengths), (batch_size, NUM_LEVELS))
    # Who asks for less than the minimum is to have it.
    least = jnp.broadcast_to(jnp.asarray(config.min_tokens), lengths.shape)
    least = jnp.where(lengths > 0, jnp.minimum(least, lengths), least)
    beams = config.beam_size
    queries = NUM_LEVELS * beams
    levels = jnp.repeat(jnp.arange(NUM_LEVELS), beams)  # [Q]
    variables = {"params": params}
    _, memory, cache = model.apply(
      variables,
      batch,
      queries,
      max_length,
      loss_config.importance_ramp(step_number),
      method=Htmtl.start_decoding,
    )

    def step(ids, previous, position, carry):
      cache, markers = carry
      markers += ids == jnp.asarray(PIECE_MARKERS)[None, :, None]
      flat = lambda x: x.reshape(batch_size, queries)
      log_probs, _, cache = model.apply(
        variables,
        flat(ids),
        flat(previous),
        position,
        levels,
        flat(piece_of_count(markers)),
        jnp.repeat(tokens_left(lengths, position), beams, axis=1),
        memory.token_ids,
        cache,
        method=Htmtl.decode_step,
      )
      return log_probs.reshape(batch_size, NUM_LEVELS, beams, -1), (cache, markers)

    def reorder(carry, parents):
      if beams == 1:
        return carry
      cache, markers = carry
      markers = jnp.take_along_axis(markers, parents, axis=-1)
      index = parents[None, ..., None, None, None]  # [1, B, G, K, 1, 1, 1]

      def move(array):  # [layers, B, Q, T, H, E]
        grouped = array.reshape(array.shape[0], batch_size, NUM_LEVELS, beams, *array.shape[3:])
        return jnp.take_along_axis(grouped, index, axis=3).reshape(array.shape)

      cache = cache.replace(
        keys=tuple(map(move, cache.keys)), values=tuple(map(move, cache.values))
      )
      return cache, markers

    def constrain(log_probs, ids, position):
      forbidden = forbidden_structure(ids, position, num_pieces, least)
      structure = jnp.where(forbidden, NEVER, log_probs[..., :NUM_STRUCTURE_IDS])
      # A digest opens with its marker and nothing else.
      opening = (jnp.arange(NUM_LEVELS) == SECTION)[None, :, None, None] & (position == 0)
      words = jnp.where(opening, NEVER, log_probs[..., NUM_STRUCTURE_IDS:])
      # Ids beyond the real vocabulary are at minus infinity; sums need finite numbers.
      log_probs = jnp.maximum(jnp.concatenate([structure, words], axis=-1), NEVER)
      for level, size in enumerate(config.no_repeat_ngram):
        if size:
          blocked = repeated_ngram_mask(ids[:, level], position, size, log_probs.shape[-1])
          blocked = blocked.at[..., :NUM_STRUCTURE_IDS].set(False)
          log_probs = log_probs.at[:, level].set(jnp.where(blocked, NEVER, log_probs[:, level]))
      return log_probs

    return beam_search(
      step,
      reorder,
      constrain,
      (cache, jnp.zeros((batch_size, NUM_LEVELS, beams), jnp.int32)),
      batch_size=batch_size,
      max_lengths=jnp.asarray(config.max_tokens),
      beam_size=beams,
      max_length=max_length,
      alpha=config.length_penalty,
      bos_id=BOS_ID,
      eos_id=EOS_ID,
    )

  return under_mesh(jax.jit(decode), mesh)


def piece_of_count(markers: jax.Array) -> jax.Array:
  """`Targets.piece` from the markers counted so far: [B, 3, K] int32 to the same."""
  opens_with_marker = jnp.arange(NUM_LEVELS)[None, :, None] == SECTION
  return jnp.maximum(markers - opens_with_marker, 0)


def forbidden_structure(ids, position, num_pieces, min_tokens) -> jax.Array:
  """Which structure ids must not come next, so that every output has its level's form.

  One sentence: no markers. One paragraph: sentence separators only. Section by section:
  a section marker first, as many of them as there are pieces, and no end before the
  last. Never two markers in a row, nor an end right after one (nothing to say).

  Args:
    ids: [B, 3, K, T] int32 so far.
    position: [] int32.
    num_pieces: [B] int32.
    min_tokens: [B, 3] int32, no end before so many tokens.

  Returns:
    [B, 3, K, NUM_STRUCTURE_IDS] bool.
  """
  so_far = jnp.arange(ids.shape[-1]) < position
  sections = ((ids == SECTION_ID) & so_far).sum(-1)  # [B, 3, K]
  last = jnp.take_along_axis(ids, jnp.full((*ids.shape[:-1], 1), jnp.maximum(position - 1, 0)), -1)[
    ..., 0
  ]
  after_marker = (position == 0) | (last == SECTION_ID) | (last == SENTENCE_ID)
  level = jnp.arange(NUM_LEVELS)[None, :, None]
  wanted = num_pieces[:, None, None]
  is_digest = level == SECTION
  no_end = (position < min_tokens[:, :, None]) | after_marker | (is_digest & (sections < wanted))
  no_section = ~is_digest | ((position > 0) & after_marker) | ((sections >= wanted) & (wanted > 0))
  no_sentence = (level < PARAGRAPH) | after_marker
  forbidden = jnp.ones((*ids.shape[:-1], NUM_STRUCTURE_IDS), bool)
  forbidden = forbidden.at[..., EOS_ID].set(no_end)
  forbidden = forbidden.at[..., SECTION_ID].set(no_section)
  return forbidden.at[..., SENTENCE_ID].set(no_sentence)
