"""The learned extractor: what it learns from, what it may rank, and its cache."""

import dataclasses
import pathlib
import pickle
import tempfile
from unittest import mock

from absl.testing import absltest, parameterized
import numpy as np
import threadpoolctl

from htmtl_jax.documents.document import Document, Section
from htmtl_jax.documents.references import make_references
from htmtl_jax.documents.sources import Corpus, Record
from htmtl_jax.documents.synthetic import generate_document
from htmtl_jax.errors import UserError
from htmtl_jax.evaluation import boosted_trees, learned, rouge
from htmtl_jax.evaluation.baselines import extract
from htmtl_jax.evaluation.features import sentence_features
from htmtl_jax.evaluation.ranking import lead_scores, lexrank_scores

_SETTINGS = learned.LearnedSettings(documents=100, folds=3, trees=10, least_rows=5)


class _Papers(Corpus):
  """Generated papers under ids of choice."""

  fingerprint = "0123456789abcdef"

  def __init__(self, records):
    super().__init__()
    self._given = records

  def _records(self):
    yield from self._given

  def parse(self, record):
    if record.payload is None:
      raise ValueError("malformed")
    return record.payload

  def describe(self):
    return "papers"


def _make_papers(train=12, test=3):
  papers = [(f"t{i}", "train", i) for i in range(train)]
  papers += [(f"h{i}", "test", 100 + i) for i in range(test)]
  return [Record(k, s, generate_document(i, "train", 0), f"paper {k}") for k, s, i in papers]


def _fit_by_counting(features, labels, *others):
  """In place of a fit: trees that only remember how many rows they saw."""
  del labels, others
  one = np.zeros((1, 1))
  trees = boosted_trees.BoostedTrees(
    float(len(features)),
    one.astype(np.int32),
    one,
    one.astype(np.int32),
    one.astype(np.int32),
    one,
    0,
  )
  return trees, "9.9"


class LearnTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    # Threads that wait for each other on a busy machine take far longer than one.
    self.enter_context(threadpoolctl.threadpool_limits(1, user_api="openmp"))

  def learn(self, records, splits=("test",), settings=_SETTINGS, processes=1):
    return learned.learn(_Papers(records), self.folder, splits, settings, processes)

  def learn_and_watch(self, records, splits, settings=_SETTINGS):
    """(extractor, for each fit the rows that it saw)."""
    with mock.patch.object(boosted_trees, "fit", side_effect=_fit_by_counting) as fit:
      extractor = self.learn(records, splits, settings)
    return extractor, [{row.tobytes() for row in call.args[0]} for call in fit.call_args_list]

  def rows_of(self, record):
    return {row.tobytes() for row in sentence_features(record.payload)}

  def test_training_documents_are_ranked_by_trees_that_did_not_see_them(self):
    records = _make_papers()
    extractor, seen = self.learn_and_watch(records, ("train", "validation", "test"))
    self.assertLen(seen, _SETTINGS.folds + 1)
    folds = set()
    for record in records:
      rows = self.rows_of(record)
      if record.split == "test":
        self.assertFalse(any(rows & own for own in seen))
        continue
      fold = learned.assign_fold(record.id, _SETTINGS)
      folds.add(fold)
      self.assertEqual([rows <= own for own in seen[:3]], [k != fold for k in range(3)])
      self.assertTrue(rows <= seen[3])
      # And it is the trees of this very fold that rank it.
      with mock.patch.object(boosted_trees.BoostedTrees, "score", autospec=True) as score:
        score.return_value = np.zeros(1)
        extractor.score(record.payload, record)
      self.assertIs(score.call_args.args[0], extractor.folds[fold])
    self.assertLen(folds, 3)

  def test_only_what_is_needed_is_fitted(self):
    for splits, fits in ((("test",), 1), (("validation", "test"), 1), (("train",), 3)):
      extractor, seen = self.learn_and_watch(_make_papers(), splits)
      self.assertLen(seen, 0 if splits == ("validation", "test") else fits)  # then it is cached
      self.assertEqual(extractor.held_out is None, splits == ("train",))
      self.assertLen(extractor.folds, 3 if splits == ("train",) else 0)

  def test_a_paper_that_is_held_out_as_well_is_not_learnt_from(self):
    papers = _make_papers(6, 0)
    records = [dataclasses.replace(r, id=f"train/{r.id}") for r in papers]
    records += [dataclasses.replace(papers[2], id="test/t2", split="test")]
    extractor, (seen,) = self.learn_and_watch(records, ("test",))
    self.assertEqual(extractor.facts["documents"], 5)
    self.assertFalse(self.rows_of(papers[2]) & seen)
    self.assertTrue(self.rows_of(papers[3]) <= seen)

  def test_the_choice_of_documents(self):
    settings = dataclasses.replace(_SETTINGS, documents=4)
    records = _make_papers(12)
    chosen = []
    for order in (records, records[::-1]):
      _, (seen,) = self.learn_and_watch(order, ("test",), settings)
      chosen.append({r.id for r in records if self.rows_of(r) <= seen})
      for path in (self.folder / learned.FOLDER).iterdir():
        path.unlink()
    self.assertLen(chosen[0], 4)
    self.assertEqual(*chosen)  # whatever the order
    _, (seen,) = self.learn_and_watch(records, ("test",), dataclasses.replace(settings, seed=1))
    self.assertNotEqual({r.id for r in records if self.rows_of(r) <= seen}, chosen[0])

  def test_finds_what_matters_in_papers_of_other_names(self):
    records = _make_papers(40, 12)
    extractor = self.learn(records)
    totals = {"learned": 0.0, "lexrank": 0.0, "lead": 0.0}
    for record in records[40:]:
      document = record.payload
      reference = make_references(document)["paragraph"].text
      scorers = {
        "learned": extractor.score(document),
        "lexrank": lexrank_scores,
        "lead": lambda sentences: lead_scores(len(sentences)),
      }
      for name, scores in scorers.items():
        text = rouge.join_sentences(extract(scores, document, "paragraph", 60, ()))
        totals[name] += rouge.score_pair(reference, text)["rouge2"] / 12
    self.assertGreater(totals["learned"], 2.0 * max(totals["lead"], totals["lexrank"]), totals)

  def test_the_cache(self):
    records = _make_papers()
    first = self.learn(records)
    (path,) = (self.folder / learned.FOLDER).iterdir()
    scores = first.score(records[-1].payload)
    self.assertTrue(((scores > 0) & (scores < 1)).all())
    with mock.patch.object(boosted_trees, "is_available", return_value=False):
      again = self.learn(records)  # needs no library
      np.testing.assert_array_equal(again.score(records[-1].payload), scores)
      self.assertEqual(again.facts, first.facts)
      with self.assertRaisesRegex(UserError, "needs scikit-learn"):
        self.learn(records, settings=dataclasses.replace(_SETTINGS, trees=9))
    content = path.read_bytes()
    for damaged in (content[:100], b"", b"PK\x03\x04" + content[4:-30], b"x" * 500):
      path.write_bytes(damaged)
      np.testing.assert_array_equal(self.learn(records).score(records[-1].payload), scores)
      self.assertEqual(path.read_bytes()[:2], b"PK")
    self.assertLen(list((self.folder / learned.FOLDER).iterdir()), 1)
    np.testing.assert_array_equal(
      pickle.loads(pickle.dumps(first)).score(records[-1].payload), scores
    )

  def test_a_pickle_in_the_cache_is_not_opened(self):
    self.learn(_make_papers())
    (path,) = (self.folder / learned.FOLDER).iterdir()
    with open(path, "wb") as file:
      np.savez(file, **{"0/start": np.array([_Explosive()], object)})
    self.learn(_make_papers())
    self.assertFalse(_Explosive.opened)

  def test_what_worker_processes_are_sent_survives_the_way(self):
    # That real ones change nothing is part of tests/evaluate_untrained_test.py.
    records = _make_papers()
    alone = self.learn(records).score(records[-1].payload)
    (path,) = (self.folder / learned.FOLDER).iterdir()
    path.unlink()
    sent = []

    def work(maker, function, chunks, done, total, label, processes):
      del label
      sent.append((total, processes))
      for chunk in chunks:
        maker, function, chunk = pickle.loads(pickle.dumps((maker, function, chunk)))
        done(function(maker, chunk))

    with (
      mock.patch.object(learned.parallel, "MIN_DOCUMENTS_FOR_WORKERS", 1),
      mock.patch.object(learned.parallel, "work", work),
    ):
      together = self.learn(records, processes=2).score(records[-1].payload)
    np.testing.assert_array_equal(alone, together)
    self.assertEqual(sent, [(12, 2)])

  def test_nothing_to_learn_from(self):
    bare = Document("b", "", (Section("", (("Yield fell.",),)),))
    records = [Record("b", "train", bare, "b"), Record("m", "train", None, "m")]
    for given, count in ((records, 2), (_make_papers(0, 2), 0)):
      with self.assertRaisesRegex(
        UserError, f"nothing to learn from: none of the {count} training"
      ):
        self.learn(given)
    with self.assertRaisesRegex(UserError, r"too few training documents \(1\) for 3 folds"):
      self.learn(_make_papers(1), ("train",))

  def test_a_folder_that_cannot_be_written(self):
    (self.folder / learned.FOLDER).write_text("a file")
    with self.assertRaisesRegex(UserError, "cannot be written .* give another --workdir"):
      self.learn(_make_papers())


class _Explosive:
  opened = False

  def __reduce__(self):
    return (_explode, ())


def _explode():
  _Explosive.opened = True


if __name__ == "__main__":
  absltest.main()
