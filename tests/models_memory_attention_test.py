"""Cross-attention in blocks of keys, against plain attention over all of them at once."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from htmtl_jax.models.memory_attention import (
  Blocks,
  Scores,
  attend_to_memory,
  attend_with_scores,
)
from htmtl_jax.models.rows import NEGATIVE

B, T, H, E, U, KEYS = 2, 6, 2, 4, 3, 300


def plain(query, keys, values, bias, level_weights, unit_weights, targets, token_ids):
  """The formulas, with every array whole."""
  own = jnp.einsum("btl,blm->btm", level_weights, bias)
  scores = jnp.einsum("bthe,bhem->bhtm", query, keys) * E**-0.5 + own[:, None]
  weights = jax.nn.softmax(scores, axis=-1)
  mean = weights.mean(1)
  return jnp.einsum("bhtm,bhem->bthe", weights, values), Scores(
    jnp.einsum("btu,btm->bum", unit_weights, mean),
    jnp.where(targets[..., None] == token_ids[:, None], mean, 0.0).sum(-1),
    jnp.where(token_ids[:, None] >= 0, mean, 0.0).sum(-1),
  )


def make_arguments(blocks: Blocks):
  rng = np.random.default_rng(0)
  draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)
  bias = draw(B, 3, blocks.length).at[..., KEYS:].set(NEGATIVE)
  # The level of each query; the last one is padding and has none.
  level = jnp.asarray([[0, 1, 1, 2, 2, -1]] * B)
  unit = jnp.asarray([[0, 1, 1, 2, 2, -1]] * B)
  return (
    draw(B, T, H, E),
    draw(B, H, E, blocks.length),
    draw(B, H, E, blocks.length),
    bias,
    jax.nn.one_hot(level, 3),
    jax.nn.one_hot(unit, U),
    jnp.asarray(rng.integers(0, 20, (B, T))),
    jnp.asarray(rng.integers(-1, 20, (B, blocks.length))),
  )


class MemoryAttentionTest(parameterized.TestCase):
  @parameterized.parameters(4096, 128, 200)
  def test_is_plain_attention(self, most):
    blocks = Blocks.cover(KEYS, most)
    arguments = make_arguments(blocks)
    expected = plain(*arguments)
    self.assert_close(attend_to_memory(blocks, *arguments[:5]), expected[0])
    jax.tree.map(self.assert_close, attend_with_scores(blocks, *arguments), expected)

  @parameterized.parameters(4096, 128)
  def test_gradients_are_those_of_plain_attention(self, most):
    blocks = Blocks.cover(KEYS, most)
    arguments = make_arguments(blocks)
    rng = np.random.default_rng(1)
    weights = jax.tree.map(
      lambda x: jnp.asarray(rng.standard_normal(x.shape), jnp.float32), plain(*arguments)
    )

    def gradients(function, weigh_scores):
      def total(*first):
        out, scores = function(*first, *arguments[4:])
        total = (out * weights[0]).sum()
        if weigh_scores:
          total += sum(jax.tree.leaves(jax.tree.map(lambda a, b: (a * b).sum(), scores, weights[1])))
        return total

      return jax.grad(total, (0, 1, 2, 3))(*arguments[:4])

    with_scores = lambda *a: attend_with_scores(blocks, *a)
    without = lambda *a: (attend_to_memory(blocks, *a[:5]), None)
    for ours, weigh_scores in ((with_scores, True), (without, False)):
      expected = gradients(plain, weigh_scores)
      jax.tree.map(self.assert_close, gradients(ours, weigh_scores), expected)
      self.assertGreater(float(jnp.abs(expected[3]).max()), 1e-4)

  def assert_close(self, a, b):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6)

  @parameterized.parameters((300, 128), (300, 512), (1, 1), (17_760, 512), (512, 512))
  def test_blocks_cover_the_keys_and_little_more(self, keys, most):
    blocks = Blocks.cover(keys, most)
    self.assertGreaterEqual(blocks.length, keys)
    self.assertLess(blocks.length - keys, 128 * blocks.count)
    self.assertLessEqual(blocks.size, max(most, 128))

  def test_covering_what_is_covered_changes_nothing(self):
    # With 200, two blocks of 256 were made, and three read: other keys than there are.
    for most in (1, 100, 128, 200, 512):
      for keys in range(1, 1300, 37):
        blocks = Blocks.cover(keys, most)
        self.assertEqual(Blocks.cover(blocks.length, most), blocks)

  @parameterized.parameters(
    (4608, 8 * 1216, 512),  # one document at size base: as it is
    (4608, 4 * 8 * 1216, 128),
    (4608, 16 * 1216, 256),
    (4608, 10**9, 128),  # no smaller than the lanes
    (1152, 4 * 8 * 1216, 128),  # 384 is cut in three, not in halves
  )
  def test_more_queries_have_smaller_blocks_of_the_same_keys(self, keys, queries, size):
    blocks = Blocks.cover(keys, 512)
    finer = blocks.for_queries(queries)
    self.assertEqual((finer.length, finer.size), (blocks.length, size))


if __name__ == "__main__":
  absltest.main()
