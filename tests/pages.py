"""What every HTML page of ours has to be, checked on the parsed file, without a browser."""

import base64
import hashlib
import re

from absl.testing import parameterized
import selectolax.lexbor

URL_ATTRIBUTES = (
  "action background cite data formaction href longdesc manifest ping poster src srcset xlink:href"
).split()
REFERENCES = ("aria-controls", "aria-describedby", "aria-labelledby", "for")
FORBIDDEN_TAGS = "applet base embed frame frameset iframe link noscript object portal".split()


def parse(html: str) -> selectolax.lexbor.LexborHTMLParser:
  return selectolax.lexbor.LexborHTMLParser(html)


def policy_of(tree) -> dict[str, list[str]]:
  """The Content-Security-Policy: sources by directive."""
  content = tree.css_first("meta[http-equiv='Content-Security-Policy']").attributes["content"]
  return {words[0]: words[1:] for words in map(str.split, content.split(";"))}


def hashes_of(tree, selector: str) -> list[str]:
  """What the policy must name, computed from what the parser found in the page."""
  sources = []
  for node in tree.css(selector):
    digest = hashlib.sha256(node.text(deep=True).encode()).digest()
    sources.append(f"'sha256-{base64.b64encode(digest).decode()}'")
  return sources


class PageTestCase(parameterized.TestCase):
  """Adds `assert_self_contained`."""

  def assert_self_contained(self, html: str, pages: tuple[str, ...] = ()) -> None:
    """The policy fits the page, nothing in it is fetched or run besides, all links have targets.

    Args:
      html: the page.
      pages: relative addresses of other pages that it may link to.
    """
    html.encode("utf-8")
    tree = parse(html)
    policy = policy_of(tree)
    self.assertEqual(policy["default-src"], ["'none'"])
    self.assertEqual(policy["style-src"], hashes_of(tree, "style"))
    scripts = hashes_of(tree, "script:not([type='application/json'])")
    self.assertEqual(policy["script-src"], scripts or ["'none'"])
    self.assertIn(policy.get("img-src"), (None, ["data:"]))

    ids, links, references = [], [], []
    for node in tree.css("*"):
      self.assertNotIn(node.tag, FORBIDDEN_TAGS)
      for name, value in node.attributes.items():
        self.assertNotRegex(name, r"^(on|style$|srcdoc$)", f"{name}={value!r}")
        if name == "id":
          ids.append(value)
        elif name in URL_ATTRIBUTES and not (node.tag == "img" and value.startswith("data:image/")):
          links.append(value)
        elif name in REFERENCES:
          references += value.split()
    self.assertCountEqual(ids, set(ids), "ids are unique")
    for link in links:
      if link not in pages:
        self.assertStartsWith(link, "#")
        self.assertIn(link[1:], ids)
    self.assertContainsSubset(references, ids)
    if scripts:  # what scripts look up by its id is there
      code = "".join(node.text(deep=True) for node in tree.css("script:not([type])"))
      self.assertContainsSubset(re.findall(r'\bget\("([\w-]+)"\)', code), ids)
