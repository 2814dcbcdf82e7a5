"""Every known defect of the raw release is repaired and counted."""

import dataclasses
import json
import random
import time

from absl.testing import absltest, parameterized

from htmtl_jax.datasets.raw_release import RawPaper, parse_paper
from htmtl_jax.datasets.repair import MIN_COPY_WORDS, RepairCounts, pack_paragraphs, repair
from tests import raw_papers

A, B, C, D = (raw_papers.LONG.format(x) for x in ("length", "width", "height", "depth"))
EMPTY = RepairCounts()


def repair_record(record, text_source="intersect"):
  return repair(parse_paper(json.dumps(record).encode()), text_source)


def body(document):
  """(heading, sentences) of each section."""
  return [(s.heading, [x for p in s.paragraphs for x in p]) for s in document.sections]


def nonzero(counts, *, of_repairs_only=True):
  """The counts that say that something was wrong."""
  kept = ("papers", "sections", "paragraphs", "sentences")
  return {
    name: value
    for name, value in dataclasses.asdict(counts).items()
    if value and not (of_repairs_only and name in kept)
  }


class KnownDefectsTest(parameterized.TestCase):
  def test_a_sound_paper_stays_as_it_is(self):
    document, counts = repair_record(raw_papers.make_record("p"))
    self.assertEqual(
      body(document),
      [
        ("part 0", [raw_papers.LONG.format("p mass"), "it was high ."]),
        ("part 1", ["we stop ."]),
      ],
    )
    self.assertEqual(document.abstract, (("we measured p .",),))
    self.assertEqual((document.id, document.title), ("p", ""))
    self.assertEqual(document.paragraphs_are, "pseudo")
    self.assertEqual(
      nonzero(counts, of_repairs_only=False),
      {"papers": 1, "sections": 2, "paragraphs": 2, "sentences": 3},
    )

  @parameterized.named_parameters(
    (
      "empty_sections",
      [("introduction", [A]), ("the end", [B])],
      {"empty_sections": 2, "labels": 3},
    ),
    (
      "foreign",
      [("part 0", [A]), ("part 1", [B])],
      {"foreign_sentences": 2, "emptied_sections": 1},
    ),
    (
      "copies",
      [("part 0", [A]), ("part 1", [B, C, D])],
      {"copied_sentences": 3, "emptied_sections": 2},
    ),
    (
      "repeats",
      [("part 0", [A, "yes ."]), ("part 1", [B, "yes ."])],
      {"repeated_sentences": 1},
    ),
    ("names", [("section_1", [A]), ("section_2", [B])], {"unmatched_names": 1}),
    ("homeless", [("part 0", [C, A, D]), ("part 1", [B])], {"homeless_sentences": 2}),
    ("moved", [("part 0", [B, A]), ("part 1", [C])], {"moved_sentences": 1}),
    ("no_sections", [("", [A, B])], {"homeless_sentences": 2}),
    ("no_abstract", [("part 0", [A])], {"empty_abstracts": 1}),
  )
  def test_intersect(self, expected, expected_counts):
    name = self._testMethodName.removeprefix("test_intersect_")
    document, counts = repair_record(raw_papers.make_defective_records()[name])
    self.assertEqual(body(document), expected)
    self.assertEqual(nonzero(counts), expected_counts)
    self.assertEqual(counts.sections, len(expected))
    self.assertEqual(counts.sentences, sum(len(sentences) for _, sentences in expected))

  @parameterized.named_parameters(
    (
      "foreign",
      [("part 0", [A, "not in the article ."]), ("part 1", [B]), ("part 2", ["nor this ."])],
      {},
    ),
    (
      "copies",
      [("part 0", [A]), ("part 1", [B, C, D])],
      {"copied_sentences": 3, "emptied_sections": 2},
    ),
    # Here the second "yes ." cannot be told from a child's copy of its parent.
    ("repeats", [("part 0", [A, "yes ."]), ("part 1", [B])], {"copied_sentences": 2}),
    ("homeless", [("part 0", [A]), ("part 1", [B])], {}),
    ("no_sections", [], {"empty_articles": 1}),
  )
  def test_sections(self, expected, expected_counts):
    name = self._testMethodName.removeprefix("test_sections_")
    document, counts = repair_record(raw_papers.make_defective_records()[name], "sections")
    self.assertEqual(body(document), expected)
    self.assertEqual(nonzero(counts), expected_counts)

  def test_short_sentence_may_come_twice_in_a_section(self):
    article = ["see table 1 .", A, "see table 1 ."]
    record = raw_papers.make_record("p", article, [article])
    for text_source in ("intersect", "sections"):
      document, counts = repair_record(record, text_source)
      self.assertEqual(body(document), [("part 0", article)])
      self.assertEqual(nonzero(counts), {})

  @parameterized.parameters((MIN_COPY_WORDS, 1), (MIN_COPY_WORDS - 1, 2))
  def test_how_long_a_copy_has_to_be(self, num_words, times):
    sentence = " ".join("word" for _ in range(num_words))
    document, _ = repair_record(raw_papers.make_record("p", [sentence] * 2, [[sentence] * 2]))
    self.assertEqual(body(document), [("part 0", [sentence] * times)])

  def test_abstract_loses_its_marks(self):
    document, _ = repair_record(raw_papers.make_defective_records()["empty_sections"])
    self.assertEqual(document.abstract, (("one .", "two .", "three ."),))

  def test_empty_article(self):
    document, counts = repair_record(raw_papers.make_empty_record("p"))
    self.assertEqual((document.id, document.sections), ("p", ()))
    self.assertEqual(document.abstract_sentences, ("we measured p .",))
    self.assertEqual(nonzero(counts), {"empty_articles": 1, "empty_sections": 2})

  @parameterized.parameters(
    ("[sec:introduction]introduction", "introduction"),
    ("[intro]introduction", "introduction"),
    ("[ sec : intro ] introduction", "introduction"),
    ("methods [subsec:m]", "methods"),
    ("[s:m]", ""),
    ("[a:x]@xmath0 decays", "@xmath0 decays"),
    ("[oiii] emission", "[oiii] emission"),
    ("the [fe/h] scale", "the [fe/h] scale"),
    ("results", "results"),
  )
  def test_labels_of_names(self, name, expected):
    document, counts = repair_record(raw_papers.make_record("p", [A], [[A]], [name]))
    self.assertEqual(document.sections[0].heading, expected)
    self.assertEqual(counts.labels, int(name != expected))

  def test_unknown_text_source(self):
    with self.assertRaisesRegex(ValueError, "unknown text_source 'both'"):
      repair_record(raw_papers.make_record("p"), "both")


class PropertiesTest(absltest.TestCase):
  def test_whatever_the_sections_say_the_text_is_the_articles(self):
    random_source = random.Random(0)
    for _ in range(500):
      words = [f"s{i} ." for i in range(random_source.randint(1, 12))]
      article = [random_source.choice(words) for _ in range(random_source.randint(0, 12))]
      pool = words + ["foreign .", ""]
      sections = [
        [random_source.choice(pool) for _ in range(random_source.randint(0, 6))]
        for _ in range(random_source.randint(0, 5))
      ]
      document, counts = repair_record(raw_papers.make_record("p", article, sections))
      sentences = [s for _, sentences in body(document) for s in sentences]
      self.assertCountEqual(sentences, article)
      given = sum(bool(s) for section in sections for s in section)
      dropped = counts.copied_sentences + counts.foreign_sentences
      self.assertEqual(given - dropped, len(article) - counts.homeless_sentences)

  def test_where_sections_hold_the_article_in_order_the_order_is_kept(self):
    random_source = random.Random(1)
    for _ in range(300):
      article = [f"s{random_source.randint(0, 5)} ." for _ in range(random_source.randint(1, 12))]
      flat = list(article)
      for _ in range(random_source.randint(0, 10)):  # copies and foreign sentences anywhere
        extra = random_source.choice([*article, "foreign ."])
        flat.insert(random_source.randint(0, len(flat)), extra)
      cuts = sorted(random_source.randint(0, len(flat)) for _ in range(3))
      sections = [flat[a:b] for a, b in zip([0, *cuts], [*cuts, len(flat)], strict=True)]
      document, counts = repair_record(raw_papers.make_record("p", article, sections))
      self.assertEqual([s for _, sentences in body(document) for s in sentences], article)
      self.assertEqual((counts.moved_sentences, counts.homeless_sentences), (0, 0))

  def test_time_is_linear(self):
    def seconds(n):
      # All equal, the worst case for a search: short ones, so that none is a copy.
      paper = RawPaper("p", ("a .",), ("x .",) * n, ("h",), (("x .",) * (2 * n),))
      best = 1e9
      for _ in range(3):
        start = time.perf_counter()
        repair(paper)
        best = min(best, time.perf_counter() - start)
      return best

    # Twenty times the sentences: 20 if linear, 400 if quadratic.
    self.assertLess(seconds(40_000) / seconds(2_000), 100)

  def test_counts_add_up(self):
    total = RepairCounts()
    for record in raw_papers.make_defective_records().values():
      total.add(repair_record(record)[1])
    self.assertEqual(
      dataclasses.asdict(total),
      {
        **dataclasses.asdict(EMPTY),
        "papers": 9,
        "empty_abstracts": 1,
        "unmatched_names": 1,
        "labels": 3,
        "empty_sections": 2,
        "foreign_sentences": 2,
        "copied_sentences": 3,
        "repeated_sentences": 1,
        "homeless_sentences": 4,
        "moved_sentences": 1,
        "emptied_sections": 3,
        "sections": 16,
        "paragraphs": 16,
        "sentences": 24,
      },
    )


class PackParagraphsTest(absltest.TestCase):
  def test_packs_greedily(self):
    words = lambda n: " ".join(["w"] * n)
    packed = pack_paragraphs([words(n) for n in (3, 4, 3, 11, 1, 9, 1)], max_words=10)
    self.assertEqual(
      [[len(s.split()) for s in paragraph] for paragraph in packed],
      [[3, 4, 3], [11], [1, 9], [1]],
    )
    self.assertEqual(pack_paragraphs([]), [])

  def test_the_usual_length(self):
    sentences = [f"{' '.join(['w'] * 24)} {i}" for i in range(12)]  # 25 words each
    record = raw_papers.make_record("p", sentences, [sentences])
    document, counts = repair_record(record)
    self.assertEqual([len(p) for p in document.sections[0].paragraphs], [5, 5, 2])
    self.assertEqual(counts.paragraphs, 3)


if __name__ == "__main__":
  absltest.main()
