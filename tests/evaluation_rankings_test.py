"""Importance beside other rankings of the same sentences."""

from absl.testing import absltest
import numpy as np

from htmtl_jax.documents.document import Document, Section, iterate_sentences
from htmtl_jax.documents.references import compute_importance_labels
from htmtl_jax.documents.synthetic import generate_document
from htmtl_jax.evaluation import importance, rankings
from htmtl_jax.evaluation.ranking import lexrank_scores


def _rank(index, keep=None, learned=False):
  """A generated paper whose importance is the soft gain itself, its first `keep` sentences."""
  document = generate_document(index, "test", 0)
  gains = compute_importance_labels(document)[:keep]
  body = sum(not place.is_heading for place in iterate_sentences(document))
  return rankings.RankedDocument(
    document,
    gains + 1e-3,
    importance.planted_labels(document)[:keep],
    np.arange(body, 0.0, -1.0) if learned else None,
  )


class RankingsTest(absltest.TestCase):
  def test_every_ranking_is_judged_on_the_sentences_that_were_read(self):
    for keep in (None, 20):
      ranked = _rank(4, keep, learned=True)
      found = rankings.judge_document(ranked)
      self.assertEqual(list(found), ["htmtl", "position", "lexrank", "learned"])
      places = list(iterate_sentences(ranked.document))[:keep]
      body = np.array([not place.is_heading for place in places])
      matters = ranked.matters[body]
      gains = compute_importance_labels(ranked.document)[: len(places)][body]
      self.assertEqual(
        found["htmtl"], importance.judge_ranking(ranked.importance[body], matters, gains)
      )
      self.assertAlmostEqual(found["htmtl"]["spearman"], 1.0)
      scores = lexrank_scores([place.text for place in places if not place.is_heading])
      self.assertEqual(found["lexrank"], importance.judge_ranking(scores, matters, gains))
      # This "learned" ranking is reading order.
      self.assertEqual(found["learned"], found["position"])
      self.assertLess(found["position"]["spearman"], 0.9)

  def test_documents_without_what_a_measure_needs(self):
    document = Document("d", "", (Section("Heading", (("Yield fell.", "Costs rose."),)),))
    nothing = rankings.RankedDocument(document, np.zeros(0), np.zeros(0, bool))
    headed = rankings.RankedDocument(document, np.ones(1), np.zeros(1, bool))
    plain = rankings.RankedDocument(document, np.ones(3), np.array([0, 1, 0], bool))
    for ranked in (nothing, headed):
      for own in rankings.judge_document(ranked).values():
        self.assertEqual(set(own.values()), {None})
    found = rankings.judge_document(plain)["htmtl"]
    self.assertEqual((found["auc"], found["precision_at_k"], found["spearman"]), (0.5, 1.0, None))

  def test_summary(self):
    values = {"htmtl": (0.9, 0.7, None), "position": (0.5, 0.6, 0.4)}
    judged = [
      {name: dict.fromkeys(importance.MEASURES, own[i]) for name, own in values.items()}
      for i in range(3)
    ]
    found = rankings.summarise_rankings(judged, samples=200, seed=1)
    own = found["rankings"]["htmtl"]["auc"]
    self.assertAlmostEqual(own["mean"], 0.8)
    self.assertEqual(own["documents"], 2)
    self.assertBetween(own["low"], 0.7, own["mean"])
    self.assertBetween(own["high"], own["mean"], 0.9)
    self.assertEqual(found["rankings"]["position"]["kendall"]["documents"], 3)
    # By document, hence over the two that both have.
    difference = found["differences"]["position"]["auc"]
    self.assertAlmostEqual(difference["mean"], (0.4 + 0.1) / 2)
    self.assertEqual(difference["documents"], 2)
    self.assertNotIn("htmtl", found["differences"])
    self.assertAlmostEqual(rankings.mean_auc(found), 0.8)
    empty = rankings.summarise_rankings([{"htmtl": dict.fromkeys(importance.MEASURES)}], samples=10)
    self.assertIsNone(empty["rankings"]["htmtl"]["auc"])
    self.assertIsNone(rankings.mean_auc(empty))
    self.assertEqual(rankings.summarise_rankings([]), {"rankings": {}, "differences": {}})
    self.assertIsNone(rankings.mean_auc(rankings.summarise_rankings([])))

  def test_rows(self):
    judged = [rankings.judge_document(_rank(i)) for i in (1, 2)]
    rows = rankings.make_rows(["a", "b"], judged)
    self.assertEqual(
      [(row["id"], row["ranking"]) for row in rows],
      [(i, name) for i in "ab" for name in ("htmtl", "position", "lexrank")],
    )
    self.assertEqual(rows[4]["auc"], judged[1]["position"]["auc"])


if __name__ == "__main__":
  absltest.main()
