"""What the decoder reads: token and segment states, each key with its importance bias.

One memory serves all three levels. Which segment keys a query may see, and with which
bias, depends only on the query's level, so the bias is [B, 3, M] and a query adds the
row of its level; levels can be mixed freely in one batch of queries.
"""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from htmtl_jax.data.tokenizer import NUM_STRUCTURE_IDS
from htmtl_jax.layout import Batch
from htmtl_jax.models.config import ModelConfig
from htmtl_jax.models.encoder import EncoderOutput
from htmtl_jax.models.importance import with_floor
from htmtl_jax.models.memory_layout import MemoryLayout
from htmtl_jax.models.rows import (
  EXACT,
  NEGATIVE,
  one_hot_places,
  places_to_parents,
  spread_to_children,
  whole,
)


@flax.struct.dataclass
class Memory:
  """Keys of one document in the order tokens, sentences, paragraphs, sections, padding.

  Or in slices of that order, see `MemoryLayout`. M is rounded up so that cross-attention can
  cut it into equal blocks.

  Attributes:
    states: [B, M, D].
    bias: [B, 3, M] float32 by level of the query, NEGATIVE where it may not look.
    token_ids: [B, M] int32, the token at a key that can be copied, else -1.
  """

  states: jax.Array
  bias: jax.Array
  token_ids: jax.Array


def make_memory(
  encoded: EncoderOutput,
  batch: Batch,
  config: ModelConfig,
  importance_ramp: jax.Array,
  slices: int = 1,
) -> Memory:
  """Builds the memory and its bias (docs/design.md, section 4).

  A token key carries log imp(its sentence) - log(tokens in that sentence) at every
  level, a segment key of the query's level log imp(that segment); imp with its floor,
  the whole bias times `importance_ramp` (0 at the start of training, 1 later). Without
  `importance_gate` the bias of every key is 0. With `slices` > 1 the keys lie as
  `MemoryLayout` says, so that many devices can have a slice each.
  """
  if not config.importance_gate:
    importance_ramp = 0.0
  batch_size = batch.token_ids.shape[0]
  masks = (batch.tokens.parent_mask, batch.sentences.parent_mask, batch.section_mask)
  gates = [
    with_floor(log_imp, mask, config.importance_floor)
    for log_imp, mask in zip(encoded.importance.levels(), masks)
  ]
  gates = [jnp.where(mask, importance_ramp * gate, NEGATIVE) for gate, mask in zip(gates, masks)]
  gates[2] = whole(gates[2])

  token_mask = batch.tokens.mask.reshape(batch_size, -1)  # [B, N]
  lengths = _tokens_in_sentence(batch)  # [B, S]
  token_gate = jnp.where(
    masks[0], gates[0] - importance_ramp * jnp.log(jnp.maximum(lengths, 1.0)), 0.0
  )
  token_gate = spread_to_children(token_gate[..., None], batch.tokens)[..., 0].reshape(
    batch_size, -1
  )
  token_gate = jnp.where(token_mask, token_gate, NEGATIVE)
  if config.memory == "segments":
    token_gate = jnp.full_like(token_gate, NEGATIVE)

  rows = []
  for level in range(3):
    rows.append(
      jnp.concatenate(
        [gate if i == level else jnp.full_like(gate, NEGATIVE) for i, gate in enumerate(gates)],
        axis=-1,
      )
    )
  segment_gate = jnp.stack(rows, axis=1)  # [B, 3, S + P + C]
  token_gate = jnp.broadcast_to(token_gate[:, None], (batch_size, 3, token_gate.shape[-1]))

  ids = batch.token_ids.reshape(batch_size, -1)
  copyable = token_mask & (ids >= NUM_STRUCTURE_IDS)
  section_states = whole(encoded.section_states)
  segment_states = [encoded.sentence_states, encoded.paragraph_states, section_states]
  if config.memory == "tokens":  # then no others have keys
    segment_gate, segment_states = segment_gate[..., :0], [x[:, :0] for x in segment_states]
  segment_states = jnp.concatenate(segment_states, axis=1)
  segment_ids = jnp.full(segment_states.shape[:2], -1, ids.dtype)
  layout = MemoryLayout.cover(
    slices, *batch.token_ids.shape[1:], segment_states.shape[1], config.key_block
  )
  token_states = encoded.token_states.reshape(batch_size, ids.shape[-1], -1)
  states = layout.join(token_states, segment_states, 1, 0)
  if slices > 1:
    states = nn.with_logical_constraint(states, ("act_batch", "act_row", "act_embed"))
  return Memory(
    states=states,
    bias=layout.join(token_gate, segment_gate, 2, NEGATIVE),
    token_ids=layout.join(jnp.where(copyable, ids, -1), segment_ids, 1, -1),
  )


def _tokens_in_sentence(batch: Batch) -> jax.Array:
  """[B, S] float32 token counts."""
  counts = one_hot_places(batch.tokens).sum(axis=2)  # [B, R, K]
  return places_to_parents(counts.reshape(counts.shape[0], -1), batch.tokens)


def segment_scores(
  attention: jax.Array, encoded: EncoderOutput, batch: Batch, slices: int = 1
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """The decoder's score over segments, from attention over the memory (docs/design.md, section 4).

  Attention is summed over the keys inside each segment and up the tree; mass on a
  segment key is first shared down by the conditional weights w. So at every level the
  scores sum to what the attention summed to, and a parent's is the sum of its children's.

  Args:
    attention: [B, G, M] float32, one distribution (or a mean of some) per group g. Where the
      memory has tokens alone, what follows them is padding and holds nothing.
    encoded: gives the shares w.
    batch: gives the tree.
    slices: of the memory.

  Returns:
    ([B, G, S], [B, G, P], [B, G, C]) float32.
  """
  groups = attention.shape[1]
  sizes = [mask.shape[-1] for mask in (batch.tokens.parent_mask, batch.sentences.parent_mask)]
  layout = MemoryLayout(
    slices,
    tokens=batch.token_ids.shape[1] * batch.token_ids.shape[2],
    segments=sum(sizes) + batch.section_mask.shape[-1],
    slice_keys=attention.shape[-1] // slices,
  )
  tokens, segments = layout.split(attention, 2)
  sentences, paragraphs, sections = jnp.split(segments, np.cumsum(sizes), axis=-1)
  sections = whole(sections)

  def down(parents, log_shares, rows):
    """Shares [B, G, p] out to children [B, G, n]."""
    spread = spread_to_children(jnp.moveaxis(parents, 1, -1), rows)  # [B, r, w, G]
    spread = spread.reshape(spread.shape[0], -1, groups)
    return jnp.moveaxis(spread, -1, 1) * jnp.exp(log_shares)[:, None, :]

  def up(children, rows):
    """Sums children [B, G, n] into parents [B, G, p]."""
    in_rows = children.reshape(children.shape[0], groups, *rows.slot.shape[1:])
    sums = jnp.einsum("bgrw,brwk->brkg", in_rows, one_hot_places(rows), precision=EXACT)
    sums = sums.reshape(sums.shape[0], -1, groups)
    return jnp.moveaxis(places_to_parents(sums, rows), -1, 1)

  importance = encoded.importance
  paragraphs = paragraphs + down(sections, importance.paragraph_shares, batch.paragraphs)
  sentences = sentences + down(paragraphs, importance.sentence_shares, batch.sentences)
  sentences = sentences + up(tokens, batch.tokens)
  paragraphs = up(sentences, batch.sentences)
  sections = up(paragraphs, batch.paragraphs)
  return sentences, paragraphs, sections
