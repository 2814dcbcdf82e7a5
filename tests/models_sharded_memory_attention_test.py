"""Cross-attention over keys on several devices, against the same on one; and where the keys lie."""

from absl.testing import absltest, parameterized
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from htmtl_jax.errors import UserError
from htmtl_jax.models import memory_attention, sharded_memory_attention
from htmtl_jax.models.memory_attention import Blocks
from htmtl_jax.models.memory_layout import MemoryLayout
from htmtl_jax.models.rows import NEGATIVE
from htmtl_jax.sharding import LOGICAL_RULES, MeshConfig, make_mesh

B, T, H, E, U, KEY_BLOCK = 2, 5, 4, 4, 3, 128
# Of both functions: without and with what the attention says.
ONE_DEVICE = (memory_attention.attend_to_memory, memory_attention.attend_with_scores)
SHARDED = (sharded_memory_attention.attend_to_memory, sharded_memory_attention.attend_with_scores)


def make_arguments(keys: int):
  rng = np.random.default_rng(0)
  draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
  bias = draw(B, 3, keys)
  bias[..., keys // 2 - 30 : keys // 2] = NEGATIVE  # padding at the end of a slice
  bias[:, 1, keys // 2 :] = NEGATIVE  # the second level sees nothing of half of the slices
  level = np.array([[0, 1, 1, 2, -1]] * B)
  one_hot = lambda index, n: np.asarray(jax.nn.one_hot(index, n))
  return (
    draw(B, T, H, E),
    draw(B, H, E, keys),
    draw(B, H, E, keys),
    bias,
    one_hot(level, 3),
    one_hot(level, U),
    rng.integers(0, 9, (B, T)),
    rng.integers(-1, 9, (B, keys)),
  )


def results_and_gradients(functions, first, arguments):
  """(results of both functions, gradients of query, keys, values and bias of a sum over all)."""

  def total(*differentiated):
    plain = functions[0](first, *differentiated, arguments[4])
    results = plain, functions[1](first, *differentiated, *arguments[4:])
    rng = np.random.default_rng(1)
    weighted = jax.tree.map(lambda x: (x * rng.standard_normal(x.shape)).sum(), results)
    return sum(jax.tree.leaves(weighted)), results

  gradient = jax.jit(jax.value_and_grad(total, (0, 1, 2, 3), has_aux=True))
  (_, results), gradients = gradient(*map(jnp.asarray, arguments[:4]))
  return results, gradients


class ShardedMemoryAttentionTest(parameterized.TestCase):
  @parameterized.parameters(
    {"data": 2, "sequence": 4}, {"data": 1, "fsdp": 2, "tensor": 2, "sequence": 2}
  )
  def test_is_attention_over_all_keys_on_one_device(self, **sizes):
    mesh = make_mesh(MeshConfig(**sizes))
    keys = 3 * KEY_BLOCK * sizes["sequence"]
    arguments = make_arguments(keys)
    expected = results_and_gradients(ONE_DEVICE, Blocks.cover(keys, KEY_BLOCK), arguments)
    with jax.set_mesh(mesh), nn.logical_axis_rules(LOGICAL_RULES):
      self.assertEqual(sharded_memory_attention.memory_slices(), sizes["sequence"])
      actual = results_and_gradients(SHARDED, KEY_BLOCK, arguments)
    paths = jax.tree_util.tree_leaves_with_path(actual)
    for (path, a), e in zip(paths, jax.tree.leaves(expected), strict=True):
      scale = float(jnp.abs(e).max())
      self.assertGreater(scale, 1e-3, path)
      np.testing.assert_allclose(a, e, atol=2e-6 * scale, err_msg=str(path))

  def test_without_a_mesh_there_is_one_slice(self):
    self.assertEqual(sharded_memory_attention.memory_slices(), 1)


class MemoryLayoutTest(parameterized.TestCase):
  @parameterized.parameters((1, 6, 7, 11), (2, 6, 7, 11), (3, 6, 7, 1), (2, 4, 300, 0))
  def test_every_slice_has_its_rows_and_a_share_of_the_segments(
    self, slices, rows, width, segments
  ):
    layout = MemoryLayout.cover(slices, rows, width, segments, 256)
    tokens = np.arange(rows * width)[None] + 1
    others = -np.arange(segments)[None] - 1
    joined = np.asarray(layout.join(jnp.asarray(tokens), jnp.asarray(others), 1, 0))
    self.assertEqual(joined.shape, (1, slices * layout.slice_keys))
    self.assertEqual(Blocks.cover(layout.slice_keys, 256).length, layout.slice_keys)
    self.assertEqual(sorted(joined[joined != 0]), sorted([*tokens[0], *others[0]]))
    own = rows // slices * width
    for i, part in enumerate(joined.reshape(slices, -1)):
      np.testing.assert_array_equal(part[:own], tokens[0, i * own : (i + 1) * own])
    for array, expected in zip(layout.split(jnp.asarray(joined), 1), (tokens, others)):
      np.testing.assert_array_equal(array, expected)

  def test_one_slice_is_the_plain_order(self):
    layout = MemoryLayout.cover(1, 2, 3, 4, 256)
    joined = layout.join(jnp.arange(6), 6 + jnp.arange(4), 0, -1)
    np.testing.assert_array_equal(joined, [*range(10), *[-1] * 118])

  def test_rows_that_cannot_be_shared_are_refused_in_one_line(self):
    with self.assertRaisesRegex(
      UserError, r"^config\.mesh\.sequence: 4 devices [^\n]+ 6 token rows"
    ):
      MemoryLayout.cover(4, 6, 7, 11, 256)


if __name__ == "__main__":
  absltest.main()
