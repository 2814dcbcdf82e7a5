"""The flat Transformer against its definition, and the ablations of importance and memory."""

import dataclasses

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from htmtl_jax.models.blocks import sinusoidal_positions
from htmtl_jax.models.htmtl import Htmtl
from htmtl_jax.models.memory import make_memory
from tests import numpy_reference as reference
from tests import tiny

NO_HIERARCHY = dataclasses.replace(
  tiny.SMALL,
  token_attention="blocks",
  token_layers=2,
  paragraph_layers=0,
  section_layers=0,
  document_layers=0,
  top_down=False,
)
FLAT = dataclasses.replace(
  NO_HIERARCHY, importance="uniform", importance_gate=False, memory="tokens"
)


def flat_states(params, config, tree, block: int) -> np.ndarray:
  """[N, D] token states in reading order, by loops over one document."""
  w = reference.Layers(params, "encoder")
  table = reference.get(params, "embedding") * np.sqrt(config.width)
  parts = []
  for ids, is_heading in [s for c in tree for p in c for s in p]:
    parts.append(reference.shift(table[ids], w) + is_heading * w("heading_embedding")[0])
  x = np.concatenate(parts)
  n = np.arange(len(x))
  for i, frequency in enumerate(10_000.0 ** (-np.arange(config.width // 2) / (config.width // 2))):
    x[:, i] += config.position_scale * np.sqrt(2) * np.sin(n * frequency)
    x[:, i + config.width // 2] += config.position_scale * np.sqrt(2) * np.cos(n * frequency)
  near = np.abs(n[:, None] // block - n[None, :] // block) <= 1
  for i in range(config.token_layers):
    layer = w.sub("flat_transformer/stack/layers", i)
    a = layer.sub("attention")
    qkv = np.einsum("nd,dche->cnhe", reference.rms_norm(x, a("norm/scale")), a("qkv/kernel"))
    query, key = reference.rotate(qkv[0], n), reference.rotate(qkv[1], n)
    h, _ = reference.attend(query, key, qkv[2], np.where(near, 0.0, -np.inf))
    x = x + np.einsum("nhe,hed->nd", h, a("out/kernel"))
    x = reference.mlp(x, layer.sub("mlp"))
  return reference.rms_norm(x, w("token_norm/scale"))


class BlocksTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.documents = tiny.make_documents()
    cls.batch = tiny.pack(cls.documents)
    cls.model = Htmtl(FLAT, tiny.VOCABULARY)
    cls.params = tiny.init_params(cls.model, cls.batch)

  def encode(self, model, params, batch):
    run = jax.jit(lambda params: model.apply({"params": params}, batch, method=Htmtl.encode))
    return jax.tree.map(np.asarray, run(params))

  def in_order(self, states, batch, b):
    tokens, *_ = tiny.tree_slots(tiny.unpack_tree(batch, b))
    return states.reshape(len(states), -1, states.shape[-1])[b, tokens]

  @parameterized.named_parameters(
    ("same", tiny.BUCKET),
    ("more_rows", tiny.LARGER_BUCKET),
  )
  def test_is_the_definition_on_ragged_documents(self, bucket):
    batch = tiny.pack(self.documents, bucket)
    encoded = self.encode(self.model, self.params, batch)
    lengths = []
    for b, document in enumerate(self.documents):
      expected = flat_states(self.params, FLAT, tiny.piece_tree(document), bucket.row_tokens)
      actual = self.in_order(encoded.token_states, batch, b)
      np.testing.assert_allclose(actual, expected, atol=3e-5, rtol=1e-4)
      lengths.append(len(expected))
    self.assertGreater(max(lengths), 3 * bucket.row_tokens)  # some blocks are out of sight

  def test_has_no_parameters_above_the_tokens(self):
    self.assertEqual(
      set(self.params["encoder"]),
      {"token_shift", "heading_embedding", "flat_transformer", "token_norm"},
    )

  def test_every_parameter_has_a_gradient(self):
    @jax.jit
    @jax.grad
    def gradient(params):
      output = self.model.apply({"params": params}, self.batch, tiny.BUCKET.units)
      return -jnp.where(self.batch.targets.mask, output.log_probs, 0.0).sum()

    for path, value in jax.tree_util.tree_leaves_with_path(gradient(self.params)):
      self.assertGreater(np.abs(value).max(), 1e-7, path)

  def test_memory_of_tokens_has_no_other_keys_and_scores_add_up(self):
    output = self.model.apply({"params": self.params}, self.batch, tiny.BUCKET.units)
    memory = make_memory(output.encoded, self.batch, FLAT, 1.0)
    mask = np.asarray(self.batch.tokens.mask).reshape(len(self.documents), -1)
    padding = memory.states.shape[1] - tiny.BUCKET.tokens
    self.assertLess(padding, 128)
    mask = np.pad(mask, [(0, 0), (0, padding)])
    bias = np.asarray(memory.bias)
    self.assertTrue((bias[np.broadcast_to(mask[:, None], bias.shape)] == 0).all())
    self.assertTrue((bias[np.broadcast_to(~mask[:, None], bias.shape)] < -1e8).all())
    targets = [sum(map(len, d.target_ids)) for d in self.documents]
    for scores in output.unit_scores:
      np.testing.assert_allclose(np.asarray(scores).sum((1, 2)), targets, rtol=1e-5)


class ImportanceKindsTest(parameterized.TestCase):
  def importance(self, config, batch):
    model = Htmtl(config, tiny.VOCABULARY)
    params = tiny.init_params(model, batch)
    encoded = model.apply({"params": params}, batch, method=Htmtl.encode)
    self.assertEqual("importance" in params["encoder"], config.importance == "learned")
    return [np.exp(np.asarray(x, np.float64)) for x in encoded.importance.levels()]

  def test_uniform_gives_siblings_the_same(self):
    batch = tiny.pack(tiny.make_documents())
    config = dataclasses.replace(tiny.SMALL, importance="uniform")
    sentences, paragraphs, sections = self.importance(config, batch)
    for b in range(len(sentences)):
      tree = tiny.unpack_tree(batch, b)
      for c, children in tree:
        self.assertAlmostEqual(sections[b, c], 1 / len(tree), places=6)
        for p, leaves in children:
          self.assertAlmostEqual(paragraphs[b, p], 1 / len(tree) / len(children), places=6)
          for s, _ in leaves:
            self.assertAlmostEqual(sentences[b, s], paragraphs[b, p] / len(leaves), places=6)

  def test_random_is_each_documents_own_and_the_same_every_time(self):
    first, second, _ = tiny.make_documents()
    twin = dataclasses.replace(second, token_ids=second.token_ids[::-1].copy())
    config = dataclasses.replace(tiny.SMALL, importance="random")
    batch = tiny.pack([first, second, twin])
    sentences, _, _ = self.importance(config, batch)
    again, _, _ = self.importance(config, tiny.pack([second, first, twin]))
    np.testing.assert_allclose(sentences.sum(-1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(sentences[0], again[1])
    # The same tree with other words: another draw.
    self.assertGreater(np.abs(sentences[1] - sentences[2]).max(), 0.01)

  def test_without_the_gate_importance_does_not_reach_the_memory(self):
    batch = tiny.pack(tiny.make_documents())
    config = dataclasses.replace(tiny.SMALL, importance_gate=False)
    model = Htmtl(config, tiny.VOCABULARY)
    params = tiny.init_params(model, batch)
    encoded = model.apply({"params": params}, batch, method=Htmtl.encode)
    bias = np.asarray(make_memory(encoded, batch, config, 1.0).bias)
    self.assertEqual(set(np.unique(bias)), {np.float32(-1e9), np.float32(0)})
    gated = dataclasses.replace(config, importance_gate=True)
    self.assertGreater(len(np.unique(np.asarray(make_memory(encoded, batch, gated, 1.0).bias))), 9)


class PositionsTest(absltest.TestCase):
  def test_unit_variance(self):
    table = np.asarray(sinusoidal_positions(jnp.arange(1000), 64))
    np.testing.assert_allclose((table**2).mean(-1), 1.0, rtol=1e-4)


if __name__ == "__main__":
  absltest.main()
