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

_PAGE = 2**32  # indices are 32-bit words


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

  An array of more than 2**32 elements, as a batch over many chips may have, is drawn in pages
  along its first axes, each with a key of its own.

  Args:
    key: [2] uint32, random.
    shape: of at most 2**32 pages, the last axis no longer than one.
    rate: in [0, 1).
  """
  first = next(i for i in range(len(shape) + 1) if math.prod(shape[i:]) <= _PAGE)
  index = _index(shape, range(first, len(shape)))
  own = key[0]
  if first:  # else as ever, so that masks of smaller arrays stay what they were
    own = mix(own + mix(_index(shape, range(first)) ^ key[1]))
  word = mix(mix(index ^ own) + key[1])
  return word >= jnp.uint32(min(round(rate * 2**32), 2**32 - 1))


def _index(shape: tuple[int, ...], axes: range) -> jax.Array:
  """`shape` uint32: the place of each element along neighbouring axes, the last one fastest."""
  index = jnp.zeros(shape, jnp.uint32)
  for axis in axes:
    stride = math.prod(shape[axis + 1 : axes.stop])
    index += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride)
  return index


def mix(word: jax.Array) -> jax.Array:
  """A bijection of 32-bit words that spreads every bit over all (lowbias32, Wellons 2018)."""
  word = (word ^ (word >> 16)) * jnp.uint32(0x7FEB352D)
  word = (word ^ (word >> 15)) * jnp.uint32(0x846CA68B)
  return word ^ (word >> 16)
