"""Markdown and plain-text papers, and files that are not papers."""

import os
import random
import tempfile
import time

from absl.testing import absltest, parameterized

from htmtl_jax.documents.document import Section
from htmtl_jax.documents.parsers import files, markdown, plain_text
from htmtl_jax.errors import UserError

MARKDOWN = """---
title: From the front matter
---
# Rice and rust

Ada Example

### Abstract

Rust *harms* rice, see [the map](http://example.org/a_b).

## 1 Introduction

Rice grows
in water. See Fig. 3 for it.

### A detail

`Code` and ![an image](a.png) and <b>bold</b> words.

- One item
- Two items. Really
    - Nested

```python
left_out()
```

| a | b |
|---|---|
| 1 | 2 |

Methods
-------

> A quoted line.

## References

1. Someone, a title.

### More references

Someone else.

## Summary

It ended.
"""

PLAIN = """Rice and rust in
wet years

Ada Example

ABSTRACT

Rust harms rice. It does.

1 Introduction

Rice grows
in water. See Fig. 3 for it.

2. Data and models
We used rice from many farms and models from nowhere.

2.1 Sub-part

3 mice were in the field when we looked at it for the first time in the
long and wet year of the study.

RESULTS OF IT ALL

Rust won.

Acknowledgements

We thank the rice.
"""


class ParseTest(parameterized.TestCase):
  def test_markdown(self):
    document = markdown.parse_markdown(MARKDOWN, "x")
    self.assertEqual(document.id, "x")
    self.assertEqual(document.title, "Rice and rust")
    self.assertEqual(document.abstract, (("Rust harms rice, see the map.",),))
    self.assertEqual(
      document.sections,
      (
        Section("", (("Ada Example",),)),
        Section(
          "1 Introduction",
          (
            ("Rice grows in water.", "See Fig. 3 for it."),
            ("Code and and bold words.",),
            ("One item", "Two items.", "Really", "Nested"),
          ),
        ),
        Section("Methods", (("A quoted line.",),)),
        Section("Summary", (("It ended.",),)),
      ),
    )

  def test_plain_text(self):
    document = plain_text.parse_plain_text(PLAIN, "x")
    self.assertEqual(document.title, "Rice and rust in wet years")
    self.assertEqual(document.abstract, (("Rust harms rice.", "It does."),))
    self.assertEqual(
      document.sections,
      (
        Section("", (("Ada Example",),)),
        Section("1 Introduction", (("Rice grows in water.", "See Fig. 3 for it."),)),
        Section(
          "2. Data and models",
          (
            ("We used rice from many farms and models from nowhere.",),
            (
              "3 mice were in the field when we looked at it for the first time in the long and wet "
              "year of the study.",
            ),
          ),
        ),
        Section("RESULTS OF IT ALL", (("Rust won.",),)),
      ),
    )

  def test_windows_line_ends_change_nothing(self):
    self.assertEqual(
      markdown.parse_markdown(MARKDOWN.replace("\n", "\r\n"), "x"),
      markdown.parse_markdown(MARKDOWN, "x"),
    )
    self.assertEqual(
      plain_text.parse_plain_text(PLAIN.replace("\n", "\r\n"), "x"),
      plain_text.parse_plain_text(PLAIN, "x"),
    )

  def test_several_top_headings_are_sections(self):
    document = markdown.parse_markdown("# A\nfoo\n# B\nbar\n## C\nbaz", "x")
    self.assertEqual(document.title, "")
    self.assertEqual(
      document.sections, (Section("A", (("foo",),)), Section("B", (("bar",), ("baz",))))
    )

  def test_a_section_goes_on_after_a_part_of_it_that_is_left_out(self):
    document = markdown.parse_markdown(
      "# A\nfoo\n## Ethics statement\nout\n### Deeper\nout\n## More\nbar\n# B\nbaz", "x"
    )
    self.assertEqual(
      document.sections, (Section("A", (("foo",), ("bar",))), Section("B", (("baz",),)))
    )

  def test_a_single_heading_is_a_section(self):
    document = markdown.parse_markdown("# A\nfoo", "x")
    self.assertEqual((document.title, document.sections), ("", (Section("A", (("foo",),)),)))

  def test_front_matter_gives_the_title_where_no_heading_does(self):
    document = markdown.parse_markdown("---\ntitle: 'T'\n---\n## A\nfoo\n## B\nbar", "x")
    self.assertEqual(document.title, "T")
    self.assertLen(document.sections, 2)

  def test_late_summary_is_a_section_and_an_abstract_alone_is_the_text(self):
    document = plain_text.parse_plain_text("Introduction\n\nFoo is.\n\nSummary\n\nBar was.", "x")
    self.assertEqual([s.heading for s in document.sections], ["Introduction", "Summary"])
    self.assertEmpty(document.abstract)
    document = markdown.parse_markdown("# Abstract\nonly this", "x")
    self.assertEqual(document.sections, (Section("Abstract", (("only this",),)),))

  @parameterized.parameters(markdown.parse_markdown, plain_text.parse_plain_text)
  def test_one_word(self, parse):
    self.assertEqual(parse("word", "x").sections, (Section("", (("word",),)),))

  def test_markdown_heading_alone_is_the_text(self):
    self.assertEqual(
      markdown.parse_markdown("# Hello", "x").sections, (Section("", (("Hello",),)),)
    )

  @parameterized.parameters(markdown.parse_markdown, plain_text.parse_plain_text)
  def test_long_documents(self, parse):
    sentences = parse("It is so. " * 2000, "x").sections[0].paragraphs[0]
    self.assertLen(sentences, 2000)
    sentences = parse("word " * 5000, "x").sections[0].paragraphs[0]
    self.assertEqual([len(s.split()) for s in sentences], [5000])

  @parameterized.parameters(markdown.parse_markdown, plain_text.parse_plain_text)
  def test_mutated_input_makes_a_document_quickly(self, parse):
    rng = random.Random(0)
    junk = [
      "#",
      "\n",
      "\n\n",
      "- ",
      "```",
      "|",
      "---\n",
      "> ",
      "[",
      "](",
      "![",
      "<!--",
      "\t",
      "    ",
      "1. ",
      "*",
      "\x0c",
      "\u2028",
      "&#0;",
      "\\",
      "日",
      "\x1b",
    ]
    start = time.monotonic()
    for _ in range(300):
      source = list(rng.choice((MARKDOWN, PLAIN)))
      for _ in range(rng.randint(1, 40)):
        place = rng.randrange(len(source))
        source[place : place + rng.randint(0, 5)] = rng.choice(junk) * rng.randint(1, 4)
      document = parse("".join(source), "x")
      for section in document.sections:
        self.assertTrue(section.heading or section.paragraphs)
        for paragraph in section.paragraphs:
          self.assertTrue(paragraph and all(s.strip() for s in paragraph))
    for source in (
      "> " * 3000 + "deep",
      "[" * 20_000,
      "*a " * 20_000,
      "- " * 3000 + "x",
      "# " * 20_000,
      "`" * 20_000,
      "<" * 20_000,
      "|a" * 5_000 + "\n" + "|-" * 5_000,
    ):
      parse(source, "x")
    self.assertLess(time.monotonic() - start, 30)


class ReadTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.enterContext(tempfile.TemporaryDirectory())

  def write(self, name, data):
    path = os.path.join(self.folder, name)
    with open(path, "wb") as handle:
      handle.write(data.encode() if isinstance(data, str) else data)
    return path

  @parameterized.parameters("p.md", "p.MARKDOWN", "p.txt", "p")
  def test_suffix_decides(self, name):
    document = files.read_paper(self.write(name, "# A\n\nfoo\n\n# B\n\nbar"))
    self.assertEqual(document.id, "p")
    is_markdown = name.lower().startswith("p.m")
    self.assertEqual([s.heading for s in document.sections] == ["A", "B"], is_markdown)

  def test_encodings(self):
    for data in (
      "Größe zählt.".encode("utf-8-sig"),
      "Größe zählt.".encode("utf-16"),
      b"Gr\xc3\xb6\x00\xc3\x9fe z\xc3\xa4hlt.\x00",
    ):
      document = files.read_paper(self.write("p.txt", data))
      self.assertEqual(document.sections, (Section("", (("Größe zählt.",),)),))
    with self.assertLogs(level="WARNING") as logs:
      document = files.read_paper(self.write("p.txt", "Größe zählt.".encode("latin-1")))
    self.assertEqual(document.sections, (Section("", (("Größe zählt.",),)),))
    self.assertIn("read as Latin-1", logs.output[0])

  @parameterized.parameters(
    "",
    " \n\t\n",
    "\x00\x00",
    "```\ncode\n```",
    "![image](a.png)",
    "# References\n\nSomeone.",
    "---\ntitle: x\n---\n<!-- none -->",
  )
  def test_file_without_text(self, data):
    with self.assertRaisesRegex(UserError, "p.md: no text in this file"):
      files.read_paper(self.write("p.md", data))

  def test_bad_paths(self):
    with self.assertRaisesRegex(UserError, "none.md: no such file"):
      files.read_paper(os.path.join(self.folder, "none.md"))
    with self.assertRaisesRegex(UserError, "is a folder; give a file"):
      files.read_paper(self.folder)
    with self.assertRaisesRegex(UserError, r"unknown suffix '.png'; known: .*\.md, .markdown, "):
      files.read_paper(self.write("p.png", "\x89PNG"))
    with self.assertRaisesRegex(UserError, "no papers in this folder"):
      files.read_papers(self.folder)
    with self.assertRaisesRegex(UserError, "nowhere: no such file"):
      files.read_papers(os.path.join(self.folder, "nowhere"))

  def test_folder(self):
    self.write("b.md", "Two.")
    self.write("a.txt", "One.")
    self.write("b.txt", "Three.")
    self.write("c.md", "")
    self.write("figure.png", b"\x89PNG")
    with self.assertLogs(level="WARNING") as logs:
      documents = files.read_papers(self.folder)
    self.assertEqual([d.id for d in documents], ["a", "b", "b.txt"])
    self.assertIn("c.md: no text in this file", logs.output[0])
    self.assertLen(files.read_papers(os.path.join(self.folder, "a.txt")), 1)

  def test_folder_of_unreadable_files(self):
    self.write("a.md", "")
    with self.assertRaisesRegex(UserError, "none of 1 files could be read; the first: .*a.md"):
      files.read_papers(self.folder)


if __name__ == "__main__":
  absltest.main()
