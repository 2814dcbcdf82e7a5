"""Log-probabilities of target tokens under a softmax over a large vocabulary.

Logits of all targets would be the largest array of a training step with a large vocabulary:
1,216 targets and 32,000 words are 156 MB in float32, for each document. So words are taken a
block at a time, with the running softmax of Milakov & Gimelshein (2018), and the backward pass
computes each block again from the stored log-sum-exp. Whatever the number of targets, the matrix
is read once forward and once backward, and its gradient written once; blocks of targets would
read it, and read and write the gradient, as often as there are blocks.
"""

import functools

import jax
import jax.numpy as jnp

from htmtl_jax.models.on_devices import devices_along

_LOGITS = 1 << 23  # at most so many at a time on a device: 32 MB


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def target_log_softmax(num_real_ids: int, states, embedding, targets):
  """log softmax(E h) at the targets, and its mean over all real words.

  Args:
    num_real_ids: ids from here on are of no word and have no probability.
    states: [B, T, D].
    embedding: [V, D].
    targets: [B, T] int32, below `num_real_ids`; no gradient.

  Returns:
    (log_prob [B, T], mean_log_prob [B, T]), float32.
  """
  return _forward(num_real_ids, states, embedding, targets)[0]


def _forward(num_real_ids, states, embedding, targets):
  blocks, ids = _cut(embedding.astype(states.dtype), states)

  def body(carry, block_and_ids):
    most, total, at_target, everywhere = carry
    logits, is_target, real = _logits(states, *block_and_ids, targets, num_real_ids)
    higher = jnp.maximum(most, logits.max((-2, -1)))
    total = total * jnp.exp(most - higher) + jnp.exp(logits - higher[..., None, None]).sum((-2, -1))
    # Not a gather: its gradient would be a scatter, and on a cut vocabulary it would be sent.
    at_target += jnp.where(is_target, logits, 0.0).sum((-2, -1))
    everywhere += jnp.where(real, logits, 0.0).sum((-2, -1))
    return (higher, total, at_target, everywhere), None

  zeros = jnp.zeros(targets.shape, jnp.float32)
  start = (jnp.full(targets.shape, -jnp.inf, jnp.float32), zeros, zeros, zeros)
  (most, total, at_target, everywhere), _ = jax.lax.scan(body, start, (blocks, ids))
  log_normaliser = most + jnp.log(total)
  results = at_target - log_normaliser, everywhere / num_real_ids - log_normaliser
  return results, (states, embedding, targets, log_normaliser)


def _backward(num_real_ids, residuals, gradients):
  states, embedding, targets, log_normaliser = residuals
  d_log_prob, d_mean = (gradient[..., None, None] for gradient in gradients)
  blocks, ids = _cut(embedding.astype(states.dtype), states)

  def body(d_states, block_and_ids):
    block, block_ids = block_and_ids
    logits, is_target, real = _logits(states, block, block_ids, targets, num_real_ids)
    p = jnp.exp(logits - log_normaliser[..., None, None])
    d_logits = jnp.where(is_target, d_log_prob, 0.0) - p * (d_log_prob + d_mean)
    d_logits += jnp.where(real, d_mean / num_real_ids, 0.0)
    d_logits = d_logits.astype(states.dtype)
    d_states += jnp.einsum("btsc,scd->btd", d_logits, block, preferred_element_type=jnp.float32)
    return d_states, jnp.einsum("btsc,btd->scd", d_logits, states)

  d_states, d_blocks = jax.lax.scan(body, jnp.zeros(states.shape, jnp.float32), (blocks, ids))
  d_embedding = jnp.moveaxis(d_blocks, 1, 0).reshape(embedding.shape)
  return d_states.astype(states.dtype), d_embedding.astype(embedding.dtype), None


target_log_softmax.defvjp(_forward, _backward)


def _logits(states, block, ids, targets, num_real_ids):
  """([B, T, s, c] float32 logits of a block, which are the target's, [s, c] which are real)."""
  logits = jnp.einsum("btd,scd->btsc", states, block, preferred_element_type=jnp.float32)
  real = ids < num_real_ids
  return jnp.where(real, logits, -jnp.inf), targets[..., None, None] == ids, real


def _cut(embedding, states):
  """The matrix [V, D] in n blocks: (words [n, s, c, D], their ids [n, s, c]), V = s n c.

  Devices that share the vocabulary have a slice of it each, one of s; a block has some words of
  each slice, so that no word moves.
  """
  slices = devices_along("act_vocab")
  words = embedding.shape[0] // slices
  targets = -(-states.shape[0] // devices_along("act_batch")) * states.shape[1]
  count = min(-(-words * targets // _LOGITS), words)
  while words % count:
    count += 1
  cut = lambda x: jnp.moveaxis(x.reshape(slices, count, -1, *x.shape[1:]), 1, 0)
  return cut(embedding), cut(jnp.arange(embedding.shape[0]))
