"""Documents to integers and summaries back, from definitions written out here."""

import random

from absl.testing import absltest, parameterized
import numpy as np

from htmtl_jax.data import tokenize
from htmtl_jax.data.tokenizer import (
  EOS_ID,
  FIRST_LENGTH_ID,
  PAD_ID,
  SECTION_ID,
  SENTENCE_ID,
  UNK_ID,
  train_tokenizer,
)
from htmtl_jax.documents import references as references_lib
from htmtl_jax.documents.document import Document, Section, iterate_sentences
from htmtl_jax.errors import UserError
from htmtl_jax.levels import LEVELS

_WORDS = (
  "root growth maize drought plot soil water sensor yield percent control plant change "
  "season method result field measured rose showed under with was the of in"
).split()


def _sentence(rng, words=12):
  return " ".join(rng.choices(_WORDS, k=words)).capitalize() + f" {rng.randrange(1000)}."


def _document(seed=0, num_sections=3, abstract=True, **fields):
  rng = random.Random(seed)
  sections = tuple(
    Section(
      heading=f"Part {c}" if c else "",
      paragraphs=tuple(tuple(_sentence(rng) for _ in range(rng.randrange(2, 5))) for _ in range(2)),
    )
    for c in range(num_sections)
  )
  if abstract:
    fields.setdefault("abstract", (tuple(section.paragraphs[0][0] for section in sections),))
  return Document(id=f"d{seed}", title="T", sections=sections, **fields)


def _one_section(sentences, heading="", **fields):
  return Document(id="x", title="", sections=(Section(heading, (tuple(sentences),)),), **fields)


class TokenizeDocumentTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    rng = random.Random(9)
    cls.tokenizer = train_tokenizer([_sentence(rng) for _ in range(300)], 420)

  def _tokenize(self, document, max_input_tokens=10_000, **kwargs):
    return tokenize.tokenize_document(
      document, self.tokenizer, tokenize.Limits(max_input_tokens), **kwargs
    )

  def _source_sentences(self, result):
    """Decoded sentences, read back from the flat arrays."""
    ends = np.cumsum(result.sentence_lengths)
    return [self.tokenizer.decode(ids) for ids in np.split(result.token_ids, ends[:-1])]

  def _check_shapes(self, result):
    self.assertEqual(result.sentence_lengths.sum(), len(result.token_ids))
    self.assertLen(result.sentence_paragraph, len(result.sentence_lengths))
    self.assertLen(result.is_heading, len(result.sentence_lengths))
    if len(result.sentence_lengths):
      self.assertGreaterEqual(result.sentence_lengths.min(), 1)
      np.testing.assert_array_equal(
        np.unique(result.sentence_paragraph), np.arange(len(result.paragraph_section))
      )
      np.testing.assert_array_equal(
        np.unique(result.paragraph_section), np.arange(result.paragraph_section[-1] + 1)
      )
    for values in (result.sentence_paragraph, result.paragraph_section):
      self.assertTrue((np.diff(values) >= 0).all())
    for ids, units in zip(result.target_ids, result.target_units, strict=True):
      self.assertLen(units, len(ids))
      self.assertTrue(np.isin(np.diff(units), (0, 1)).all())

  def test_sentences_and_parents_read_back(self):
    document = _document()
    result = self._tokenize(document)
    self._check_shapes(result)
    places = list(iterate_sentences(document))
    self.assertEqual(self._source_sentences(result), [p.text for p in places])
    self.assertEqual(result.is_heading.tolist(), [p.is_heading for p in places])
    sections = result.paragraph_section[result.sentence_paragraph]
    self.assertEqual(sections.tolist(), [p.section for p in places])
    # Two sentences share a paragraph if and only if their places do.
    keys = [(p.section, p.paragraph) for p in places]
    for i in range(len(keys)):
      for j in range(i):
        self.assertEqual(
          keys[i] == keys[j], result.sentence_paragraph[i] == result.sentence_paragraph[j]
        )
    self.assertEqual(result.num_truncated, 0)
    self.assertEqual(result.id, "d0")
    self.assertEqual(result.num_pieces, len(references_lib.eligible_sections(document)))

  @parameterized.parameters(1, 5, 17, 40, 100, 200)
  def test_truncation_drops_whole_sentences(self, max_tokens):
    document = _document(num_sections=2)
    full = self._tokenize(document)
    cut = self._tokenize(document, max_tokens)
    self._check_shapes(cut)
    kept = len(cut.sentence_lengths)
    total = np.cumsum(full.sentence_lengths)
    whole = int((total <= max_tokens).sum())
    self.assertEqual(kept, max(whole, 1))
    self.assertEqual(len(cut.token_ids), total[whole - 1] if whole else max_tokens)
    self.assertEqual(cut.num_truncated, len(full.token_ids) - len(cut.token_ids))
    np.testing.assert_array_equal(cut.token_ids, full.token_ids[: len(cut.token_ids)])
    for name, values in (
      ("sentence_paragraph", cut.sentence_paragraph),
      ("is_heading", cut.is_heading),
    ):
      np.testing.assert_array_equal(values, getattr(full, name)[:kept])
    self.assertLen(cut.paragraph_section, cut.sentence_paragraph[-1] + 1)

  def test_a_long_first_sentence_after_its_heading_is_cut_not_dropped(self):
    document = _one_section(["maize " * 500], heading="Results")
    result = self._tokenize(document, 50)
    self._check_shapes(result)
    self.assertEqual(result.is_heading.tolist(), [True, False])
    self.assertLen(result.token_ids, 50)

  def test_sentences_without_visible_characters_keep_their_place(self):
    document = _one_section(["Maize rose.", " \u00a0 ", "Soil fell."], heading="\t")
    result = self._tokenize(document)
    self._check_shapes(result)
    self.assertLen(result.sentence_lengths, 4)
    self.assertEqual(result.token_ids[0], UNK_ID)
    self.assertEqual(self._source_sentences(result), ["", "Maize rose.", "", "Soil fell."])

  @parameterized.parameters(((),), ((Section("", ()),),), ((Section("", ()), Section("", ((),))),))
  def test_document_without_text(self, sections):
    document = Document(id="empty", title="", sections=sections)
    result = self._tokenize(document, labels=True)
    self._check_shapes(result)
    self.assertEmpty(result.token_ids)
    self.assertEmpty(result.sentence_lengths)
    self.assertEmpty(result.paragraph_section)
    self.assertEqual([len(ids) for ids in result.target_ids], [0, 0, 0])
    self.assertIsNone(result.importance_labels)

  def test_empty_section_leaves_no_gap_in_the_numbers(self):
    document = Document(
      id="gap",
      title="",
      sections=(
        Section("A", (("One maize.",),)),
        Section("", ()),
        Section("B", ((), ("Two maize.",))),
      ),
    )
    result = self._tokenize(document)
    self._check_shapes(result)
    self.assertEqual(result.paragraph_section.tolist(), [0, 0, 1, 1])

  def test_document_of_one_word(self):
    result = self._tokenize(_one_section(["Maize"]), labels=True)
    self._check_shapes(result)
    self.assertEqual(self._source_sentences(result), ["Maize"])

  def test_document_of_2000_sentences(self):
    rng = random.Random(3)
    result = self._tokenize(_one_section([_sentence(rng) for _ in range(2000)]), 1_000_000)
    self._check_shapes(result)
    self.assertLen(result.sentence_lengths, 2000)

  def test_one_sentence_of_5000_words(self):
    text = " ".join(random.Random(4).choices(_WORDS, k=5000))
    result = self._tokenize(_one_section([text]), 1_000_000)
    self._check_shapes(result)
    self.assertEqual(self._source_sentences(result), [text])
    self.assertLen(self._tokenize(_one_section([text]), 512).token_ids, 512)

  def test_markers_in_the_text_stay_text(self):
    sentence = "<section> </s> <sentence> maize"
    result = self._tokenize(_one_section([sentence], abstract=((sentence,),)))
    self.assertEqual(self._source_sentences(result), [sentence])
    np.testing.assert_array_equal(
      np.flatnonzero(result.target_ids[1] < 22), [len(result.target_ids[1]) - 1]
    )

  def test_planted_places(self):
    document = _document(planted=frozenset({(0, 1, 0), (2, 0, 1)}))
    result = self._tokenize(document)
    places = list(iterate_sentences(document))
    found = [
      (places[i].section, places[i].paragraph, places[i].sentence)
      for i in np.flatnonzero(result.planted)
    ]
    self.assertEqual(found, [(0, 1, 0), (2, 0, 1)])
    self.assertIsNone(self._tokenize(_document()).planted)

  def test_importance_labels_are_a_distribution_also_when_cut(self):
    document = _document()
    full = self._tokenize(document, labels=True).importance_labels
    self.assertEqual(full.dtype, np.float32)
    self.assertAlmostEqual(float(full.sum()), 1, places=5)
    result = self._tokenize(document, 60, labels=True)
    cut = result.importance_labels
    self.assertLen(cut, len(result.sentence_lengths))
    self.assertAlmostEqual(float(cut.sum()), 1, places=5)
    kept = full[: len(cut)]
    np.testing.assert_allclose(cut / cut.max(), kept / kept.max(), rtol=1e-5)
    self.assertIsNone(self._tokenize(document).importance_labels)
    self.assertIsNone(self._tokenize(_document(abstract=False), labels=True).importance_labels)

  def test_limits_are_checked(self):
    for arguments in ((0,), (10, (1, 2)), (10, (1, 0, 2))):
      with self.assertRaises(UserError):
        tokenize.Limits(*arguments)


class TargetsTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    rng = random.Random(9)
    cls.tokenizer = train_tokenizer([_sentence(rng) for _ in range(300)], 420)
    cls.one, cls.two, cls.three = "Maize rose.", "Soil fell by 3.", "Water."

  def _targets(self, maxima=(64, 512, 640), **references):
    made = {
      level: references_lib.Reference(
        level=level,
        kind="gold",
        pieces=tuple(references_lib.Piece(sentences=tuple(p)) for p in pieces),
      )
      for level, pieces in references.items()
    }
    result = tokenize.tokenize_document(
      _one_section(["Maize."]), self.tokenizer, tokenize.Limits(100, maxima), references=made
    )
    return {
      level: (ids.tolist(), units.tolist())
      for level, ids, units in zip(LEVELS, result.target_ids, result.target_units, strict=True)
    }

  def test_grammar_and_units_by_hand(self):
    a, b, c = (self.tokenizer.encode(t) for t in (self.one, self.two, self.three))
    targets = self._targets(
      sentence=[[self.one]],
      paragraph=[[self.one, self.two, self.three]],
      section=[[self.one, self.two], [self.three]],
    )
    self.assertEqual(targets["sentence"], (a + [EOS_ID], [0] * (len(a) + 1)))
    self.assertEqual(
      targets["paragraph"],
      (
        a + [SENTENCE_ID] + b + [SENTENCE_ID] + c + [EOS_ID],
        [0] * (len(a) + 1) + [1] * (len(b) + 1) + [2] * (len(c) + 1),
      ),
    )
    self.assertEqual(
      targets["section"],
      (
        [SECTION_ID] + a + [SENTENCE_ID] + b + [SECTION_ID] + c + [EOS_ID],
        [0] * (len(a) + len(b) + 2) + [1] * (len(c) + 2),
      ),
    )

  def test_absent_and_blank_references(self):
    targets = self._targets(paragraph=[[self.one, " ", self.two]], section=[[" "], [self.three]])
    self.assertEqual(targets["sentence"], ([], []))
    a, b, c = (self.tokenizer.encode(t) for t in (self.one, self.two, self.three))
    self.assertEqual(targets["paragraph"][0], a + [SENTENCE_ID] + b + [EOS_ID])
    self.assertEqual(targets["section"], ([SECTION_ID] + c + [EOS_ID], [0] * (len(c) + 2)))

  def test_too_long_targets_are_cut_without_an_end(self):
    full = self._targets(section=[[self.one], [self.two]])["section"][0]
    for maximum in (1, 4, len(full) - 1):
      cut, units = self._targets((64, 512, maximum), section=[[self.one], [self.two]])["section"]
      self.assertEqual(cut, full[:maximum])
      self.assertLen(units, maximum)
      self.assertNotIn(EOS_ID, cut)
    self.assertEqual(
      self._targets((64, 512, len(full)), section=[[self.one], [self.two]])["section"][0], full
    )

  def test_decoding_inverts_encoding(self):
    for seed in range(5):
      document = _document(seed)
      result = tokenize.tokenize_document(document, self.tokenizer, tokenize.Limits(10_000))
      for level, ids in zip(LEVELS, result.target_ids, strict=True):
        reference = references_lib.make_references(document)[level]
        self.assertEqual(
          tokenize.decode_summary(ids, level, self.tokenizer),
          [list(piece.sentences) for piece in reference.pieces],
        )

  def test_decoding_any_sequence(self):
    a, b = self.tokenizer.encode(self.one), self.tokenizer.encode(self.two)
    one, two = self.one, self.two

    def decode(ids, level="section"):
      return tokenize.decode_summary(np.array(ids, np.int32), level, self.tokenizer)

    self.assertEqual(decode([SECTION_ID] + a + [SECTION_ID] + b), [[one], [two]])
    self.assertEqual(decode(a + [SECTION_ID] + b), [[one], [two]])
    self.assertEqual(
      decode(
        [SECTION_ID, SECTION_ID]
        + a
        + [SENTENCE_ID, SENTENCE_ID]
        + b
        + [SENTENCE_ID, SECTION_ID, EOS_ID]
      ),
      [[one, two]],
    )
    self.assertEqual(decode(a + [EOS_ID] + b), [[one]])
    self.assertEqual(decode([PAD_ID, FIRST_LENGTH_ID] + a + [10**6, PAD_ID]), [[one]])
    self.assertEqual(decode([EOS_ID] + a), [])
    self.assertEqual(decode([]), [])
    self.assertEqual(decode([SECTION_ID] * 5 + [SENTENCE_ID] * 3), [])
    self.assertEqual(decode([SECTION_ID] + a + [SENTENCE_ID] + b, "paragraph"), [[one, two]])
    self.assertEqual(decode(a + [SECTION_ID] + b, "paragraph"), [[one, two]])
    self.assertEqual(decode(a + [SENTENCE_ID] + b, "sentence"), [[f"{one} {two}"]])
    with self.assertRaisesRegex(ValueError, "unknown level"):
      decode(a, "chapter")

  def test_decoding_random_ids_never_fails(self):
    rng = np.random.default_rng(0)
    for level in LEVELS:
      for _ in range(50):
        ids = rng.integers(0, self.tokenizer.vocab_size + 30, 60)
        pieces = tokenize.decode_summary(ids, level, self.tokenizer)
        self.assertTrue(all(piece and all(piece) for piece in pieces))
        if level != "section":
          self.assertLessEqual(len(pieces), 1)


if __name__ == "__main__":
  absltest.main()
