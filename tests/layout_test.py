"""Bucket sizes by hand, and the ways they can be asked for wrongly."""

from absl.testing import absltest, parameterized

from htmtl_jax.errors import UserError
from htmtl_jax.layout import LayoutConfig, make_bucket, make_buckets
from tests import tiny


class LayoutTest(parameterized.TestCase):
  def test_sizes_by_hand(self):
    config = LayoutConfig(
      row_tokens=100,
      row_sentence_slots=10,
      row_sentences=20,
      row_paragraphs=8,
      sentences_per_token_row=7.0,
      paragraphs_per_token_row=2.5,
      sections_per_token_row=0.3,
      min_sections=4,
      paragraph_units=9,
    )
    bucket = make_bucket(config, 30, 555)
    self.assertEqual(bucket.tokens, 3000)
    self.assertEqual((bucket.sentence_rows, bucket.sentences), (11, 220))  # ceil(210 / 20)
    self.assertEqual((bucket.paragraph_rows, bucket.paragraphs), (10, 80))  # ceil(75 / 8)
    self.assertEqual(bucket.sections, 9)
    self.assertEqual((bucket.row_paragraph_slots, bucket.row_section_slots), (10, 4))
    self.assertEqual(bucket.target_tokens, 555)
    self.assertEqual(make_bucket(config, 1, 5).sections, 4)

  def test_units_of_the_levels_follow_each_other(self):
    bucket = tiny.BUCKET
    end = 0
    for level, count in enumerate((1, bucket.paragraph_units, bucket.sections)):
      self.assertEqual(bucket.first_unit(level), end)
      self.assertEqual(bucket.num_units(level), count)
      end += count
    self.assertEqual(bucket.units, end)

  @parameterized.parameters(
    (((8, 100), (8, 200)),),
    (((8, 100), (4, 100)),),
    (((8, 100), (16, 50)),),
    (((0, 100),),),
    (((8, 0),),),
    ((),),
  )
  def test_bad_buckets_are_refused_in_one_line(self, buckets):
    with self.assertRaisesRegex(UserError, r"^config\.layout\.buckets: [^\n]+$"):
      make_buckets(LayoutConfig(buckets=buckets))

  def test_good_buckets_keep_their_order(self):
    buckets = make_buckets(LayoutConfig(buckets=((4, 100), (8, 100), (9, 300))))
    self.assertEqual([b.token_rows for b in buckets], [4, 8, 9])
    self.assertEqual([b.target_tokens for b in buckets], [100, 100, 300])

  @parameterized.parameters(
    # (cut at, devices that share a document, rows): 17/16 of full rows, if well below the next
    (4096, 1, [32, 34, 40, 80]),
    (4096, 4, [32, 40, 80]),  # 36 is too near to 40
    (8192, 1, [32, 40, 68, 80]),
    (8192, 8, [32, 40, 80]),
    (1024, 2, [10, 32, 40, 80]),
    (16384, 1, [32, 40, 80]),  # more than the largest, which then cuts
    (None, 1, [32, 40, 80]),
    (3500, 1, [32, 40, 80]),  # 30 rows, too near to 32
  )
  def test_documents_that_are_cut_have_a_bucket_of_their_own(self, cut, devices, expected):
    config = LayoutConfig(buckets=((32, 100), (40, 200), (80, 300)))
    buckets = make_buckets(config, cut, devices)
    self.assertEqual([b.token_rows for b in buckets], expected)
    targets = {32: 100, 40: 200, 80: 300}
    for bucket, following in zip(buckets, buckets[1:]):
      rows = bucket.token_rows
      self.assertEqual(bucket.target_tokens, targets.get(rows, following.target_tokens))


if __name__ == "__main__":
  absltest.main()
