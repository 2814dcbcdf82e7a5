"""`--mode=summarize` and `htmtl_jax.load`, end to end with a trained tiny run."""

import json
import pathlib
import tempfile
from unittest import mock

from absl.testing import absltest, parameterized
import numpy as np

import htmtl_jax
from htmtl_jax.data.tokenize import Limits, tokenize_document
from htmtl_jax.documents.document import Document, Section, iterate_sentences
from htmtl_jax.inference import grow_bucket
from htmtl_jax.levels import LEVELS
from tests import tiny_config

PAPER = """\
# Soil and rain

## Abstract

We measured soils. They were wet after rain.

## Introduction

Rain falls on soil. Soil holds water, and water moves. Nobody has measured how fast it does.

Earlier work looked at sand. Sand is not soil.

## Methods

We dug 12 pits. Each pit was 1.5 m deep. Water was weighed every day.

## Results

Soil held 35 percent of the rain. The rest ran off within 4 hours.
"""
FIELDS = ("id", "title", "method", "summaries", "extractive", "importance", "provenance",
          "truncated_tokens")


class SummarizeTestCase(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

  def assert_record(self, record, document):
    """The schema, and the sums that a reader relies on."""
    self.assertEqual(tuple(record), FIELDS)
    self.assertEqual((record["id"], record["title"]), (document.id, document.title))
    self.assertCountEqual(record["summaries"], LEVELS)
    for level in ("sentence", "paragraph"):
      self.assertIsInstance(record["summaries"][level], str)
    for piece in record["summaries"]["section"]:
      self.assertEqual(tuple(piece), ("heading", "text"))

    places = {place.sentence_id: place for place in iterate_sentences(document)}
    importance = record["importance"]
    self.assertEqual([s["id"] for s in importance["sentences"]], list(places))
    self.assertEqual([s["text"] for s in importance["sentences"]], [p.text for p in places.values()])
    for level in ("sentences", "paragraphs", "sections"):
      values = [segment["importance"] for segment in importance[level]]
      self.assertAlmostEqual(sum(values), 1.0, delta=1e-5)
      self.assertGreaterEqual(min(values), 0.0)
    sums = {}
    for sentence in importance["sentences"]:
      place = places[sentence["id"]]
      for parent in (place.paragraph_id, place.section_id):
        sums[parent] = sums.get(parent, 0.0) + sentence["importance"]
    parents = importance["paragraphs"] + importance["sections"]
    self.assertCountEqual([parent["id"] for parent in parents], sums)
    for parent in parents:
      self.assertAlmostEqual(parent["importance"], sums[parent["id"]], delta=1e-5)

    for sentence in record["extractive"]:
      place = places[sentence["id"]]
      self.assertFalse(place.is_heading)
      self.assertEqual(sentence["text"], place.text)
    self.assertNotEmpty(record["extractive"])

    for entry in record["provenance"]:
      self.assertEqual(tuple(entry), ("level", "sentence", "text", "segments"))
      self.assertContainsSubset([s["id"] for s in entry["segments"]], places)
      shares = [segment["share"] for segment in entry["segments"]]
      self.assertEqual(shares, sorted(shares, reverse=True))
      self.assertTrue(all(share > 0 for share in shares))
      self.assertLessEqual(sum(shares), 1 + 1e-5)
      self.assertLessEqual(len(shares), 5)
    text_of = {level: [e["text"] for e in record["provenance"] if e["level"] == level] for level in LEVELS}
    for level in LEVELS:
      self.assertEqual([e["sentence"] for e in record["provenance"] if e["level"] == level],
                       list(range(len(text_of[level]))))
    for level in ("sentence", "paragraph"):
      self.assertEqual("\n".join(text_of[level]), record["summaries"][level])
    json.dumps(record, allow_nan=False)


class TrainedTest(SummarizeTestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    workdir, _, _ = tiny_config.trained()
    with tiny_config.setting():
      cls.model = htmtl_jax.load(str(workdir))

  def summarize(self, document):
    with tiny_config.setting():
      return self.model.summarize(document)

  def test_a_folder_of_papers(self):
    papers = self.folder / "papers"
    papers.mkdir()
    (papers / "soil.md").write_text(PAPER)
    (papers / "note.txt").write_text("One sentence is enough for a note.\n")
    (papers / "empty.md").write_text("\n")
    workdir, _, _ = tiny_config.trained()
    status, out, err = tiny_config.run_main(
        "--mode=summarize", f"--workdir={workdir}", f"--input={papers}",
        f"--output={self.folder / 'out'}",
    )
    self.assertEqual(status, 0, err)
    self.assertCountEqual([p.name for p in (self.folder / "out").iterdir()], ["soil.json", "note.json"])
    for text in ("Soil and rain", "In one sentence", "In one paragraph", "Section by section",
                 "Introduction", "Methods", "Results", "in its own words", "soil.json"):
      self.assertIn(text, out)
    self.assertNotIn("LexRank", out)

    document = htmtl_jax.read_paper(str(papers / "soil.md"))
    record = json.loads((self.folder / "out" / "soil.json").read_text(encoding="utf-8"))
    self.assert_record(record, document)
    self.assertEqual((record["method"], record["truncated_tokens"]), ("htmtl", 0))
    self.assertEqual([s["heading"] for s in record["importance"]["sections"]],
                     ["Introduction", "Methods", "Results"])
    self.assertNotEmpty([e for e in record["provenance"] if e["level"] == "paragraph"])
    self.assertNotIn("They were wet", json.dumps(record))  # the abstract is not read

    # The same from Python, to the last digit.
    self.assertEqual(self.summarize(document), record)

  def test_a_document_longer_than_every_bucket_is_read_whole(self):
    experiment = self.model._run.experiment
    sentences = tuple(f"Soil {i} held {i} percent of the rain." for i in range(40))
    document = Document("long", "", (Section("Results", (sentences[:20], sentences[20:])),))
    limits = Limits(2000, experiment.limits.max_target_tokens)
    tokenized = tokenize_document(document, experiment.tokenizer, limits, references={})
    self.assertGreater(len(tokenized.token_ids), experiment.buckets[-1].tokens)
    bucket = grow_bucket(tokenized, experiment.buckets)
    self.assertGreaterEqual(bucket.tokens, len(tokenized.token_ids))
    self.assertEqual(bucket.token_rows % experiment.buckets[-1].token_rows, 0)

    # Read with the run's own maximum of 192 tokens, the rest is cut and counted.
    cut = self.summarize(document)
    self.assert_record(cut, document)
    kept = [s["importance"] > 0 for s in cut["importance"]["sentences"]]
    self.assertEqual(kept, sorted(kept, reverse=True))
    self.assertTrue(kept[0] and not kept[-1])
    kept_tokens = sum(tokenized.sentence_lengths[: sum(kept)])
    self.assertEqual(cut["truncated_tokens"], len(tokenized.token_ids) - kept_tokens)
    self.assertIn("exceed data.max_input_tokens", htmtl_jax.summarize.render_record(cut))

    # With a larger one it is read to its end.
    longer = mock.patch.object(self.model._run, "experiment", _replace(experiment, limits=limits))
    longer = mock.patch.object(type(experiment), "limits", limits, create=True) if longer is None else longer
    del longer
    whole = self._summarize_with_limits(document, limits)
    self.assert_record(whole, document)
    self.assertEqual(whole["truncated_tokens"], 0)
    self.assertTrue(all(s["importance"] > 0 for s in whole["importance"]["sentences"]))


if __name__ == "__main__":
  absltest.main()
