"""Self-attention of one long row under a mask: the decoder over its own past."""

import jax
import jax.numpy as jnp

from htmtl_jax.models.gpu import memory

_ALIGN = 128


def suits(query: jax.Array, key: jax.Array) -> bool:
  """Whether these kernels take [B, q, H, E] and [B, k, H, E] like these."""
  heads_first = jax.ShapeDtypeStruct((*key.shape[:1], *key.shape[2:], _ALIGN), key.dtype)
  return query.ndim == 4 and key.shape[1] >= _ALIGN and memory.suits(query, heads_first)


def forward(query, key, value, mask) -> jax.Array:
  """`attention.attend`: [B, q, H, E], [B, k, H, E] twice, mask [B, q, k] -> [B, q, H, E]."""
  return memory.read(memory.Readers(query), _memory(key, value, mask))[0]


def backward(query, key, value, mask, out, gradient):
  """Gradients of query, key and value; the log-sum-exp is computed again."""
  readers, kept = memory.Readers(query), _memory(key, value, mask)
  _, lse, _, _ = memory.read(readers, kept)
  delta = (gradient.astype(jnp.float32) * out.astype(jnp.float32)).sum(-1)  # [B, q, H]
  d_query, d_key, d_value, _ = memory.gradients(
    readers, kept, gradient, lse, jnp.moveaxis(delta, 1, 2)
  )
  back = lambda x: jnp.moveaxis(x, -1, 1)[:, : key.shape[1]]
  return d_query, back(d_key), back(d_value)


def _memory(key, value, mask) -> memory.Memory:
  missing = -key.shape[1] % _ALIGN
  turn = lambda x: jnp.pad(jnp.moveaxis(x, 1, -1), [(0, 0)] * 3 + [(0, missing)])
  mask = jnp.broadcast_to(mask, (key.shape[0], *mask.shape[-2:]))
  return memory.Memory(turn(key), turn(value), mask=jnp.pad(mask, [(0, 0), (0, 0), (0, missing)]))
