"""Beam search over any step function, in one compiled loop with fixed shapes.

Knows no model: a step function gives log-probabilities, a `reorder` function moves the
cache to the beams that survive. Searches B documents times G groups (the three levels)
side by side, each group with its own limits.
"""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

NEVER = -1e9  # log-probability of what must not happen


@flax.struct.dataclass
class SearchResult:
  """The best hypothesis of every document and group.

  Attributes:
    ids: [B, G, T] int32, without BOS, with EOS where it ended by itself; 0 after.
    lengths: [B, G] int32, tokens in `ids`, EOS included.
    scores: [B, G] float32, log-probability over the length penalty.
    log_probs: [B, G] float32, sum of log-probabilities.
  """

  ids: jax.Array
  lengths: jax.Array
  scores: jax.Array
  log_probs: jax.Array


@flax.struct.dataclass
class _State:
  position: jax.Array  # [] int32
  live_ids: jax.Array  # [B, G, K, T]
  live: jax.Array  # [B, G, K] sum of log-probabilities
  finished_ids: jax.Array  # [B, G, K, T]
  finished_scores: jax.Array  # [B, G, K], NEVER where there is none
  finished_lengths: jax.Array  # [B, G, K]
  cache: Any


def length_penalty(length, alpha: float):
  """((5 + length) / 6) ** alpha, equation 14 of Wu et al. (2016, GNMT)."""
  return ((5.0 + length) / 6.0) ** alpha


def beam_search(
  step: Callable,
  reorder: Callable,
  constrain: Callable,
  cache: Any,
  *,
  batch_size: int,
  max_lengths: jax.Array,
  beam_size: int,
  max_length: int,
  alpha: float,
  bos_id: int,
  eos_id: int,
) -> SearchResult:
  """Finds high-scoring sequences.

  A hypothesis ends when EOS is among the `beam_size` best continuations of its group;
  a group ends when it has `beam_size` ended hypotheses or reaches its maximum, so a
  beam of one is exactly greedy decoding. A group that never sees EOS gives its best
  unended hypothesis.

  Args:
    step: (ids [B, G, K], previous_ids [B, G, K], position, cache) -> (log_probs
      [B, G, K, V] float32, cache).
    reorder: (cache, parents [B, G, K]) -> cache, beam k taking over its parent's state.
    constrain: (log_probs [B, G, K, V], ids so far [B, G, K, T], position) -> log_probs,
      with NEVER at what must not come next.
    cache: the step function's initial state, for all K beams.
    batch_size: B.
    max_lengths: [G] int32, at most `max_length` each.
    beam_size: K.
    max_length: T.
    alpha: exponent of the length penalty, 0 for none.
    bos_id: the first input.
    eos_id: the end.
  """
  num_groups = max_lengths.shape[0]
  shape = (batch_size, num_groups, beam_size)
  # All beams start equal, so only the first may be extended at the first step.
  only_first = jnp.where(jnp.arange(beam_size) == 0, 0.0, NEVER)
  start = _State(
    position=jnp.zeros((), jnp.int32),
    live_ids=jnp.zeros((*shape, max_length), jnp.int32),
    live=jnp.broadcast_to(only_first, shape),
    finished_ids=jnp.zeros((*shape, max_length), jnp.int32),
    finished_scores=jnp.full(shape, NEVER),
    finished_lengths=jnp.zeros(shape, jnp.int32),
    cache=cache,
  )

  def group_done(state):
    """[B, G]: nothing more to find."""
    full = (state.finished_scores > NEVER / 2).all(-1)
    return full | (state.position >= max_lengths)[None, :]

  def body(state):
    t = state.position
    last = jnp.where(t > 0, _token_at(state.live_ids, t - 1), bos_id)
    before = jnp.where(t > 1, _token_at(state.live_ids, t - 2), bos_id)
    log_probs, cache = step(last, before, t, state.cache)
    log_probs = constrain(log_probs, state.live_ids, t)
    vocabulary = log_probs.shape[-1]
    totals = (state.live[..., None] + log_probs).reshape(*shape[:2], -1)
    # Of 2K candidates at most K are EOS, so K live ones always remain.
    candidates, flat = jax.lax.top_k(totals, 2 * beam_size)
    parents, tokens = flat // vocabulary, flat % vocabulary  # [B, G, 2K]
    ids = jnp.take_along_axis(state.live_ids, parents[..., None], axis=2)
    ids = jax.lax.dynamic_update_slice_in_dim(ids, tokens[..., None].astype(jnp.int32), t, axis=3)

    is_end = tokens == eos_id
    ended = is_end & (jnp.arange(2 * beam_size) < beam_size) & (candidates > NEVER / 2)
    end_scores = jnp.where(ended, candidates / length_penalty(t + 1, alpha), NEVER)
    all_scores = jnp.concatenate([state.finished_scores, end_scores], axis=-1)
    finished_scores, keep = jax.lax.top_k(all_scores, beam_size)
    pick = lambda old, new: jnp.take_along_axis(
      jnp.concatenate([old, new], axis=2), keep.reshape(*keep.shape, *(1,) * (old.ndim - 3)), axis=2
    )
    finished_ids = pick(state.finished_ids, ids)
    finished_lengths = pick(state.finished_lengths, jnp.full(tokens.shape, t + 1, jnp.int32))

    live, order = jax.lax.top_k(jnp.where(is_end, 2 * NEVER, candidates), beam_size)
    live_ids = jnp.take_along_axis(ids, order[..., None], axis=2)
    cache = reorder(cache, jnp.take_along_axis(parents, order, axis=2))

    done = group_done(state)[..., None]  # [B, G, 1]: frozen as they are
    hold = lambda old, new: jnp.where(done.reshape(*done.shape, *(1,) * (old.ndim - 3)), old, new)
    return _State(
      position=t + 1,
      live_ids=hold(state.live_ids, live_ids),
      live=hold(state.live, live),
      finished_ids=hold(state.finished_ids, finished_ids),
      finished_scores=hold(state.finished_scores, finished_scores),
      finished_lengths=hold(state.finished_lengths, finished_lengths),
      cache=cache,
    )

  state = jax.lax.while_loop(lambda s: ~group_done(s).all(), body, start)

  has_finished = state.finished_scores[..., 0] > NEVER / 2  # sorted: the first is the best
  live_lengths = jnp.broadcast_to(max_lengths[None, :], shape[:2])
  live_scores = state.live[..., 0] / length_penalty(live_lengths, alpha)
  lengths = jnp.where(has_finished, state.finished_lengths[..., 0], live_lengths)
  scores = jnp.where(has_finished, state.finished_scores[..., 0], live_scores)
  ids = jnp.where(has_finished[..., None], state.finished_ids[:, :, 0], state.live_ids[:, :, 0])
  ids = jnp.where(jnp.arange(max_length) < lengths[..., None], ids, 0)
  return SearchResult(ids, lengths, scores, scores * length_penalty(lengths, alpha))


def repeated_ngram_mask(
  ids: jax.Array, position: jax.Array, size: int, vocabulary: int
) -> jax.Array:
  """Tokens that would complete an n-gram already in the sequence (Paulus et al. 2018).

  Args:
    ids: [..., T] int32, the tokens so far in the first `position` slots.
    position: [] int32.
    size: n, at least 2.
    vocabulary: V.

  Returns:
    [..., V] bool, True where blocked.
  """
  length = ids.shape[-1]
  matches = jnp.ones(ids.shape, bool)  # matches[i]: ids[i : i + n - 1] equals the last n - 1 tokens
  for offset in range(size - 1):
    recent = _token_at(ids, position - (size - 1) + offset)
    shifted = jnp.roll(ids, -offset, axis=-1)
    matches &= shifted == recent[..., None]
  follows = jnp.arange(length) + size - 1  # where the token after such a window stands
  matches &= (follows < position) & (position >= size - 1)
  next_ids = jnp.roll(ids, -(size - 1), axis=-1)
  flat_ids = next_ids.reshape(-1, length)
  flat = jax.vmap(lambda i, m: jnp.zeros(vocabulary, bool).at[i].max(m))(
    flat_ids, matches.reshape(-1, length)
  )
  return flat.reshape(*ids.shape[:-1], vocabulary)


def _token_at(ids, index):
  """[..., T] -> [...] at a traced index, clamped to the ends."""
  return jax.lax.dynamic_index_in_dim(
    ids, jnp.clip(index, 0, ids.shape[-1] - 1), axis=-1, keepdims=False
  )
