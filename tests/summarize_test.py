"""`--mode=summarize` and `htmtl_jax.load`, end to end with a trained tiny run."""

import json
import pathlib
import tempfile

from absl.testing import absltest, parameterized

import htmtl_jax
from htmtl_jax.config import load_saved_config, save_config
from htmtl_jax.data.packing import pack_document
from htmtl_jax.data.prepared import load_prepared
from htmtl_jax.data.tokenize import Limits, tokenize_document
from htmtl_jax.documents.document import Document, Section, iterate_sentences
from htmtl_jax.experiment import make_experiment
from htmtl_jax.inference import grow_bucket
from htmtl_jax.levels import LEVELS
from htmtl_jax.summarize import render_record
from htmtl_jax.summary_record import write_record
from tests import tiny_config

PAPER = """\
# Soil and rain

## Abstract

We measured soils. They were wet after rain.

## Introduction

Rain falls on soil. Soil holds water, and water moves. Nobody has measured how fast it does.

Earlier work looked at sand. Sand is not soil.

## Methods

We dug 12 pits. Each pit was 1.5 m deep. Water was weighed every day.

## Results

Soil held 35 percent of the rain. The rest ran off within 4 hours.
"""
FIELDS = (
  "id",
  "title",
  "method",
  "summaries",
  "extractive",
  "importance",
  "provenance",
  "left_out",
  "sentences_read",
  "truncated_tokens",
)


class SummarizeTestCase(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

  def assert_record(self, record, document):
    """The schema, and the sums that a reader relies on."""
    self.assertEqual(tuple(record), FIELDS)
    self.assertEqual((record["id"], record["title"]), (document.id, document.title))
    self.assertCountEqual(record["summaries"], LEVELS)
    for level in ("sentence", "paragraph"):
      self.assertIsInstance(record["summaries"][level], str)
    for piece in record["summaries"]["section"]:
      self.assertEqual(tuple(piece), ("id", "heading", "text"))

    places = {place.sentence_id: place for place in iterate_sentences(document)}
    importance = record["importance"]
    self.assertEqual([s["id"] for s in importance["sentences"]], list(places))
    self.assertEqual(
      [s["text"] for s in importance["sentences"]], [p.text for p in places.values()]
    )
    for level in ("sentences", "paragraphs", "sections"):
      values = [segment["importance"] for segment in importance[level]]
      self.assertAlmostEqual(sum(values), 1.0, delta=1e-5)
      self.assertGreaterEqual(min(values), 0.0)
    sums = {}
    for sentence in importance["sentences"]:
      place = places[sentence["id"]]
      for parent in (place.paragraph_id, place.section_id):
        sums[parent] = sums.get(parent, 0.0) + sentence["importance"]
    parents = importance["paragraphs"] + importance["sections"]
    self.assertCountEqual([parent["id"] for parent in parents], sums)
    for parent in parents:
      self.assertAlmostEqual(parent["importance"], sums[parent["id"]], delta=1e-5)

    for sentence in record["extractive"]:
      place = places[sentence["id"]]
      self.assertFalse(place.is_heading)
      self.assertEqual(sentence["text"], place.text)
    self.assertNotEmpty(record["extractive"])

    digest = [piece["id"] for piece in record["summaries"]["section"]]
    left_out = [section["id"] for section in record["left_out"]]
    names = [section["id"] for section in importance["sections"]]
    self.assertEqual(sorted([i for i in digest if i] + left_out), sorted(names))
    for section in record["left_out"]:
      self.assertEqual(tuple(section), ("id", "heading", "words", "reason"))
      self.assertIn(section["reason"], ("short", "not read", "not written"))
    unread = [s["importance"] for s in importance["sentences"][record["sentences_read"] :]]
    self.assertEqual(sum(unread), 0.0)

    for entry in record["provenance"]:
      self.assertEqual(tuple(entry), ("level", "sentence", "text", "segments"))
      self.assertContainsSubset([s["id"] for s in entry["segments"]], places)
      shares = [segment["share"] for segment in entry["segments"]]
      self.assertEqual(shares, sorted(shares, reverse=True))
      self.assertTrue(all(share > 0 for share in shares))
      self.assertLessEqual(sum(shares), 1 + 1e-5)
      self.assertLessEqual(len(shares), 5)
    text_of = {
      level: [e["text"] for e in record["provenance"] if e["level"] == level] for level in LEVELS
    }
    for level in LEVELS:
      self.assertEqual(
        [e["sentence"] for e in record["provenance"] if e["level"] == level],
        list(range(len(text_of[level]))),
      )
    for level in ("sentence", "paragraph"):
      self.assertEqual("\n".join(text_of[level]), record["summaries"][level])
    json.dumps(record, allow_nan=False)


class TrainedTest(SummarizeTestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    workdir, _, _ = tiny_config.trained()
    with tiny_config.setting():
      cls.model = htmtl_jax.load(str(workdir))

  def summarize(self, document):
    with tiny_config.setting():
      return self.model.summarize(document)

  def test_a_folder_of_papers(self):
    papers = self.folder / "papers"
    papers.mkdir()
    (papers / "soil.md").write_text(PAPER)
    (papers / "note.txt").write_text("One sentence is enough for a note.\n")
    (papers / "empty.md").write_text("\n")
    workdir, _, _ = tiny_config.trained()
    status, out, err = tiny_config.run_main(
      "--mode=summarize",
      f"--workdir={workdir}",
      f"--input={papers}",
      f"--output={self.folder / 'out'}",
    )
    self.assertEqual(status, 0, err)
    self.assertCountEqual(
      [p.name for p in (self.folder / "out").iterdir()],
      ["soil.json", "soil.html", "note.json", "note.html", "index.html"],
    )
    for text in (
      "Soil and rain",
      "In one sentence",
      "In one paragraph",
      "Section by section",
      "Introduction",
      "in its own words",
      "(left out, under 50 words: Methods (15), Results (14))",
      "soil.json",
      "soil.html",
      "index.html",
    ):
      self.assertIn(text, out)
    self.assertNotIn("LexRank", out)

    document = htmtl_jax.read_paper(str(papers / "soil.md"))
    record = json.loads((self.folder / "out" / "soil.json").read_text(encoding="utf-8"))
    self.assert_record(record, document)
    self.assertEqual((record["method"], record["truncated_tokens"]), ("htmtl", 0))
    self.assertEqual(
      [s["heading"] for s in record["importance"]["sections"]],
      ["Introduction", "Methods", "Results"],
    )
    self.assertNotEmpty([e for e in record["provenance"] if e["level"] == "paragraph"])
    self.assertNotIn("They were wet", json.dumps(record))  # the abstract is not read
    report = (self.folder / "out" / "soil.html").read_text(encoding="utf-8")
    self.assertIn("They were wet", report)  # but shown, to compare with

    # The same from Python, to the last digit.
    self.assertEqual(self.summarize(document), record)

  def test_2000_sentences_are_read_to_the_end(self):
    sentences = [f"Soil {i} held {i % 90} percent of the rain." for i in range(2000)]
    paragraphs = tuple(tuple(sentences[i : i + 20]) for i in range(0, 2000, 20))
    document = Document(
      "long", "", (Section("Methods", paragraphs[:40]), Section("", paragraphs[40:]))
    )
    workdir, _, _ = tiny_config.trained()
    config = load_saved_config(workdir)
    config.data.max_input_tokens = 100_000
    with tiny_config.setting():
      model = htmtl_jax.load(str(workdir), config=config)
      record = model.summarize(document)
    self.assert_record(record, document)
    self.assertEqual(record["truncated_tokens"], 0)
    self.assertGreater(min(s["importance"] for s in record["importance"]["sentences"]), 0)

    # With the run's own maximum of 192 tokens the rest is cut, counted and mentioned.
    cut = self.summarize(document)
    self.assert_record(cut, document)
    read = [s["importance"] > 0 for s in cut["importance"]["sentences"]]
    self.assertEqual(read, sorted(read, reverse=True))
    self.assertEqual(cut["sentences_read"], sum(read))
    self.assertEqual([(s["id"], s["reason"]) for s in cut["left_out"]], [("c1", "not read")])
    self.assertIn("(left out, not read: section 2)", render_record(cut))
    tokenizer = load_prepared(str(tiny_config.prepared())).tokenizer
    unread = [p.text for p, seen in zip(iterate_sentences(document), read, strict=True) if not seen]
    self.assertEqual(cut["truncated_tokens"], sum(map(len, tokenizer.encode_batch(unread))))
    self.assertLess(sum(read), 100)
    self.assertIn(f"The last {cut['truncated_tokens']:,} tokens exceed", render_record(cut))

  def test_one_sentence_of_5000_words(self):
    words = [f"soil{i % 7}" for i in range(5000)]
    document = Document("endless", "", (Section("", ((" ".join(words),),)),))
    record = self.summarize(document)  # cut inside the sentence, since there is no other
    self.assert_record(record, document)
    self.assertGreater(record["truncated_tokens"], 0)
    self.assertEqual([s["id"] for s in record["extractive"]], ["c0.p0.s0"])
    self.assertAlmostEqual(record["importance"]["sentences"][0]["importance"], 1.0, places=5)

    # And whole: every piece of it has a place in a larger bucket.
    experiment = make_experiment(
      tiny_config.get_config(), load_prepared(str(tiny_config.prepared())).tokenizer
    )
    tokenized = tokenize_document(document, experiment.tokenizer, Limits(100_000), references={})
    self.assertLen(tokenized.sentence_lengths, 1)
    bucket = grow_bucket(tokenized, experiment.buckets)
    packed, index, dropped = pack_document(tokenized, bucket)
    self.assertEqual(dropped, 0)
    self.assertEqual((packed.tokens.slot >= 0).sum(), len(tokenized.token_ids))
    pieces = (index.sentence == 0).sum()
    self.assertEqual(pieces, -(-len(tokenized.token_ids) // bucket.row_tokens))

  @parameterized.parameters(
    ("word.md", "Soil\n"),
    ("word.txt", "Soil"),
    ("headings.md", "# Soil\n\n## Rain\n"),
    ("strange.txt", "\u4f60\u597d\u3002 \U0001f327 \u200b <section> </s>"),
  )
  def test_very_little_text(self, name, text):
    path = self.folder / name
    path.write_text(text, encoding="utf-8")
    document = htmtl_jax.read_paper(str(path))
    record = self.summarize(document)
    self.assert_record(record, document)
    self.assertIn(record["extractive"][0]["text"], " ".join(text.split()))

  def test_repeated_sentences_are_told_apart(self):
    document = Document(
      "same", "", (Section("A", (("It rained.",) * 3,)), Section("B", (("It rained.",),)))
    )
    record = self.summarize(document)
    self.assert_record(record, document)
    ids = [sentence["id"] for sentence in record["extractive"]]
    self.assertLen(set(ids), len(ids))


class WithoutModelTest(SummarizeTestCase):
  def test_a_folder_that_is_not_there_is_refused(self):
    (self.folder / "soil.md").write_text(PAPER)
    flags = (f"--input={self.folder / 'soil.md'}", f"--workdir={self.folder / 'nothere'}")
    status, _, err = tiny_config.run_main("--mode=summarize", *flags)
    self.assertEqual(status, 2)
    self.assertRegex(err, r"^htmtl_jax: error: --workdir=[^\n]*nothere: no such folder[^\n]*\n$")

  def test_lexrank_extract_is_labelled(self):
    path = self.folder / "soil.md"
    path.write_text(PAPER)
    for flags in ((), (f"--workdir={self._untrained()}",)):
      status, out, err = tiny_config.run_main(
        "--mode=summarize", f"--input={path}", f"--output={self.folder}", *flags
      )
      self.assertEqual(status, 0, err)
      self.assertIn("LexRank", out)
      self.assertIn("no trained model", out)
      record = json.loads((self.folder / "soil.json").read_text(encoding="utf-8"))
      document = htmtl_jax.read_paper(str(path))
      self.assert_record(record, document)
      self.assertEqual(record["method"], "lexrank")
      body = [place.text for place in iterate_sentences(document) if not place.is_heading]
      self.assertContainsSubset(record["summaries"]["paragraph"].split("\n"), body)
      self.assertEqual(htmtl_jax.summarize_without_model(document), record)

  def _untrained(self):
    """A workdir whose run was stopped before its first checkpoint."""
    workdir = self.folder / "untrained"
    save_config(tiny_config.get_config(), workdir)
    return workdir

  @parameterized.named_parameters(
    ("one_word", (("Soil",),)),
    ("2000_sentences", tuple((f"Soil {i} held rain.", f"Rain {i % 9} fell.") for i in range(1000))),
    ("5000_words", ((" ".join(f"soil{i}" for i in range(5000)),),)),
  )
  def test_sizes(self, paragraphs):
    document = Document("sizes", "", (Section("Results", paragraphs),))
    self.assert_record(htmtl_jax.summarize_without_model(document), document)

  @parameterized.parameters(((),), ((Section("Introduction", ()),),))
  def test_a_document_without_text(self, sections):
    with self.assertRaisesRegex(
      htmtl_jax.UserError, "^nothing: the document has no text to summarise$"
    ):
      htmtl_jax.summarize_without_model(Document("nothing", "A title", sections))


class OutputTest(SummarizeTestCase):
  """Where reports go, without a model."""

  def test_somebody_elses_pages_are_kept(self):
    (self.folder / "soil.md").write_text(PAPER)
    (self.folder / "soil.html").write_text("<p>My own page.")
    flags = ("--mode=summarize", f"--input={self.folder / 'soil.md'}", f"--output={self.folder}")
    status, out, err = tiny_config.run_main(*flags)
    self.assertEqual(status, 2)
    self.assertRegex(err, "soil.html: is there already and no report of htmtl_jax")
    self.assertNotIn("In one sentence", out)  # known before anything was done
    self.assertEqual((self.folder / "soil.html").read_text(), "<p>My own page.")

  def test_reports_in_the_folder_of_the_papers_are_not_read_as_papers(self):
    papers = self.folder / "papers"
    papers.mkdir()
    for name in ("a.md", "index.md"):
      (papers / name).write_text(PAPER)
    for _ in range(2):
      status, out, err = tiny_config.run_main(
        "--mode=summarize", f"--input={papers}", f"--output={papers}"
      )
      self.assertEqual(status, 0, err)
      names = [path.name for path in papers.iterdir()]
      self.assertLen([name for name in names if name.endswith(".json")], 2)
      self.assertLen([name for name in names if name.endswith(".html")], 3)
      self.assertIn("all reports: ", out)
    index = (papers / "index.html").read_text(encoding="utf-8")
    self.assertIn("2 papers in one sentence each", index)
    self.assertRegex(index, r'href="index-\w{8}.html"')


class WriteRecordTest(SummarizeTestCase):
  @parameterized.parameters(
    ("a-b.c_d", r"a-b\.c_d\.json"),
    ("a/b c", r"a_b_c-\w{8}\.json"),
    ("../../x", r"x-\w{8}\.json"),
    ("...", r"document-\w{8}\.json"),
    ("x" * 999, r"x{100}-\w{8}\.json"),
    ("\u6f22" * 120, r"\u6f22{33}-\w{8}\.json"),  # three bytes each; names may have 255
    ("a\ud800b", r"a_b-\w{8}\.json"),
  )
  def test_an_id_names_a_file_in_the_folder(self, name, pattern):
    path = pathlib.Path(write_record({"id": name}, str(self.folder / "out")))
    self.assertEqual([p for p in (self.folder / "out").iterdir()], [path])
    self.assertRegex(path.name, f"^{pattern}$")

  def test_ids_that_look_alike_get_files_of_their_own(self):
    for name in ("a b", "a_b", "a/b"):
      write_record({"id": name}, str(self.folder / "out"))
    self.assertLen(list((self.folder / "out").iterdir()), 3)


if __name__ == "__main__":
  absltest.main()
