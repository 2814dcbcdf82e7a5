"""Reading the raw release: where the files are, how they stream, what a line may hold."""

import json
import os
import tempfile
import tracemalloc
import zipfile

from absl.testing import absltest, parameterized

from htmtl_jax.datasets import raw_release
from htmtl_jax.datasets.raw_release import RawFile, find_raw_files, parse_paper
from htmtl_jax.errors import UserError
from tests import raw_papers

RECORDS = {
  "train": [raw_papers.make_record(f"a{i}") for i in range(3)],
  "validation": [raw_papers.make_record("b")],
  "test": [raw_papers.make_record("c"), raw_papers.make_record("d")],
}


def read_ids(files):
  return {
    split: [parse_paper(line).id for line in file.iterate_lines()] for split, file in files.items()
  }


class FindRawFilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.enter_context(tempfile.TemporaryDirectory())

  @parameterized.product(form=("txt", "gz", "zip"), kind=("dataset", "release"))
  def test_forms(self, form, kind):
    raw_papers.write_release(self.folder, RECORDS, form, f"arxiv-{kind}")
    files = find_raw_files(self.folder, "arxiv")
    expected = {"train": ["a0", "a1", "a2"], "validation": ["b"], "test": ["c", "d"]}
    self.assertEqual(read_ids(files), expected)
    self.assertEqual(list(files), ["train", "validation", "test"])
    self.assertIsNone(find_raw_files(self.folder, "pubmed"))

  def test_the_files_themselves_and_a_zip_by_its_path(self):
    path = raw_papers.write_release(self.folder, RECORDS)
    self.assertLen(read_ids(find_raw_files(path, "arxiv"))["train"], 3)
    path = raw_papers.write_release(self.folder, RECORDS, "zip", "arxiv-release")
    self.assertEqual(find_raw_files(path, "arxiv")["test"], RawFile(path, "arxiv-release/test.txt"))

  def test_plain_before_gzip_before_zip(self):
    raw_papers.write_release(self.folder, {**RECORDS, "test": []}, "zip")
    path = raw_papers.write_release(self.folder, {**RECORDS, "test": RECORDS["train"]}, "gz")
    self.assertEqual(read_ids(find_raw_files(self.folder, "arxiv"))["test"], ["a0", "a1", "a2"])
    with open(os.path.join(path, "test.txt"), "w", encoding="utf-8") as handle:
      handle.write(json.dumps(raw_papers.make_record("plain")))
    self.assertEqual(read_ids(find_raw_files(self.folder, "arxiv"))["test"], ["plain"])

  def test_a_missing_split(self):
    path = raw_papers.write_release(self.folder, RECORDS)
    os.remove(os.path.join(path, "val.txt"))
    with self.assertRaisesRegex(UserError, "arxiv-dataset: val.txt missing; all three"):
      find_raw_files(self.folder, "arxiv")

  def test_a_partial_zip(self):
    path = raw_papers.write_release(self.folder, RECORDS, "zip")
    os.truncate(path, os.path.getsize(path) // 2)
    with self.assertRaisesRegex(UserError, "arxiv-dataset.zip: not a whole zip .*partial download"):
      find_raw_files(self.folder, "arxiv")

  def test_another_zip(self):
    path = os.path.join(self.folder, "arxiv-dataset.zip")
    with zipfile.ZipFile(path, "w") as archive:
      archive.writestr("something.txt", "else")
    with self.assertRaisesRegex(UserError, "no arxiv-dataset/train.txt in it"):
      find_raw_files(self.folder, "arxiv")


class IterateLinesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.enter_context(tempfile.TemporaryDirectory())

  def write_large(self, form):
    records = [raw_papers.make_record(f"a{i}") for i in range(20_000)]
    raw_papers.write_release(self.folder, {**RECORDS, "train": records}, form)
    return find_raw_files(self.folder, "arxiv")["train"]

  @parameterized.parameters("gz", "zip")
  def test_damaged_files_are_told(self, form):
    file = self.write_large(form)
    with open(file.path, "r+b") as handle:
      handle.seek(os.path.getsize(file.path) // 2)
      handle.write(b"\0" * 2000)
    with self.assertRaisesRegex(UserError, r"train.txt.*: damaged or cut off after line \d+"):
      for _ in file.iterate_lines():
        pass

  def test_a_gzip_file_cut_off(self):
    file = self.write_large("gz")
    os.truncate(file.path, os.path.getsize(file.path) // 2)
    lines = file.iterate_lines()
    self.assertEqual(parse_paper(next(lines)).id, "a0")  # the beginning is still good
    with self.assertRaisesRegex(UserError, "damaged or cut off after line [1-9]"):
      list(lines)

  @parameterized.parameters("gz", "zip")
  def test_nothing_is_unpacked_into_memory(self, form):
    file = self.write_large(form)
    tracemalloc.start()
    num_bytes = sum(len(line) for line in file.iterate_lines())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    self.assertGreater(num_bytes, 5_000_000)
    self.assertLess(peak, num_bytes / 4)

  def test_a_file_that_is_gone(self):
    with self.assertRaisesRegex(UserError, "gone.txt: cannot be read .No such file"):
      list(RawFile(os.path.join(self.folder, "gone.txt")).iterate_lines())

  def test_blank_lines_are_no_records(self):
    path = os.path.join(self.folder, "x.txt")
    with open(path, "wb") as handle:
      handle.write(b"\n{}\r\n  \n{}")
    self.assertLen(list(RawFile(path).iterate_lines()), 2)


class ParsePaperTest(parameterized.TestCase):
  def test_fields(self):
    paper = parse_paper(
      json.dumps(
        {
          "article_id": " 0704.1 ",
          "abstract_text": ["<S> we  show @xmath0 . </S>", "<S> </S>"],
          "article_text": ["one  two .", ""],
          "section_names": ["[sec:a]a"],
          "sections": [["one two ."], []],
          "labels": None,
        }
      ).encode()
    )
    self.assertEqual(
      paper,
      raw_release.RawPaper(
        "0704.1", ("we show @xmath0 .",), ("one two .", ""), ("[sec:a]a",), (("one two .",), ())
      ),
    )

  def test_characters_that_no_record_can_hold(self):
    record = raw_papers.make_record("p", ["a\0b \ud800 c ."], [["a\0b \ud800 c ."]])
    paper = parse_paper(json.dumps(record).encode())
    self.assertEqual(paper.article, ("ab ? c .",))
    self.assertEqual(paper.sections, (("ab ? c .",),))
    # A pair of surrogates is an ordinary character.
    record = raw_papers.make_record("p", ["\U0001d6fc ."], [])
    self.assertEqual(parse_paper(json.dumps(record).encode()).article, ("\U0001d6fc .",))

  @parameterized.parameters(
    (b"{", "not JSON"),
    (b'{"article_id": "\xff"}', "not UTF-8"),
    (b"[1]", "should be a JSON object, is a list"),
    (b"[" * 100_000, "nested too deeply"),
  )
  def test_lines_that_are_no_record(self, line, message):
    with self.assertRaisesRegex(ValueError, message):
      parse_paper(line)

  @parameterized.parameters(
    ("article_id", "", "'article_id' should be a non-empty string"),
    ("article_id", 3, "'article_id' should be a non-empty string"),
    ("abstract_text", "a string", "'abstract_text' should hold a list of strings"),
    ("article_text", None, "'article_text' should hold a list of strings"),
    ("section_names", [None], "'section_names' should hold a list of strings"),
    ("sections", "x", "'sections' should be a list of lists"),
    ("sections", ["x"], "'sections' should hold a list of strings"),
  )
  def test_fields_of_another_type(self, field, value, message):
    record = {**raw_papers.make_record("p"), field: value}
    with self.assertRaisesRegex(ValueError, message):
      parse_paper(json.dumps(record).encode())


class ReleasesTest(absltest.TestCase):
  def test_agree_with_tfds(self):
    """Size and checksum as in the package of tensorflow-datasets, where it is installed."""
    try:
      import tensorflow_datasets
    except ImportError:
      self.skipTest("tensorflow-datasets is not installed")
    table = os.path.join(
      os.path.dirname(tensorflow_datasets.__file__), "datasets/scientific_papers/checksums.tsv"
    )
    with open(table, encoding="utf-8") as handle:
      rows = {row.split("\t")[3].strip(): row.split("\t") for row in handle if row.strip()}
    for release in raw_release.RELEASES.values():
      url, size, sha256, _ = rows[release.zip_name]
      self.assertEqual((release.zip_bytes, release.zip_sha256), (int(size), sha256))
      drive_id = url.split("id=")[1].split("&")[0]
      self.assertIn(f"id={drive_id}&", release.urls[-1])
      self.assertTrue(release.urls[0].endswith(release.zip_name))


if __name__ == "__main__":
  absltest.main()
