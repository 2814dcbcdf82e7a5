"""LexRank, tf-idf and MMR against dense definitions in plain NumPy and Python."""

from collections import Counter
import math
import random
import re

from absl.testing import absltest, parameterized
from nltk.stem import porter
import numpy as np

from htmtl_jax.evaluation import ranking

_ENDINGS = ("", "", "", "ing", "ed")


def _draw_sentences(count, seed=0, vocabulary=40):
  rng = random.Random(seed)
  return [
    " ".join(
      f"W{min(rng.randrange(vocabulary), rng.randrange(vocabulary))}{rng.choice(_ENDINGS)}"
      for _ in range(rng.randint(1, 12))
    )
    for _ in range(count)
  ]


def _dense_cosines(sentences, stem=str):
  """Word by word, from the definition in the module's docstring."""
  bags = [Counter(map(stem, re.findall(r"\w+", s.lower()))) for s in sentences]
  frequency = Counter(word for bag in bags for word in bag)
  weights = [
    {w: n * math.log((1 + len(bags)) / frequency[w]) for w, n in bag.items()} for bag in bags
  ]
  norms = [math.sqrt(sum(v * v for v in weight.values())) for weight in weights]
  return np.array(
    [
      [
        sum(v * b.get(w, 0.0) for w, v in a.items()) / (m * n) if m and n else 0.0
        for b, n in zip(weights, norms, strict=True)
      ]
      for a, m in zip(weights, norms, strict=True)
    ]
  )


def _dense_lexrank(sentences, threshold=0.1, damping=0.85):
  """The stationary distribution by solving linear equations, no iteration."""
  count = len(sentences)
  stemmer = porter.PorterStemmer()
  cosines = _dense_cosines(sentences, lambda w: stemmer.stem(w) if len(w) > 3 else w)
  weights = np.where(cosines >= threshold - 1e-12, 1.0, 0.0)
  degrees = weights.sum(axis=1, keepdims=True)
  moves = np.where(degrees > 0, weights / np.where(degrees > 0, degrees, 1.0), 1.0 / count)
  moves = damping * moves + (1.0 - damping) / count
  system = np.vstack([moves.T - np.eye(count), np.ones(count)])
  return np.linalg.lstsq(system, np.append(np.zeros(count), 1.0), rcond=None)[0]


class LexRankTest(parameterized.TestCase):
  @parameterized.parameters(1, 2, 3, 17, 60)
  def test_equals_the_solved_linear_system(self, count):
    sentences = _draw_sentences(count, seed=count)
    sentences[count // 2] = sentences[0]
    if count > 3:
      sentences[1] = "— (…)"  # no word in it
    scores = ranking.lexrank_scores(sentences)
    np.testing.assert_allclose(scores, _dense_lexrank(sentences), atol=1e-7)
    self.assertAlmostEqual(scores.sum(), 1.0, places=12)

  def test_vectors_equal_the_definition(self):
    sentences = _draw_sentences(23, seed=9)
    vectors = ranking.tfidf_vectors(sentences)
    np.testing.assert_allclose(
      (vectors @ vectors.T).toarray(), _dense_cosines(sentences), atol=1e-12
    )

  @parameterized.parameters(1, 2, 50)
  def test_identical_sentences_share_equally(self, count):
    scores = ranking.lexrank_scores(["The same thing."] * count)
    np.testing.assert_allclose(scores, np.full(count, 1.0 / count), rtol=1e-9)
    self.assertEqual(ranking.rank_order(scores), list(range(count)))

  def test_no_words_at_all_and_no_sentences(self):
    np.testing.assert_allclose(ranking.lexrank_scores(["", "--", "…"]), np.full(3, 1 / 3))
    self.assertEqual(ranking.lexrank_scores([]).shape, (0,))

  def test_the_sentence_that_others_resemble_wins(self):
    sentences = [
      "Rainfall was low in spring.",
      "Yield fell when rainfall was low and frost came late.",
      "Frost came late that year.",
      "Prices are quoted elsewhere.",
      "Yield fell by half.",
    ]
    self.assertEqual(ranking.rank_order(ranking.lexrank_scores(sentences))[0], 1)

  def test_blocks_change_nothing(self):
    sentences = _draw_sentences(50, seed=2)
    whole = ranking.lexrank_scores(sentences)
    with absltest.mock.patch.object(ranking, "_BLOCK_ENTRIES", 350):  # 7 rows at a time
      np.testing.assert_allclose(ranking.lexrank_scores(sentences), whole, rtol=1e-12)

  def test_neighbours_are_capped_in_repetitive_text(self):
    vectors = ranking.tfidf_vectors(_draw_sentences(60, seed=4, vocabulary=4))
    cosines = (vectors @ vectors.T).toarray()
    with absltest.mock.patch.object(ranking, "_MAX_NEIGHBOURS", 8):
      graph = ranking._similarity_graph(vectors, 0.1).toarray()
    self.assertGreater((cosines >= 0.1).sum(axis=1).max(), 8)
    for row, dense in zip(graph, cosines, strict=True):
      expected = np.sort(dense[dense >= 0.1])[::-1][:8]
      np.testing.assert_allclose(np.sort(row[row > 0])[::-1], expected, atol=1e-12)

  def test_long_repetitive_document_is_ranked(self):
    sentences = ["We measured yield in plots."] * 3000 + _draw_sentences(500, seed=5)
    scores = ranking.lexrank_scores(sentences)
    self.assertTrue(np.isfinite(scores).all())
    self.assertAlmostEqual(scores.sum(), 1.0, places=9)


class OrderTest(parameterized.TestCase):
  def test_lead_is_reading_order(self):
    self.assertEqual(ranking.rank_order(ranking.lead_scores(5)), [0, 1, 2, 3, 4])
    self.assertEqual(ranking.rank_order(ranking.lead_scores(0)), [])

  def test_rounding_noise_does_not_order_equal_scores(self):
    self.assertEqual(ranking.rank_order(np.array([0.3, 0.1 + 0.2, 0.5, 0.3])), [2, 0, 1, 3])

  @parameterized.parameters(0.0, 0.4, 0.7, 1.0)
  def test_mmr_equals_its_definition(self, trade_off):
    sentences = _draw_sentences(25, seed=7)
    scores = np.random.default_rng(8).uniform(0.0, 0.05, 25)
    cosines = _dense_cosines(sentences)
    chosen, rest = [], list(range(25))
    while rest:
      best = max(
        rest,
        key=lambda i: (
          trade_off * scores[i] / scores.max()
          - (1 - trade_off) * max((cosines[i, j] for j in chosen), default=0.0)
        ),
      )
      chosen.append(best)
      rest.remove(best)
    self.assertEqual(ranking.mmr_order(scores, sentences, trade_off), chosen)
    limited = ranking.mmr_order(scores, sentences, trade_off, limit=6)
    self.assertEqual(limited[:6], chosen[:6])
    self.assertEqual(sorted(limited), list(range(25)))
    self.assertEqual(limited[6:], sorted(limited[6:], key=lambda i: -scores[i]))

  def test_mmr_puts_off_a_repetition(self):
    sentences = ["Yield fell by half.", "Yield fell by half.", "Costs rose at the same time."]
    self.assertEqual(ranking.mmr_order(np.array([1.0, 0.9, 0.5]), sentences), [0, 2, 1])
    self.assertEqual(ranking.mmr_order(np.zeros(3), sentences), [0, 2, 1])
    self.assertEqual(ranking.mmr_order(np.zeros(0), []), [])
    with self.assertRaisesRegex(ValueError, "2 sentences"):
      ranking.mmr_order(np.ones(3), sentences[:2])


if __name__ == "__main__":
  absltest.main()
