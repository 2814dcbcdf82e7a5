"""The prepared corpus: built once, the same whoever builds it, whole or absent."""

import filecmp
import json
import os
import signal
import subprocess
import sys
import tempfile
from unittest import mock

from absl.testing import absltest, parameterized
import ml_collections
import numpy as np

from configs import base
from htmtl_jax.data import corpus_builder, prepared, shard_worker, shards
from htmtl_jax.data.tokenize import Limits, decode_summary, tokenize_document
from htmtl_jax.data.tokenizer import Tokenizer
from htmtl_jax.documents import sources
from htmtl_jax.documents.document import Document, Section
from htmtl_jax.documents.references import make_references
from htmtl_jax.documents.synthetic import generate_corpus
from htmtl_jax.errors import UserError
from htmtl_jax.levels import LEVELS


def _make_config(num_train=12, **data):
  return ml_collections.ConfigDict(
    {
      "data": {
        "source": "synthetic",
        "path": "",
        "exclude": (),
        "max_documents": 0,
        "on_bad_line": "skip",
        "split_seed": 0,
        "validation_share": 0.05,
        "test_share": 0.05,
        "num_train": num_train,
        "num_validation": 4,
        "num_test": 3,
        "synthetic_seed": 5,
        "prepared": "",
        "max_input_tokens": 4096,
        "max_target_tokens": (64, 512, 640),
        "processes": 1,
        "importance_labels": True,
      }
      | data,
      "tokenizer": {"vocab_size": 600, "model_type": "unigram"},
      "layout": base.get_config().layout.to_dict(),
    }
  )


def _list_files(directory):
  return sorted(
    os.path.relpath(os.path.join(root, name), directory)
    for root, _, names in os.walk(directory)
    for name in names
  )


_ENDLESS_SCRIPT = """
import itertools, time
from htmtl_jax.data import shard_worker

def work(maker, seconds):
  time.sleep(seconds)

if __name__ == "__main__":
  with shard_worker.workers("maker", 2) as executor:
    executor.submit(work, 0).result()
    print("worked", flush=True)
    shard_worker.in_order(executor, itertools.repeat((work, 0.1)), 4, lambda result: None)
"""


class _FixedCorpus(sources.Corpus):
  """Documents given in code, as `sources.open_corpus` would give them."""

  fingerprint = "fixed"

  def __init__(self, **splits):
    super().__init__()
    self._splits = splits

  def _records(self):
    for split, documents in self._splits.items():
      for document in documents:
        yield sources.Record(f"{split} {document.id}", split, document, document.id)

  def parse(self, record):
    if record.payload.title == "malformed":
      raise ValueError("it is malformed")
    return record.payload

  def describe(self):
    return "documents of a test"


class PreparedCorpusTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.directory = os.path.join(self.enter_context(tempfile.TemporaryDirectory()), "prepared")

  def _prepare(self, config, directory=None):
    return prepared.prepare_corpus(config, directory or self.directory)

  def test_arrays_are_those_of_the_documents(self):
    config = _make_config()
    corpus = self._prepare(config)
    limits = Limits(4096, (64, 512, 640))
    for split, count in (("train", 12), ("validation", 4), ("test", 3)):
      documents = generate_corpus(split, count, 5)
      self.assertLen(corpus.split(split), count)
      for actual, document in zip(corpus.split(split), documents, strict=True):
        expected = tokenize_document(document, corpus.tokenizer, limits, labels=True)
        self.assertEqual(actual.id, expected.id)
        np.testing.assert_array_equal(actual.token_ids, expected.token_ids)
        np.testing.assert_array_equal(actual.sentence_paragraph, expected.sentence_paragraph)
        np.testing.assert_array_equal(actual.planted, expected.planted)
        np.testing.assert_array_equal(actual.importance_labels, expected.importance_labels)
        for actual_ids, expected_ids in zip(actual.target_ids, expected.target_ids, strict=True):
          np.testing.assert_array_equal(actual_ids, expected_ids)
      if split != "train":
        self.assertEqual(corpus.documents(split), documents)
    with self.assertRaisesRegex(ValueError, "validation and test only"):
      corpus.documents("train")
    with self.assertRaisesRegex(ValueError, "unknown split"):
      corpus.split("dev")

  def test_targets_decode_to_the_references(self):
    corpus = self._prepare(_make_config())
    for document, arrays in zip(corpus.documents("test"), corpus.split("test"), strict=True):
      references = make_references(document)
      for level, ids in zip(LEVELS, arrays.target_ids, strict=True):
        self.assertEqual(
          decode_summary(ids, level, corpus.tokenizer),
          [list(piece.sentences) for piece in references[level].pieces],
        )

  def test_second_time_does_no_text_work(self):
    config = _make_config()
    first = self._prepare(config)
    stamps = {
      name: os.stat(os.path.join(self.directory, name)).st_mtime_ns
      for name in _list_files(self.directory)
    }
    with mock.patch.object(corpus_builder, "build", side_effect=AssertionError("built again")):
      second = self._prepare(config)
      config.data.processes = 7  # decides nothing about the content
      self._prepare(config)
    self.assertEqual(first.statistics, second.statistics)
    self.assertEqual(
      stamps,
      {
        name: os.stat(os.path.join(self.directory, name)).st_mtime_ns
        for name in _list_files(self.directory)
      },
    )

  def test_same_files_with_one_process_and_two(self):
    self.enter_context(mock.patch.object(corpus_builder, "SHARD_DOCUMENTS", 30))
    config = _make_config(num_train=corpus_builder._MIN_DOCUMENTS_FOR_WORKERS)
    other = self.directory + "-2"
    self._prepare(config)
    config.data.processes = 2
    self._prepare(config, other)
    names = _list_files(self.directory)
    self.assertEqual(names, _list_files(other))
    names.remove(prepared.STATISTICS_FILE)  # tells how long it took
    equal, different, errors = filecmp.cmpfiles(self.directory, other, names, shallow=False)
    self.assertEqual((sorted(equal), different, errors), (sorted(names), [], []))
    statistics = [prepared.load_prepared(d).statistics["splits"] for d in (self.directory, other)]
    self.assertEqual(*statistics)

  @parameterized.parameters(
    ("data.max_input_tokens", 100),
    ("data.max_target_tokens", (64, 20, 640)),
    ("data.importance_labels", False),
    ("data.num_train", 10),
    ("data.synthetic_seed", 6),
    ("tokenizer.vocab_size", 500),
  )
  def test_other_settings_are_prepared_anew(self, key, value):
    config = _make_config()
    before = self._prepare(config)
    held = before.split("train")
    expected = [document.token_ids for document in held]
    config.update_from_flattened_dict({key: value})
    after = self._prepare(config)
    self.assertNotEqual(before.statistics["settings"], after.statistics["settings"])
    if key == "data.max_input_tokens":
      self.assertLessEqual(max(after.split("train").num_tokens), value)
      self.assertEqual(after.statistics["splits"]["test"]["truncated_documents"], 3)
    # A program that still reads the old files keeps them.
    for ids, document in zip(expected, held, strict=True):
      np.testing.assert_array_equal(ids, document.token_ids)

  def test_statistics_count_what_is_there(self):
    corpus = self._prepare(_make_config(max_input_tokens=900))
    train = corpus.split("train")
    documents = generate_corpus("train", 12, 5)
    counts = corpus.statistics["splits"]["train"]
    self.assertEqual(counts["documents"], 12)
    self.assertEqual(counts["tokens"], sum(len(d.token_ids) for d in train))
    self.assertEqual(counts["sentences"], sum(len(d.is_heading) for d in train))
    self.assertEqual(counts["sections"], sum(d.paragraph_section.max() + 1 for d in train))
    self.assertEqual(counts["truncated_tokens"], sum(d.num_truncated for d in train))
    self.assertGreater(counts["truncated_documents"], 0)
    for level in LEVELS:
      references = [make_references(d)[level] for d in documents]
      mean = np.mean(
        [len(" ".join(s for p in r.pieces for s in p.sentences).split()) for r in references]
      )
      self.assertAlmostEqual(counts["references"][level]["mean_words"], mean)
      self.assertEqual(corpus.word_budgets[level], round(mean))
      self.assertEqual(counts["references"][level]["gold"], 12)

  def test_an_interrupted_run_is_completed(self):
    config = _make_config()
    with mock.patch.object(shard_worker, "tokenize_document", side_effect=KeyboardInterrupt):
      with self.assertRaises(KeyboardInterrupt):
        self._prepare(config)
    with self.assertRaisesRegex(UserError, "no prepared corpus"):
      prepared.load_prepared(self.directory)
    self.assertLen(self._prepare(config).split("train"), 12)
    # Also when it was killed between two moves.
    os.remove(os.path.join(self.directory, prepared.STATISTICS_FILE))
    os.remove(os.path.join(self.directory, "train", "index.npz"))
    os.makedirs(os.path.join(self.directory, "building", "test"))
    self.assertLen(self._prepare(config).split("train"), 12)
    self.assertNotIn("building", os.listdir(self.directory))

  def test_a_killed_run_goes_on_with_the_shard_that_is_missing(self):
    self.enter_context(mock.patch.object(corpus_builder, "SHARD_DOCUMENTS", 5))
    config = _make_config()
    other = self.directory + "-whole"
    self._prepare(config, other)
    made, write_shard = [], shards.write_shard

    def write_two(directory, number, *rest):
      if len(made) == 2:
        raise KeyboardInterrupt
      made.append((os.path.basename(directory), number))
      write_shard(directory, number, *rest)

    with mock.patch.object(shards, "write_shard", write_two):
      with self.assertRaises(KeyboardInterrupt):
        self._prepare(config)
    before = list(made)
    made.clear()
    with (
      mock.patch.object(
        shards, "write_shard", lambda *a: (made.append(a[:2]), write_shard(*a)) and None
      ),
      mock.patch.object(corpus_builder, "train_tokenizer", side_effect=AssertionError),
    ):
      self._prepare(config)
    self.assertLen(before, 2)
    self.assertLen(made, 3)  # 12 training documents in 3 shards, 4 and 3 in one each: 5
    names = [n for n in _list_files(other) if n != prepared.STATISTICS_FILE]
    equal, different, errors = filecmp.cmpfiles(self.directory, other, names, shallow=False)
    self.assertEqual((sorted(equal), different, errors), (sorted(names), [], []))

  def test_malformed_documents_are_counted_or_stop(self):
    good = generate_corpus("train", 3, 5)
    bad = Document(id="bad", title="malformed", sections=())
    corpus = _FixedCorpus(train=[*good[:1], bad, *good[1:]], validation=good, test=[*good, bad])
    with mock.patch.object(sources, "open_corpus", return_value=corpus):
      with self.assertLogs(level="WARNING") as logs:
        result = self._prepare(_make_config())
    self.assertLen(result.split("train"), 3)
    self.assertEqual(result.documents("test"), good)
    self.assertEqual(result.statistics["malformed_lines"], 2)
    self.assertIn("bad: it is malformed; skipped", logs.output[0])
    corpus._on_bad_line = "stop"
    with mock.patch.object(sources, "open_corpus", return_value=corpus):
      with self.assertRaisesRegex(UserError, "bad: it is malformed; correct the line"):
        self._prepare(_make_config(), self.directory + "-stop")

  def test_loading_needs_no_corpus(self):
    self._prepare(_make_config())
    with mock.patch.object(sources, "open_corpus", side_effect=AssertionError):
      corpus = prepared.load_prepared(self.directory)
    self.assertLen(corpus.documents("validation"), 4)
    self.assertEqual(
      corpus.tokenizer.to_bytes(),
      Tokenizer.load(os.path.join(self.directory, prepared.VOCABULARY_FILE)).to_bytes(),
    )

  def test_damage_is_said_in_a_line(self):
    self._prepare(_make_config())
    path = shards.shard_path(os.path.join(self.directory, "test"), 0, ".jsonl.gz")
    with open(path, "r+b") as f:
      f.truncate(100)
    with self.assertRaisesRegex(
      UserError, "the text of the test split in .* is missing or damaged"
    ):
      prepared.load_prepared(self.directory).documents("test")
    os.remove(os.path.join(self.directory, "test", "index.npz"))
    with self.assertRaisesRegex(UserError, "is damaged"):
      prepared.load_prepared(self.directory)
    path = os.path.join(self.directory, prepared.STATISTICS_FILE)
    with open(path, encoding="utf-8") as f:
      statistics = json.load(f)
    statistics["settings"]["schema_version"] = 0
    with open(path, "w", encoding="utf-8") as f:
      json.dump(statistics, f)
    with self.assertRaisesRegex(UserError, "format 0"):
      prepared.load_prepared(self.directory)

  def test_a_directory_that_cannot_be_written(self):
    with open(self.directory, "w") as f:
      f.write("a file where the directory should be")
    with self.assertRaisesRegex(UserError, "cannot be written"):
      self._prepare(_make_config())

  def test_odd_documents_survive(self):
    odd = [
      Document(id="empty", title="", sections=()),
      Document(id="word", title="", sections=(Section("", (("Maize",),)),)),
      Document(id="many", title="", sections=(Section("H", (("Maize rose.",) * 2000,)),)),
      Document(id="long", title="", sections=(Section("", (("maize " * 5000,),)),)),
    ]
    corpus = _FixedCorpus(train=odd, validation=odd[:1], test=odd[1:])
    with mock.patch.object(sources, "open_corpus", return_value=corpus):
      result = self._prepare(_make_config(max_input_tokens=100_000))
    self.assertEqual([len(d.sentence_lengths) for d in result.split("train")], [0, 1, 2001, 1])
    self.assertEqual(result.documents("validation"), odd[:1])
    # No reference anywhere: the systems still get a length to write.
    self.assertTrue(all(budget > 0 for budget in result.word_budgets.values()))

  def test_no_training_text(self):
    empty = [Document(id="empty", title="", sections=())]
    corpus = _FixedCorpus(train=empty, validation=empty, test=empty)
    with mock.patch.object(sources, "open_corpus", return_value=corpus):
      with self.assertRaisesRegex(UserError, "no text to train the vocabulary on"):
        self._prepare(_make_config())

  def test_an_empty_split_is_told_before_any_work(self):
    with mock.patch.object(corpus_builder, "_train_vocabulary", side_effect=AssertionError):
      with self.assertRaisesRegex(UserError, "validation split has no documents"):
        self._prepare(_make_config(num_validation=0))

  def test_workers_end_with_a_killed_parent(self):
    os.makedirs(self.directory)
    script = os.path.join(self.directory, "script.py")
    with open(script, "w", encoding="utf-8") as f:
      f.write(_ENDLESS_SCRIPT)
    process = subprocess.Popen(
      [sys.executable, script],
      stdout=subprocess.PIPE,
      env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    self.assertEqual(process.stdout.readline(), b"worked\n")
    process.send_signal(signal.SIGKILL)
    # The workers hold the other end of this pipe, so it ends when the last one has.
    process.communicate(timeout=20)
    self.assertEqual(process.returncode, -signal.SIGKILL)

  def test_usual_directory(self):
    config = _make_config()
    self.assertEqual(prepared.prepared_directory(config, "run"), os.path.join("run", "prepared"))
    config.data.prepared = "shared"
    self.assertEqual(prepared.prepared_directory(config, "run"), "shared")


if __name__ == "__main__":
  absltest.main()
