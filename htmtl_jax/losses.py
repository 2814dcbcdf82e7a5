"""The joint loss: sum over levels of alpha_l (CE_l + lambda_cov Cov_l + lambda_div Div_l).

Every term arrives as a *sum*; the weights it is divided by are counted once over the
whole global batch (`count_weights`), so a batch on 8 devices, or in 4 accumulated
pieces, has exactly the loss of the same batch on one.
"""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp

from htmtl_jax.errors import UserError
from htmtl_jax.layout import Batch, Bucket
from htmtl_jax.levels import LEVELS, NUM_LEVELS, SENTENCE
from htmtl_jax.models.htmtl import ModelOutput
from htmtl_jax.models.rows import sum_to_parents

COVERAGE_GRADIENTS = ("both", "attention", "importance")
COVERAGE_SEGMENTS = ("level", "sentences")
COVERAGE_DIRECTIONS = ("importance_to_attention", "attention_to_importance")
SMALL = 1e-8


@dataclasses.dataclass(frozen=True)
class LossConfig:
  """Weights and choices; each field's meaning stands beside it in `configs/base.py`."""

  level_weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
  label_smoothing: float = 0.1
  coverage: float = 0.1
  coverage_segments: str = "sentences"
  coverage_direction: str = "attention_to_importance"
  coverage_gradient: str = "both"
  twice: float = 0.02
  diversity: float = 0.01
  importance: float = 0.0
  ramp_start: int = 1000
  ramp_steps: int = 1000
  importance_ramp_start: int = 0
  importance_ramp_steps: int = 200

  def __post_init__(self):
    for name, known in (
      ("coverage_segments", COVERAGE_SEGMENTS),
      ("coverage_direction", COVERAGE_DIRECTIONS),
      ("coverage_gradient", COVERAGE_GRADIENTS),
    ):
      if getattr(self, name) not in known:
        raise UserError(
          f"config.loss.{name}: {getattr(self, name)!r} is not one of {', '.join(known)}"
        )

  def ramp(self, step) -> jax.Array:
    """Share of the coverage and diversity weights in force at a step, 0 to 1."""
    return linear_ramp(step, self.ramp_start, self.ramp_steps)

  def importance_ramp(self, step) -> jax.Array:
    """How much importance gates the decoder's memory at a step, 0 to 1."""
    return linear_ramp(step, self.importance_ramp_start, self.importance_ramp_steps)


def linear_ramp(step, start: int, length: int) -> jax.Array:
  """0 before `start`, 1 from `start + length` on, linear between."""
  return (
    jnp.clip((step - start) / max(length, 1), 0.0, 1.0)
    if length
    else jnp.where(step >= start, 1.0, 0.0)
  )


@flax.struct.dataclass
class LossWeights:
  """What the sums are divided by, counted over the global batch; float32, may be 0.

  Attributes:
    tokens: [3] target tokens of each level.
    documents: [3] documents with a reference at each level.
    labelled: documents with importance labels.
  """

  tokens: jax.Array
  documents: jax.Array
  labelled: jax.Array


def count_weights(batch: Batch) -> LossWeights:
  """Counts what the sums of `loss_terms` are divided by."""
  at_level = batch.targets.level[..., None] == jnp.arange(NUM_LEVELS)  # [B, T, 3]
  return LossWeights(
    tokens=at_level.sum((0, 1)).astype(jnp.float32),
    documents=at_level.any(1).sum(0).astype(jnp.float32),
    labelled=(batch.importance_labels.sum(-1) > 0).sum().astype(jnp.float32),
  )


def cross_entropy_by_token(output: ModelOutput, label_smoothing: float, copy: bool) -> jax.Array:
  """[B, T] float32: -log p(target), with label smoothing on the generator's softmax only.

  With the copy gate there is none: the mixture is not a softmax, and smoothing it would
  pay the model for generating what it should copy.
  """
  loss = -output.log_probs
  if label_smoothing and not copy:
    loss = (1.0 - label_smoothing) * loss - label_smoothing * output.smooth_log_probs
  return loss


def coverage_kl(
  log_importance: jax.Array, scores: jax.Array, mask: jax.Array, direction: str, gradient: str
) -> jax.Array:
  """KL between importance and what the summary drew on, [B] float32.

  Args:
    log_importance: [B, n] log of a distribution over the level's segments.
    scores: [B, n] mean decoder score over the level's target tokens, a distribution.
    mask: [B, n] bool, real segments.
    direction: "importance_to_attention" is KL(imp || a): what matters gets covered.
    gradient: "both", or the only side that learns from this term.
  """
  log_scores = jnp.log(jnp.maximum(scores, SMALL))
  log_importance = jnp.maximum(log_importance, jnp.log(SMALL))
  if gradient == "attention":
    log_importance = jax.lax.stop_gradient(log_importance)
  if gradient == "importance":
    log_scores = jax.lax.stop_gradient(log_scores)
  p, q = log_importance, log_scores
  if direction == "attention_to_importance":
    p, q = q, p
  return jnp.where(mask, jnp.exp(p) * (p - q), 0.0).sum(-1)


def covering_twice(unit_scores: jax.Array, unit_mask: jax.Array) -> jax.Array:
  """mean_j sum_i min(A_j[i], sum_{k<j} A_k[i]), [B] float32; 0 for one unit.

  After the coverage loss of See et al. (2017), by unit of the summary instead of by
  token, which would punish staying on a segment while copying a phrase from it.

  Args:
    unit_scores: [B, u, n], the mean score A_j of each unit over the level's segments.
    unit_mask: [B, u] bool, units that have tokens.
  """
  unit_scores = jnp.where(unit_mask[..., None], unit_scores, 0.0)
  before = jnp.cumsum(unit_scores, axis=1) - unit_scores
  overlap = jnp.minimum(unit_scores, before).sum(-1)  # [B, u]
  count = unit_mask.sum(-1)
  return jnp.where(count > 1, overlap.sum(-1) / jnp.maximum(count, 1), 0.0)


def unit_similarity(unit_states: jax.Array, unit_mask: jax.Array) -> jax.Array:
  """Mean cosine similarity between pairs of units, [B] float32; 0 for fewer than two.

  Args:
    unit_states: [B, u, D], pooled decoder states of each unit.
    unit_mask: [B, u] bool.
  """
  states = unit_states.astype(jnp.float32)
  # The square root has no finite gradient at zero, where padding units are.
  norm = jnp.sqrt(jnp.maximum(jnp.square(states).sum(-1, keepdims=True), 1e-12))
  unit = jnp.where(unit_mask[..., None], states / norm, 0.0)
  count = unit_mask.sum(-1).astype(jnp.float32)
  total = jnp.square(unit.sum(1)).sum(-1)  # sum over all ordered pairs, self-pairs included
  pairs = jnp.maximum(count * (count - 1.0), 1.0)
  return jnp.where(count > 1, (total - count) / pairs, 0.0)


def importance_kl(output: ModelOutput, batch: Batch) -> jax.Array:
  """KL(labels || importance), mean over the three levels, [B] float32; 0 without labels.

  The labels of parents are the sums of their children's.
  """
  sentences = batch.importance_labels
  paragraphs = sum_to_parents(sentences.reshape(batch.sentences.slot.shape), batch.sentences)
  sections = sum_to_parents(paragraphs.reshape(batch.paragraphs.slot.shape), batch.paragraphs)
  total = 0.0
  for labels, log_importance in zip(
    (sentences, paragraphs, sections), output.encoded.importance.levels()
  ):
    log_labels = jnp.log(jnp.maximum(labels, SMALL))
    total += jnp.where(labels > 0, labels * (log_labels - log_importance), 0.0).sum(-1)
  return total / NUM_LEVELS


def loss_terms(
  output: ModelOutput, batch: Batch, bucket: Bucket, config: LossConfig, copy: bool
) -> dict[str, jax.Array]:
  """Every term of every level, summed over its tokens or documents (not yet divided).

  Returns:
    {"ce/sentence": [], ..., "coverage/...", "twice/...", "diversity/...", "importance"}.
  """
  targets = batch.targets
  ce = cross_entropy_by_token(output, config.label_smoothing, copy)
  unit_weights = jax.nn.one_hot(targets.unit, bucket.units, dtype=jnp.float32)  # [B, T, U]
  unit_tokens = unit_weights.sum(1)  # [B, U]
  unit_states = jnp.einsum("btu,btd->bud", unit_weights.astype(output.states.dtype), output.states)
  masks = (batch.tokens.parent_mask, batch.sentences.parent_mask, batch.section_mask)

  terms = {}
  for level, name in enumerate(LEVELS):
    terms[f"ce/{name}"] = jnp.where(targets.level == level, ce, 0.0).sum()
    units = slice(bucket.first_unit(level), bucket.first_unit(level) + bucket.num_units(level))
    tokens = unit_tokens[:, units]
    unit_mask = tokens > 0
    present = unit_mask.any(-1)  # [B] documents with a reference at this level
    covered = level if config.coverage_segments == "level" else SENTENCE
    mean_scores = output.unit_scores[covered][:, units].sum(1)  # [B, n]
    mean_scores = mean_scores / jnp.maximum(tokens.sum(-1, keepdims=True), 1.0)
    coverage = coverage_kl(
      output.encoded.importance.levels()[covered],
      mean_scores,
      masks[covered],
      config.coverage_direction,
      config.coverage_gradient,
    )
    terms[f"coverage/{name}"] = jnp.where(present, coverage, 0.0).sum()
    by_unit = output.unit_scores[level][:, units] / jnp.maximum(tokens, 1.0)[..., None]
    terms[f"twice/{name}"] = covering_twice(by_unit, unit_mask).sum()
    terms[f"diversity/{name}"] = unit_similarity(unit_states[:, units], unit_mask).sum()
  terms["importance"] = importance_kl(output, batch).sum()
  return terms


def normalise_terms(terms: dict[str, jax.Array], weights: LossWeights) -> dict[str, jax.Array]:
  """Divides each sum by its global weight: CE by tokens, the others by documents."""
  normalised = {}
  for name, value in terms.items():
    if name == "importance":
      normalised[name] = value / jnp.maximum(weights.labelled, 1.0)
      continue
    term, level = name.split("/")
    counts = weights.tokens if term == "ce" else weights.documents
    normalised[name] = value / jnp.maximum(counts[LEVELS.index(level)], 1.0)
  return normalised


def total_loss(terms: dict[str, jax.Array], config: LossConfig, step) -> jax.Array:
  """Weighs the normalised terms at a step of training."""
  ramp = config.ramp(step)
  weights = {
    "ce": 1.0,
    "coverage": ramp * config.coverage,
    "twice": ramp * config.twice,
    "diversity": ramp * config.diversity,
  }
  total = config.importance * terms["importance"]
  for alpha, level in zip(config.level_weights, LEVELS, strict=True):
    total += alpha * sum(weight * terms[f"{term}/{level}"] for term, weight in weights.items())
  return total
