"""Functions with gradients of their own, against JAX's gradient of the plain formula."""

from unittest import mock

from absl.testing import absltest
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from htmtl_jax.models import attention
from htmtl_jax.models.attention import attend, attention_weights
from htmtl_jax.models.layers import gelu, rms_norm


def plain_norm(x, scale):
  return x / jnp.sqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6) * scale


def plain_attention(query, key, value, mask):
  weights = attention_weights(query, key, mask=mask)
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

  def test_attention_under_a_mask(self):
    mask = self.bools(2, 6, 7).at[0, 2].set(False)  # one query may look at nothing
    self.assert_same(
      lambda *qkv: attend(*qkv, mask),
      lambda *qkv: plain_attention(*qkv, mask),
      self.draw(2, 6, 3, 4),
      self.draw(2, 7, 3, 4),
      self.draw(2, 7, 3, 4),
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
