"""Putting a run together and opening it again, and reading documents one by one or together."""

import json
import pathlib
import shutil
import tempfile

from absl.testing import absltest
import jax
import numpy as np

from htmtl_jax.checkpoint import CheckpointStore
from htmtl_jax.data.packing import blank_document, pack_document, stack_documents
from htmtl_jax.data.prepared import load_prepared
from htmtl_jax.data.tokenizer import train_tokenizer
from htmtl_jax.errors import UserError
from htmtl_jax.experiment import keep_vocabulary, open_run
from htmtl_jax.inference import Inference
from htmtl_jax.levels import LEVELS
from htmtl_jax.train import MAY_DIFFER
from tests import tiny_config


class OpenRunTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.enter_context(tiny_config.setting())
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

  def test_a_workdir_is_all_that_a_trained_model_needs(self):
    # Moved elsewhere, without the corpus, its arrays, metrics and results.
    workdir = tiny_config.copy_trained(self.folder)
    for name in ("tensorboard", "evaluation"):
      shutil.rmtree(workdir / name)
    (workdir / "metrics.jsonl").unlink()
    config = json.loads((workdir / "config.json").read_text())
    config["data"]["prepared"] = str(self.folder / "gone")
    (workdir / "config.json").write_text(json.dumps(config))
    run = open_run(str(workdir), "latest")
    self.assertEqual(run.step, tiny_config.NUM_STEPS)
    with CheckpointStore(workdir / "checkpoints") as store:
      saved = store.restore_params(tiny_config.NUM_STEPS)
    jax.tree.map(np.testing.assert_array_equal, run.params, saved)
    corpus = load_prepared(str(tiny_config.prepared()))
    self.assertEqual(run.word_budgets, corpus.word_budgets)
    self.assertEqual(run.experiment.tokenizer.to_bytes(), corpus.tokenizer.to_bytes())

  def test_statistics_that_cannot_be_read(self):
    workdir = tiny_config.copy_trained(self.folder)
    (workdir / "statistics.json").write_text("{")
    with self.assertRaisesRegex(
      UserError, "statistics.json cannot be read .*; train again, or restore the file$"
    ):
      open_run(str(workdir))

  def test_another_vocabulary_than_the_run_has(self):
    workdir = tiny_config.copy_trained(self.folder)
    corpus = load_prepared(str(tiny_config.prepared()))
    keep_vocabulary(str(workdir), corpus)  # the run's own is fine
    train_tokenizer(["other words of another corpus"] * 9, 310, str(workdir / "vocabulary.model"))
    with self.assertRaisesRegex(UserError, "is not the vocabulary of the prepared corpus"):
      keep_vocabulary(str(workdir), corpus)

  def test_what_may_differ_never_names_the_data_or_the_optimiser(self):
    sections = {key.partition(".")[0] for key in MAY_DIFFER}
    self.assertNoCommonElements(sections, ("optimizer", "loss", "layout", "tokenizer", "seed"))
    self.assertNoCommonElements(
      MAY_DIFFER, ("data", "model", "train", "train.accumulate", "train.batch_token_rows")
    )


class AloneOrTogetherTest(absltest.TestCase):
  """What else is in a batch, and how large it is, is nothing to a document."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    workdir, _, _ = tiny_config.trained()
    documents = load_prepared(str(tiny_config.prepared())).split("train")
    cls.documents = [documents[i] for i in range(8)]
    with tiny_config.setting():
      cls.inference = Inference(open_run(str(workdir), "latest"))
      bucket = cls.inference.experiment.buckets[0]
      packed = [pack_document(document, bucket) for document in cls.documents]
      cls.indices = [index for _, index, _ in packed]
      cls.batch = stack_documents([arrays for arrays, _, _ in packed])
      cls.pieces = [document.num_pieces for document in cls.documents]
      cls.together = cls.inference.write(cls.batch, cls.pieces)

  def setUp(self):
    super().setUp()
    self.enter_context(tiny_config.setting())

  def test_summaries(self):
    for i in (0, 5):
      _, batch, _ = self.inference.pack_one(self.documents[i])
      self.assertLen(batch.document_mask, 1)
      alone = self.inference.write(batch, [self.pieces[i]])[0]
      for level in range(len(LEVELS)):
        np.testing.assert_array_equal(alone.ids[level], self.together[i].ids[level])
      self.assertEqual(alone.pieces, self.together[i].pieces)
    # Documents differ, or this would say nothing.
    self.assertFalse(
      np.array_equal(self.together[0].ids[1], self.together[5].ids[1])
      and np.array_equal(self.together[0].ids[2], self.together[5].ids[2])
    )

  def test_importance(self):
    together = self.inference.importance(self.batch, self.indices, self.documents)
    for i in (0, 5):
      _, batch, index = self.inference.pack_one(self.documents[i])
      (alone,) = self.inference.importance(batch, [index], [self.documents[i]])
      for name in ("sentences", "paragraphs", "sections"):
        np.testing.assert_allclose(
          getattr(alone, name), getattr(together[i], name), rtol=1e-5, atol=1e-7
        )
        self.assertAlmostEqual(getattr(alone, name).sum(), 1.0, places=5)
      document = self.documents[i]
      np.testing.assert_allclose(
        np.bincount(document.sentence_paragraph, alone.sentences), alone.paragraphs, atol=1e-5
      )
      np.testing.assert_allclose(
        np.bincount(document.paragraph_section, alone.paragraphs), alone.sections, atol=1e-5
      )

  def test_explaining(self):
    document = self.documents[0]
    _, batch, index = self.inference.pack_one(document)
    written = self.inference.write(batch, [self.pieces[0]])[0]
    importances, shares = self.inference.explain(document, batch, index, written)
    (alone,) = self.inference.importance(batch, [index], [document])
    # The same pass in another program: equal to rounding.
    np.testing.assert_allclose(importances.sentences, alone.sentences, rtol=1e-4)
    for level, level_shares in zip(LEVELS, shares, strict=True):
      self.assertLen(level_shares, sum(map(len, written.pieces[level])))
      for share in level_shares:
        self.assertEqual(share.shape, document.sentence_lengths.shape)
        self.assertAlmostEqual(share.sum(), 1.0, places=5)

  def test_explaining_together(self):
    chosen = [0, 5]
    documents = [self.documents[i] if i in chosen else None for i in range(8)]
    explained = self.inference.explain_batch(documents, self.batch, self.indices, self.together)
    self.assertEqual([i for i, own in enumerate(explained) if own is not None], chosen)
    for i in chosen:
      _, batch, index = self.inference.pack_one(self.documents[i])
      alone, shares = self.inference.explain(self.documents[i], batch, index, self.together[i])
      importances, together = explained[i]
      np.testing.assert_allclose(importances.sentences, alone.sentences, rtol=1e-4, atol=1e-7)
      for level, ours, theirs in zip(LEVELS, together, shares, strict=True):
        self.assertLen(ours, sum(map(len, self.together[i].pieces[level])))
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)

  def test_blanks_are_nobody(self):
    bucket = self.inference.experiment.buckets[0]
    batch = stack_documents([blank_document(bucket)] * 8)
    self.assertEqual(self.inference.importance(batch, [None] * 8, [None] * 8), [None] * 8)


if __name__ == "__main__":
  absltest.main()
