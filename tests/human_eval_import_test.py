"""Answers that come back: what is refused, and what is made of the rest."""

import collections
import csv
import json
import pathlib
import shutil
import tempfile
import warnings

from absl.testing import absltest, parameterized
import numpy as np

from htmtl_jax.human_eval import answers as answers_lib
from htmtl_jax.human_eval import folder as folder_lib
from htmtl_jax.human_eval import judgments as judgments_lib
from htmtl_jax.human_eval import quality
from tests import human_study

TASKS = "--study.design.tasks=pairwise,best_worst,likert"
QUICK = human_study.QUICK


class ImportTestCase(parameterized.TestCase):
  """A study of one level, and simulated answers to it."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.root = pathlib.Path(tempfile.mkdtemp())
    cls.addClassCleanup(shutil.rmtree, cls.root, ignore_errors=True)
    cls.study = human_study.export(
      cls.root, "--study.design.levels=paragraph", TASKS, "--study.design.documents=12"
    )
    cls.key = human_study.read_key(cls.study)
    cls.simulated = human_study.simulate(cls.study, cls.root / "answers")

  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    self.answers = self.folder / "answers"
    shutil.copytree(self.simulated, self.answers)
    self.output = self.folder / "report"

  def path(self, rater):
    return self.answers / f"{rater}.simulated.json"

  def change(self, rater, change):
    """Changes what a file holds."""
    record = json.loads(self.path(rater).read_text("utf-8"))
    change(record)
    self.path(rater).write_text(json.dumps(record))

  def run_import(self, *argv):
    return human_study.run_main(
      "--action=import",
      f"--study={self.study}",
      f"--input={self.answers}",
      f"--output={self.output}",
      *QUICK,
      *argv,
    )

  def report(self, *argv):
    status, out, err = self.run_import(*argv)
    self.assertEqual((status, err), (0, ""))
    return json.loads((self.output / "report.json").read_text("utf-8")), out

  def assert_refused(self, pattern, *argv):
    status, out, err = self.run_import(*argv)
    self.assertEqual((status, out), (2, ""), err)
    self.assertRegex(err, f"^htmtl_jax: error: .*{pattern}.*\n$")
    self.assertEqual(err.count("\n"), 1)
    self.assertFalse(self.output.exists())  # nothing is half imported


class RefusalTest(ImportTestCase):
  def test_damaged_files(self):
    path = self.path("rater-02")
    whole = path.read_bytes()
    for damage in (whole[: len(whole) // 2], b"", b"\xff\xfe\x00", b"[" * 100_000, b'{"a": NaN}'):
      path.write_bytes(damage)
      self.assert_refused(r"rater-02\.simulated\.json is damaged: not JSON; ask the rater")

  def test_foreign_files(self):
    self.path("rater-02").write_text('{"name": "holiday"}')
    self.assert_refused(r"rater-02\.simulated\.json holds no answers of a rater")
    self.path("rater-02").write_text("[1, 2]")
    self.assert_refused("holds no answers of a rater")

  @parameterized.parameters(
    (lambda r: r.update(study="0123"), "answers study '0123', not "),
    (
      lambda r: r.update(rater="rater-07"),
      "is of 'rater-07', and the study has no such rater, only",
    ),
    (lambda r: r.update(rater=["rater-02"]), "the study has no such rater"),
    (lambda r: r.update(packet="0123"), "answers another packet than the one of rater-02"),
    (lambda r: r.update(version=99), "has version 99, this program reads 1"),
    (lambda r: r.update(simulated="no"), "does not say whether a person answered"),
    (lambda r: r.pop("simulated"), "does not say whether a person answered"),
    (lambda r: r.update(answers=[]), "has no 'answers'"),
    (lambda r: r["answers"].update(q9999={}), "rater-02 has no question 'q9999'"),
    (lambda r: r["answers"].pop("q0003"), r"left 1 of \d+ questions open \(q0003 first\)"),
    (lambda r: r["answers"]["q0003"].pop("answer"), r"left 1 of \d+ questions open"),
    (lambda r: r["answers"].update(q0003="A"), "q0003: it is not an answer"),
    (lambda r: r["answers"]["q0003"].update(seconds=-1), "q0003: 'seconds' is -1"),
    (lambda r: r["answers"]["q0003"].update(comment=3), "q0003: 'comment' is no text"),
    (lambda r: r["answers"]["q0003"].update(skipped=1), "q0003: 'skipped' is 1"),
    (lambda r: r["answers"]["q0003"].update(answer=[1]), "q0003: 'answer' is not an object"),
  )
  def test_files_that_do_not_fit(self, change, pattern):
    self.change("rater-02", change)
    self.assert_refused(rf"rater-02\.simulated\.json.*{pattern}")

  @parameterized.parameters(
    ("pairwise", {"overall": "C"}, "overall is 'C', not A, B or tie"),
    ("pairwise", {"overall": ["A"]}, "overall is .* not A, B or tie"),
    ("pairwise", {"fluency": "A"}, "'fluency' was not asked, overall were"),
    ("best_worst", {"overall": {"best": "A", "worst": "A"}}, "overall has A as best and as worst"),
    (
      "best_worst",
      {"overall": {"best": "Z", "worst": "A"}},
      "overall best is 'Z', not one of A, B, C",
    ),
    ("best_worst", {"overall": "A"}, "overall is 'A', not a best and a worst"),
    ("likert", {"A": {"fluency": 6}}, "A fluency is 6, not a number from 1 to 5"),
    ("likert", {"A": {"fluency": 3.5}}, "A fluency is 3.5"),
    ("likert", {"A": {"fluency": True}}, "A fluency is True"),
    ("likert", {"A": {"beauty": 3}}, "'beauty' was not asked"),
    ("likert", {"E": {"fluency": 3}}, "'E' was not asked"),
    ("likert", {"A": 3}, "A is 3, not ratings"),
  )
  def test_values_out_of_range(self, task, value, pattern):
    questions = self.key["raters"]["rater-02"]["questions"]
    name = next(q for q, own in questions.items() if own["task"] == task)
    self.change("rater-02", lambda r: r["answers"][name].update(answer=value))
    self.assert_refused(rf"rater-02\.simulated\.json: {name}: {pattern}")

  def test_the_same_rater_twice(self):
    shutil.copy(self.path("rater-01"), self.answers / "again.json")
    self.assert_refused("again.json are both of rater-01; keep the one that counts")

  def test_people_and_programs_are_not_mixed(self):
    self.change("rater-02", lambda r: r.update(simulated=False))
    self.assert_refused("was answered by a program and .* by a person; the two are never mixed")

  def test_nothing_there(self):
    for path in self.answers.iterdir():
      path.unlink()
    self.assert_refused("answers holds no .*json; put the files")
    self.answers.rmdir()
    self.assert_refused("answers not found")

  @parameterized.parameters(
    (["--study.design.documents=3"], "study.design.documents cannot be changed here"),
    (["--study.analysis.exclude=rater-9"], "study.analysis.exclude names 'rater-9'; the study has"),
    (["--study.analysis.exclude=rater-01,rater-02,rater-03"], "leaves no rater"),
    (["--study.analysis.samples=3"], "samples is 3; it must be between 100"),
    (["--runs=x"], "--runs has no meaning with --mode=human_eval --action=import"),
    (["--config=configs/base.py"], "--config has no meaning"),
  )
  def test_flags(self, argv, pattern):
    self.assert_refused(pattern, *argv)

  def test_actions(self):
    for argv, pattern in (
      ([], "--action is missing; --mode=human_eval needs one of export, import, simulate"),
      (["--action=exprot"], "--action=exprot is unknown; --mode=human_eval has export, import"),
      (["--action=import", "--study=x"], "--input is missing; --mode=human_eval --action=import"),
      (
        ["--action=import", f"--study={self.folder / 'x'}", "--input=y"],
        "x not found; name the folder",
      ),
      (["--action=import", f"--study={self.folder}", "--input=y"], "key.json cannot be read"),
    ):
      status, out, err = human_study.run_main(*argv)
      self.assertEqual((status, out), (2, ""))
      self.assertRegex(err, f"^htmtl_jax: error: .*{pattern}.*\n$")
    status, _, err = human_study.run_main(
      "--mode=compare", "--runs=x", "--study.design.documents=3"
    )
    self.assertEqual(status, 2)
    self.assertIn("--study.design.documents has no meaning with --mode=compare", err)

  def test_a_key_that_was_changed(self):
    study = self.folder / "study"
    shutil.copytree(self.study, study)
    key = json.loads((study / "key.json").read_text("utf-8"))
    key["raters"]["rater-01"]["questions"]["q0001"]["candidates"]["A"] = ["zebra"]
    key["raters"]["rater-01"]["questions"]["q0001"]["candidates"]["B"] = ["zebra"]
    (study / "key.json").write_text(json.dumps(key))
    with self.assertRaisesRegex(Exception, "was changed after the export"):
      folder_lib.read_key(str(study))
    for text, pattern in (("{", "is not JSON"), ("{}", "is not the key of a study")):
      (study / "key.json").write_text(text)
      with self.assertRaisesRegex(Exception, pattern):
        folder_lib.read_key(str(study))

  def test_simulated_answers_replace_nobody(self):
    self.change("rater-01", lambda r: r.update(simulated=False))
    before = self.path("rater-01").read_bytes()
    status, _, err = human_study.run_main(
      "--action=simulate", f"--study={self.study}", f"--output={self.answers}"
    )
    self.assertEqual(status, 2)
    self.assertIn("is there and not simulated", err)
    self.assertEqual(self.path("rater-01").read_bytes(), before)
    status, _, err = human_study.run_main(
      "--action=simulate",
      f"--study={self.study}",
      f"--output={self.folder / 'x'}",
      "--study.simulation.qualities=1,2",
    )
    self.assertIn("has 2 numbers for 3 systems (zebra, quokka, walrus)", err)


class ReportTest(ImportTestCase):
  def test_what_the_report_holds(self):
    report, out = self.report()
    self.assertEqual(
      sorted(p.name for p in self.output.iterdir()),
      ["judgments.csv", "report.html", "report.json", "report.md"],
    )
    self.assertEqual(report["study"], self.key["study"])
    self.assertEqual(
      [(t["level"], t["task"]) for t in report["tables"]],
      [("paragraph", task) for task in ("pairwise", "best_worst", "likert")],
    )
    likert = report["tables"][2]
    self.assertEqual([c["criterion"] for c in likert["criteria"]], ["informativeness", "fluency"])
    for table in report["tables"]:
      for own in table["criteria"]:
        self.assertEqual(set(own["scores"]), set(human_study.SYSTEMS))
        for row in own["comparisons"]:
          self.assertEqual(row["documents"], 12)
          self.assertCountEqual(row["leave_one_out"]["without"], self.key["raters"])
        self.assertIsNotNone(own["agreement"]["alpha"])
      self.assertTrue(table["power"]["rows"])
    counts = [sum(s["counts"]) for s in likert["criteria"][0]["scores"].values()]
    self.assertEqual(counts, [36, 36, 36])  # repeated questions count once
    # Every judgment is a row of the table for other programs.
    with open(self.output / "judgments.csv", encoding="utf-8", newline="") as file:
      rows = list(csv.DictReader(file))
    self.assertLen(rows, 12 * 3 * 3 * (1 + 1 + 2))
    self.assertEqual({row["simulated"] for row in rows}, {"1"})
    own = [
      int(row["value"])
      for row in rows
      if (row["task"], row["criterion"], row["system"]) == ("likert", "fluency", "walrus")
    ]
    self.assertAlmostEqual(np.mean(own), likert["criteria"][1]["scores"]["walrus"]["mean"])
    # Stamped wherever a number stands.
    self.assertTrue(report["simulated"])
    for text in (
      out,
      (self.output / "report.md").read_text("utf-8"),
      (self.output / "report.html").read_text("utf-8"),
    ):
      self.assertIn("SIMULATED", text.split("\n", 60)[0] if text is out else text)
      self.assertGreater(text.lower().count("(simulated)"), 5)
    html = (self.output / "report.html").read_text("utf-8")
    self.assertIn("<title>SIMULATED: ", html)
    self.assertTrue(out.startswith("SIMULATED: "))

  def test_the_same_answers_give_the_same_report(self):
    first, _ = self.report()
    for k, path in enumerate(sorted(self.answers.iterdir(), reverse=True)):
      path.rename(self.answers / f"renamed-{k}.json")
    self.assertEqual(self.report()[0], first)

  def test_a_rater_who_is_late_or_left_out(self):
    everybody, _ = self.report()
    report, out = self.report("--study.analysis.exclude=rater-03")
    self.assertIn("Left out of everything below: rater-03.", out)
    self.assertIn("Changed after the export, against the protocol: analysis.samples=200,", out)
    self.assertTrue(report["raters"]["rater-03"]["excluded"])
    self.path("rater-03").unlink()
    late, out = self.report()
    self.assertIn("2 of 3 raters returned their answers", " ".join(out.split()))
    self.assertEqual(late["tables"], report["tables"])
    self.assertNotEqual(late["tables"], everybody["tables"])
    self.path("rater-02").unlink()
    alone, _ = self.report()
    table = alone["tables"][0]
    self.assertIsNone(table["conclusions"]["hold"])
    self.assertIsNone(table["criteria"][0]["agreement"]["alpha"])
    self.assertNotIn("leave_one_out", table["criteria"][0]["comparisons"][0])

  def test_questions_left_open_and_skipped(self):
    questions = self.key["raters"]["rater-02"]["questions"]
    likert = [q for q, own in questions.items() if own["task"] == "likert" and not own["repeat_of"]]

    def change(record):
      record["answers"][likert[0]] = {"skipped": True, "seconds": 3.0, "comment": "<i>odd</i>"}
      del record["answers"][likert[1]]
      del record["answers"][likert[2]]["answer"]["A"]["fluency"]

    self.change("rater-02", change)
    self.assert_refused("left 2 of")
    report, out = self.report("--study.analysis.incomplete=use")
    self.assertEqual(report["raters"]["rater-02"]["skipped"], 1)
    self.assertEqual(report["raters"]["rater-02"]["comments"], 1)
    self.assertEqual([own["comment"] for own in report["comments"]], ["<i>odd</i>"])
    self.assertIn("&lt;i&gt;odd&lt;/i&gt;", (self.output / "report.html").read_text("utf-8"))
    scores = report["tables"][2]["criteria"][0]["scores"]
    self.assertEqual([sum(s["counts"]) for s in scores.values()], [33, 33, 33])


class DesignsTest(parameterized.TestCase):
  """Designs that leave holes: every one of them gives a report without a warning."""

  @parameterized.parameters(
    (["raters_per_document=1", "tasks=pairwise,best_worst,likert"], ["rater-02"]),
    (["raters_per_document=2", "tasks=likert", "likert_together=false"], []),
    (["pairs=first", "tasks=pairwise", "compare_by=overall,conciseness,fluency"], []),
    (["tasks=best_worst", "compare_by=informativeness", "repeats=0"], ["rater-01", "rater-03"]),
    (["documents=1", "tasks=pairwise,likert", "levels=section,sentence"], ["rater-01"]),
    (["documents=2", "raters=1", "tasks=pairwise"], []),
  )
  def test_it_reports(self, design, missing):
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    design = ["levels=paragraph", "documents=6", *design]
    study = human_study.export(folder, *(f"--study.design.{key}" for key in design))
    answers = human_study.simulate(study, folder / "answers")
    for rater in missing:
      (answers / f"{rater}.simulated.json").unlink()
    with warnings.catch_warnings():
      warnings.simplefilter("error", RuntimeWarning)
      status, out, err = human_study.run_main(
        "--action=import",
        f"--study={study}",
        f"--input={answers}",
        f"--output={folder / 'report'}",
        *QUICK,
      )
    self.assertEqual((status, err), (0, ""))
    self.assertNotIn("nan", out.lower())
    report = json.loads((folder / "report" / "report.json").read_text("utf-8"))
    for table in report["tables"]:
      for own in table["criteria"]:
        for row in own["comparisons"]:
          self.assertBetween(row["p"], 0.0, row["p_holm"])


class UnblindingTest(ImportTestCase):
  def test_every_answer_reaches_the_system_that_wrote_the_text(self):
    """Raters who only know texts: each system's ratings are what its own texts were given."""
    value_of = {"zebra": 5, "quokka": 3, "walrus": 1}
    text_of = {}
    for rater in self.key["raters"]:
      html = (self.study / "packets" / f"{rater}.html").read_text("utf-8")
      packet = json.loads(html.split('id="data">')[1].split("</script>")[0])
      text_of[rater] = {
        q["id"]: ["\n".join(lines) for lines in q["texts"]] for q in packet["questions"]
      }
    author = {
      human_study.text_of(s, "paragraph", d): s
      for s in human_study.SYSTEMS
      for d in human_study.document_ids()
    }
    for rater, own in self.key["raters"].items():

      def fill(record, rater=rater, own=own):
        for name, question in own["questions"].items():
          values = [value_of[author[text]] for text in text_of[rater][name]]
          labels = "ABC"[: len(values)]
          best, worst = labels[int(np.argmax(values))], labels[int(np.argmin(values))]
          record["answers"][name]["answer"] = {
            "pairwise": {"overall": best},
            "best_worst": {"overall": {"best": best, "worst": worst}},
            "likert": {x: {"informativeness": v, "fluency": v} for x, v in zip(labels, values)},
          }[question["task"]]

      self.change(rater, fill)
    report, _ = self.report()
    pairwise, best_worst, likert = (t["criteria"][0] for t in report["tables"])
    means = lambda own: [own["scores"][s]["mean"] for s in human_study.SYSTEMS]
    self.assertEqual(means(pairwise), [1.0, 0.5, 0.0])
    self.assertEqual(means(best_worst), [1.0, 0.0, -1.0])
    self.assertEqual(means(likert), [5.0, 3.0, 1.0])
    for own in (pairwise, best_worst, likert):
      self.assertEqual(own["agreement"]["alpha"], 1.0)
      # walrus has the best scores of the evaluation, zebra the worst, on every document.
      accuracy = own["metrics"]["rouge2"]
      self.assertEqual((accuracy["mean"], accuracy["low"], accuracy["high"]), (0.0, 0.0, 0.0))
      self.assertEqual(accuracy["choices"], 36)
    for own in report["raters"].values():
      self.assertEqual(own["attention"], 1.0)
      self.assertEqual(own["flags"], [])
    strengths = pairwise["strengths"]["systems"]
    self.assertGreater(strengths["zebra"]["mean"], strengths["quokka"]["mean"] + 2.0)

  def test_equal_texts_are_ties_and_no_agreement(self):
    same = lambda s, level, d: human_study.text_of(
      "zebra" if s == "quokka" and d.endswith(("1", "2")) else s, level, d
    )
    human_study.write_evaluation(self.folder / "run", make_text=same)
    study = human_study.export(
      self.folder, "--study.design.levels=paragraph", TASKS, "--study.design.documents=12"
    )
    key = human_study.read_key(study)
    files = human_study.simulate(study, self.folder / "sim")
    returned = answers_lib.read_answers(answers_lib.list_files(str(files)), key)
    found = judgments_lib.collect(key, returned)
    pairwise, best_worst, likert = (found.tables[k] for k in (0, 1, 2))
    equal = [k for k, d in enumerate(found.documents) if d.endswith(("1", "2"))]
    self.assertLen(equal, 3)
    place = pairwise.columns.index(("zebra", "quokka"))
    np.testing.assert_array_equal(pairwise.values[equal, place], 0.0)
    np.testing.assert_array_equal(np.nonzero(pairwise.automatic[:, place])[0], equal)
    for table in (best_worst, likert):
      np.testing.assert_array_equal(table.values[equal, 0], table.values[equal, 1])
      np.testing.assert_array_equal(np.nonzero(table.automatic[:, 1])[0], equal)
    for table in found.tables:
      self.assertFalse(np.isnan(table.values).any())


class QualityTest(ImportTestCase):
  def test_careless_raters_are_flagged_and_careful_ones_are_not(self):
    study = human_study.export(
      self.folder,
      "--study.design.levels=paragraph",
      TASKS,
      "--study.design.repeats=0.5",
      "--study.design.documents=12",
    )
    files = human_study.simulate(
      study,
      self.folder / "more",
      "--study.simulation.careless=1",
      "--study.simulation.noise=0.1",
      "--study.simulation.qualities=1.5,0,-1.5",
    )
    status, out, err = human_study.run_main(
      "--action=import", f"--study={study}", f"--input={files}", f"--output={self.output}", *QUICK
    )
    self.assertEqual((status, err), (0, ""))
    self.assertIn("Flagged, and not left out: rater-03.", out)
    found = json.loads((self.output / "report.json").read_text("utf-8"))["raters"]
    self.assertEqual([bool(own["flags"]) for own in found.values()], [False, False, True])
    self.assertGreater(found["rater-01"]["attention"], found["rater-01"]["chance"] + 0.2)
    self.assertIn("answered repeated questions alike", found["rater-03"]["flags"][0])
    self.assertEqual(found["rater-01"]["checks"], 30)

  def test_who_always_says_the_same(self):
    def always(record):
      for name, question in self.key["raters"]["rater-01"]["questions"].items():
        labels = list(question["candidates"])
        record["answers"][name]["answer"] = {
          "pairwise": {"overall": "A"},
          "best_worst": {"overall": {"best": "A", "worst": "B"}},
          "likert": {x: {"informativeness": 3, "fluency": 3} for x in labels},
        }[question["task"]]
        record["answers"][name]["seconds"] = 1.0

    self.change("rater-01", always)
    own = self.report()[0]["raters"]["rater-01"]
    self.assertEqual((own["first"], own["same"], own["seconds"]), (1.0, 1.0, 1.0))
    flags = " / ".join(own["flags"])
    self.assertIn("gave the same answer in 100% of a task", flags)
    self.assertIn("took 1.0 seconds", flags)

  def test_chance_by_hand(self):
    repeat = judgments_lib.Repeat(
      "r",
      "pairwise",
      {"overall": "A"},
      {"overall": "B"},
      {"A": ["p"], "B": ["q"]},
      {"A": ["q"], "B": ["p"]},
    )
    self.assertEqual(quality._likeness(repeat), 1.0)  # p both times
    letters = {("pairwise", "overall"): collections.Counter({"A": 2, "B": 1, "tie": 1})}
    # Alike are A then B, B then A (2/16 each), tie and tie (1/16); half, one tie (6/16).
    self.assertAlmostEqual(quality._chance(repeat, letters), (2 + 2 + 1 + 0.5 * 6) / 16)


class RecoveryTest(ImportTestCase):
  def test_the_right_ranking(self):
    shutil.rmtree(self.answers)
    human_study.simulate(self.study, self.answers, "--study.simulation.qualities=-0.8,0.8,0")
    report, _ = self.report()
    for table in report["tables"]:
      for own in table["criteria"]:
        order = sorted(human_study.SYSTEMS, key=lambda s: -own["scores"][s]["mean"])
        self.assertEqual(order, ["quokka", "walrus", "zebra"], (table["task"], own["criterion"]))
    strengths = report["tables"][0]["criteria"][0]["strengths"]["systems"]
    self.assertEqual(max(strengths, key=lambda s: strengths[s]["mean"]), "quokka")
    self.assertGreater(strengths["quokka"]["first"], 0.95)


if __name__ == "__main__":
  absltest.main()
