"""Shards: what goes in comes out, in any order, from any process, and damage is seen."""

import os
import pickle
import tempfile

from absl.testing import absltest
import numpy as np

from htmtl_jax.data import record_format, shards
from htmtl_jax.data.placement import measure_document
from htmtl_jax.data.tokenized import TokenizedDocument
from htmtl_jax.documents.synthetic import generate_corpus
from tests import tiny

GEOMETRY = tiny.BUCKET.geometry


def make_documents():
  """Every kind there is: usual, empty, wide ids, without labels, with an odd id."""
  rng = np.random.default_rng(0)
  usual = [
    tiny.make_document(tiny.random_shape(rng, sections=3, paragraphs=2, sentences=3, tokens=9), i)
    for i in range(5)
  ]
  none = np.zeros(0, np.int32)
  empty = TokenizedDocument(
    "e", none, none, none, none, none.astype(bool), (none,) * 3, (none,) * 3, 0
  )
  wide = TokenizedDocument(
    id="w\ud800ide é",
    token_ids=np.array([70_000, 3], np.int32),
    sentence_lengths=np.array([2], np.int32),
    sentence_paragraph=np.array([0], np.int32),
    paragraph_section=np.array([0], np.int32),
    is_heading=np.array([False]),
    target_ids=(np.array([1], np.int32), none, np.array([90_000, 1], np.int32)),
    target_units=(np.array([0], np.int32), none, np.array([0, 0], np.int32)),
    num_pieces=4,
    num_truncated=17,
    num_cut_target_tokens=3,
  )
  return [*usual, empty, wide]


def write(directory, documents, sizes, texts=None):
  """Writes shards of the given sizes and the index."""
  start = 0
  for number, size in enumerate(sizes):
    part = documents[start : start + size]
    columns = {name: np.zeros((size, *shape), np.int32) for name, shape in shards.COLUMNS.items()}
    columns["tokens"] = np.array([len(d.token_ids) for d in part], np.int32)
    columns["needs"] = np.array([measure_document(d, GEOMETRY) for d in part]).reshape(-1, 5)
    shards.write_shard(
      directory, number, part, columns, texts and texts[start : start + size], {"x": number}
    )
    start += size
  return shards.write_index(directory, len(sizes), GEOMETRY)


class ShardsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.directory = self.enter_context(tempfile.TemporaryDirectory())

  def assert_same(self, actual, expected):
    for name in TokenizedDocument.__dataclass_fields__:
      a, b = getattr(actual, name), getattr(expected, name)
      if isinstance(b, tuple):
        self.assertLen(a, len(b))
        for x, y in zip(a, b):
          np.testing.assert_array_equal(x, y, err_msg=name)
      elif isinstance(b, np.ndarray):
        np.testing.assert_array_equal(a, b, err_msg=name)
        self.assertEqual(a.dtype, b.dtype, name)
      else:
        self.assertEqual(a, b, name)

  def test_bytes_and_back(self):
    for document in make_documents():
      self.assert_same(record_format.from_bytes(record_format.to_bytes(document)), document)

  def test_documents_come_back_in_order_whatever_the_shards(self):
    documents = make_documents()
    reports = write(self.directory, documents, (3, 0, 4))
    self.assertEqual([r["x"] for r in reports], [0, 1, 2])
    split = pickle.loads(pickle.dumps(shards.ShardedSplit(self.directory)))  # as a worker gets it
    self.assertLen(split, 7)
    for i in (6, 0, 3, 2, 5, 1, 4):
      self.assert_same(split[i], documents[i])
    self.assert_same(split[-1], documents[-1])
    self.assertEqual([d.id for d in split[2:4]], [d.id for d in documents[2:4]])
    self.assertEqual([d.id for d in split], [d.id for d in documents])
    self.assertEqual(split.num_tokens.tolist(), [len(d.token_ids) for d in documents])
    self.assertEqual(split.geometry, GEOMETRY)
    with self.assertRaises(IndexError):
      split[7]

  def test_text_comes_back(self):
    texts = generate_corpus("test", 3, 5)
    write(self.directory, make_documents()[:3], (2, 1), texts)
    self.assertEqual(list(shards.ShardedSplit(self.directory).texts()), texts)

  def test_the_same_documents_give_the_same_bytes(self):
    def content():
      folder = self.enter_context(tempfile.TemporaryDirectory())
      write(folder, make_documents(), (4, 3), generate_corpus("test", 7, 5))
      return {n: open(os.path.join(folder, n), "rb").read() for n in sorted(os.listdir(folder))}

    self.assertEqual(content(), content())

  def test_a_shard_that_was_not_finished_is_not_whole(self):
    write(self.directory, make_documents(), (3, 4))
    self.assertTrue(shards.is_whole(self.directory, 1))
    self.assertFalse(shards.is_whole(self.directory, 2))

  def test_an_index_of_other_shards_is_refused(self):
    write(self.directory, make_documents(), (3, 4))
    other = self.enter_context(tempfile.TemporaryDirectory())
    write(other, make_documents()[:5], (3, 2))
    os.replace(
      shards.shard_path(other, 1, ".array_record"),
      shards.shard_path(self.directory, 1, ".array_record"),
    )
    with self.assertRaisesRegex(ValueError, "has 5 records"):
      shards.ShardedSplit(self.directory)


if __name__ == "__main__":
  absltest.main()
