"""A dense layer's product against `tensordot`, and its gradient in both forms against JAX's own."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from htmtl_jax.models import dense_product

# (x, kernel, axes that are summed over): fewer, more, and as many features before as after.
SHAPES = (
  ((2, 3, 5, 8), (8, 16), 1),
  ((2, 3, 5, 16), (16, 8), 1),
  ((7, 8), (8, 2, 4), 1),
  ((4, 5, 2, 6), (2, 6, 3), 2),
  ((4, 2, 3), (2, 3, 4, 1, 5), 2),
)


class DenseProductTest(parameterized.TestCase):
  @parameterized.parameters(*SHAPES)
  def test_value_and_gradients(self, x_shape, kernel_shape, contract):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=x_shape), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=kernel_shape), jnp.float32)

    def loss(product):
      return lambda x, kernel: jnp.sin(product(x, kernel)).sum()

    ours = lambda x, kernel: dense_product.dense_product(x, kernel, contract)
    theirs = lambda x, kernel: jnp.tensordot(x, kernel, contract)
    np.testing.assert_allclose(ours(x, kernel), theirs(x, kernel), rtol=1e-5, atol=1e-5)
    expected = jax.grad(loss(theirs), (0, 1))(x, kernel)
    for got, wanted in zip(jax.grad(loss(ours), (0, 1))(x, kernel), expected):
      np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    gradient = jnp.cos(theirs(x, kernel))
    for form in (dense_product.gradient_first, dense_product.narrower_first):
      np.testing.assert_allclose(form(x, gradient, contract), expected[1], rtol=1e-4, atol=1e-5)

  @parameterized.parameters(jnp.float32, jnp.bfloat16)
  def test_gradients_have_the_types_of_their_arguments(self, dtype):
    x, kernel = jnp.ones((4, 8), dtype), jnp.ones((8, 2), dtype)
    loss = lambda x, kernel: dense_product.dense_product(x, kernel, 1).astype(jnp.float32).sum()
    for gradient in jax.grad(loss, (0, 1))(x, kernel):
      self.assertEqual(gradient.dtype, dtype)


if __name__ == "__main__":
  absltest.main()
