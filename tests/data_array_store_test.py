"""Documents through the array store and back."""

import dataclasses
import os
import tempfile

from absl.testing import absltest
import numpy as np

from htmtl_jax.data.array_store import ArrayStore, ArrayStoreWriter
from htmtl_jax.data.tokenized import TokenizedDocument


def _document(rng, num_sentences, planted, labels, vocab_size=70_000):
  lengths = rng.integers(1, 9, num_sentences)
  paragraph = np.sort(rng.integers(0, 3, num_sentences))
  paragraph = np.unique(paragraph, return_inverse=True)[1]
  num_paragraphs = int(paragraph[-1]) + 1 if num_sentences else 0
  targets = [rng.integers(0, vocab_size, rng.integers(0, 7)) for _ in range(3)]
  return TokenizedDocument(
    id=f"doc é {rng.integers(1000)}",
    token_ids=rng.integers(0, vocab_size, lengths.sum()).astype(np.int32),
    sentence_lengths=lengths.astype(np.int32),
    sentence_paragraph=paragraph.astype(np.int32),
    paragraph_section=np.zeros(num_paragraphs, np.int32),
    is_heading=rng.integers(0, 2, num_sentences).astype(bool),
    target_ids=tuple(t.astype(np.int32) for t in targets),
    target_units=tuple(np.arange(len(t), dtype=np.int32) for t in targets),
    num_pieces=int(rng.integers(5)),
    planted=rng.integers(0, 2, num_sentences).astype(bool) if planted else None,
    importance_labels=rng.random(num_sentences).astype(np.float32) if labels else None,
    num_truncated=int(rng.integers(9)),
  )


class ArrayStoreTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.directory = self.enter_context(tempfile.TemporaryDirectory())

  def _write(self, documents, vocab_size):
    with ArrayStoreWriter(self.directory, vocab_size) as writer:
      for document in documents:
        writer.append(document)
    return ArrayStore(self.directory)

  def _assert_equal(self, actual, expected):
    for field in dataclasses.fields(TokenizedDocument):
      a, b = getattr(actual, field.name), getattr(expected, field.name)
      if isinstance(b, (str, int)) or b is None:
        self.assertEqual(a, b, field.name)
        continue
      a, b = (a, b) if isinstance(b, tuple) else ((a,), (b,))
      self.assertLen(a, len(b))
      for x, y in zip(a, b, strict=True):
        self.assertEqual(x.dtype, y.dtype, field.name)
        np.testing.assert_array_equal(x, y, field.name)

  def test_round_trip_with_two_and_four_byte_ids(self):
    rng = np.random.default_rng(0)
    for vocab_size in (65_536, 70_000):
      documents = [
        _document(rng, n, planted=n % 2 == 0, labels=n % 3 == 0, vocab_size=vocab_size)
        for n in (4, 1, 7, 12, 3)
      ]
      store = self._write(documents, vocab_size)
      self.assertLen(store, 5)
      for actual, expected in zip(store, documents, strict=True):
        self._assert_equal(actual, expected)
      self._assert_equal(store[-1], documents[-1])
      self.assertEqual([d.id for d in store[1:3]], [d.id for d in documents[1:3]])
      np.testing.assert_array_equal(store.num_tokens, [len(d.token_ids) for d in documents])
      np.testing.assert_array_equal(
        store.num_sentences, [len(d.sentence_lengths) for d in documents]
      )
      with self.assertRaises(IndexError):
        _ = store[5]

  def test_empty_documents_and_empty_stores(self):
    rng = np.random.default_rng(1)
    documents = [
      _document(rng, 0, False, False),
      _document(rng, 2, True, True),
      _document(rng, 0, False, False),
    ]
    for actual, expected in zip(self._write(documents, 70_000), documents, strict=True):
      self._assert_equal(actual, expected)
    self.assertEmpty(list(self._write([], 70_000)))

  def test_a_reader_may_write_into_what_it_got(self):
    store = self._write([_document(np.random.default_rng(2), 3, True, True)], 70_000)
    before = store[0]
    changed = store[0]
    changed.token_ids[:] = -1
    changed.sentence_lengths[:] = -1
    self._assert_equal(store[0], before)

  def test_files_are_plain_npy(self):
    document = _document(np.random.default_rng(3), 5, True, True)
    self._write([document, document], 70_000)
    flat = np.load(os.path.join(self.directory, "token_ids.npy"))
    np.testing.assert_array_equal(flat, np.tile(document.token_ids, 2))

  def test_ids_that_do_not_fit_are_refused(self):
    document = _document(np.random.default_rng(4), 5, False, False)
    document.token_ids[0] = 66_000
    with self.assertRaisesRegex(ValueError, "do not fit uint16"):
      self._write([document], 1000)

  def test_an_unfinished_store_cannot_be_read(self):
    with self.assertRaises(RuntimeError):
      with ArrayStoreWriter(self.directory, 100) as writer:
        writer.append(_document(np.random.default_rng(5), 5, False, False, 100))
        raise RuntimeError("stopped")
    with self.assertRaises(OSError):
      ArrayStore(self.directory)

  def test_a_shortened_file_is_noticed(self):
    self._write([_document(np.random.default_rng(6), 5, False, False, 100)], 100)
    np.save(os.path.join(self.directory, "token_ids.npy"), np.zeros(2, np.uint16))
    with self.assertRaisesRegex(ValueError, "token_ids has not the length"):
      ArrayStore(self.directory)


if __name__ == "__main__":
  absltest.main()
