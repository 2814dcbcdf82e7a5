"""DOCX papers: styles, guessed headings, formulas, and packages that mean harm."""

import io
import os
import random
import re
import struct
import tempfile
import time
from unittest import mock
import zipfile

from absl.testing import absltest, parameterized
import docx

from htmtl_jax.documents.document import Section
from htmtl_jax.documents.parsers import docx as docx_parser
from htmtl_jax.documents.parsers import files
from htmtl_jax.documents.parsers.docx import parse_docx
from htmtl_jax.errors import UserError

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
MATH = "http://schemas.openxmlformats.org/officeDocument/2006/math"


def save(document) -> bytes:
  stream = io.BytesIO()
  document.save(stream)
  return stream.getvalue()


def replace_part(data: bytes, name: str, content) -> bytes:
  """The package with one part replaced: by bytes, or by a function of the old ones."""
  stream = io.BytesIO()
  with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w", 8) as new:
    for member in old.namelist():
      part = old.read(member)
      if member == name:
        part = content(part) if callable(content) else content
      new.writestr(member, part)
  return stream.getvalue()


def make_with_body(body: str, styles: str = "") -> bytes:
  """A package whose body is this XML, with more styles."""
  xml = f'<w:document xmlns:w="{WORD}" xmlns:m="{MATH}"><w:body>{body}</w:body></w:document>'
  data = replace_part(save(docx.Document()), "word/document.xml", xml.encode())
  end = b"</w:styles>"
  return replace_part(data, "word/styles.xml", lambda old: old.replace(end, styles.encode() + end))


def paragraph(text: str, properties: str = "", run: str = "") -> str:
  return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:rPr>{run}</w:rPr><w:t>{text}</w:t></w:r></w:p>"


def make_with_entity(doctype: str) -> bytes:
  """A package with this document type, whose text uses its entity "i"."""
  body = paragraph("So &i; it is.") + paragraph("The end.")
  return replace_part(
    make_with_body(body.replace("&i;", "ENTITY")),
    "word/document.xml",
    lambda old: doctype.encode() + old.replace(b"ENTITY", b"&i;"),
  )


def make_paper() -> bytes:
  document = docx.Document()
  document.add_heading("Rust in rice", 0)
  document.add_paragraph("Ada Example")
  document.add_heading("Abstract", 1)
  document.add_paragraph("Rust harms rice. It does.")
  document.add_heading("1 Introduction", 1)
  document.add_paragraph("Rice grows in water. See Fig. 3.")
  document.add_paragraph("One item", style="List Bullet")
  document.add_paragraph("Two items. Really", style="List Bullet")
  document.add_table(1, 1).cell(0, 0).text = "cell"
  document.add_heading("Detail", 2)
  document.add_paragraph("More\ttext.")
  document.add_paragraph("Figure 1. A cap.", style="Caption")
  document.add_paragraph("New list", style="List Number")
  document.add_heading("References", 1)
  document.add_paragraph("Someone.")
  return save(document)


def parse_sentences(body: str, styles: str = "") -> list[str]:
  document = parse_docx(make_with_body(body, styles), "x")
  return [s for c in document.sections for p in c.paragraphs for s in p]


class ParseTest(parameterized.TestCase):
  def test_whole_paper(self):
    document = parse_docx(make_paper(), "x")
    self.assertEqual((document.id, document.title), ("x", "Rust in rice"))
    self.assertEqual(document.abstract, (("Rust harms rice.", "It does."),))
    self.assertEqual(
      document.sections,
      (
        Section("", (("Ada Example",),)),
        Section(
          "1 Introduction",
          (
            ("Rice grows in water.", "See Fig. 3."),
            ("One item", "Two items.", "Really"),
            ("More text.",),
            ("New list",),
          ),
        ),
      ),
    )

  def test_the_first_heading_is_the_title_where_it_stands_alone(self):
    document = docx.Document()
    document.add_heading("Rust in rice", 1)
    document.add_paragraph("By Ada.")
    document.add_heading("Methods", 2)
    document.add_paragraph("We dig.")
    parsed = parse_docx(save(document), "x")
    self.assertEqual(parsed.title, "Rust in rice")
    self.assertEqual(
      parsed.sections, (Section("", (("By Ada.",),)), Section("Methods", (("We dig.",),)))
    )

  def test_outline_levels_and_styles_of_styles(self):
    styles = """
      <w:style w:type="paragraph" w:styleId="K1"><w:name w:val="Kapitel"/>
        <w:pPr><w:outlineLvl w:val="0"/></w:pPr></w:style>
      <w:style w:type="paragraph" w:styleId="K2"><w:name w:val="Mein"/><w:basedOn w:val="K1"/></w:style>
      <w:style w:type="paragraph" w:styleId="T"><w:name w:val="Text"/><w:basedOn w:val="K1"/>
        <w:pPr><w:outlineLvl w:val="9"/></w:pPr></w:style>
      <w:style w:type="paragraph" w:styleId="C1"><w:name w:val="C1"/><w:basedOn w:val="C2"/></w:style>
      <w:style w:type="paragraph" w:styleId="C2"><w:name w:val="C2"/><w:basedOn w:val="C1"/></w:style>
      <w:style w:type="paragraph" w:styleId="U"><w:name w:val="Überschrift 1"/></w:style>"""
    body = (
      paragraph("One", '<w:pStyle w:val="K1"/>')
      + paragraph("Is.", '<w:pStyle w:val="T"/>')
      + paragraph("Two", '<w:pStyle w:val="K2"/>')
      + paragraph("Circle.", '<w:pStyle w:val="C1"/>')
      + paragraph("Three", '<w:outlineLvl w:val="0"/>')
      + paragraph("Unknown style.", '<w:pStyle w:val="none"/>')
      + paragraph("Four", '<w:pStyle w:val="U"/>')
      + paragraph("End.", '<w:outlineLvl w:val="x"/>')
    )
    document = parse_docx(make_with_body(body, styles), "x")
    self.assertEqual(
      document.sections,
      (
        Section("One", (("Is.",),)),
        Section("Two", (("Circle.",),)),
        Section("Three", (("Unknown style.",),)),
        Section("Four", (("End.",),)),
      ),
    )

  def test_bold_lines_are_headings_where_no_style_says_so(self):
    bold, no_bold = "<w:b/>", '<w:b w:val="0"/>'
    body = (
      paragraph("Rust in rice", "", bold)
      + paragraph("Abstract")
      + paragraph("Rust harms.")
      + paragraph("1 Soil", "", bold)
      + paragraph("We dig")
      + paragraph("A bold sentence.", "", bold)
      + paragraph("1.1 Detail", "", bold)
      + paragraph("Deep", "", no_bold)
      + paragraph("Methods")
      + paragraph("We measure.")
    )
    document = parse_docx(make_with_body(body), "x")
    self.assertEqual(document.title, "Rust in rice")
    self.assertEqual(document.abstract, (("Rust harms.",),))
    self.assertEqual(
      document.sections,
      (
        Section("1 Soil", (("We dig",), ("A bold sentence.",), ("Deep",))),
        Section("Methods", (("We measure.",),)),
      ),
    )

  def test_what_stands_in_a_paragraph(self):
    run = "<w:r><w:t{0}>{1}</w:t></w:r>"
    space = ' xml:space="preserve"'
    body = (
      "<w:p>"
      + run.format(space, "So ")
      + "<w:del><w:r><w:delText>not </w:delText></w:r></w:del><w:ins><w:r><w:t>it</w:t></w:r></w:ins>"
      + '<w:hyperlink><w:r><w:t xml:space="preserve"> is</w:t></w:r></w:hyperlink>'
      + "<w:r><w:br/><w:t>well</w:t><w:noBreakHyphen/><w:t>known</w:t></w:r>"
      + '<w:r><w:footnoteReference w:id="1"/></w:r><w:r><w:instrText>CODE</w:instrText></w:r>'
      + "<w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r>"
      + "<w:r><w:pict><w:p><w:r><w:t>box</w:t></w:r></w:p></w:pict></w:r>"
      + run.format("", ".")
      + "</w:p><w:sdt><w:sdtContent>"
      + paragraph("Control.")
      + "</w:sdtContent></w:sdt>"
      + paragraph("Contents 1", '<w:pStyle w:val="TOC1"/>')
    )
    styles = '<w:style w:type="paragraph" w:styleId="TOC1"><w:name w:val="toc 1"/></w:style>'
    self.assertEqual(parse_sentences(body, styles), ["So it is well-known.", "Control."])

  def test_formulas(self):
    def text(value):
      return f"<m:r><m:t>{value}</m:t></m:r>"

    squared = f"<m:sSup><m:e>{text('x')}</m:e><m:sup>{text('2')}</m:sup></m:sSup>"
    fraction = f"<m:f><m:num>{text('a+b')}</m:num><m:den>{text('c')}</m:den></m:f>"
    bracket = f"<m:d><m:e>{text('n')}</m:e></m:d>"
    inline = f"<m:oMath>{squared}{text(' = ')}{fraction}{text(' O')}{bracket}</m:oMath>"
    long = f"<m:oMath>{text('a+' * 30)}</m:oMath>"
    body = (
      f"<w:p><w:r><w:t xml:space='preserve'>So </w:t></w:r>{inline}<w:r><w:t>.</w:t></w:r></w:p>"
      f"<w:p><w:r><w:t xml:space='preserve'>And </w:t></w:r>{long}<w:r><w:t>.</w:t></w:r></w:p>"
      f"<w:p><m:oMathPara><m:oMath>{squared}</m:oMath></m:oMathPara></w:p>"
    )
    self.assertEqual(parse_sentences(body), ["So x^2 = (a+b)/c O(n).", "And <formula>. <formula>"])

  def test_by_suffix(self):
    path = self.create_file("rice.docx", make_paper())
    document = files.read_paper(path)
    self.assertEqual((document.id, document.title), ("rice", "Rust in rice"))
    with self.assertRaisesRegex(UserError, "no text in this file"):
      files.read_paper(self.create_file("empty.docx", save(docx.Document())))

  def create_file(self, name: str, data: bytes) -> str:
    path = os.path.join(self.enter_context(tempfile.TemporaryDirectory()), name)
    with open(path, "wb") as handle:
      handle.write(data)
    return path


class HostileTest(parameterized.TestCase):
  @parameterized.parameters(
    (b"", "no DOCX, or a damaged one"),
    (b"PK\x03\x04", "no DOCX, or a damaged one"),
    (b"no zip at all", "no DOCX, or a damaged one"),
    (docx_parser._OLD_OFFICE + b"\0" * 600, "an old .doc, or protected by a password"),
  )
  def test_what_is_no_package(self, data, message):
    with self.assertRaisesRegex(UserError, rf"^x: {message}[^\n]*$"):
      parse_docx(data, "x")

  def test_packages_that_are_cut_off_or_hold_something_else(self):
    paper = make_paper()
    for length in (10, 1000, len(paper) // 2, len(paper) - 10):
      with self.assertRaisesRegex(UserError, "^x: no DOCX, or a damaged one"):
        parse_docx(paper[:length], "x")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as package:
      package.writestr("a.txt", "text")
    with self.assertRaisesRegex(UserError, r"^x: a damaged DOCX[^\n]*$"):
      parse_docx(stream.getvalue(), "x")
    with self.assertRaisesRegex(UserError, r"^x: a damaged DOCX[^\n]*$"):
      parse_docx(replace_part(paper, "word/document.xml", b"<w:document"), "x")

  def test_zip_bomb(self):
    bomb = replace_part(save(docx.Document()), "word/document.xml", b" " * (64 << 20))
    self.assertLess(len(bomb), 1 << 20)
    with (
      mock.patch("docx.Document") as opened,
      mock.patch.object(zipfile.ZipFile, "open", side_effect=AssertionError("unpacked")),
    ):
      with self.assertRaisesRegex(UserError, r"^x: unpacks to more than 19 MiB[^\n]*$"):
        parse_docx(bomb, "x")
      opened.assert_not_called()

  def test_zip_bomb_whose_directory_lies(self):
    bomb = replace_part(save(docx.Document()), "word/document.xml", b" " * (64 << 20))
    size = struct.pack("<I", 64 << 20)
    self.assertEqual(bomb.count(size), 2)  # the local header and the directory
    with self.assertRaisesRegex(UserError, "^x: no DOCX, or a damaged one"):
      parse_docx(bomb.replace(size, struct.pack("<I", 1000)), "x")

  def test_more_than_the_directory_says(self):
    paper = make_paper()

    def unpack(*_):
      return io.BytesIO(b" " * (64 << 20))

    with mock.patch.object(zipfile.ZipFile, "open", unpack):
      with self.assertRaisesRegex(UserError, "^x: unpacks to more than"):
        parse_docx(paper, "x")

  def test_large_packages_by_their_real_size(self):
    data = make_paper()
    with mock.patch.object(docx_parser, "MAX_UNPACKED_BYTES", 10_000):
      with self.assertRaisesRegex(UserError, "^x: unpacks to more than"):
        parse_docx(data, "x")

  def test_password(self):
    data = bytearray(make_paper())
    for found in list(re.finditer(b"PK\x01\x02", data)):
      data[found.start() + 8] |= 1
    with self.assertRaisesRegex(UserError, "^x: a DOCX with a password"):
      parse_docx(bytes(data), "x")

  @parameterized.parameters(
    '<!DOCTYPE d [<!ENTITY i "lol">]>',
    '<!DOCTYPE d [<!ENTITY i SYSTEM "file:///etc/passwd">]>',
    '<!DOCTYPE d SYSTEM "file:///etc/passwd" [<!ENTITY i "lol">]>',
  )
  def test_entities_do_not_expand(self, doctype):
    document = parse_docx(make_with_entity(doctype), "x")
    self.assertEqual(document.sections, (Section("", (("So",), ("The end.",))),))

  def test_entity_bomb(self):
    entities = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi"))
    start = time.monotonic()
    with self.assertRaisesRegex(UserError, "^x: a damaged DOCX"):
      parse_docx(make_with_entity(f'<!DOCTYPE d [<!ENTITY a "lol">{entities}]>'), "x")
    self.assertLess(time.monotonic() - start, 5)

  def test_deep_nesting(self):
    with self.assertRaisesRegex(UserError, "^x: a damaged DOCX"):
      parse_docx(make_with_body("<w:sdt>" * 50_000 + "</w:sdt>" * 50_000), "x")

  def test_mutated_xml_makes_a_document_or_one_clear_line(self):
    rng, start, num_read = random.Random(0), time.monotonic(), 0
    base, paper = make_paper(), zipfile.ZipFile(io.BytesIO(make_paper()))
    for trial in range(60):
      name = ("word/document.xml", "word/styles.xml", "[Content_Types].xml", "_rels/.rels")[
        trial % 4
      ]
      part = paper.read(name).decode()
      words = re.findall(r"[\w:]+", part)
      for _ in range(rng.randint(1, 3)):  # words swapped keep the XML well-formed now and then
        old, new = rng.choice(words), rng.choice(words)
        part = re.sub(rf"\b{re.escape(old)}\b", new, part)
      try:
        parse_docx(replace_part(base, name, part.encode()), "x")
        num_read += 1
      except UserError as error:
        self.assertNotIn("\n", str(error))
    for _ in range(60):
      data = bytearray(base)
      for _ in range(rng.randint(1, 5)):
        data[rng.randrange(len(data))] = rng.randrange(256)
      try:
        parse_docx(bytes(data), "x")
      except UserError as error:
        self.assertNotIn("\n", str(error))
    self.assertGreater(num_read, 5)
    self.assertLess(time.monotonic() - start, 60)


if __name__ == "__main__":
  absltest.main()
