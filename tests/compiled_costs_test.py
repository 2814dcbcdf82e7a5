"""Counted costs of small programs against the exact answer, and against XLA's own count.

XLA's `cost_analysis()` is to be trusted where a program has no loop. Programs are compiled
for the CPU; what only TPUs write is in texts of our own (`compiled_tpu_text_test.py`).
"""

import re

from absl.testing import absltest, parameterized
import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from htmtl_jax.compiled.costs import program_costs

N = 64
MATRIX = jax.ShapeDtypeStruct((N, N), jnp.float32)
BYTES = 4 * N * N  # of a matrix
MATMUL = 2 * N**3  # FLOPs of one


def compile_on_cpu(function, *args, **options):
  return jax.jit(function, **options).lower(*args).compile()


def count(function, *args, **options):
  return program_costs(compile_on_cpu(function, *args, **options).as_text())


def scanned(weights, x):
  return lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)[0]


def unrolled(weights, x):
  for w in weights:
    x = jnp.tanh(x @ w)
  return x


class FlopsTest(parameterized.TestCase):
  def test_a_matmul(self):
    compiled = compile_on_cpu(jnp.dot, MATRIX, MATRIX)
    costs = program_costs(compiled.as_text())
    self.assertEqual(costs.flops, MATMUL)
    self.assertEqual(costs.flops, compiled.cost_analysis()["flops"])
    self.assertEqual(costs.bytes_accessed, 3 * BYTES)
    self.assertEqual(costs.bytes_accessed, compiled.cost_analysis()["bytes accessed"])
    self.assertEmpty(costs.not_counted)

  def test_a_batched_einsum(self):
    left, right = (jax.ShapeDtypeStruct((3, n, 2, 8), jnp.float32) for n in (5, 7))
    costs = count(lambda q, k: jnp.einsum("bqhe,bkhe->bhqk", q, k), left, right)
    self.assertEqual(costs.flops, 2 * 3 * 2 * 5 * 7 * 8)

  @parameterized.parameters(
    dict(),
    dict(window_strides=(2, 1), padding=((1, 2), (3, 0))),
    dict(lhs_dilation=(1, 3), rhs_dilation=(2, 1), padding=((2, 2), (1, 4))),
    dict(feature_group_count=2),
    dict(batch_group_count=2),
  )
  def test_a_convolution_is_counted_as_xla_does(self, **options):
    groups = options.get("feature_group_count", 1)
    image = jax.ShapeDtypeStruct((2, 4, 11, 9), jnp.float32)
    kernel = jax.ShapeDtypeStruct((6, 4 // groups, 3, 2), jnp.float32)
    options = dict(window_strides=(1, 1), padding="VALID") | options
    function = lambda x, k: lax.conv_general_dilated(x, k, **options)
    compiled = compile_on_cpu(function, image, kernel)
    costs = program_costs(compiled.as_text())
    self.assertGreater(costs.flops, 0)
    # XLA adds a FLOP for each element of what it copies or fills besides.
    self.assertAlmostEqual(costs.flops / compiled.cost_analysis()["flops"], 1.0, delta=0.01)

  def test_a_loop_counts_as_often_as_it_runs(self):
    weights = jax.ShapeDtypeStruct((6, N, N), jnp.float32)
    for function in (scanned, unrolled):
      self.assertEqual(count(function, weights, MATRIX).flops, 6 * MATMUL)
    gradient = jax.grad(lambda w, x: scanned(w, x).sum())
    self.assertEqual(count(gradient, weights, MATRIX).flops, 3 * 6 * MATMUL)

  def test_loops_in_loops(self):
    inner = lambda x, w: lax.fori_loop(3, 10, lambda _, x: x @ w, x)
    costs = count(lambda x, w: lax.fori_loop(0, 5, lambda _, x: inner(x, w), x), MATRIX, MATRIX)
    self.assertEqual(costs.flops, 35 * MATMUL)

  @parameterized.parameters((0, 6, 1), (2, 9, 3), (1, 12, 5), (0, 12, 4))
  def test_the_counter_of_a_loop_is_followed_where_nothing_is_written(self, start, end, step):
    body = lambda state: (state[0] + step, state[1] @ state[1])
    loop = lambda x: lax.while_loop(lambda state: state[0] < end, body, (start, x))[1]
    text = compile_on_cpu(loop, MATRIX).as_text()
    known = re.compile(r'"known_trip_count":\{"n":"\d+"\}')
    self.assertLen(known.findall(text), 1)
    without = known.sub("", text)
    expected = len(range(start, end, step)) * MATMUL
    self.assertEqual(program_costs(text).flops, expected)
    costs = program_costs(without)
    self.assertEqual(costs.flops, expected)
    self.assertEmpty(costs.not_counted)

  def test_a_loop_that_runs_until_something_happens_is_named(self):
    loop = lambda x, n: lax.while_loop(
      lambda s: s[0] < n, lambda s: (s[0] + 1, s[1] @ s[1]), (0, x)
    )
    costs = count(loop, MATRIX, jax.ShapeDtypeStruct((), jnp.int32))
    self.assertEqual(costs.flops, MATMUL)
    self.assertRegex(" ".join(costs.not_counted), "number of runs unknown")

  def test_of_two_branches_the_dearer_one_counts(self):
    branch = lambda x, n: lax.cond(n > 0, lambda x: x @ x @ x, lambda x: x @ x, x)
    costs = count(branch, MATRIX, jax.ShapeDtypeStruct((), jnp.int32))
    self.assertEqual(costs.flops, 2 * MATMUL)
    self.assertRegex(" ".join(costs.not_counted), "branches")

  def test_products_asked_for_in_high_precision_cost_more_passes(self):
    dot = lambda precision: lambda a, b: jnp.dot(a, b, precision=precision)
    for precision, passes in (("default", 1), ("high", 3), ("highest", 6)):
      costs = count(dot(precision), MATRIX, MATRIX)
      self.assertEqual(costs.flops, MATMUL)
      self.assertEqual(costs.pass_flops, passes * MATMUL)


class BytesTest(parameterized.TestCase):
  def test_a_chain_of_elementwise_operations_is_read_and_written_once(self):
    compiled = compile_on_cpu(lambda x: jnp.tanh(jnp.exp(x) * 2 + 1), MATRIX)
    costs = program_costs(compiled.as_text())
    self.assertEqual(costs.bytes_accessed, 2 * BYTES)
    self.assertEqual(costs.bytes_accessed, compiled.cost_analysis()["bytes accessed"])
    self.assertEqual(costs.flops, 0)

  def test_a_row_written_into_a_large_array(self):
    table = jax.ShapeDtypeStruct((1000, N), jnp.float32)
    rows = jax.ShapeDtypeStruct((10, N), jnp.float32)
    costs = count(
      lambda table, rows, i: lax.dynamic_update_slice(table, rows, (i, 0)),
      table,
      rows,
      jax.ShapeDtypeStruct((), jnp.int32),
      donate_argnums=0,
    )
    self.assertAlmostEqual(costs.bytes_accessed, 2 * 10 * N * 4, delta=16)

  def test_rows_taken_out_of_a_large_array(self):
    table = jax.ShapeDtypeStruct((1000, N), jnp.float32)
    costs = count(lambda t, i: t[i], table, jax.ShapeDtypeStruct((10,), jnp.int32))
    self.assertAlmostEqual(costs.bytes_accessed, 2 * 10 * N * 4, delta=100)

  def test_what_a_loop_stacks_is_written_once(self):
    def bytes_of(length):
      function = lambda x: lax.scan(lambda x, _: (x * 2, jnp.sin(x)), x, length=length)[1]
      return count(function, MATRIX).bytes_accessed

    # Were each of the n writes counted as one of the whole [n, N, N], this would grow with n^2.
    self.assertAlmostEqual(bytes_of(40) / bytes_of(20), 2.0, delta=0.1)


class CollectivesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.mesh = jax.make_mesh((4, 2), ("a", "b"), axis_types=(jax.sharding.AxisType.Auto,) * 2)

  def _array(self, *spec):
    return jax.ShapeDtypeStruct((N, N), jnp.float32, sharding=NamedSharding(self.mesh, P(*spec)))

  def _count(self, function, *args, out):
    return count(function, *args, out_shardings=NamedSharding(self.mesh, P(*out)))

  def test_an_all_reduce_sends_everything_twice(self):
    costs = self._count(jnp.dot, self._array(None, "a"), self._array("a"), out=())
    self.assertEqual(costs.collective_bytes(), {"all-reduce": BYTES})
    self.assertEqual(costs.sent_bytes(), 2 * BYTES * 3 // 4)
    self.assertEqual(costs.flops, MATMUL // 4)

  def test_an_all_gather_goes_by_the_size_of_its_groups(self):
    for axes, devices in (("a", 4), ("b", 2), (("a", "b"), 8)):
      costs = self._count(lambda x: x * 2, self._array(axes), out=())
      self.assertEqual(costs.collective_bytes(), {"all-gather": BYTES})
      self.assertEqual(costs.sent_bytes(), BYTES * (devices - 1) // devices)

  def test_a_permutation_sends_its_array(self):
    shift = lambda x: lax.ppermute(x, "a", [(i, (i + 1) % 4) for i in range(4)])
    function = jax.shard_map(shift, mesh=self.mesh, in_specs=P("a"), out_specs=P("a"))
    costs = count(function, self._array("a"))
    self.assertEqual(costs.collective_bytes(), {"collective-permute": BYTES // 4})
    self.assertEqual(costs.sent_bytes(), BYTES // 4)

  def test_in_a_loop_they_count_as_often_as_it_runs(self):
    function = jax.shard_map(
      lambda x: lax.fori_loop(0, 5, lambda _, x: lax.psum(x, "a") / 4, x),
      mesh=self.mesh,
      in_specs=P(),
      out_specs=P(),
      check_vma=False,
    )
    self.assertEqual(count(function, self._array()).collective_bytes(), {"all-reduce": 5 * BYTES})


class TextTest(absltest.TestCase):
  def test_another_text_is_refused(self):
    with self.assertRaisesRegex(ValueError, "not the text of a compiled program"):
      program_costs("module @jit_f { }")


if __name__ == "__main__":
  absltest.main()
