"""ROUGE against the package itself and hand counts; the bootstrap against its definition."""

import random
from unittest import mock

from absl.testing import absltest, parameterized
import numpy as np
from rouge_score import rouge_scorer

from benchmarks import scoring
from htmtl_jax.evaluation import rouge, rouge_counts

_WORDS = (
  "the of models modelled model running runs studies study yield yields cells in"
  " a 42 3.5 naïve treatment treated trial"
).split()


def _draw_text(rng, sentences=3, words=9):
  return "\n".join(" ".join(rng.choices(_WORDS, k=rng.randint(1, words))) for _ in range(sentences))


_ODD_TOKENS = (
  *(
    "naïve",
    "Ωmega",
    "İstanbul",
    "ﬁne",
    "x\u0301y",
    "K",
    "²",
    "١٢",
    "\u200bzero",
    "a\u00a0b",
    "\x00",
  ),
  *(
    "p<0.05",
    "10^3",
    "e.g.",
    "U.S.A.",
    "don't",
    "co-operate",
    "[ref]",
    "α-synuclein",
    "摘要",
    "🙂",
  ),
  *(
    "running",
    "RUNS",
    "generalisations",
    "skies",
    "dying",
    "42",
    "3.14",
    "_",
    "--",
    "C++",
    "\ud800",
  ),
)
_BREAKS = ("\n", "\n\n", "\n\n\n", "\n \n", "\r\n", "\n\t\n", " \n ")


def _draw_odd_text(rng):
  """Few different words, so that most longest common subsequences have many rivals."""
  if rng.random() < 0.05:
    return rng.choice(("", "\n", " \n\n ", "—", "摘要", "\x00"))
  words = rng.sample(_WORDS, rng.randint(2, 8)) + rng.sample(_ODD_TOKENS, rng.randint(0, 4))
  text = rng.choice(("", "\n", "\n\n"))
  for _ in range(rng.randint(1, 6)):
    text += " ".join(rng.choices(words, k=rng.randint(0, 14))) + rng.choice(_BREAKS)
  return text.rstrip("\n") if rng.random() < 0.5 else text


def _find_first_lcs(masks, size, sentence):
  """A longest common subsequence as well, but found from the front by a plain table."""
  positions = {p: t for t, mask in masks.items() for p in range(size) if mask >> p & 1}
  reference = [positions[p] for p in range(size)]
  best = [[0] * (len(sentence) + 1) for _ in range(size + 1)]  # of the two tails
  for i in reversed(range(size)):
    for j in reversed(range(len(sentence))):
      same = reference[i] == sentence[j]
      best[i][j] = best[i + 1][j + 1] + 1 if same else max(best[i + 1][j], best[i][j + 1])
  i = j = taken = 0
  while i < size and j < len(sentence):
    if reference[i] == sentence[j]:
      taken, i, j = taken | 1 << i, i + 1, j + 1
    elif best[i + 1][j] >= best[i][j + 1]:
      i += 1
    else:
      j += 1
  return taken


class RougeTest(parameterized.TestCase):
  def assert_equals_the_package(self, reference, prediction):
    expected = self.package.score(reference, prediction)
    full = rouge.score_pair_in_full(reference, prediction)
    for metric in rouge.METRICS:
      own = (full[metric]["precision"], full[metric]["recall"], full[metric]["f"])
      theirs = tuple(100.0 * value for value in expected[metric])
      self.assertEqual(own, theirs, (metric, reference, prediction))
    self.assertEqual(rouge.score_pair(reference, prediction), {m: s["f"] for m, s in full.items()})

  def setUp(self):
    super().setUp()
    self.package = rouge_scorer.RougeScorer(list(rouge.METRICS), use_stemmer=True)

  def test_equals_the_package_to_the_last_digit_on_500_pairs(self):
    rng = random.Random(0)
    for _ in range(500):
      self.assert_equals_the_package(_draw_odd_text(rng), _draw_odd_text(rng))

  def test_equals_the_package_on_whole_abstracts(self):
    maker = scoring.TextMaker(0, vocabulary_size=3000)
    for _ in range(5):
      self.assert_equals_the_package(*maker.make_pair())

  def test_a_number_that_depends_on_which_subsequence_is_taken(self):
    # Of equally long subsequences another choice gives another union over the sentences.
    rng = random.Random(3)
    seen = 0
    for _ in range(60):
      reference = " ".join(rng.choices("abc", k=7))
      sentences = [" ".join(rng.choices("abc", k=rng.randint(2, 6))) for _ in range(3)]
      self.assert_equals_the_package(reference, "\n".join(sentences))
      with mock.patch.object(rouge_counts, "find_lcs", _find_first_lcs):
        other = rouge_counts.score_summary_lcs(
          rouge_counts.Text([reference.split()]),
          rouge_counts.Text([sentence.split() for sentence in sentences]),
        )
      seen += 100.0 * other.f != rouge.score_pair(reference, "\n".join(sentences))["rougeLsum"]
    self.assertGreater(seen, 0)

  def test_by_hand(self):
    # 4 words each, "big dogs" swapped behind "ran home": 4 shared words, 2 shared
    # bigrams of 3, common subsequence 2; by sentences nothing is out of order.
    scores = rouge.score_pair("big dogs\nran home", "ran home\nbig dogs")
    self.assertAlmostEqual(scores["rouge1"], 100.0)
    self.assertAlmostEqual(scores["rouge2"], 200.0 / 3.0)
    self.assertAlmostEqual(scores["rougeL"], 50.0)
    self.assertAlmostEqual(scores["rougeLsum"], 100.0)

  @parameterized.parameters("", "\n", "  \n \n", "—", "摘要 Ελληνικά")
  def test_nothing_to_compare_scores_zero(self, prediction):
    self.assertEqual(set(rouge.score_pair("a result", prediction).values()), {0.0})
    self.assertEqual(set(rouge.score_pair(prediction, "a result").values()), {0.0})

  def test_joining_makes_one_line_of_each_sentence(self):
    pieces = [["One\n two.", "  "], [], ["Three.\t"], [""]]
    self.assertEqual(rouge.join_sentences(pieces), "One two.\nThree.")
    self.assertEqual(rouge.join_sentences([]), "")


class ScoreAllTest(parameterized.TestCase):
  def test_processes_and_repeated_pairs_change_nothing(self):
    rng = random.Random(1)
    distinct = [(_draw_text(rng), _draw_text(rng)) for _ in range(20)]
    pairs = [*distinct, *distinct[:5], ("a b", "")]
    serial = rouge.score_all(pairs)
    pooled = rouge.score_all(pairs, processes=2)
    one_by_one = [rouge.score_pair(*pair) for pair in pairs]
    for metric in rouge.METRICS:
      self.assertEqual(serial[metric].shape, (26,))
      np.testing.assert_array_equal(serial[metric], [row[metric] for row in one_by_one])
      np.testing.assert_array_equal(serial[metric], pooled[metric])

  def test_progress_counts_distinct_pairs(self):
    calls = []
    rouge.score_all([("a", "a"), ("b", "a"), ("a", "a")], progress=lambda *c: calls.append(c))
    self.assertEqual(calls, [(1, 2), (2, 2)])

  def test_no_pairs(self):
    self.assertEqual(
      {m: v.shape for m, v in rouge.score_all([]).items()}, dict.fromkeys(rouge.METRICS, (0,))
    )
    with self.assertRaisesRegex(ValueError, "processes"):
      rouge.score_all([], processes=0)


class BootstrapTest(parameterized.TestCase):
  def test_equals_a_loop_over_resamples(self):
    scores = np.random.default_rng(3).uniform(0, 100, 17)
    rng = np.random.default_rng(5)
    means = []
    for row in rng.integers(0, 17, (200, 17)):
      means.append(sum(scores[i] for i in row) / 17)
    expected = np.percentile(means, [5.0, 95.0])
    interval = rouge.bootstrap_interval(scores, samples=200, seed=5, confidence=0.9)
    np.testing.assert_allclose(interval, expected, rtol=1e-12)

  def test_blocks_change_nothing(self):
    scores = np.random.default_rng(4).uniform(0, 100, 37)
    whole = rouge.bootstrap_interval(scores, samples=101)
    with absltest.mock.patch.object(rouge, "_BOOTSTRAP_BLOCK", 100):
      self.assertEqual(rouge.bootstrap_interval(scores, samples=101), whole)

  def test_width_is_that_of_the_normal_approximation(self):
    scores = np.random.default_rng(6).normal(40.0, 10.0, 400)
    low, high = rouge.bootstrap_interval(scores, samples=4000)
    half = 1.96 * scores.std() / np.sqrt(400)
    np.testing.assert_allclose(
      [low, high], [scores.mean() - half, scores.mean() + half], atol=0.08 * half
    )

  def test_leaves_the_global_generator_alone_and_repeats(self):
    scores = np.arange(10.0)
    before = np.random.get_state()[1].copy()
    first = rouge.bootstrap_interval(scores, seed=1)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    self.assertEqual(rouge.bootstrap_interval(scores, seed=1), first)
    self.assertNotEqual(rouge.bootstrap_interval(scores, seed=2), first)

  @parameterized.parameters(([], 10, 0.95), ([1.0], 0, 0.95), ([1.0], 10, 1.0), ([[1.0]], 10, 0.5))
  def test_refuses(self, scores, samples, confidence):
    with self.assertRaises(ValueError):
      rouge.bootstrap_interval(np.array(scores), samples, 0, confidence)

  def test_summary_of_equal_scores_has_no_width(self):
    self.assertEqual(
      rouge.summarise({"rouge1": np.full(5, 25.0)}),
      {"rouge1": {"f": 25.0, "low": 25.0, "high": 25.0}},
    )


if __name__ == "__main__":
  absltest.main()
