"""The report of a run: what is on the page against metrics.jsonl, at any length of run."""

import json
import pathlib
import re
import tempfile

from absl.testing import absltest, parameterized
import numpy as np

from configs import base
from htmtl_jax.config import save_config
from htmtl_jax.errors import UserError
from htmtl_jax.reports import curves, run_report
from tests import hostile
from tests.pages import PageTestCase, parse
from tests.tiny_config import run_main


def make_lines(steps=40, evaluate_every=10):
  """The lines of a run whose losses are known functions of the step."""
  lines = []
  for step in range(1, steps + 1):
    values = {"train/loss": 10 / step, "train/learning_rate": 1e-3, "train/gradient_norm": 2.0}
    for k, level in enumerate(("sentence", "paragraph", "section")):
      values[f"train/ce/{level}"] = (k + 1) * 5 / step
      values[f"train/coverage/{level}"] = 0.0 if level == "sentence" else 0.3
    values |= {"speed/tokens_per_second": 1000.0 + step, "speed/real_token_share": 0.9}
    lines.append({"step": step, "time": 1.7e9 + step, "kind": "train"} | values)
    if step % evaluate_every == 0:
      own = {"eval/loss": 12 / step, "eval/ce/paragraph": abs(step - 20) + 1.5}
      lines.append({"step": step, "time": 1.7e9 + step, "kind": "eval"} | own)
  return lines


def write_lines(workdir, lines):
  workdir.mkdir(exist_ok=True)
  (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def figure_of(tree, title):
  (figure,) = [f for f in tree.css(".chart-figure") if f.css_first("figcaption").text() == title]
  return figure


def facts_of(tree):
  return {
    own.css_first("dt").text(): own.css_first("dd").text() for own in tree.css(".facts > div")
  }


class DecimateTest(parameterized.TestCase):
  @parameterized.parameters(0, 1, 999, 1000)
  def test_short_curves_stay_whole(self, count):
    np.testing.assert_array_equal(curves.decimate(np.zeros(count)), np.arange(count))

  @parameterized.parameters(1001, 1500, 12345, 200_000)
  def test_nothing_that_sticks_out_is_lost(self, count):
    rng = np.random.default_rng(count)
    values = rng.normal(size=count)
    peak, dip, gap = rng.choice(np.arange(1, count - 1), 3, replace=False)
    values[peak], values[dip], values[gap] = 100.0, -100.0, np.nan
    kept = curves.decimate(values)
    self.assertLessEqual(len(kept), 1000)
    self.assertTrue((np.diff(kept) > 0).all())
    self.assertContainsSubset((0, count - 1, peak, dip, gap), kept)
    # The envelope is that of all values, run by run.
    for run in np.array_split(np.arange(count), 332):
      own = values[kept[(kept >= run[0]) & (kept <= run[-1])]]
      self.assertEqual(np.nanmax(own), np.nanmax(values[run]))
      self.assertEqual(np.nanmin(own), np.nanmin(values[run]))

  def test_nothing_finite(self):
    kept = curves.decimate(np.full(5000, np.nan))
    self.assertBetween(len(kept), 2, 1000)


class CurvesTest(absltest.TestCase):
  def test_panels(self):
    lines = make_lines() + [
      {"step": 41, "kind": "train", "train/new_term/paragraph": 1.0, "oddity": 2.0, "text": "x"}
    ]
    groups = curves.group_panels(curves.read_curves(lines))
    names = {key: [panel.name for panel in panels] for key, panels in groups.items()}
    self.assertEqual(
      names,
      {
        "totals": ["loss"],
        # Coverage of the sentence level is zero throughout: a term that is not used.
        "losses": [
          "ce/sentence",
          "ce/paragraph",
          "ce/section",
          "coverage/paragraph",
          "coverage/section",
        ],
        "optimiser": ["learning_rate", "gradient_norm"],
        "speed": ["tokens_per_second", "padding_share"],
        "other": ["new_term/paragraph", "oddity"],
      },
    )
    train, validation = groups["losses"][1].curves
    self.assertEqual((train.kind, validation.kind), ("train", "eval"))
    np.testing.assert_array_equal(train.steps, np.arange(1, 41))
    np.testing.assert_allclose(train.values, 10 / np.arange(1, 41))
    np.testing.assert_array_equal(validation.steps, [10, 20, 30, 40])
    padding = groups["speed"][1].curves[0].values
    np.testing.assert_allclose(padding, 0.1)

  def test_later_lines_of_a_step_replace_earlier_ones(self):
    lines = [
      {"step": 2, "kind": "train", "train/loss": 5.0},
      {"step": 1, "kind": "train", "train/loss": 6.0},
      {"step": 2, "kind": "train", "train/loss": None},
    ]
    (curve,) = curves.read_curves(lines)["loss"]
    np.testing.assert_array_equal(curve.steps, [1, 2])
    np.testing.assert_array_equal(curve.values, [6.0, np.nan])
    self.assertEqual(curve.last, 6.0)


class RunReportTest(PageTestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    self.workdir = self.folder / "run"

  def render(self, lines, **config):
    write_lines(self.workdir, lines)
    if config:
      own = base.get_config()
      own.train.num_steps = config["num_steps"]
      save_config(own, self.workdir)
    return run_report.render_run_report(str(self.workdir))

  def test_curves_are_the_metrics(self):
    lines = make_lines()
    html = self.render(lines)
    self.assert_self_contained(html)
    tree = parse(html)
    figure = figure_of(tree, "Cross-entropy, paragraph")
    drawn = [
      [tuple(map(float, p)) for p in re.findall(r"[ML]([\d.]+),([\d.]+)", own.attributes["d"])]
      for own in figure.css("svg.chart .line")
    ]
    self.assertEqual([len(own) for own in drawn], [40, 4])
    # Two ticks give the scale; by it every corner is the number in the file.
    ticks = [
      (float(t.attributes["y"]) - 4, float(t.text()))
      for t in figure.css("svg.chart .axis .tick")
      if t.attributes["text-anchor"] == "end"
    ]
    (y0, v0), (y1, v1) = ticks[0], ticks[-1]
    read = lambda y: v0 + (y - y0) / (y1 - y0) * (v1 - v0)
    train = [line["train/ce/paragraph"] for line in lines if line["kind"] == "train"]
    validation = [line["eval/ce/paragraph"] for line in lines if line["kind"] == "eval"]
    slack = abs(read(0.06) - read(0.0))
    np.testing.assert_allclose([read(y) for _, y in drawn[0]], train, atol=2 * slack)
    np.testing.assert_allclose([read(y) for _, y in drawn[1]], validation, atol=2 * slack)
    legend = [entry.text() for entry in figure.css(".legend li")]
    self.assertEqual(legend, ["training, last 0.25", "validation, last 21.5"])

  def test_facts(self):
    (self.workdir / "checkpoints" / "20").mkdir(parents=True)
    (self.workdir / "checkpoints" / "30.partial").mkdir()
    facts = facts_of(parse(self.render(make_lines(), num_steps=80)))
    self.assertEqual(facts["Step"], "4050% of 80")
    self.assertEqual(facts["Best step"], "20validation cross-entropy of the paragraph 1.500")
    self.assertEqual(facts["Newest validation"], "21.500the same, at step 40")
    self.assertEqual(facts["Checkpoints"], "120")
    self.assertStartsWith(facts["Source tokens a second"], "1,02")
    self.assertStartsWith(facts["Padding"], "10.0%")
    facts = facts_of(parse(self.render(make_lines(), num_steps=40)))
    self.assertEqual(facts["Step"], "40finished")

  def test_a_best_checkpoint_that_is_gone_is_said_to_be(self):
    facts = facts_of(parse(self.render(make_lines())))
    self.assertIn("its checkpoint is not there", facts["Best step"])

  def test_config(self):
    tree = parse(self.render(make_lines(), num_steps=40))
    rows = [
      [cell.text() for cell in row.css("th, td")] for row in tree.css("#config > .scroll tbody tr")
    ]
    self.assertEqual(rows, [["train.num_steps", "40", "100000"]])
    everything = {row.css_first("th").text() for row in tree.css("#config details tbody tr")}
    self.assertContainsSubset({"model.width", "evaluate.reports", "seed"}, everything)

  def test_links_to_evaluations(self):
    for name in ("20", "20/test", "untrained"):
      (self.workdir / "evaluation" / name).mkdir(parents=True)
      (self.workdir / "evaluation" / name / "report.html").touch()
    html = self.render(make_lines())
    links = {a.attributes["href"]: a.text() for a in parse(html).css("#evaluations a")}
    self.assertEqual(
      links,
      {
        "evaluation/20/report.html": "Evaluation of step 20",
        "evaluation/20/test/report.html": "Evaluation of step 20, test split",
        "evaluation/untrained/report.html": "Evaluation without a trained system",
      },
    )
    self.assert_self_contained(html, pages=tuple(links))

  def test_a_long_run_stays_a_small_page(self):
    lines = make_lines(steps=20_000, evaluate_every=100)
    lines[7777]["train/loss"] = 123.0
    lines[8888]["train/loss"] = None
    html = self.render(lines)
    self.assertLess(len(html), 1_000_000)
    tree = parse(html)
    path = figure_of(tree, "Total loss").css_first("svg.chart .line").attributes["d"]
    self.assertBetween(len(re.findall("[ML]", path)), 500, 1000)
    self.assertEqual(path.count("M"), 2)  # the gap
    self.assertIn("to 123.", figure_of(tree, "Total loss").css_first("desc").text())
    self.assertIn("Not finite at some step", tree.css_first(".note").text())
    self.assertIn("loss", tree.css_first(".note").text())

  def test_a_run_that_has_just_begun(self):
    line = {"step": 1, "time": 1.7e9, "kind": "train", "train/loss": None, "train/ce/section": 3.0}
    self.assert_self_contained(self.render([line]))
    write_lines(self.workdir, [line])
    with (self.workdir / "metrics.jsonl").open("a") as file:
      file.write('{"step": 2, "time": 17')  # the trainer is writing it just now
    self.assertIn("Cross-entropy, section", run_report.render_run_report(str(self.workdir)))

  def test_hostile_names_and_values(self):
    lines = make_lines(steps=3)
    for i, text in enumerate(hostile.TEXTS):
      lines[i % 3][f"train/{text}"] = 1.0
      lines[0][text] = text
    html = self.render(lines)
    self.assert_self_contained(html)
    tree = parse(html)
    self.assertEmpty(tree.css("main script, img, iframe"))
    titles = {figure.text() for figure in tree.css("#other figcaption")}
    self.assertIn("<script>alert(1)</script>", titles)

  def test_nothing_to_report(self):
    for content in (None, "", "{\n"):
      self.workdir.mkdir(exist_ok=True)
      if content is not None:
        (self.workdir / "metrics.jsonl").write_text(content)
      with self.assertRaisesRegex(UserError, "holds no metrics.jsonl with any line in it; train"):
        run_report.write_run_report(str(self.workdir))

  def test_a_file_of_somebody_else_is_not_overwritten(self):
    write_lines(self.workdir, make_lines(3))
    (self.workdir / "report.html").write_text("mine")
    with self.assertRaisesRegex(UserError, "is not overwritten"):
      run_report.write_run_report(str(self.workdir))
    self.assertEqual((self.workdir / "report.html").read_text(), "mine")


class ReportModeTest(absltest.TestCase):
  def test_a_training_that_goes_on(self):
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    write_lines(folder / "run", make_lines())
    for _ in range(2):  # the second time over its own page
      status, out, err = run_main("--mode=report", f"--workdir={folder / 'run'}")
      self.assertEqual((status, err), (0, ""))
      self.assertEqual(out, f"report: {folder / 'run' / 'report.html'}\n")
    self.assertIn("Training of run", (folder / "run" / "report.html").read_text())

  def test_what_is_wrong_is_said_in_a_line(self):
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    cases = {
      "--mode=report": "--workdir is missing",
      f"--mode=report --workdir={folder}": "neither a training nor an evaluation",
      f"--mode=report --workdir={folder / 'none'}": "neither a training nor an evaluation",
      f"--mode=report --workdir={folder} --config=configs/quickstart.py": "no meaning",
      f"--mode=report --workdir={folder} --split=test": "no meaning",
    }
    for command, expected in cases.items():
      status, out, err = run_main(*command.split())
      self.assertEqual((status, out), (2, ""), command)
      self.assertRegex(err, f"^htmtl_jax: error: [^\n]*{expected}[^\n]*\n$")


if __name__ == "__main__":
  absltest.main()
