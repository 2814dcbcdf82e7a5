"""Dropout whose mask is a hash of each element's index, never stored.

JAX's own generator (threefry, 20 rounds for two words) costs more on the vector units than
all else between two matmuls, and its masks are kept for the backward pass. Dropout needs no
cryptography: a 32-bit finaliser of the element's index, keyed once a layer and step, passes
for random here, costs a tenth, and is simply computed again. Like threefry it depends on the
index alone, so that a batch cut over devices drops what it would drop on one.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

_MAX_ELEMENTS = 2**32  # indices are 32-bit words


class Dropout(nn.Module):
  """Zeroes a share `rate` of the elements and scales the others up (Srivastava et al. 2014)."""

  rate: float

  @nn.compact
  def __call__(self, x, deterministic: bool):
    """[...] -> [...]; draws from the "dropout" stream unless `deterministic`."""
    if deterministic or self.rate == 0:
      return x
    key = jax.random.bits(self.make_rng("dropout"), (2,), jnp.uint32)
    return _drop(self.rate, x, key)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _drop(rate: float, x: jax.Array, key: jax.Array) -> jax.Array:
  return jnp.where(keep_mask(key, x.shape, rate), x / (1.0 - rate), 0).astype(x.dtype)


# Linear in x: the gradient drops what the forward pass dropped, told by the same key.
_drop.defvjp(
  lambda rate, x, key: (_drop(rate, x, key), key),
  lambda rate, key, gradient: (_drop(rate, gradient, key), None),
)


def keep_mask(key: jax.Array, shape: tuple[int, ...], rate: float) -> jax.Array:
  """Booleans of `shape`, each True with probability 1 - rate.

  Args:
    key: [2] uint32, random.
    shape: at most 2**32 elements.
    rate: in [0, 1).
  """
  if math.prod(shape) > _MAX_ELEMENTS:
    raise ValueError(f"dropout of {shape}: more than {_MAX_ELEMENTS} elements")
  index = jnp.zeros(shape, jnp.uint32)
  for axis in range(len(shape)):
    stride = math.prod(shape[axis + 1 :])
    index += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride)
  word = mix(mix(index ^ key[0]) + key[1])
  return word >= jnp.uint32(min(round(rate * 2**32), 2**32 - 1))


def mix(word: jax.Array) -> jax.Array:
  """A bijection of 32-bit words that spreads every bit over all (lowbias32, Wellons 2018)."""
  word = (word ^ (word >> 16)) * jnp.uint32(0x7FEB352D)
  word = (word ^ (word >> 15)) * jnp.uint32(0x846CA68B)
  return word ^ (word >> 16)
