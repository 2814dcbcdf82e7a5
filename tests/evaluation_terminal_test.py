"""The table and the examples, read back from the text."""

import re

from absl.testing import absltest, parameterized

from htmtl_jax.evaluation import importance, rankings, results, rouge, terminal


def _make_pairs():
  words = "yield fell by half when frost came late and prices rose in every plot".split()
  text = "\n".join(" ".join(words[i:] + words[:i]) for i in range(6))
  pairs = []
  for i in range(4):
    for level in ("sentence", "paragraph", "section"):
      reference = f"{text}\nnumber {i}"
      pairs.append(
        results.SummaryPair(
          f"doc-{i}",
          level,
          reference,
          "silver" if i == 3 else "gold",
          {"lead": "\n".join(text.split("\n")[: i + 1]), "htmtl": reference, "none": ""},
          "yield fell" if level == "section" and i == 3 else None,
        )
      )
  return pairs


class TableTest(absltest.TestCase):
  def test_holds_every_number_in_order_of_rouge2(self):
    found = results.compute_results(
      _make_pairs(),
      400,
      "validation",
      {"sentence_auc": 0.9712, "labels": "planted", "supervised": False},
      bootstrap_samples=50,
    )
    table = terminal.render_table(found)
    self.assertIn("validation split, step 400, 4 documents", table)
    self.assertEndsWith(
      table,
      "importance finds the planted sentences with AUC 0.971, trained without importance labels",
    )
    blocks = re.findall(r"^((?:one|section)[^\n]*)\n((?:  .*\n?)+)", table, re.MULTILINE)
    blocks = dict(blocks)
    keys = ["sentence", "paragraph", "section", "section_without_fillers"]
    titles = [title for title in blocks if "references only" not in title]
    self.assertLen(titles, len(keys))
    for key, title in zip(keys, titles, strict=True):
      block = blocks[title]
      header, *rows = block.strip("\n").split("\n")
      self.assertEqual(header.split(), ["system", *rouge.METRICS])
      self.assertEqual([row.split()[0] for row in rows], ["htmtl", "lead", "none"])
      for row in rows:
        name, *cells = row.split()
        scores = found["systems"][name][key]
        numbers = [float(c) for c in cells if c != "±"]
        for k, metric in enumerate(rouge.METRICS):
          half = (scores[metric]["high"] - scores[metric]["low"]) / 2
          self.assertAlmostEqual(numbers[2 * k], scores[metric]["f"], delta=0.0501)
          self.assertAlmostEqual(numbers[2 * k + 1], half, delta=0.0501)
    self.assertIn("one paragraph (4 documents; references: 3 gold, 1 silver)", table)
    # Each level is followed by its gold and its silver references alone.
    for kind, number in (("gold", "3 documents"), ("silver", "1 document")):
      block = blocks[f"one paragraph, {kind} references only ({number})"]
      _, *rows = block.strip("\n").split("\n")
      scores = found["by_reference_kind"]["paragraph"][kind]["systems"]
      self.assertEqual({row.split()[0] for row in rows}, set(scores))
      for row in rows:
        name, first, *_ = row.split()
        self.assertAlmostEqual(float(first), scores[name]["rouge1"]["f"], delta=0.0501)
    self.assertLen(blocks, 3 * len(keys))

  def test_rankings_beside_importance(self):
    judged = [
      {
        name: dict.fromkeys(importance.MEASURES, value)
        | {"precision_at_10": None, "kendall": -value}
        for name, value in (("htmtl", 0.75 + i / 4), ("position", 0.5), ("lexrank", 0.25))
      }
      for i in range(2)
    ]
    found = results.compute_results(
      _make_pairs(),
      400,
      "test",
      {"sentence_auc": 0.875, "labels": "oracle", "supervised": True}
      | rankings.summarise_rankings(judged),
      bootstrap_samples=5,
    )
    lines = terminal.render_table(found).split("\n")
    start = next(i for i, line in enumerate(lines) if line.startswith("importance finds"))
    self.assertEqual(
      lines[start + 1].split(), ["ranking", "AUC", "P@k", "P@5", "P@10", "Spearman", "Kendall"]
    )
    self.assertEqual(lines[start + 2].split()[:4], ["htmtl", "0.875", "±", "0.125"])
    self.assertEqual(lines[start + 2].split()[10], "-")  # P@10, which no document has
    self.assertEqual(lines[start + 2].split()[-3:], ["-0.875", "±", "0.125"])
    self.assertEqual(lines[start + 4].split()[:4], ["lexrank", "0.250", "±", "0.000"])

  def test_without_importance_and_with_one_document(self):
    found = results.compute_results(_make_pairs()[:1], 0, "test", bootstrap_samples=5)
    table = terminal.render_table(found)
    self.assertIn("1 document;", table)
    self.assertNotIn("importance", table)
    self.assertNotIn("one paragraph", table)


class ExamplesTest(parameterized.TestCase):
  @parameterized.parameters(1, 60, 80, 99, 100, 101, 180)
  def test_says_every_word_within_the_width(self, width):
    pairs = _make_pairs()
    text = terminal.render_examples(pairs, ("htmtl", "lead"), count=2, width=width)
    self.assertLessEqual(max(map(len, text.split("\n"))), max(width, 40))
    self.assertIn("doc-1", text)
    self.assertNotIn("doc-2", text)
    shown = re.findall(r"[a-z0-9]+", text)
    for word in ("yield", "plot"):
      spoken = sum(
        f"{p.reference}\n{p.systems['htmtl']}\n{p.systems['lead']}".split().count(word)
        for p in pairs[:6]
      )
      self.assertEqual(shown.count(word), spoken)

  def test_columns_from_100_characters_on(self):
    pairs = _make_pairs()[:1]
    beside = terminal.render_examples(pairs, width=100).split("\n")
    stacked = terminal.render_examples(pairs, width=99).split("\n")
    header = next(line for line in beside if "reference (gold)" in line)
    self.assertEqual(header.split(" | ")[1].strip(), "htmtl")
    self.assertIn("reference (gold):", stacked)
    self.assertLess(len(beside), len(stacked))

  def test_control_characters_and_empty_texts(self):
    pair = results.SummaryPair("d\x1b[2J", "paragraph", "ref\x07", "gold", {"htmtl": " \n"})
    text = terminal.render_examples([pair], width=80)
    self.assertTrue(all(c.isprintable() or c == "\n" for c in text))
    self.assertIn("(empty)", text)
    self.assertEqual(terminal.render_examples([], width=80), "")

  def test_asks_the_terminal_for_its_width(self):
    with absltest.mock.patch.dict("os.environ", {"COLUMNS": "64", "LINES": "24"}):
      self.assertEqual(
        terminal.render_examples(_make_pairs()), terminal.render_examples(_make_pairs(), width=64)
      )


if __name__ == "__main__":
  absltest.main()
