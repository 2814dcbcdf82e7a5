"""Cross-attention over a memory whose keys lie on several devices; no key ever moves.

Each device of the `sequence` axis has a slice of the keys (`memory_layout.py`), and all have
every query. It attends to its own keys (`memory_attention.py`); what it read is then merged with
what the others read, weighed by the softmaxes' denominators (log-sum-exp):

    out = sum_i exp(lse_i - lse) out_i        lse = log sum_i exp(lse_i)

Backward likewise: given the merged `out` and `lse`, gradients of a device's keys and values need
nobody else, and those of the queries are summed. So what crosses devices grows with targets
times width, whatever the length of the document.

Documents and heads are cut over the other mesh axes at the same time; what the scores say is a
mean over heads, so that it is summed over those devices as well.
"""

import functools

import jax
import jax.numpy as jnp

from htmtl_jax.models import memory_attention
from htmtl_jax.models.memory_attention import Blocks, Scores
from htmtl_jax.models.on_devices import (
  devices_along,
  mesh_axes,
  on_every_device,
  queries_on_a_device,
  sum_over,
)

# Logical axes of every array, see `memory_attention.py`. `act_row` is that of the keys: a
# device has those of its own token rows.
_QUERY = ("act_batch", "act_target", "heads", "head_dim")
_KEYS = ("act_batch", "heads", "head_dim", "act_row")
_BIAS = _UNITS = ("act_batch", None, "act_row")
_TOKEN_IDS = ("act_batch", "act_row")
_LSE = ("act_batch", "heads", "act_target")
_TARGETS = ("act_batch", "act_target")
_WEIGHTS = (*_TARGETS, None)
_SCORES = Scores(_UNITS, _TARGETS, _TARGETS)
_ARGUMENTS = (_QUERY, _KEYS, _KEYS, _BIAS, _WEIGHTS)
_ARGUMENTS_WITH_SCORES = (*_ARGUMENTS, _WEIGHTS, _TARGETS, _TOKEN_IDS)
_GRADIENTS = (_QUERY, _KEYS, _KEYS, _BIAS)


def memory_slices() -> int:
  """Devices that share the token rows of a document, by the mesh and the table in context."""
  return devices_along("act_row")


def attend_to_memory(key_block: int, query, keys, values, bias, level_weights) -> jax.Array:
  """`memory_attention.attend_to_memory` of all keys, wherever they lie.

  Args:
    key_block: most keys of a block.
    query, keys, values, bias, level_weights: as there, M being all keys.
  """
  slices = memory_slices()
  blocks = _blocks(key_block, query, bias.shape[-1] // slices)
  attend = memory_attention.attend_to_memory if slices == 1 else _attend
  return attend(blocks, query, keys, values, bias, level_weights)


def attend_with_scores(key_block: int, *arguments) -> tuple[jax.Array, Scores]:
  """`memory_attention.attend_with_scores` of all keys, wherever they lie; arguments as there."""
  slices, query, token_ids = memory_slices(), arguments[0], arguments[-1]
  blocks = _blocks(key_block, query, token_ids.shape[-1] // slices)
  attend = memory_attention.attend_with_scores if slices == 1 else _attend_with_scores
  return attend(blocks, *arguments)


def _blocks(key_block, query, keys) -> Blocks:
  return Blocks.cover(keys, key_block).for_queries(queries_on_a_device(query))


# ------------------------------------------------------------------ the plain layers


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(blocks, *arguments):
  return _forward(blocks, *arguments)[0]


def _forward(blocks, *arguments):
  def own(*arguments):
    out, (*_, lse) = memory_attention.attend_forward(blocks, *arguments)
    whole = _whole_lse(lse)
    share = jnp.moveaxis(jnp.exp(lse - whole), 1, 2)[..., None]  # [B, T, H, 1]
    return _sum_over_keys((share * out).astype(out.dtype)), whole

  out, lse = on_every_device(own, _ARGUMENTS, (_QUERY, _LSE))(*arguments)
  return out, (*arguments, out, lse)


def _backward(blocks, residuals, gradient):
  def own(residuals, gradient):
    return _summed(memory_attention.attend_backward(blocks, residuals, gradient))

  run = on_every_device(own, ((*_ARGUMENTS, _QUERY, _LSE), _QUERY), _GRADIENTS)
  return *run(residuals, gradient), None


_attend.defvjp(_forward, _backward)


# ------------------------------------------------------------------ the last layer


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend_with_scores(blocks, *arguments):
  return _forward_with_scores(blocks, *arguments)[0]


def _forward_with_scores(blocks, *arguments):
  def own(*arguments):
    (out, scores), (*_, lse) = memory_attention.scores_forward(
      blocks, *arguments, whole_lse=_whole_lse
    )
    scores = jax.tree.map(lambda x: sum_over("heads", x) / devices_along("heads"), scores)
    out, copy_mass, token_mass = map(_sum_over_keys, (out, scores.copy_mass, scores.token_mass))
    return (out, Scores(scores.unit_attention, copy_mass, token_mass)), lse

  results = ((_QUERY, _SCORES), _LSE)
  result, lse = on_every_device(own, _ARGUMENTS_WITH_SCORES, results)(*arguments)
  return result, (*arguments, result[0], lse)


def _backward_with_scores(blocks, residuals, gradients):
  def own(residuals, gradients):
    gradient, scores = gradients
    scores = jax.tree.map(lambda x: x / devices_along("heads"), scores)
    return _summed(
      memory_attention.scores_backward(
        blocks, residuals, (gradient, scores), sum_over_keys=_sum_over_keys
      )
    )

  arrays = ((*_ARGUMENTS_WITH_SCORES, _QUERY, _LSE), (_QUERY, _SCORES))
  return *on_every_device(own, arrays, _GRADIENTS)(residuals, gradients), *(None,) * 4


_attend_with_scores.defvjp(_forward_with_scores, _backward_with_scores)


# ------------------------------------------------------------------ devices


_sum_over_keys = functools.partial(sum_over, "act_row")


def _whole_lse(lse):
  """[B, H, T] log-sum-exp of a device's keys -> of all keys."""
  most = jax.lax.pmax(lse, mesh_axes("act_row"))
  return most + jnp.log(_sum_over_keys(jnp.exp(lse - most)))


def _summed(gradients):
  """Of query, keys, values and bias: what other keys add to the first, other heads to the last."""
  d_query, d_keys, d_values, d_bias, *_ = gradients
  return _sum_over_keys(d_query), d_keys, d_values, sum_over("heads", d_bias)
