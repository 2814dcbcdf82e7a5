"""Dropout: the right share, no pattern, the gradient of what was dropped."""

from unittest import mock

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from htmtl_jax.models import dropout
from htmtl_jax.models.dropout import Dropout, keep_mask, mix


class DropoutTest(parameterized.TestCase):
  def apply(self, x, rate=0.3, seed=0):
    return Dropout(rate).apply({}, x, False, rngs={"dropout": jax.random.key(seed)})

  @parameterized.parameters(0.1, 0.5)
  def test_keeps_the_right_share_and_scales_it_up(self, rate):
    out = np.asarray(self.apply(jnp.ones((400, 500)), rate))
    kept = out > 0
    error = (rate * (1 - rate) / out.size) ** 0.5
    self.assertLess(abs(kept.mean() - (1 - rate)), 4 * error)
    np.testing.assert_allclose(out[kept], 1 / (1 - rate), rtol=1e-6)

  def test_neighbours_rows_and_keys_are_independent(self):
    key = lambda seed: jax.random.bits(jax.random.key(seed), (2,), jnp.uint32)
    masks = [np.asarray(keep_mask(key(seed), (512, 512), 0.5)) - 0.5 for seed in range(3)]
    bound = 4 / 512  # four standard errors of a correlation over 512 x 512 pairs, times 4
    for mask in masks:
      for shift in ((0, 1), (1, 0), (0, 128), (256, 0)):
        self.assertLess(abs((mask * np.roll(mask, shift, (0, 1))).mean() * 4), bound, shift)
    self.assertLess(abs((masks[0] * masks[1]).mean() * 4), bound)
    # Keys that differ in one bit, as counters do.
    near = [
      np.asarray(keep_mask(jnp.asarray([7, k], jnp.uint32), (512, 512), 0.5)) - 0.5 for k in (0, 1)
    ]
    self.assertLess(abs((near[0] * near[1]).mean() * 4), bound)

  def test_pages_of_large_arrays_are_independent(self):
    key = jax.random.bits(jax.random.key(0), (2,), jnp.uint32)
    whole = np.asarray(keep_mask(key, (8, 256, 256), 0.5))
    draw = lambda key: keep_mask(key, (64, 1088, 128, 1536), 0.5)  # traced: it would be 13 GB
    self.assertEqual(jax.eval_shape(draw, key).shape, (64, 1088, 128, 1536))
    with mock.patch.object(dropout, "_PAGE", 256 * 256):
      paged = np.asarray(keep_mask(key, (8, 256, 256), 0.5))
      one = np.asarray(keep_mask(key, (256, 256), 0.5))
    np.testing.assert_array_equal(one, whole[0])  # nothing changes for what fits
    bound = 4 / 256  # four standard errors of a correlation over 256 x 256 pairs
    for i in range(8):
      self.assertLess(abs(paged[i].mean() - 0.5), bound / 2)
      for j in range(i):
        self.assertLess(abs(((paged[i] - 0.5) * (paged[j] - 0.5)).mean() * 4), bound, (i, j))

  def test_gradient_drops_the_same(self):
    x = jnp.ones((20, 30))
    out, gradient = jax.value_and_grad(lambda x: self.apply(x).sum())(x)
    np.testing.assert_array_equal(gradient, self.apply(x))
    self.assertAlmostEqual(float(out), float(gradient.sum()), places=2)

  def test_a_seed_gives_the_same_and_another_does_not(self):
    x = jnp.ones((20, 30))
    np.testing.assert_array_equal(self.apply(x), self.apply(x))
    self.assertGreater(np.mean(np.asarray(self.apply(x)) != np.asarray(self.apply(x, seed=1))), 0.2)

  def test_off(self):
    x = jnp.ones((4, 5))
    np.testing.assert_array_equal(Dropout(0.3).apply({}, x, True), x)
    np.testing.assert_array_equal(Dropout(0.0).apply({}, x, False), x)

  def test_mix_is_the_published_function(self):
    def reference(word):
      for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        word = ((word ^ (word >> shift)) * factor) % 2**32
      return word ^ (word >> 16)

    words = [0, 1, 2, 0xFFFFFFFF, 123456789]
    np.testing.assert_array_equal(
      mix(jnp.asarray(words, jnp.uint32)), np.asarray([reference(w) for w in words], np.uint32)
    )


if __name__ == "__main__":
  absltest.main()
