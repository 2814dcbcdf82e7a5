"""A run beside the untrained systems, document by document, in worker processes."""

import pickle

from absl.testing import absltest
import numpy as np

from htmtl_jax.documents.document import Document, Section, iterate_sentences
from htmtl_jax.documents.references import eligible_sections, make_references
from htmtl_jax.documents.synthetic import generate_document
from htmtl_jax.evaluation import importance, rankings, trained, untrained
from htmtl_jax.evaluation.rouge import join_sentences
from htmtl_jax.levels import LEVELS

_SYSTEMS = ("htmtl", "htmtl_extractive", "lead", "oracle")
_BUDGETS = {"sentence": 20, "paragraph": 60, "section": 60}


def _read(index=1, keep=None):
  document = generate_document(index, "test", 0)
  count = len(list(iterate_sentences(document))[:keep])
  pieces = {
    "sentence": [["It fell."]],
    "paragraph": [["It fell.", "It rose."]],
    "section": [["Piece."]] * len(eligible_sections(document)),
  }
  return trained.ReadDocument(document, pieces, np.linspace(0.1, 1.0, count))


class RunComparisonTest(absltest.TestCase):
  def compare(self, read, systems=_SYSTEMS, labels="planted"):
    (found,) = trained.RunComparison(systems, _BUDGETS, True, labels).compare([read])
    return found

  def test_what_each_system_says(self):
    read = _read()
    references, eligible = make_references(read.document), eligible_sections(read.document)
    found = self.compare(read)
    self.assertEqual([pair.level for pair in found.pairs], list(LEVELS))
    for pair in found.pairs:
      self.assertEqual(tuple(pair.systems), _SYSTEMS)
      self.assertEqual(pair.systems["htmtl"], join_sentences(read.pieces[pair.level]))
      chosen = trained.choose_by_importance(
        read.document, read.importance, pair.level, _BUDGETS[pair.level], eligible, True
      )
      self.assertEqual(pair.systems["htmtl_extractive"], join_sentences(chosen))
      for name in ("lead", "oracle"):
        pieces = untrained.summarize_untrained(
          name, read.document, references, pair.level, _BUDGETS[pair.level], eligible
        )
        self.assertEqual(pair.systems[name], join_sentences(pieces))
    # The last sentence, which is the most important here.
    last = [p.text for p in iterate_sentences(read.document) if not p.is_heading][-1]
    self.assertEqual(found.pairs[0].systems["htmtl_extractive"], last)

  def test_what_matters_and_how_well_it_is_found(self):
    for keep, labels in ((None, "planted"), (15, "planted"), (15, "oracle")):
      read = _read(2, keep)
      found = self.compare(read, ("htmtl_extractive",), labels)
      if labels == "planted":
        truth = importance.planted_labels(read.document)[:keep]
      else:
        reference = make_references(read.document)["paragraph"].text
        truth = importance.oracle_labels(read.document, reference)[:keep]
      np.testing.assert_array_equal(found.matters, truth)
      ranked = rankings.RankedDocument(read.document, read.importance, truth)
      self.assertEqual(found.rankings, rankings.judge_document(ranked))

  def test_without_an_abstract_nothing_is_known_to_matter(self):
    document = Document("d", "", (Section("", (("Yield fell.",),)),))
    found = self.compare(
      trained.ReadDocument(document, None, np.ones(1)), ("htmtl_extractive", "lead"), "oracle"
    )
    self.assertEqual((found.pairs, found.matters, found.rankings), ([], None, None))

  def test_survives_the_way_to_a_worker(self):
    comparison = trained.RunComparison(_SYSTEMS, _BUDGETS, True, "planted")
    sent = pickle.loads(pickle.dumps((comparison, [_read()])))
    self.assertEqual(sent[0].compare(sent[1])[0].pairs, self.compare(_read()).pairs)


if __name__ == "__main__":
  absltest.main()
