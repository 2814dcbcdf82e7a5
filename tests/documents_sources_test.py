"""Corpora: splits, fingerprints, and clear errors."""

import json
import os
import tempfile
import types

from absl.testing import absltest, parameterized

from htmtl_jax.documents import sources, synthetic
from htmtl_jax.errors import UserError


def make_config(**kwargs):
  values = dict(
    source="synthetic",
    path="",
    exclude=("left_out",),
    max_documents=0,
    on_bad_line="skip",
    split_seed=0,
    validation_share=0.2,
    test_share=0.2,
    num_train=4,
    num_validation=2,
    num_test=3,
    synthetic_seed=5,
  )
  return types.SimpleNamespace(**{**values, **kwargs})


class SourcesTest(parameterized.TestCase):
  def write_folder(self, num_documents=60):
    folder = self.enterContext(tempfile.TemporaryDirectory())
    for name, documents in (("a", range(num_documents)), ("left_out", range(1000, 1005))):
      with open(os.path.join(folder, f"{name}.jsonl"), "w", encoding="utf-8") as handle:
        for i in documents:
          handle.write(
            json.dumps(
              {"id": f"p{i}", "sections": [{"heading": "H", "paragraphs": ["Some text."]}]}
            )
            + "\n"
          )
    return folder

  def test_synthetic(self):
    corpus = sources.open_corpus(make_config())
    for split, count in (("train", 4), ("validation", 2), ("test", 3)):
      self.assertEqual(list(corpus.iterate(split)), synthetic.generate_corpus(split, count, seed=5))
    self.assertIn("4 train, 2 validation, 3 test", corpus.describe())

  def test_jsonl_splits_cover_all_without_overlap(self):
    corpus = sources.open_corpus(make_config(source="jsonl", path=self.write_folder()))
    ids = [d.id for split in sources.SPLITS for d in corpus.iterate(split)]
    self.assertCountEqual(ids, [f"p{i}" for i in range(60)])
    self.assertEqual(list(corpus.iterate("test")), list(corpus.iterate("test")))
    self.assertEqual([r.id for r in corpus.records()], [f"p{i}" for i in range(60)])
    self.assertIn("1 files", corpus.describe())

  def test_max_documents(self):
    config = make_config(source="jsonl", path=self.write_folder(), max_documents=30)
    corpus = sources.open_corpus(config)
    ids = [d.id for split in sources.SPLITS for d in corpus.iterate(split)]
    self.assertCountEqual(ids, [f"p{i}" for i in range(30)])

  def test_fingerprint_of_synthetic(self):
    base = sources.open_corpus(make_config()).fingerprint
    self.assertRegex(base, "^[0-9a-f]{16}$")
    self.assertEqual(base, sources.open_corpus(make_config()).fingerprint)
    for change in ({"synthetic_seed": 6}, {"num_train": 5}):
      self.assertNotEqual(base, sources.open_corpus(make_config(**change)).fingerprint)

  def test_fingerprint_of_jsonl(self):
    def fingerprint(folder, **kwargs):
      return sources.open_corpus(make_config(source="jsonl", path=folder, **kwargs)).fingerprint

    folder = self.write_folder()
    base = fingerprint(folder)
    self.assertEqual(base, fingerprint(self.write_folder()))  # a copy elsewhere, at another time
    for change in ({"split_seed": 1}, {"test_share": 0.1}, {"max_documents": 9}, {"exclude": ()}):
      self.assertNotEqual(base, fingerprint(folder, **change))
    with open(os.path.join(folder, "a.jsonl"), "r+b") as handle:
      handle.seek(10)
      handle.write(b"7")
    self.assertNotEqual(base, fingerprint(folder))

  @parameterized.named_parameters(
    (
      "source",
      dict(source="arxiv"),
      "unknown config.data.source 'arxiv'; known: jsonl, papers, synth",
    ),
    ("path", dict(source="jsonl", path="nowhere"), "nowhere: no such file or folder"),
    ("shares", dict(source="jsonl", validation_share=0.5, test_share=0.5), "than 1, got 0.5"),
    ("negative", dict(source="jsonl", test_share=-0.1), "at least 0"),
  )
  def test_bad_settings(self, settings, message):
    with self.assertRaisesRegex(UserError, message):
      sources.open_corpus(make_config(**settings))

  def test_empty_splits(self):
    with self.assertRaisesRegex(UserError, "test split has no documents; set config.data.num_test"):
      list(sources.open_corpus(make_config(num_test=0)).iterate("test"))
    folder = self.write_folder()
    corpus = sources.open_corpus(make_config(source="jsonl", path=folder, test_share=0))
    with self.assertRaisesRegex(
      UserError, "none of the documents fell into the test split; raise config.data.test_share"
    ):
      list(corpus.iterate("test"))
    with self.assertRaisesRegex(UserError, "unknown split 'dev'"):
      list(corpus.iterate("dev"))

  def test_papers_of_a_folder_in_mixed_formats(self):
    folder = self.enterContext(tempfile.TemporaryDirectory())
    for name, text in {
      "a.md": "# One\n\nRice grew.\n\n# Two\n\nIt rained.",
      "a.txt": "The other a.\n\nMaize grew.",
      "b.txt": "Beans grew.",
      "c.md": "",
      "d.png": "no paper",
    }.items():
      with open(os.path.join(folder, name), "w", encoding="utf-8") as handle:
        handle.write(text)
    config = make_config(source="papers", path=folder, validation_share=0.0, test_share=0.0)
    corpus = sources.open_corpus(config)
    with self.assertLogs(level="WARNING") as logs:
      documents = list(corpus.iterate("train"))
    self.assertEqual([d.id for d in documents], ["a", "a.txt", "b"])
    self.assertEqual(documents[0].sections[1].paragraphs, (("It rained.",),))
    self.assertEqual(corpus.bad_lines.count, 1)
    self.assertIn("c.md: no text in this file", logs.output[0])
    before = corpus.fingerprint
    with open(os.path.join(folder, "b.txt"), "w", encoding="utf-8") as handle:
      handle.write("Peas grew.")
    self.assertNotEqual(sources.open_corpus(config).fingerprint, before)
    with self.assertRaisesRegex(UserError, "no papers in this folder"):
      sources.open_corpus(make_config(source="papers", path=tempfile.mkdtemp(dir=folder)))


if __name__ == "__main__":
  absltest.main()
