"""PDF papers: lines to paragraphs, running lines, damaged and hostile files.

The files are written here, object by object, so that what is on a page is known.
"""

import builtins
import itertools
import os
import random
import tempfile
import time
from unittest import mock
import zlib

from absl.testing import absltest, parameterized
import pytest

from htmtl_jax.documents.document import Section
from htmtl_jax.documents.parsers import files, pdf
from htmtl_jax.documents.parsers.pdf import parse_pdf
from htmtl_jax.errors import UserError

pytest.importorskip("pypdf", reason="pypdf is an extra")


def make_pdf(objects: list[bytes], trailer: bytes = b"") -> bytes:
  """A file of these objects, numbered from 1; the first is the catalogue."""
  data, places = b"%PDF-1.4\n", []
  for number, content in enumerate(objects, 1):
    places.append(len(data))
    data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
  table = b"".join(b"%010d 00000 n \n" % place for place in places)
  size = len(objects) + 1
  end = b"trailer\n<< /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n"
  return (
    data + b"xref\n0 %d\n0000000000 65535 f \n" % size + table + end % (size, trailer, len(data))
  )


def make_stream(content: bytes, entries: bytes = b"") -> bytes:
  return b"<< /Length %d %s>>\nstream\n%s\nendstream" % (len(content), entries, content)


def make_pages(streams: list[bytes], resources: bytes = b"", more: tuple[bytes, ...] = ()) -> bytes:
  """A file with a page for each content stream; `more` are objects from number 4 on."""
  first = 4 + len(more)
  numbers = range(first, first + 2 * len(streams), 2)
  objects = [
    b"<< /Type /Catalog /Pages 2 0 R >>",
    b"<< /Type /Pages /Kids [%s] /Count %d >>"
    % (b" ".join(b"%d 0 R" % n for n in numbers), len(streams)),
    b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    *more,
  ]
  for number, stream in zip(numbers, streams):
    page = (
      b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
      b"/Resources << /Font << /F1 3 0 R >> %s >> >>"
    )
    objects += [page % (number + 1, resources), stream]
  return make_pdf(objects)


def make_text_stream(lines: list[str], title: str = "") -> bytes:
  """A page of text, one line below the other."""
  commands = [b"BT /F1 10 Tf 14 TL 72 720 Td"]
  if title:
    commands = [b"BT /F1 18 Tf 22 TL 72 740 Td"]
    commands += [_show(line) for line in title.split("\n")]
    commands.append(b"/F1 10 Tf 14 TL")
  commands += [_show(line) for line in lines]
  return make_stream(b"\n".join([*commands, b"ET"]))


def _show(line: str) -> bytes:
  text = line.encode("cp1252")
  for sign in (b"\\", b"(", b")"):
    text = text.replace(sign, b"\\" + sign)
  return b"(%s) Tj T*" % text


PAGES = [
  [
    "Journal of Rice 12 (2024)",
    "Abstract",
    "Rust harms rice. We count how often, in many fields and over",
    "many years, and find that it is most harm-",
    "ful in wet ones.",
    "1 Introduction",
    "Rice grows in water, and rust grows on rice wherever it can. In",
    "2019 the rust came early and stayed. The self-",
    "similar spots of a self-similar rust are found everywhere.",
    "A second paragraph begins here, which is long enough for two lines of",
    "1",
  ],
  [
    "Journal of Rice 12 (2024)",
    "text and ends on the second page.",
    "RESULTS",
    "Rust won in all of the fields that we looked at during the long",
    "years of this study.",
    "References",
    "[1] A. Example. A paper about rust and other things. 2001.",
    "1. Someone Else",
    "2",
  ],
  [
    "Journal of Rice 12 (2024)",
    "2. Third One",
    "Appendix",
    "More about the fields of the study is given here for all readers",
    "who want it.",
    "Page 3 of 3",
  ],
]


def make_paper() -> bytes:
  title = "Rust in rice: a study\nof wet years"
  return make_pages([make_text_stream(page, "" if i else title) for i, page in enumerate(PAGES)])


class ParseTest(parameterized.TestCase):
  def test_whole_paper(self):
    document = parse_pdf(make_paper(), "x")
    self.assertEqual(document.id, "x")
    self.assertEqual(document.title, "Rust in rice: a study of wet years")
    self.assertEqual(
      document.abstract,
      (
        (
          "Rust harms rice.",
          "We count how often, in many fields and over many years, and find that it is most "
          "harmful in wet ones.",
        ),
      ),
    )
    self.assertEqual(
      document.sections,
      (
        Section(
          "1 Introduction",
          (
            (
              "Rice grows in water, and rust grows on rice wherever it can.",
              "In 2019 the rust came early and stayed.",
              "The self-similar spots of a self-similar rust are found everywhere.",
              "A second paragraph begins here, which is long enough for two lines of text and ends "
              "on the second page.",
            ),
          ),
        ),
        Section(
          "RESULTS",
          (
            (
              "Rust won in all of the fields that we looked at during the long years of this study.",
            ),
          ),
        ),
        Section(
          "Appendix",
          (("More about the fields of the study is given here for all readers who want it.",),),
        ),
      ),
    )

  def test_short_last_lines_end_paragraphs(self):
    lines = ["One line of a paragraph that is as long as the page is wide.", "It ends."]
    document = parse_pdf(make_pages([make_text_stream(lines * 3)]), "x")
    self.assertEqual([len(p) for p in document.sections[0].paragraphs], [2, 2, 2])

  def test_run_in_abstract(self):
    lines = ["Abstract—Rust harms rice in all fields.", "Introduction", "Rice grows in water."]
    document = parse_pdf(make_pages([make_text_stream(lines)]), "x")
    self.assertEqual(document.abstract, (("Rust harms rice in all fields.",),))
    self.assertEqual([s.heading for s in document.sections], ["Introduction"])

  def test_running_lines_that_change_with_the_chapter(self):
    def make_page(i):
      side = "Ada Example and others" if i % 2 else "Chapter on rust"
      return make_text_stream([f"{i} {side}", f"Sentence {'abcdefghijkl'[i]} of many is here."])

    document = parse_pdf(make_pages([make_page(i) for i in range(10)]), "x")
    text = " ".join(s for c in document.sections for p in c.paragraphs for s in p)
    self.assertNotIn("Example", text)
    self.assertNotIn("Chapter", text)
    self.assertEqual(text.count("Sentence"), 10)

  def test_compressed_pages_and_ligatures(self):
    encoding = b"/Encoding << /Type /Encoding /Differences [1 /fi] >>"
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica %s >>" % encoding
    content = zlib.compress(
      b"BT /F2 10 Tf 72 720 Td (We \001nd that rust is every\001eld harm.) Tj ET"
    )
    data = make_pages(
      [make_stream(content, b"/Filter /FlateDecode ")], b"/Font << /F2 4 0 R >>", (font,)
    ).replace(b"/Font << /F1 3 0 R >> ", b"")
    document = parse_pdf(data, "x")
    self.assertEqual(
      document.sections, (Section("", (("We find that rust is everyfield harm.",),)),)
    )

  def test_by_suffix(self):
    path = os.path.join(self.enterContext(tempfile.TemporaryDirectory()), "rice.pdf")
    with open(path, "wb") as handle:
      handle.write(make_paper())
    self.assertEqual(files.read_paper(path).id, "rice")

  def test_without_the_extra(self):
    real_import = builtins.__import__

    def fail(name, *args, **kwargs):
      if name.split(".")[0] == "pypdf":
        raise ImportError(name)
      return real_import(name, *args, **kwargs)

    with mock.patch.object(builtins, "__import__", fail):
      with self.assertRaisesRegex(
        UserError, r'^PDF needs the extra: pip install "htmtl_jax\[pdf\]"$'
      ):
        parse_pdf(make_paper(), "x")


class HostileTest(parameterized.TestCase):
  @parameterized.parameters(b"", b"%PDF-1.7", b"no PDF at all", b"%PDF-1.4\n" + b"\0" * 1000)
  def test_what_is_no_pdf(self, data):
    with self.assertRaisesRegex(UserError, r"^x: no PDF, or a damaged one[^\n]*$"):
      parse_pdf(data, "x")

  def test_scan(self):
    image = make_stream(b"\0", b"/Type /XObject /Subtype /Image /Width 1 /Height 1 "
                        b"/BitsPerComponent 8 /ColorSpace /DeviceGray ")  # fmt: skip
    scan = make_pages(
      [make_stream(b"q 612 0 0 792 0 0 cm /I Do Q")], b"/XObject << /I 4 0 R >>", (image,)
    )
    for data in (scan, make_pages([make_text_stream(["12"])]), make_pages([])):
      with self.assertRaisesRegex(UserError, "^x: no text in this PDF; it may be a scan"):
        parse_pdf(data, "x")

  def test_encrypted(self):
    objects = [
      b"<< /Type /Catalog /Pages 2 0 R >>",
      b"<< /Type /Pages /Kids [] /Count 0 >>",
      b"<< /Filter /Standard /V 1 /R 2 /O <%s> /U <%s> /P -4 >>" % (b"41" * 32, b"42" * 32),
    ]
    data = make_pdf(objects, b"/Encrypt 3 0 R /ID [<00> <00>]")
    with self.assertRaisesRegex(UserError, "^x: an encrypted PDF; save it without a password$"):
      parse_pdf(data, "x")

  def test_too_many_pages(self):
    with mock.patch.object(pdf, "MAX_PAGES", 2):
      with self.assertRaisesRegex(UserError, r"^x: 3 pages are too many for a paper \(at most 2\)"):
        parse_pdf(make_paper(), "x")

  def test_a_page_that_cannot_be_read_costs_no_other(self):
    pages = [make_text_stream(["This page can be read by all."])] * 2
    broken = make_stream(b"\xff\xff\xff broken", b"/Filter /FlateDecode ")
    data = make_pages([pages[0], broken])
    document = parse_pdf(data, "x")
    self.assertEqual(document.sections, (Section("", (("This page can be read by all.",),)),))

  def test_forms_inside_of_forms(self):
    # Forms that show the next one ten times each: 10^7 of them, from 1 kB.
    forms = [
      make_stream(b"/X%d Do " % (i + 1) * 10, b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] "
                  b"/Resources << /XObject << /X%d %d 0 R >> >> " % (i + 1, 5 + i))
      for i in range(7)
    ]  # fmt: skip
    last = make_stream(b"BT (x) Tj ET", b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] ")
    data = make_pages([make_stream(b"/X0 Do")], b"/XObject << /X0 4 0 R >>", (*forms, last))
    start = time.monotonic()
    with self.assertRaises(UserError):
      parse_pdf(data, "x")
    self.assertLess(time.monotonic() - start, 60)

  def test_time_is_bounded(self):
    with mock.patch.object(pdf, "MAX_SECONDS", 0.0):
      with self.assertRaisesRegex(UserError, r"^x: reading this PDF takes more than.*at page 1\)"):
        parse_pdf(make_paper(), "x")
    data = make_pages(
      [make_stream(b"0 0 m\n" * 3000 + b"BT /F1 9 Tf (It is too late to read this text.) Tj ET")]
    )
    self.assertLen(parse_pdf(data, "x").sections, 1)
    with mock.patch.object(pdf.time, "monotonic", side_effect=itertools.count(0, 0.1)):
      with self.assertRaisesRegex(UserError, "^x: reading this PDF takes more than 120 s"):
        parse_pdf(data, "x")

  def test_content_bomb(self):
    content = zlib.compress(b"0 0 m " * 3_000_000, 9)
    self.assertLess(len(content), 100_000)
    data = make_pages([make_stream(content, b"/Filter /FlateDecode ")])
    start = time.monotonic()
    with self.assertRaises(UserError):
      parse_pdf(data, "x")
    self.assertLess(time.monotonic() - start, 60)

  @parameterized.parameters(
    (b"/Kids [4 0 R 6 0 R 8 0 R]", b"/Kids [2 0 R 2 0 R]"),
    (b"/Count 3", b"/Count 999999999"),
    (b"/Parent 2 0 R", b"/Parent 4 0 R"),
    (b"/Contents 5 0 R", b"/Contents 4 0 R"),
    (b"startxref", b"startxxxx"),
    (b"/Root 1 0 R", b"/Root 9 9 R"),
  )
  def test_structures_that_mean_harm(self, old, new):
    data = make_paper()
    self.assertIn(old, data)
    start = time.monotonic()
    try:
      parse_pdf(data.replace(old, new), "x")
    except UserError as error:
      self.assertNotIn("\n", str(error))
    self.assertLess(time.monotonic() - start, 20)

  def test_mutated_files_make_a_document_or_one_clear_line(self):
    rng, start, num_read = random.Random(0), time.monotonic(), 0
    junk = (b"<<", b">>", b"[", b"]", b"(", b")", b"/", b" 0 R", b"stream", b"endobj", b"-1", b"\0",
            b"99999999999", b"<", b"%", b"\xff\xfe", b"Tj", b"/Length 0", b"/Kids", b"/F1")  # fmt: skip
    for _ in range(200):
      data = bytearray(make_paper())
      for _ in range(rng.randint(1, 12)):
        place = rng.randrange(len(data))
        data[place : place + rng.randint(0, 6)] = rng.choice(junk)
      try:
        document = parse_pdf(bytes(data), "x")
        num_read += 1
      except UserError as error:
        self.assertNotIn("\n", str(error))
        continue
      for section in document.sections:
        for paragraph in section.paragraphs:
          self.assertTrue(paragraph and all(s.strip() for s in paragraph))
    self.assertGreater(num_read, 50)
    self.assertLess(time.monotonic() - start, 60)


if __name__ == "__main__":
  absltest.main()
