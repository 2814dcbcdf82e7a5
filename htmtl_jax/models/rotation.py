"""Rotary positions (Su et al. 2021): pairs of numbers turned by angles that grow with position.

The second number of a pair lies half a head after the first.
"""

import jax
import jax.numpy as jnp

Rotation = tuple[jax.Array, jax.Array]


def make_rotation(positions: jax.Array, head_width: int) -> Rotation:
  """(cosines, sines) of `rotate`: [..., n] -> [..., n, 1, E/2] each.

  The encoder makes them once for all of its layers. The barrier keeps them: without it XLA computes
  them again in every loop that multiplies with them, forward and backward.
  """
  half = head_width // 2
  frequency = 10_000.0 ** (-jnp.arange(half, dtype=jnp.float32) / half)
  angle = positions[..., None, None].astype(jnp.float32) * frequency
  return jax.lax.optimization_barrier((jnp.cos(angle), jnp.sin(angle)))


def rotate(x: jax.Array, rotation: Rotation) -> jax.Array:
  """Turns [..., n, H, E]; see `make_rotation`."""
  if jax.default_backend() != "cpu":
    return join_halves(x, *rotation)
  # Compiled ahead of time for another chip, a program is lowered where the backend is a CPU.
  return jax.lax.platform_dependent(x, *rotation, cpu=swap_halves, default=join_halves)


def join_halves(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
  """Computes the first halves of all heads, and the second, and joins them: [..., n, H, E]."""
  a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x.dtype)


def swap_halves(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
  """The same numbers from x and x with its halves swapped; shapes as in `make_rotation`, `rotate`.

  It takes a CPU a third less time: to join, it asks at every number which half it is in. A TPU would
  have to move more (docs/performance.md).
  """
  halves = x.astype(jnp.float32).reshape(*x.shape[:-1], 2, x.shape[-1] // 2)
  signed = jnp.stack([-sin, sin], axis=-2)
  turned = halves * cos[..., None, :] + jnp.flip(halves, -2) * signed
  return turned.reshape(x.shape).astype(x.dtype)
