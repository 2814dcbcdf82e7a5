"""Packing: nothing lost, nothing moved to another parent, no row over its capacity."""

import dataclasses

from absl.testing import absltest, parameterized
import numpy as np

from htmtl_jax.data import packing, placement
from htmtl_jax.data.tokenized import TokenizedDocument
from htmtl_jax.data.tokenizer import BOS_ID, EOS_ID
from htmtl_jax.layout import LayoutConfig, make_bucket, make_buckets
from tests import tiny


def one(arrays):
  """A document as a batch of one."""
  return packing.stack_documents([arrays])


def runs_of(values):
  """The values without repeats beside each other: [3, 3, 4, 3] -> [3, 4, 3]."""
  return [v for i, v in enumerate(values) if i == 0 or v != values[i - 1]]


class PackingTest(parameterized.TestCase):
  def assert_rebuilds(self, document, bucket, num_kept=None):
    """Rebuilds the document from the arrays and the index, and checks every invariant."""
    arrays, index, dropped = packing.pack_document(document, bucket)
    batch = one(arrays)
    tree = tiny.unpack_tree(batch, 0)
    flat = batch.token_ids.reshape(-1)
    kept = len(document.sentence_lengths) if num_kept is None else num_kept
    ends = np.cumsum(document.sentence_lengths)

    sentences = [[] for _ in range(kept)]  # token ids by original sentence
    parents = [set() for _ in range(kept)]
    for c, paragraphs in tree:
      for p, children in paragraphs:
        for s, tokens in children:
          original = index.sentence[s]
          sentences[original] += flat[tokens].tolist()
          parents[original].add((int(index.paragraph[p]), int(index.section[c])))
          self.assertEqual(batch.is_heading[0, s], document.is_heading[original])
    for s in range(kept):
      begin, end = ends[s] - document.sentence_lengths[s], ends[s]
      self.assertEqual(sentences[s], document.token_ids[begin:end].tolist())
      paragraph = int(document.sentence_paragraph[s])
      self.assertEqual(parents[s], {(paragraph, int(document.paragraph_section[paragraph]))})

    slots = tiny.tree_slots(tree)
    for found, where in zip(slots[1:], (index.sentence, index.paragraph, index.section)):
      # Reading order, and pieces of one segment beside each other.
      originals = where[found]
      self.assertEqual(runs_of(originals.tolist()), sorted(set(originals.tolist())))
      self.assertEqual(sorted(np.flatnonzero(where >= 0)), sorted(found))
    for found in slots:
      self.assertLen(set(found.tolist()), len(found))
    self.assertEqual((batch.tokens.slot >= 0).sum(), len(slots[0]))
    self.assertTrue((flat[(batch.tokens.slot < 0).reshape(-1)] == 0).all())
    self.assertEqual(dropped, int(document.sentence_lengths[kept:].sum()))
    self.assert_rows(batch)
    return arrays, index, tree

  def assert_rows(self, batch):
    for rows in (batch.tokens, batch.sentences, batch.paragraphs):
      up, down = rows.up[0], rows.down[0]
      parents = np.flatnonzero(rows.parent_mask[0])
      np.testing.assert_array_equal(down[up[parents]], parents)
      np.testing.assert_array_equal(np.sort(up[parents]), np.flatnonzero(rows.place_mask[0]))
      self.assertTrue((up[~rows.parent_mask[0]] == 0).all())
      self.assertTrue((down[~rows.place_mask[0]] == 0).all())
      slots = rows.place_mask.shape[-1] // rows.slot.shape[1]
      self.assertLess(rows.slot.max(), slots)
      for r, row in enumerate(rows.slot[0]):
        for slot in set(row[row >= 0].tolist()):
          columns = np.flatnonzero(row == slot)
          # Siblings stand side by side, in order, and their place is in use.
          np.testing.assert_array_equal(columns, np.arange(columns[0], columns[-1] + 1))
          np.testing.assert_array_equal(rows.position[0, r, columns], np.arange(len(columns)))
          self.assertTrue(rows.place_mask[0, r * slots + slot])

  def test_tiny_documents_rebuild(self):
    for document in tiny.make_documents():
      _, _, tree = self.assert_rebuilds(document, tiny.BUCKET)
      expected = tiny.piece_tree(document)
      sizes = [[[len(t) for _, t in ss] for _, ss in ps] for _, ps in tree]
      self.assertEqual(sizes, [[[len(ids) for ids, _ in p] for p in c] for c in expected])
      self.assert_rebuilds(document, tiny.LARGER_BUCKET)

  def test_random_documents_rebuild(self):
    rng = np.random.default_rng(0)
    bucket = dataclasses.replace(
      tiny.BUCKET, token_rows=300, sentence_rows=60, paragraph_rows=25, sections=25
    )
    for seed in range(40):
      shape = tiny.random_shape(rng, sections=5, paragraphs=5, sentences=7, tokens=25)
      document = tiny.make_document(shape, seed)
      self.assertTrue(placement.fits(document, bucket))
      self.assert_rebuilds(document, bucket)

  @parameterized.named_parameters(
    ("one_word", [(0, [[1]])]),
    ("two_thousand_sentences", [(0, [[3] * 2000])]),
    ("one_sentence_of_five_thousand_words", [(0, [[5000]])]),
    ("every_heading_its_own_section", [(2, [[1]])] * 7),
  )
  def test_extreme_documents_rebuild(self, shape):
    document = tiny.make_document(shape, 1)
    bucket = make_bucket(LayoutConfig(sentences_per_token_row=45.0, row_sentence_slots=43), 48, 100)
    self.assertTrue(placement.fits(document, bucket))
    self.assert_rebuilds(document, bucket)

  def test_pieces_are_as_equal_as_they_can_be(self):
    lengths, parent = placement._split_lengths(np.array([25, 10, 1, 11]), 10)
    self.assertEqual(lengths.tolist(), [9, 8, 8, 10, 1, 6, 5])
    self.assertEqual(parent.tolist(), [0, 0, 0, 1, 2, 3, 3])

  def test_what_does_not_fit_is_cut_from_the_end_and_counted(self):
    document = tiny.make_document([(2, [[3, 24, 4], [9] * 4]), (1, [[8] * 5])] * 3, 0)
    bucket = tiny.BUCKET
    self.assertFalse(placement.fits(document, bucket))
    _, index, dropped = packing.pack_document(document, bucket)
    kept = int(index.sentence.max()) + 1
    self.assertGreater(kept, 3)
    self.assertEqual(dropped, document.sentence_lengths[kept:].sum())
    self.assert_rebuilds(document, bucket, num_kept=kept)

  def test_labels_follow_pieces_and_sum_to_one(self):
    document = tiny.make_documents()[0]
    arrays, index, _ = packing.pack_document(document, tiny.BUCKET)
    self.assertAlmostEqual(arrays.importance_labels.sum(), 1.0, places=5)
    by_sentence = np.zeros(len(document.sentence_lengths))
    real = index.sentence >= 0
    np.add.at(by_sentence, index.sentence[real], arrays.importance_labels[real])
    np.testing.assert_allclose(by_sentence, document.importance_labels, atol=1e-6)
    self.assertTrue((arrays.importance_labels[~real] == 0).all())
    without = dataclasses.replace(document, importance_labels=None)
    arrays, _, _ = packing.pack_document(without, tiny.BUCKET)
    self.assertEqual(arrays.importance_labels.sum(), 0.0)

  def test_merged_pieces_add_up(self):
    index = np.array([2, 0, 0, -1, 2, -1])
    values = np.array([[1.0, 2, 4, 8, 16, 32], [1, 1, 1, 1, 1, 1]])
    np.testing.assert_array_equal(
      packing.merge_pieces(values, index, 4), [[6, 0, 17, 0], [2, 0, 2, 0]]
    )

  def test_blank_document_is_all_padding(self):
    batch = one(packing.blank_document(tiny.BUCKET))
    for rows in (batch.tokens, batch.sentences, batch.paragraphs):
      self.assertFalse(rows.mask.any())
      self.assertFalse(rows.parent_mask.any())
      self.assertFalse(rows.place_mask.any())
    self.assertFalse(batch.targets.mask.any())
    self.assertFalse(batch.document_mask.any())
    self.assertEqual(packing.real_token_share(batch), 0.0)

  def test_targets_by_hand(self):
    a, b, c = np.array([30, EOS_ID]), np.array([31, 4, 32, 33, EOS_ID]), np.array([5, 34, EOS_ID])
    units = (np.zeros(2, int), np.array([0, 0, 1, 1, 9]), np.array([0, 0, 0]))
    bucket = dataclasses.replace(tiny.BUCKET, target_tokens=12)
    targets = packing.pack_targets((a, b, c), units, bucket)
    self.assertEqual(targets.ids.tolist(), [30, 1, 31, 4, 32, 33, 1, 5, 34, 1, 0, 0])
    self.assertEqual(
      targets.input_ids.tolist(),
      [BOS_ID, 30, BOS_ID, 31, 4, 32, 33, BOS_ID, 5, 34, 0, 0],
    )
    self.assertEqual(targets.level.tolist(), [0, 0, 1, 1, 1, 1, 1, 2, 2, 2, -1, -1])
    self.assertEqual(targets.position.tolist(), [0, 1, 0, 1, 2, 3, 4, 0, 1, 2, 0, 0])
    # Units: 0 the sentence, 1 to 3 the paragraph's (9 shares the last), from 4 the digest's.
    self.assertEqual(targets.unit.tolist(), [0, 0, 1, 1, 2, 2, 3, 4, 4, 4, -1, -1])
    # 4 separates sentences: its input and what follows stand in the second one.
    self.assertEqual(targets.piece.tolist(), [0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0])
    self.assertEqual(targets.remaining.tolist(), [2, 1, 5, 4, 3, 2, 1, 3, 2, 1, 0, 0])
    digest = np.array([5, 34, 5, 35, 36, EOS_ID])
    targets = packing.pack_targets((a[:0], b[:0], digest), (a[:0], b[:0], 0 * digest), bucket)
    self.assertEqual(targets.piece.tolist(), [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    # Without an end nobody knows how much was to come.
    endless = packing.pack_targets((a, b[:3], c), (units[0], units[1][:3], units[2]), bucket)
    self.assertEqual(endless.remaining.tolist(), [2, 1, 0, 0, 0, 3, 2, 1, 0, 0, 0, 0])
    cut = packing.pack_targets((a, b, c), units, dataclasses.replace(bucket, target_tokens=4))
    self.assertEqual(cut.ids.tolist(), [30, 1, 31, 4])
    empty = np.zeros(0, np.int32)
    none = packing.pack_targets((empty,) * 3, (empty,) * 3, bucket)
    self.assertTrue((none.level == -1).all())

  def test_choose_bucket_takes_the_smallest_that_fits(self):
    config = LayoutConfig(
      row_tokens=11,
      row_sentence_slots=4,
      row_sentences=5,
      row_paragraphs=3,
      buckets=((3, 40), (6, 40), (12, 50)),
      sections_per_token_row=1.0,
      min_sections=3,
    )
    buckets = make_buckets(config)
    rng = np.random.default_rng(0)
    chosen = []
    for seed in range(30):
      document = tiny.make_document(
        tiny.random_shape(rng, sections=3, paragraphs=2, sentences=3, tokens=9), seed
      )
      needs = placement.measure_document(document, buckets[0].geometry)
      (choice,), (fits_any,) = placement.choose_buckets(needs[None], buckets)
      chosen.append(choice)
      fitting = [i for i, bucket in enumerate(buckets) if placement.fits(document, bucket)]
      self.assertEqual(choice, fitting[0] if fitting else len(buckets) - 1)
      self.assertEqual(fits_any, bool(fitting))
      self.assertTrue(all(placement.fits(document, buckets[i]) for i in fitting))
    self.assertLen(set(chosen), 3)
    # Targets alone can need the larger bucket.
    document = tiny.make_document([(0, [[3]])], 0, target_lengths=(10, 20, 20))
    needs = placement.measure_document(document, buckets[0].geometry)
    self.assertEqual(placement.choose_buckets(needs[None], buckets)[0].tolist(), [2])

  def test_rows_are_at_least_nine_tenths_full(self):
    # Sentence lengths as in papers: a mean of 27 pieces, a long tail, headings between.
    rng = np.random.default_rng(0)
    config = LayoutConfig()
    filled = []
    for seed in range(10):
      shape = [
        (
          4,
          [
            [int(np.clip(n, 4, 200)) for n in rng.lognormal(3.2, 0.5, rng.integers(3, 8))]
            for _ in range(rng.integers(4, 9))
          ],
        )
        for _ in range(6)
      ]
      document = tiny.make_document(shape, seed)
      rows = next(r for r in range(1, 100) if placement.fits(document, make_bucket(config, r, 100)))
      filled.append(document.sentence_lengths.sum() / (rows * config.row_tokens))
    self.assertGreater(np.mean(filled), 0.9)

  def test_dtypes_are_those_written_in_layout(self):
    arrays, _, _ = packing.pack_document(tiny.make_documents()[0], tiny.BUCKET)
    for rows in (arrays.tokens, arrays.sentences, arrays.paragraphs):
      for array in (rows.slot, rows.position, rows.up, rows.down):
        self.assertEqual(array.dtype, np.int32)
      self.assertEqual(rows.parent_mask.dtype, bool)
      self.assertEqual(rows.place_mask.dtype, bool)
    self.assertEqual(arrays.token_ids.dtype, np.int32)
    self.assertEqual(arrays.importance_labels.dtype, np.float32)
    for field in dataclasses.fields(arrays.targets):
      self.assertEqual(getattr(arrays.targets, field.name).dtype, np.int32)

  def test_is_deterministic(self):
    document = tiny.make_documents()[1]
    self.assertIsInstance(document, TokenizedDocument)
    first, _, _ = packing.pack_document(document, tiny.BUCKET)
    second, _, _ = packing.pack_document(document, tiny.BUCKET)
    np.testing.assert_array_equal(first.token_ids, second.token_ids)
    np.testing.assert_array_equal(first.tokens.slot, second.tokens.slot)


if __name__ == "__main__":
  absltest.main()
