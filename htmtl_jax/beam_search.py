"""Beam search over any step function, compiled, with fixed shapes.

Knows no model: a step function gives log-probabilities, a `reorder` function moves the
cache to the beams that survive. Searches B documents times G groups (the three levels)
side by side, each group with its own limits. Groups leave the search one after the other,
that with the smallest limit first, so that the long ones do not carry the short ones along.
"""

from collections.abc import Callable, Sequence
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
  resize: Callable,
  cache: Any,
  *,
  batch_size: int,
  max_lengths: Sequence[int],
  beam_size: int,
  alpha: float,
  bos_id: int,
  eos_id: int,
) -> SearchResult:
  """Finds high-scoring sequences.

  A hypothesis ends when EOS is among the `beam_size` best continuations of its group;
  a group ends when it has `beam_size` ended hypotheses or reaches its maximum, so a
  beam of one is exactly greedy decoding. A group that never sees EOS gives its best
  unended hypothesis.

  Every function is told which groups are left, as a static tuple of their numbers; G
  below is how many these are.

  Args:
    step: (groups, ids [B, G, K], previous_ids [B, G, K], position, cache) -> (log_probs
      [B, G, K, V] float32, cache).
    reorder: (cache, parents [B, G, K]) -> cache, beam k taking over its parent's state.
    constrain: (groups, log_probs [B, G, K, V], ids so far [B, G, K, T], position) ->
      log_probs, with NEVER at what must not come next.
    resize: (cache, kept, length) -> cache of the groups at the places `kept` among those
      that were left, with room for `length` steps. Called before the first step too.
    cache: the step function's initial state, for all K beams of all groups.
    batch_size: B.
    max_lengths: [G], of each group.
    beam_size: K.
    alpha: exponent of the length penalty, 0 for none.
    bos_id: the first input.
    eos_id: the end.
  """
  count = len(max_lengths)
  state = _start(batch_size, count, beam_size, cache)
  left = kept = tuple(range(count))
  results = [None] * count
  for leaving in sorted(left, key=lambda group: max_lengths[group]):
    length = max_lengths[leaving]
    state = _resize(state, kept, length, resize)
    place = left.index(leaving)

    def body(state, groups=left):
      step_now = lambda *args: step(groups, *args)
      constrain_now = lambda *args: constrain(groups, *args)
      return _advance(state, step_now, reorder, constrain_now, alpha, bos_id, eos_id)

    def goes_on(state, place=place, length=length):
      return (state.position < length) & ~_full(state)[:, place].all()

    state = jax.lax.while_loop(goes_on, body, state)
    results[leaving] = _best(state, place, length, max(max_lengths), alpha)
    kept = tuple(i for i in range(len(left)) if i != place)
    left = tuple(left[i] for i in kept)
  return jax.tree.map(lambda *groups: jnp.stack(groups, axis=1), *results)


def _start(batch_size: int, groups: int, beam_size: int, cache) -> _State:
  shape = (batch_size, groups, beam_size)
  # All beams start equal, so only the first may be extended at the first step.
  only_first = jnp.where(jnp.arange(beam_size) == 0, 0.0, NEVER)
  return _State(
    position=jnp.zeros((), jnp.int32),
    live_ids=jnp.zeros((*shape, 0), jnp.int32),
    live=jnp.broadcast_to(only_first, shape),
    finished_ids=jnp.zeros((*shape, 0), jnp.int32),
    finished_scores=jnp.full(shape, NEVER),
    finished_lengths=jnp.zeros(shape, jnp.int32),
    cache=cache,
  )


def _resize(state: _State, kept: tuple[int, ...], length: int, resize: Callable) -> _State:
  """The search of the groups at places `kept` alone, with room for `length` tokens."""
  pick = lambda array: array[:, jnp.asarray(kept)]
  room = length - state.live_ids.shape[-1]
  grow = lambda ids: jnp.pad(pick(ids), ((0, 0), (0, 0), (0, 0), (0, room)))
  return _State(
    position=state.position,
    live_ids=grow(state.live_ids),
    live=pick(state.live),
    finished_ids=grow(state.finished_ids),
    finished_scores=pick(state.finished_scores),
    finished_lengths=pick(state.finished_lengths),
    cache=resize(state.cache, kept, length),
  )


def _full(state: _State) -> jax.Array:
  """[B, G]: K hypotheses have ended, there is nothing more to find."""
  return (state.finished_scores > NEVER / 2).all(-1)


def _advance(state: _State, step, reorder, constrain, alpha, bos_id, eos_id) -> _State:
  """One token more for every group that is not full."""
  t = state.position
  shape = state.live.shape
  beam_size = shape[-1]
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

  full = _full(state)[..., None]  # [B, G, 1]: frozen as they are
  hold = lambda old, new: jnp.where(full.reshape(*full.shape, *(1,) * (old.ndim - 3)), old, new)
  return _State(
    position=t + 1,
    live_ids=hold(state.live_ids, live_ids),
    live=hold(state.live, live),
    finished_ids=hold(state.finished_ids, finished_ids),
    finished_scores=hold(state.finished_scores, finished_scores),
    finished_lengths=hold(state.finished_lengths, finished_lengths),
    cache=cache,
  )


def _best(state: _State, place: int, limit: int, room: int, alpha: float) -> SearchResult:
  """What the group at a place has found, without the axis of groups; `room` is T."""
  has_finished = state.finished_scores[:, place, 0] > NEVER / 2  # sorted: the first is the best
  live_scores = state.live[:, place, 0] / length_penalty(limit, alpha)
  lengths = jnp.where(has_finished, state.finished_lengths[:, place, 0], limit)
  scores = jnp.where(has_finished, state.finished_scores[:, place, 0], live_scores)
  ids = jnp.where(
    has_finished[:, None], state.finished_ids[:, place, 0], state.live_ids[:, place, 0]
  )
  ids = jnp.where(jnp.arange(limit) < lengths[:, None], ids, 0)
  ids = jnp.pad(ids, ((0, 0), (0, room - limit)))
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
