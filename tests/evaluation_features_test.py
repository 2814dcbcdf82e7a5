"""Features of sentences: what they say of a small paper, and what they must not look at."""

import dataclasses

from absl.testing import absltest, parameterized
import numpy as np

from htmtl_jax.documents.document import Document, Section
from htmtl_jax.documents.synthetic import generate_document
from htmtl_jax.evaluation import features
from htmtl_jax.evaluation.baselines import body_places
from htmtl_jax.evaluation.ranking import lexrank_scores

_PAPER = Document(
  "p",
  "Frost damage in apple orchards",
  (
    Section(
      "Introduction",
      (
        ("Frost damage is common in apple orchards.", "Farmers lose 30% of their yield."),
        ("Here, we study frost.",),
      ),
    ),
    Section(
      "Results and discussion",
      (("We found that Frost reduced yield (p < 0.05).", "See Figure 2.", "Yield of Gala fell"),),
    ),
  ),
)


def _columns(document):
  table = features.sentence_features(document)
  return dict(zip(features.FEATURES, table.T, strict=True))


class FeaturesTest(parameterized.TestCase):
  def assert_column(self, name, expected):
    np.testing.assert_allclose(_columns(_PAPER)[name], expected, rtol=1e-6, err_msg=name)

  def test_position(self):
    self.assert_column("place_in_document", np.arange(6) / 6)
    self.assert_column("sentences_after", [5, 4, 3, 2, 1, 0])
    self.assert_column("sentences_before_in_section", [0, 1, 2, 0, 1, 2])
    self.assert_column("sentences_after_in_section", [2, 1, 0, 2, 1, 0])
    self.assert_column("place_in_section", [0, 1 / 3, 2 / 3] * 2)
    self.assert_column("sentences_before_in_paragraph", [0, 1, 0, 0, 1, 2])
    self.assert_column("sentences_after_in_paragraph", [1, 0, 0, 2, 1, 0])
    self.assert_column("paragraphs_before_in_section", [0, 0, 1, 0, 0, 0])
    self.assert_column("section_index", [0, 0, 0, 1, 1, 1])
    self.assert_column("sections_after", [1, 1, 1, 0, 0, 0])
    self.assert_column("section_share", np.full(6, 0.5))

  def test_words(self):
    self.assert_column("words", [7, 6, 4, 9, 3, 4])
    # Frost, damage, apple, orchards: all four content words of the title.
    self.assert_column("title_words_covered", [1, 0, 1 / 4, 1 / 4, 0, 0])
    self.assertAlmostEqual(_columns(_PAPER)["share_in_title"][0], 4 / 5, places=6)

  def test_words_of_the_own_heading_and_of_others(self):
    """Against sets of words; words of one heading, of several, and of a heading that stands twice."""
    headings = ("frost apples", "apples harvest", "", "frost apples", "storage")
    sentences = ("frost harvest storage", "apples apples frost", "storage harvest moon", "moon")
    document = Document("h", "", tuple(Section(heading, (sentences,)) for heading in headings))
    found = _columns(document)
    for i, (section, sentence) in enumerate(
      (c, set(s.split())) for c in range(len(headings)) for s in sentences
    ):
      own = set(headings[section].split())
      others = {w for c, heading in enumerate(headings) if c != section for w in heading.split()}
      covered = len(sentence & own) / max(len(own), 1)
      self.assertAlmostEqual(found["heading_words_covered"][i], covered, places=6)
      share = len(sentence & others) / len(sentence)
      self.assertAlmostEqual(found["share_in_other_headings"][i], share, places=6)

  def test_signs(self):
    self.assert_column("numbers", [0, 1, 0, 1, 1, 0])
    self.assert_column("statistics", [0, 1, 0, 1, 0, 0])
    self.assert_column("parentheses", [0, 0, 0, 1, 0, 0])
    self.assert_column("ends_with_full_stop", [1, 1, 1, 1, 1, 0])
    self.assert_column("capitals", [0, 0, 0, 1, 1, 1])
    self.assert_column("cue_aim", [0, 0, 1, 0, 0, 0])
    self.assert_column("cue_finding", [0, 0, 0, 2, 0, 0])
    self.assert_column("cue_pointer", [0, 0, 0, 0, 2, 0])
    self.assert_column("cue_we", [0, 0, 1, 1, 0, 0])

  def test_kind_of_section(self):
    self.assert_column("in_background", [1, 1, 1, 0, 0, 0])
    self.assert_column("in_results", [0, 0, 0, 1, 1, 1])
    self.assert_column("in_conclusion", [0, 0, 0, 1, 1, 1])  # the discussion
    self.assert_column("in_methods", np.zeros(6))

  def test_centrality_and_neighbours(self):
    document = generate_document(1, "test", 0)
    found = _columns(document)
    sentences = [place.text for place in body_places(document)]
    expected = lexrank_scores(sentences) * len(sentences)
    np.testing.assert_allclose(found["lexrank"], expected, rtol=1e-5)
    self.assertEqual(np.argmax(found["lexrank_rank"]), np.argmax(expected))
    np.testing.assert_array_equal(found["like_previous"][1:], found["like_next"][:-1])
    self.assertEqual((found["like_previous"][0], found["like_next"][-1]), (0.0, 0.0))
    twice = Document("t", "", (Section("", (("Frost fell early.", "Frost fell early.", "No."),)),))
    found = _columns(twice)
    np.testing.assert_allclose(found["like_next"], [1.0, 0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(found["centroid"][0], found["centroid"][1])

  def test_the_abstract_is_not_looked_at(self):
    document = generate_document(2, "test", 0)
    other = dataclasses.replace(
      document, abstract=(("Something else.",),), summaries={}, section_summaries=(), planted=None
    )
    np.testing.assert_array_equal(
      features.sentence_features(document), features.sentence_features(other)
    )

  @parameterized.parameters(
    ((),),
    ((Section("Only a heading", ()),),),
    ((Section("", (("One.",),)),),),
    ((Section("", (("—", "…"), ("",))), Section("", (("a",),))),),
    ((Section("Empty", ()), Section("Full", (("Yield fell.", "Yield fell."),))),),
    ((Section("X" * 50, (tuple(f"{i} {i}" for i in range(60)),)),),),
  )
  def test_odd_documents(self, sections):
    document = Document("d", "", sections)
    found = features.sentence_features(document)
    self.assertEqual(found.shape, (len(body_places(document)), len(features.FEATURES)))
    self.assertEqual(found.dtype, np.float32)
    self.assertTrue(np.isfinite(found).all())


if __name__ == "__main__":
  absltest.main()
