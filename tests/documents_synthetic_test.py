"""Generated papers: sizes, disjoint splits, and that only context tells what matters."""

import re

from absl.testing import absltest, parameterized
import numpy as np
from rouge_score import rouge_scorer

from htmtl_jax.documents import references, synthetic

CUE_FAMILY = {cue: role for role, cues in synthetic.CUES.items() for cue in cues}
ROLE_OF_HEADING = {h: role for role, hs in synthetic.HEADINGS.items() for h in hs}


def iterate_body(document):
  for c, section in enumerate(document.sections):
    for p, paragraph in enumerate(section.paragraphs):
      for s, text in enumerate(paragraph):
        yield (c, p, s), text


def find_family(sentence):
  return next((role for cue, role in CUE_FAMILY.items() if sentence.startswith(cue)), "")


def get_values_and_names(document):
  text = " ".join(t for _, t in iterate_body(document))
  return (
    set(re.findall(r"\d+(?:\.\d+)?", text)),
    set(re.findall(r"(?<=of )[A-Z][a-z]+", text)) | set(re.findall(r"after ([A-Z][a-z]+)", text)),
  )


def compute_auc(scores, labels):
  scores, labels = np.asarray(scores, float), np.asarray(labels, bool)
  diff = scores[labels][:, None] - scores[~labels][None, :]
  return float(np.mean((diff > 0) + 0.5 * (diff == 0)))


def compute_mean_auc(documents, score):
  return float(
    np.mean(
      [
        compute_auc(
          [score(d, place, text) for place, text in iterate_body(d)],
          [place in d.planted for place, _ in iterate_body(d)],
        )
        for d in documents
      ]
    )
  )


def get_words(text):
  text = re.sub(r"\d+(?:\.\d+)?", "NUM", text)
  known = {w for h in synthetic.CUES.values() for cue in h for w in cue.split()}
  known |= {w for o in synthetic.NEUTRAL_OPENERS for w in o.split()} | {"The", "With", "In", "NUM"}
  return {w if w in known or w.islower() else "NAME" for w in re.findall(r"[\w,]+", text)}


def train_logistic_regression(features, labels, num_steps=300, rate=2.0):
  """Weights of word presence, by gradient descent with positives weighed up."""
  weights, bias = np.zeros(features.shape[1]), 0.0
  importance = np.where(labels, 0.5 / labels.mean(), 0.5 / (1 - labels.mean()))
  for _ in range(num_steps):
    residual = importance * (1 / (1 + np.exp(-(features @ weights + bias))) - labels)
    weights -= rate * features.T @ residual / len(labels)
    bias -= rate * residual.mean()
  return weights


class SyntheticTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.train = synthetic.generate_corpus("train", 200, seed=7)
    cls.test = synthetic.generate_corpus("test", 100, seed=7)

  def test_sizes(self):
    for document in self.train + self.test:
      sentences = [text for _, text in iterate_body(document)]
      self.assertBetween(len(document.sections), 4, 6)
      self.assertBetween(len(sentences), 40, 50)
      self.assertGreaterEqual(document.num_words, 520)
      self.assertEqual(references.eligible_sections(document), tuple(range(len(document.sections))))
      for section in document.sections:
        self.assertBetween(len(section.paragraphs), 2, 3)
        self.assertTrue(all(3 <= len(p) <= 5 for p in section.paragraphs))

  def test_same_arguments_give_the_same_paper(self):
    first = synthetic.generate_document(3, "validation", seed=1)
    self.assertEqual(first, synthetic.generate_document(3, "validation", seed=1))
    self.assertNotEqual(first.sections, synthetic.generate_document(3, "validation", 2).sections)
    self.assertNotEqual(first.sections, synthetic.generate_document(4, "validation", 1).sections)
    self.assertEqual(first, synthetic.generate_corpus("validation", 5, seed=1)[3])

  def test_known_answer(self):
    """A seed means the same paper on every Python version and machine."""
    document = synthetic.generate_document(0, "train", seed=0)
    self.assertEqual(document.sections[0].paragraphs[0][0], KNOWN_FIRST_SENTENCE)

  def test_splits_share_no_name_and_no_value(self):
    validation = synthetic.generate_corpus("validation", 100, seed=7)
    seen = {}
    for split, documents in (
      ("train", self.train),
      ("validation", validation),
      ("test", self.test),
    ):
      for document in documents:
        values, names = get_values_and_names(document)
        self.assertGreater(len(names), 30)
        for word in values | names:
          self.assertEqual(seen.setdefault(word, split), split)
          self.assertEqual(synthetic.get_word_split(word), split)

  def test_facts_of_a_paper_share_no_name_and_no_value(self):
    for document in self.test[:20]:
      num_sentences = sum(1 for _ in iterate_body(document))
      self.assertLen(get_values_and_names(document)[0], num_sentences)

  def test_every_section_holds_every_family_and_its_own_once(self):
    for document in self.train:
      roles = [ROLE_OF_HEADING[s.heading] for s in document.sections]
      self.assertContainsSubset(synthetic.CORE_ROLES, roles)
      self.assertLen(set(roles), len(roles))
      self.assertLen(document.planted, len(roles))
      for c, role in enumerate(roles):
        families = [find_family(t) for place, t in iterate_body(document) if place[0] == c]
        self.assertContainsSubset(roles, families)
        self.assertEqual(families.count(role), 1)

  def test_references_are_gold_with_one_piece_a_section(self):
    for document in self.test[:30]:
      made = references.make_references(document)
      self.assertEqual(
        {level: r.kind for level, r in made.items()},
        {"sentence": "gold", "paragraph": "gold", "section": "gold"},
      )
      self.assertLen(made["section"].pieces, len(document.sections))
      self.assertFalse(any(piece.filler for piece in made["section"].pieces))

  def test_summaries_say_what_is_planted_and_nothing_else(self):
    for document in self.test[:30]:
      values = {}  # value -> section of the planted sentence
      for c, p, s in document.planted:
        found = re.findall(r"\d+(?:\.\d+)?", document.sections[c].paragraphs[p][s])
        self.assertLen(found, 1)
        values[found[0]] = c
      for c, summary in enumerate(document.section_summaries):
        (value,) = re.findall(r"\d+(?:\.\d+)?", " ".join(summary))
        self.assertEqual(values[value], c)
      roles = [
        ROLE_OF_HEADING[document.sections[values[v]].heading]
        for v in re.findall(r"\d+(?:\.\d+)?", " ".join(document.abstract_sentences))
      ]
      self.assertEqual(tuple(roles), tuple(r for r in synthetic._ABSTRACT_ORDER if r in roles))
      (value,) = re.findall(r"\d+(?:\.\d+)?", document.summaries["one_sentence"][0])
      self.assertEqual(ROLE_OF_HEADING[document.sections[values[value]].heading], "result")

  def test_words_of_a_sentence_alone_do_not_tell(self):
    rows = [(get_words(t), place in d.planted) for d in self.train for place, t in iterate_body(d)]
    index = {w: i for i, w in enumerate(sorted(set().union(*(words for words, _ in rows))))}
    features = np.zeros((len(rows), len(index)), np.float32)
    for row, (words, _) in zip(features, rows, strict=True):
      row[[index[w] for w in words]] = 1
    weights = train_logistic_regression(features, np.array([float(label) for _, label in rows]))
    auc = compute_mean_auc(
      self.test,
      lambda d, place, text: sum(weights[index[w]] for w in get_words(text) if w in index),
    )
    self.assertBetween(auc, 0.6, 0.85)  # it does learn that cue words are necessary

  @parameterized.parameters(
    lambda place: place, lambda place: place[:1], lambda place: place[1:], lambda place: place[2:]
  )
  def test_position_alone_does_not_tell(self, key):
    counts = {}
    for document in self.train:
      for place, _ in iterate_body(document):
        hits, total = counts.get(key(place), (0, 0))
        counts[key(place)] = (hits + (place in document.planted), total + 1)

    def score(document, place, text):
      del document, text
      hits, total = counts.get(key(place), (0, 0))
      return (hits + 0.1) / (total + 1)

    self.assertLess(compute_mean_auc(self.test, score), 0.65)

  def test_cue_and_heading_together_tell_all(self):
    auc = compute_mean_auc(
      self.test,
      lambda d, place, text: float(
        find_family(text) == ROLE_OF_HEADING[d.sections[place[0]].heading]
      ),
    )
    self.assertEqual(auc, 1.0)

  def test_lead_is_no_summary(self):
    scorer = rouge_scorer.RougeScorer(["rouge2"], use_stemmer=True)
    scores = []
    for document in self.test[:20]:
      reference = references.make_references(document)["paragraph"].text
      lead, num_words = [], 0
      for _, text in iterate_body(document):
        if num_words < len(reference.split()):
          lead.append(text)
          num_words += len(text.split())
      scores.append(scorer.score(reference, "\n".join(lead))["rouge2"].fmeasure)
    self.assertLess(100 * np.mean(scores), 25)

  def test_unknown_split(self):
    with self.assertRaisesRegex(ValueError, "unknown split 'dev'; known: train"):
      synthetic.generate_document(0, "dev", seed=0)


KNOWN_FIRST_SENTENCE = (
  "Following the plan, Mimima raised the decay of Simbilin by 67.4 units under mild flow."
)

if __name__ == "__main__":
  absltest.main()
