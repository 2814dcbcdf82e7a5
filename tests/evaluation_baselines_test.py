"""Extractive summaries: the budget rule, the levels, and the oracle by brute force."""

import itertools
import random

from absl.testing import absltest, parameterized
import numpy as np

from htmtl_jax.documents.document import Document, Section, iterate_sentences
from htmtl_jax.documents.references import Piece, Reference
from htmtl_jax.evaluation import baselines, oracle, ranking, rouge


def _make_document():
  """Sections of 3, 1 and 4 body sentences, each "c.s" and fillers up to its word count."""

  def sentence(section, index, words):
    return " ".join([f"s{section}x{index}"] + ["pad"] * (words - 1))

  return Document(
    id="toy",
    title="A title that is never extracted",
    sections=(
      Section("Introduction", ((sentence(0, 0, 4), sentence(0, 1, 6)), (sentence(0, 2, 5),))),
      Section("", ((sentence(1, 0, 3),),)),
      Section("Results", (tuple(sentence(2, i, 5) for i in range(4)),)),
    ),
  )


def _make_references(**levels):
  return {
    level: Reference(level, "gold", tuple(Piece(tuple(piece)) for piece in pieces))
    for level, pieces in levels.items()
  }


def _labels(pieces):
  return [[s.split()[0] for s in piece] for piece in pieces]


class BudgetTest(parameterized.TestCase):
  @parameterized.parameters(
    # Lengths 4 6 5 3 in this order; the budget, and how many of them fit.
    (0, 1),
    (1, 1),
    (4, 1),
    (6.9, 1),
    (7, 1),
    (7.1, 2),
    (10, 2),
    (12.5, 2),
    (12.6, 3),
    (15, 3),
    (16.5, 3),
    (16.6, 4),
    (1000, 4),
  )
  def test_crossing_sentence_only_if_closer(self, budget, expected):
    self.assertEqual(
      baselines.select_within_budget([0, 1, 2, 3], [4, 6, 5, 3], budget), list(range(expected))
    )

  def test_is_the_prefix_closest_to_the_budget(self):
    rng = random.Random(0)
    for _ in range(300):
      lengths = [rng.randint(1, 20) for _ in range(rng.randint(1, 12))]
      order = rng.sample(range(len(lengths)), len(lengths))
      budget = rng.randint(1, 120)
      totals = list(itertools.accumulate(lengths[i] for i in order))
      best = min(range(len(order)), key=lambda k: abs(totals[k] - budget))  # the first of equals
      self.assertEqual(
        baselines.select_within_budget(order, lengths, budget), sorted(order[: best + 1])
      )


class ExtractTest(parameterized.TestCase):
  def test_lead_at_each_level(self):
    document = _make_document()
    lead = baselines.UNTRAINED["lead"]
    self.assertEqual(_labels(baselines.extract(lead, document, "sentence", 1, (0, 2))), [["s0x0"]])
    self.assertEqual(
      _labels(baselines.extract(lead, document, "paragraph", 16, (0, 2))),
      [["s0x0", "s0x1", "s0x2"]],
    )
    # 20 words over two sections are 10 each.
    self.assertEqual(
      _labels(baselines.extract(lead, document, "section", 20, (0, 2))),
      [["s0x0", "s0x1"], ["s2x0", "s2x1"]],
    )

  def test_scores_rank_and_document_order_presents(self):
    document = _make_document()
    scores = np.array([1, 2, 9, 3, 4, 8, 7, 5], float)  # best: s0x2, s2x1, s2x2, s2x3
    self.assertEqual(_labels(baselines.extract(scores, document, "sentence", 50, ())), [["s0x2"]])
    self.assertEqual(
      _labels(baselines.extract(scores, document, "paragraph", 15, ())),
      [["s0x2", "s2x1", "s2x2"]],
    )
    # Without a budget to speak of, one sentence a section all the same.
    self.assertEqual(
      _labels(baselines.extract(scores, document, "section", 1, (0, 1, 2))),
      [["s0x2"], ["s1x0"], ["s2x1"]],
    )

  def test_headings_and_title_are_never_taken(self):
    document = _make_document()
    for name, system in baselines.UNTRAINED.items():
      pieces = baselines.extract(system, document, "paragraph", 10_000, ())
      body = [s for section in document.sections for p in section.paragraphs for s in p]
      self.assertEqual(pieces, [body], name)

  def test_where_extracted_sentences_stand(self):
    document = Document("d", "", (Section("A", (("x.", "y.", "x."), ("z.", "x."))),))
    find = lambda *pieces: baselines.find_sentences(document, pieces)
    self.assertEqual(find(["z.", "x."], ["x."]), [3, 0, 2])  # each place is used once
    self.assertEqual(find(["x.", "x.", "x."]), [0, 2, 4])
    self.assertEqual(find(), [])
    self.assertIsNone(find(["x."] * 4))
    self.assertIsNone(find(["A"]))  # a heading is no sentence of the body

  def test_lexrank_ranks_inside_the_section(self):
    document = _make_document()
    results = [s for p in document.sections[2].paragraphs for s in p]
    best = ranking.rank_order(ranking.lexrank_scores(results))[0]
    pieces = baselines.extract(ranking.lexrank_scores, document, "section", 1, (2,))
    self.assertEqual(pieces, [[results[best]]])

  def test_mmr_skips_a_repetition(self):
    document = Document(
      "d",
      "",
      (Section("", (("Yield fell by half.", "Yield fell by half.", "Costs rose very fast."),)),),
    )
    scores = np.array([1.0, 0.9, 0.5])
    plain = baselines.extract(scores, document, "paragraph", 8, ())
    diverse = baselines.extract(scores, document, "paragraph", 8, (), mmr=True)
    self.assertEqual(plain, [["Yield fell by half."] * 2])
    self.assertEqual(diverse, [["Yield fell by half.", "Costs rose very fast."]])

  def test_sizes_of_documents(self):
    empty = Document("empty", "", ())
    only_heading = Document("heading", "", (Section("Methods", ()),))
    for document in (empty, only_heading):
      for system in baselines.UNTRAINED.values():
        self.assertEqual(baselines.extract(system, document, "sentence", 20, ()), [[]])
        self.assertEqual(baselines.extract(system, document, "paragraph", 20, ()), [[]])
        self.assertEqual(baselines.extract(system, document, "section", 20, ()), [])
    one_word = Document("word", "", (Section("", (("Yes",),)),))
    one_sentence = Document("long", "", (Section("", ((" ".join(["word"] * 5000),),)),))
    sentences = tuple(f"Sentence {i} x{i % 7}." for i in range(2000))
    many = Document("many", "", (Section("", (sentences,)),))
    for system in baselines.UNTRAINED.values():
      self.assertEqual(baselines.extract(system, one_word, "paragraph", 200, (0,)), [["Yes"]])
      self.assertLen(baselines.extract(system, one_sentence, "section", 200, (0,))[0], 1)
      self.assertLen(baselines.extract(system, many, "paragraph", 300, (0,))[0], 100)

  def test_refuses(self):
    document = _make_document()
    with self.assertRaisesRegex(ValueError, "unknown level"):
      baselines.extract(ranking.lexrank_scores, document, "chapter", 5, ())
    with self.assertRaisesRegex(ValueError, "8 body sentences"):
      baselines.extract(np.ones(10), document, "paragraph", 5, ())
    with self.assertRaisesRegex(ValueError, "1 of them not finite"):
      baselines.extract(np.array([np.nan] + [1.0] * 7), document, "paragraph", 5, ())


class BodyScoresTest(absltest.TestCase):
  def test_headings_drop_out_and_the_unseen_score_zero(self):
    document = _make_document()  # headings are sentences 0 and 5 of 10
    places = list(iterate_sentences(document))
    self.assertEqual([i for i, p in enumerate(places) if p.is_heading], [0, 5])
    np.testing.assert_array_equal(
      baselines.body_scores(document, np.arange(10.0)), [1, 2, 3, 4, 6, 7, 8, 9]
    )
    np.testing.assert_array_equal(
      baselines.body_scores(document, np.arange(7.0)), [1, 2, 3, 4, 6, 0, 0, 0]
    )
    with self.assertRaisesRegex(ValueError, "11 scores"):
      baselines.body_scores(document, np.ones(11))


def _definition(sentences, reference):
  """ROUGE-1 F + ROUGE-2 F with bigrams inside sentences, by lists alone."""
  value = 0.0
  for n in (1, 2):
    grams = []
    for text in (sentences, reference):
      words = [rouge.tokenize(s) for s in text]
      grams.append([tuple(w[i : i + n]) for w in words for i in range(len(w) - n + 1)])
    hits = sum(min(grams[0].count(g), grams[1].count(g)) for g in set(grams[1]))
    total = len(grams[0]) + len(grams[1])
    value += 2.0 * hits / total if total else 0.0
  return value


class OracleTest(parameterized.TestCase):
  def _draw(self, seed):
    rng = random.Random(seed)
    words = "yield yields rain frost soil cells dose trial model of the in a".split()
    draw = lambda n: [" ".join(rng.choices(words, k=rng.randint(1, 9))) for _ in range(n)]
    return draw(12), draw(3)

  @parameterized.parameters(*range(8))
  def test_equals_greedy_search_by_definition(self, seed):
    sentences, reference = self._draw(seed)
    for limit in (None, 0, 1, 2, 12):
      chosen, value = [], 0.0
      while limit is None or len(chosen) < limit:
        options = [i for i in range(12) if i not in chosen]
        values = [_definition([sentences[j] for j in (*chosen, i)], reference) for i in options]
        if not values or max(values) <= value + 1e-12:
          break
        value = max(values)
        chosen.append(options[int(np.argmax(np.array(values) > value - 1e-12))])
      self.assertEqual(oracle.greedy_oracle(sentences, "\n".join(reference), limit), sorted(chosen))

  def test_one_sentence_is_the_best_by_the_package(self):
    sentences, reference = self._draw(11)
    values = []
    for sentence in sentences:
      scores = rouge.score_pair(reference[0], sentence)
      values.append(scores["rouge1"] + scores["rouge2"])
    self.assertEqual(oracle.greedy_oracle(sentences, reference[0], 1), [int(np.argmax(values))])

  def test_finds_what_the_reference_was_made_of(self):
    rng = random.Random(3)
    sentences = [" ".join(f"w{rng.randrange(3000)}" for _ in range(20)) for _ in range(300)]
    reference = "\n".join(sentences[i] for i in (200, 7, 150))
    self.assertEqual(oracle.greedy_oracle(sentences, reference), [7, 150, 200])

  def test_nothing_in_common(self):
    self.assertEqual(oracle.greedy_oracle(["alpha beta", "", "—"], "gamma"), [])
    self.assertEqual(oracle.greedy_oracle(["alpha"], ""), [])
    self.assertEqual(oracle.greedy_oracle([], "gamma"), [])

  def test_summary_at_each_level(self):
    document = _make_document()
    references = _make_references(
      sentence=[["s2x1 pad s0x2"]],
      paragraph=[["s0x2 pad pad pad pad", "s2x3 pad pad pad pad"]],
      section=[["s0x1 pad pad pad pad pad"], ["s2x2 pad pad pad pad"]],
    )
    summaries = {
      level: _labels(baselines.oracle_summary(document, references, level, (0, 2)))
      for level in references
    }
    # Both named sentences share two words with it, but only s2x1 a bigram.
    self.assertEqual(summaries["sentence"], [["s2x1"]])
    self.assertEqual(summaries["paragraph"], [["s0x2", "s2x3"]])
    self.assertEqual(summaries["section"], [["s0x1"], ["s2x2"]])

  def test_section_pieces_must_match(self):
    with self.assertRaisesRegex(ValueError, "1 reference pieces for 2 sections"):
      baselines.oracle_summary(
        _make_document(), _make_references(section=[["a"]]), "section", (0, 2)
      )
    with self.assertRaisesRegex(ValueError, "unknown level"):
      baselines.oracle_summary(_make_document(), {}, "chapter", (0, 2))


if __name__ == "__main__":
  absltest.main()
