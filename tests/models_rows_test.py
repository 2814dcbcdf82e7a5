"""Moving between the layers of the tree, against loops over the unpacked tree."""

from absl.testing import absltest
import jax
import jax.numpy as jnp
import numpy as np

from htmtl_jax.models import rows
from htmtl_jax.models.importance import with_floor
from tests import tiny


class RowsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.batch = tiny.pack(tiny.make_documents())
    self.rng = np.random.default_rng(0)
    # (rows, [(b, parent slot, child slots)]) of each layer.
    self.layers = [(self.batch.tokens, []), (self.batch.sentences, []), (self.batch.paragraphs, [])]
    for b in range(3):
      for c, paragraphs in tiny.unpack_tree(self.batch, b):
        self.layers[2][1].append((b, c, [p for p, _ in paragraphs]))
        for p, sentences in paragraphs:
          self.layers[1][1].append((b, p, [s for s, _ in sentences]))
          self.layers[0][1].extend((b, s, tokens) for s, tokens in sentences)

  def test_sum_to_parents(self):
    for layer, families in self.layers:
      values = self.rng.normal(size=layer.slot.shape).astype(np.float32)
      flat = values.reshape(len(values), -1)
      expected = np.zeros(layer.parent_mask.shape)
      for b, parent, children in families:
        expected[b, parent] = flat[b, children].sum()
      np.testing.assert_allclose(rows.sum_to_parents(values, layer), expected, atol=1e-5)

  def test_spread_to_children(self):
    for layer, families in self.layers:
      values = self.rng.normal(size=(*layer.parent_mask.shape, 5)).astype(np.float32)
      expected = np.zeros((3, layer.slot[0].size, 5))
      for b, parent, children in families:
        expected[b, children] = values[b, parent]
      actual = rows.spread_to_children(values, layer).reshape(expected.shape)
      np.testing.assert_allclose(actual, expected, atol=1e-6)

  def test_log_softmax_among_siblings(self):
    for layer, families in self.layers:
      logits = 30 * self.rng.normal(size=layer.slot.shape).astype(np.float32)
      actual = np.asarray(rows.log_softmax_among_siblings(logits, layer))
      self.assertTrue((actual[~layer.mask] == rows.NEGATIVE).all())
      flat, actual = logits.reshape(3, -1).astype(np.float64), actual.reshape(3, -1)
      for b, _, children in families:
        x = flat[b, children]
        expected = x - x.max() - np.log(np.exp(x - x.max()).sum())
        np.testing.assert_allclose(actual[b, children], expected, atol=2e-5)

  def test_same_parent_mask(self):
    for layer, families in self.layers:
      width = layer.slot.shape[-1]
      expected = np.zeros((3, layer.slot.shape[1], width, width), bool)
      for b, _, children in families:
        for i in children:
          for j in children:
            expected[b, i // width, i % width, j % width] = True
      np.testing.assert_array_equal(rows.same_parent_mask(layer), expected)

  def test_gradients_of_the_gathers_are_those_of_an_indexed_copy(self):
    layer = self.batch.tokens
    places = layer.place_mask.shape[-1]
    weight = self.rng.normal(size=(3, layer.parent_mask.shape[-1], 2)).astype(np.float32)
    values = jnp.asarray(self.rng.normal(size=(3, places, 2)), jnp.float32)

    def plain(values):
      taken = jnp.take_along_axis(values, jnp.asarray(layer.up)[..., None], axis=1)
      return (jnp.where(layer.parent_mask[..., None], taken, 0) * weight).sum()

    ours = lambda values: (rows.places_to_parents(values, layer) * weight).sum()
    np.testing.assert_allclose(jax.grad(ours)(values), jax.grad(plain)(values), atol=1e-6)
    back = lambda values: (rows.parents_to_places(values, layer) * values.mean()).sum()
    parents = jnp.asarray(weight)

    def plain_back(values):
      taken = jnp.take_along_axis(values, jnp.asarray(layer.down)[..., None], axis=1)
      return (jnp.where(layer.place_mask[..., None], taken, 0) * values.mean()).sum()

    np.testing.assert_allclose(jax.grad(back)(parents), jax.grad(plain_back)(parents), atol=1e-5)

  def test_floor_is_a_distribution_that_starves_nobody(self):
    mask = np.array([[True, True, True, False], [True, False, False, False], [False] * 4])
    log_importance = np.log(np.array([[0.7, 0.3 - 1e-30, 1e-30, 1], [1, 1, 1, 1], [1, 1, 1, 1]]))
    actual = np.asarray(with_floor(log_importance.astype(np.float32), mask, 0.1))
    np.testing.assert_allclose(
      np.exp(actual[0, :3]), [0.63 + 0.1 / 3, 0.27 + 0.1 / 3, 0.1 / 3], rtol=1e-5
    )
    self.assertAlmostEqual(actual[1, 0], 0.0, places=6)
    self.assertTrue((actual[~mask] == rows.NEGATIVE).all())


if __name__ == "__main__":
  absltest.main()
