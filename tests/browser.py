"""Headless Chromium for tests of HTML pages: opens files, records what a page does.

A test of a page takes the browser of this module and ends with `assert_quiet`:

    class PageTest(browser.BrowserTestCase):
      def test_it(self):
        page = self.open(path)                  # a Playwright page
        page.keyboard.press("Tab")
        self.assert_quiet(page)                 # no request, error, dialog or violation

The browser is one that is installed: `HTMTL_CHROMIUM`, else chromium, chromium-browser,
google-chrome or chrome on the PATH. Nothing is downloaded. Without one, tests are skipped.
"""

import atexit
import functools
import os
import pathlib
import shutil
import tempfile

from absl.testing import parameterized
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
DESKTOP = (1440, 900)
PHONE = (360, 740)

# Runs before any script of the page: violations of the policy are otherwise only printed.
_RECORD = """
window.htmtlViolations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.htmtlViolations.push(event.violatedDirective + " " + event.blockedURI + " " + event.sample);
});
"""


def find_chromium() -> str | None:
  """The path of a browser, or None."""
  named = os.environ.get("HTMTL_CHROMIUM")
  if named:
    return shutil.which(named)
  return next((path for path in map(shutil.which, NAMES) if path), None)


@functools.cache
def _start(executable: str):
  """One browser for the whole process: starting takes a second."""
  from playwright.sync_api import sync_playwright

  playwright = sync_playwright().start()
  arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
  browser = playwright.chromium.launch(executable_path=executable, args=arguments)

  def stop():
    browser.close()
    playwright.stop()

  atexit.register(stop)
  return browser


# Every element with text of its own against what is painted behind it: WCAG's contrast ratio.
# A canvas mixes the colours, so that any notation and transparency counts as it is shown.
_CONTRASTS = """
() => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const mixed = new Map();
  const paint = (colours) => {
    const key = colours.join();
    if (!mixed.has(key)) {
      context.clearRect(0, 0, 1, 1);
      for (const colour of colours) {
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
      }
      const [r, g, b] = context.getImageData(0, 0, 1, 1).data;
      mixed.set(key, [r, g, b]);
    }
    return mixed.get(key);
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const known = new Map();
  const behindOf = (element) => {
    if (!element) return ["white"];
    if (!known.has(element)) {
      const own = getComputedStyle(element).backgroundColor;
      known.set(element, [...behindOf(element.parentElement), own]);
    }
    return known.get(element);
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    if (element.closest("svg") || element.disabled) continue;
    const hasText = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!hasText || !element.checkVisibility({ visibilityProperty: true })) continue;
    const behind = behindOf(element);
    const back = luminance(paint(behind));
    const text = luminance(paint([...behind, getComputedStyle(element).color]));
    const ratio = (Math.max(back, text) + 0.05) / (Math.min(back, text) + 0.05);
    found.push([ratio, element.tagName + "." + element.className + "#" + element.id]);
  }
  return found.sort((a, b) => a[0] - b[0]);
}
"""


class BrowserTestCase(parameterized.TestCase):
  """Opens pages, and knows what they did besides showing."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    pytest.importorskip("playwright", reason="playwright is not installed (launch/env.sh test)")
    executable = find_chromium()
    if executable is None:
      pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the PATH; set HTMTL_CHROMIUM")
    cls.browser = _start(executable)

  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    self._observed = {}

  def open(
    self,
    path: pathlib.Path | str,
    size: tuple[int, int] = DESKTOP,
    dark: bool = False,
    javascript: bool = True,
    touch: bool = False,
    fragment: str = "",
  ):
    """Opens a file in a fresh profile; returns the Playwright page.

    Args:
      path: of an HTML file.
      size: width and height in CSS pixels.
      dark: prefer the dark colour scheme.
      javascript: whether scripts run.
      touch: a touch screen without a mouse.
      fragment: after "#" in the address.
    """
    context = self.browser.new_context(
      viewport={"width": size[0], "height": size[1]},
      color_scheme="dark" if dark else "light",
      reduced_motion="reduce",  # scrolling is done when the call returns
      java_script_enabled=javascript,
      has_touch=touch,
      is_mobile=touch,
      accept_downloads=True,
    )
    self.addCleanup(context.close)
    context.set_default_navigation_timeout(120_000)  # ms; a busy machine is slow, not wrong
    if javascript:
      context.add_init_script(_RECORD)
    page = context.new_page()
    address = pathlib.Path(path).resolve().as_uri() + (f"#{fragment}" if fragment else "")
    kinds = ("requests", "failures", "dialogs", "console", "errors")
    seen = self._observed[page] = {kind: [] for kind in kinds}
    page.on("request", lambda request: seen["requests"].append(request.url))
    page.on("requestfailed", lambda r: seen["failures"].append((r.url, r.failure)))
    page.on("console", lambda message: seen["console"].append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: seen["errors"].append(str(error)))

    def dismiss(dialog):
      seen["dialogs"].append(dialog.message)
      dialog.dismiss()

    page.on("dialog", dismiss)
    page.goto(address)
    return page

  def failures(self, page) -> list[tuple[str, str]]:
    """Requests that failed, with the reason: "csp" where the policy stopped them."""
    return self._observed[page]["failures"]

  def requests(self, page) -> list[str]:
    """What the page asked for, without itself and without what is in it (`data:`, `blob:`).

    This includes what the policy stopped before it was sent.
    """
    own = page.url.partition("#")[0]
    return [
      url
      for url in self._observed[page]["requests"]
      if url.partition("#")[0] != own and not url.startswith(("data:", "blob:"))
    ]

  def assert_quiet(self, page) -> None:
    """Nothing requested, no error, no message, no dialog, nothing that the policy had to stop."""
    seen = self._observed[page]
    self.assertEqual(self.requests(page), [])
    for kind in ("dialogs", "console", "errors"):
      self.assertEqual(seen[kind], [], kind)
    self.assertEqual(page.evaluate("window.htmtlViolations ?? []"), [])

  def assert_contrast(self, page, least: float = 4.5) -> None:
    """All text that is shown has the contrast that WCAG 2 AA asks of small text."""
    found = page.evaluate(_CONTRASTS)
    self.assertNotEmpty(found)
    self.assertEqual([entry for entry in found if entry[0] < least][:5], [])

  def assert_no_sideways_scroll(self, page) -> None:
    """The page is as wide as the window: nothing to scroll to the side."""
    wide = page.evaluate(
      """() => {
        const width = document.documentElement.clientWidth;
        return [...document.querySelectorAll("body *")]
          .filter((e) => e.getBoundingClientRect().right > width + 1 && e.checkVisibility()
                         && !e.closest(".scroll, .visually-hidden, .skip"))
          .map((e) => e.tagName + "." + e.className);
      }"""
    )
    widths = page.evaluate(
      "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    self.assertEqual(wide[:5], [])
    self.assertLessEqual(widths[0], widths[1])
