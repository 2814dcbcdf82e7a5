"""The GPU kernels, interpreted on a CPU, against the plain code; and their programs for a GPU."""

from unittest import mock

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from htmtl_jax.models import attention, memory_attention
from htmtl_jax.models.gpu import cross, launch, masked, memory, rows
from htmtl_jax.models.rows import NEGATIVE

B, H, E, KEYS, UNITS, LEVELS = 2, 2, 32, 384, 19, 3
BLOCKS = memory_attention.Blocks.cover(KEYS, 128)
ROUNDED = 1e-2  # both sides round to bfloat16, at other places
EXACT = 1e-3  # sums in float32


def drawer(seed=0):
  rng = np.random.default_rng(seed)
  return lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.bfloat16)


def make_memory_arguments(queries):
  """Arguments of `attend_with_scores`, some keys of which nobody may see."""
  rng, draw = np.random.default_rng(1), drawer()
  bias = jnp.asarray(rng.standard_normal((B, LEVELS, KEYS)), jnp.float32)
  one_hot = lambda count: jax.nn.one_hot(rng.integers(-1, count, (B, queries)), count)
  return (
    draw(B, queries, H, E),
    draw(B, H, E, KEYS),
    draw(B, H, E, KEYS),
    jnp.where(rng.random(bias.shape) < 0.2, NEGATIVE, bias),
    one_hot(LEVELS),
    one_hot(UNITS),
    jnp.asarray(rng.integers(0, 20, (B, queries)), jnp.int32),
    jnp.asarray(rng.integers(-1, 20, (B, KEYS)), jnp.int32),
  )


class GpuKernelsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.enter_context(launch.interpreted())

  @parameterized.parameters(16, 128)
  def test_rows_attend_as_plain_code_does(self, width):
    draw = drawer()
    query, key, value, gradient = (draw(1, 3, width, H, E) for _ in range(4))
    mask = jnp.asarray(np.random.default_rng(2).random((1, 3, width, width)) < 0.3)
    mask = mask.at[:, 1, 5].set(False)  # a query that sees nothing
    self.assertTrue(rows.suits(query, key))
    self.check_attention(rows, query, key, value, mask, gradient)

  def test_a_long_row_attends_as_plain_code_does(self):
    draw = drawer()
    query, key, value, gradient = (draw(B, 150, H, E) for _ in range(4))
    mask = jnp.asarray(np.random.default_rng(2).random((B, 150, 150)) < 0.3).at[:, 5].set(False)
    self.assertTrue(masked.suits(query, key))
    self.check_attention(masked, query, key, value, mask, gradient)

  def check_attention(self, kernels, query, key, value, mask, gradient):
    out, lse = attention._forward(query, key, value, mask)
    self.assert_close(kernels.forward(query, key, value, mask), out, ROUNDED)
    self.assert_close(
      kernels.backward(query, key, value, mask, out, gradient),
      attention._backward(query, key, value, mask, out, lse, gradient),
      ROUNDED,
    )

  @parameterized.parameters(128, 100)  # a whole number of blocks of queries, and not
  def test_cross_attention_is_that_of_plain_code(self, queries):
    inputs = make_memory_arguments(queries)[:5]
    out, residuals = memory_attention.attend_forward(BLOCKS, *inputs)
    lse = residuals[-1]
    self.assertTrue(cross.suits(*inputs[:2]))
    got, got_lse = cross.forward(*inputs)
    self.assert_close(got, out, ROUNDED)
    self.assert_close(got_lse, lse, EXACT)
    gradient = drawer(3)(*out.shape)
    expected = memory_attention.attend_backward(BLOCKS, residuals, gradient)[:4]
    self.assert_close(cross.backward(*residuals, gradient), expected, ROUNDED)

  def test_cross_attention_with_scores_is_that_of_plain_code(self):
    inputs = make_memory_arguments(100)
    (out, scores), residuals = memory_attention.scores_forward(BLOCKS, *inputs)
    expected = (out, residuals[-1], *scores.__dict__.values())
    self.assert_close(cross.forward_with_scores(*inputs), expected, ROUNDED)
    gradient = drawer(3)(*out.shape)
    rng = np.random.default_rng(4)
    towards = jax.tree.map(lambda s: jnp.asarray(rng.standard_normal(s.shape), jnp.float32), scores)
    self.assert_close(
      cross.backward_with_scores(*residuals, gradient, *jax.tree.leaves(towards)),
      memory_attention.scores_backward(BLOCKS, residuals, (gradient, towards))[:4],
      ROUNDED,
    )

  def test_a_split_bias_loses_nothing_under_jit(self):
    """XLA may take a cast to bfloat16 and back for nothing; the rest would then be zero."""
    rng = np.random.default_rng(5)
    bias = jnp.asarray(rng.standard_normal((B, LEVELS, KEYS)) - 5, jnp.float32)
    levels = jax.nn.one_hot(rng.integers(0, LEVELS, (B, 7)), LEVELS)
    split, chosen = jax.jit(memory.split_bias, static_argnums=2)(bias, levels, E**-0.5)
    wide = lambda x: np.asarray(x, np.float64)
    got = np.einsum("btn,bnm->btm", wide(chosen), wide(split)) * E**-0.5
    expected = np.einsum("btl,blm->btm", wide(levels), wide(bias))
    np.testing.assert_allclose(got, expected, rtol=3e-7)

  def assert_close(self, got, expected, limit):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
      a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
      self.assertEqual(a.shape, b.shape)
      self.assertLess(np.linalg.norm(a - b) / np.linalg.norm(b), limit)


class ChoiceTest(parameterized.TestCase):
  def test_only_programs_for_a_gpu_have_the_kernels(self):
    inputs = make_memory_arguments(100)[:5]
    attend = lambda *a: memory_attention._attend_forward(BLOCKS, *a)[0]

    def names():
      jax.clear_caches()  # or it is not traced again
      return str(jax.make_jaxpr(attend)(*inputs))

    self.assertNotIn("read_memory", names())
    with mock.patch.object(jax, "default_backend", return_value="gpu"):
      self.assertIn("read_memory", names())
      with launch.reference_only():
        self.assertNotIn("read_memory", names())
      # On a machine with a GPU, what is compiled for its CPU is the plain code still.
      jax.clear_caches()
      on_cpu = jax.jit(attend)(*inputs)
    jax.clear_caches()
    np.testing.assert_array_equal(on_cpu, jax.jit(attend)(*inputs))

  def test_float32_is_left_to_plain_code(self):
    query, keys = (x.astype(jnp.float32) for x in make_memory_arguments(100)[:2])
    self.assertFalse(cross.suits(query, keys))
    self.assertFalse(masked.suits(query, query))
    self.assertFalse(rows.suits(query[:, None], query[:, None]))


if __name__ == "__main__":
  absltest.main()
