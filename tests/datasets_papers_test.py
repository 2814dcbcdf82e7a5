"""From the raw release, with every defect planted in it, through TFDS and back."""

import contextlib
import functools
import hashlib
import http.server
import io
import json
import os
import pathlib
import threading
from unittest import mock

from absl.testing import absltest, parameterized
import tensorflow_datasets as tfds

from htmtl_jax.datasets import examples, papers, raw_release
from htmtl_jax.documents import sources, synthetic
from htmtl_jax.errors import UserError
from tests import raw_papers

TRAIN_IDS = ["z", "y", *raw_papers.make_defective_records(), "a"]
TEST_IDS = ["t9", "t_empty", "t1", "t1#2", "t5"]


class ReleaseTest(raw_papers.PapersTestCase):
  @parameterized.parameters("txt", "gz", "zip")
  def test_every_defect(self, form):
    raw_papers.write_release(self.raw, raw_papers.make_defective_release(), form)
    dataset = self.prepare()
    documents = {split: list(dataset.iterate(split)) for split in sources.SPLITS}

    # Order is the file's; unusable lines go from the training split alone.
    ids = {split: [d.id for d in docs] for split, docs in documents.items()}
    self.assertEqual(
      ids, {"train": TRAIN_IDS, "validation": ["v2", "v_empty", "v1"], "test": TEST_IDS}
    )
    self.assertEqual([dataset.num_documents(s) for s in sources.SPLITS], [12, 3, 5])
    empty = documents["test"][1]
    self.assertEqual(empty.sections, ())
    self.assertEqual(empty.abstract_sentences, ("we measured t_empty .",))
    by_id = {d.id: d for d in documents["train"]}
    a, b, c, d = (raw_papers.LONG.format(x) for x in ("length", "width", "height", "depth"))
    copies = by_id["copies"]
    self.assertEqual([s.heading for s in copies.sections], ["part 0", "part 1"])
    self.assertEqual([s.paragraphs for s in copies.sections], [((a,),), ((b, c, d),)])
    self.assertEqual(copies.paragraphs_are, "pseudo")

    report = self.read_report(dataset)
    train, test = report["splits"]["train"], report["splits"]["test"]
    repairs = {key: value for key, value in train.pop("repairs").items() if value}
    self.assertEqual(
      train,
      {
        "records": 15,
        "malformed": 1,
        "repeated_ids": 1,
        "renamed_ids": 0,
        "empty_left_out": 1,
        "documents": 12,
      },
    )
    self.assertEqual(
      repairs,
      {
        "papers": 13,  # twelve, and the empty one
        "empty_articles": 1,
        "empty_abstracts": 1,
        "unmatched_names": 1,
        "labels": 3,
        "empty_sections": 4,
        "foreign_sentences": 2,
        "copied_sentences": 3,
        "repeated_sentences": 1,
        "homeless_sentences": 4,
        "moved_sentences": 1,
        "emptied_sections": 3,
        "sections": 22,
        "paragraphs": 22,
        "sentences": 33,
      },
    )
    self.assertEqual((test["records"], test["documents"]), (5, 5))
    self.assertEqual((test["renamed_ids"], test["repairs"]["empty_articles"]), (1, 1))
    self.assertEqual(report["dataset"], "htmtl_papers/arxiv/1.0.0")
    self.assertEqual(report["test_of_the_release"], "5 of 6,440 papers")
    with open(os.path.join(dataset.folder, "REPAIRS.md"), encoding="utf-8") as handle:
      text = handle.read()
    self.assertRegex(text, r"\| malformed \| 1 \| 0 \| 0 \| records that could not be read")
    self.assertRegex(text, r"\| empty articles \| 1 \| 1 \| 1 \| papers without any text \|")
    self.assertIn("5 papers; the release has 6,440", self.stderr.getvalue())

  def test_read_by_tfds_alone(self):
    raw_papers.write_release(self.raw, raw_papers.make_defective_release())
    self.prepare()
    path = os.path.join(self.data_dir, raw_papers.ARXIV_FOLDER)
    builder = tfds.builder_from_directory(path)
    self.assertEqual(builder.info.splits["test"].num_examples, 5)
    self.assertTrue(builder.info.disable_shuffling)
    source = builder.as_data_source("train")
    example = source[TRAIN_IDS.index("empty_sections")]
    self.assertEqual(set(example), {"id", "title", "abstract", "document"})
    self.assertEqual(example["abstract"], b"one .\ntwo .\nthree .")
    self.assertEqual(json.loads(example["document"])["schema_version"], 1)
    self.assertEqual(examples.decode_document(example["document"].decode()).id, "empty_sections")
    self.assertEqual([e["id"].decode() for e in builder.as_data_source("test[1:3]")], TEST_IDS[1:3])

  def test_made_by_tfds_alone(self):
    ids = self.write_many(7)
    builder = tfds.builder("htmtl_papers/arxiv_sections", data_dir=self.data_dir)
    config = tfds.download.DownloadConfig(manual_dir=self.raw, try_download_gcs=False)
    with contextlib.redirect_stdout(io.StringIO()):
      builder.download_and_prepare(download_config=config)
    self.assertEqual([e["id"].decode() for e in builder.as_data_source("train")], ids)
    self.assertTrue(os.path.exists(os.path.join(builder.data_dir, "REPAIRS.md")))

  @parameterized.parameters(1, 4, 50)
  def test_order_over_shards(self, num_shards):
    ids = self.write_many(50)
    size = os.path.getsize(os.path.join(self.raw, "arxiv-dataset", "train.txt"))
    with mock.patch.object(papers, "_SHARD_BYTES", -(-size // num_shards)):
      dataset = self.prepare()
    shards = [f for f in dataset.list_files() if "-train." in f]
    self.assertLen(shards, num_shards)
    self.assertEqual([d.id for d in dataset.iterate("train")], ids)

  def test_a_shard_whose_records_are_all_left_out(self):
    records = {s: [raw_papers.make_record("p")] for s in sources.SPLITS}
    empty = [raw_papers.make_empty_record(f"e{i}") for i in range(8)]
    records["train"] = [raw_papers.make_record("p"), *empty, raw_papers.make_record("q")]
    raw_papers.write_release(self.raw, records)
    with mock.patch.object(papers, "_SHARD_BYTES", 600):
      dataset = self.prepare()
    self.assertGreater(len([f for f in dataset.list_files() if "-train." in f]), 3)
    self.assertEqual([d.id for d in dataset.iterate("train")], ["p", "q"])

  def test_text_source(self):
    raw_papers.write_release(self.raw, raw_papers.make_defective_release())
    find = lambda dataset: next(d for d in dataset.iterate("train") if d.id == "foreign")
    self.assertLen(find(self.prepare("arxiv")).sections, 2)
    self.assertLen(find(self.prepare("arxiv_sections")).sections, 3)

  def test_a_malformed_test_paper_is_an_error_and_leaves_nothing(self):
    records = raw_papers.make_defective_release()
    records["test"].insert(2, '{"article_id": "t3"}')
    raw_papers.write_release(self.raw, records)
    with self.assertRaisesRegex(UserError, "test.txt, record 3: 'abstract_text' should hold"):
      self.prepare()
    self.assertEqual(os.listdir(os.path.join(self.data_dir, "htmtl_papers", "arxiv")), [])

  @parameterized.parameters(
    ("train", "no document of the train split could be used"),
    ("test", "test.txt: no papers in it"),
  )
  def test_a_split_without_documents(self, split, message):
    records = raw_papers.make_defective_release()
    records[split] = [raw_papers.make_empty_record("e")] if split == "train" else []
    raw_papers.write_release(self.raw, records)
    with self.assertRaisesRegex(UserError, message):
      self.prepare()

  def test_what_a_killed_run_left_is_cleared_and_what_is_there_is_kept(self):
    self.write_many(5)
    left = os.path.join(self.data_dir, "htmtl_papers", "arxiv", "incomplete.AB12CD_1.0.0")
    os.makedirs(left)
    dataset = self.prepare()
    self.assertEqual(os.listdir(os.path.dirname(dataset.folder)), ["1.0.0"])
    before = {f: os.stat(f).st_mtime_ns for f in dataset.list_files()}
    self.prepare(raw=os.path.join(self.folder, "gone"))  # neither needed nor looked at
    self.assertEqual(before, {f: os.stat(f).st_mtime_ns for f in dataset.list_files()})

  @parameterized.parameters(
    ("nowhere", "nowhere: no such folder"),
    ("raw", "raw: no arxiv-dataset.zip, arxiv-dataset/ or train.txt in it"),
  )
  def test_a_manual_folder_without_the_release(self, name, message):
    with open(os.path.join(self.raw, "README"), "w", encoding="utf-8"):
      pass
    with self.assertRaisesRegex(UserError, message):
      self.prepare(raw=os.path.join(self.folder, name))
    self.assertFalse(os.path.exists(self.data_dir))

  def test_an_unknown_name(self):
    with self.assertRaisesRegex(UserError, "no dataset 'nips' in .*data; .*arxiv, arxiv_sections"):
      self.prepare("nips")

  def test_a_folder_that_cannot_be_written(self):
    self.write_many(3)
    with open(self.data_dir, "w", encoding="utf-8"):
      pass  # a file where the folder should be
    with self.assertRaisesRegex(UserError, "cannot be written"):
      self.prepare()

  def test_damage_is_told(self):
    self.write_many(40)
    dataset = self.prepare()
    shard = dataset.list_files()[0]
    os.truncate(shard, os.path.getsize(shard) // 2)
    with self.assertRaisesRegex(UserError, "the dataset in .* cannot be read .*make it again"):
      list(self.prepare().iterate("train"))
    os.remove(os.path.join(dataset.folder, "dataset_info.json"))
    with self.assertRaisesRegex(UserError, "the dataset in .* cannot be read .*make it again"):
      self.prepare()

  def test_another_version_of_the_record(self):
    text = examples.encode_example(synthetic.generate_document(0, "train", 0))["document"]
    with self.assertRaisesRegex(ValueError, "should begin with .*schema_version.*: 1"):
      examples.decode_document(text.replace('"schema_version": 1', '"schema_version": 2'))


class ZipTest(raw_papers.PapersTestCase):
  """The zip of the release: found, downloaded, never used if damaged."""

  def patch_release(self, path, **changes):
    """Makes the zip at `path` the true one."""
    content = pathlib.Path(path).read_bytes()
    release = raw_release.Release(
      **{
        "name": "arxiv",
        "split_sizes": {"train": 5, "validation": 3, "test": 3},
        "zip_name": "arxiv-dataset.zip",
        "zip_bytes": len(content),
        "zip_sha256": hashlib.sha256(content).hexdigest(),
        "urls": (),
        **changes,
      }
    )
    self.enter_context(mock.patch.dict(raw_release.RELEASES, {"arxiv": release}))

  def serve(self, folder):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    self.enter_context(mock.patch.object(handler.func, "log_message"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    self.addCleanup(thread.join)
    self.addCleanup(server.server_close)
    self.addCleanup(server.shutdown)
    return f"http://127.0.0.1:{server.server_address[1]}"

  def test_downloaded_where_there_is_no_folder(self):
    ids = self.write_many(5, form="zip")
    address = self.serve(self.raw)
    urls = (f"{address}/gone.zip", f"{address}/arxiv-dataset.zip")
    self.patch_release(os.path.join(self.raw, "arxiv-dataset.zip"), urls=urls)
    dataset = self.prepare(raw="")
    self.assertEqual([d.id for d in dataset.iterate("train")], ids)
    self.assertIn("gone.zip: answered 404", self.stderr.getvalue())
    self.assertNotIn("the release has", self.stderr.getvalue())
    kept = os.path.join(self.data_dir, "downloads", "arxiv-dataset.zip")
    self.assertTrue(os.path.exists(kept))

  def test_a_download_that_fails_leaves_no_dataset(self):
    path = raw_papers.write_release(self.raw, raw_papers.make_defective_release(), "zip")
    address = self.serve(self.raw)
    self.patch_release(path, urls=(f"{address}/arxiv-dataset.zip",), zip_sha256="0" * 64)
    with self.assertRaisesRegex(UserError, "could not be downloaded .*another checksum"):
      self.prepare(raw="")
    self.assertFalse(os.path.exists(os.path.join(self.data_dir, raw_papers.ARXIV_FOLDER)))

  def test_a_zip_of_the_right_size_has_to_have_the_checksum(self):
    self.write_many(5, form="zip")
    path = os.path.join(self.raw, "arxiv-dataset.zip")
    self.patch_release(path)
    with open(path, "r+b") as handle:
      handle.seek(400)
      byte = handle.read(1)
      handle.seek(400)
      handle.write(bytes([byte[0] ^ 1]))
    with self.assertRaisesRegex(UserError, "arxiv-dataset.zip: damaged .its checksum is wrong"):
      self.prepare()

  def test_another_zip_is_read_and_told(self):
    self.write_many(5, form="zip")
    self.prepare()
    self.assertRegex(self.stderr.getvalue(), r"arxiv-dataset.zip: [\d,]+ bytes, not the release's")


if __name__ == "__main__":
  absltest.main()
