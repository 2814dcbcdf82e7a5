"""The GPU kernels under the signatures of `htmtl_jax/models/memory_attention.py`, over a mesh."""

import functools

import jax
import jax.numpy as jnp

from htmtl_jax.models import on_devices
from htmtl_jax.models.gpu import memory

suits = memory.suits
_on_every_device = functools.partial(on_devices.on_every_device, whole_if_uneven=True)

_QUERY = ("act_batch", None, "heads", None)  # [B, T, H, E]
_KEYS = ("act_batch", "heads", None, None)  # [B, H, E, M]
_HEADS = ("act_batch", "heads", None)  # [B, H, T]
_ANY = ("act_batch", None, None)
_TOKENS = ("act_batch", None)
_INPUTS = (_QUERY, _KEYS, _KEYS, _ANY, _ANY)  # query, keys, values, bias, level_weights
_SCORE_INPUTS = (_ANY, _TOKENS, _TOKENS)  # unit_weights, targets, token_ids


def forward(query, keys, values, bias, level_weights):
  """(out [B, T, H, E], lse [B, H, T]) of `attend_to_memory`."""

  def run(query, keys, values, bias, level_weights):
    return memory.read(*_pair(query, keys, values, bias, level_weights))[:2]

  return _on_every_device(run, _INPUTS, (_QUERY, _HEADS))(query, keys, values, bias, level_weights)


def backward(query, keys, values, bias, level_weights, out, lse, gradient):
  """Gradients of query, keys, values and bias."""

  def run(query, keys, values, bias, level_weights, out, lse, gradient):
    readers, kept = _pair(query, keys, values, bias, level_weights)
    return memory.gradients(readers, kept, gradient, lse, _delta(gradient, out))

  in_axes = (*_INPUTS, _QUERY, _HEADS, _QUERY)
  *gradients, d_bias = _on_every_device(run, in_axes, (_QUERY, _KEYS, _KEYS, _KEYS))(
    query, keys, values, bias, level_weights, out, lse, gradient
  )
  return *gradients, d_bias[:, :, : bias.shape[1]].sum(1)


def forward_with_scores(query, keys, values, bias, level_weights, unit_weights, targets, token_ids):
  """(out, lse, unit_attention, copy_mass, token_mass) of `attend_with_scores`."""
  num_units = unit_weights.shape[-1]

  def run(query, keys, values, bias, level_weights, unit_weights, targets, token_ids):
    readers, kept = _pair(query, keys, values, bias, level_weights)
    units = _pad_units(jnp.moveaxis(unit_weights, 1, 2)).astype(jnp.bfloat16)
    readers = readers.replace(units=units, targets=targets)
    kept = kept.replace(token_ids=token_ids)
    out, lse, copy_mass, token_mass = memory.read(readers, kept)
    units = memory.sum_units(readers, kept, lse)  # a mean over the heads that are here
    units = on_devices.sum_over("heads", units) / on_devices.devices_along("heads")
    return out, lse, copy_mass, token_mass, units

  out, lse, copy_mass, token_mass, units = _on_every_device(
    run, (*_INPUTS, *_SCORE_INPUTS), (_QUERY, _HEADS, _HEADS, _HEADS, _ANY)
  )(query, keys, values, bias, level_weights, unit_weights, targets, token_ids)
  return out, lse, units[:, :num_units], copy_mass.mean(1), token_mass.mean(1)


def backward_with_scores(
  query, keys, values, bias, level_weights, unit_weights, targets, token_ids,
  out, lse, gradient, d_units, d_copy, d_token,
):  # fmt: skip
  """Gradients of query, keys, values and bias, the scores having gradients too."""
  heads = query.shape[2]

  def run(
    query, keys, values, bias, level_weights, unit_weights, targets, token_ids,
    out, lse, gradient, d_units, d_copy, d_token,
  ):  # fmt: skip
    through = jnp.einsum("btu,bum->btm", unit_weights, d_units)
    ids = token_ids[:, None, :]
    through += jnp.where(targets[..., None] == ids, d_copy[..., None], 0.0)
    through += jnp.where(ids >= 0, d_token[..., None], 0.0)
    through = (through / heads).astype(jnp.bfloat16)
    readers, kept = _pair(query, keys, values, bias, level_weights)
    return memory.gradients(readers, kept, gradient, lse, _delta(gradient, out), through)

  in_axes = (*_INPUTS, *_SCORE_INPUTS, _QUERY, _HEADS, _QUERY, _ANY, _TOKENS, _TOKENS)
  *gradients, d_bias = _on_every_device(run, in_axes, (_QUERY, _KEYS, _KEYS, _KEYS))(
    query, keys, values, bias, level_weights, unit_weights, targets, token_ids,
    out, lse, gradient, d_units, d_copy, d_token,
  )  # fmt: skip
  return *gradients, d_bias[:, :, : bias.shape[1]].sum(1)


def _delta(gradient, out) -> jax.Array:
  """[B, H, T] float32: the output times its gradient, summed over E."""
  return jnp.moveaxis((gradient.astype(jnp.float32) * out.astype(jnp.float32)).sum(-1), 1, 2)


def _pair(query, keys, values, bias, level_weights) -> tuple[memory.Readers, memory.Memory]:
  bias, levels = memory.split_bias(bias, level_weights, query.shape[-1] ** -0.5)
  return memory.Readers(query, levels), memory.Memory(keys, values, bias)


def _pad_units(array: jax.Array) -> jax.Array:
  """[B, U, n] with U up to a power of two, as the kernels' blocks need it."""
  units = array.shape[1]
  padded = max(16, 1 << (units - 1).bit_length())
  return jnp.pad(array, [(0, 0), (0, padded - units), (0, 0)])
