"""The part of the memory that decoding reads: fewer keys, the same answer or nearly.

A step's time is that of reading its keys, so those that no query may see are left out
(`of_levels`, exact), and where asked for also the tokens of unimportant sentences.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from htmtl_jax.layout import Batch
from htmtl_jax.models.importance import Importance
from htmtl_jax.models.memory import Memory
from htmtl_jax.models.rows import NEGATIVE, spread_to_children


def of_levels(memory: Memory, batch: Batch, levels: Sequence[int]) -> Memory:
  """Without the segment keys that none of some levels may see.

  The bias is then [B, G, M], one row for each of the G `levels`.
  """
  ends = np.cumsum(
    [
      batch.token_ids.shape[1] * batch.token_ids.shape[2],
      batch.tokens.parent_mask.shape[-1],
      batch.sentences.parent_mask.shape[-1],
      batch.section_mask.shape[-1],
    ]
  )
  bounds = [(0, ends[0]), *((ends[i], ends[i + 1]) for i in sorted(levels))]

  def keep(array, axis):
    size = array.shape[axis]  # ends[0] where the memory has tokens alone
    slices = [
      jax.lax.slice_in_dim(array, min(low, size), min(high, size), axis=axis)
      for low, high in bounds
    ]
    return jnp.concatenate(slices, axis)

  return Memory(
    states=keep(memory.states, 1),
    bias=keep(memory.bias[:, jnp.asarray(levels)], 2),
    token_ids=keep(memory.token_ids, 1),
  )


def of_important_tokens(memory: Memory, importance: Importance, batch: Batch, count: int) -> Memory:
  """With `count` token keys alone, those of the most important sentences, and all segments.

  The last sentence that finds room may be cut.
  """
  num_tokens = batch.token_ids.shape[1] * batch.token_ids.shape[2]
  if count >= num_tokens:
    return memory
  of_token = spread_to_children(importance.sentences[..., None], batch.tokens)
  of_token = jnp.where(batch.tokens.mask, of_token[..., 0], NEGATIVE)
  order = jnp.argsort(-of_token.reshape(of_token.shape[0], -1), axis=-1, stable=True)
  kept = jnp.sort(order[:, :count], axis=-1)  # [B, count]
  segments = jnp.arange(num_tokens, memory.states.shape[1], dtype=kept.dtype)
  kept = jnp.concatenate(
    [kept, jnp.broadcast_to(segments, (kept.shape[0], len(segments)))], axis=-1
  )
  return Memory(
    states=jnp.take_along_axis(memory.states, kept[:, :, None], axis=1),
    bias=jnp.take_along_axis(memory.bias, kept[:, None, :], axis=2),
    token_ids=jnp.take_along_axis(memory.token_ids, kept, axis=1),
  )


def round_up(memory: Memory, multiple: int) -> Memory:
  """With keys that nobody may see, so that M is a multiple."""
  room = (0, -memory.states.shape[1] % multiple)
  return Memory(
    states=jnp.pad(memory.states, ((0, 0), room, (0, 0))),
    bias=jnp.pad(memory.bias, ((0, 0), (0, 0), room), constant_values=NEGATIVE),
    token_ids=jnp.pad(memory.token_ids, ((0, 0), room), constant_values=-1),
  )
