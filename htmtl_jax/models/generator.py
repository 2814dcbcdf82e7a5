"""From decoder states to word probabilities: generate from the vocabulary or copy.

The pointer-generator of See et al. (2017) with the decoder's score as its pointer:

    p(v) = g softmax(E h)(v) + (1 - g) sum_{m: id_m = v} a_m / sum_{m copyable} a_m

`a` is the last layer's cross-attention over token keys, g a sigmoid of the state and
of what was read. Markers and end-of-text are never copied: no key carries their ids.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from htmtl_jax.models.cached_attention import multiply_tiles
from htmtl_jax.models.config import ModelConfig
from htmtl_jax.models.vocabulary_softmax import target_log_softmax

TINY = 1e-20  # below any probability that matters, above float32's smallest normal


class Generator(nn.Module):
  """The tied output matrix, and the copy gate where `config.copy`."""

  config: ModelConfig
  num_real_ids: int

  def setup(self):
    if self.config.copy:
      self.gate = nn.Dense(
        1,
        param_dtype=jnp.float32,
        dtype=jnp.float32,
        kernel_init=nn.with_logical_partitioning(nn.initializers.lecun_normal(), ("embed", None)),
        bias_init=nn.initializers.zeros,
      )

  def _only_real(self, logits):
    real = jnp.arange(logits.shape[-1]) < self.num_real_ids
    return jnp.where(real, logits, -jnp.inf)

  def target_log_probs(self, states, contexts, embedding, targets, copy_mass, token_mass):
    """log p(target) without ever building the copy distribution, nor the logits of all targets.

    Args:
      states, contexts: [B, T, D].
      embedding: [V, D].
      targets: [B, T] int32.
      copy_mass, token_mass: [B, T], see `Scores`.

    Returns:
      (log_prob [B, T], mean_log_prob [B, T] of the vocabulary softmax over real ids, for
      label smoothing, gate [B, T] the probability to generate), all float32.
    """
    log_prob, mean_log_prob = target_log_softmax(self.num_real_ids, states, embedding, targets)
    if not self.config.copy:
      return log_prob, mean_log_prob, jnp.ones_like(log_prob)
    log_gate, log_copy_gate = self._log_gates(states, contexts, token_mass)
    log_copy = jnp.log(jnp.maximum(copy_mass / jnp.maximum(token_mass, TINY), TINY))
    # Where nothing can be copied the gate is exactly one and the second term -inf or tiny.
    log_prob = jnp.logaddexp(log_gate + log_prob, log_copy_gate + log_copy)
    return log_prob, mean_log_prob, jnp.exp(log_gate)

  def log_probs(self, states, contexts, output, attention, token_ids):
    """The whole mixture, for decoding.

    Args:
      states, contexts: [B, Q, D].
      output: [n, D, c], the output matrix in tiles of the vocabulary.
      attention: [B, n, Q, c] float32, M = n * c.
      token_ids: [B, M] int32, -1 where not copyable.

    Returns:
      [B, Q, V] float32 log-probabilities; they sum to one.
    """
    batch_size, queries, _ = states.shape
    logits = multiply_tiles(states.reshape(batch_size * queries, -1), output)  # [n, BQ, c]
    logits = jnp.moveaxis(logits, 0, 1).reshape(batch_size, queries, -1)
    log_vocabulary = jax.nn.log_softmax(self._only_real(logits), axis=-1)
    if not self.config.copy:
      return log_vocabulary
    copyable = (token_ids >= 0).reshape(batch_size, -1, 1, attention.shape[-1])
    pointer = jnp.where(copyable, attention, 0.0)
    token_mass = pointer.sum(axis=(1, 3))  # [B, Q]
    pointer = jnp.moveaxis(pointer, 2, 3).reshape(batch_size, -1, queries)
    # A scatter into the vocabulary; decoding only, where it is one row a step.
    copied = jax.vmap(
      lambda ids, weights: (
        jnp.zeros((logits.shape[-1], queries), jnp.float32).at[jnp.maximum(ids, 0)].add(weights)
      )
    )(token_ids, pointer)
    copied = jnp.moveaxis(copied, 1, 2) / jnp.maximum(token_mass, TINY)[..., None]
    log_gate, log_copy_gate = self._log_gates(states, contexts, token_mass)
    log_copied = jnp.log(jnp.maximum(copied, TINY))
    return jnp.logaddexp(
      log_gate[..., None] + log_vocabulary, log_copy_gate[..., None] + log_copied
    )

  def _log_gates(self, states, contexts, token_mass):
    """log g and log(1 - g), each [B, Q] float32; g = 1 where nothing can be copied."""
    features = jnp.concatenate([states, contexts], axis=-1).astype(jnp.float32)
    score = self.gate(features)[..., 0]
    nothing = token_mass <= TINY
    log_gate = jnp.where(nothing, 0.0, jax.nn.log_sigmoid(score))
    log_copy_gate = jnp.where(nothing, -jnp.inf, jax.nn.log_sigmoid(-score))
    return log_gate, log_copy_gate
