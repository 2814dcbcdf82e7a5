"""Pages as files: what stands in them, and that text stays text."""

import fnmatch
import json
import math
import pathlib
import tempfile
import tomllib

from absl.testing import absltest, parameterized
import jinja2

from htmtl_jax.documents.parsers.files import read_paper
from htmtl_jax.errors import UserError
from htmtl_jax.reports import page
from tests import hostile
from tests.pages import PageTestCase, hashes_of, parse, policy_of


class RenderPageTest(PageTestCase):
  def test_the_policy_names_what_is_in_the_page_and_nothing_else(self):
    tree = parse(page.render_page("page.html", "A title", {"x": 1}, scripts=("tabs.js",)))
    policy = policy_of(tree)
    self.assertEqual(policy["default-src"], ["'none'"])
    self.assertEqual(policy["base-uri"], ["'none'"])
    self.assertEqual(policy["form-action"], ["'none'"])
    self.assertEqual(policy["style-src"], hashes_of(tree, "style"))
    scripts = hashes_of(tree, "script:not([type='application/json'])")
    self.assertLen(scripts, 1)
    self.assertEqual(policy["script-src"], scripts)
    self.assertNotIn("img-src", policy)
    for unsafe in ("unsafe", "http", "*"):
      self.assertNotIn(unsafe, " ".join(sum(policy.values(), [])))
    # It holds for what follows it, so it comes before everything that it is about.
    tags = [node.tag for node in tree.head.iter()]
    self.assertLess(tags.index("meta"), tags.index("style"))
    self.assertIn("http-equiv", tree.head.css("meta")[2].attributes)

  def test_a_page_without_scripts_allows_none_and_images_only_if_asked(self):
    policy = policy_of(parse(page.render_page("page.html", "A title", images=True)))
    self.assertEqual(policy["script-src"], ["'none'"])
    self.assertEqual(policy["img-src"], ["data:"])

  @parameterized.parameters(*hostile.TEXTS)
  def test_a_title_is_text(self, text):
    tree = parse(page.render_page("page.html", text))
    expected = page.clean_text(text)
    self.assertEqual(tree.css_first("h1").text(), expected)
    self.assertEqual(tree.css_first("title").text(), page.strip_bidi(expected))
    self.assert_self_contained(page.render_page("page.html", text))
    self.assertEmpty(tree.css("script, iframe, base, link, form, img, svg, a"))
    self.assertLen(tree.css("meta"), 6)

  def test_data_comes_back_from_the_page(self):
    data = {"texts": list(hostile.TEXTS), "<k>": [1, None, True, 0.1]}
    html = page.render_page("page.html", "A title", data)
    node = parse(html).css_first("script#data")
    self.assertEqual(node.attributes["type"], "application/json")
    self.assertEqual(json.loads(node.text(deep=True)), data)
    self.assertNotRegex(page.dump_json(data), "[<>&\u2028\u2029]")
    html.encode()  # lone surrogates have become escapes or U+FFFD

  @parameterized.parameters(math.nan, math.inf)
  def test_data_that_json_does_not_have(self, value):
    with self.assertRaises(ValueError):
      page.render_page("page.html", "A title", [value])

  def test_templates_never_switch_escaping_off(self):
    folder = pathlib.Path(page.__file__).parent
    templates = sorted((folder / "templates").iterdir())
    self.assertNotEmpty(templates)
    for path in templates:
      content = path.read_text(encoding="utf-8")
      self.assertNotRegex(
        content, r"\|\s*safe|autoescape|Markup|\bstyle\s*=|\son\w+\s*=", path.name
      )
    for path in (folder / "static").iterdir():
      content = path.read_text(encoding="utf-8")
      self.assertNotRegex(
        content, r"innerHTML|outerHTML|document\.write|\beval\(|https?:", path.name
      )

  def test_an_installed_package_has_all_files(self):
    root = pathlib.Path(page.__file__).parent
    with open(root.parent.parent / "pyproject.toml", "rb") as f:
      patterns = tomllib.load(f)["tool"]["setuptools"]["package-data"]["htmtl_jax.reports"]
    files = [path for path in root.rglob("*") if path.suffix in (".css", ".html", ".js")]
    self.assertNotEmpty(files)
    for path in files:
      name = str(path.relative_to(root))
      self.assertTrue(any(fnmatch.fnmatch(name, pattern) for pattern in patterns), name)

  def test_a_name_that_a_template_lacks_is_an_error(self):
    environment = page._environment()
    with self.assertRaises(jinja2.UndefinedError):
      environment.from_string("{{ missing }}").render()


class WritePageTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

  def test_written_whole_and_again(self):
    path = self.folder / "new" / "a.html"
    for title in ("One", "Two"):
      html = page.render_page("page.html", title)
      self.assertEqual(page.write_page(str(path), html), str(path))
      self.assertEqual(path.read_text(encoding="utf-8"), html)
    self.assertEqual([p.name for p in path.parent.iterdir()], ["a.html"])

  def test_somebody_elses_page_is_kept(self):
    path = self.folder / "paper.html"
    path.write_text("<html><p>Mine.</p>")
    with self.assertRaisesRegex(UserError, "paper.html: is there already .* not overwritten"):
      page.write_page(str(path), page.render_page("page.html", "Other"))
    self.assertEqual(path.read_text(), "<html><p>Mine.</p>")

  def test_a_folder_that_cannot_be_made(self):
    (self.folder / "file").write_text("")
    with self.assertRaisesRegex(UserError, "cannot be written"):
      page.write_page(str(self.folder / "file" / "a.html"), page.render_page("page.html", "A"))

  def test_a_report_is_no_paper(self):
    path = str(self.folder / "a.html")
    page.write_page(path, page.render_page("page.html", "A paper"))
    with self.assertRaisesRegex(UserError, "a.html: is a report of htmtl_jax, not a paper"):
      read_paper(path)


if __name__ == "__main__":
  absltest.main()
