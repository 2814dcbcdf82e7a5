"""The packed encoder against its definition on ragged documents, and what it must not see."""

import dataclasses
import functools

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from htmtl_jax.data.packing import blank_document, stack_documents
from htmtl_jax.models.htmtl import Htmtl
from tests import numpy_reference, tiny

LEVELS = ("sentences", "paragraphs", "sections")


@functools.partial(jax.jit, static_argnums=0)
def run_encoder(model, params, batch):
  return model.apply({"params": params}, batch, method=Htmtl.encode)


def encode(model, params, batch):
  return jax.tree.map(np.asarray, run_encoder(model, params, batch))


def unpacked(encoded, batch, b):
  """The encoder's output for document b, in reading order, without padding."""
  tokens, *segments = tiny.tree_slots(tiny.unpack_tree(batch, b))
  states = (encoded.sentence_states, encoded.paragraph_states, encoded.section_states)
  flat = encoded.token_states.reshape(len(encoded.token_states), -1, encoded.token_states.shape[-1])
  out = {"tokens": flat[b, tokens]}
  for name, slots, x, imp in zip(LEVELS, segments, states, encoded.importance.levels()):
    out[name] = x[b, slots]
    out[f"imp_{name}"] = imp[b, slots]
  out["w_sentences"] = encoded.importance.sentence_shares[b, segments[0]]
  out["w_paragraphs"] = encoded.importance.paragraph_shares[b, segments[1]]
  return out


class EncoderTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.documents = tiny.make_documents()
    cls.batch = tiny.pack(cls.documents)
    cls.model = Htmtl(tiny.CONFIG, tiny.VOCABULARY)
    cls.params = tiny.init_params(cls.model, cls.batch)
    cls.encoded = encode(cls.model, cls.params, cls.batch)

  def assert_same(self, actual, expected, atol=3e-5):
    self.assertEqual(actual.keys(), expected.keys())
    for name, value in expected.items():
      np.testing.assert_allclose(actual[name], value, atol=atol, rtol=1e-4, err_msg=name)

  @parameterized.named_parameters(
    ("whole", {}),
    ("no_top_down", {"top_down": False}),
    ("mlps_down_to_segments", {"top_down_mlps": "segments"}),
    ("no_mlps_down", {"top_down_mlps": "none"}),
    ("no_token_shift_one_layer", {"token_shift": False, "token_layers": 1, "document_layers": 1}),
  )
  def test_is_the_definition_on_ragged_documents(self, changes):
    config = dataclasses.replace(tiny.CONFIG, **changes)
    if changes:
      model = Htmtl(config, tiny.VOCABULARY)
      params = tiny.init_params(model, self.batch)
      encoded = encode(model, params, self.batch)
    else:
      params, encoded = self.params, self.encoded
    for b, document in enumerate(self.documents):
      expected = numpy_reference.encode(params, config, tiny.piece_tree(document))
      with self.subTest(document=b):
        self.assert_same(unpacked(encoded, self.batch, b), expected)

  def test_the_fixture_has_pieces_of_every_kind(self):
    document = self.documents[0]
    tree = tiny.piece_tree(document)
    num_sentences = sum(len(p) for c in tree for p in c)
    self.assertGreater(num_sentences, len(document.sentence_lengths))
    num_paragraphs = sum(len(c) for c in tree)
    self.assertGreater(num_paragraphs, len(document.paragraph_section))
    self.assertGreater(
      len(tiny.piece_tree(self.documents[1])), self.documents[1].paragraph_section.max() + 1
    )
    self.assertTrue(document.is_heading.any())

  def test_importance_adds_up(self):
    importance = [np.exp(x.astype(np.float64)) for x in self.encoded.importance.levels()]
    for values in importance:
      np.testing.assert_allclose(values.sum(-1), 1.0, atol=1e-5)
    for b in range(len(self.documents)):
      for c, paragraphs in tiny.unpack_tree(self.batch, b):
        self.assertAlmostEqual(
          importance[1][b, [p for p, _ in paragraphs]].sum(), importance[2][b, c], delta=1e-5
        )
        for p, sentences in paragraphs:
          self.assertAlmostEqual(
            importance[0][b, [s for s, _ in sentences]].sum(), importance[1][b, p], delta=1e-5
          )

  def test_importance_adds_up_far_from_equal(self):
    # Scores fifty times larger: shares of 1e-20 and of 1 beside each other.
    head = {
      name: value * 50 if "_score" in name else value
      for name, value in self.params["encoder"]["importance"].items()
    }
    params = {**self.params, "encoder": {**self.params["encoder"], "importance": head}}
    encoded = encode(self.model, params, self.batch)
    for values in encoded.importance.levels():
      self.assertTrue(np.isfinite(values).all())
      np.testing.assert_allclose(np.exp(values.astype(np.float64)).sum(-1), 1.0, atol=1e-5)

  def test_a_larger_bucket_gives_the_same(self):
    large = tiny.pack(self.documents, tiny.LARGER_BUCKET)
    encoded = encode(self.model, self.params, large)
    for b in range(len(self.documents)):
      self.assert_same(
        unpacked(encoded, large, b), unpacked(self.encoded, self.batch, b), atol=1e-5
      )

  def test_neighbours_in_the_batch_do_not_matter(self):
    first, second = self.documents[:2]
    blank = blank_document(tiny.BUCKET)
    batch = stack_documents(
      [
        blank,
        *(jax.tree.map(lambda x: x[0], tiny.pack([d])) for d in (second, first)),
      ]
    )
    encoded = encode(self.model, self.params, batch)
    self.assert_same(unpacked(encoded, batch, 2), unpacked(self.encoded, self.batch, 0), atol=1e-5)

  def test_a_blank_document_is_finite(self):
    batch = stack_documents([blank_document(tiny.BUCKET)] * 3)
    for leaf in jax.tree.leaves(encode(self.model, self.params, batch)):
      self.assertTrue(np.isfinite(leaf).all())

  def test_garbage_in_padding_changes_nothing(self):
    padding = self.batch.tokens.slot < 0
    self.assertGreater(padding.sum(), 20)
    garbage = np.random.default_rng(0).integers(1, tiny.VOCABULARY, padding.shape)
    batch = self.batch.replace(
      token_ids=np.where(padding, garbage, self.batch.token_ids).astype(np.int32)
    )
    encoded = encode(self.model, self.params, batch)
    for b in range(len(self.documents)):
      self.assert_same(unpacked(encoded, batch, b), unpacked(self.encoded, self.batch, b), atol=0)

  def test_a_token_sees_its_own_sentence_only_on_the_way_up(self):
    # Without the pass down, one changed token moves the states of its sentence's tokens.
    config = dataclasses.replace(tiny.CONFIG, top_down=False)
    model = Htmtl(config, tiny.VOCABULARY)
    tree = tiny.unpack_tree(self.batch, 1)
    tokens = tree[0][1][1][1][1][1]  # after the heading: the second of two sentences
    self.assertLen(tokens, 5)
    ids = self.batch.token_ids.copy()
    ids[1].reshape(-1)[tokens[2]] = 22 + (ids[1].reshape(-1)[tokens[2]] + 1) % 7
    changed = self.batch.replace(token_ids=ids)
    params = tiny.init_params(model, self.batch)
    before = encode(model, params, self.batch).token_states
    after = encode(model, params, changed).token_states
    moved = np.abs(before - after).max(-1).reshape(len(before), -1) > 0
    expected = np.zeros_like(moved)
    expected[1, tokens] = True
    np.testing.assert_array_equal(moved, expected)


class PrecisionTest(absltest.TestCase):
  def test_float32_parameters_bfloat16_states_float32_importance(self):
    config = dataclasses.replace(tiny.SMALL, dtype="bfloat16")
    batch = tiny.pack(tiny.make_documents())
    model = Htmtl(config, tiny.VOCABULARY)
    params = tiny.init_params(model, batch)
    self.assertEqual({x.dtype for x in jax.tree.leaves(params)}, {np.dtype(np.float32)})

    def loss(params):
      output = model.apply({"params": params}, batch, tiny.BUCKET.units)
      return -jnp.where(batch.targets.mask, output.log_probs, 0.0).sum(), output

    (value, output), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    encoded = output.encoded
    for states in (
      encoded.token_states,
      encoded.sentence_states,
      encoded.paragraph_states,
      encoded.section_states,
      output.states,
    ):
      self.assertEqual(states.dtype, jnp.bfloat16)
    exact = (
      output.log_probs,
      output.smooth_log_probs,
      output.gate,
      *output.unit_scores,
      *encoded.importance.levels(),
      encoded.importance.sentence_shares,
      value,
    )
    for array in exact:
      self.assertEqual(array.dtype, jnp.float32)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
      self.assertEqual(gradient.dtype, jnp.float32)
      self.assertTrue(np.isfinite(gradient).all(), path)
    # Rounding to eight bits moves the result a little, not a lot.
    exact_model = Htmtl(dataclasses.replace(config, dtype="float32"), tiny.VOCABULARY)
    reference = jax.jit(lambda p: exact_model.apply({"params": p}, batch, tiny.BUCKET.units))(
      params
    )
    mask = batch.targets.mask
    error = np.abs(np.asarray(output.log_probs) - np.asarray(reference.log_probs))[mask]
    self.assertLess(error.mean(), 0.1)
    for values in encoded.importance.levels():
      np.testing.assert_allclose(np.exp(np.asarray(values, np.float64)).sum(-1), 1.0, atol=1e-5)


if __name__ == "__main__":
  absltest.main()
