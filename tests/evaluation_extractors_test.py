"""Random, TextRank, LSA and SumBasic: by hand on tiny inputs, and against plain loops."""

from collections import Counter
import math
import random
import re

from absl.testing import absltest, parameterized
from nltk.stem import porter
import numpy as np

from htmtl_jax.evaluation import extractors
from htmtl_jax.evaluation.function_words import FUNCTION_WORDS
from htmtl_jax.evaluation.ranking import rank_order


def _draw_sentences(count, seed=0, vocabulary=40, forms=("w{}",)):
  """Sentences of Zipf-like words, function words among them, one without a word."""
  rng = random.Random(seed)
  number = lambda: min(rng.randrange(vocabulary), rng.randrange(vocabulary))
  word = lambda: rng.choice(forms).format(number())
  sentences = [
    " ".join(rng.choice([word(), word(), word(), "The", "of"]) for _ in range(rng.randint(1, 14)))
    for _ in range(count)
  ]
  if count > 3:
    sentences[1] = "(…) of the"
    sentences[count - 1] = sentences[0]
  return sentences


def _content(sentence):
  return [w for w in re.findall(r"\w+", sentence.lower()) if w not in FUNCTION_WORDS]


def _loop_textrank(sentences, damping=0.85):
  """The recurrence of the paper, with its 1 - damping, iterated vertex by vertex."""
  stem = porter.PorterStemmer().stem
  words = [
    [stem(w) if len(w) > 3 else w for w in _content(s) if not w.isdigit()] for s in sentences
  ]
  count = len(words)
  weight = [[0.0] * count for _ in words]
  for a in range(count):
    for b in range(count):
      shared = len(set(words[a]) & set(words[b]))
      if a != b and shared and len(words[a]) * len(words[b]) > 1:
        weight[a][b] = shared / (math.log(len(words[a])) + math.log(len(words[b])))
  scores = [1.0] * count
  for _ in range(400):
    scores = [
      (1 - damping)
      + damping
      * sum(weight[b][a] / sum(weight[b]) * scores[b] for b in range(count) if weight[b][a])
      for a in range(count)
    ]
  return np.array(scores) / sum(scores)


def _svd_lsa(sentences):
  """From the definition, by the dense singular value decomposition of words by sentences."""
  words = [set(_content(s)) for s in sentences]
  vocabulary = sorted(set().union(*words))
  matrix = np.array([[float(w in bag) for bag in words] for w in vocabulary])
  matrix /= np.maximum(np.sqrt(matrix.sum(0)), 1e-12)
  _, sigma, rows = np.linalg.svd(matrix, full_matrices=False)
  counts = sigma >= sigma[0] / 2
  return np.sqrt(((rows[counts] * sigma[counts, None]) ** 2).sum(0))


def _loop_sumbasic(sentences):
  """The five steps of the paper; the order in which sentences are taken."""
  words = [_content(s) for s in sentences]
  occurrences = Counter(w for own in words for w in own)
  probability = {w: n / occurrences.total() for w, n in occurrences.items()}
  order, rest = [], [i for i, own in enumerate(words) if own]
  while rest:
    left = [w for w in probability if any(w in words[i] for i in rest)]
    frequent = max(left, key=probability.__getitem__)
    mean = lambda i: sum(probability[w] for w in words[i]) / len(words[i])
    holders = [i for i in rest if frequent in words[i]]
    top = max(map(mean, holders))
    best = next(i for i in holders if mean(i) >= top * (1 - 1e-11))
    order.append(best)
    rest.remove(best)
    for w in set(words[best]):
      probability[w] **= 2
  return order + [i for i, own in enumerate(words) if not own]


class RandomTest(absltest.TestCase):
  def test_a_document_is_always_drawn_alike(self):
    sentences = ["a", "b", "c", "d"]
    first = extractors.random_scorer("doc-1")(sentences)
    np.testing.assert_array_equal(first, extractors.random_scorer("doc-1")(sentences))
    self.assertEqual(first.shape, (4,))
    self.assertTrue((first != extractors.random_scorer("doc-2")(sentences)).all())
    self.assertTrue((first != extractors.random_scorer("doc-1", seed=1)(sentences)).all())
    # The same on every machine and in every version.
    self.assertEqual(rank_order(first), [0, 2, 1, 3])

  def test_sections_are_drawn_independently(self):
    scorer = extractors.random_scorer("doc-1")
    self.assertTrue((scorer(["a", "b"]) != scorer(["a", "b"])).all())

  def test_every_position_is_equally_likely(self):
    first = Counter(
      rank_order(extractors.random_scorer(f"doc-{i}")(["x"] * 4))[0] for i in range(2000)
    )
    for position in range(4):
      self.assertBetween(first[position], 420, 580)  # 500, four standard deviations

  def test_an_id_that_is_no_text(self):
    self.assertEqual(extractors.random_scorer("\ud800")(["a"]).shape, (1,))


class TextRankTest(parameterized.TestCase):
  @parameterized.parameters(1, 2, 3, 17, 60)
  def test_equals_the_loop(self, count):
    # Words of equal stems, and numbers, which do not count.
    sentences = _draw_sentences(count, seed=count, forms=("w{}", "w{}ing", "{}"))
    np.testing.assert_allclose(
      extractors.textrank_scores(sentences), _loop_textrank(sentences), atol=1e-7
    )

  def test_by_hand(self):
    # Edges 0-1 and 1-2 of equal weight, no edge 0-2: with x = score of the ends and
    # y of the middle, x = 0.15/3 + 0.85 y/2 and 2 x + y = 1, so y = 0.9 / 1.85.
    sentences = ["Frost damaged apples.", "Apples need rainfall.", "Rainfall delayed harvest."]
    scores = extractors.textrank_scores(sentences)
    middle = 0.9 / 1.85
    np.testing.assert_allclose(scores, [(1 - middle) / 2, middle, (1 - middle) / 2], atol=1e-7)

  def test_function_words_and_single_words_make_no_edges(self):
    sentences = ["It was the apples.", "It was the pears.", "Apples.", "Apples."]
    np.testing.assert_allclose(extractors.textrank_scores(sentences), np.full(4, 0.25))
    self.assertEqual(extractors.textrank_scores([]).shape, (0,))

  def test_long_repetitive_document(self):
    sentences = ["We measured yield in plots."] * 2500 + _draw_sentences(500, seed=5)
    scores = extractors.textrank_scores(sentences)
    self.assertTrue(np.isfinite(scores).all())
    self.assertAlmostEqual(scores.sum(), 1.0, places=9)


class LsaTest(parameterized.TestCase):
  @parameterized.parameters(1, 2, 3, 17, 60, 230)
  def test_equals_the_decomposition(self, count):
    sentences = _draw_sentences(count, seed=count, vocabulary=min(4 * count, 160))
    scores = extractors.lsa_scores(sentences)
    np.testing.assert_allclose(scores, _svd_lsa(sentences), atol=1e-7)
    self.assertEqual(scores.shape, (count,))

  def test_few_vectors_at_a_time_change_nothing(self):
    sentences = _draw_sentences(150, seed=3, vocabulary=900)
    whole = extractors.lsa_scores(sentences)
    with absltest.mock.patch.object(extractors, "_DENSE_SENTENCES", 100):
      np.testing.assert_allclose(extractors.lsa_scores(sentences), whole, atol=1e-7)

  def test_by_hand(self):
    # Two topics that share no word: two equal sentences (sigma^2 = 2, each 1/sqrt 2 of
    # it, so each scores 1), and one alone with sigma^2 = 1 >= 2 / 4, scoring 1 as well.
    sentences = ["Frost damages apples.", "The frost damages the apples.", "Prices rose."]
    np.testing.assert_allclose(extractors.lsa_scores(sentences), [1.0, 1.0, 1.0])
    # Against five equal sentences, sigma^2 = 5, the single one is no topic: 1 < 5 / 4.
    scores = extractors.lsa_scores([sentences[0]] * 5 + [sentences[2]])
    np.testing.assert_allclose(scores, [1.0] * 5 + [0.0], atol=1e-7)

  def test_topics_of_a_long_document_are_bounded(self):
    sentences = [f"w{i} v{i}" for i in range(250)]  # 250 equal topics
    scores = extractors.lsa_scores(sentences)
    self.assertTrue(np.isfinite(scores).all())
    self.assertLessEqual(scores.max(), 1.0 + 1e-9)

  def test_nothing_to_decompose(self):
    self.assertEqual(extractors.lsa_scores([]).shape, (0,))
    np.testing.assert_array_equal(extractors.lsa_scores(["of the", "--"]), [0.0, 0.0])
    np.testing.assert_allclose(extractors.lsa_scores(["Same words."] * 400), np.ones(400))


class SumBasicTest(parameterized.TestCase):
  @parameterized.parameters(1, 2, 3, 17, 60)
  def test_equals_the_loop(self, count):
    sentences = _draw_sentences(count, seed=count)
    scores = extractors.sumbasic_scores(sentences)
    self.assertEqual(rank_order(scores), _loop_sumbasic(sentences))
    self.assertCountEqual(scores, range(1, count + 1))

  def test_by_hand(self):
    # p: yield 3/8, frost 2/8, others 1/8. Of the sentences with "yield" the first has the
    # largest mean, 5/16; then yield 9/64, frost 4/64, so that the first of the others
    # with the word of the largest p, yield, is next: means 17/128 and 17/128; the earlier.
    sentences = ["Yield, frost.", "The yield of apples.", "Yield and prices.", "Frost was late."]
    self.assertEqual(rank_order(extractors.sumbasic_scores(sentences)), [0, 1, 2, 3])
    # "Hail, hail." has the largest mean, 2/14, but the word with the largest p is "frost",
    # 3/14; squared it is below that of "hail", which is said next.
    sentences = ["Frost a1 a2 a3.", "Frost b1 b2 b3.", "Hail, hail.", "Frost c1 c2 c3."]
    self.assertEqual(rank_order(extractors.sumbasic_scores(sentences)), [0, 2, 1, 3])

  def test_what_was_said_counts_less(self):
    sentences = ["Yield fell by half.", "Yield fell by half.", "Costs rose."]
    self.assertEqual(rank_order(extractors.sumbasic_scores(sentences)), [0, 2, 1])

  def test_no_content_words(self):
    self.assertEqual(rank_order(extractors.sumbasic_scores(["of the", "", "--"])), [0, 1, 2])
    self.assertEqual(extractors.sumbasic_scores([]).shape, (0,))


if __name__ == "__main__":
  absltest.main()
