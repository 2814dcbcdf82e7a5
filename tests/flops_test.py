"""Counted FLOPs against the formula: 2 m k n for a matmul of [m, k] and [k, n]."""

import types

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp

from htmtl_jax.flops import count_matmul_flops, peak_flops
from htmtl_jax.models.attention import attend

M, K, N = 3, 5, 7
LEFT = jax.ShapeDtypeStruct((M, K), jnp.float32)
RIGHT = jax.ShapeDtypeStruct((K, N), jnp.float32)


class FlopsTest(parameterized.TestCase):
  def test_a_matmul(self):
    self.assertEqual(count_matmul_flops(jnp.dot, LEFT, RIGHT), 2 * M * K * N)

  def test_a_batched_einsum(self):
    left = jax.ShapeDtypeStruct((11, 2, M, K), jnp.float32)
    right = jax.ShapeDtypeStruct((11, 2, N, K), jnp.float32)
    count = count_matmul_flops(lambda q, k: jnp.einsum("bhqd,bhkd->bhqk", q, k), left, right)
    self.assertEqual(count, 11 * 2 * 2 * M * K * N)

  def test_a_loop_counts_as_often_as_it_runs(self):
    square = jax.ShapeDtypeStruct((K, K), jnp.float32)

    def repeat(x, w):
      inner = lambda x: jax.lax.scan(lambda x, _: (x @ w, None), x, length=3)[0]
      return jax.lax.scan(lambda x, _: (inner(x), None), x, length=4)[0]

    self.assertEqual(count_matmul_flops(repeat, LEFT, square), 12 * 2 * M * K * K)

  @parameterized.parameters(jax.jit, jax.checkpoint)
  def test_a_wrapped_function_counts_once(self, wrap):
    function = lambda x, w: jnp.tanh(wrap(jnp.dot)(x, w))
    self.assertEqual(count_matmul_flops(function, LEFT, RIGHT), 2 * M * K * N)

  def test_forward_and_backward_is_three_times_forward(self):
    loss = lambda x, w: jnp.sum(jnp.tanh(x @ w) ** 2)
    forward = count_matmul_flops(loss, LEFT, RIGHT)
    self.assertEqual(count_matmul_flops(jax.grad(loss, argnums=(0, 1)), LEFT, RIGHT), 3 * forward)

  def test_code_for_several_platforms_counts_as_the_most_of_them(self):
    once, twice = jnp.dot, lambda x, w: jnp.dot(x, w) + jnp.dot(2 * x, w)
    function = lambda x, w: jax.lax.platform_dependent(x, w, cuda=once, default=twice)
    self.assertEqual(count_matmul_flops(function, LEFT, RIGHT), 2 * 2 * M * K * N)

  def test_more_documents_are_as_much_more_work(self):
    # However a batch is cut into blocks, nothing that only fills them up is counted.
    def step(query, mask):
      return attend(query, query, query, mask).sum()

    def count(documents):
      query = jax.ShapeDtypeStruct((documents, 1216, 16, 8), jnp.float32)
      mask = jax.ShapeDtypeStruct((documents, 1216, 1216), bool)
      return count_matmul_flops(jax.grad(step), query, mask) / documents

    self.assertEqual(count(1), 7 * 2 * 1216**2 * 16 * 8)
    self.assertEqual({count(documents) for documents in (1, 3, 64, 1024)}, {count(1)})

  def test_what_is_no_matmul_counts_nothing(self):
    self.assertEqual(count_matmul_flops(lambda x: jnp.exp(x) + x, LEFT), 0)

  @parameterized.parameters(
    ("NVIDIA H200", 989e12),
    ("TPU v5 lite", 197e12),
    ("TPU v5p", 459e12),
    ("cpu", None),
  )
  def test_peaks(self, kind, expected):
    self.assertEqual(peak_flops(types.SimpleNamespace(device_kind=kind)), expected)


if __name__ == "__main__":
  absltest.main()
