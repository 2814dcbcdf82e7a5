"""The vocabulary: structure ids out of the text's reach, lossless, reproducible."""

import os
import pickle
import random
import tempfile

from absl.testing import absltest, parameterized

from htmtl_jax.data import tokenizer as tokenizer_lib
from htmtl_jax.data.tokenizer import Tokenizer, train_tokenizer
from htmtl_jax.errors import UserError

_WORDS = (
  "the root growth of maize under drought was measured in plots with soil water "
  "sensors and yield rose by percent while control plants showed no change over "
  "seasons"
).split()


def _make_lines(count, seed=0):
  rng = random.Random(seed)
  return [
    " ".join(rng.choices(_WORDS, k=rng.randrange(5, 15))) + f" {rng.randrange(1000)}.{i % 10}"
    for i in range(count)
  ]


class TokenizerTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.tokenizer = train_tokenizer(_make_lines(300), 400)

  def test_ids_are_the_announced_ones(self):
    self.assertEqual(
      [
        tokenizer_lib.PAD_ID,
        tokenizer_lib.EOS_ID,
        tokenizer_lib.UNK_ID,
        tokenizer_lib.BOS_ID,
        tokenizer_lib.SENTENCE_ID,
        tokenizer_lib.SECTION_ID,
        tokenizer_lib.FIRST_LENGTH_ID,
      ],
      list(range(7)),
    )
    self.assertEqual(tokenizer_lib.NUM_STRUCTURE_IDS, 22)

  @parameterized.parameters(
    "<section>",
    "</s>",
    "<pad>",
    "<s>",
    "<unk>",
    "<sentence>",
    "<len0>",
    "a <section> b",
    "<section><sentence></s>",
    "▁<section>▁",
    "<0x41>",
    " </s>",
    "<sec\u200btion>",
    "⁇",
    "⟨section⟩",
  )
  def test_text_never_becomes_a_structure_id(self, text):
    for ids in (self.tokenizer.encode(text), self.tokenizer.encode_batch([text])[0]):
      self.assertNotEmpty(ids)
      self.assertGreaterEqual(min(ids), tokenizer_lib.NUM_STRUCTURE_IDS)
      self.assertLess(max(ids), self.tokenizer.vocab_size)

  @parameterized.parameters(
    "plain maize 3.14",
    "  two   blanks\tand a tab\n",
    "x² and 10³ stay",
    "日本語 العربية ελληνικά",
    "𝕏 👩‍👩‍👧 e\u0301",
    "no\u00a0break\u2003space",
    "nul \x00 bell \x07",
    "\ufffd \ufeff \u200b",
    "<section> </s>",
    "ﬁ ligature ½",
    "",
  )
  def test_decode_inverts_encode_up_to_white_space(self, text):
    self.assertEqual(self.tokenizer.decode(self.tokenizer.encode(text)), " ".join(text.split()))

  def test_random_unicode_survives(self):
    rng = random.Random(1)
    for _ in range(200):
      points = [
        rng.choice((rng.randrange(0x80), rng.randrange(0x3000), rng.randrange(0x20000)))
        for _ in range(30)
      ]
      # Surrogates have no UTF-8 form; U+2581 is SentencePiece's own sign for a blank.
      text = "".join(chr(c) for c in points if not 0xD800 <= c < 0xE000 and c != 0x2581)
      ids = self.tokenizer.encode(text)
      self.assertEqual(self.tokenizer.decode(ids), " ".join(text.split()))

  def test_lone_surrogate_is_survived(self):
    ids = self.tokenizer.encode("maize \ud83d end")
    self.assertEqual(self.tokenizer.decode(ids), "maize ? end")

  def test_numbers_are_digits(self):
    pieces = self.tokenizer.encode("8054 8054")
    self.assertEqual(
      [self.tokenizer.decode([i]) for i in pieces if self.tokenizer.decode([i])], list("80548054")
    )

  def test_batch_equals_one_by_one(self):
    texts = [*_make_lines(20, seed=7), "", "é²"]
    self.assertEqual(self.tokenizer.encode_batch(texts), [self.tokenizer.encode(t) for t in texts])
    self.assertEqual(self.tokenizer.encode_batch([]), [])

  def test_decode_skips_structure_and_unknown_ids(self):
    ids = self.tokenizer.encode("maize yield")
    noisy = [
      tokenizer_lib.SECTION_ID,
      *ids,
      tokenizer_lib.UNK_ID,
      tokenizer_lib.EOS_ID,
      0,
      10**6,
      -1,
    ]
    self.assertEqual(self.tokenizer.decode(noisy), "maize yield")

  def test_pickle_and_bytes(self):
    for copy in (
      pickle.loads(pickle.dumps(self.tokenizer)),
      Tokenizer.from_bytes(self.tokenizer.to_bytes()),
    ):
      self.assertEqual(copy.encode("drought 12"), self.tokenizer.encode("drought 12"))

  def test_save_and_load(self):
    directory = self.enter_context(tempfile.TemporaryDirectory())
    path = os.path.join(directory, "new", "vocabulary.model")
    self.tokenizer.save(path)
    self.assertEqual(Tokenizer.load(path).to_bytes(), self.tokenizer.to_bytes())
    self.assertEqual(os.listdir(os.path.dirname(path)), ["vocabulary.model"])

  def test_unreadable_files(self):
    directory = self.enter_context(tempfile.TemporaryDirectory())
    with self.assertRaisesRegex(UserError, "absent.model.*train first"):
      Tokenizer.load(os.path.join(directory, "absent.model"))
    model = self.tokenizer.to_bytes()
    for i, content in enumerate((b"", b"nonsense", model[: len(model) // 2], model[:-1])):
      path = os.path.join(directory, f"bad{i}.model")
      with open(path, "wb") as f:
        f.write(content)
      with self.assertRaisesRegex(UserError, f"bad{i}.model cannot be used"):
        Tokenizer.load(path)


class TrainTokenizerTest(parameterized.TestCase):
  def test_same_input_same_bytes(self):
    lines = _make_lines(200)
    directory = self.enter_context(tempfile.TemporaryDirectory())
    paths = [os.path.join(directory, name) for name in ("a", "b")]
    for path in paths:
      train_tokenizer(iter(lines), 350, path)
    with open(paths[0], "rb") as a, open(paths[1], "rb") as b:
      self.assertEqual(a.read(), b.read())

  def test_the_sample_depends_on_the_seed_only(self):
    lines = _make_lines(200)
    one, same, other = (
      train_tokenizer(lines, 350, seed=seed, max_lines=50).to_bytes() for seed in (0, 0, 1)
    )
    self.assertEqual(one, same)
    self.assertNotEqual(one, other)

  @parameterized.parameters("a", "日", "1 2 3", "x" * 100_000, "word " * 20_000)
  def test_very_little_or_very_long_text(self, text):
    tokenizer = train_tokenizer([text], 2000)
    self.assertLess(tokenizer.vocab_size, 2000)
    self.assertEqual(tokenizer.decode(tokenizer.encode(text)), text.strip())

  def test_vocabulary_of_the_size_asked_for(self):
    self.assertEqual(train_tokenizer(_make_lines(300), 330).vocab_size, 330)

  @parameterized.parameters(([],), (["", " \n"],))
  def test_no_text(self, lines):
    with self.assertRaisesRegex(UserError, "no text to train"):
      train_tokenizer(lines, 1000)

  def test_vocabulary_too_small(self):
    with self.assertRaisesRegex(UserError, r"tokenizer.vocab_size=100 is too small.*at least \d+"):
      train_tokenizer(_make_lines(10), 100)


if __name__ == "__main__":
  absltest.main()
