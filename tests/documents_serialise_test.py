"""A document as JSON and back."""

import dataclasses

from absl.testing import absltest

from htmtl_jax.documents.document import Document, Section
from htmtl_jax.documents.serialise import document_from_json, document_to_json
from htmtl_jax.documents.synthetic import generate_corpus

_FULL = Document(
  id="a/1",
  title="Täglich \u2028 \ud83d",
  sections=(Section("", (("One.", "Two."),)), Section("H", ()), Section("I", (("x",), ("y",)))),
  abstract=(("A.", "B."), ("C.",)),
  abstract_labels=("Methods", "Results"),
  summaries={"one_sentence": ("S.",), "digest": ("D.", "E.")},
  section_summaries=(("p",), (), ("q", "r")),
  paragraphs_are="pseudo",
  planted=frozenset({(0, 0, 1), (2, 1, 0)}),
)


class SerialiseTest(absltest.TestCase):
  def test_every_field_comes_back_with_its_type(self):
    for document in (
      _FULL,
      dataclasses.replace(_FULL, planted=None),
      dataclasses.replace(_FULL, planted=frozenset()),
      Document(id="", title="", sections=()),
      *generate_corpus("validation", 3, seed=0),
    ):
      line = document_to_json(document)
      self.assertNotIn("\n", line)
      self.assertTrue(line.isascii())
      self.assertEqual(document_from_json(line), document)
      hash(document_from_json(line).sections)  # tuples all the way down

  def test_no_field_is_forgotten(self):
    plain = Document(id="a/1", title="", sections=())
    for field in dataclasses.fields(Document):
      if field.name != "id":
        self.assertNotEqual(getattr(_FULL, field.name), getattr(plain, field.name), field.name)

  def test_equal_documents_equal_lines(self):
    copy = dataclasses.replace(_FULL, planted=frozenset(sorted(_FULL.planted, reverse=True)))
    self.assertEqual(document_to_json(copy), document_to_json(_FULL))


if __name__ == "__main__":
  absltest.main()
