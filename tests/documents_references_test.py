"""References at the three levels against rouge-score and brute force."""

import random

from absl.testing import absltest, parameterized
import numpy as np
from rouge_score import rouge_scorer

from htmtl_jax.documents import overlap, references
from htmtl_jax.documents.document import Document, Section, iterate_sentences

SCORER = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"])  # no stemming
VOCABULARY = "the of and a rice root leaf soil water 3.5 beta-2 grew fell rose less dry".split()


def make_sentence(rng, low=1, high=25):
  return " ".join(rng.choices(VOCABULARY, k=rng.randint(low, high))).capitalize() + "."


def make_paper(rng, num_sections=4, **kwargs):
  sections = tuple(
    Section(
      f"Part {c}",
      tuple(tuple(make_sentence(rng, 8) for _ in range(rng.randint(2, 5))) for _ in range(3)),
    )
    for c in range(num_sections)
  )
  return Document(id="x", title="", sections=sections, **kwargs)


def get_body(section):
  return [s for p in section.paragraphs for s in p]


def find_central(sentences):
  """Mean ROUGE-1 F against the others, one pair at a time."""
  means = [
    np.mean(
      [
        SCORER.score(other, sentence)["rouge1"].fmeasure
        for j, other in enumerate(sentences)
        if j != i
      ]
    )
    for i, sentence in enumerate(sentences)
  ]
  return sentences[int(np.argmax(means))]


class OverlapTest(absltest.TestCase):
  def test_words_are_those_of_the_rouge_package(self):
    rng = random.Random(0)
    alphabet = "abZİ9 -éß𝒳K\u212a\n.,'\ud800µ²①Ａ_\u00a0"
    for _ in range(2000):
      text = "".join(rng.choice(alphabet) for _ in range(rng.randrange(30)))
      ids = overlap.Ids()
      expected = overlap.tokenize_for_rouge(text)
      number = {word: i for i, word in enumerate(dict.fromkeys(expected))}
      self.assertEqual(ids.encode(text), [number[word] for word in expected], repr(text))

  def test_equals_rouge_score(self):
    rng = random.Random(0)
    texts = [make_sentence(rng) for _ in range(40)] + ["", "...", "Größe 3,5 µm", "ﬁve İs"]
    ids = overlap.Ids()
    encoded = [ids.encode(t) for t in texts]
    columns = np.arange(len(ids))
    counts = overlap.count_ids(encoded, columns, len(ids))
    lengths = np.array([len(e) for e in encoded])
    common = overlap.compute_pairwise_overlap(counts, counts)
    f1 = overlap.compute_f_measure(common, lengths[:, None], lengths[None, :])
    for i, reference in enumerate(texts):
      masks = overlap.make_position_masks(encoded[i])
      for j, candidate in enumerate(texts):
        expected = SCORER.score(reference, candidate)
        self.assertAlmostEqual(f1[i, j], expected["rouge1"].fmeasure, places=6)
        recall = overlap.compute_lcs_length(masks, len(encoded[i]), encoded[j]) / max(lengths[i], 1)
        self.assertAlmostEqual(recall, expected["rougeL"].recall, places=9)

  def test_best_by_recall_equals_trying_all(self):
    rng = random.Random(1)
    for _ in range(60):
      texts = [make_sentence(rng) for _ in range(rng.randint(1, 30))]
      reference = make_sentence(rng, 1, 8)  # short, so that there are ties
      ids = overlap.Ids()
      target, encoded = ids.encode(reference), [ids.encode(t) for t in texts]
      columns = np.arange(len(ids))
      bounds = overlap.compute_pairwise_overlap(
        overlap.count_ids([target], columns, len(ids)),
        overlap.count_ids(encoded, columns, len(ids)),
      )[0]
      recalls = [SCORER.score(reference, t)["rougeL"].recall for t in texts]
      index, recall = overlap.find_best_by_rouge_l_recall(target, encoded, bounds)
      self.assertEqual(index, int(np.argmax(recalls)))
      self.assertAlmostEqual(recall, max(recalls), places=9)

  def test_capped_centrality_is_near_the_full_one(self):
    rng = random.Random(2)
    ids = overlap.Ids()
    encoded = [ids.encode(make_sentence(rng)) for _ in range(300)]
    full = overlap.compute_rouge_1_centrality(encoded)
    capped = overlap.compute_rouge_1_centrality(encoded, max_others=100)
    self.assertGreater(np.corrcoef(full, capped)[0, 1], 0.98)
    np.testing.assert_array_equal(full, overlap.compute_rouge_1_centrality(encoded, 300))


class MakeReferencesTest(parameterized.TestCase):
  def test_without_any_source(self):
    self.assertEmpty(references.make_references(make_paper(random.Random(0))))

  def test_silver_rules_equal_brute_force(self):
    rng = random.Random(3)
    for _ in range(12):
      abstract = tuple(make_sentence(rng, 6) for _ in range(5))
      paper = make_paper(rng, abstract=(abstract[:2], abstract[2:]))
      made = references.make_references(paper)
      self.assertEqual(made["sentence"].kind, "silver")
      self.assertEqual(made["sentence"].text, find_central(abstract))
      self.assertEqual(
        (made["paragraph"].kind, made["paragraph"].text), ("gold", "\n".join(abstract))
      )
      eligible = references.eligible_sections(paper)
      expected = {c: [] for c in eligible}
      for sentence in abstract:
        best = max(
          eligible,
          key=lambda c: max(
            SCORER.score(sentence, s)["rougeL"].recall for s in get_body(paper.sections[c])
          ),
        )
        expected[best].append(sentence)
      self.assertEqual(made["section"].kind, "silver")
      self.assertEqual([p.section for p in made["section"].pieces], list(eligible))
      for piece in made["section"].pieces:
        own = expected[piece.section]
        self.assertEqual(piece.filler, not own)
        self.assertEqual(
          list(piece.sentences), own or [find_central(get_body(paper.sections[piece.section]))]
        )
      self.assertEqual(sorted(made["section"].text_without_fillers.split("\n")), sorted(abstract))

  def test_author_summaries_come_first(self):
    rng = random.Random(4)
    paper = make_paper(
      rng,
      num_sections=2,
      abstract=(("An abstract.",),),
      summaries={"one_sentence": ("The gist.",)},
      section_summaries=(("First.", "More."), ()),
    )
    made = references.make_references(paper)
    self.assertEqual((made["sentence"].kind, made["sentence"].text), ("gold", "The gist."))
    self.assertEqual(made["section"].kind, "gold")
    first, second = made["section"].pieces
    self.assertEqual((first.sentences, first.filler), (("First.", "More."), False))
    self.assertEqual(
      (second.sentences, second.filler), ((find_central(get_body(paper.sections[1])),), True)
    )
    self.assertEqual(made["section"].text_without_fillers, "First.\nMore.")

  def test_structured_abstract_goes_by_label_then_by_words(self):
    long = "Plain words that fill the part until it is long enough to count as one of them. "
    body = {
      "Introduction": "Rust ruins wheat in wet years.",
      "Materials and methods": "We grew wheat in pots.",
      "Results": "Rust fell by half. Rust ruins wheat in wet years and we grew wheat in pots.",
      "A case": "The farm of Ula lost its barley.",
    }
    sections = tuple(Section(h, ((t,) + (long,) * 4,)) for h, t in body.items())
    labelled = {
      "Background": "Rust ruins wheat in wet years.",
      "Methods": "We grew wheat in pots.",
      "Findings": "Rust fell by half.",
      "Story": "The farm of Ula lost its barley.",
    }
    paper = Document(
      id="x",
      title="",
      sections=sections,
      abstract=tuple((t,) for t in labelled.values()),
      abstract_labels=tuple(labelled),
    )
    made = references.make_references(paper)["section"]
    self.assertEqual(made.kind, "gold")
    self.assertEqual([p.sentences for p in made.pieces], [(t,) for t in labelled.values()])
    self.assertFalse(any(p.filler for p in made.pieces))

  def test_labelled_paragraph_stays_whole(self):
    rng = random.Random(5)
    abstract = tuple(tuple(make_sentence(rng, 5) for _ in range(3)) for _ in range(3))
    paper = make_paper(rng, abstract=abstract, abstract_labels=("One", "Two", "Three"))
    eligible = references.eligible_sections(paper)
    expected = {c: [] for c in eligible}
    for paragraph in abstract:
      covered = {
        c: sum(
          max(SCORER.score(s, o)["rougeL"].recall for o in get_body(paper.sections[c]))
          * len(overlap.tokenize_for_rouge(s))
          for s in paragraph
        )
        for c in eligible
      }
      expected[max(eligible, key=covered.get)].extend(paragraph)
    for piece in references.make_references(paper)["section"].pieces:
      if not piece.filler:
        self.assertEqual(list(piece.sentences), expected[piece.section])

  def test_eligible_sections(self):
    def section(*lengths):
      return Section("H", tuple((" ".join(["w"] * n),) for n in lengths))

    def eligible(*sections):
      return references.eligible_sections(Document(id="x", title="", sections=sections))

    self.assertEqual(eligible(section(49), section(25, 25), section(60)), (1, 2))
    self.assertEqual(eligible(section(3), section(7), section(7)), (1,))
    self.assertEqual(eligible(Section("H", ()), section(1)), (1,))
    self.assertEqual(eligible(Section("H", ())), ())

  def test_text_without_latin_letters(self):
    paper = Document(
      id="x", title="", sections=(Section("", (("日本。", "語。"),)),), abstract=(("要約。",),)
    )
    made = references.make_references(paper)
    self.assertEqual(made["section"].pieces, (references.Piece(("要約。",), section=0),))


class ImportanceLabelsTest(absltest.TestCase):
  def test_equals_rouge_score(self):
    rng = random.Random(6)
    paper = make_paper(rng, abstract=(tuple(make_sentence(rng) for _ in range(4)),))
    labels = references.compute_importance_labels(paper, temperature=0.05)
    abstract = "\n".join(paper.abstract_sentences)
    places = list(iterate_sentences(paper))
    gains = []
    for place in places:
      scores = SCORER.score(abstract, place.text)
      gains.append(
        -np.inf if place.is_heading else (scores["rouge1"].fmeasure + scores["rouge2"].fmeasure) / 2
      )
    expected = np.exp(np.array(gains) / 0.05)
    np.testing.assert_allclose(labels, expected / expected.sum(), rtol=1e-5)
    self.assertEqual(labels.dtype, np.float32)
    self.assertAlmostEqual(float(labels.sum()), 1.0, places=5)

  def test_absent_without_abstract_or_body(self):
    self.assertIsNone(references.compute_importance_labels(make_paper(random.Random(0))))
    heading_only = Document(id="x", title="", sections=(Section("H", ()),), abstract=(("A.",),))
    self.assertIsNone(references.compute_importance_labels(heading_only))

  def test_sentences_without_words_get_equal_labels(self):
    paper = Document(
      id="x", title="", sections=(Section("H", (("日本。", "…"),)),), abstract=(("要約。",),)
    )
    np.testing.assert_allclose(references.compute_importance_labels(paper), [0, 0.5, 0.5])

  def test_refuses_temperature_zero(self):
    with self.assertRaisesRegex(ValueError, "temperature must be above 0"):
      references.compute_importance_labels(make_paper(random.Random(0)), temperature=0)


if __name__ == "__main__":
  absltest.main()
