"""The mixture of generating and copying, against its formula and its sum."""

import dataclasses

from absl.testing import absltest, parameterized
import jax
import numpy as np

from htmtl_jax.data.tokenizer import EOS_ID, NUM_STRUCTURE_IDS, SECTION_ID, SENTENCE_ID
from htmtl_jax.models.generator import Generator
from tests import tiny

B, Q, M, V, REAL, D = 2, 3, 8, 42, 37, 16
TILES = 2


def cut_tiles(matrix, width):
  """[D, V] -> [n, D, width], columns in tiles."""
  return np.moveaxis(matrix.reshape(len(matrix), -1, width), 1, 0)


class GeneratorTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    self.states, self.contexts, self.embedding = draw(B, Q, D), draw(B, Q, D), draw(V, D)
    attention = np.exp(draw(B, Q, M))
    self.attention = attention / attention.sum(-1, keepdims=True)
    # Token 30 stands at two keys; three keys (segments, say) cannot be copied.
    self.token_ids = np.array([[30, 25, -1, 30, 36, 22, -1, -1]] * B, np.int32)
    self.gate = {"gate": {"kernel": draw(2 * D, 1) / 4, "bias": draw(1)}}

  def generator(self, copy=True):
    return Generator(dataclasses.replace(tiny.CONFIG, copy=copy), REAL)

  def log_probs(self, copy=True, gate=None, token_ids=None):
    in_tiles = self.attention.reshape(B, Q, TILES, -1).swapaxes(1, 2)  # [B, n, Q, c]
    return np.asarray(
      self.generator(copy).apply(
        {"params": (gate or self.gate) if copy else {}},
        self.states,
        self.contexts,
        cut_tiles(self.embedding.T, V // TILES),
        in_tiles,
        self.token_ids if token_ids is None else token_ids,
        method=Generator.log_probs,
      ),
      np.float64,
    )

  def target_log_probs(self, targets, copy=True, token_ids=None):
    ids = self.token_ids if token_ids is None else token_ids
    copy_mass = np.where(targets[..., None] == ids[:, None], self.attention, 0).sum(-1)
    token_mass = np.where(ids[:, None] >= 0, self.attention, 0).sum(-1)
    return self.generator(copy).apply(
      {"params": self.gate if copy else {}},
      self.states,
      self.contexts,
      self.embedding,
      targets,
      copy_mass,
      token_mass,
      method=Generator.target_log_probs,
    )

  @parameterized.parameters(True, False)
  def test_sums_to_one(self, copy):
    np.testing.assert_allclose(np.exp(self.log_probs(copy)).sum(-1), 1.0, atol=1e-6)

  def test_is_the_formula(self):
    logits = (self.states @ self.embedding.T)[..., :REAL].astype(np.float64)
    words = np.zeros((B, Q, V))
    words[..., :REAL] = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    features = np.concatenate([self.states, self.contexts], -1).astype(np.float64)
    gate = 1 / (1 + np.exp(-(features @ self.gate["gate"]["kernel"] + self.gate["gate"]["bias"])))
    keys = [0, 1, 3, 4, 5]
    pointer = self.attention[..., keys] / self.attention[..., keys].sum(-1, keepdims=True)
    copied = np.zeros((B, Q, V))
    for weight, token in zip(np.moveaxis(pointer, -1, 0), self.token_ids[0][keys]):
      copied[..., token] += weight
    np.testing.assert_allclose(
      np.exp(self.log_probs()), gate * words + (1 - gate) * copied, atol=1e-6
    )

  @parameterized.parameters(True, False)
  def test_target_probability_is_the_entry_of_the_mixture(self, copy):
    full = self.log_probs(copy)
    for token in range(REAL):
      targets = np.full((B, Q), token, np.int32)
      log_prob, _, _ = self.target_log_probs(targets, copy)
      np.testing.assert_allclose(log_prob, full[..., token], atol=1e-5, rtol=1e-5)

  def test_mean_log_prob_is_that_of_the_vocabulary_softmax(self):
    logits = (self.states @ self.embedding.T)[..., :REAL].astype(np.float64)
    log_softmax = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    for copy in (True, False):
      _, mean, _ = self.target_log_probs(np.full((B, Q), 30, np.int32), copy)
      np.testing.assert_allclose(mean, log_softmax.mean(-1), atol=1e-5)

  def test_markers_and_end_are_only_generated(self):
    only_copy = jax.tree.map(np.zeros_like, self.gate)
    only_copy["gate"]["bias"] -= 60.0
    probabilities = np.exp(self.log_probs(gate=only_copy))
    self.assertLess(probabilities[..., :NUM_STRUCTURE_IDS].max(), 1e-12)
    for marker in (EOS_ID, SECTION_ID, SENTENCE_ID):
      self.assertNotIn(marker, self.token_ids)
    np.testing.assert_allclose(probabilities[..., [22, 25, 30, 36]].sum(-1), 1.0, atol=1e-6)

  def test_nothing_to_copy_means_gate_one(self):
    token_ids = np.full((B, M), -1, np.int32)
    np.testing.assert_allclose(
      self.log_probs(token_ids=token_ids)[..., :REAL],
      self.log_probs(copy=False)[..., :REAL],
      atol=1e-6,
    )
    targets = np.array([[24, 30, 1]] * B, np.int32)
    log_prob, _, gate = self.target_log_probs(targets, token_ids=token_ids)
    np.testing.assert_array_equal(gate, 1.0)
    expected, _, _ = self.target_log_probs(targets, copy=False)
    np.testing.assert_allclose(log_prob, expected, atol=1e-6)

  def test_ids_beyond_the_real_vocabulary_are_never_predicted(self):
    for copy in (True, False):
      self.assertLess(np.exp(self.log_probs(copy))[..., REAL:].max(), 1e-15)


if __name__ == "__main__":
  absltest.main()
