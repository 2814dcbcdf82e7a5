"""Reading JSON lines: the schema, malformed lines, broken files, splits."""

import gzip
import json
import os
import random
import tempfile
import types

from absl.testing import absltest, parameterized

from htmtl_jax.documents import jsonl, sources
from htmtl_jax.documents.document import Section
from htmtl_jax.errors import UserError


def make_record(document_id="p1", **kwargs):
  return {"id": document_id, "sections": [{"heading": "H", "paragraphs": ["One. Two."]}], **kwargs}


class JsonlTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.enterContext(tempfile.TemporaryDirectory())

  def write(self, name, *lines):
    path = os.path.join(self.folder, name)
    data = b"".join(
      (
        line
        if isinstance(line, bytes)
        else (line if isinstance(line, str) else json.dumps(line)).encode()
      )
      + b"\n"
      for line in lines
    )
    with (gzip.open if name.endswith(".gz") else open)(path, "wb") as handle:
      handle.write(data)
    return path

  def open(self, path, **kwargs):
    """A corpus whose documents are all for training."""
    config = dict(path=path, exclude=(), max_documents=0, on_bad_line="skip", split_seed=0)
    config |= dict(validation_share=0.0, test_share=0.0) | kwargs
    return sources.JsonlCorpus(types.SimpleNamespace(**config))

  def read(self, path, **kwargs):
    return list(self.open(path, **kwargs).iterate("train"))

  @parameterized.parameters("a.jsonl", "a.jsonl.gz")
  def test_whole_schema(self, name):
    path = self.write(
      name,
      {
        "id": "p1",
        "title": " A  title ",
        "n_words": 3,
        "license": "CC-BY",
        "abstract": ["We did it. It worked (Fig. 2).", " ", ["Kept as. It is."]],
        "abstract_labels": ["Methods", "Nothing", "Results"],
        "summaries": {
          "one_sentence": "It works.",
          "highlights": ["Fast. Small.", "Cheap"],
          "empty": "",
          "none": None,
        },
        "sections": [
          {"heading": "Intro", "level": 1, "paragraphs": ["Plants grow. They do.", ""]},
          {"heading": "", "paragraphs": []},
          {"heading": "Rest", "paragraphs": [["a b", " ", "c"]]},
        ],
        "section_summaries": ["First.", None, ["Second.", "Third."]],
        "paragraphs_are": "pseudo: 110 words",
      },
    )
    (document,) = self.read(path)
    self.assertEqual(document.title, "A title")
    self.assertEqual(
      document.sections,
      (Section("Intro", (("Plants grow.", "They do."),)), Section("Rest", (("a b", "c"),))),
    )
    self.assertEqual(
      document.abstract, (("We did it.", "It worked (Fig. 2)."), ("Kept as. It is.",))
    )
    self.assertEqual(document.abstract_labels, ("Methods", "Results"))
    self.assertEqual(
      document.summaries,
      {"one_sentence": ("It works.",), "highlights": ("Fast.", "Small.", "Cheap")},
    )
    self.assertEqual(document.section_summaries, (("First.",), ("Second.", "Third.")))
    self.assertEqual(document.paragraphs_are, "pseudo")

  def test_smallest_record(self):
    (document,) = self.read(self.write("a.jsonl", make_record()))
    self.assertEqual((document.title, document.abstract, document.summaries), ("", (), {}))
    self.assertEqual(document.paragraphs_are, "source")

  def test_abstract_may_be_one_string(self):
    (document,) = self.read(self.write("a.jsonl", make_record(abstract="One. Two.")))
    self.assertEqual(document.abstract, (("One.", "Two."),))

  def test_folder_is_read_by_name_without_the_excluded(self):
    self.write("b.jsonl", make_record("b"))
    self.write("a.jsonl.gz", make_record("a"))
    self.write("c.jsonl.gz", make_record("c"))
    self.write("README.md", "no JSON")
    self.assertEqual([d.id for d in self.read(self.folder)], ["a", "b", "c"])
    self.assertEqual([d.id for d in self.read(self.folder, exclude=("a", "b.jsonl"))], ["c"])
    self.assertEqual([d.id for d in self.read(self.folder, max_documents=2)], ["a", "b"])
    with self.assertRaisesRegex(UserError, "all 3 files are excluded"):
      self.read(self.folder, exclude=("a", "b", "c"))

  @parameterized.named_parameters(
    ("not_json", '{"id": "x", ', "not JSON"),
    ("not_utf8", b'{"id": "\xff"}', "not UTF-8"),
    ("not_an_object", "[1]", "should be a JSON object, is a list"),
    ("no_id", {"sections": []}, "'id' should be"),
    ("id_number", make_record(3), "'id' should be"),
    ("no_sections", {"id": "x"}, "'sections' should be a non-empty list"),
    ("sections_text", {"id": "x", "sections": "text"}, "'sections' should be a list"),
    ("section_text", {"id": "x", "sections": ["text"]}, "section 0 should be an object"),
    ("no_text", {"id": "x", "sections": [{"heading": "H", "paragraphs": [" "]}]}, "no text"),
    ("paragraph_number", {"id": "x", "sections": [{"paragraphs": [1]}]}, "a string or a list"),
    ("title_list", make_record(title=["t"]), "'title' should be a str"),
    ("abstract_number", make_record(abstract=7), "'abstract' should be a list"),
    ("labels", make_record(abstract=["a", "b"], abstract_labels=["A"]), "'abstract_labels'"),
    ("summary_number", make_record(summaries={"digest": 3}), "summary 'digest'"),
    ("section_summaries", make_record(section_summaries=["a", "b"]), "'section_summaries'"),
    ("too_deep", "[" * 200_000, "not usable JSON|not JSON"),
  )
  def test_malformed_line(self, line, reason):
    path = self.write("a.jsonl", make_record("first"), "", line, make_record("last"))
    with self.assertRaisesRegex(UserError, f"a.jsonl, line 3: .*({reason})"):
      self.read(path, on_bad_line="stop")
    corpus = self.open(path, on_bad_line="skip")
    with self.assertLogs(level="WARNING") as logs:
      documents = list(corpus.iterate("train"))
    self.assertEqual([d.id for d in documents], ["first", "last"])
    self.assertEqual(corpus.bad_lines.count, 1)
    self.assertRegex(logs.output[0], "a.jsonl, line 3: ")

  def test_only_the_first_warnings_are_logged(self):
    path = self.write("a.jsonl", *["{"] * 50, make_record())
    corpus = self.open(path)
    with self.assertLogs(level="WARNING") as logs:
      self.assertLen(list(corpus.iterate("train")), 1)
    self.assertLen(logs.output, 5)
    self.assertEqual(corpus.bad_lines.count, 50)

  def test_second_of_equal_ids_is_left_out(self):
    path = self.write("a.jsonl", make_record("p", title="first"), make_record("p", title="second"))
    corpus = self.open(path)
    (document,) = corpus.iterate("train")
    self.assertEqual(document.title, "first")
    self.assertEqual(corpus.num_duplicates, 1)

  def test_nul_and_lone_surrogates_do_not_get_through(self):
    path = self.write(
      "a.jsonl",
      '{"id": "p", "title": "\\ud800x", "sections": '
      '[{"heading": "a\\u0000b", "paragraphs": ["c\\udfffd \\ud83d\\ude00"]}]}',
    )
    (document,) = self.read(path)
    self.assertEqual(document.title, "?x")
    self.assertEqual(document.sections, (Section("ab", (("c?d 😀",),)),))

  def test_byte_order_mark(self):
    path = self.write("a.jsonl", b"\xef\xbb\xbf" + json.dumps(make_record()).encode())
    self.assertLen(self.read(path, on_bad_line="stop"), 1)

  def test_bad_paths(self):
    with self.assertRaisesRegex(UserError, "nowhere: no such file or folder; set config.data.path"):
      self.read(os.path.join(self.folder, "nowhere"))
    with self.assertRaisesRegex(UserError, "no .jsonl or .jsonl.gz files in this folder"):
      self.read(self.folder)
    with self.assertRaisesRegex(UserError, r"no documents \(1 malformed\)"):
      self.read(self.write("bad.jsonl", "{"))
    with self.assertRaisesRegex(UserError, r"no documents \(0 malformed\)"):
      self.read(self.write("empty.jsonl"))
    with self.assertRaisesRegex(UserError, "on_bad_line: 'ignore' is unknown; known: skip, stop"):
      self.open(self.write("a.jsonl", make_record()), on_bad_line="ignore")

  def test_broken_gzip(self):
    rng = random.Random(0)
    path = self.write("a.jsonl.gz", *(make_record(f"{i}-{rng.random()}") for i in range(2000)))
    with open(path, "rb") as handle:
      data = handle.read()
    for broken in (data[: len(data) // 2], data[:1000] + b"\x00" * 50 + data[1050:], b"plain text"):
      with open(path, "wb") as handle:
        handle.write(broken)
      with self.assertRaisesRegex(UserError, "a.jsonl.gz: broken gzip file after line"):
        self.read(path)


class AssignSplitTest(absltest.TestCase):
  def test_shares_and_stability(self):
    ids = [f"paper-{i}" for i in range(20_000)]
    splits = [jsonl.assign_split(i, 0, 0.1, 0.2) for i in ids]
    self.assertAlmostEqual(splits.count("validation") / len(ids), 0.1, delta=0.01)
    self.assertAlmostEqual(splits.count("test") / len(ids), 0.2, delta=0.01)
    wider = [jsonl.assign_split(i, 0, 0.3, 0.2) for i in ids]
    self.assertEqual([s == "test" for s in splits], [s == "test" for s in wider])
    other = [jsonl.assign_split(i, 1, 0.1, 0.2) for i in ids]
    both = sum(a == b == "test" for a, b in zip(splits, other, strict=True))
    self.assertAlmostEqual(both / len(ids), 0.04, delta=0.01)  # independent of the first seed

  def test_known_answers(self):
    """The split of a paper never moves from one version to the next."""
    self.assertEqual([jsonl.assign_split(f"p{i}", 0, 0.3, 0.3) for i in range(8)], KNOWN_SPLITS)

  def test_extremes(self):
    self.assertEqual(jsonl.assign_split("p", 0, 0.0, 0.0), "train")
    self.assertEqual(jsonl.assign_split("p", 0, 1.0, 0.0), "validation")
    self.assertEqual(jsonl.assign_split("p", 0, 0.0, 1.0), "test")


KNOWN_SPLITS = ["test", "validation", "test", "test", "train", "validation", "test", "train"]

if __name__ == "__main__":
  absltest.main()
