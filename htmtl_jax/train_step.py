"""One step of training, and of validation: pure functions of (state, batch)."""

from collections.abc import Callable
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from htmtl_jax.layout import Batch, Bucket
from htmtl_jax.levels import NUM_LEVELS
from htmtl_jax.losses import (
  LossConfig,
  LossWeights,
  count_weights,
  loss_terms,
  normalise_terms,
  total_loss,
)
from htmtl_jax.models.htmtl import Htmtl
from htmtl_jax.sharding import LOGICAL_RULES, replicated
from htmtl_jax.train_state import TrainState


def make_train_step(
  model: Htmtl,
  optimizer: optax.GradientTransformation,
  loss_config: LossConfig,
  bucket: Bucket,
  mesh,
  shardings,
  *,
  seed: int,
  accumulate: int = 1,
  hide_length: float = 0.0,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
  """Compiles the step for one bucket: gradients of the joint loss, one optimiser update.

  With `accumulate` > 1 the batch is cut into that many pieces of equal size, run one
  after the other; since sums are divided by the weights of the whole batch, the result
  is that of the whole batch. The decoder is told how long each summary is, but for a
  share `hide_length` of them, drawn anew at every step. The old state's buffers are reused.

  Returns:
    step(state, batch) -> (state, metrics), metrics a dict of float32 scalars.
  """

  def piece_loss(params, batch, weights, step, key):
    output = model.apply(
      {"params": params},
      batch,
      bucket.units,
      loss_config.importance_ramp(step),
      deterministic=model.config.dropout == 0,
      rngs={"dropout": key},
    )
    with jax.named_scope("losses"):
      terms = loss_terms(output, batch, bucket, loss_config, model.config.copy)
      terms = normalise_terms(terms, weights)
      return total_loss(terms, loss_config, step), terms

  def step(state: TrainState, batch: Batch):
    weights = count_weights(batch)
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    key, length_key = jax.random.split(key)
    batch = hide_lengths(batch, length_key, hide_length)
    gradient = jax.value_and_grad(piece_loss, has_aux=True)
    if accumulate == 1:
      (loss, terms), gradients = gradient(state.params, batch, weights, state.step, key)
    else:
      # Every piece takes documents of every device; were it the first of the batch, the second of
      # it, ..., documents would have to move between devices.
      pieces = jax.tree.map(
        lambda x: jnp.swapaxes(x.reshape(-1, accumulate, *x.shape[1:]), 0, 1), batch
      )

      def body(total, inputs):
        piece, index = inputs
        result = gradient(state.params, piece, weights, state.step, jax.random.fold_in(key, index))
        return jax.tree.map(jnp.add, total, result), None

      first = jax.tree.map(lambda x: x[0], pieces)
      shapes = jax.eval_shape(gradient, state.params, first, weights, state.step, key)
      zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
      ((loss, terms), gradients), _ = jax.lax.scan(body, zeros, (pieces, jnp.arange(accumulate)))

    with jax.named_scope("optimizer"):
      updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
      params = optax.apply_updates(state.params, updates)
      metrics = {
        "loss": loss,
        **terms,
        "gradient_norm": optax.global_norm(gradients),
        "parameter_norm": optax.global_norm(params),
        "update_norm": optax.global_norm(updates),
        "input_tokens": batch.tokens.mask.sum().astype(jnp.float32),
        "target_tokens": batch.targets.mask.sum().astype(jnp.float32),
      }
    return TrainState(state.step + 1, params, opt_state), metrics

  compiled = jax.jit(step, out_shardings=(shardings, replicated(mesh)), donate_argnums=0)
  return under_mesh(compiled, mesh)


def make_eval_step(
  model: Htmtl, loss_config: LossConfig, bucket: Bucket, mesh
) -> Callable[[dict, jax.Array, Batch], tuple[dict, LossWeights, jax.Array]]:
  """Compiles the validation step for one bucket.

  Returns:
    step(params, step_number, batch) -> (sums of the loss terms, the weights to divide
    them by once all batches are added, [B, S] float32 log importance of sentences).
  """

  def step(params, step_number, batch: Batch):
    # How long the reference is would tell something of it.
    batch = hide_lengths(batch, jax.random.key(0), 1.0)
    output = model.apply(
      {"params": params}, batch, bucket.units, loss_config.importance_ramp(step_number)
    )
    terms = loss_terms(output, batch, bucket, loss_config, model.config.copy)
    return terms, count_weights(batch), output.encoded.importance.sentences

  return under_mesh(jax.jit(step, out_shardings=replicated(mesh)), mesh)


def hide_lengths(batch: Batch, key: jax.Array, share: float) -> Batch:
  """Does not tell the decoder the length of a share of the summaries, drawn with `key`."""
  told = jax.random.uniform(key, (len(batch.document_mask), NUM_LEVELS)) >= share  # [B, 3]
  at_level = batch.targets.level[..., None] == jnp.arange(NUM_LEVELS)  # [B, T, 3]
  told = (at_level & told[:, None, :]).any(-1)
  remaining = jnp.where(told, batch.targets.remaining, 0)
  return batch.replace(targets=batch.targets.replace(remaining=remaining))


def under_mesh(function: Callable, mesh) -> Callable:
  """Calls `function` with the mesh and the logical rules in context, tracing included."""

  @functools.wraps(function)
  def call(*args, **kwargs):
    with jax.set_mesh(mesh), nn.logical_axis_rules(LOGICAL_RULES):
      return function(*args, **kwargs)

  return call
