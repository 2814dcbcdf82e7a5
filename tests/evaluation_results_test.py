"""results.json, predictions.jsonl and scores.jsonl: schema, numbers, and bad days."""

import dataclasses
import json
import pathlib
import tempfile

from absl.testing import absltest
import numpy as np

from htmtl_jax.evaluation import results, rouge

_IMPORTANCE = {"sentence_auc": 0.97, "labels": "planted", "supervised": False}


def _make_pairs(documents=5):
  """Pairs at all levels; "lead" says a part of the reference, "htmtl" all or nothing."""
  pairs = []
  for i in range(documents):
    reference = f"yield fell by {i} percent\ncosts rose in plot {i}"
    systems = {
      "lead": reference.split("\n")[0],
      "htmtl": reference if i % 2 else "",
    }
    for level in ("sentence", "paragraph", "section"):
      pairs.append(results.SummaryPair(f"doc-{i}", level, reference, "gold", systems))
  return pairs


def _strict_loads(text):
  def refuse(name):
    raise ValueError(f"{name} is not JSON")

  return json.loads(text, parse_constant=refuse)


class ComputeResultsTest(absltest.TestCase):
  def test_schema_and_numbers(self):
    pairs = _make_pairs()
    found = results.compute_results(pairs, 400, "test", _IMPORTANCE, bootstrap_samples=50, seed=3)
    self.assertEqual((found["step"], found["split"], found["documents"]), (400, "test", 5))
    self.assertEqual(found["importance"], _IMPORTANCE)
    self.assertEqual((found["seed"], found["bootstrap_samples"]), (3, 50))
    self.assertEqual(
      found["reference_kinds"],
      {"sentence": {"gold": 5}, "paragraph": {"gold": 5}, "section": {"gold": 5}},
    )
    self.assertEqual(set(found["systems"]), {"lead", "htmtl"})
    for name, levels in found["systems"].items():
      self.assertEqual(list(levels), ["sentence", "paragraph", "section"])
      for level, metrics in levels.items():
        own = [p for p in pairs if p.level == level]
        scores = rouge.score_all([(p.reference, p.systems[name]) for p in own])
        self.assertEqual(metrics, rouge.summarise(scores, 50, 3))
        self.assertEqual(set(metrics["rougeLsum"]), {"f", "low", "high"})
    # Two of five documents are word for word right, three are empty and count as 0.
    self.assertAlmostEqual(found["systems"]["htmtl"]["paragraph"]["rouge2"]["f"], 40.0)

  def test_rows_average_to_the_means(self):
    found = results.compute_results(_make_pairs(), 1, "test", bootstrap_samples=10)
    self.assertLen(found["scores"], 5 * 3 * 2)
    for name, levels in found["systems"].items():
      for level, metrics in levels.items():
        rows = [r for r in found["scores"] if (r["system"], r["level"]) == (name, level)]
        self.assertEqual([r["id"] for r in rows], [f"doc-{i}" for i in range(5)])
        for metric in rouge.METRICS:
          self.assertAlmostEqual(np.mean([r[metric] for r in rows]), metrics[metric]["f"])

  def test_gold_and_silver_apart(self):
    pairs = [
      dataclasses.replace(pair, reference_kind="silver")
      if pair.level == "sentence" and pair.id in ("doc-1", "doc-2")
      else pair
      for pair in _make_pairs()
    ]
    found = results.compute_results(pairs, 400, "test", bootstrap_samples=50, seed=3)
    # Only of the level that has both; the total stays what it is.
    self.assertEqual(list(found["by_reference_kind"]), ["sentence"])
    kinds = found["by_reference_kind"]["sentence"]
    self.assertEqual({k: own["documents"] for k, own in kinds.items()}, {"gold": 3, "silver": 2})
    for kind, own in kinds.items():
      self.assertEqual(set(own["systems"]), {"lead", "htmtl"})
      for name, metrics in own["systems"].items():
        chosen = [p for p in pairs if p.level == "sentence" and p.reference_kind == kind]
        scores = rouge.score_all([(p.reference, p.systems[name]) for p in chosen])
        self.assertEqual(metrics, rouge.summarise(scores, 50, 3))
    self.assertAlmostEqual(kinds["silver"]["systems"]["htmtl"]["rouge1"]["f"], 50.0)
    self.assertAlmostEqual(kinds["gold"]["systems"]["htmtl"]["rouge1"]["f"], 100.0 / 3.0)
    self.assertAlmostEqual(found["systems"]["htmtl"]["sentence"]["rouge1"]["f"], 40.0)
    self.assertNotIn(
      "by_reference_kind", results.compute_results(_make_pairs(), 400, "test", bootstrap_samples=5)
    )

  def test_measures(self):
    measured = [{"words": 4.0, "new_names": None}, {"words": 8.0, "new_names": None}]
    pairs = [
      results.SummaryPair(
        str(i), "section", "a\nb", "silver", {"lead": "a"}, "a", measures={"lead": own}
      )
      for i, own in enumerate(measured)
    ]
    found = results.compute_results(pairs, None, "all", bootstrap_samples=5)
    # Not of the digest without fillers, which is another text.
    self.assertEqual(found["measures"], {"lead": {"section": {"words": 6.0, "new_names": None}}})
    rows = {(r["id"], r["level"]): r for r in found["scores"]}
    self.assertEqual(rows["1", "section"]["words"], 8.0)
    self.assertIsNone(rows["1", "section"]["new_names"])
    self.assertNotIn("words", rows["1", "section_without_fillers"])
    with self.assertRaisesRegex(ValueError, "0: at the section level"):
      results.compute_results([dataclasses.replace(pairs[0], measures={})], 1, "test")
    # Without measures nothing is said of them.
    self.assertNotIn(
      "measures", results.compute_results(_make_pairs(), 1, "test", bootstrap_samples=5)
    )

  def test_a_measure_that_one_document_lacks(self):
    pair = lambda i, value: results.SummaryPair(
      i, "sentence", "a", "gold", {"lead": "a"}, measures={"lead": {"new_names": value}}
    )
    found = results.compute_results([pair("a", None), pair("b", 0.5)], 1, "test")
    self.assertEqual(found["measures"]["lead"]["sentence"]["new_names"], 0.5)

  def test_processes_change_nothing(self):
    pairs = _make_pairs(8)
    one = results.compute_results(pairs, 1, "test", bootstrap_samples=20)
    two = results.compute_results(pairs, 1, "test", bootstrap_samples=20, processes=2)
    self.assertEqual(one, two)

  def test_fillers(self):
    def make(identifier, without, systems_without=None):
      return results.SummaryPair(
        identifier,
        "section",
        "alpha beta\ngamma delta",
        "silver",
        {"copy": "alpha beta\ngamma delta"},
        without,
        systems_without,
      )

    with_none = make("a", None)
    half = make("b", "alpha beta")
    half_both = make("c", "alpha beta", {"copy": "alpha beta"})
    nothing_left = make("d", "")
    found = results.compute_results([with_none, half, half_both, nothing_left], 1, "test")
    scores = {(r["id"], r["level"]): round(r["rouge1"], 6) for r in found["scores"]}
    self.assertEqual(
      scores,
      {
        ("a", "section"): 100.0,
        ("b", "section"): 100.0,
        ("c", "section"): 100.0,
        ("d", "section"): 100.0,
        ("a", "section_without_fillers"): 100.0,
        ("b", "section_without_fillers"): round(200 / 3, 6),  # P 1/2, R 1
        ("c", "section_without_fillers"): 100.0,
      },
    )
    self.assertEqual(found["documents_per_level"], {"section": 4, "section_without_fillers": 3})
    self.assertNotIn(
      "section_without_fillers",
      results.compute_results([with_none], 1, "test")["systems"]["copy"],
    )

  def test_refuses_what_is_not_comparable(self):
    pairs = _make_pairs(2)
    with self.assertRaisesRegex(ValueError, "doc-0: two summaries at the sentence level"):
      results.compute_results([*pairs, pairs[0]], 1, "test")
    odd = dataclasses.replace(pairs[3], systems={"lead": ""})
    with self.assertRaisesRegex(ValueError, "doc-1: at the sentence level"):
      results.compute_results([*pairs[:3], odd], 1, "test")
    with self.assertRaisesRegex(ValueError, "unknown level"):
      results.compute_results([dataclasses.replace(pairs[0], level="page")], 1, "test")

  def test_no_documents_and_no_importance(self):
    found = results.compute_results([], 0, "validation")
    self.assertEqual((found["documents"], found["systems"]), (0, {}))
    self.assertIsNone(found["importance"])


class WriteResultsTest(absltest.TestCase):
  def test_files_hold_what_was_computed(self):
    workdir = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    directory = workdir / "evaluation" / "400"
    pairs = _make_pairs(3)
    found = results.compute_results(pairs, 400, "test", _IMPORTANCE, bootstrap_samples=20)
    results.write_results(directory, found, pairs)
    self.assertEqual(
      sorted(p.name for p in directory.iterdir()),
      ["predictions.jsonl", "results.json", "scores.jsonl"],
    )
    rows = [_strict_loads(x) for x in (directory / "scores.jsonl").open(encoding="utf-8")]
    self.assertEqual(rows, found.pop("scores"))
    self.assertEqual(_strict_loads((directory / "results.json").read_text("utf-8")), found)
    lines = [_strict_loads(x) for x in (directory / "predictions.jsonl").open(encoding="utf-8")]
    self.assertEqual(
      lines[4],
      {
        "id": "doc-1",
        "level": "paragraph",
        "reference": pairs[4].reference,
        "reference_kind": "gold",
        "systems": dict(pairs[4].systems),
      },
    )
    self.assertEqual([(x["id"], x["level"]) for x in lines], [(p.id, p.level) for p in pairs])

  def test_rankings_have_a_file_if_there_are_any(self):
    directory = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    pairs = _make_pairs(1)
    found = results.compute_results(pairs, 400, "test", bootstrap_samples=5)
    rows = [{"id": "doc-0", "ranking": "htmtl", "auc": 0.5, "kendall": None}]
    results.write_results(directory, found, pairs, ranking_rows=rows)
    (line,) = (directory / "rankings.jsonl").read_text("utf-8").splitlines()
    self.assertEqual(_strict_loads(line), rows[0])
    results.write_results(directory, found, pairs)  # no model took part this time
    self.assertFalse((directory / "rankings.jsonl").exists())

  def test_what_json_cannot_say(self):
    directory = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    pair = results.SummaryPair("ä\ud800", "paragraph", "naïve\u2028x", "gold", {"s": "\x00"})
    found = results.compute_results(
      [pair],
      np.int64(3),
      "test",
      {"sentence_auc": np.float32("nan"), "labels": "oracle", "supervised": np.bool_(True)},
    )
    results.write_results(directory, found, [pair])
    written = _strict_loads((directory / "results.json").read_text("utf-8"))
    self.assertEqual(written["step"], 3)
    self.assertEqual(
      written["importance"], {"sentence_auc": None, "labels": "oracle", "supervised": True}
    )
    (line,) = (directory / "predictions.jsonl").read_text("utf-8").rstrip("\n").split("\n")
    self.assertEqual(_strict_loads(line)["id"], "ä\ud800")
    self.assertEqual(_strict_loads(line)["systems"], {"s": "\x00"})

  def test_a_failed_write_leaves_the_old_file_and_nothing_else(self):
    directory = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    pairs = _make_pairs(1)
    found = results.compute_results(pairs, 1, "test", bootstrap_samples=5)
    results.write_results(directory, found, pairs)
    before = {p.name: p.read_bytes() for p in directory.iterdir()}
    with self.assertRaises(TypeError):
      results.write_results(directory, found | {"step": object()}, pairs)
    self.assertEqual({p.name: p.read_bytes() for p in directory.iterdir()}, before)


if __name__ == "__main__":
  absltest.main()
