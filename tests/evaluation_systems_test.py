"""Names of systems, and what the untrained ones make of a document."""

import dataclasses
import subprocess
import sys

from absl.testing import absltest, parameterized
import numpy as np

from htmtl_jax.documents.references import Piece, Reference, eligible_sections, make_references
from htmtl_jax.documents.synthetic import generate_document
from htmtl_jax.errors import UserError
from htmtl_jax.evaluation import baselines, systems, text_measures, untrained
from htmtl_jax.evaluation.ranking import lexrank_scores
from htmtl_jax.levels import LEVELS

UNTRAINED = tuple(name for name in systems.SYSTEMS if name not in systems.TRAINED)
# In place of what the learned extractor says: an order that no other system has.
_SCORES = 1.0 + 0.1 * np.sin(np.arange(1000.0))


class ParseTest(parameterized.TestCase):
  def test_names_in_their_order(self):
    self.assertEqual(systems.parse_systems("lsa, lead,oracle"), ("lsa", "lead", "oracle"))
    self.assertEqual(
      systems.parse_systems(None), ("htmtl", "htmtl_extractive", "lead", "lexrank", "oracle")
    )

  @parameterized.parameters(
    ("lead,lexrnk", "unknown system 'lexrnk' in .* did you mean lexrank"),
    ("htmtl_extract", "did you mean htmtl_extractive"),
    ("zzz", "unknown system 'zzz' .*; there are lead, random"),
    ("lead,,lsa", "unknown system ''"),
    ("", "unknown system ''"),
    ("lead,lsa,lead", "names lead twice"),
  )
  def test_wrong_names(self, text, pattern):
    with self.assertRaisesRegex(UserError, pattern):
      systems.parse_systems(text)

  def test_which_need_a_run(self):
    self.assertFalse(systems.needs_run(UNTRAINED))
    self.assertTrue(systems.needs_run(("lead", "htmtl_extractive")))

  def test_names_cost_nothing(self):
    code = (
      "import sys; from htmtl_jax.evaluation import systems; "
      "sys.exit(any(name in sys.modules for name in ('jax', 'rouge_score', 'scipy')))"
    )
    self.assertEqual(subprocess.run([sys.executable, "-c", code], check=False).returncode, 0)


class SummarizeTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.document = generate_document(3, "test", 0)
    self.references = make_references(self.document)
    self.eligible = eligible_sections(self.document)

  def summarize(self, name, level, document=None):
    document = document or self.document
    scores = _SCORES[: len(baselines.body_places(document))]
    return untrained.summarize_untrained(
      name, document, self.references, level, 60, self.eligible, scores
    )

  @parameterized.product(name=UNTRAINED, level=LEVELS)
  def test_sentences_of_the_document(self, name, level):
    pieces = self.summarize(name, level)
    self.assertLen(pieces, len(self.eligible) if level == "section" else 1)
    body = [place.text for place in baselines.body_places(self.document)]
    self.assertContainsSubset([s for piece in pieces for s in piece], body)
    self.assertTrue(any(pieces))
    self.assertEqual(pieces, self.summarize(name, level))

  def test_random_depends_on_the_document(self):
    other = dataclasses.replace(self.document, id="another")
    self.assertNotEqual(
      self.summarize("random", "section"), self.summarize("random", "section", other)
    )

  def test_systems_differ_and_are_what_their_names_say(self):
    pieces = {name: str(self.summarize(name, "paragraph")) for name in UNTRAINED}
    self.assertLen(set(pieces.values()), len(UNTRAINED))
    expected = baselines.extract(lexrank_scores, self.document, "paragraph", 60, self.eligible)
    self.assertEqual(pieces["lexrank"], str(expected))
    scores = _SCORES[: len(baselines.body_places(self.document))]
    choose = lambda mmr: str(
      baselines.extract(scores, self.document, "paragraph", 60, self.eligible, mmr=mmr)
    )
    self.assertEqual(pieces["learned"], choose(True))
    self.assertNotEqual(pieces["learned"], choose(False))

  def test_a_pair_with_and_without_fillers(self):
    reference = Reference(
      "section",
      "silver",
      (Piece(("Yield fell.",), section=0), Piece(("Costs rose.",), section=1, filler=True)),
    )
    source = text_measures.Source("Yield fell.\nCosts rose.")
    pieces = {"lead": [["Yield fell."], ["Costs rose."]], "extra": [[], ["Prices."], ["Yield."]]}
    pair = untrained.make_pair(self.document, source, reference, pieces)
    self.assertEqual(pair.systems, {"lead": "Yield fell.\nCosts rose.", "extra": "Prices.\nYield."})
    self.assertEqual(pair.reference_without_fillers, "Yield fell.")
    self.assertEqual(pair.systems_without_fillers, {"lead": "Yield fell.", "extra": "Yield."})
    self.assertEqual(pair.measures["extra"]["novelty_1"], 0.5)
    self.assertEqual(pair.places, {})  # neither consists of sentences of this document

  def test_a_pair_says_where_chosen_sentences_stand(self):
    source = text_measures.Source.of_document(self.document)
    for level in LEVELS:
      pieces = {name: self.summarize(name, level) for name in UNTRAINED}
      pieces["htmtl"] = pieces["lead"]  # a writer, though it wrote what the paper says
      pieces["wrong"] = [["This is not a sentence of it."]]
      pair = untrained.make_pair(self.document, source, self.references[level], pieces)
      self.assertCountEqual(pair.places, UNTRAINED)
      body = [place.text for place in baselines.body_places(self.document)]
      self.assertEqual(
        pair.source,
        {
          "title": self.document.title,
          "words": source.num_words,
          "sentences": len(body),
        },
      )
      for name, places in pair.places.items():
        self.assertEqual([body[i] for i in places], [s for piece in pieces[name] for s in piece])

  def test_the_record_of_what_the_first_system_makes_of_a_document(self):
    corpus = absltest.mock.Mock(parse=lambda record: self.document)
    budgets = dict.fromkeys(LEVELS, 40)
    describe = lambda *names: untrained.Comparison(corpus, names, budgets).describe(
      None, "other id"
    )
    for names in (("lexrank", "lead"), ("oracle", "lead"), ("oracle",)):
      record = describe(*names)
      method = next((name for name in names if name != "oracle"), "oracle")
      self.assertEqual((record["id"], record["method"]), ("other id", method))
      pieces = self.summarize(method, "paragraph") if method == "oracle" else None
      chosen = [sentence["text"] for sentence in record["extractive"]]
      if pieces:
        self.assertEqual(chosen, [s for piece in pieces for s in piece])
      shares = {s["text"]: s["importance"] for s in record["importance"]["sentences"]}
      self.assertAlmostEqual(sum(shares.values()), 1)
      if method != "lexrank":  # no centrality: what was chosen shares all of it
        self.assertEqual(sorted(t for t, share in shares.items() if share), sorted(chosen))


if __name__ == "__main__":
  absltest.main()
