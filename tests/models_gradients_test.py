"""Functions with gradients of their own, against JAX's gradient of the plain formula."""

from unittest import mock

from absl.testing import absltest
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from htmtl_jax.models import attention
from htmtl_jax.models.attention import attend
from htmtl_jax.models.layers import gelu, rms_norm
from htmtl_jax.models.rotation import join_halves, make_rotation, swap_halves


def plain_norm(x, scale):
  return x / jnp.sqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6) * scale


def plain_attention(query, key, value, mask):
  scores = jnp.einsum("...qhe,...khe->...hqk", query, key) / query.shape[-1] ** 0.5
  weights = jax.nn.softmax(scores, axis=-1, where=mask[..., None, :, :])
  return jnp.einsum("...hqk,...khe->...qhe", weights, value)


class GradientsTest(absltest.TestCase):
  def setUp(self):
    rng = np.random.default_rng(0)
    self.draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)
    self.bools = lambda *shape: jnp.asarray(rng.random(shape) < 0.6)

  def assert_same(self, ours, plain, *args):
    """Values, and gradients by every argument, of a sum in which each entry has its own weight."""
    np.testing.assert_allclose(ours(*args), plain(*args), rtol=1e-5, atol=1e-6)
    weights = self.draw(*plain(*args).shape)
    indices = tuple(range(len(args)))
    gradients = [
      jax.grad(lambda *args, f=f: (f(*args) * weights).sum(), indices)(*args) for f in (ours, plain)
    ]
    for a, b in zip(*gradients, strict=True):
      np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5)

  def test_norm(self):
    self.assert_same(rms_norm, plain_norm, self.draw(3, 5, 8), self.draw(8))

  def test_gelu(self):
    self.assert_same(gelu, nn.gelu, 3 * self.draw(64))

  def test_both_ways_to_rotate_are_complex_multiplication(self):
    positions = jnp.asarray([[0, 1, 2], [500, 501, 7]])
    rotation = make_rotation(positions, 6)

    def complex_product(x):
      a, b = jnp.split(x, 2, axis=-1)
      angles = positions[..., None, None] * 10_000.0 ** (-jnp.arange(3) / 3)
      turned = (a + 1j * b) * jnp.exp(1j * angles)
      return jnp.concatenate([turned.real, turned.imag], axis=-1)

    for rotate in (join_halves, swap_halves):
      with self.subTest(rotate.__name__):
        self.assert_same(
          lambda x, rotate=rotate: rotate(x, *rotation), complex_product, self.draw(2, 3, 5, 6)
        )

  def test_attention_under_a_mask(self):
    mask = self.bools(2, 6, 7).at[0, 2].set(False)  # one query may look at nothing
    mask = mask.at[1, :, 3].set(False)  # and nobody at one key
    self.assert_same(
      lambda *qkv: attend(*qkv, mask),
      lambda *qkv: plain_attention(*qkv, mask),
      self.draw(2, 6, 3, 4),
      self.draw(2, 7, 3, 4),
      self.draw(2, 7, 3, 4),
    )

  def test_attention_inside_rows(self):
    mask = self.bools(2, 4, 6, 6).at[0, 1, 2].set(False)
    rows = [self.draw(2, 4, 6, 3, 4) for _ in range(3)]
    self.assert_same(
      lambda *qkv: attend(*qkv, mask), lambda *qkv: plain_attention(*qkv, mask), *rows
    )

  def test_attention_in_blocks_of_queries(self):
    mask = self.bools(2, 7, 5).at[0, 2].set(False)
    with mock.patch.object(attention, "SCORES", 2 * 3 * 2 * 5):  # of 2 of 7 queries
      self.assert_same(
        lambda *qkv: attend(*qkv, mask),
        lambda *qkv: plain_attention(*qkv, mask),
        self.draw(2, 7, 3, 4),
        self.draw(2, 5, 3, 4),
        self.draw(2, 5, 3, 4),
      )

  def test_what_is_kept_for_the_backward_pass_is_small(self):
    x = self.draw(16, 128)
    kept = lambda f, *args: sum(
      np.size(leaf) for leaf in jax.tree.leaves(jax.vjp(f, *args)[1]) if np.ndim(leaf)
    )
    self.assertLessEqual(kept(gelu, x), x.size)
    self.assertLessEqual(kept(rms_norm, x, x[0]), x.size + x[0].size)
    rows = self.draw(4, 32, 2, 4)
    mask = self.bools(4, 32, 32)
    self.assertLess(
      kept(lambda *qkv: attend(*qkv, mask), rows, rows, rows), 5 * rows.size + mask.size
    )


if __name__ == "__main__":
  absltest.main()
