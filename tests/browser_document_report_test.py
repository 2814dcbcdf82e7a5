"""The report of a paper in a browser: pointer, keyboard, screens, print, and hostile text."""

from decimal import Decimal

from absl.testing import absltest, parameterized

import htmtl_jax
from htmtl_jax.reports import document_report
from htmtl_jax.reports.page import clean_text
from tests import browser, records

LIT = "[...document.querySelectorAll('.lit')].map((e) => e.id).sort()"
FOCUS = "document.activeElement.closest('.sum, .s')?.id ?? document.activeElement.id"


class DocumentReportTest(browser.BrowserTestCase):
  def write(self, document=None, num_read=None, record=None):
    document = document or records.generated_paper()
    self.record = record or records.fake_record(document, num_read)
    return document_report.write_document_report(
      self.record, str(self.folder), document_report.author_summaries(document)
    )

  def sources_of(self, level, index):
    (entry,) = [
      e for e in self.record["provenance"] if (e["level"], e["sentence"]) == (level, index)
    ]
    return [segment["id"] for segment in entry["segments"]]

  def users_of(self, place):
    """The codes of the summary sentences that drew on a sentence of the paper."""
    codes = []
    for entry in self.record["provenance"]:
      if place in [segment["id"] for segment in entry["segments"]]:
        code = {"sentence": "S", "paragraph": "P", "section": "D"}[entry["level"]]
        codes.append(code + ("" if code == "S" else str(entry["sentence"] + 1)))
    return codes + [
      f"E{i + 1}" for i, s in enumerate(self.record["extractive"]) if s["id"] == place
    ]

  def tab_to(self, page, selector, limit=200):
    """Presses Tab until the focus is there."""
    for _ in range(limit):
      page.keyboard.press("Tab")
      if page.evaluate(f"document.activeElement.matches({selector!r})"):
        return
    self.fail(f"Tab never came to {selector}")

  def assert_in_view(self, page, name):
    box = page.locator(f'[id="{name}"]').bounding_box()
    self.assertGreater(box["y"] + box["height"], 0)
    self.assertLess(box["y"], page.viewport_size["height"])

  # ------------------------------------------------------------------ what is shown

  @parameterized.parameters((browser.DESKTOP, False), (browser.PHONE, True))
  def test_hostile_text_only_shows(self, size, dark):
    document = records.hostile_document()
    page = self.open(self.write(document), size, dark, touch=size is browser.PHONE)
    shown = page.evaluate(
      "[...document.querySelectorAll('.s')].map((e) => [e.id, e.firstChild.data])"
    )
    expected = [[s["id"], clean_text(s["text"])] for s in self.record["importance"]["sentences"]]
    self.assertEqual(shown, expected)
    for name in ("shade-paragraph", "shade-section", "numbers"):
      page.locator(f"#{name}").check()
    for tab in page.locator("[role=tab]").all():
      tab.click()
      page.locator(".sum:visible .text").last.hover()
      self.assert_no_sideways_scroll(page)
    page.locator(".mark").first.click()
    page.keyboard.press("Enter")
    page.wait_for_timeout(100)  # for whatever would still be coming
    self.assert_quiet(page)

  def test_importance_in_the_page_adds_up(self):
    page = self.open(self.write())
    numbers = page.evaluate("""() => {
      const number = (e) => e.dataset.percent.slice(0, -1);
      return [...document.querySelectorAll(".section")].map((section) => [
        number(section),
        [...section.querySelectorAll(".heading .s")].map(number),
        [...section.querySelectorAll(".p")].map(
          (p) => [number(p), [...p.querySelectorAll(".s")].map(number)]),
      ]);
    }""")
    self.assertEqual(sum(Decimal(section) for section, _, _ in numbers), 100)
    for section, heading, paragraphs in numbers:
      parts = [Decimal(n) for n in heading] + [Decimal(n) for n, _ in paragraphs]
      self.assertEqual(sum(parts), Decimal(section))
      for paragraph, sentences in paragraphs:
        self.assertEqual(sum(map(Decimal, sentences)), Decimal(paragraph))

  @parameterized.parameters(False, True)
  def test_contrast_of_every_shade(self, dark):
    page = self.open(self.write(num_read=30), dark=dark)
    page.locator("#numbers").check()
    page.evaluate("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    for level in ("section", "paragraph", "sentence"):
      page.locator(f"#shade-{level}").check()
      for shade in (0, 10):  # on everything that can have it; contrast falls from end to end
        page.evaluate(
          """(shade) => {
            for (const e of document.querySelectorAll("[data-i]:not(.unread)")) e.dataset.i = shade;
          }""",
          shade,
        )
        self.assert_contrast(page)
    page.locator("#P2 .text").hover()
    self.assertNotEmpty(page.evaluate(LIT))
    self.assert_contrast(page)
    self.assert_quiet(page)

  def test_shading_follows_the_level_chosen(self):
    page = self.open(self.write())
    background = lambda name: page.evaluate(
      f"getComputedStyle(document.querySelector(`{name}`)).backgroundColor"
    )
    clear = "rgba(0, 0, 0, 0)"
    most = lambda level: max(
      (s for s in self.record["importance"][level] if not s["id"].endswith("h.s0")),
      key=lambda s: s["importance"],
    )["id"]
    marks = {
      "sentence": f'[id="{most("sentences")}"]',
      "paragraph": f'[id="{most("paragraphs")}"] > .p',
      "section": f'[id="{most("sections")}"]',
    }
    page.locator("#shade-sentence").focus()
    for level in (*marks, "none"):
      self.assertTrue(page.locator(f"#shade-{level}").is_checked())
      for name, selector in marks.items():
        shaded = background(selector) not in (clear, "color(srgb 0 0 0 / 0)")
        self.assertEqual(shaded, name == level, f"{name} at {level}")
      page.keyboard.press("ArrowDown")  # the next radio button
    page.locator("#numbers").check()
    self.assertTrue(page.locator(".percent").first.is_visible())

  def test_the_styles_are_read_to_their_ends(self):
    page = self.open(self.write())
    last = page.evaluate(
      "[...document.styleSheets].map((s) => s.cssRules[s.cssRules.length - 1].conditionText)"
    )
    self.assertEqual(last, ["print", "print"])
    self.assertEqual(page.evaluate("document.fonts.size"), 0)

  # ------------------------------------------------------------------------ pointer

  def test_hovering_a_summary_lights_its_sources(self):
    page = self.open(self.write())
    for code, level, index in (("S", "sentence", 0), ("P2", "paragraph", 1)):
      page.locator(f"#{code} .text").hover()
      sources = self.sources_of(level, index)
      self.assertEqual(page.evaluate(LIT), sorted([code, *sources]))
      shares = page.locator(f"#{code} .source b").all_text_contents()
      for source, share in zip(sources, shares, strict=True):
        self.assertEqual(page.locator(f'[id="{source}"]').get_attribute("data-lit"), share)
      self.assertEqual(page.locator(".tick").count(), len(sources))
      self.assertIn(f"{code} drew on {shares[0]}", page.locator("#status").text_content())
    page.mouse.move(1, 1)
    self.assertEqual(page.evaluate(LIT), [])
    self.assert_quiet(page)

  def test_hovering_a_source_lights_who_drew_on_it(self):
    page = self.open(self.write())
    place = self.sources_of("section", 0)[0]
    users = self.users_of(place)
    page.locator(f'[id="{place}"]').hover()
    self.assertEqual(page.evaluate(LIT), sorted([place, *users]))
    status = page.locator("#status").text_content()
    for code in users:
      self.assertIn(f"{code} (", status)
    # D1 stands in a panel that is not shown; its tab tells.
    self.assertFalse(page.locator("#D1").is_visible())
    self.assertIn("D1", page.locator("#tab-panel-section").get_attribute("data-lit"))

  def test_clicking_a_summary_goes_to_its_first_source(self):
    page = self.open(self.write())
    for code, level, index in (("P4", "paragraph", 3), ("P1", "paragraph", 0)):
      page.locator(f"#{code} .text").click()
      place = self.sources_of(level, index)[0]
      self.assertEqual(page.evaluate(FOCUS), place)
      self.assert_in_view(page, place)
    page.locator("#back").click()
    self.assertEqual(page.evaluate(FOCUS), "P1")
    self.assertFalse(page.locator("#back").is_visible())

  def test_clicking_a_mark_opens_the_summary(self):
    page = self.open(self.write())
    page.locator(".mark[href='#D2']").first.click()
    self.assertTrue(page.locator("#D2").is_visible())
    self.assertEqual(page.evaluate(FOCUS), "D2")
    self.assertFalse(page.locator("#P1").is_visible())

  # ----------------------------------------------------------------------- keyboard

  def test_from_a_summary_to_its_sources_and_back_by_keyboard(self):
    page = self.open(self.write())
    self.tab_to(page, "#P1 a.code")
    sources = self.sources_of("paragraph", 0)
    self.assertGreater(len(sources), 2)
    self.assertEqual(page.evaluate(LIT), sorted(["P1", *sources]))
    page.keyboard.press("Enter")
    for step in (0, 1, 2, -1):  # there and on; then once around to the last
      self.assertEqual(page.evaluate(FOCUS), sources[step])
      self.assertEqual(page.evaluate("document.querySelector('.at').id"), sources[step])
      self.assertEqual(page.evaluate(LIT), sorted(["P1", *sources]))
      self.assert_in_view(page, sources[step])
      if step == 2:
        for _ in range(3):
          page.keyboard.press("ArrowLeft")
      elif step >= 0:
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    self.assertEqual(page.evaluate(FOCUS), "P1")
    self.assert_in_view(page, "P1")
    page.keyboard.press("Tab")  # on to the shares, each a link of its own
    page.keyboard.press("Tab")
    self.assertTrue(page.evaluate("document.activeElement.matches('#P1 .source')"))
    page.keyboard.press("Enter")
    self.assertEqual(page.evaluate(FOCUS), sources[1])
    self.assert_quiet(page)

  def test_from_a_source_to_the_summary_by_keyboard(self):
    page = self.open(self.write())
    place = self.sources_of("section", 2)[0]
    users = self.users_of(place)
    page.locator("#paper").focus()
    self.tab_to(page, f'[id="{place}"] .mark[href="#D3"]')
    self.assertEqual(page.evaluate(LIT), sorted([place, *users]))
    page.keyboard.press("Enter")
    self.assertEqual(page.evaluate(FOCUS), "D3")
    self.assert_in_view(page, "D3")
    page.keyboard.press("ArrowRight")
    self.assertEqual(page.evaluate(FOCUS), place)

  def test_arrows_walk_the_sentences_that_were_drawn_on(self):
    page = self.open(self.write())
    linked = page.evaluate("[...document.querySelectorAll('.s.linked')].map((e) => e.id)")
    page.locator(f'[id="{linked[3]}"] .mark').first.focus()
    page.keyboard.press("ArrowRight")
    self.assertEqual(page.evaluate(FOCUS), linked[4])
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    self.assertEqual(page.evaluate(FOCUS), linked[2])
    page.keyboard.press("Enter")
    self.assertEqual(page.evaluate(FOCUS), self.users_of(linked[2])[0])

  def test_tabs_by_keyboard(self):
    page = self.open(self.write())
    self.tab_to(page, "[role=tab]")
    for key, name in (
      ("ArrowRight", "section"),
      ("End", "beside"),
      ("ArrowRight", "paragraph"),
      ("ArrowLeft", "beside"),
      ("Home", "paragraph"),
    ):
      page.keyboard.press(key)
      self.assertEqual(page.evaluate(FOCUS), f"tab-panel-{name}")
      visible = page.locator("[role=tabpanel]:visible")
      self.assertEqual(visible.count(), 1)
      self.assertEqual(visible.get_attribute("id"), f"panel-{name}")

  def test_the_focus_can_be_seen(self):
    page = self.open(self.write())
    for _ in range(12):
      page.keyboard.press("Tab")
      width = page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
      self.assertGreaterEqual(width, 2)

  # --------------------------------------------------------- screens, paper, scripts

  def test_an_address_opens_its_tab(self):
    page = self.open(self.write(), fragment="D2")
    self.assertTrue(page.locator("#D2").is_visible())
    self.assert_in_view(page, "D2")

  def test_on_a_phone(self):
    page = self.open(self.write(num_read=30), browser.PHONE, touch=True)
    self.assert_no_sideways_scroll(page)
    page.locator("#P2 .text").tap()
    self.assertEqual(page.evaluate(FOCUS), self.sources_of("paragraph", 1)[0])
    self.assert_in_view(page, self.sources_of("paragraph", 1)[0])
    page.locator("#back").tap()
    self.assert_in_view(page, "P2")
    self.assert_contrast(page)
    self.assert_quiet(page)

  def test_without_scripts_everything_is_there(self):
    page = self.open(self.write(), javascript=False)
    for name in ("S", "P1", "D1", "E1", "panel-beside", "c0.p0.s0"):
      self.assertTrue(page.locator(f'[id="{name}"]').is_visible(), name)
    page.locator("#D3 .source").first.click()
    place = self.sources_of("section", 2)[0]
    self.assertTrue(page.url.endswith(f"#{place}"))
    self.assert_in_view(page, place)
    self.assertNotEqual(
      page.locator(":target").evaluate("(e) => getComputedStyle(e).boxShadow"), "none"
    )
    self.assertEqual(self.requests(page), [])

  @parameterized.parameters(False, True)
  def test_in_print_everything_is_there(self, dark):
    page = self.open(self.write(), (794, 1123), dark)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    for name in ("S", "P1", "D1", "E1", "panel-beside", "c0.p0.s0"):
      self.assertTrue(page.locator(f'[id="{name}"]').is_visible(), name)
    for selector in (".outline .leaf", ".percent", ".tab-heading"):
      for element in page.locator(selector).all():
        self.assertTrue(element.is_visible(), selector)
    for selector in (".tools", ".tablist", "#bar", ".help"):
      self.assertFalse(page.locator(selector).is_visible(), selector)
    self.assertEqual(
      page.evaluate("getComputedStyle(document.documentElement).backgroundColor"),
      "rgb(255, 255, 255)",
    )
    self.assert_contrast(page)
    self.assertStartsWith(page.pdf().decode("latin-1"), "%PDF")

  def test_the_list_of_papers(self):
    document = records.hostile_document()
    paths = []
    made = [
      records.fake_record(document),
      htmtl_jax.summarize_without_model(records.generated_paper()),
    ]
    for record in made:
      links = [document_report.LINK_TO_INDEX]
      paths.append(document_report.write_document_report(record, str(self.folder), links=links))
    index = document_report.write_index(made, str(self.folder))
    for dark in (False, True):
      page = self.open(index, browser.PHONE, dark)
      self.assert_no_sideways_scroll(page)
      self.assert_contrast(page)
      self.assert_quiet(page)
    page.locator(".papers a").first.click()
    page.locator("nav a").first.click()
    self.assertTrue(page.url.endswith("/index.html"))


if __name__ == "__main__":
  absltest.main()
