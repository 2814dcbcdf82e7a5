"""The report of a paper as a file: text stays text, numbers add up, links lead somewhere."""

from decimal import Decimal
import pathlib
import tempfile

from absl.testing import absltest, parameterized

import htmtl_jax
from htmtl_jax.documents.document import Document, Section
from htmtl_jax.levels import LEVELS
from htmtl_jax.reports import document_report
from htmtl_jax.reports.page import clean_text
from tests import hostile, records
from tests.pages import PageTestCase, parse


def percent(text: str) -> Decimal:
  return Decimal(text.removesuffix("%"))


def by_id(tree, name: str):
  (node,) = tree.css(f'[id="{name}"]')
  return node


class DocumentReportTest(PageTestCase):
  def render(self, record, *args):
    html = document_report.render_document_report(record, *args)
    pages = [link.address for link in (args[1] if len(args) > 1 else ())]
    self.assert_self_contained(html, tuple(pages))
    return parse(html)

  def assert_shows(self, tree, record):
    """The paper's text and the summaries, character for character, and numbers that add up."""
    importance = record["importance"]
    self.assertEqual(tree.css_first("h1").text(), clean_text(record["title"] or record["id"]))
    shown = {}
    for sentence in importance["sentences"]:
      node = by_id(tree, sentence["id"])
      self.assertEqual(node.text(deep=False), clean_text(sentence["text"]))
      shown[sentence["id"]] = percent(node.attributes["data-percent"])
    self.assertLen(tree.css(".s"), len(shown))
    for paragraph in importance["paragraphs"]:
      if not paragraph["id"].endswith(".h"):
        shown[paragraph["id"]] = percent(
          by_id(tree, paragraph["id"]).css_first("p.p").attributes["data-percent"]
        )
    for section in importance["sections"]:
      shown[section["id"]] = percent(by_id(tree, section["id"]).attributes["data-percent"])
    sums = {}
    for name, value in shown.items():
      parent = name.rpartition(".")[0].removesuffix(".h")
      sums[parent] = sums.get(parent, 0) + value
    self.assertEqual(sums.pop(""), 100)
    for parent, value in sums.items():
      self.assertEqual(value, shown[parent], parent)

    # The outline and the numbers beside the text say the same as the text's own attributes.
    rows = {}
    for row in tree.css(".outline .row:not(.total)"):
      target = row.css_first("a").attributes["href"][1:]
      rows[target] = percent(row.css_first(".number").text())
    expected = {name: v for name, v in shown.items() if name.count(".") < 2}
    expected |= {name: v for name, v in shown.items() if name.endswith(".h.s0")}
    self.assertEqual(rows, expected)
    for paragraph in tree.css(".paragraph"):
      number = paragraph.css_first(".gutter .number").text()
      self.assertEqual(percent(number), shown[paragraph.attributes["id"]])

    codes = {}
    for level in LEVELS:
      for entry in record["provenance"]:
        if entry["level"] == level:
          code = {"sentence": "S", "paragraph": "P", "section": "D"}[level]
          is_first = level == "sentence" and not entry["sentence"]
          codes[code if is_first else f"{code}{entry['sentence'] + 1}"] = entry
    for i, sentence in enumerate(record["extractive"]):
      segments = [{"id": sentence["id"], "share": 1.0}]
      codes[f"E{i + 1}"] = {"text": sentence["text"], "segments": segments}
    self.assertCountEqual([node.attributes["id"] for node in tree.css(".sum")], codes)
    for code, entry in codes.items():
      node = by_id(tree, code)
      self.assertEqual(node.css_first(".text").text(), clean_text(entry["text"]))
      sources = node.css(".source")
      self.assertEqual(
        [source.attributes["href"] for source in sources],
        [f"#{segment['id']}" for segment in entry["segments"]],
      )
      shares = [percent(source.attributes["data-share"]) for source in sources]
      for share, segment in zip(shares, entry["segments"]):
        self.assertAlmostEqual(float(share), 100 * segment["share"], delta=1)
      rest = [percent(b.text()) for b in node.css(".rest b")]
      self.assertEqual(sum(shares + rest), 100)
      # And back: the source says who drew on it, and how much.
      for source, segment in zip(sources, entry["segments"]):
        marks = by_id(tree, segment["id"]).css(f'.mark[href="#{code}"]')
        self.assertEqual(
          [mark.attributes["data-share"] for mark in marks], [source.attributes["data-share"]]
        )
    self.assertLen(tree.css(".mark"), sum(len(entry["segments"]) for entry in codes.values()))

  @parameterized.parameters(0, 1, 2)
  def test_a_generated_paper(self, index):
    document = records.generated_paper(index)
    record = records.fake_record(document, seed=index)
    tree = self.render(record, document_report.author_summaries(document))
    self.assert_shows(tree, record)
    self.assertIn("Summarised by HTMTL", tree.css_first(".byline").text())
    self.assertEmpty(tree.css(".note"))
    for text in (*document.abstract_sentences, "The author's abstract"):
      self.assertIn(text, by_id(tree, "panel-beside").text())

  def test_hostile_text_is_text(self):
    document = records.hostile_document()
    record = records.fake_record(document)
    tree = self.render(record, document_report.author_summaries(document))
    self.assert_shows(tree, record)
    beside = [node.text() for node in by_id(tree, "panel-beside").css("p")]
    self.assertContainsSubset([clean_text(t) for t in hostile.TEXTS if "\n" not in t], beside)
    self.assertLen(tree.css("script"), 2)
    self.assertLen(tree.css("style"), 2)
    self.assertEmpty(tree.css("img, form, textarea, math"))
    headings = [clean_text(s["heading"]) for s in record["importance"]["sections"] if s["heading"]]
    self.assertEqual([h.text(deep=False) for h in tree.css(".heading h2 .s")], headings)

  def test_lexrank_says_that_no_model_wrote(self):
    document = records.generated_paper()
    record = htmtl_jax.summarize_without_model(document)
    tree = self.render(record)
    self.assert_shows(tree, record)
    self.assertIn("Sentences chosen by LexRank", tree.css_first(".byline").text())
    self.assertIn("No trained model wrote this", tree.css_first(".note").text())
    # A quoted sentence has no share of itself to tell, but its importance.
    self.assertEmpty(tree.css(".source b"))
    place = record["extractive"][0]["id"]
    shown = by_id(tree, place).attributes["data-percent"]
    self.assertIn(f"importance {shown}", by_id(tree, "E1").text())

  @parameterized.parameters(0, 1, 13, 30)
  def test_what_was_not_read_is_marked(self, less):
    document = records.generated_paper()
    total = len(records.fake_record(document)["importance"]["sentences"])
    record = records.fake_record(document, total - less)
    tree = self.render(record)
    self.assert_shows(tree, record)
    unread = [node.attributes["id"] for node in tree.css(".s.unread")]
    expected = [s["id"] for s in record["importance"]["sentences"]][total - less :]
    self.assertEqual(unread, expected)
    self.assertLen(tree.css(".unread-note"), int(less > 0))
    if less:
      noun = "1 sentence" if less == 1 else f"{less} sentences"
      self.assertIn(noun, tree.css_first(".top .note").text())
      self.assertEqual(tree.css_first(".top .note a").attributes["href"], f"#{expected[0]}")
      self.assertEqual({by_id(tree, i).css_first(".percent").text() for i in unread}, {"not read"})

  def test_sections_without_a_digest_are_named(self):
    words = "The soil held water after rain. " * 20
    sections = (
      Section("Introduction", ((words,),)),
      Section("Thanks", (("We thank the rain.",),)),
      Section("Coda", ()),
    )
    record = htmtl_jax.summarize_without_model(Document("d", "", sections))
    tree = self.render(record)
    text = " ".join(tree.css_first(".left-out").text().split())
    self.assertStartsWith(text, "Not in this digest")
    self.assertEndsWith(text, "less than 50 words: Thanks (4 words), Coda (0 words).")

  def test_one_word(self):
    record = htmtl_jax.summarize_without_model(Document("word", "", (Section("", (("Soil",),)),)))
    tree = self.render(record)
    self.assert_shows(tree, record)
    self.assertEqual(by_id(tree, "c0").attributes["data-percent"], "100.0%")
    self.assertEqual(by_id(tree, "c0").css_first("h2").text(), "Section 1")

  def test_summaries_of_unknown_origin_have_no_sources(self):
    record = records.fake_record(records.generated_paper())
    record["provenance"] = []
    record["summaries"]["paragraph"] = "One.\nTwo."
    record["summaries"]["sentence"] = ""
    tree = self.render(record)
    self.assertEqual([n.text() for n in tree.css("#panel-paragraph .text")], ["One.", "Two."])
    self.assertEmpty(tree.css("#panel-paragraph .source"))
    self.assertIn("Nothing was written", tree.css_first(".lead").text())

  def test_pages_link_to_what_lies_beside_them_only(self):
    record = records.fake_record(records.generated_paper())
    tree = self.render(record, (), (document_report.LINK_TO_INDEX,))
    self.assertEqual(tree.css_first("nav a").attributes["href"], "index.html")
    for address in ("https://example.invalid", "javascript:alert(1)", "//example.invalid", "/x"):
      with self.assertRaises(ValueError):
        document_report.Link("out", address)

  def test_many_sentences(self):
    sentences = tuple(f"Soil {i} held {i % 90} percent." for i in range(3000))
    paragraphs = tuple(sentences[i : i + 10] for i in range(0, 3000, 10))
    document = Document(
      "long", "Long", (Section("A", paragraphs[:99]), Section("B", paragraphs[99:]))
    )
    document = Document(**{**vars(document), "abstract": (sentences[:5],)})
    record = records.fake_record(document)
    self.assert_shows(self.render(record), record)


class WriteTest(PageTestCase):
  def test_reports_and_their_list(self):
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    papers = [records.hostile_document(), records.generated_paper(), records.generated_paper(1)]
    made = [records.fake_record(document) for document in papers]
    made[2]["id"] = "index"  # must not take the list's place
    paths = [
      document_report.write_document_report(
        record, str(folder), links=[document_report.LINK_TO_INDEX]
      )
      for record in made
    ]
    paths.append(document_report.write_index(made, str(folder)))
    self.assertCountEqual([pathlib.Path(path) for path in paths], folder.iterdir())
    names = tuple(path.name for path in folder.iterdir())
    for path in folder.iterdir():
      self.assert_self_contained(path.read_text(encoding="utf-8"), names)
    tree = parse((folder / "index.html").read_text(encoding="utf-8"))
    for record, path, item in zip(made, paths, tree.css(".papers li"), strict=False):
      link = item.css_first("a")
      self.assertEqual(link.attributes["href"], pathlib.Path(path).name)
      self.assertEqual(link.text(), clean_text(record["title"]))
      self.assertEqual(item.css_first("p").text(), clean_text(record["summaries"]["sentence"]))


if __name__ == "__main__":
  absltest.main()
