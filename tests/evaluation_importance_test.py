"""The area under the ROC curve against counting pairs, and the labels it is read off."""

from absl.testing import absltest, parameterized
import numpy as np

from htmtl_jax.documents.document import Document, Section, iterate_sentences
from htmtl_jax.evaluation import importance


def _count_pairs(scores, planted):
  """By definition: of all (planted, other) pairs, how many are in the right order."""
  pairs = [
    (a, b)
    for a, p in zip(scores, planted, strict=True)
    if p
    for b, q in zip(scores, planted, strict=True)
    if not q
  ]
  return sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)


class SentenceAucTest(parameterized.TestCase):
  @parameterized.product(seed=(0, 1, 2, 3, 4), num_values=(2, 4, 1000), share=(0.1, 0.5, 0.9))
  def test_equals_counting_pairs(self, seed, num_values, share):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, num_values, 47) / num_values
    planted = rng.random(47) < share
    planted[:2] = True, False
    auc = importance.sentence_auc(scores, planted)
    self.assertAlmostEqual(auc, _count_pairs(scores, planted), places=12)
    # Any increasing function ranks the same; a decreasing one the other way round.
    self.assertAlmostEqual(importance.sentence_auc(np.log(scores + 1e-9), planted), auc, places=12)
    self.assertAlmostEqual(importance.sentence_auc(-scores, planted), 1.0 - auc, places=12)

  def test_known_answers(self):
    self.assertEqual(importance.sentence_auc(np.array([3, 2, 1]), np.array([1, 1, 0])), 1.0)
    self.assertEqual(importance.sentence_auc(np.array([3, 2, 1]), np.array([0, 1, 1])), 0.0)
    self.assertEqual(importance.sentence_auc(np.ones(4), np.array([1, 0, 0, 1])), 0.5)

  def test_minus_infinity_is_the_lowest_score(self):
    scores = np.array([-np.inf, 0.0, -np.inf])
    self.assertEqual(importance.sentence_auc(scores, np.array([0, 1, 0])), 1.0)

  @parameterized.parameters(True, False)
  def test_one_class_has_no_answer(self, label):
    self.assertIsNone(importance.sentence_auc(np.arange(3.0), np.full(3, label)))
    self.assertIsNone(importance.sentence_auc(np.zeros(0), np.zeros(0, bool)))

  def test_headings_are_left_out(self):
    scores = np.array([0.9, 0.5, 0.1, 0.8])
    planted = np.array([0, 1, 0, 0], bool)
    headings = np.array([1, 0, 0, 1], bool)
    self.assertAlmostEqual(importance.sentence_auc(scores, planted), 1 / 3)
    self.assertEqual(importance.sentence_auc(scores, planted, headings), 1.0)

  def test_refuses(self):
    with self.assertRaisesRegex(ValueError, "shapes differ"):
      importance.sentence_auc(np.ones(3), np.ones(4))
    with self.assertRaisesRegex(ValueError, "NaN"):
      importance.sentence_auc(np.array([np.nan, 1.0]), np.array([0, 1]))

  def test_mean_is_over_documents_that_have_an_answer(self):
    right = (np.array([2.0, 1.0]), np.array([1, 0]))
    wrong = (np.array([2.0, 1.0, 3.0, 0.0]), np.array([0, 0, 0, 1]))
    none = (np.array([2.0, 1.0]), np.array([0, 0]))
    headed = (np.array([9.0, 2.0, 1.0]), np.array([0, 1, 0]), np.array([1, 0, 0]))
    self.assertEqual(importance.mean_sentence_auc([right, none, wrong]), 0.5)
    self.assertEqual(importance.mean_sentence_auc([headed]), 1.0)
    self.assertIsNone(importance.mean_sentence_auc([none]))
    self.assertIsNone(importance.mean_sentence_auc([]))


class RankingMeasuresTest(parameterized.TestCase):
  def test_precision_by_hand(self):
    scores = np.array([0.1, 0.9, 0.5, 0.5, 0.3])
    matters = np.array([0, 1, 0, 1, 1], bool)
    self.assertEqual(importance.precision_at(scores, matters, 1), 1.0)
    self.assertEqual(importance.precision_at(scores, matters, 2), 0.5)  # the earlier of two equals
    self.assertAlmostEqual(importance.precision_at(scores, matters, 3), 2 / 3)
    self.assertAlmostEqual(importance.precision_at(scores, matters, 5), 3 / 5)
    self.assertIsNone(importance.precision_at(scores, matters, 6))
    self.assertIsNone(importance.precision_at(scores, np.zeros(5, bool), 2))

  @parameterized.parameters(0, 1, 2, 3)
  def test_correlations_equal_their_definitions(self, seed):
    rng = np.random.default_rng(seed)
    scores, gains = rng.integers(0, 6, 25) / 7.0, rng.integers(0, 9, 25) / 3.0  # with ties
    rho, tau = importance.rank_correlations(scores, gains)
    mean_rank = lambda x: np.array([(x < v).sum() + ((x == v).sum() + 1) / 2 for v in x])
    self.assertAlmostEqual(rho, np.corrcoef(mean_rank(scores), mean_rank(gains))[0, 1])
    pairs = [(i, j) for i in range(25) for j in range(i)]
    a = np.array([np.sign(scores[i] - scores[j]) for i, j in pairs])
    b = np.array([np.sign(gains[i] - gains[j]) for i, j in pairs])
    self.assertAlmostEqual(tau, (a * b).sum() / np.sqrt((a != 0).sum() * (b != 0).sum()))

  def test_correlations_where_there_is_nothing_to_rank(self):
    for scores, gains in (([1.0], [2.0]), ([], []), ([1.0, 1.0], [1.0, 2.0]), ([1, 2], [3, 3])):
      self.assertEqual(
        importance.rank_correlations(np.array(scores), np.array(gains)), (None, None)
      )

  def test_all_measures(self):
    scores = np.arange(6.0, 0.0, -1.0)
    matters = np.array([1, 0, 1, 0, 0, 0], bool)
    found = importance.judge_ranking(scores, matters, scores**2)
    self.assertEqual(tuple(found), importance.MEASURES)
    self.assertEqual(found["auc"], importance.sentence_auc(scores, matters))
    self.assertEqual(found["precision_at_k"], 0.5)  # k is 2
    self.assertEqual(found["precision_at_5"], 0.4)
    self.assertIsNone(found["precision_at_10"])
    self.assertAlmostEqual(found["spearman"], 1.0)
    self.assertAlmostEqual(found["kendall"], 1.0)
    found = importance.judge_ranking(scores, matters, None)
    self.assertIsNone(found["spearman"])
    self.assertIsNone(importance.judge_ranking(scores[:0], matters[:0], None)["auc"])


class LabelsTest(absltest.TestCase):
  def _make_document(self, planted=None):
    return Document(
      "d",
      "",
      (
        Section("Yield fell", (("It rained.", "Yield fell by half."), ("Costs rose fast.",))),
        Section("", (("Nothing else happened.",),)),
      ),
      planted=planted,
    )

  def test_oracle_labels_stand_at_body_sentences(self):
    document = self._make_document()
    texts = [p.text for p in iterate_sentences(document)]
    labels = importance.oracle_labels(document, "Yield fell by half.\nCosts rose fast.")
    self.assertEqual(
      [t for t, label in zip(texts, labels, strict=True) if label],
      ["Yield fell by half.", "Costs rose fast."],
    )
    # The heading equals this reference, and still is no candidate.
    labels = importance.oracle_labels(document, "Yield fell")
    np.testing.assert_array_equal(labels, [False, False, True, False, False])
    labels = importance.oracle_labels(document, "Yield fell by half.\nCosts rose fast.", 1)
    self.assertEqual(labels.sum(), 1)
    self.assertFalse(importance.oracle_labels(document, "unrelated").any())

  def test_planted_labels_follow_reading_order(self):
    document = self._make_document(frozenset({(0, 0, 1), (1, 0, 0)}))
    np.testing.assert_array_equal(
      importance.planted_labels(document), [False, False, True, False, True]
    )
    self.assertIsNone(importance.planted_labels(self._make_document()))


if __name__ == "__main__":
  absltest.main()
