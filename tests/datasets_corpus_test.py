"""Users' corpora as datasets, datasets as a source of training, and the command for both."""

import contextlib
import io
import json
import os
import subprocess
import sys
import textwrap
from unittest import mock

from absl.testing import absltest, parameterized

from htmtl_jax.data.prepared import prepare_corpus
from htmtl_jax.datasets import build, examples, papers
from htmtl_jax.documents import sources
from htmtl_jax.errors import UserError
from tests import raw_papers, tiny_config

TRAIN_IDS = ["z", "y", *raw_papers.make_defective_records(), "a"]
TEST_IDS = ["t9", "t_empty", "t1", "t1#2", "t5"]


class JsonlTest(raw_papers.PapersTestCase):
  def write_corpus(self, num_documents=60, name="corpus"):
    folder = self.make_folder(name)
    with open(os.path.join(folder, "a.jsonl"), "w", encoding="utf-8") as handle:
      for i in range(num_documents):
        sections = [{"heading": "H", "paragraphs": [f"Plant {i} grew. It did.", "It died."]}]
        record = {"id": f"p{i}", "title": f"T{i}", "abstract": ["Good \ud83d\ude00."]}
        handle.write(json.dumps({**record, "sections": sections}) + "\n")
      handle.write('{"id": "p0", "sections": []}\n{broken\n')
    return folder

  def make_config(self, path, **kwargs):
    shares = {"validation_share": 0.2, "test_share": 0.2}
    return papers.make_jsonl_config(examples.JsonlSource(path, **{**shares, **kwargs}))

  def test_same_documents_as_from_the_files(self):
    folder = self.write_corpus()
    with mock.patch.object(papers, "_SHARD_BYTES", 1000):
      dataset = self.prepare(self.make_config(folder), raw="")
    data = tiny_config.get_config().data
    data.update(source="jsonl", path=folder, validation_share=0.2, test_share=0.2)
    corpus = sources.open_corpus(data)
    for split in sources.SPLITS:
      self.assertEqual(list(dataset.iterate(split)), list(corpus.iterate(split)))
    self.assertEqual(next(dataset.iterate("test")).paragraphs_are, "source")
    train = self.read_report(dataset)["splits"]["train"]
    self.assertEqual((train["malformed"], train["repeated_ids"]), (1, 1))
    self.assertNotIn("repairs", train)
    self.assertGreater(len(dataset.list_files()), 6)
    self.assertEqual(
      self.prepare(os.path.basename(os.path.dirname(dataset.folder)), raw="").folder, dataset.folder
    )

  def test_another_corpus_or_split_is_another_dataset(self):
    folder = self.write_corpus()
    name = self.make_config(folder).name
    self.assertRegex(name, "^jsonl-[0-9a-f]{16}$")
    self.assertEqual(name, self.make_config(self.write_corpus(name="copy")).name)
    for change in ({"test_share": 0.3}, {"split_seed": 1}):
      self.assertNotEqual(name, self.make_config(folder, **change).name)
    self.assertNotEqual(name, self.make_config(self.write_corpus(61, "longer")).name)

  def test_an_empty_split(self):
    with self.assertRaisesRegex(UserError, "none of the documents fell into the"):
      self.prepare(self.make_config(self.write_corpus(2)), raw="")


class CorpusTest(raw_papers.PapersTestCase):
  """As a source of training."""

  def make_config(self, **kwargs):
    config = tiny_config.get_config()
    config.data.update(source="tfds", name="arxiv", path=self.data_dir, raw=self.raw, **kwargs)
    return config

  def test_makes_the_dataset_once(self):
    ids = self.write_many(5)
    corpus = sources.open_corpus(self.make_config().data)
    self.assertEqual([d.id for d in corpus.iterate("train")], ids)
    self.assertEqual([d.id for d in corpus.iterate("test")], ["t0", "t1", "t2"])
    self.assertIn("5 train, 3 validation, 3 test", corpus.describe())
    with self.assertRaisesRegex(UserError, "unknown split 'dev'"):
      list(corpus.iterate("dev"))
    with mock.patch.object(papers, "_build", side_effect=AssertionError("made again")):
      again = sources.open_corpus(self.make_config().data)
    self.assertEqual(again.fingerprint, corpus.fingerprint)

  def test_a_paper_in_two_splits_stays_in_both(self):
    self.write_many(5)
    corpus = sources.open_corpus(self.make_config().data)
    with mock.patch.object(
      corpus._dataset, "iterate_examples", lambda split: iter([("same", "text"), ("same", "again")])
    ):
      self.assertEqual(
        [(r.split, r.payload) for r in corpus.records()], [(s, "text") for s in sources.SPLITS]
      )

  def test_fingerprint(self):
    self.write_many(5)
    base = sources.open_corpus(self.make_config().data).fingerprint
    self.data_dir = os.path.join(self.folder, "elsewhere")
    self.assertEqual(sources.open_corpus(self.make_config().data).fingerprint, base)
    self.data_dir, self.raw = os.path.join(self.folder, "other"), self.make_folder("raw_2")
    self.write_many(6)
    self.assertNotEqual(sources.open_corpus(self.make_config().data).fingerprint, base)

  def test_prepared_for_training(self):
    """Empty papers of the held-out splits come through to the arrays."""
    raw_papers.write_release(self.raw, raw_papers.make_defective_release())
    config = self.make_config()
    config.tokenizer.vocab_size = 320
    prepared = prepare_corpus(config, os.path.join(self.folder, "prepared"))
    self.assertEqual([d.id for d in prepared.documents("test")], TEST_IDS)
    tokenized = prepared.split("test")
    self.assertEqual([bool(len(d.token_ids)) for d in tokenized], [True, False, True, True, True])
    self.assertLen(prepared.split("train"), 12)


class CommandTest(raw_papers.PapersTestCase):
  def run_build(self, *argv):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      status = build.run([*argv, f"--data_dir={self.data_dir}"])
    return status, out.getvalue(), err.getvalue()

  def test_release(self):
    self.write_many(5)
    status, out, _ = self.run_build("--name=arxiv", f"--manual_dir={self.raw}")
    folder = os.path.join(self.data_dir, raw_papers.ARXIV_FOLDER)
    self.assertEqual(status, 0)
    self.assertEqual(
      out.splitlines(),
      [
        "train: 5 documents",
        "validation: 3 documents",
        "test: 3 documents",
        f"dataset: {folder}",
        f"report: {folder}/REPAIRS.md",
      ],
    )

  def test_jsonl(self):
    path = os.path.join(self.raw, "a.jsonl")
    with open(path, "w", encoding="utf-8") as handle:
      for i in range(30):
        record = {"id": f"p{i}", "sections": [{"heading": "", "paragraphs": ["Some text."]}]}
        handle.write(json.dumps(record) + "\n")
    status, out, _ = self.run_build(
      "--name=jsonl", f"--path={path}", "--test_share=0.2", "--validation_share=0.3"
    )
    self.assertEqual(status, 0)
    counts = [int(line.split()[1]) for line in out.splitlines()[:3]]
    self.assertEqual(sum(counts), 30)
    self.assertGreater(counts[1], 3)

  @parameterized.parameters(
    ((), "--name is missing; choose one of arxiv, pubmed, jsonl"),
    (("--name=nips",), "--name=nips is unknown; choose one of"),
    (("--name=arxiv", "--path=x"), "--path has no meaning with --name=arxiv"),
    (("--name=jsonl", "--manual_dir=x"), "--manual_dir has no meaning with --name=jsonl"),
    (("--name=jsonl",), "--path is missing"),
    (("--name=jsonl", "--path=x", "--test_share=1"), "add up to less than 1, got 0.05 and 1"),
    (("--name=jsonl", "--path=/nowhere"), "/nowhere: no such file or folder"),
    (("--name=arxiv", "--manual_dir=/nowhere"), "/nowhere: no such folder"),
    (("--name=arxiv", "--text_source=both"), "text_source"),
    (("--nmae=arxiv",), "Unknown command line flag 'nmae'"),
    (("arxiv",), "unexpected argument 'arxiv'"),
  )
  def test_errors_are_one_line(self, argv, message):
    status, out, err = self.run_build(*argv)
    self.assertEqual((status, out), (2, ""))
    self.assertRegex(err, f"^htmtl_jax.datasets.build: error: .*{message}.*\n$")
    self.assertEqual(err.count("\n"), 1)

  def test_help(self):
    status, out, _ = self.run_build("--help")
    self.assertEqual(status, 0)
    for name in ("name", "data_dir", "manual_dir", "path", "exclude", "split_seed"):
      self.assertIn(f"  --{name} ", out)

  def test_needs_no_tensorflow(self):
    """Neither now nor where TFDS would begin to use it: for more than it keeps in memory."""
    self.write_many(20)
    program = textwrap.dedent(f"""
      import importlib.util
      import sys

      class Installed:  # as if it were there
        def find_spec(self, name, path=None, target=None):
          if name.partition(".")[0] in ("tensorflow", "apache_beam"):
            return importlib.util.spec_from_loader(name, self)

        def create_module(self, spec):
          raise AssertionError(f"{{spec.name}} is imported")

        def exec_module(self, module):
          pass

      sys.meta_path.insert(0, Installed())
      from tensorflow_datasets.core import shuffle
      shuffle.MAX_MEM_BUFFER_SIZE = 1
      from htmtl_jax.datasets import build
      assert build.run(["--name=arxiv", "--manual_dir={self.raw}", "--data_dir={self.data_dir}"]) == 0
      from htmtl_jax.datasets import papers
      print(len(list(papers.prepare("arxiv", {self.data_dir!r}).iterate("train"))))
      assert "tensorflow" not in sys.modules
    """)
    done = subprocess.run(
      [sys.executable, "-c", program],
      cwd=tiny_config.REPOSITORY,
      capture_output=True,
      text=True,
      check=False,
      timeout=120,
    )
    self.assertEqual(done.returncode, 0, done.stderr)
    self.assertEqual(done.stdout.splitlines()[-1], "20")


if __name__ == "__main__":
  absltest.main()
