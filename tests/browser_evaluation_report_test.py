"""The reports of evaluations and runs in a browser: screens, tabs, links, hostile text."""

import dataclasses
import pathlib
import tempfile

from absl.testing import absltest, parameterized

from htmtl_jax.reports import evaluation_report, run_report
from tests import browser, evaluations, hostile, records, reports_run_test

SCREENS = ((browser.DESKTOP, False), (browser.DESKTOP, True), (browser.PHONE, False))
# Letters of drawings as they are shown, in CSS pixels.
LETTERS = """
() => [...document.querySelectorAll("svg.chart")].filter((e) => e.checkVisibility()).map((e) =>
  12.5 * e.getBoundingClientRect().width / e.viewBox.baseVal.width)
"""
# What stands in a drawing but sticks out of it.
OUTSIDE = """
() => [...document.querySelectorAll("svg.chart")].filter((e) => e.checkVisibility()).flatMap((e) => {
  const box = e.getBoundingClientRect();
  return [...e.querySelectorAll("text, .mark, .bar")].filter((own) => {
    const inner = own.getBoundingClientRect();
    return inner.left < box.left - 1 || inner.right > box.right + 1
      || inner.top < box.top - 1 || inner.bottom > box.bottom + 1;
  }).map((own) => own.textContent);
})
"""


class ReportTestCase(browser.BrowserTestCase):
  def assert_looks_right(self, page):
    self.assert_quiet(page)
    self.assert_no_sideways_scroll(page)
    self.assertGreater(min(page.evaluate(LETTERS)), 9.5)
    self.assertEqual(page.evaluate(OUTSIDE), [])

  def unfold(self, page):
    """Opens everything that can be opened."""
    page.evaluate("for (const own of document.querySelectorAll('details')) own.open = true")


def write_evaluation(folder, documents=None):
  made = evaluations.write_evaluation(pathlib.Path(folder) / "7", documents, samples=20)
  return evaluation_report.write_evaluation_report(str(made.directory), 1, [], made.describe)


class EvaluationReportTest(ReportTestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    documents = [records.generated_paper(i % 4) for i in range(17)]
    documents = [dataclasses.replace(d, id=f"{d.id} {i}") for i, d in enumerate(documents)]
    cls.report = write_evaluation(cls.enterClassContext(tempfile.TemporaryDirectory()), documents)

  @parameterized.parameters(*SCREENS)
  def test_screens_and_tabs(self, size, dark):
    page = self.open(self.report, size, dark, touch=size is browser.PHONE)
    self.assert_looks_right(page)
    self.assert_contrast(page)
    tables = {
      level: page.locator(f"#scores-{level} table").first
      for level in ("paragraph", "sentence", "section")
    }
    visible = lambda: [level for level, table in tables.items() if table.is_visible()]
    self.assertEqual(visible(), ["paragraph"])
    page.locator("#scores .tab", has_text="One sentence").click()
    self.assertEqual(visible(), ["sentence"])
    # What the other tabs hide looks right, too, and so does what is folded.
    page.evaluate("for (const tab of document.querySelectorAll('.tab:last-child')) tab.click()")
    self.assertEqual(visible(), ["section"])
    self.unfold(page)
    self.assert_looks_right(page)

  def test_to_a_document_and_back(self):
    page = self.open(self.report)
    link = page.locator("#documents a").first
    title = link.inner_text()
    link.click()
    self.assertEqual(page.locator("h1").inner_text(), title)
    self.assertIn("/7/documents/", page.url)
    page.locator("a[href*='report.html']").click()
    self.assertTrue(page.url.endswith("/7/report.html#documents"))
    page.locator("#documents").wait_for(state="visible")

  def test_without_scripts_everything_is_there(self):
    page = self.open(self.report, javascript=False)
    for level in ("paragraph", "sentence", "section"):
      self.assertTrue(page.locator(f"#scores-{level} table").first.is_visible())
      self.assertTrue(page.locator(f"#length-{level}").is_visible())

  def test_hostile_text_only_shows(self):
    documents = [
      dataclasses.replace(records.generated_paper(0), id=f"{i} {text}", title=text)
      for i, text in enumerate(hostile.TEXTS)
    ]
    page = self.open(write_evaluation(self.folder, documents), browser.PHONE, touch=True)
    self.unfold(page)
    self.assert_quiet(page)
    self.assert_no_sideways_scroll(page)


class RunReportTest(ReportTestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    workdir = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
    reports_run_test.write_lines(workdir, reports_run_test.make_lines())
    cls.report = run_report.write_run_report(str(workdir))

  @parameterized.parameters(*SCREENS)
  def test_screens(self, size, dark):
    page = self.open(self.report, size, dark, touch=size is browser.PHONE)
    self.assert_looks_right(page)
    self.assert_contrast(page)
    self.unfold(page)
    self.assert_looks_right(page)

  def test_hostile_names(self):
    lines = reports_run_test.make_lines(3)
    for text in hostile.TEXTS:
      lines[0][f"train/{text}"] = 1.0
    reports_run_test.write_lines(self.folder, lines)
    report = run_report.write_run_report(str(self.folder))
    page = self.open(report, browser.PHONE, touch=True)
    self.assert_quiet(page)
    self.assert_no_sideways_scroll(page)


if __name__ == "__main__":
  absltest.main()
