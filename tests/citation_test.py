"""CITATION.cff: what readers of it require, and that it agrees with the other places."""

import pathlib
import re
import tomllib

from absl.testing import absltest
import yaml

_ROOT = pathlib.Path(__file__).resolve().parent.parent


class CitationTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.citation = yaml.safe_load((_ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    self.project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

  def test_keys_of_version_1_2_0(self):
    self.assertEqual(self.citation["cff-version"], "1.2.0")
    for key in ("message", "title", "abstract", "license"):
      self.assertIsInstance(self.citation[key], str)
      self.assertNotEmpty(self.citation[key].strip())
    self.assertIn(self.citation["type"], ("software", "dataset"))
    self.assertNotEmpty(self.citation["authors"])
    for author in self.citation["authors"]:
      # An entity has a name; a person has other keys.
      self.assertTrue({"name"} <= set(author) or {"family-names", "given-names"} <= set(author))
    self.assertTrue(all(isinstance(word, str) for word in self.citation["keywords"]))
    # What the schema knows; a misspelt key is refused by it.
    self.assertContainsSubset(
      self.citation,
      ("cff-version", "message", "type", "title", "abstract", "authors", "version", "license")
      + ("keywords", "date-released", "repository-code", "url", "doi", "preferred-citation"),
    )

  def test_agrees_with_the_package_and_the_readme(self):
    self.assertEqual(str(self.citation["version"]), self.project["version"])
    self.assertEqual(self.citation["license"], self.project["license"])
    self.assertEqual(
      [author["name"] for author in self.citation["authors"]],
      [author["name"] for author in self.project["authors"]],
    )
    readme = (_ROOT / "README.md").read_text(encoding="utf-8")
    entry = readme[readme.index("@software{") :].split("```")[0]
    fields = dict(re.findall(r"(\w+) = \{(.*)\}", entry))
    plain = {name: text.replace("{", "").replace("}", "") for name, text in fields.items()}
    self.assertEqual(plain["title"], self.citation["title"])
    self.assertEqual(plain["version"], str(self.citation["version"]))
    self.assertEqual(plain["author"], self.citation["authors"][0]["name"])


if __name__ == "__main__":
  absltest.main()
