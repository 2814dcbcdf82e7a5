"""`--mode=evaluate` end to end: files and their schema, splits, checkpoints."""

import json
import pathlib
import tempfile

from absl.testing import absltest, parameterized
import numpy as np

from htmtl_jax import readings
from htmtl_jax.data.prepared import load_prepared
from htmtl_jax.data.tokenized import TokenizedDocument
from htmtl_jax.documents.document import iterate_sentences
from htmtl_jax.evaluation import publish
from htmtl_jax.evaluation.importance import MEASURES
from htmtl_jax.experiment import open_run
from htmtl_jax.levels import LEVELS
from htmtl_jax.reports.page import clean_text
from tests import pages, tiny_config

SYSTEMS = ("htmtl", "htmtl_extractive", "lead", "lexrank", "oracle")
METRICS = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def read_json(path):
  return json.loads(path.read_text(encoding="utf-8"))


def parse(path):
  return pages.parse(path.read_text(encoding="utf-8"))


def read_lines(path):
  return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class TrainedEvaluationTest(absltest.TestCase):
  """What training's last act, the evaluation of the test split, leaves behind."""

  def setUp(self):
    super().setUp()
    workdir, self.out, _ = tiny_config.trained()
    folders = list((workdir / "evaluation").iterdir())
    self.assertLen(folders, 1)  # of the best checkpoint
    self.folder = folders[0]
    self.documents = load_prepared(str(tiny_config.prepared())).documents("test")

  def test_results(self):
    results = read_json(self.folder / "results.json")
    self.assertEqual(results["step"], int(self.folder.name))
    self.assertIn(results["step"], (4, 8, 12))  # where the validation loss was computed
    self.assertEqual(results["split"], "test")
    self.assertEqual(results["documents"], len(self.documents))
    self.assertCountEqual(results["systems"], SYSTEMS)
    for system in SYSTEMS:
      self.assertCountEqual(results["systems"][system], LEVELS)
      for level in LEVELS:
        self.assertCountEqual(results["systems"][system][level], METRICS)
        for score in results["systems"][system][level].values():
          self.assertCountEqual(score, ("f", "low", "high"))
          self.assertBetween(score["f"], score["low"] - 1e-9, score["high"] + 1e-9)
          self.assertBetween(score["low"], 0, 100)
          self.assertBetween(score["high"], 0, 100)
    oracle, lead = (results["systems"][s]["paragraph"]["rouge1"]["f"] for s in ("oracle", "lead"))
    self.assertGreater(oracle, lead)

  def test_importance_is_judged_by_what_was_planted(self):
    importance = read_json(self.folder / "results.json")["importance"]
    self.assertCountEqual(
      importance, ("sentence_auc", "labels", "supervised", "rankings", "differences")
    )
    self.assertEqual(importance["labels"], "planted")
    self.assertIs(importance["supervised"], False)
    self.assertBetween(importance["sentence_auc"], 0, 1)

  def test_importance_stands_beside_other_rankings(self):
    importance = read_json(self.folder / "results.json")["importance"]
    self.assertEqual(list(importance["rankings"]), ["htmtl", "position", "lexrank"])
    self.assertEqual(list(importance["differences"]), ["position", "lexrank"])
    self.assertEqual(importance["rankings"]["htmtl"]["auc"]["mean"], importance["sentence_auc"])
    rows = read_lines(self.folder / "rankings.jsonl")
    self.assertEqual(
      [(row["id"], row["ranking"]) for row in rows],
      [(d.id, name) for d in self.documents for name in importance["rankings"]],
    )
    for name, measures in importance["rankings"].items():
      self.assertEqual(tuple(measures), MEASURES)
      own = [row["kendall"] for row in rows if row["ranking"] == name]
      own = [value for value in own if value is not None]  # where there are too few to rank
      self.assertAlmostEqual(np.mean(own), measures["kendall"]["mean"])
    self.assertIn("P@10", self.out)

  def test_predictions(self):
    lines = read_lines(self.folder / "predictions.jsonl")
    self.assertCountEqual(
      [(line["id"], line["level"]) for line in lines],
      [(document.id, level) for document in self.documents for level in LEVELS],
    )
    paragraphs = {line["id"]: line for line in lines if line["level"] == "paragraph"}
    for line in lines:
      self.assertCountEqual(
        line, ("id", "level", "reference", "reference_kind", "systems", "source", "places")
      )
      self.assertCountEqual(line["systems"], SYSTEMS)
      self.assertCountEqual(line["places"], SYSTEMS[1:])  # all that choose
      self.assertTrue(all(isinstance(text, str) for text in line["systems"].values()))
    for document in self.documents:
      line = paragraphs[document.id]
      # The reference is the whole abstract, though training saw 24 tokens of it.
      self.assertEqual(line["reference"], "\n".join(document.abstract_sentences))
      self.assertEqual(line["reference_kind"], "gold")
      body = [s for section in document.sections for p in section.paragraphs for s in p]
      self.assertEqual(line["source"]["title"], document.title)
      self.assertEqual(line["source"]["sentences"], len(body))
      for system in ("htmtl_extractive", "lead", "lexrank", "oracle"):
        chosen = [body[i] for i in line["places"][system]]
        self.assertEqual(line["systems"][system].split("\n"), chosen)

  def test_importance_by_document(self):
    lines = {line["id"]: line for line in read_lines(self.folder / "importance.jsonl")}
    self.assertCountEqual(lines, [document.id for document in self.documents])
    for document in self.documents:
      line = lines[document.id]
      self.assertEqual(line["labels"], "planted")
      self.assertAlmostEqual(sum(line["importance"]), 1, places=2)  # of rounded shares
      body = [place for place in iterate_sentences(document) if not place.is_heading]
      self.assertLessEqual(len(line["importance"]), len(body))
      planted = [
        i
        for i, place in enumerate(body[: len(line["importance"])])
        if (place.section, place.paragraph, place.sentence) in document.planted
      ]
      self.assertEqual(line["matters"], planted)
      self.assertBetween(line["headings"], 0, 1)
      for shares in line["attention"].values():
        self.assertLen(shares, 20)
        self.assertAlmostEqual(sum(shares), 1, places=2)

  def test_scores_by_document_average_to_the_results(self):
    results = read_json(self.folder / "results.json")
    lines = read_lines(self.folder / "scores.jsonl")
    own = [
      line["rouge2"] for line in lines if (line["system"], line["level"]) == ("oracle", "section")
    ]
    self.assertLen(own, len(self.documents))
    self.assertAlmostEqual(
      sum(own) / len(own), results["systems"]["oracle"]["section"]["rouge2"]["f"], places=5
    )

  def test_the_terminal_shows_the_table_and_one_example(self):
    for text in (*SYSTEMS, "rouge2", "ONE SENTENCE", "reference (gold)", f"results: {self.folder}"):
      self.assertIn(text, self.out)

  def test_reports_of_run_evaluation_and_documents_link_to_each_other(self):
    run, evaluation = self.folder.parent.parent / "report.html", self.folder / "report.html"
    for path in (run, evaluation):
      self.assertIn(f"report: {path}\n", self.out)
    href = f"evaluation/{self.folder.name}/report.html"
    self.assertEqual([href], [a.attributes["href"] for a in parse(run).css("#evaluations a")])
    links = [a.attributes["href"] for a in parse(evaluation).css("#documents a")]
    self.assertCountEqual(links, [f"documents/{document.id}.html" for document in self.documents])
    predictions = {
      line["id"]: line["systems"]["htmtl"]
      for line in read_lines(self.folder / "predictions.jsonl")
      if line["level"] == "paragraph"
    }
    for document, link in zip(self.documents, sorted(links), strict=True):
      page = parse(self.folder / link)
      self.assertEqual(page.css_first("h1").text(), document.title)
      shown = " ".join(page.css_first("main").text().split())
      for sentence in predictions[document.id].split("\n"):
        # Hardly trained, the model writes control characters, which a page cannot show.
        self.assertTrue(" ".join(clean_text(sentence).split()) in shown, sentence)


class EvaluateTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

  def test_another_split_and_checkpoint(self):
    workdir = tiny_config.copy_trained(self.folder)
    before = sorted((workdir / "evaluation").iterdir())[0]
    kept = (before / "results.json").read_bytes()
    # The config, with where the arrays are, comes from the workdir.
    for checkpoint, levels in (("4", LEVELS[:2]), (before.name, LEVELS)):
      status, out, err = tiny_config.run_main(
        "--mode=evaluate",
        f"--workdir={workdir}",
        "--split=validation",
        f"--checkpoint={checkpoint}",
        "--config.decode.beam_size=1",
        f"--config.decode.levels={','.join(levels)}",
        "--config.evaluate.length_factors=0.4,",
        "--config.evaluate.examples=0",
      )
      self.assertEqual(status, 0, err)
      self.assertNotIn("reference (gold)", out)
      results = read_json(workdir / "evaluation" / checkpoint / "results.json")
      self.assertEqual((results["split"], results["step"]), ("validation", int(checkpoint)))
      self.assertEqual(results["documents"], 3)
      # Levels that are not written are not compared either.
      for system in SYSTEMS:
        self.assertEqual({*results["systems"][system]} & {*LEVELS}, {*levels})
      self.assertCountEqual(results["by_target_length"][0]["levels"], levels)
    # The results on the test split are still there.
    self.assertEqual((before / "test" / "results.json").read_bytes(), kept)
    self.assertTrue((before / "test" / "predictions.jsonl").is_file())
    # The report of it went along, with the pages that it links to.
    self.assertIn("the test split", (before / "test" / "report.html").read_text())
    self.assertLen(list((before / "test" / "documents").glob("*.html")), 4)
    self.assertIn("the validation split", (before / "report.html").read_text())
    self.assertLen(list((before / "documents").glob("*.html")), 3)
    # A second evaluation of the same split replaces the first.
    publish.keep_other_split(str(before), "validation")
    self.assertEqual(
      sorted(p.name for p in before.iterdir()),
      [
        "documents",
        "importance.jsonl",
        "predictions.jsonl",
        "rankings.jsonl",
        "report.html",
        "results.json",
        "scores.jsonl",
        "test",
      ],
    )

  def test_a_corpus_with_another_vocabulary_is_refused(self):
    workdir = tiny_config.copy_trained(self.folder)
    status, _, err = tiny_config.run_main(
      "--mode=evaluate",
      f"--workdir={workdir}",
      "--config.data.synthetic_seed=99",
      f"--config.data.prepared={self.folder / 'other'}",
    )
    self.assertEqual(status, 2)
    self.assertIn("has another vocabulary than the run in", err.splitlines()[-1])

  def test_a_paper_without_text_has_empty_summaries(self):
    workdir, _, _ = tiny_config.trained()
    run = open_run(str(workdir))
    none = np.zeros(0, np.int32)
    empty = TokenizedDocument(
      "e", none, none, none, none, none.astype(bool), (none,) * 3, (none,) * 3, 0
    )
    full = load_prepared(str(tiny_config.prepared())).split("test")[0]
    first, second = readings.read_documents(run, [empty, full])
    self.assertEqual([len(ids) for ids in first.written.ids], [0, 0, 0])
    self.assertFalse(any(first.written.pieces.values()))
    self.assertEmpty(first.importances.sentences)
    self.assertTrue(all(len(ids) for ids in second.written.ids))

  def test_which_checkpoint_is_the_best(self):
    workdir, _, _ = tiny_config.trained()
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["eval/ce/paragraph"] for line in lines if line["kind"] == "eval"}
    evaluated = next((workdir / "evaluation").iterdir()).name
    self.assertEqual(int(evaluated), min(losses, key=losses.__getitem__))

  @parameterized.parameters("5", "newest", "99")
  def test_unknown_checkpoint(self, name):
    workdir, _, _ = tiny_config.trained()
    status, out, err = tiny_config.run_main(
      "--mode=evaluate", f"--workdir={workdir}", f"--checkpoint={name}"
    )
    self.assertEqual((status, out), (2, ""))
    self.assertRegex(
      err, f"^htmtl_jax: error: no checkpoint .*{name}.* there are steps 2, 4, 6, 8, 10, 12; .*\n$"
    )


if __name__ == "__main__":
  absltest.main()
