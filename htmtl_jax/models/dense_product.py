"""A dense layer's product, with a gradient of its kernel that CPUs are fast at.

JAX's own gradient of a kernel, a product that sums over all positions, makes XLA's CPU backend
turn the wider operand around and multiply two matrices that both lie the wrong way: the wide kernel
of an MLP, 256 x 1,024 at 4,352 tokens, took 79 ms of processor time for it, in place of 33 (docs/performance.md).
"""

import functools
import math

import jax


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def dense_product(x: jax.Array, kernel: jax.Array, contract: int) -> jax.Array:
  """Sums over the last axes: [..., in...], [in..., out...] -> [..., out...].

  Args:
    x: any leading axes, at least one.
    kernel: its first `contract` axes are the last of `x`.
    contract: how many axes are summed over.
  """
  return _product(x, kernel, contract)


def _forward(x, kernel, contract):
  # Not by `dense_product`, inside which `model.remat=dots` would see no product that it could keep.
  return _product(x, kernel, contract), (x, kernel)


def _backward(contract, residuals, gradient):
  x, kernel = residuals
  outputs = kernel.ndim - contract
  of_gradient = tuple(range(gradient.ndim - outputs, gradient.ndim))
  of_kernel = tuple(range(contract, kernel.ndim))
  d_x = jax.lax.dot_general(gradient, kernel, ((of_gradient, of_kernel), ((), ())))
  if jax.default_backend() != "cpu":
    return d_x, gradient_first(x, gradient, contract)
  d_kernel = jax.lax.platform_dependent(
    x,
    gradient,
    cpu=functools.partial(narrower_first, contract=contract),
    default=functools.partial(gradient_first, contract=contract),  # compiled ahead for another chip
  )
  return d_x, d_kernel


dense_product.defvjp(_forward, _backward)


def _product(x: jax.Array, kernel: jax.Array, contract: int) -> jax.Array:
  """`dense_product` with JAX's own gradient: [..., in...], [in..., out...] -> [..., out...]."""
  last, first = tuple(range(x.ndim - contract, x.ndim)), tuple(range(contract))
  return jax.lax.dot_general(x, kernel, ((last, first), ((), ())))


def gradient_first(x: jax.Array, gradient: jax.Array, contract: int) -> jax.Array:
  """The kernel's gradient as JAX writes it: [..., in...], [..., out...] -> [in..., out...]."""
  positions = x.ndim - contract
  return _swap(_sum_over_positions(gradient, x, positions), gradient.ndim - positions)


def narrower_first(x: jax.Array, gradient: jax.Array, contract: int) -> jax.Array:
  """The same; the operand that is turned around is the one with fewer features."""
  positions = x.ndim - contract
  if math.prod(x.shape[positions:]) <= math.prod(gradient.shape[positions:]):
    return _sum_over_positions(x, gradient, positions)
  # Kept apart from the product, into which the compiler would fold turning the result around.
  product = jax.lax.optimization_barrier(_sum_over_positions(gradient, x, positions))
  return _swap(product, gradient.ndim - positions)


def _sum_over_positions(a, b, positions: int) -> jax.Array:
  """[..., a...], [..., b...] -> [a..., b...], where `positions` axes come first."""
  axes = tuple(range(positions))
  return jax.lax.dot_general(a, b, ((axes, axes), ((), ())))


def _swap(product, outputs: int) -> jax.Array:
  """[out..., in...] -> [in..., out...]."""
  return jax.lax.transpose(product, (*range(outputs, product.ndim), *range(outputs)))
