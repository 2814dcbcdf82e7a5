"""The report of an evaluation: numbers on the page against the files, links, hostile text."""

import dataclasses
import json
import pathlib
import tempfile
from urllib.parse import quote

from absl.testing import absltest, parameterized
import numpy as np

from htmtl_jax.documents.document import Document, Section
from htmtl_jax.errors import UserError
from htmtl_jax.evaluation.significance import holm, randomisation_test
from htmtl_jax.levels import LEVELS
from htmtl_jax.reports import evaluation_charts, evaluation_report
from htmtl_jax.reports.evaluation_data import rank_documents, read_evaluation_data
from htmtl_jax.reports.page import clean_text
from tests import evaluations, hostile, records
from tests.pages import PageTestCase, parse

METRICS = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def table_of(node):
  """{first cell of the row: the other cells}, white space collapsed."""
  rows = [
    [" ".join(cell.text().split()) for cell in row.css("th, td")] for row in node.css("tbody tr")
  ]
  return {row[0]: row[1:] for row in rows}


def numbers_of(tree, figure):
  return [
    [cell.text() for cell in row.css("th, td")]
    for row in tree.css_first(f"#{figure}").css(".numbers tbody tr")
  ]


class EvaluationReportTest(PageTestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = cls.enterClassContext(tempfile.TemporaryDirectory())
    cls.made = evaluations.write_evaluation(pathlib.Path(folder) / "7")
    cls.directory = str(cls.made.directory)
    path = evaluation_report.write_evaluation_report(
      cls.directory, 2, [cls.made.documents[5].id], cls.made.describe
    )
    cls.html = pathlib.Path(path).read_text()
    cls.tree = parse(cls.html)
    cls.data = read_evaluation_data(cls.directory)
    cls.scores = [
      json.loads(line) for line in (cls.made.directory / "scores.jsonl").read_text().splitlines()
    ]

  def scores_of(self, system, level="paragraph", name="rouge2"):
    """{id: score} as scores.jsonl has them."""
    return {
      row["id"]: row[name]
      for row in self.scores
      if (row["system"], row["level"]) == (system, level)
    }

  def test_the_page_holds_everything_and_its_links_lead_somewhere(self):
    pages = [f"documents/{p.name}" for p in (self.made.directory / "documents").iterdir()]
    self.assert_self_contained(self.html, pages=tuple(pages))
    self.assertEqual(self.tree.css_first("h1").text(), "Evaluation on the test split, step 7")
    sections = [section.attributes["id"] for section in self.tree.css(".report-section")]
    self.assertEqual(
      sections,
      [
        "scores",
        "measures",
        "distributions",
        "length",
        "position",
        "importance",
        "documents",
        "method",
      ],
    )

  def test_scores_are_those_of_the_results(self):
    results = json.loads((self.made.directory / "results.json").read_text())
    for level in LEVELS:
      table = table_of(self.tree.css_first(f"#scores-{level} .beside > .scroll"))
      self.assertCountEqual(table, results["systems"])
      self.assertEqual(list(table)[-1], "oracle")  # the ceiling comes last
      for system, cells in table.items():
        for metric, cell in zip(METRICS, cells, strict=True):
          score = results["systems"][system][level][metric]
          half = (score["high"] - score["low"]) / 2
          self.assertStartsWith(cell, f"{score['f']:.1f} ±{half:.1f}")
      best = {
        system: [i for i, c in enumerate(row.css("td")) if "best" in c.attributes["class"].split()]
        for row in self.tree.css(f"#scores-{level} .beside > .scroll tbody tr")
        for system in [row.css_first("th").text()]
      }
      self.assertEmpty(best["oracle"])
      for k, metric in enumerate(METRICS):
        values = {s: results["systems"][s][level][metric]["f"] for s in ("htmtl", "lead")}
        self.assertEqual([s for s in best if k in best[s]], [max(values, key=values.get)])

  def test_tests_are_those_of_the_module(self):
    htmtl = np.array([list(self.scores_of("htmtl", name=m).values()) for m in METRICS])
    lead = np.array([list(self.scores_of("lead", name=m).values()) for m in METRICS])
    p = randomisation_test((lead - htmtl).T, 10_000, seed=0)
    corrected = holm(p)
    rows = [
      [" ".join(cell.text().split()) for cell in row.css("th, td")]
      for row in self.tree.css("#scores-paragraph > details tbody tr")
    ]
    self.assertEqual([row[:2] for row in rows], [["lead", metric] for metric in METRICS])
    for k, row in enumerate(rows):
      difference = (lead - htmtl)[k].mean()
      self.assertEqual(row[2], f"{difference:+.2f}".replace("-", "\N{MINUS SIGN}"))
      self.assertEqual(float(row[4]), float(f"{p[k]:.2g}"))
      self.assertEqual(float(row[5]), float(f"{corrected[k]:.2g}"))
      cell = self.tree.css("#scores-paragraph .beside > .scroll tbody tr")
      (lead_row,) = [r for r in cell if r.css_first("th").text() == "lead"]
      self.assertEqual("↓" in lead_row.css("td")[k].text(), bool(corrected[k] < 0.05))

  def test_measures(self):
    table = table_of(self.tree.css_first("#measures-paragraph .scroll"))
    measures = self.made.results["measures"]
    systems = ["htmtl", "lead", "oracle"]
    self.assertEqual(table["words"], [f"{measures[s]['paragraph']['words']:,.1f}" for s in systems])
    self.assertEqual(
      table["new 2-grams"], [f"{100 * measures[s]['paragraph']['novelty_2']:.1f}%" for s in systems]
    )

  def test_distributions_count_documents(self):
    own = np.array(list(self.scores_of("htmtl").values()))
    rows = {row[0]: row[1:] for row in numbers_of(self.tree, "distribution-paragraph")}
    shares = [float(cell.rstrip("%")) / 100 for cell in rows["htmtl"]]
    self.assertAlmostEqual(sum(shares), 1, delta=0.02)
    heads = [h.text() for h in self.tree.css("#distribution-paragraph .numbers thead th")][1:]
    for head, share in zip(heads, shares, strict=True):
      low, high = map(float, head.split(" to "))
      inside = (own >= low) & ((own < high) | ((own == high) & (high == 100)))
      self.assertAlmostEqual(share, np.mean(inside), delta=0.006)
    text = self.tree.css_first("#distribution-paragraph svg.chart").text()
    self.assertIn(f"htmtl {np.median(own):.1f}", text)

  def test_positions_are_those_of_the_chosen_sentences(self):
    rows = {row[0]: row[1:] for row in numbers_of(self.tree, "position-paragraph")}
    self.assertEqual(list(rows), ["htmtl draws on", "lead", "oracle"])
    expected = np.zeros(10)
    for pair in self.made.pairs:
      if pair.level == "paragraph":
        places = (np.array(pair.places["oracle"]) + 0.5) / pair.source["sentences"]
        expected += np.histogram(places, np.linspace(0, 1, 11))[0] / len(places)
    shown = [float(cell.rstrip("%")) / 100 for cell in rows["oracle"]]
    np.testing.assert_allclose(shown, expected / 12, atol=6e-4)
    # Lead takes the beginning; the model draws on where its importance lies.
    self.assertGreater(float(rows["lead"][0].rstrip("%")), 50)
    self.assertAlmostEqual(
      sum(float(cell.rstrip("%")) for cell in rows["htmtl draws on"]), 100, delta=0.5
    )

  def test_calibration(self):
    section = self.tree.css_first("#importance")
    self.assertIn("the planted sentences", section.text())
    self.assertIn("0.750", section.text())
    rows = table_of(section.css_first("#calibration > .scroll"))
    deserved = [float(cells[4].rstrip("%")) for cells in rows.values()]
    self.assertAlmostEqual(sum(deserved), 100, delta=0.6)
    sentences = sum(int(cells[0].replace(",", "")) for cells in rows.values())
    bodies = [s for d in self.made.documents for c in d.sections for p in c.paragraphs for s in p]
    self.assertEqual(sentences, len(bodies))

  def test_the_best_and_the_worst_are_linked_to_pages_that_are_there(self):
    scores = self.scores_of("htmtl")
    ranked = sorted(scores, key=lambda i: -scores[i])
    self.assertEqual(rank_documents(self.data), ranked)
    lists = [
      [a.attributes["href"] for a in node.css("a")] for node in self.tree.css("#documents ol")
    ]
    address = lambda i: f"documents/{i}.html"
    self.assertEqual(lists, [[*map(address, ranked[:2])], [*map(address, ranked[:-3:-1])]])
    example = self.made.documents[5].id
    others = [a.attributes["href"] for a in self.tree.css("#documents > details a")]
    self.assertEqual(others, [] if example in (*ranked[:2], *ranked[-2:]) else [address(example)])
    for href in [*sum(lists, []), *others]:
      page = parse((self.made.directory / href).read_text())
      back = [a.attributes["href"] for a in page.css("a") if "report.html" in a.attributes["href"]]
      self.assertEqual(back, ["../report.html#documents"])
    # The page of the best holds its reference and what the others say.
    best = next(d for d in self.made.documents if d.id == ranked[0])
    page = parse((self.made.directory / lists[0][0]).read_text()).body.text()
    self.assertIn("Reference (gold)", page)
    self.assertIn("lead", page)
    self.assertIn(best.abstract_sentences[0], page)
    # So does the list itself.
    card = self.tree.css_first("#documents ol li").text()
    self.assertIn(best.abstract_sentences[0], card)
    self.assertIn(f"rouge2 {scores[best.id]:.1f}", card)

  def test_later_reports_replace_earlier_ones(self):
    folder = self.made.directory / "documents"
    (folder / "notes.html").write_text("of somebody else")
    count = lambda: len(list(folder.glob("synthetic*.html")))
    self.addCleanup(
      evaluation_report.write_evaluation_report,
      self.directory,
      2,
      [self.made.documents[5].id],
      self.made.describe,
    )
    evaluation_report.write_evaluation_report(self.directory, -1, [], self.made.describe)
    self.assertEqual(count(), 12)
    # Without what makes records, pages stay as they are.
    path = evaluation_report.write_evaluation_report(self.directory, 3)
    self.assertLen(parse(pathlib.Path(path).read_text()).css("#documents a"), 12)
    path = evaluation_report.write_evaluation_report(self.directory, 0, [], self.made.describe)
    self.assertEqual(count(), 0)
    self.assertTrue((folder / "notes.html").exists())
    tree = parse(pathlib.Path(path).read_text())
    self.assertEmpty(tree.css("#documents a"))
    self.assertLen(tree.css("#documents li"), 10)


class LengthTest(parameterized.TestCase):
  def test_groups_of_equal_size(self):
    rng = np.random.default_rng(0)
    lengths = rng.permutation(100).astype(float)
    lengths[:4] = np.nan
    groups = evaluation_charts.split_by_length(lengths)
    self.assertEqual([len(g) for g in groups], [16] * 6)
    for before, after in zip(groups, groups[1:]):
      self.assertLess(lengths[before].max(), lengths[after].min())

  def test_equal_lengths_are_never_parted(self):
    lengths = np.repeat([10.0, 20.0, 30.0], [30, 2, 1])
    groups = evaluation_charts.split_by_length(lengths)
    self.assertEqual(sorted(i for g in groups for i in g), list(range(33)))
    for before, after in zip(groups, groups[1:]):
      self.assertLess(lengths[before].max(), lengths[after].min())
    self.assertEmpty(evaluation_charts.split_by_length(np.full(3, np.nan)))

  def test_scores_by_length_of_the_source(self):
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    documents = []
    for i in range(16):
      paper = records.generated_paper(i % 4)
      longer = dataclasses.replace(
        paper.sections[-1], paragraphs=paper.sections[-1].paragraphs * (1 + i)
      )
      sections = (*paper.sections[:-1], longer)
      documents.append(dataclasses.replace(paper, id=f"d{i:02}", sections=sections, planted=None))
    made = evaluations.write_evaluation(folder, documents, others=("lead",), samples=10)
    path = evaluation_report.write_evaluation_report(str(folder))
    tree = parse(pathlib.Path(path).read_text())
    rows = [row for row in numbers_of(tree, "length-source-paragraph") if row[0] == "htmtl"]
    pairs = [pair for pair in made.pairs if pair.level == "paragraph"]
    words = [pair.source["words"] for pair in pairs]
    order = np.argsort(words, kind="stable")
    scores = {
      row["id"]: row["rouge2"]
      for row in made.results["scores"]
      if (row["system"], row["level"]) == ("htmtl", "paragraph")
    }
    for row, group in zip(rows, np.split(order, 2), strict=True):
      self.assertEqual(float(row[1].replace(",", "")), np.median([words[i] for i in group]))
      mean = np.mean([scores[pairs[i].id] for i in group])
      self.assertAlmostEqual(float(row[2]), mean, delta=0.01)
      self.assertLessEqual(float(row[3]), float(row[2]))
      self.assertLessEqual(float(row[2]), float(row[4]))


class UnusualEvaluationsTest(PageTestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory())) / "7"

  def write(self, *args, **kwargs):
    made = evaluations.write_evaluation(self.folder, *args, **kwargs)
    path = evaluation_report.write_evaluation_report(str(self.folder), -1, [], made.describe)
    pages = [f"documents/{quote(p.name)}" for p in (self.folder / "documents").glob("*")]
    html = pathlib.Path(path).read_text()
    return made, html, parse(html), pages

  def test_hostile_documents_show_as_text(self):
    documents = []
    for i, text in enumerate(hostile.TEXTS):
      body = (f"{text} {'word ' * 60}", text)
      documents.append(
        Document(
          id=f"{i} {text}",
          title=text,
          sections=(Section(text, (body,)),),
          abstract=((text, f"{text} {i}"),),
        )
      )
    made, html, tree, pages = self.write(documents, importance=False)
    self.assertEmpty(tree.css("main script, img, iframe, form, base, link, object, [onload]"))
    self.assertLen(pages, len(documents))
    hrefs = [a.attributes["href"] for a in tree.css("#documents a")]
    self.assertCountEqual(hrefs, pages)
    names = {a.text() for a in tree.css("#documents a")}
    self.assertContainsSubset({clean_text(d.title) for d in documents}, names)
    self.assert_self_contained(html, pages=tuple(pages))
    self.assertLen(made.documents, len(hostile.TEXTS))

  def test_hostile_names_of_systems(self):
    made = evaluations.write_evaluation(self.folder, samples=10)
    name = "<script>alert(1)</script>\" onload='x"
    for file in ("results.json", "scores.jsonl", "predictions.jsonl"):
      path = self.folder / file
      path.write_text(path.read_text().replace('"lead"', json.dumps(name)))
    path = evaluation_report.write_evaluation_report(str(self.folder))
    html = pathlib.Path(path).read_text()
    self.assert_self_contained(html)
    self.assertIn(name, table_of(parse(html).css_first("#scores-paragraph .scroll")))
    self.assertLen(made.documents, 12)

  def test_one_document(self):
    _, html, tree, pages = self.write([records.generated_paper(0)], samples=5)
    self.assert_self_contained(html, pages=tuple(pages))
    self.assertLen(tree.css("#documents li"), 1)  # not the worst as well
    self.assertNotIn("Worst", [h.text() for h in tree.css("#documents h3")])

  def test_only_a_ceiling(self):
    made = evaluations.write_evaluation(self.folder, samples=5)
    for file in ("results.json", "scores.jsonl", "predictions.jsonl"):
      path = self.folder / file
      lines = (
        [json.loads(x) for x in path.read_text().splitlines()] if "l" in path.suffix[5:] else []
      )
      if file == "results.json":
        results = json.loads(path.read_text())
        results["systems"] = {"oracle": results["systems"]["oracle"]}
        path.write_text(json.dumps(results))
      elif file == "scores.jsonl":
        kept = [line for line in lines if line["system"] == "oracle"]
        path.write_text("".join(json.dumps(line) + "\n" for line in kept))
    html = pathlib.Path(evaluation_report.write_evaluation_report(str(self.folder))).read_text()
    self.assert_self_contained(html)
    self.assertLen(made.documents, 12)

  def test_files_of_an_earlier_version(self):
    # No places, no sources, no measures: what can be shown is.
    evaluations.write_evaluation(self.folder, samples=5, importance=False)
    path = self.folder / "predictions.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
      del line["source"], line["places"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    results = json.loads((self.folder / "results.json").read_text())
    del results["measures"]
    (self.folder / "results.json").write_text(json.dumps(results))
    html = pathlib.Path(evaluation_report.write_evaluation_report(str(self.folder))).read_text()
    self.assert_self_contained(html)
    sections = [s.attributes["id"] for s in parse(html).css(".report-section")]
    self.assertNotIn("position", sections)
    self.assertNotIn("measures", sections)
    self.assertNotIn("importance", sections)

  def test_what_results_may_hold_besides(self):
    evaluations.write_evaluation(self.folder, samples=5)
    path = self.folder / "results.json"
    results = json.loads(path.read_text())
    score = lambda f: {metric: {"f": f, "low": f - 2.0, "high": f + 4.0} for metric in METRICS}
    results["by_reference_kind"] = {
      "sentence": {"gold": {"documents": 5, "systems": {"lead": score(9.0), "htmtl": score(11.0)}}}
    }
    measure = lambda mean: {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "documents": 12}
    results["importance"]["rankings"] = {
      "htmtl": {"auc": measure(0.75), "spearman": None},
      "position": {"auc": measure(0.8), "spearman": measure(0.25)},
    }
    path.write_text(json.dumps(results))
    html = pathlib.Path(evaluation_report.write_evaluation_report(str(self.folder))).read_text()
    self.assert_self_contained(html)
    tree = parse(html)
    folded = tree.css("#scores-sentence > details")[0]
    self.assertEqual(folded.css_first("summary").text(), "Gold references only (5)")
    self.assertEqual(table_of(folded), {"htmtl": ["11.0 ±3.0"] * 4, "lead": ["9.0 ±3.0"] * 4})
    rankings = table_of(tree.css_first("#rankings"))
    self.assertEqual(rankings["htmtl"], ["0.750 0.650 to 0.850", "–"])
    self.assertEqual(rankings["position"][0], "0.800 0.700 to 0.900")
    self.assertLen(tree.css("#rankings .best"), 2)

  @parameterized.parameters(
    ("importance.jsonl", '"matters": [', '"matters": [-1, ', "not what an evaluation writes"),
    ("importance.jsonl", '"importance": [', '"importance": ["x", ', "not what an evaluation"),
    ("predictions.jsonl", '"places": {"lead": [', '"places": {"lead": [9999, ', "lie outside"),
    ("predictions.jsonl", '"sentences": ', '"sentence": ', "not what an evaluation writes"),
    ("scores.jsonl", '"rouge1"', '"rouge9"', "has no 'rouge1'"),
  )
  def test_damaged_files(self, file, old, new, message):
    evaluations.write_evaluation(self.folder, [records.generated_paper(0)], samples=5)
    path = self.folder / file
    text = path.read_text()
    self.assertIn(old, text)
    path.write_text(text.replace(old, new, 1))
    with self.assertRaisesRegex(UserError, f"^[^\n]*{file}:1[^\n]*{message}[^\n]*$"):
      evaluation_report.write_evaluation_report(str(self.folder))


if __name__ == "__main__":
  absltest.main()
