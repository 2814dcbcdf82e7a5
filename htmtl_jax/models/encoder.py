"""The hierarchical encoder: three transformers up the tree, one pass down, importance.

tokens  -> sentence transformer  -> one vector a sentence
        -> paragraph transformer -> one vector a paragraph
        -> section transformer   -> one vector a section -> across the document
then down: every state receives its own parent's state, sentences also read the
document's paragraphs and sections; then the importance of every segment.

With `token_attention="blocks"` the tokens attend to the text around them instead, across
sentences, and with no layers above them this is a flat Transformer (`blocks.py`).
"""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from htmtl_jax.layout import Batch
from htmtl_jax.models.attention import AttentionPool, RowAttention, SegmentAttention
from htmtl_jax.models.blocks import BlockTransformer
from htmtl_jax.models.config import ModelConfig
from htmtl_jax.models.importance import Importance, ImportanceHead
from htmtl_jax.models.layers import (
  Mlp,
  PositionEmbedding,
  RMSNorm,
  Stack,
  TokenShift,
  dense,
  previous_in_row,
)
from htmtl_jax.models.rotation import make_rotation
from htmtl_jax.models.rows import (
  one_hot_places,
  places_to_parents,
  same_parent_mask,
  spread_to_children,
  whole,
)


@flax.struct.dataclass
class EncoderOutput:
  """What the decoder, the losses and the reports read.

  Attributes:
    token_states: [B, R, L, D].
    sentence_states: [B, S, D].
    paragraph_states: [B, P, D].
    section_states: [B, C, D].
    importance: the three distributions over segments, see `Importance`.
  """

  token_states: jax.Array
  sentence_states: jax.Array
  paragraph_states: jax.Array
  section_states: jax.Array
  importance: Importance


class RowLayer(nn.Module):
  """One transformer layer among siblings: attention inside rows, then an MLP."""

  config: ModelConfig

  @nn.compact
  def __call__(self, x, rotation, mask, deterministic):
    x = RowAttention(self.config, name="attention")(x, rotation, mask, deterministic)
    x = Mlp(self.config, self.config.encoder_depth, name="mlp")(x, deterministic)
    rows = "act_row" if x.shape[1] > 1 else None  # a single row is not cut
    return nn.with_logical_constraint(x, ("act_batch", rows, "act_token", "act_embed"))


class SiblingTransformer(nn.Module):
  """A stack of layers among siblings, and the pooled vector of each parent.

  x: [B, r, w, D] -> (states [B, r, w, D], parents [B, p, D]). `rotary`: whether attention knows
  positions; `unroll`: as in `Stack`.
  """

  config: ModelConfig
  num_layers: int
  rotary: bool = False
  unroll: int = 1

  @nn.compact
  def __call__(self, x, rows, deterministic):
    rotation = make_rotation(rows.position, self.config.head_width) if self.rotary else None
    x = Stack(RowLayer, self.num_layers, self.config, self.unroll, name="stack")(
      x, rotation, same_parent_mask(rows), deterministic=deterministic
    )
    pooled = AttentionPool(self.config, name="pool")(x, one_hot_places(rows))
    return x, places_to_parents(pooled, rows)


class DownLayer(nn.Module):
  """Sentences read the document's paragraphs and sections, then an MLP."""

  config: ModelConfig

  @nn.compact
  def __call__(self, x, memory, memory_mask, deterministic):
    x = SegmentAttention(self.config, name="attention")(x, memory, memory_mask, deterministic)
    return Mlp(self.config, self.config.encoder_depth, name="mlp")(x, deterministic)


class FromParent(nn.Module):
  """Adds the own parent's state to each child, x + W norm(parent), then mixes by an MLP if `mix`."""

  config: ModelConfig
  mix: bool

  @nn.compact
  def __call__(self, x, parents, rows, deterministic):
    h = RMSNorm(self.config, name="norm")(parents)
    h = dense(self.config.width, ("embed", "embed_out"), self.config, name="parent")(h)  # [B, p, D]
    x = x + spread_to_children(h, rows)
    if not self.mix:
      return x
    return Mlp(self.config, self.config.encoder_depth, name="mlp")(x, deterministic)


class Encoder(nn.Module):
  """Packed batch and token embeddings in, `EncoderOutput` out."""

  config: ModelConfig

  @nn.compact
  def __call__(
    self, batch: Batch, token_embeddings: jax.Array, deterministic: bool
  ) -> EncoderOutput:
    """Encodes B documents.

    Args:
      batch: the packed arrays.
      token_embeddings: [B, R, L, D].
      deterministic: True switches dropout off.
    """
    config = self.config
    paragraphs, sentences, tokens = batch.paragraphs, batch.sentences, batch.tokens

    # ---- up
    x = token_embeddings
    if config.token_shift:
      x = TokenShift(config, name="token_shift")(x, previous_in_row(x, tokens.position))
    heading = self.param(
      "heading_embedding",
      nn.with_logical_partitioning(nn.initializers.normal(config.position_scale), (None, "embed")),
      (2, config.width),
    ).astype(config.compute_dtype)
    is_heading = batch.is_heading[..., None].astype(config.compute_dtype)  # [B, S, 1]
    x = x + spread_to_children(is_heading, tokens) * heading[0]
    x = nn.with_logical_constraint(x, ("act_batch", "act_row", "act_token", "act_embed"))
    num_layers = config.token_layers
    if config.token_attention == "blocks":
      x, num_layers = BlockTransformer(config, name="flat_transformer")(x, batch, deterministic), 0
    if not config.reads_segments:
      return self._tokens_alone(batch, x)
    token_states, sentence_vectors = SiblingTransformer(
      config, num_layers, rotary=True, unroll=config.scan_unroll, name="sentence_transformer"
    )(x, tokens, deterministic)

    x = self._rows_of(sentence_vectors + is_heading * heading[1], sentences)
    x = x + PositionEmbedding(config, name="sentence_position")(sentences.position)
    sentence_states, paragraph_vectors = SiblingTransformer(
      config, config.paragraph_layers, name="paragraph_transformer"
    )(x, sentences, deterministic)

    x = self._rows_of(paragraph_vectors, paragraphs)
    x = x + PositionEmbedding(config, name="paragraph_position")(paragraphs.position)
    paragraph_states, section_vectors = SiblingTransformer(
      config, config.section_layers, name="section_transformer"
    )(x, paragraphs, deterministic)

    section_mask = batch.section_mask  # [B, C]
    sections = section_vectors + PositionEmbedding(config, name="section_position")(
      jnp.arange(section_mask.shape[-1])
    )
    # The document is one row of sections: few, so that every device has all of them.
    sections = whole(sections)[:, None]
    document_mask = (section_mask[:, None, :] & section_mask[:, :, None])[:, None]
    sections = Stack(RowLayer, config.document_layers, config, name="document_transformer")(
      sections, None, document_mask, deterministic=deterministic
    )
    sections = whole(sections[:, 0])

    # ---- down
    if config.top_down:
      mix_segments, mix_tokens = config.top_down_mlps != "none", config.top_down_mlps == "all"
      paragraph_states = FromParent(config, mix_segments, name="section_to_paragraph")(
        paragraph_states, sections, paragraphs, deterministic
      )
      paragraph_slots = self._slots_of(paragraph_states)
      sentence_states = FromParent(config, mix_segments, name="paragraph_to_sentence")(
        sentence_states, paragraph_slots, sentences, deterministic
      )
      # Every device reads all of it, in every layer: brought together once.
      context = jnp.concatenate([whole(paragraph_slots), sections], axis=1)  # [B, P + C, D]
      context_mask = jnp.concatenate([sentences.parent_mask, section_mask], axis=1)
      sentence_slots = Stack(
        DownLayer, config.top_down_layers, config, name="document_to_sentence"
      )(self._slots_of(sentence_states), context, context_mask, deterministic=deterministic)
      token_states = FromParent(config, mix_tokens, name="sentence_to_token")(
        token_states, sentence_slots, tokens, deterministic
      )
    else:
      paragraph_slots, sentence_slots = (
        self._slots_of(paragraph_states),
        self._slots_of(sentence_states),
      )

    importance = ImportanceHead(config, name="importance")(
      batch, sentence_slots, paragraph_slots, sections
    )
    norm = lambda name: RMSNorm(config, name=name)
    return EncoderOutput(
      token_states=norm("token_norm")(token_states),
      sentence_states=norm("sentence_norm")(sentence_slots),
      paragraph_states=norm("paragraph_norm")(paragraph_slots),
      section_states=norm("section_norm")(sections),
      importance=importance,
    )

  def _tokens_alone(self, batch: Batch, token_states) -> EncoderOutput:
    """The output of an encoder without segments: zeros, and the same importance for all siblings."""
    nothing = lambda mask: jnp.zeros((*mask.shape, self.config.width), token_states.dtype)
    states = [
      nothing(mask)
      for mask in (batch.tokens.parent_mask, batch.sentences.parent_mask, batch.section_mask)
    ]
    importance = ImportanceHead(self.config, name="importance")(batch, *states)
    return EncoderOutput(RMSNorm(self.config, name="token_norm")(token_states), *states, importance)

  @staticmethod
  def _rows_of(slots, rows):
    """[B, n, D] -> [B, r, w, D], the rows these slots are laid out in."""
    return slots.reshape(*rows.slot.shape, slots.shape[-1])

  @staticmethod
  def _slots_of(rows):
    """[B, r, w, D] -> [B, n, D]."""
    return rows.reshape(rows.shape[0], -1, rows.shape[-1])
