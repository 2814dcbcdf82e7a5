"""Log-probabilities of target tokens under a softmax over a large vocabulary.

Logits of all targets would be the largest array of a training step with a large vocabulary:
1,216 targets and 32,000 words are 156 MB in float32, for each document. So words are taken a
block at a time, with the running softmax of Milakov & Gimelshein (2018), and the backward pass
computes each block again from the stored log-sum-exp. Whatever the number of targets, the matrix
is read once forward and once backward, and its gradient written once; blocks of targets would
read it, and read and write the gradient, as often as there are blocks.

Every device does so for its own documents and its own words, and the gradient of the matrix is
summed over documents of others once, after the loop.
"""

import functools

import jax
import jax.numpy as jnp

from htmtl_jax.models.on_devices import devices_along, mesh_axes, on_every_device, sum_over

_LOGITS = 1 << 23  # about so many at a time on a device: 32 MB
_LANES = 128  # a TPU fills narrower blocks up
# Logical axes: of [B, T, D], [V, D] and [B, T].
_STATES = ("act_batch", "act_target", "act_embed")
_EMBEDDING = ("act_vocab", "act_embed")
_TARGETS = ("act_batch", "act_target")


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


def _forward(num_real_ids, *arrays):
  run = on_every_device(
    functools.partial(_own_forward, num_real_ids), (_STATES, _EMBEDDING, _TARGETS), (_TARGETS,) * 3
  )
  *results, log_normaliser = run(*arrays)
  return tuple(results), (*arrays, log_normaliser)


def _backward(num_real_ids, residuals, gradients):
  run = on_every_device(
    functools.partial(_own_backward, num_real_ids),
    (_STATES, _EMBEDDING, *(_TARGETS,) * 4),
    (_STATES, _EMBEDDING),
  )
  return *run(*residuals, *gradients), None


target_log_softmax.defvjp(_forward, _backward)


def _own_forward(num_real_ids, states, embedding, targets):
  """(log_prob, mean_log_prob, log of the softmax's denominator), each [B, T]."""

  def body(carry, block_and_ids):
    most, total, at_target, everywhere = carry
    logits, is_target, real = _logits(states, *block_and_ids, targets, num_real_ids)
    higher = jnp.maximum(most, logits.max(-1))
    shrink = jnp.where(most == -jnp.inf, 0.0, jnp.exp(most - higher))
    total = total * shrink + jnp.where(real, jnp.exp(logits - higher[..., None]), 0.0).sum(-1)
    # Not a gather: its gradient would be a scatter.
    at_target += jnp.where(is_target, logits, 0.0).sum(-1)
    everywhere += jnp.where(real, logits, 0.0).sum(-1)
    return (higher, total, at_target, everywhere), None

  zeros = jnp.zeros(targets.shape, jnp.float32)
  start = (jnp.full(targets.shape, -jnp.inf, jnp.float32), zeros, zeros, zeros)
  sums, _ = jax.lax.scan(body, start, _cut(embedding.astype(states.dtype), states))
  most, total, at_target, everywhere = sums
  if devices_along("act_vocab") > 1:
    own, most = most, jax.lax.pmax(most, mesh_axes("act_vocab"))
    total *= jnp.exp(own - most)
    total, at_target, everywhere = (sum_over("act_vocab", x) for x in (total, at_target, everywhere))
  log_normaliser = most + jnp.log(total)
  return at_target - log_normaliser, everywhere / num_real_ids - log_normaliser, log_normaliser


def _own_backward(num_real_ids, states, embedding, targets, log_normaliser, d_log_prob, d_mean):
  d_log_prob, d_mean = d_log_prob[..., None], d_mean[..., None]

  def body(d_states, block_and_ids):
    block, ids = block_and_ids
    logits, is_target, real = _logits(states, block, ids, targets, num_real_ids)
    p = jnp.exp(logits - log_normaliser[..., None])
    d_logits = jnp.where(is_target, d_log_prob, 0.0) - p * (d_log_prob + d_mean)
    d_logits += jnp.where(real, d_mean / num_real_ids, 0.0)
    d_logits = d_logits.astype(states.dtype)
    d_states += jnp.einsum("btc,cd->btd", d_logits, block, preferred_element_type=jnp.float32)
    return d_states, jnp.einsum("btc,btd->cd", d_logits, states)

  start = jnp.zeros(states.shape, jnp.float32)
  d_states, d_blocks = jax.lax.scan(body, start, _cut(embedding.astype(states.dtype), states))
  # A matmul's result in the compute dtype, as of every weight; summed over devices in float32, as the
  # gradients of looking words up are: the compiler then adds all of them before it sends anything.
  d_embedding = d_blocks.reshape(embedding.shape).astype(embedding.dtype)
  d_embedding = sum_over("act_batch", d_embedding)
  d_states = sum_over("act_vocab", d_states)
  return d_states.astype(states.dtype), d_embedding


def _logits(states, block, ids, targets, num_real_ids):
  """([B, T, c] float32 logits of a block, which are the target's, [c] which are real)."""
  logits = jnp.einsum("btd,cd->btc", states, block, preferred_element_type=jnp.float32)
  real = ids < num_real_ids
  return jnp.where(real, logits, -jnp.inf), targets[..., None] == ids, real


def _cut(embedding, states):
  """The matrix of a device's words, [v, D], in n blocks: ([n, c, D], their ids [n, c])."""
  words, targets = embedding.shape[0], states.shape[0] * states.shape[1]
  units = words // _LANES if words % _LANES == 0 else words  # of which blocks are made
  count = min(-(-words * targets // _LOGITS), units)
  while units % count:
    count += 1
  first = words * jax.lax.axis_index(axes) if (axes := _vocabulary_axes()) else 0
  cut = lambda x: x.reshape(count, -1, *x.shape[1:])
  return cut(embedding), cut(first + jnp.arange(words))


def _vocabulary_axes() -> tuple[str, ...]:
  return mesh_axes("act_vocab") if devices_along("act_vocab") > 1 else ()
