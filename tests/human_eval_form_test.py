"""The whole loop in a browser: export, fill in the forms, save, import, report."""

import json

from absl.testing import absltest

from tests import browser, hostile, human_study

QUALITY = {"zebra": 2, "quokka": 1, "walrus": 0}


class FormTestCase(browser.BrowserTestCase):
  def make(self, *argv, papers=True, make_text=human_study.text_of):
    human_study.write_evaluation(self.folder / "run", make_text=make_text)
    config = human_study.write_papers(self.folder) if papers else None
    self.study = human_study.export(
      self.folder,
      "--study.design.documents=2",
      "--study.design.raters=2",
      "--study.design.levels=sentence",
      *argv,
      config=config,
    )
    self.key = human_study.read_key(self.study)

  def open_form(self, rater, **more):
    return self.open(self.study / "packets" / f"{rater}.html", **more)

  def questions(self, rater):
    return list(self.key["raters"][rater]["questions"].items())

  def save(self, page, selector, path=None):
    """Clicks what saves; returns the file's content."""
    with page.expect_download() as waiting:
      page.click(selector)
    path = path or self.folder / waiting.value.suggested_filename
    path.parent.mkdir(exist_ok=True)
    waiting.value.save_as(path)
    return json.loads(path.read_text("utf-8"))


def better(question, label):
  return QUALITY[question["candidates"][label][0]]


class LoopTest(FormTestCase):
  def test_export_fill_in_import_report(self):
    self.make(
      "--study.design.tasks=pairwise,best_worst,likert",
      "--study.design.consent=I take part.",
      "--study.design.contact=Ask the desk <b>now</b>.",
    )
    answers = self.folder / "answers"

    # One rater works with the mouse.
    page = self.open_form("rater-01")
    self.assertIn("You are rater-01.", page.inner_text("main"))
    self.assertIn("Ask the desk <b>now</b>.", page.inner_text("main"))
    self.assertTrue(page.is_disabled("#begin"))
    page.check("#consent")
    page.click("#begin")
    for number, (_, question) in enumerate(self.questions("rater-01"), 1):
      self.assertIn(f"Question {number} of", page.inner_text("h1"))
      order = sorted(question["candidates"], key=lambda label: -better(question, label))
      if question["task"] == "pairwise":
        page.click(f".study-choice[data-value={order[0]}]")
      elif question["task"] == "best_worst":
        page.locator("fieldset").nth(0).locator(f"[data-value={order[0]}]").click()
        page.locator("fieldset").nth(1).locator(f"[data-value={order[-1]}]").click()
      else:
        rows = page.locator("fieldset")
        labels = list(question["candidates"])
        self.assertEqual(rows.count(), 4 * len(labels))
        for k in range(rows.count()):
          rows.nth(k).locator(f"[data-value='{3 + better(question, labels[k // 4]) - 1}']").click()
      page.click("#next")
    total = len(self.questions("rater-01"))
    self.assertIn(f"All {total} questions are answered", page.inner_text("main"))
    self.assertEqual(page.inner_text("#progress-text"), f"{total} of {total}")
    record = self.save(page, "#finish", answers / "rater-01.json")
    self.assertIn("Saved as rater-01.json", page.inner_text("#status"))
    self.assertEqual((record["rater"], record["study"]), ("rater-01", self.key["study"]))
    self.assertTrue(record["complete"])
    self.assertTrue(record["simulated"])  # the browser says that a program drives it
    self.assertTrue(all(own["seconds"] >= 0 for own in record["answers"].values()))
    self.assert_quiet(page)

    # The other one by keyboard alone, and disagrees about the best.
    page = self.open_form("rater-02")
    page.focus("#consent")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    for _, question in self.questions("rater-02"):
      order = sorted(question["candidates"], key=lambda label: better(question, label))
      if question["task"] == "pairwise":
        page.keyboard.press(order[0].lower())
      elif question["task"] == "best_worst":
        page.keyboard.press(order[0].lower())
        page.keyboard.press(f"Shift+{order[-1]}")
      else:
        for label in question["candidates"]:
          for _ in range(4):
            page.keyboard.press(str(3 - better(question, label)))
      page.keyboard.press("Enter")
    self.assertIn("Done. Thank you!", page.inner_text("h1"))
    self.save(page, "#save-button", answers / "rater-02.json")
    self.assert_quiet(page)

    # Back at the desk.
    output = self.folder / "report"
    command = ("--action=import", f"--study={self.study}", f"--input={answers}")
    status, out, err = human_study.run_main(*command, f"--output={output}", *human_study.QUICK)
    self.assertEqual((status, err), (0, ""))
    self.assertIn("SIMULATED", out)
    report = json.loads((output / "report.json").read_text("utf-8"))
    likert = next(t for t in report["tables"] if t["task"] == "likert")
    scores = likert["criteria"][0]["scores"]
    # rater-01 gave 4, 3, 2, rater-02 1, 2, 3.
    self.assertEqual([scores[s]["mean"] for s in human_study.SYSTEMS], [2.5, 2.5, 2.5])
    self.assertEqual(scores["zebra"]["counts"], [2, 0, 0, 2, 0])
    self.assertLess(likert["criteria"][0]["agreement"]["alpha"], 0.0)
    for own in report["raters"].values():
      self.assertEqual(own["attention"], 1.0)
    page = self.open(output / "report.html")
    self.assertIn("SIMULATED", page.inner_text("h1"))
    self.assertGreater(page.locator("svg.chart").count(), 4)
    self.assert_quiet(page)
    self.assert_no_sideways_scroll(self.open(output / "report.html", size=browser.PHONE))

    # A damaged and a foreign file are named, and nothing is written.
    whole = (answers / "rater-02.json").read_text("utf-8")
    other = self.folder / "other"
    for text, pattern in (
      (whole[:200], "rater-02.json is damaged: not JSON"),
      (whole.replace(self.key["study"], "0" * 16), "answers study '0000000000000000', not"),
    ):
      (answers / "rater-02.json").write_text(text)
      status, out, err = human_study.run_main(*command, f"--output={other}")
      self.assertEqual((status, out), (2, ""))
      self.assertIn(pattern, err)
      self.assertEqual(err.count("\n"), 1)
      self.assertFalse(other.exists())


class FormTest(FormTestCase):
  def test_stopping_and_going_on(self):
    self.make("--study.design.tasks=pairwise")
    page = self.open_form("rater-01")
    page.click("#begin")
    page.click("#next")
    self.assertIn("Choose an answer first", page.inner_text("#problem"))
    page.wait_for_timeout(400)
    page.keyboard.press("b")
    page.keyboard.press("n")
    page.keyboard.press("t")
    page.click("summary:has-text('Comment')")
    page.fill("#comment", "odd, 1a?")  # keys in a text are text
    self.assertIn("Question 2 of", page.inner_text("h1"))
    half = self.save(page, "#save-button")
    self.assertFalse(half["complete"])
    self.assertGreaterEqual(half["answers"]["q0001"]["seconds"], 0.4)
    self.assertEqual([own["answer"]["overall"] for own in half["answers"].values()], ["B", "tie"])
    # The same browser remembers.
    page.reload()
    self.assertEqual(page.inner_text("#begin"), "Go on")
    page.click("#begin")
    self.assertIn("Question 3 of", page.inner_text("h1"))
    page.keyboard.press("p")
    self.assertEqual(page.input_value("#comment"), "odd, 1a?")
    self.assertTrue(page.is_checked("input[value=tie]"))
    # Another browser reads the file; the wrong files are refused in words.
    other = self.open_form("rater-01")
    other.set_input_files("#load", self.folder / "rater-01.json")
    other.wait_for_selector("#question-title")  # files are read in the background
    self.assertIn("Question 3 of", other.inner_text("h1"))
    other.keyboard.press("p")
    other.keyboard.press("p")
    self.assertTrue(other.is_checked("input[value=B]"))
    strange = self.folder / "strange.json"
    wrong = self.open_form("rater-01")
    for content, pattern in (
      ("{", "damaged"),
      ("[]", "holds no answers"),
      (json.dumps({**half, "study": "x"}), "another study"),
      (json.dumps({**half, "rater": "rater-02"}), "of another rater (rater-02)"),
    ):
      strange.write_text(content)
      wrong.set_input_files("#load", strange)
      wrong.wait_for_selector(f".study-problem:has-text('{pattern}')")
    self.assert_quiet(wrong)
    self.assert_quiet(page)
    self.assert_quiet(other)

  def test_skipping_reviewing_and_the_open_questions(self):
    self.make("--study.design.tasks=likert", papers=False)
    page = self.open_form("rater-01")
    page.click("#begin")
    page.keyboard.press("4")
    page.keyboard.press("Enter")
    self.assertIn("Still open: 5 of 6 answers", page.inner_text("#problem"))
    page.check("#skip")
    page.click("#next")
    for _ in range(len(self.questions("rater-01")) - 1):
      for _ in range(6):
        page.keyboard.press("2")
      page.keyboard.press("Enter")
    record = self.save(page, "#finish")
    self.assertTrue(record["complete"])
    self.assertEqual(record["answers"]["q0001"]["skipped"], True)
    self.assertNotIn("answer", record["answers"]["q0001"])
    # What was chosen can be changed; choosing takes back that it cannot be judged.
    page.click("#review")
    self.assertTrue(page.is_checked("#skip"))
    page.keyboard.press("5")
    self.assertFalse(page.is_checked("#skip"))
    self.assertIn("5 ", page.inner_text(".study-meaning >> nth=1"))  # the first open line
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("1")
    self.assertTrue(page.is_checked("fieldset >> nth=0 >> input[value='1']"))
    self.assert_quiet(page)

  def test_best_is_not_worst_and_ties_of_keys(self):
    self.make("--study.design.tasks=best_worst", papers=False)
    page = self.open_form("rater-01")
    page.click("#begin")
    page.keyboard.press("a")
    page.keyboard.press("Shift+A")
    self.assertFalse(page.is_checked("fieldset >> nth=0 >> input[value=A]"))
    self.assertTrue(page.is_checked("fieldset >> nth=1 >> input[value=A]"))
    page.keyboard.press("Enter")
    self.assertIn("Still open: 1 of 2", page.inner_text("#problem"))
    page.keyboard.press("c")
    page.keyboard.press("Enter")
    self.assertIn("Question 2 of", page.inner_text("h1"))
    page.keyboard.press("?")
    self.assertTrue(page.is_visible("#help"))
    self.assertIn("with Shift the worst", page.inner_text("#help"))
    page.keyboard.press("b")  # belongs to nobody while the help is open
    page.keyboard.press("Escape")
    self.assertFalse(page.is_checked("fieldset >> nth=0 >> input[value=B]"))
    self.assert_quiet(page)

  def test_hostile_texts_are_text(self):
    texts = [text for text in hostile.TEXTS if text.strip()]
    make_text = lambda system, level, document: (
      "\n".join(texts) if system == "zebra" else human_study.text_of(system, level, document)
    )
    self.make(
      "--study.design.tasks=best_worst",
      f"--study.design.title={texts[0]}",
      papers=False,
      make_text=make_text,
    )
    page = self.open_form("rater-01")
    page.click("#begin")
    shown = page.inner_text("main")
    self.assertIn("<script>", shown)
    self.assertEqual(page.locator("main img, main iframe, main script, main a").count(), 0)
    page.keyboard.press("a")
    page.keyboard.press("Shift+B")
    self.save(page, "#save-button")
    self.assert_quiet(page)

  def test_the_paper_beside_and_the_phone(self):
    self.make("--study.design.tasks=likert", "--study.design.show=text,abstract")
    page = self.open_form("rater-01")
    page.click("#begin")
    paper = page.inner_text("#paper")
    for text in (
      "Title ",
      "<b>bold</b>",
      "Abstract sentence.",
      "<script>alert(1)</script> & so on.",
    ):
      self.assertIn(text, paper)
    page.click(".study-outline a:has-text('Results')")
    self.assert_quiet(page)
    for dark in (False, True):
      phone = self.open_form("rater-01", size=browser.PHONE, dark=dark, touch=True)
      self.assert_no_sideways_scroll(phone)
      phone.tap("#begin")
      self.assertFalse(phone.evaluate("document.getElementById('paper').open"))
      phone.tap("#paper > summary")
      self.assertIn("Body one.", phone.inner_text("#paper"))
      phone.tap("fieldset >> nth=0 >> [data-value='4']")
      self.assertTrue(phone.is_checked("fieldset >> nth=0 >> input[value='4']"))
      self.assert_no_sideways_scroll(phone)
      self.assert_quiet(phone)

  def test_without_scripts_it_says_so(self):
    self.make("--study.design.tasks=pairwise", papers=False)
    page = self.open_form("rater-01", javascript=False)
    self.assertIn("This form needs JavaScript", page.inner_text("main"))


if __name__ == "__main__":
  absltest.main()
