"""Each loss against numbers worked out by hand or by loops over the ragged document."""

import dataclasses

from absl.testing import absltest, parameterized
import jax
import numpy as np

from htmtl_jax import losses
from htmtl_jax.data.packing import blank_document, stack_documents
from htmtl_jax.errors import UserError
from htmtl_jax.levels import LEVELS
from htmtl_jax.losses import LossConfig
from htmtl_jax.models.htmtl import Htmtl
from tests import tiny


class HandComputedTest(parameterized.TestCase):
  def test_coverage_is_kl_in_both_directions(self):
    importance = np.array([[0.5, 0.25, 0.25, 0.0]])
    scores = np.array([[0.25, 0.25, 0.5, 0.0]])
    mask = np.array([[True, True, True, False]])
    log_importance = np.where(mask, np.log(np.maximum(importance, 1e-30)), -1e9)
    args = (log_importance.astype(np.float32), scores.astype(np.float32), mask)
    # 0.5 log 2 + 0 - 0.25 log 2, and 0 - 0.25 log 2 + 0.5 log 2 the other way.
    forward = losses.coverage_kl(*args, "importance_to_attention", "both")
    np.testing.assert_allclose(forward, [0.25 * np.log(2)], rtol=1e-5)
    scores2 = np.array([[0.8, 0.1, 0.1, 0.0]], np.float32)
    backward = losses.coverage_kl(args[0], scores2, mask, "attention_to_importance", "both")
    expected = 0.8 * np.log(0.8 / 0.5) + 2 * 0.1 * np.log(0.1 / 0.25)
    np.testing.assert_allclose(backward, [expected], rtol=1e-5)
    forward = losses.coverage_kl(args[0], scores2, mask, "importance_to_attention", "both")
    expected = 0.5 * np.log(0.5 / 0.8) + 2 * 0.25 * np.log(0.25 / 0.1)
    np.testing.assert_allclose(forward, [expected], rtol=1e-5)

  def test_coverage_of_equal_distributions_is_zero_and_nothing_is_infinite(self):
    values = np.array([[0.2, 0.8, 0.0]], np.float32)
    mask = np.ones((1, 3), bool)
    log_values = np.log(np.maximum(values, 1e-30))
    for direction in losses.COVERAGE_DIRECTIONS:
      kl = losses.coverage_kl(log_values, values, mask, direction, "both")
      np.testing.assert_allclose(kl, [0.0], atol=1e-6)
      far = losses.coverage_kl(log_values, values[:, ::-1], mask, direction, "both")
      self.assertTrue(np.isfinite(far).all())
      self.assertGreater(float(far[0]), 1.0)

  @parameterized.parameters(
    ("both", True, True), ("attention", False, True), ("importance", True, False)
  )
  def test_coverage_gradient_goes_where_it_is_told(self, gradient, to_importance, to_attention):
    log_importance = np.log(np.array([[0.5, 0.3, 0.2]], np.float32))
    scores = np.array([[0.2, 0.2, 0.6]], np.float32)
    mask = np.ones((1, 3), bool)
    for direction in losses.COVERAGE_DIRECTIONS:
      of_importance, of_attention = jax.grad(
        lambda i, a, d=direction: losses.coverage_kl(i, a, mask, d, gradient).sum(), (0, 1)
      )(log_importance, scores)
      self.assertEqual(bool(np.abs(of_importance).max() > 0), to_importance)
      self.assertEqual(bool(np.abs(of_attention).max() > 0), to_attention)

  def test_covering_twice_by_hand(self):
    units = np.array([[[0.6, 0.4, 0.0], [0.5, 0.0, 0.5], [0.2, 0.2, 0.6], [9, 9, 9]]])
    mask = np.array([[True, True, True, False]])
    # Unit 1: min(.5, .6); unit 2: min(.2, 1.1) + min(.2, .4) + min(.6, .5); three units.
    expected = (0.5 + 0.2 + 0.2 + 0.5) / 3
    np.testing.assert_allclose(losses.covering_twice(units, mask), [expected], rtol=1e-6)

  def test_covering_twice_of_one_unit_and_of_separate_units_is_zero(self):
    same = np.tile(np.array([[[0.5, 0.5]]]), (1, 2, 1))
    self.assertEqual(float(losses.covering_twice(same, np.array([[True, False]]))[0]), 0.0)
    self.assertEqual(float(losses.covering_twice(same, np.array([[False, False]]))[0]), 0.0)
    np.testing.assert_allclose(losses.covering_twice(same, np.array([[True, True]])), [0.5])
    apart = np.array([[[1.0, 0.0], [0.0, 1.0]]])
    self.assertEqual(float(losses.covering_twice(apart, np.ones((1, 2), bool))[0]), 0.0)

  def test_unit_similarity_by_hand(self):
    states = np.array(
      [
        [[3.0, 0.0], [1.0, 1.0], [0.0, -2.0], [5.0, 5.0]],
        [[2.0, 2.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]],
        [[2.0, 2.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]],
      ]
    )
    mask = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]], bool)
    # Cosines: sqrt(1/2), 0, -sqrt(1/2) in the first; 1 in the second; no pair in the third.
    np.testing.assert_allclose(losses.unit_similarity(states, mask), [0.0, 1.0, 0.0], atol=1e-5)
    np.testing.assert_allclose(
      losses.unit_similarity(states[:1], np.array([[True, True, False, False]])),
      [0.5**0.5],
      rtol=1e-5,
    )

  def test_unit_similarity_has_a_finite_gradient_at_zero_states(self):
    mask = np.array([[True, True, False]])
    gradient = jax.grad(lambda x: losses.unit_similarity(x, mask).sum())(np.zeros((1, 3, 2)))
    self.assertTrue(np.isfinite(gradient).all())

  @parameterized.parameters((0, 0.0), (10, 0.0), (15, 0.25), (20, 0.5), (30, 1.0), (1000, 1.0))
  def test_ramp(self, step, expected):
    self.assertAlmostEqual(float(losses.linear_ramp(step, 10, 20)), expected, places=6)

  def test_a_ramp_of_no_length_is_a_step(self):
    self.assertEqual([float(losses.linear_ramp(s, 3, 0)) for s in (2, 3, 4)], [0.0, 1.0, 1.0])
    config = LossConfig(
      ramp_start=2, ramp_steps=4, importance_ramp_start=0, importance_ramp_steps=10
    )
    self.assertAlmostEqual(float(config.ramp(3)), 0.25, places=6)
    self.assertAlmostEqual(float(config.importance_ramp(3)), 0.3, places=6)

  def test_total_loss_by_hand(self):
    config = LossConfig(
      level_weights=(1.0, 2.0, 0.5),
      coverage=0.1,
      twice=0.2,
      diversity=0.3,
      importance=0.7,
      ramp_start=0,
      ramp_steps=10,
    )
    terms = {"importance": 11.0}
    for i, level in enumerate(LEVELS):
      terms |= {
        f"ce/{level}": 1.0 + i,
        f"coverage/{level}": 2.0,
        f"twice/{level}": 3.0,
        f"diversity/{level}": 4.0 * i,
      }
    side = lambda i: 0.5 * (0.1 * 2 + 0.2 * 3 + 0.3 * 4 * i)  # the ramp is at one half
    expected = 0.7 * 11 + sum(alpha * (1 + i + side(i)) for i, alpha in enumerate((1.0, 2.0, 0.5)))
    self.assertAlmostEqual(float(losses.total_loss(terms, config, 5)), expected, places=5)

  def test_unknown_choices_are_refused_in_one_line(self):
    for field in ("coverage_segments", "coverage_gradient", "coverage_direction"):
      with self.assertRaisesRegex(UserError, rf"^config\.loss\.{field}: 'x' [^\n]+$"):
        LossConfig(**{field: "x"})


class BatchTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.documents = tiny.make_documents()
    cls.batch = stack_documents(
      [
        *(jax.tree.map(lambda x: x[0], tiny.pack([d])) for d in cls.documents),
        blank_document(tiny.BUCKET),
      ]
    )
    model = Htmtl(tiny.SMALL, tiny.VOCABULARY)
    params = tiny.init_params(model, cls.batch)
    cls.output = jax.tree.map(
      np.asarray,
      jax.jit(lambda p, b: model.apply({"params": p}, b, tiny.BUCKET.units))(params, cls.batch),
    )
    cls.config = LossConfig(importance=1.0, label_smoothing=0.0)

  def terms(self, documents=slice(None), config=None, copy=True):
    take = lambda tree: jax.tree.map(lambda x: x[documents], tree)
    terms = losses.loss_terms(
      take(self.output), take(self.batch), tiny.BUCKET, config or self.config, copy
    )
    return {name: float(value) for name, value in terms.items()}

  @parameterized.product(segments=losses.COVERAGE_SEGMENTS, direction=losses.COVERAGE_DIRECTIONS)
  def test_terms_are_those_of_loops_over_the_documents(self, segments, direction):
    config = dataclasses.replace(
      self.config, coverage_segments=segments, coverage_direction=direction
    )
    output, targets = self.output, self.batch.targets
    expected = dict.fromkeys(self.terms(), 0.0)
    for b, document in enumerate(self.documents):
      slots = tiny.tree_slots(tiny.unpack_tree(self.batch, b))[1:]
      for level, name in enumerate(LEVELS):
        here = targets.level[b] == level
        expected[f"ce/{name}"] -= output.log_probs[b, here].sum()
        covered = level if segments == "level" else 0
        importance = np.exp(output.encoded.importance.levels()[covered][b, slots[covered]])
        units = [
          (
            output.unit_scores[level][b, u][slots[level]],
            (targets.unit[b] == u).sum(),
            output.states[b, targets.unit[b] == u].sum(0),
          )
          for u in sorted(set(targets.unit[b, here].tolist()))
        ]
        mean = sum(
          output.unit_scores[covered][b, u][slots[covered]]
          for u in set(targets.unit[b, here].tolist())
        ) / len(document.target_ids[level])
        p, q = importance, mean
        if direction == "attention_to_importance":
          p, q = q, p
        expected[f"coverage/{name}"] += (p * np.log(p / q)).sum()
        if len(units) > 1:
          scores = [score / count for score, count, _ in units]
          twice = [np.minimum(scores[j], sum(scores[:j])).sum() for j in range(1, len(units))]
          expected[f"twice/{name}"] += sum(twice) / len(units)
          pooled = [x / np.linalg.norm(x) for _, _, x in units]
          cosines = [
            pooled[i] @ pooled[j] for i in range(len(units)) for j in range(len(units)) if i != j
          ]
          expected[f"diversity/{name}"] += np.mean(cosines)
      expected["importance"] += self._label_kl(b)
    self.assertGreater(expected["twice/section"], 0)
    actual = self.terms(config=config)
    for name, value in expected.items():
      self.assertAlmostEqual(actual[name], value, delta=2e-4 * max(1, abs(value)), msg=name)

  def _label_kl(self, b):
    total = 0.0
    labels = self.batch.importance_labels[b]
    for c, paragraphs in tiny.unpack_tree(self.batch, b):
      of = lambda sentences: sum(labels[s] for s, _ in sentences)
      imp = self.output.encoded.importance
      kl = lambda label, log_imp: label * (np.log(label) - log_imp) if label > 0 else 0.0
      total += kl(sum(of(ss) for _, ss in paragraphs), imp.sections[b, c])
      for p, sentences in paragraphs:
        total += kl(of(sentences), imp.paragraphs[b, p])
        total += sum(kl(labels[s], imp.sentences[b, s]) for s, _ in sentences)
    return total / 3

  def test_terms_of_a_batch_are_the_sums_of_its_documents(self):
    together = self.terms()
    apart = [self.terms(slice(b, b + 1)) for b in range(4)]
    for name, value in together.items():
      self.assertAlmostEqual(value, sum(terms[name] for terms in apart), places=3, msg=name)

  def test_a_blank_document_adds_nothing(self):
    for name, value in self.terms(slice(3, 4)).items():
      self.assertEqual(value, 0.0, name)
    weights = losses.count_weights(jax.tree.map(lambda x: x[3:], self.batch))
    for value in jax.tree.leaves(weights):
      self.assertFalse(np.any(value))

  def test_a_document_without_labels_or_references_adds_nothing(self):
    document = dataclasses.replace(
      self.documents[0],
      importance_labels=None,
      target_ids=(np.zeros(0, np.int32),) * 3,
      target_units=(np.zeros(0, np.int32),) * 3,
    )
    batch = tiny.pack([document])
    output = jax.tree.map(lambda x: x[:1], self.output)
    terms = losses.loss_terms(output, batch, tiny.BUCKET, self.config, True)
    for name, value in terms.items():
      self.assertEqual(float(value), 0.0, name)

  def test_weights_count_tokens_and_documents(self):
    weights = losses.count_weights(self.batch)
    lengths = np.array([[len(t) for t in d.target_ids] for d in self.documents])
    np.testing.assert_array_equal(weights.tokens, lengths.sum(0))
    np.testing.assert_array_equal(weights.documents, [3, 3, 3])
    self.assertEqual(float(weights.labelled), 3.0)
    normalised = losses.normalise_terms(self.terms(), weights)
    terms = self.terms()
    self.assertAlmostEqual(
      float(normalised["ce/paragraph"]), terms["ce/paragraph"] / lengths.sum(0)[1], places=5
    )
    self.assertAlmostEqual(float(normalised["twice/section"]), terms["twice/section"] / 3, places=5)
    self.assertAlmostEqual(float(normalised["importance"]), terms["importance"] / 3, places=5)

  def test_label_smoothing_by_hand(self):
    smooth = losses.cross_entropy_by_token(self.output, 0.1, copy=False)
    expected = -0.9 * self.output.log_probs - 0.1 * self.output.smooth_log_probs
    np.testing.assert_allclose(smooth, expected, rtol=1e-6)
    with_copy = losses.cross_entropy_by_token(self.output, 0.1, copy=True)
    np.testing.assert_array_equal(with_copy, -self.output.log_probs)


if __name__ == "__main__":
  absltest.main()
