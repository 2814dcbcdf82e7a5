"""The benchmarks of scoring and of public baselines: their texts, their check, their tables."""

import contextlib
import importlib.util
import io
import json
import pathlib
import sys
import tempfile
from unittest import mock

from absl.testing import absltest
import numpy as np

from benchmarks import public_baselines, scoring
from configs import papers_base
from htmtl_jax.evaluation import rouge
from htmtl_jax.evaluation.ranking import lexrank_scores, rank_order


def _run(module, *argv) -> str:
  out = io.StringIO()
  with (
    mock.patch.object(sys, "argv", ["benchmark", *argv]),
    contextlib.redirect_stdout(out),
    contextlib.redirect_stderr(io.StringIO()),
  ):
    module.main()
  return out.getvalue()


class ScoringTest(absltest.TestCase):
  def test_texts_have_the_lengths_of_abstracts(self):
    pairs = scoring.make_pairs(60, 0)
    texts = [pair.reference for pair in pairs] + [pair.systems["system"] for pair in pairs]
    self.assertBetween(np.mean([len(text.split()) for text in texts]), 200, 240)
    self.assertBetween(np.mean([len(text.split("\n")) for text in texts]), 8, 10)
    scores = rouge.score_all([(pair.reference, pair.systems["system"]) for pair in pairs])
    self.assertBetween(scores["rouge1"].mean(), 25, 50)  # they have something in common
    self.assertEqual(pairs, scoring.make_pairs(60, 0))

  def test_end_to_end_and_a_planted_fault(self):
    path = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory())) / "scoring.json"
    flags = ("--summaries=12", "--processes=1", "--check=2", f"--output={path}")
    self.assertIn("0 of 8 numbers differ", _run(scoring, *flags))
    record = json.loads(path.read_text())
    self.assertEqual((record["summaries"], record["differing"]), (12, 0))
    score_all = lambda *arguments: {m: v + 1e-9 for m, v in original(*arguments).items()}
    original = rouge.score_all
    with mock.patch.object(rouge, "score_all", score_all):
      self.assertIn("8 of 8 numbers differ", _run(scoring, *flags))


class _Reversed:
  """In place of sumy: reading order from the end, and our own LexRank."""

  summarizers = dict.fromkeys(("lexrank, sumy", "textrank, sumy"))

  def __init__(self, bare):
    self.bare = bare

  def rank(self, name, sentences):
    if name.startswith("lexrank"):
      return rank_order(lexrank_scores(sentences))
    return list(range(len(sentences)))[::-1]


class PublicBaselinesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.path = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory())) / "papers.jsonl"
    paper = lambda i: {
      "id": f"p{i}",
      "abstract": [f"Frost came late in year {i}. The yield of apples fell by {i} percent."],
      "sections": [
        {
          "heading": "Results",
          "paragraphs": [
            f"Frost came late in year {i}. The yield of apples fell. Plots were small.",
            f"Late frost means that yield fell by {i} percent. Prices are quoted elsewhere.",
          ],
        }
      ],
    }
    self.path.write_text("".join(json.dumps(paper(i)) + "\n" for i in range(12)))

  def test_the_same_ranking_is_no_difference_and_another_is_one(self):
    config = papers_base.get_config()
    config.data.path = str(self.path)
    with mock.patch.object(public_baselines, "PublicRankings", _Reversed):
      rows = public_baselines.compare(config, "train", 12, 5, False, 1)
    self.assertLen(rows, 5)
    found = public_baselines.summarise(rows, samples=200)
    self.assertEqual(list(found), ["lexrank", "lexrank, sumy", "textrank", "textrank, sumy"])
    same = found["lexrank, sumy"]
    self.assertEqual((same["ahead"], same["low"], same["high"]), (0.0, 0.0, 0.0))
    for metric in rouge.METRICS:
      self.assertEqual(same[metric], found["lexrank"][metric])
    other = found["textrank, sumy"]
    self.assertAlmostEqual(other["ahead"], found["textrank"]["rouge1"] - other["rouge1"])
    self.assertGreater(other["ahead"], 0.0)
    self.assertBetween(found["lexrank"]["words"], 8, 16)

  @absltest.skipIf(importlib.util.find_spec("sumy"), "sumy is installed here")
  def test_without_sumy_it_says_so(self):
    with self.assertRaisesRegex(SystemExit, "pip install sumy"):
      _run(public_baselines, f"--corpus={self.path}")


if __name__ == "__main__":
  absltest.main()
