"""What a flat Transformer's ring attention sends, by formula and by compiling it.

Ring attention (Liu et al. 2023) cuts a document's tokens over devices; keys and values go round
the devices, each attends to what passes. Backward they go round again, to have the weights
computed again, and their gradients with them.
"""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

AXIS = "sequence"


def ring_bytes(tokens: int, width: int, layers: int, devices: int, item: int = 2) -> int:
  """Bytes that one device sends in a training step of one document, attention alone.

  Three times keys and values: forward, backward, and their gradients. Each time every device
  passes on all blocks but one.
  """
  block = 2 * tokens // devices * width * item
  return layers * 3 * (devices - 1) * block


def attend(query, key, value, devices: int):
  """Softmax attention of a device's queries [n, H, E] over everybody's keys and values."""
  neighbours = [(i, (i + 1) % devices) for i in range(devices)]
  most = jnp.full(query.shape[:2], -jnp.inf, jnp.float32)
  total = jnp.zeros(query.shape[:2], jnp.float32)
  out = jnp.zeros(query.shape, jnp.float32)
  for step in range(devices):
    scores = jnp.einsum("qhe,khe->qhk", query, key, preferred_element_type=jnp.float32)
    higher = jnp.maximum(most, scores.max(-1))
    weights, shrink = jnp.exp(scores - higher[..., None]), jnp.exp(most - higher)
    read = jnp.einsum("qhk,khe->qhe", weights.astype(value.dtype), value)
    total, out = total * shrink + weights.sum(-1), out * shrink[..., None] + read
    most = higher
    if step + 1 < devices:
      key, value = (jax.lax.ppermute(x, AXIS, neighbours) for x in (key, value))
  return out / total[..., None]


def compile_ring(mesh, tokens: int, heads: int, head_width: int, layers: int) -> str:
  """The text of the compiled gradient of a stack of such attention alone, in float32.

  A scan, whose backward pass computes each layer's attention again.
  """
  ring = functools.partial(attend, devices=mesh.shape[AXIS])
  cut = PartitionSpec(AXIS)
  everywhere = jax.shard_map(ring, mesh=mesh, in_specs=cut, out_specs=cut, check_vma=False)
  layer = jax.checkpoint(lambda x, scale: (x + everywhere(x * scale, x, 2 * x), None))
  loss = lambda x, scales: jnp.square(jax.lax.scan(layer, x, scales)[0]).sum()
  shape = (tokens, heads, head_width)
  x = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, cut))
  return jax.jit(jax.grad(loss)).lower(x, jnp.ones(layers)).compile().as_text()
