"""Writing the summaries: beam search over the model's cached decoder.

The levels are groups of one search over one encoding; memory keys and values are shared
by all levels and beams.
"""

from collections.abc import Callable, Sequence
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
from htmtl_jax.levels import LEVELS, NUM_LEVELS, PARAGRAPH, SECTION
from htmtl_jax.losses import LossConfig
from htmtl_jax.models import decoding_cache
from htmtl_jax.models.cached_attention import tile_width
from htmtl_jax.models.htmtl import Htmtl
from htmtl_jax.sharding import replicated
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
  levels: tuple[str, ...] = LEVELS
  memory_tokens: int = 0

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
    if self.memory_tokens < 0:
      raise UserError(
        f"config.decode.memory_tokens: {self.memory_tokens} must be 0 (all of them) or more"
      )
    if not self.levels or not set(self.levels) <= set(LEVELS):
      raise UserError(
        f"config.decode.levels: {','.join(self.levels) or '()'}: name at least one of "
        f"{', '.join(LEVELS)}"
      )

  @property
  def written(self) -> tuple[int, ...]:
    """[G] the levels to be written, in their order."""
    return tuple(i for i, level in enumerate(LEVELS) if level in self.levels)


def make_decoder(
  model: Htmtl, config: DecodeConfig, loss_config: LossConfig, mesh
) -> Callable[..., SearchResult]:
  """Compiles decoding: decode(params, step_number, batch, num_pieces, lengths) -> SearchResult.

  The result has all three levels, with empty summaries at those that `config.levels` leaves out.

  `num_pieces` [B] says how many section pieces the digest must have; the search writes
  exactly so many, room permitting. `lengths` [3] or [B, 3] int32 says how many tokens each
  summary should have, 0 (the default) leaves it to the model.
  """
  levels = config.written
  limits = [config.max_tokens[level] for level in levels]
  tile = tile_width(mesh.devices.flat[0].platform)

  def decode(params, step_number, batch: Batch, num_pieces, lengths=(0, 0, 0)):
    batch_size = batch.token_ids.shape[0]
    lengths = jnp.broadcast_to(jnp.asarray(lengths), (batch_size, NUM_LEVELS))
    # Who asks for less than the minimum is to have it.
    least = jnp.broadcast_to(jnp.asarray(config.min_tokens), lengths.shape)
    least = jnp.where(lengths > 0, jnp.minimum(least, lengths), least)
    variables = {"params": params}
    _, cache = model.apply(
      variables,
      batch,
      levels,
      config.beam_size,
      importance_ramp=loss_config.importance_ramp(step_number),
      tile=tile,
      memory_tokens=config.memory_tokens,
      method=Htmtl.start_decoding,
    )
    markers = jnp.zeros((batch_size, len(levels), config.beam_size), jnp.int32)

    def step(groups, ids, previous, position, carry):
      cache, markers = carry
      markers += ids == jnp.asarray(PIECE_MARKERS)[list(cache.levels), None]
      remaining = tokens_left(lengths[:, list(cache.levels), None], position)
      log_probs, _, cache = model.apply(
        variables,
        ids,
        previous,
        position,
        piece_of_count(markers, cache.levels),
        jnp.broadcast_to(remaining, ids.shape),
        cache,
        method=Htmtl.decode_step,
      )
      return log_probs, (cache, markers)

    def reorder(carry, parents):
      cache, markers = carry
      return decoding_cache.reorder(cache, parents), jnp.take_along_axis(markers, parents, axis=-1)

    def resize(carry, kept, length):
      cache, markers = carry
      return decoding_cache.resize(cache, kept, length), markers[:, jnp.asarray(kept)]

    def constrain(groups, log_probs, ids, position):
      now = tuple(levels[group] for group in groups)
      forbidden = forbidden_structure(ids, position, num_pieces, least[:, jnp.asarray(now)], now)
      structure = jnp.where(forbidden, NEVER, log_probs[..., :NUM_STRUCTURE_IDS])
      # A digest opens with its marker and nothing else.
      opening = _is_digest(now) & (position == 0)
      words = jnp.where(opening[..., None], NEVER, log_probs[..., NUM_STRUCTURE_IDS:])
      # Ids beyond the real vocabulary are at minus infinity; sums need finite numbers.
      log_probs = jnp.maximum(jnp.concatenate([structure, words], axis=-1), NEVER)
      for place, level in enumerate(now):
        size = config.no_repeat_ngram[level]
        if size:
          blocked = repeated_ngram_mask(ids[:, place], position, size, log_probs.shape[-1])
          blocked = blocked.at[..., :NUM_STRUCTURE_IDS].set(False)
          log_probs = log_probs.at[:, place].set(jnp.where(blocked, NEVER, log_probs[:, place]))
      return log_probs

    result = beam_search(
      step,
      reorder,
      constrain,
      resize,
      (cache, markers),
      batch_size=batch_size,
      max_lengths=limits,
      beam_size=config.beam_size,
      alpha=config.length_penalty,
      bos_id=BOS_ID,
      eos_id=EOS_ID,
    )
    return jax.tree.map(lambda x: _at_all_levels(x, levels), result)

  return under_mesh(jax.jit(decode, out_shardings=replicated(mesh)), mesh)


def _at_all_levels(array: jax.Array, levels: tuple[int, ...]) -> jax.Array:
  """[B, G, ...] to [B, 3, ...], zeros at the levels that are not written."""
  empty = jnp.zeros((array.shape[0], NUM_LEVELS, *array.shape[2:]), array.dtype)
  return empty.at[:, jnp.asarray(levels)].set(array)


def _is_digest(levels: Sequence[int]) -> jax.Array:
  """[G, 1] bool, to be compared with [B, G, K]."""
  return (jnp.asarray(levels) == SECTION)[:, None]


def piece_of_count(markers: jax.Array, levels: Sequence[int] = range(NUM_LEVELS)) -> jax.Array:
  """`Targets.piece` from the markers counted so far: [B, G, K] int32 to the same."""
  return jnp.maximum(markers - _is_digest(levels), 0)


def forbidden_structure(ids, position, num_pieces, min_tokens, levels) -> jax.Array:
  """Which structure ids must not come next, so that every output has its level's form.

  One sentence: no markers. One paragraph: sentence separators only. Section by section:
  a section marker first, as many of them as there are pieces, and no end before the
  last. Never two markers in a row, nor an end right after one (nothing to say).

  Args:
    ids: [B, G, K, T] int32 so far.
    position: [] int32.
    num_pieces: [B] int32.
    min_tokens: [B, G] int32, no end before so many tokens.
    levels: [G], of the groups.

  Returns:
    [B, G, K, NUM_STRUCTURE_IDS] bool.
  """
  so_far = jnp.arange(ids.shape[-1]) < position
  sections = ((ids == SECTION_ID) & so_far).sum(-1)  # [B, G, K]
  last = jnp.take_along_axis(ids, jnp.full((*ids.shape[:-1], 1), jnp.maximum(position - 1, 0)), -1)[
    ..., 0
  ]
  after_marker = (position == 0) | (last == SECTION_ID) | (last == SENTENCE_ID)
  wanted = num_pieces[:, None, None]
  is_digest = _is_digest(levels)
  no_end = (position < min_tokens[:, :, None]) | after_marker | (is_digest & (sections < wanted))
  no_section = ~is_digest | ((position > 0) & after_marker) | ((sections >= wanted) & (wanted > 0))
  no_sentence = (jnp.asarray(levels)[:, None] < PARAGRAPH) | after_marker
  forbidden = jnp.ones((*ids.shape[:-1], NUM_STRUCTURE_IDS), bool)
  forbidden = forbidden.at[..., EOS_ID].set(no_end)
  forbidden = forbidden.at[..., SECTION_ID].set(no_section)
  return forbidden.at[..., SENTENCE_ID].set(no_sentence)
