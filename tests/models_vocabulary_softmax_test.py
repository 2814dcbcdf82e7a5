"""A softmax over blocks of a vocabulary, against JAX's over all of it."""

from unittest import mock

from absl.testing import absltest, parameterized
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from htmtl_jax.models import vocabulary_softmax
from htmtl_jax.models.vocabulary_softmax import target_log_softmax
from htmtl_jax.sharding import LOGICAL_RULES, MeshConfig, make_mesh

B, T, V, REAL, D = 4, 6, 384, 300, 16


def plain(states, embedding, targets):
  log_probs = jax.nn.log_softmax(jnp.einsum("btd,vd->btv", states, embedding[:REAL]), axis=-1)
  return jnp.take_along_axis(log_probs, targets[..., None], -1)[..., 0], log_probs.mean(-1)


class VocabularySoftmaxTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    self.arrays = draw(B, T, D), draw(V, D)
    targets = rng.integers(0, REAL, (B, T)).astype(np.int32)
    targets[0, :3] = 0, 299, 128  # the first word, the last, and the first of a block
    self.targets = targets
    self.weights = draw(B, T), draw(B, T)

  def value_and_gradients(self, function):
    def total(states, embedding, targets):
      results = function(states, embedding, targets)
      return sum((r * w).sum() for r, w in zip(results, self.weights, strict=True)), results

    run = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))
    (_, results), gradients = run(*self.arrays, self.targets)
    return jax.device_get((results, gradients))

  # In logits on a device: all at once, three blocks, a word at a time; over devices three again.
  @parameterized.parameters(
    (MeshConfig(), 1, 1 << 23),
    (MeshConfig(), 1, B * T * 128),
    (MeshConfig(), 1, 1),
    (MeshConfig(data=2, tensor=2, fsdp=2), 8, T * 64),
    (MeshConfig(data=1, tensor=8), 8, B * T * 16),  # the last device has no real word at all
  )
  def test_is_the_softmax_over_all_words(self, mesh_config, devices, logits):
    mesh = make_mesh(mesh_config, jax.devices()[:devices])
    ours = lambda *arrays: target_log_softmax(REAL, *arrays)
    with (
      mock.patch.object(vocabulary_softmax, "_LOGITS", logits),
      jax.set_mesh(mesh),
      nn.logical_axis_rules(LOGICAL_RULES),
    ):
      found = self.value_and_gradients(ours)
    expected = self.value_and_gradients(plain)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-5), found, expected)
    self.assertFalse(found[1][1][REAL:].any())  # nothing teaches what is no word

  def test_in_bfloat16_only_matmuls_are_rounded(self):
    states, embedding = (jnp.asarray(x, jnp.bfloat16) for x in self.arrays)
    ours = lambda states, embedding, targets: target_log_softmax(REAL, states, embedding, targets)
    in_float32 = tuple(np.asarray(x, np.float32) for x in (states, embedding))
    self.arrays = in_float32
    expected = self.value_and_gradients(plain)
    self.arrays = states, in_float32[1]  # parameters are float32
    with mock.patch.object(vocabulary_softmax, "_LOGITS", B * T * 128):
      found = self.value_and_gradients(ours)
    self.assertEqual([x.dtype for x in found[1]], [jnp.bfloat16, np.float32])
    for a, b in zip(found[0], expected[0], strict=True):  # sums of exact products
      np.testing.assert_allclose(a, b, 1e-5, 1e-5)
    for a, b in zip(found[1], expected[1], strict=True):
      error = np.linalg.norm(np.asarray(a, np.float32) - b) / np.linalg.norm(b)
      self.assertLess(error, 2**-8)

  def test_blocks_are_whole_lanes_and_no_targets_are_too_many(self):
    for targets in (1, 1216, 4 * 1216, 64 * 768, 1 << 20):
      shapes = jax.eval_shape(
        vocabulary_softmax._cut,
        jax.ShapeDtypeStruct((32_000, D), jnp.bfloat16),
        jax.ShapeDtypeStruct((1, targets, D), jnp.bfloat16),
      )
      count, words, _ = shapes[0].shape
      self.assertEqual((count * words, words % 128, shapes[1].shape), (32_000, 0, (count, words)))
      if targets < 1 << 16:
        self.assertLessEqual(targets * words, vocabulary_softmax._LOGITS)

  def test_no_array_has_all_logits(self):
    with mock.patch.object(vocabulary_softmax, "_LOGITS", B * T * 128):
      run = jax.jit(jax.grad(lambda *a: target_log_softmax(REAL, *a, self.targets)[0].sum(), (0, 1)))
      text = run.lower(*self.arrays).as_text()
    self.assertIn(f"{B}x{T}x128xf32", text)
    self.assertNotIn(f"{T}x{V}x", text)


if __name__ == "__main__":
  absltest.main()
