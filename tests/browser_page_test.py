"""The walls around a page, each tried in a browser; and that our tests would notice."""

from absl.testing import absltest

from htmtl_jax.reports import page as page_lib
from tests import browser, hostile


class PageTest(browser.BrowserTestCase):
  def write(self, body: str = "", **kwargs):
    """A page with markup in it that no template would let through."""
    html = page_lib.render_page("page.html", "A page", **kwargs)
    path = self.folder / "page.html"
    path.write_text(html.replace("</main>", f"{body}</main>"), encoding="utf-8")
    return path

  def test_a_page_is_quiet(self):
    path = self.write(data={"texts": hostile.TEXTS}, scripts=("tabs.js",))
    for dark in (False, True):
      page = self.open(path, browser.PHONE, dark)
      self.assert_quiet(page)
      self.assert_contrast(page)
      self.assert_no_sideways_scroll(page)
    read = page.evaluate("JSON.parse(document.getElementById('data').textContent).texts")
    # What is no text (a lone half of a character) is the one thing that does not come back.
    self.assertEqual(read[0], hostile.TEXTS[0])
    self.assertLen(read, len(hostile.TEXTS))

  def test_markup_that_got_in_does_nothing(self):
    for body, directive in (
      ("<script>window.evil = 1</script>", "script-src"),
      ("<p onclick='window.evil = 1' id=trap>x</p>", "script-src"),
      ("<a href='javascript:window.evil = 1' id=trap>x</a>", "script-src"),
      ("<p style='color: red'>x</p>", "style-src"),
      ("<style>p { color: red }</style>", "style-src"),
      ("<img src='https://example.invalid/x.png'>", "img-src"),
      ("<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>", "img-src"),
      ("<iframe srcdoc='<p>x'></iframe><iframe src='data:text/html,x'></iframe>", "frame-src"),
      ("<base href='https://example.invalid/'>", "base-uri"),
      ("<form action='https://example.invalid/'><button id=trap>x</button></form>", "form-action"),
    ):
      page = self.open(self.write(body))
      page.evaluate("document.getElementById('trap')?.click()")
      page.wait_for_function("window.htmtlViolations.length > 0")
      self.assertStartsWith(page.evaluate("window.htmtlViolations[0]"), directive)
      self.assertIsNone(page.evaluate("window.evil ?? null"), body)
      stopped = [url for url, reason in self.failures(page) if reason == "csp"]
      self.assertContainsSubset(self.requests(page), stopped)
      with self.assertRaises(AssertionError):  # a test of such a page would fail
        self.assert_quiet(page)

  def test_scripts_cannot_make_markup_of_text_or_reach_the_network(self):
    page = self.open(self.write())
    for attempt in (
      "document.body.innerHTML = '<p>x'",
      "document.body.insertAdjacentHTML('beforeend', '<p>x')",
      "document.write('<p>x')",
      "window.eval('window.evil = 1')",
      "new Function('window.evil = 1')()",
    ):
      # Later, since the policy does not hold for what a debugger runs, as we do here.
      outcome = page.evaluate(
        f"""new Promise((resolve) => setTimeout(() => {{
          try {{ {attempt}; resolve("done"); }} catch {{ resolve("stopped"); }}
        }}))"""
      )
      self.assertEqual(outcome, "stopped", attempt)
    fetched = page.evaluate("fetch('https://example.invalid/').then(() => 'done', () => 'stopped')")
    self.assertEqual(fetched, "stopped")
    self.assertIsNone(page.evaluate("window.evil ?? null"))

  def test_images_in_the_page_if_asked_for(self):
    image = "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw=' alt=''>"
    self.assert_quiet(self.open(self.write(image, images=True)))


if __name__ == "__main__":
  absltest.main()
