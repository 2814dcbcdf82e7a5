"""`--mode=evaluate --systems=...` without a trained run, end to end."""

import json
import pathlib
import tempfile

from absl.testing import absltest, parameterized
import numpy as np

from htmtl_jax import evaluate_untrained
from htmtl_jax.data.prepared import load_prepared
from htmtl_jax.documents import sources
from htmtl_jax.documents.references import make_references
from htmtl_jax.evaluation import boosted_trees, parallel
from htmtl_jax.evaluation.results import SummaryPair
from htmtl_jax.evaluation.text_measures import MEASURES
from htmtl_jax.levels import LEVELS
from tests import pages, tiny_config

SYSTEMS = ("lead", "random", "textrank", "lexrank", "lsa", "sumbasic", "learned", "oracle")


def read_json(path):
  return json.loads(path.read_text(encoding="utf-8"))


def read_lines(path):
  return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class UntrainedTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.workdir = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory())) / "run"
    self.folder = self.workdir / "evaluation" / "untrained"

  def run_main(self, *argv):
    return tiny_config.run_main(
      "--mode=evaluate", f"--config={tiny_config.PATH}", f"--workdir={self.workdir}", *argv
    )

  def test_all_systems_on_all_splits(self):
    status, out, err = self.run_main(f"--systems={','.join(SYSTEMS)}", "--split=all")
    self.assertEqual(status, 0, err)
    self.assertIn("ROUGE F on all splits, 31 documents;", out)
    self.assertIn(f"results: {self.folder}", out)
    self.assertRegex(err, r"score (\d+)/\1 \(100%\)")  # equal summaries count once
    results = read_json(self.folder / "results.json")
    self.assertEqual((results["split"], results["step"]), ("all", None))
    self.assertEqual(results["documents"], 24 + 3 + 4)
    self.assertIsNone(results["importance"])
    self.assertEqual(tuple(results["systems"]), SYSTEMS)
    f = {name: results["systems"][name]["paragraph"]["rouge1"]["f"] for name in SYSTEMS}
    self.assertEqual(sorted(f, key=f.__getitem__)[:-3:-1], ["oracle", "learned"])
    facts = results["learned"]
    self.assertEqual((facts["documents"], facts["seed"]), (24, 0))
    self.assertGreater(facts["sentences"], facts["taken"])
    for name in SYSTEMS:
      self.assertEqual(tuple(results["measures"][name]), LEVELS)
      for level in LEVELS:
        measures = results["measures"][name][level]
        self.assertEqual(tuple(measures), MEASURES)
        self.assertEqual(measures["coverage"], 1.0)  # all of them extract
        self.assertEqual(measures["novelty_4"], 0.0)
    # Nothing was prepared or trained.
    self.assertEqual([path.name for path in self.workdir.iterdir()], ["evaluation"])

    scores = read_lines(self.folder / "scores.jsonl")
    self.assertLen(scores, 31 * len(LEVELS) * len(SYSTEMS))
    own = [
      row["length_error"]
      for row in scores
      if (row["system"], row["level"]) == ("textrank", "paragraph")
    ]
    self.assertAlmostEqual(
      np.mean(own), results["measures"]["textrank"]["paragraph"]["length_error"]
    )
    # The best and the worst five documents by the first system, and the example.
    tree = pages.parse((self.folder / "report.html").read_text())
    self.assertIn("report: ", out)
    links = [a.attributes["href"] for a in tree.css("#documents ol a")]
    own = {
      row["id"]: row["rouge2"]
      for row in scores
      if (row["system"], row["level"]) == ("lead", "paragraph")
    }
    ranked = sorted(own, key=lambda i: (-own[i], i))
    self.assertEqual(
      [link.removesuffix(".html").removeprefix("documents/") for link in links],
      [*ranked[:5], *ranked[:-6:-1]],
    )
    for link in links:
      self.assertIn("lead", (self.folder / link).read_text())
    identifiers = list(dict.fromkeys(row["id"] for row in scores))
    corpus = sources.open_corpus(tiny_config.get_config().data)
    expected = [d.id for split in sources.SPLITS for d in corpus.iterate(split)]
    self.assertEqual(identifiers, expected)

  def test_word_budgets_with_and_without_a_prepared_corpus(self):
    corpus = sources.open_corpus(tiny_config.get_config().data)
    words = [len(make_references(d)["paragraph"].text.split()) for d in corpus.iterate("train")]
    found = []
    prepared = f"--config.data.prepared={tiny_config.prepared()}"
    for flags in ((), (prepared,), (prepared, "--config.data.num_train=9")):
      status, _, err = self.run_main("--systems=lead", "--split=test", *flags)
      self.assertEqual(status, 0, err)
      # A prepared corpus of other documents is left alone, like one that is not there.
      self.assertEqual("measure " in err, flags != (prepared,), err)
      found.append(read_json(self.folder / "results.json")["word_budgets"])
    self.assertEqual(found[0], load_prepared(str(tiny_config.prepared())).word_budgets)
    self.assertEqual(found[0], found[1])
    self.assertEqual(found[0]["paragraph"], round(np.mean(words)))
    self.assertEqual(found[2]["paragraph"], round(np.mean(words[:9])))

  def test_the_same_numbers_as_beside_a_trained_run(self):
    trained, _, _ = tiny_config.trained()
    path = next((trained / "evaluation").iterdir()) / "results.json"
    status, _, err = self.run_main("--systems=lexrank,oracle,lead", "--split=test")
    self.assertEqual(status, 0, err)
    beside, alone = read_json(path), read_json(self.folder / "results.json")
    for name in ("lexrank", "oracle", "lead"):
      self.assertEqual(alone["systems"][name], beside["systems"][name])
      self.assertEqual(alone["measures"][name], beside["measures"][name])
    self.assertEqual(alone["word_budgets"], beside["word_budgets"])

  def test_the_first_documents_of_a_split_and_results_of_another(self):
    for split in ("train", "validation"):
      status, _, err = self.run_main(
        "--systems=lead,sumbasic", f"--split={split}", "--config.evaluate.max_documents=2"
      )
      self.assertEqual(status, 0, err)
    results = read_json(self.folder / "results.json")
    self.assertEqual((results["split"], results["documents"]), ("validation", 2))
    results = read_json(self.folder / "train" / "results.json")
    self.assertEqual((results["split"], results["documents"]), ("train", 2))

  def test_worker_processes_change_nothing(self):
    numbers = []
    for processes in (1, 2):
      with absltest.mock.patch.object(parallel, "MIN_DOCUMENTS_FOR_WORKERS", 1):
        status, _, err = self.run_main(
          "--systems=random,lsa,learned", "--split=train", f"--config.data.processes={processes}"
        )
      self.assertEqual(status, 0, err)
      numbers.append((self.folder / "predictions.jsonl").read_bytes())
    self.assertEqual(*numbers)

  def test_a_corpus_of_ones_own(self):
    path = self.workdir.parent / "papers.jsonl"
    paper = lambda i: {
      "id": f"p{i}",
      "sections": [
        {
          "heading": "Results",
          "paragraphs": [f"Yield fell by {i} percent. Costs rose in plot {i}."],
        }
      ],
    }
    lines = [paper(i) | {"abstract": [f"The yield fell by {i} percent."]} for i in range(12)]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    corpus = ("--config.data.source=jsonl", f"--config.data.path={path}")
    status, _, err = self.run_main("--systems=lead,textrank", "--split=all", *corpus)
    self.assertEqual(status, 0, err)
    results = read_json(self.folder / "results.json")
    self.assertEqual(results["documents"], 12)
    self.assertEqual(results["measures"]["lead"]["sentence"]["words"], 5.0)
    places = [line["places"] for line in read_lines(self.folder / "predictions.jsonl")]
    self.assertIn({"lead": [0], "textrank": [0]}, places)
    self.assertLen(list((self.folder / "documents").glob("p*.html")), 10)

    path.write_text("\n".join(json.dumps(paper(i)) for i in range(12)) + "\n", encoding="utf-8")
    status, out, err = self.run_main("--systems=lead", "--split=all", *corpus)
    self.assertEqual((status, out), (2, ""))
    self.assertIn("none of the 12 documents read has an abstract", err.splitlines()[-1])

  @parameterized.parameters(
    (("--systems=lead,lexrnk",), "did you mean lexrank"),
    (("--systems=lead", "--checkpoint=4"), "--checkpoint has no meaning with --systems=lead"),
    (("--systems=lead,htmtl", "--split=all"), "--split=all is for systems that need no training"),
    (("--systems=lead,htmtl",), "not found; train first"),
    (("--systems=lead", "--config.evaluate.bootstrap_samples=0"), "must be at least 1"),
    (("--systems=lead", "--config.evaluate.reports=-2"), "must be at least -1"),
    (("--systems=lead", "--split=test", "--config.data.num_test=0"), "num_test above 0"),
  )
  def test_wrong_flags(self, flags, pattern):
    status, out, err = self.run_main(*flags)
    self.assertEqual((status, out), (2, ""))
    self.assertRegex(err.splitlines()[-1], f"^htmtl_jax: error: .*{pattern}")

  def test_the_learned_extractor_needs_its_library(self):
    with absltest.mock.patch.object(boosted_trees, "is_available", return_value=False):
      status, out, err = self.run_main("--systems=lead,learned", "--split=test")
    self.assertEqual((status, out), (2, ""))
    self.assertRegex(
      err.splitlines()[-1],
      "^htmtl_jax: error: the system learned needs scikit-learn.* HTMTL_EXTRAS=sklearn launch/env.sh",
    )

  def test_no_config_and_no_place(self):
    status, _, err = tiny_config.run_main(
      "--mode=evaluate", f"--workdir={self.workdir}", "--systems=lead"
    )
    self.assertEqual(status, 2)
    self.assertIn("--config is missing", err)
    self.workdir.mkdir()
    (self.workdir / "evaluation").write_text("a file")
    status, _, err = self.run_main("--systems=lead")
    self.assertEqual(status, 2)
    self.assertIn("the results cannot be written to", err)

  def test_a_paper_that_two_splits_share_is_there_twice(self):
    pair = lambda identifier, level: SummaryPair(identifier, level, "r", "gold", {"lead": "s"})
    compared = [[pair("a", "sentence"), pair("a", "paragraph")], [], [pair("b", "sentence")]]
    compared.append(compared[0])
    found = list(evaluate_untrained._distinguish(compared))
    self.assertEqual([[p.id for p in own] for own in found], [["a"] * 2, [], ["b"], ["a (2)"] * 2])


class ChosenSystemsTest(absltest.TestCase):
  def test_a_trained_run_beside_systems_of_choice(self):
    folder = self.enter_context(tempfile.TemporaryDirectory())
    workdir = tiny_config.copy_trained(folder)
    status, out, err = tiny_config.run_main(
      "--mode=evaluate", f"--workdir={workdir}", "--systems=sumbasic,learned,htmtl_extractive"
    )
    self.assertEqual(status, 0, err)
    self.assertNotIn("untrained", [path.name for path in (workdir / "evaluation").iterdir()])
    path = next((workdir / "evaluation").glob("*/results.json"))
    results = read_json(path)
    self.assertEqual(tuple(results["systems"]), ("sumbasic", "learned", "htmtl_extractive"))
    # Its ranking stands beside importance, as position's and LexRank's do.
    self.assertEqual(
      tuple(results["importance"]["rankings"]), ("htmtl", "position", "lexrank", "learned")
    )
    self.assertEqual(results["learned"]["documents"], 24)
    self.assertIn("sumbasic:", out)  # the example


if __name__ == "__main__":
  absltest.main()
