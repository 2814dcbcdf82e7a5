"""Importance: how much each segment contributes, as percentages that add up.

A linear score without bias (under a softmax a bias has no gradient) on each
contextualised segment, softmax among siblings, multiplied down the tree in log space
and float32 (docs/design.md, section 3):

    imp(c) = w(c),   imp(p) = imp(c) w(p | c),   imp(s) = imp(p) w(s | p)

so at each level it is a distribution over the document, and a parent's importance is
the sum of its children's. For ablations the scores may be the same for all siblings
("uniform"), or drawn once and for all for each document ("random").
"""

import zlib

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from htmtl_jax.layout import Batch, Rows
from htmtl_jax.models.config import ModelConfig
from htmtl_jax.models.layers import RMSNorm
from htmtl_jax.models.rows import NEGATIVE, log_softmax_among_siblings, spread_to_children


@flax.struct.dataclass
class Importance:
  """Log importance at each level, and log shares of the parent; NEGATIVE at padding.

  Attributes:
    sentences, paragraphs, sections: [B, S], [B, P], [B, C] log imp.
    sentence_shares: [B, S] log w(s | p).
    paragraph_shares: [B, P] log w(p | c).
  """

  sentences: jax.Array
  paragraphs: jax.Array
  sections: jax.Array
  sentence_shares: jax.Array
  paragraph_shares: jax.Array

  def levels(self) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Log importance in the order of `LEVELS`: sentences, paragraphs, sections."""
    return self.sentences, self.paragraphs, self.sections


class ImportanceHead(nn.Module):
  """Scores segments and normalises them down the tree."""

  config: ModelConfig

  @nn.compact
  def __call__(self, batch: Batch, sentence_states, paragraph_states, section_states) -> Importance:
    """States are [B, S, D], [B, P, D] and [B, C, D]."""

    def score(states, name):
      if self.config.importance == "uniform":
        return jnp.zeros(states.shape[:-1], jnp.float32)
      if self.config.importance == "random":
        return _random_scores(batch, name, states.shape[1])
      # float32 from here on: a softmax over hundreds of segments needs it. The small
      # initial scale starts training near equal importance for all siblings.
      h = RMSNorm(self.config, name=f"{name}_norm")(states).astype(jnp.float32)
      weight = self.param(
        f"{name}_score",
        nn.with_logical_partitioning(nn.initializers.normal(0.02), ("embed",)),
        (h.shape[-1],),
      )
      return h @ weight

    section_scores = score(section_states, "section")
    log_sections = jax.nn.log_softmax(
      jnp.where(batch.section_mask, section_scores, NEGATIVE), axis=-1
    )
    log_sections = jnp.where(batch.section_mask, log_sections, NEGATIVE)
    paragraph_shares, log_paragraphs = self._down(
      score(paragraph_states, "paragraph"), log_sections, batch.paragraphs
    )
    sentence_shares, log_sentences = self._down(
      score(sentence_states, "sentence"), log_paragraphs, batch.sentences
    )
    return Importance(
      log_sentences, log_paragraphs, log_sections, sentence_shares, paragraph_shares
    )

  @staticmethod
  def _down(scores, log_parents, rows: Rows):
    """Scores [B, n] of the children and log imp [B, p] of the parents -> ([B, n], [B, n])."""
    shares = log_softmax_among_siblings(scores.reshape(rows.slot.shape), rows)
    parents = spread_to_children(log_parents[..., None], rows)[..., 0]
    log_children = jnp.where(rows.mask, shares + parents, NEGATIVE)
    flat = (scores.shape[0], -1)
    return shares.reshape(flat), log_children.reshape(flat)


def _random_scores(batch: Batch, name: str, count: int) -> jax.Array:
  """[B, count] of a standard normal, each document's own, the same at every step."""
  key = jax.random.key(zlib.crc32(name.encode()))

  def draw(token_ids):
    # Any hash of the words does; uint32 sums wrap around.
    places = jnp.arange(1, token_ids.size + 1, dtype=jnp.uint32)
    digest = (token_ids.reshape(-1).astype(jnp.uint32) * places).sum(dtype=jnp.uint32)
    return jax.random.normal(jax.random.fold_in(key, digest), (count,))

  return jax.vmap(draw)(jnp.where(batch.tokens.mask, batch.token_ids, 0))


def with_floor(log_importance: jax.Array, mask: jax.Array, floor: float) -> jax.Array:
  """log((1 - floor) imp + floor / n): no segment starves, however small its importance.

  Args:
    log_importance: [B, n] log of a distribution.
    mask: [B, n] bool, the n real segments.
    floor: share given out evenly.

  Returns:
    [B, n] float32, NEGATIVE at padding.
  """
  count = jnp.maximum(mask.sum(-1, keepdims=True), 1).astype(jnp.float32)
  mixed = (1.0 - floor) * jnp.exp(log_importance) + floor / count
  return jnp.where(mask, jnp.log(jnp.maximum(mixed, 1e-30)), NEGATIVE)
