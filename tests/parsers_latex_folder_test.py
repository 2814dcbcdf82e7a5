"""LaTeX papers of several files: what is included, what is a paper, what is never read."""

import os
import tempfile
import time

from absl.testing import absltest, parameterized

from htmtl_jax.documents.document import Section
from htmtl_jax.documents.parsers import files, latex_folder
from htmtl_jax.documents.parsers.latex import parse_latex
from htmtl_jax.documents.parsers.latex_includes import MAX_FILES
from htmtl_jax.errors import UserError


class FolderTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.outside = self.enterContext(tempfile.TemporaryDirectory())
    self.folder = os.path.join(self.outside, "rice2024")
    os.mkdir(self.folder)

  def write(self, name, data):
    path = os.path.join(self.folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as handle:
      handle.write(data)
    return path

  def write_paper(self, body, name="main.tex"):
    return self.write(name, rf"\documentclass{{a}}\begin{{document}}{body}\end{{document}}")

  def test_included_files(self):
    self.write("macros.tex", r"\newcommand{\x}{rice}")
    self.write("sections/intro.tex", "% first\n\\section{Intro}\nWe \\x. \\input more \\x.")
    self.write("more.tex", "More\\endinput Not this.")
    self.write(
      "sections/sub.tex",
      "\\documentclass[../main]{subfiles}\nJunk\\begin{document}Sub \\input{deep}\\end{document}x",
    )
    self.write("sections/deep.tex", "deep.")
    self.write_paper(
      r"\input{macros}\include{sections/intro.tex}\section{B}\import{sections/}{sub} End."
    )
    document = files.read_paper(self.folder)
    self.assertEqual(document.id, "rice2024")
    self.assertEqual(
      document.sections,
      (Section("Intro", (("We rice.", "More rice."),)), Section("B", (("Sub deep.", "End."),))),
    )
    self.assertEqual(files.read_papers(self.folder), [document])
    self.assertEqual(files.read_paper(os.path.join(self.folder, "main.tex")).id, "main")

  @parameterized.parameters(
    "../secret", "../secret.tex", "link", "sections/../../secret", "sections/link", "/etc/passwd",
    r"..\secret", "folder", "none", "~/secret", "main.tex/x",
  )  # fmt: skip
  def test_nothing_outside_of_the_folder_is_read(self, name):
    secret = os.path.join(self.outside, "secret.tex")
    with open(secret, "w", encoding="utf-8") as handle:
      handle.write("Secret.")
    os.makedirs(os.path.join(self.folder, "folder.tex"))
    os.symlink(secret, os.path.join(self.folder, "link.tex"))
    os.symlink(self.outside, os.path.join(self.folder, "sections"))
    self.write_paper(rf"Before. \input{{{name}}} After.")
    with self.assertLogs(level="WARNING") as logs:
      document = files.read_paper(self.folder)
    self.assertEqual(document.sections[0].paragraphs, (("Before.", "After."),))
    self.assertIn("left out: no such file", logs.output[0])
    read_input = latex_folder.make_input_reader(self.folder, files.decode_text)
    self.assertIsNone(read_input(secret))
    self.assertIsNone(read_input("../secret.tex"))
    self.assertIsNone(read_input("link.tex"))
    self.assertIsNone(read_input("\0"))

  def test_a_link_inside_of_the_folder_is_read(self):
    self.write("real.tex", "Real.")
    os.symlink("real.tex", os.path.join(self.folder, "link.tex"))
    self.write_paper(r"\input{link}")
    self.assertEqual(files.read_paper(self.folder).sections, (Section("", (("Real.",),)),))

  def test_files_that_include_each_other(self):
    self.write("a.tex", r"A is. \input{b}")
    self.write("b.tex", r"B is. \input{./a}")
    self.write_paper(r"\input{a} End. \title{\input{a}}")
    with self.assertLogs(level="WARNING") as logs:
      document = files.read_paper(self.folder)
    self.assertEqual(document.sections, (Section("", (("A is.", "B is.", "End."),)),))
    self.assertIn("left out: it includes itself", logs.output[0])

  def test_many_files(self):
    for i in range(30):
      self.write(f"a{i}.tex", rf"Level {i}. \input{{a{i + 1}}}\input{{a{i + 1}}}")
    self.write_paper(r"\input{a0}")
    start = time.monotonic()
    with self.assertLogs(level="WARNING") as logs:
      document = files.read_paper(self.folder)
    self.assertLess(time.monotonic() - start, 30)
    sentences = [s for p in document.sections[0].paragraphs for s in p]
    self.assertLessEqual(len(sentences), MAX_FILES)
    self.assertIn(f"more than {MAX_FILES} files", logs.output[-1])

  def test_a_text_without_a_folder_includes_nothing(self):
    with self.assertLogs(level="WARNING"):
      document = parse_latex(r"A. \input{b}", "x")
    self.assertEqual(document.sections, (Section("", (("A.",),)),))

  def test_folder_of_papers(self):
    self.write_paper(r"One. \includegraphics[width=1cm]{figs/plot}\input{part}", "one.tex")
    self.write_paper("Two.", "two.tex")
    self.write("part.tex", "Part.")
    for name in ("one.pdf", "plot.pdf", "other.pdf"):
      self.write(name, "%PDF")
    self.write("notes.md", "Notes.")
    self.write_paper("Three.", "three/main.tex")
    self.write("three/part.tex", "Part.")
    self.write("figures/plot.tex", "Part.")
    os.mkdir(os.path.join(self.folder, "odd.md"))
    names = [os.path.basename(path) for path in files.list_papers(self.folder)]
    self.assertEqual(names, ["notes.md", "one.tex", "other.pdf", "three", "two.tex"])
    os.remove(os.path.join(self.folder, "other.pdf"))
    documents = files.read_papers(self.folder)
    self.assertEqual([d.id for d in documents], ["notes", "one", "three", "two"])
    self.assertEqual(documents[1].sections, (Section("", (("One.", "Part."),)),))
    with self.assertRaisesRegex(UserError, r"is a folder; give a file.*found: one.tex, two.tex"):
      files.read_paper(self.folder)

  def test_parts_without_a_paper_are_papers(self):
    self.write("a.tex", "One.")
    self.write("b.tex", "Two.")
    self.assertEqual([d.id for d in files.read_papers(self.folder)], ["a", "b"])

  def test_what_is_a_paper(self):
    for text, expected in (
      (r"\documentclass{a}", True),
      ("\n  \\documentclass[a,\n b]{c}", True),
      (r"\documentstyle{a}", True),
      (r"% \documentclass{a}", False),
      (r"\documentclass[main]{subfiles}", False),
      (r"\documentclass[tikz]{standalone}", False),
      ("", False),
    ):
      self.write("main.tex", text)
      self.assertEqual(latex_folder.is_latex_paper(self.folder), expected, text)

  def test_macro_bomb_is_stopped_in_time(self):
    start = time.monotonic()
    with self.assertRaisesRegex(UserError, r"main\.tex: the macro \\a .*[^\n]*$"):
      files.read_paper(self.write_paper(r"\def\a{\a\a}\a"))
    self.assertLess(time.monotonic() - start, 30)


if __name__ == "__main__":
  absltest.main()
