"""--mode=compare on evaluations written here, whose differences are known."""

import contextlib
import io
import json
import os
import pathlib
import re
import tempfile

from absl.testing import absltest, parameterized
import numpy as np

from htmtl_jax import main
from htmtl_jax.evaluation import comparison, results, rouge, significance

_DOCUMENTS = 20
_BASE = np.random.default_rng(0).uniform(20.0, 60.0, _DOCUMENTS)
_NOISE = np.where(np.arange(_DOCUMENTS) % 2, 3.0, -3.0)  # its mean is 0


def _write(directory, systems, *, step=400, split="test", levels=("paragraph",), ids=None, **more):
  """Writes an evaluation in which a system's four metrics are its scores, +1, +2 and +3.

  Args:
    directory: of the evaluation.
    systems: {name: [documents] scores}.
    step, split: for results.json.
    levels: that are scored, all alike.
    ids: of the documents.
    **more: `reference`, makes the text of an id; `reverse`, the order of all lines.
  """
  ids = ids or [f"doc-{i}" for i in range(_DOCUMENTS)]
  make_reference = more.get("reference", lambda identifier: f"Reference of {identifier}.")
  rows, pairs = [], []
  summary = {name: {} for name in systems}
  for level in levels:
    for name, scores in systems.items():
      by_metric = {m: np.asarray(scores) + k for k, m in enumerate(rouge.METRICS)}
      summary[name][level] = rouge.summarise(by_metric, samples=50)
      rows += [
        {"id": i, "level": level, "system": name} | {m: v[k] for m, v in by_metric.items()}
        for k, i in enumerate(ids)
      ]
    if level in ("sentence", "paragraph", "section"):
      texts = dict.fromkeys(systems, "A summary.")
      pairs += [results.SummaryPair(i, level, make_reference(i), "gold", texts) for i in ids]
  if more.get("reverse"):
    rows, pairs = rows[::-1], pairs[::-1]
  content = {
    "step": step,
    "split": split,
    "documents": len(ids),
    "systems": summary,
    "reference_kinds": {level: {"gold": len(ids)} for level in levels},
    "scores": rows,
  }
  results.write_results(directory, content, pairs)


def _oracle():
  return np.full(_DOCUMENTS, 90.0)


class CompareTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    self.a, self.b = self.folder / "a", self.folder / "b"

  def write_both(self, **more):
    """Run b's htmtl is 2 points better on each document; its extract is no different."""
    _write(
      self.a / "evaluation" / "400",
      {"htmtl": _BASE, "lead": _BASE - 9.0, "oracle": _oracle()},
    )
    systems = {
      "htmtl": _BASE + 2.0,
      "extract": _BASE + _NOISE,
      "lead": _BASE - 9.0,
      "oracle": _oracle(),
    }
    _write(self.b / "evaluation" / "400", systems, **more)

  def run_compare(self, *argv, runs=None):
    """Returns (exit status, stdout, stderr)."""
    runs = f"{self.a},{self.b}" if runs is None else runs
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      status = main.run(["--mode=compare", f"--runs={runs}", "--split=test", *argv])
    return status, out.getvalue(), err.getvalue()

  def compare(self, *argv, runs=None):
    """Returns comparison.json."""
    output = self.folder / "tables"
    status, _, err = self.run_compare(*argv, f"--output={output}", runs=runs)
    self.assertEqual((status, err), (0, ""))
    self.assertEqual(
      sorted(p.name for p in output.iterdir()),
      ["comparison.json", "comparison.md", "comparison.tex"],
    )
    return json.loads((output / "comparison.json").read_text("utf-8"))

  def assert_refused(self, result, pattern):
    status, out, err = result
    self.assertEqual((status, out), (2, ""))
    self.assertRegex(err, f"^htmtl_jax: error: .*{pattern}.*\n$")
    self.assertEqual(err.count("\n"), 1)

  # --------------------------------------------------------------------- numbers

  def test_known_differences(self):
    self.write_both()
    found = self.compare()
    self.assertEqual((found["split"], found["against"]), ("test", "a:htmtl"))
    self.assertEqual([run["name"] for run in found["runs"]], ["a", "b"])
    level = found["levels"]["paragraph"]
    self.assertEqual(level["documents"], _DOCUMENTS)
    # lead and the oracle are the same in both runs; the oracle is not tested.
    self.assertEqual(set(level["systems"]), {"a:htmtl", "b:htmtl", "b:extract", "lead", "oracle"})
    self.assertEqual(level["comparisons"], 3 * 4)
    cells = {name: system["metrics"]["rouge2"] for name, system in level["systems"].items()}
    self.assertAlmostEqual(cells["a:htmtl"]["f"], _BASE.mean() + 1.0)
    for name, difference, significant in (
      ("b:htmtl", 2.0, True),
      ("b:extract", 0.0, False),
      ("lead", -9.0, True),
    ):
      cell = cells[name]
      self.assertAlmostEqual(cell["difference"], difference)
      self.assertEqual(cell["significant"], significant, name)
      self.assertLessEqual(cell["difference_low"], cell["difference"] + 1e-9)
      self.assertLessEqual(cell["difference"], cell["difference_high"] + 1e-9)
    # The same on every document: 2 of 2^20 sign vectors, or none of 10,000 drawn.
    self.assertBetween(cells["b:htmtl"]["p_randomisation"], 1 / 10_001, 2 / 10_001)
    self.assertAlmostEqual(cells["b:htmtl"]["difference_low"], 2.0)
    self.assertEqual(cells["b:extract"]["p_randomisation"], 1.0)
    self.assertEqual(
      {name for name, cell in cells.items() if cell["best"]}, {"b:htmtl"}, "the oracle is no rival"
    )
    for untested in ("a:htmtl", "oracle"):
      self.assertEqual(set(cells[untested]), {"f", "low", "high", "best"})

  def test_p_values_are_those_of_the_tests_corrected_over_the_table(self):
    noise = np.random.default_rng(1).normal(0.0, 3.0, _DOCUMENTS)
    noise -= noise.mean()
    standard_error = noise.std(ddof=1) / np.sqrt(_DOCUMENTS)
    slight, strong = noise + 2.3 * standard_error, noise + 4.0 * standard_error
    _write(self.a, {"htmtl": _BASE, "slight": _BASE + slight, "strong": _BASE + strong})
    found = self.compare(runs=str(self.a))["levels"]["paragraph"]["systems"]
    self.assertEqual(list(found), ["htmtl", "slight", "strong"])  # one run: no prefix
    # Scores are read in the order of the ids: doc-0, doc-1, doc-10, ...
    order = sorted(range(_DOCUMENTS), key=lambda i: f"doc-{i}")
    p_values = {}
    for name, d in (("slight", slight), ("strong", strong)):
      cell = found[name]["metrics"]["rouge1"]
      p_values[name] = significance.randomisation_test(d[order])
      self.assertAlmostEqual(cell["p_randomisation"], p_values[name])
      self.assertAlmostEqual(cell["p_bootstrap"], significance.paired_bootstrap(d[order]))
      bounds = significance.difference_interval(d[order])[1:]
      np.testing.assert_allclose((cell["difference_low"], cell["difference_high"]), bounds)
    # All four metrics of a system have equal differences, so the family is 4 + 4.
    self.assertLess(p_values["strong"], p_values["slight"])
    self.assertLess(p_values["slight"], 0.05)
    self.assertAlmostEqual(
      found["strong"]["metrics"]["rouge1"]["p_holm"], 8 * p_values["strong"], delta=1e-9
    )
    self.assertAlmostEqual(found["slight"]["metrics"]["rouge1"]["p_holm"], 4 * p_values["slight"])
    self.assertTrue(found["strong"]["metrics"]["rougeLsum"]["significant"])
    self.assertFalse(found["slight"]["metrics"]["rougeLsum"]["significant"])

  def test_order_of_lines_changes_nothing(self):
    self.write_both()
    first = self.compare()
    self.write_both(reverse=True)
    self.assertEqual(self.compare(), first)

  def test_against(self):
    self.write_both()
    default = self.compare()["levels"]["paragraph"]["systems"]["b:htmtl"]["metrics"]["rouge1"]
    for name in ("b:htmtl", f"{self.b}:htmtl"):
      found = self.compare(f"--against={name}")
      self.assertEqual(found["against"], "b:htmtl")
      cell = found["levels"]["paragraph"]["systems"]["a:htmtl"]["metrics"]["rouge1"]
      self.assertAlmostEqual(cell["difference"], -default["difference"])
      self.assertEqual(cell["p_randomisation"], default["p_randomisation"])
    for name in ("lead", "a:lead", "b:lead"):
      self.assertEqual(self.compare(f"--against={name}")["against"], "lead")
    self.assert_refused(
      self.run_compare("--against=a:extract"),
      "--against=a:extract is not among the systems; choose one of a:htmtl, lead, oracle, b:htmtl",
    )

  def test_a_baseline_that_differs_stays_two_rows(self):
    _write(self.a, {"htmtl": _BASE, "lead": _BASE - 9.0})
    _write(self.b, {"htmtl": _BASE, "lead": _BASE - 9.0 + _NOISE})
    found = self.compare()
    self.assertEqual(set(found["levels"]["paragraph"]["systems"]), {"htmtl", "a:lead", "b:lead"})
    self.assertEqual(found["against"], "htmtl")

  def test_levels(self):
    _write(
      self.a,
      {"htmtl": _BASE},
      levels=("sentence", "paragraph", "section", "section_without_fillers"),
    )
    _write(self.b, {"htmtl": _BASE + 1.0}, levels=("paragraph", "section"))
    found = self.compare()
    self.assertEqual(list(found["levels"]), ["paragraph", "section"])
    self.assertEqual(found["left_out"], ["sentence", "section_without_fillers"])
    self.assertIn(
      "left out, not scored in every run: one sentence, section by section, without fillers",
      self.run_compare()[1],
    )
    _write(self.b, {"htmtl": _BASE}, levels=("sentence",))
    _write(self.a, {"htmtl": _BASE}, levels=("paragraph",))
    self.assert_refused(self.run_compare(), "no level was scored in all of a, b")

  # --------------------------------------------------------------------- finding

  def test_newest_evaluation_of_the_split(self):
    root = self.a / "evaluation"
    for k, (place, step) in enumerate((("800", 800), ("400", 400), ("600/test", 600))):
      _write(root / place, {"htmtl": _BASE}, step=step)
      os.utime(root / place / "results.json", (1000 + k, 1000 + k))
    _write(root / "900", {"htmtl": _BASE}, step=900, split="validation")
    self.assertEqual(self.compare(runs=str(self.a))["runs"][0]["step"], 600)
    os.utime(root / "800" / "results.json", (2000, 2000))
    self.assertEqual(self.compare(runs=str(self.a))["runs"][0]["step"], 800)
    found = self.compare(runs=f"{self.a},{root / '400'}")["runs"]
    self.assertEqual(
      [(r["name"], r["step"]) for r in found], [("a", 800), ("a@400", 400)], "two of one run"
    )
    self.assert_refused(
      self.run_compare(runs=f"{self.a},{root / '800'}/"), "are the same evaluation; name it once"
    )

  def test_runs_that_are_not_there(self):
    _write(self.a / "evaluation" / "400", {"htmtl": _BASE}, split="validation")
    self.b.mkdir()
    refused = lambda runs, pattern: self.assert_refused(self.run_compare(runs=runs), pattern)
    refused(
      f"{self.a},{self.folder / 'c'}", "holds no evaluation of the test split; it has one of v"
    )
    refused(
      f"{self.a / 'evaluation' / '400'}", "of the validation split, .*; give --split=validation"
    )
    refused(f"{self.b}", r"holds no evaluation of the test split; make one with --mode=evaluate")
    refused(f"{self.folder / 'c'}", "c not found; name a workdir")
    refused(",", "names no run")
    refused("", "--runs is missing; --mode=compare needs it")

  def test_names(self):
    self.assertEqual(comparison.name_runs(["runs/a", "runs/b/"]), ["a", "b"])
    self.assertEqual(comparison.name_runs(["x/seed0", "y/seed0"]), ["x/seed0", "y/seed0"])
    self.assertEqual(comparison.name_runs(["evaluation/400"]), ["400"])  # no evaluation there

  # -------------------------------------------------------------------- mismatch

  def test_other_documents(self):
    self.write_both(ids=[f"doc-{i + 2}" for i in range(_DOCUMENTS)])
    self.assert_refused(
      self.run_compare(),
      "a and b scored different documents at the paragraph level: doc-0 and 1 more only in a",
    )

  def test_other_references(self):
    text = lambda i: "Another one." if i in ("doc-3", "doc-5") else f"Reference of {i}."
    self.write_both(reference=text)
    self.assert_refused(
      self.run_compare(),
      "a and b were scored against different references at the paragraph level: doc-3 and 1 more",
    )

  def test_no_model_to_compare_with(self):
    _write(self.a, {"lead": _BASE, "lexrank": _BASE + 1.0})
    self.assert_refused(
      self.run_compare(runs=str(self.a)),
      "a has no system htmtl .*; choose one with --against: lead, lexrank",
    )
    self.assertEqual(self.compare("--against=lead", runs=str(self.a))["against"], "lead")

  # ---------------------------------------------------------------- damaged files

  @parameterized.parameters("results.json", "scores.jsonl", "predictions.jsonl")
  def test_missing_and_damaged_files(self, name):
    for damage, pattern in (
      (lambda path: path.unlink(), f"{name}|holds no evaluation"),
      (lambda path: path.write_text('{"id": "doc-0"'), f"{name}(:1)? is not JSON"),
      (lambda path: path.write_text("[]\n"), f"{name}(:1)? has no '"),
      (lambda path: path.write_bytes(b"\xff\xfe"), f"{name} is not (UTF-8|JSON)"),
      (lambda path: path.write_text(""), f"{name}|holds no scores|lacks the paragraph reference"),
    ):
      self.write_both()
      damage(self.a / "evaluation" / "400" / name)
      self.assert_refused(self.run_compare(), pattern)

  @parameterized.parameters(
    (lambda rows: rows[0].update(rouge1=None), r"scores\.jsonl:1: scores must be numbers"),
    (lambda rows: rows[0].update(rouge1=101.0), r"scores\.jsonl:1: scores must be numbers"),
    (lambda rows: rows[0].pop("rougeLsum"), r"scores\.jsonl:1 has no 'rougeLsum'"),
    (lambda rows: rows.append(rows[0]), "doc-0 is scored twice for htmtl"),
    (lambda rows: rows.pop(), r"htmtl and oracle were not scored on the same documents .*doc-19"),
    (lambda rows: rows[0].update(rouge1=0.0), "disagree on htmtl at the paragraph level"),
    (lambda rows: rows[0].update(system="new"), "htmtl were not scored on the same"),
  )
  def test_scores_that_do_not_fit(self, change, pattern):
    self.write_both()
    path = self.a / "evaluation" / "400" / "scores.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    change(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    self.assert_refused(self.run_compare(), pattern)

  def test_two_references_of_one_document(self):
    self.write_both()
    path = self.a / "evaluation" / "400" / "predictions.jsonl"
    lines = path.read_text("utf-8")
    path.write_text(lines + lines.splitlines()[0].replace("Reference", "Other"))
    self.assert_refused(self.run_compare(), "doc-0 has two references at the paragraph level")

  # ---------------------------------------------------------------------- tables

  def test_terminal(self):
    self.write_both()
    status, out, err = self.run_compare()
    self.assertEqual((status, err), (0, ""))
    self.assertIn("a: step 400, ", out)
    self.assertIn("one paragraph (20 documents; references: 20 gold); 12 comparisons", out)
    rows = re.findall(r"^  (\S+) +(.*)$", out, re.MULTILINE)
    order = [name for name, _ in rows]  # a:htmtl and b:extract tie but for rounding
    self.assertEqual(order[:2] + order[4:], ["system", "b:htmtl", "lead", "oracle"])
    cells = dict(rows)
    for name, mean, mark in (
      ("b:htmtl", _BASE.mean() + 2.0, "↑*"),
      ("a:htmtl", _BASE.mean(), ""),
      ("b:extract", _BASE.mean(), ""),
      ("lead", _BASE.mean() - 9.0, "↓"),
      ("oracle", 90.0, ""),
    ):
      found = re.findall(r"([\d.]+) ± +([\d.]+)([↑↓]?) ?(\*?)", cells[name])
      self.assertLen(found, 4)
      for k, (number, _, arrow, best) in enumerate(found):
        self.assertAlmostEqual(float(number), mean + k, delta=0.0501)
        self.assertEqual(arrow + best, mark, name)

  def test_markdown_and_latex(self):
    # Names that mean something to Markdown, LaTeX or a terminal.
    odd = self.folder / "50%_a|b#"
    _write(self.a, {"htmtl": _BASE, "oracle": _oracle()})
    _write(odd, {"htmtl": _BASE - 2.0, "x\x1b&\\": _BASE + 2.0, "oracle": _oracle()})
    found = self.compare(runs=f"{self.a},{odd}")
    markdown = (self.folder / "tables" / "comparison.md").read_text("utf-8")
    latex = (self.folder / "tables" / "comparison.tex").read_text("utf-8")
    for text in (markdown, latex, self.run_compare(runs=f"{self.a},{odd}")[1]):
      self.assertNotIn("\x1b", text)
    f = _BASE.mean()
    half = {
      name: (s["metrics"]["rouge1"]["high"] - s["metrics"]["rouge1"]["low"]) / 2
      for name, s in found["levels"]["paragraph"]["systems"].items()
    }
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    # Every row has five cells, though a name holds a bar.
    self.assertEqual({len(re.findall(r"(?<!\\)\|", row)) for row in rows}, {6})
    self.assertStartsWith(
      rows[2],
      rf"| 50%\_a\|b\#:x?\&\\ | **{f + 2:.1f}** ± {half[list(half)[-1]]:.1f}↑ |",
    )
    self.assertStartsWith(rows[3], f"| a:htmtl | {f:.1f} ± {half['a:htmtl']:.1f} |")
    self.assertRegex(rows[4], rf"^\| 50%\\_a\\\|b\\#:htmtl \| {f - 2:.1f} ± [\d.]+↓ \|")
    self.assertStartsWith(rows[5], "| oracle | 90.0 ± 0.0 |")
    rows = [line for line in latex.splitlines() if line.endswith(r"\\")]
    self.assertEqual({len(re.findall(r"(?<!\\)&", row)) for row in rows}, {4})
    self.assertStartsWith(
      rows[1], rf"50\%\_a|b\#:x?\&\textbackslash{{}} & \textbf{{{f + 2:.1f}}}$^\uparrow$ {{"
    )
    self.assertStartsWith(rows[2], rf"a:htmtl & {f:.1f} {{\scriptsize $\pm$ ")
    self.assertStartsWith(rows[3], rf"50\%\_a|b\#:htmtl & {f - 2:.1f}$^\downarrow$ {{")
    self.assertEqual(latex.count(r"\begin{table}"), latex.count(r"\end{table}"))
    body = "\n".join(line for line in latex.splitlines() if not line.startswith("%"))
    self.assertEqual(re.findall(r"(?<!\\)[%#]", body), [])
    self.assertEqual(len(re.findall(r"(?<!\\)\{", body)), len(re.findall(r"(?<!\\)\}", body)))

  # ----------------------------------------------------------------------- flags

  def test_flags(self):
    self.write_both()
    before = sorted(self.folder.rglob("*"))
    self.assert_refused(self.run_compare("--workdir=x"), "--workdir has no meaning with")
    for word in ("--config=configs/base.py", "--config.seed=1"):
      self.assert_refused(self.run_compare(word), "--config has no meaning with --mode=compare")
    file = self.a / "evaluation" / "400" / "results.json"
    self.assert_refused(self.run_compare(f"--output={file}"), "is a file; name a folder")
    self.assertEqual(self.run_compare()[0], 0)
    self.assertEqual(sorted(self.folder.rglob("*")), before)  # nothing is written unasked


if __name__ == "__main__":
  absltest.main()
