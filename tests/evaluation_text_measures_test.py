"""Text measures by hand, and fragments against the search over all places."""

import random

from absl.testing import absltest, parameterized

from htmtl_jax.documents.document import Document, Section
from htmtl_jax.evaluation import text_measures


def _search_everywhere(source, tokens):
  """Fragment lengths from their definition, without an index."""
  lengths, position = [], 0
  while position < len(tokens):
    best = 0
    for start in range(len(source)):
      length = 0
      while (
        start + length < len(source)
        and position + length < len(tokens)
        and source[start + length] == tokens[position + length]
      ):
        length += 1
      best = max(best, length)
    if best:
      lengths.append(best)
    position += max(best, 1)
  return lengths


class TokenTest(parameterized.TestCase):
  @parameterized.parameters(
    ("Yield fell, by half.", [["yield", "fell", "by", "half"]]),
    ("5mg of CO2 (p53) in 1990s", [["5", "mg", "of", "co2", "p53", "in", "1990", "s"]]),
    ("1,200.5 and 1,20 and 3.14.", [["1200.5", "and", "1,20", "and", "3.14"]]),
    ("One.\n…\nTwo.", [["one"], ["two"]]),
    ("", []),
  )
  def test_tokens(self, text, expected):
    self.assertEqual(text_measures.tokenize(text), expected)

  def test_numbers(self):
    text = "In 1990, 5mg of CO2 and p53\n1,200 of 1200 plots, 3.5%"
    self.assertEqual(text_measures.find_numbers(text), ["1990", "5", "1200", "1200", "3.5"])

  def test_names(self):
    text = "The plots of Mendel and DNA in Brno\nRainfall, says Mendel, I mean X was low"
    self.assertEqual(text_measures.find_names(text), ["mendel", "dna", "brno", "mendel"])


class FragmentTest(parameterized.TestCase):
  def test_by_hand(self):
    source = text_measures.Source("the yield of the plots fell by half in spring")
    lengths = lambda text: text_measures.fragments(source, text.split())
    self.assertEqual(lengths("the plots fell sharply in spring"), [3, 2])
    self.assertEqual(lengths("half spring"), [1, 1])
    self.assertEqual(lengths("prices rose"), [])
    self.assertEqual(lengths(""), [])
    self.assertEqual(lengths("the yield of the plots fell by half in spring"), [10])

  def test_the_longest_of_matches_that_overlap(self):
    source = text_measures.Source("a a a b")
    self.assertEqual(text_measures.fragments(source, "a a b".split()), [3])

  @parameterized.parameters(range(8))
  def test_equals_the_search_everywhere(self, seed):
    rng = random.Random(seed)
    draw = lambda count: [f"w{rng.randrange(2 + seed)}" for _ in range(count)]
    source_tokens, summary = draw(60), draw(25)
    source = text_measures.Source(" ".join(source_tokens))
    self.assertEqual(
      text_measures.fragments(source, summary), _search_everywhere(source_tokens, summary)
    )


class MeasureTest(absltest.TestCase):
  def test_by_hand(self):
    source = text_measures.Source(
      "In 1990 the yield of apples fell by 12 percent.\nMendel counted the apples."
    )  # 10 + 4 words
    summary = "In 1990 the yield rose.\nThe apples of Darwin and Mendel fell by 13."
    measured = text_measures.measure(source, summary, "Nine words are what this one has in all.")
    self.assertEqual(tuple(measured), text_measures.MEASURES)
    expected = {
      "words": 14.0,
      "length_error": (14 - 9) / 9,
      "compression": 14 / 14,
      # in 1990 the yield | the apples | of | mendel | fell by; rose, darwin, and, 13 in none.
      "coverage": 10 / 14,
      "density": (16 + 4 + 1 + 1 + 4) / 14,
      "repetition_2": 0.0,
      "repetition_3": 0.0,
      "repetition_4": 0.0,
      "novelty_1": 4 / 14,
      # (yield rose); (apples of) (of darwin) (darwin and) (and mendel) (mendel fell) (by 13)
      "novelty_2": 7 / 12,
      # All but (in 1990 the) (1990 the yield).
      "novelty_3": 8 / 10,
      "novelty_4": 7 / 8,
      "new_numbers": 1 / 2,
      "new_names": 1 / 2,
    }
    self.assertCountEqual(measured, expected)
    for name, value in expected.items():
      self.assertAlmostEqual(measured[name], value, msg=name)

  def test_repetition(self):
    sentences = text_measures.tokenize("yield fell by half\nyield fell by half\nyield fell")
    # Pairs: 3 + 3 + 1, of them 3 distinct; triples: 2 + 2, of them 2; fours: 2, of them 1.
    self.assertAlmostEqual(text_measures.repetition(sentences, 2), 4 / 7)
    self.assertAlmostEqual(text_measures.repetition(sentences, 3), 1 / 2)
    self.assertAlmostEqual(text_measures.repetition(sentences, 4), 1 / 2)
    self.assertIsNone(text_measures.repetition([["one"], ["two"]], 2))

  def test_a_copied_sentence_is_not_new(self):
    source = text_measures.Source("We saw apples.\nThe Yield fell by 5mg.\nPrices rose.")
    measured = text_measures.measure(source, "The Yield fell by 5mg.", "yield fell")
    self.assertEqual((measured["coverage"], measured["density"]), (1.0, 6.0))
    for name in ("novelty_1", "novelty_2", "novelty_3", "novelty_4", "new_numbers", "new_names"):
      self.assertEqual(measured[name], 0.0, name)

  def test_an_empty_summary_is_undefined(self):
    source = text_measures.Source("Yield fell.")
    measured = text_measures.measure(source, "", "Yield fell.")
    self.assertEqual((measured["words"], measured["length_error"]), (0.0, 1.0))
    self.assertEqual({measured[n] for n in text_measures.MEASURES[2:]}, {None})

  def test_nothing_to_compare_with(self):
    measured = text_measures.measure(text_measures.Source(""), "Yield fell to 3 in Brno.", "")
    self.assertIsNone(measured["length_error"])
    self.assertEqual((measured["compression"], measured["coverage"]), (0.0, 0.0))
    self.assertEqual((measured["novelty_1"], measured["new_numbers"]), (1.0, 1.0))
    self.assertEqual(measured["new_names"], 1.0)

  def test_the_source_of_a_document(self):
    document = Document(
      "d",
      "The title is not in it",
      (Section("Results", (("Yield\nfell.", "Costs rose."),)),),
      abstract=(("Nor is the abstract.",),),
    )
    source = text_measures.Source.of_document(document)
    self.assertEqual(source.sentences, [["results"], ["yield", "fell"], ["costs", "rose"]])
    self.assertEqual(source.num_words, 5)


if __name__ == "__main__":
  absltest.main()
