"""A decoding step's products against the plain ones, and caches that stay where they are."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from htmtl_jax.models import decoding_cache
from htmtl_jax.models.cached_attention import (
  attend_to_memory,
  attend_to_past,
  cut_tiles,
  multiply_tiles,
  write_slots,
)

B, G, K, H, E, M, T = 2, 2, 3, 2, 4, 30, 7


def draw(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def attend(query, key, value, bias=0.0):
  """[..., q, H, E] over [..., k, H, E] with a bias [..., q, k]: (read, weights [..., q, k])."""
  scores = np.einsum("...qhe,...khe->...hqk", query, key) / np.sqrt(E)
  scores += np.asarray(bias)[..., None, :, :] if np.ndim(bias) else bias
  weights = np.exp(scores - scores.max(-1, keepdims=True))
  weights /= weights.sum(-1, keepdims=True)
  return np.einsum("...hqk,...khe->...qhe", weights, value), weights.mean(-3)


class MemoryTest(parameterized.TestCase):
  @parameterized.parameters(0, 6, 15)
  def test_tiles_give_the_whole_product(self, tile):
    query, matrix = draw(0, B, 5, E), draw(1, B, E, M)
    product = multiply_tiles(query, cut_tiles(jnp.asarray(matrix), tile))  # [B, n, 5, c]
    self.assertEqual(product.shape, (B, M // (tile or M), 5, tile or M))
    whole = np.moveaxis(np.asarray(product), 1, 2).reshape(B, 5, M)
    np.testing.assert_allclose(whole, query @ matrix, atol=1e-5)

  @parameterized.parameters(0, 6, 15)
  def test_is_attention_with_every_groups_own_bias(self, tile):
    query, bias = draw(0, B, G * K, H, E), 3 * draw(1, B, G, M)
    keys, values = draw(2, B, M, H, E), draw(3, B, M, H, E)
    by_head = lambda x: jnp.asarray(np.moveaxis(x, 1, 3))  # [B, H, E, M]
    read, attention = attend_to_memory(query, cut_tiles(by_head(keys), tile), by_head(values), bias)
    whole = np.moveaxis(np.asarray(attention), 1, 2).reshape(B, G * K, M)
    expected, weights = attend(query, keys, values, np.repeat(bias, K, axis=1))
    np.testing.assert_allclose(read, expected, atol=1e-5)
    np.testing.assert_allclose(whole, weights, atol=1e-6)


class PastTest(parameterized.TestCase):
  @parameterized.parameters(1, K)
  def test_reads_what_a_cache_that_moves_with_its_beams_holds(self, beams):
    """Random survivors at every step, and a cache that grows and loses a group on the way."""
    rng = np.random.default_rng(0)
    shape = (B, G, H, E, 0)
    cache = decoding_cache.Cache(
      levels=(0, 2),
      memory_keys=(),
      memory_values=(),
      bias=jnp.zeros((B, G, 1)),
      token_ids=jnp.zeros((B, 1), jnp.int32),
      output=jnp.zeros((1, 1, 1)),
      ancestors=jnp.zeros((B, G, beams, 0), jnp.int32),
      keys=((jnp.zeros(shape),),),
      values=((jnp.zeros(shape),),),
    )
    groups = G
    moving = np.zeros((2, B, G, beams, 0, H, E), np.float32)  # keys and values
    attend_now = jax.jit(attend_to_past)
    for step in range(T):
      if step == 0:
        cache = decoding_cache.resize(cache, (0, 1), 3)
      if step == 3:
        cache = decoding_cache.resize(cache, (1,), T)
        groups, moving = 1, moving[:, :, 1:]
      self.assertEqual(cache.levels, (0, 2) if groups == 2 else (2,))
      query, key, value = draw(step, 3, B, groups * beams, H, E)
      cache = decoding_cache.write_own_slots(cache, jnp.asarray(step))
      cache = cache.replace(
        keys=((write_slots(cache.keys[0][0], key, step),),),
        values=((write_slots(cache.values[0][0], value, step),),),
      )
      read = attend_now(
        query, cache.keys[0][0], cache.values[0][0], cache.ancestors, jnp.asarray(step)
      )
      new = np.stack([key, value]).reshape(2, B, groups, beams, 1, H, E)
      moving = np.concatenate([moving, new], axis=4)
      expected, _ = attend(query.reshape(B, groups, beams, 1, H, E), *moving)
      np.testing.assert_allclose(
        np.asarray(read).reshape(expected.shape), expected, atol=1e-5, err_msg=f"step {step}"
      )
      parents = rng.integers(0, beams, (B, groups, beams))
      cache = decoding_cache.reorder(cache, jnp.asarray(parents))
      moving = np.take_along_axis(moving, parents[None, ..., None, None, None], axis=3)


if __name__ == "__main__":
  absltest.main()
