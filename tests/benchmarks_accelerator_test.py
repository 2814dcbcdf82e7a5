"""The accelerator benchmark from corpus to scores, tiny, as on a machine with few packages."""

import dataclasses
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import types
from unittest import mock

from absl.testing import absltest, parameterized
import numpy as np

from benchmarks import accelerator, accelerator_trainer
from benchmarks import accelerator_agreement as agreement
from benchmarks import accelerator_corpus as corpus_lib
from benchmarks import accelerator_papers as papers
from benchmarks import accelerator_report as report
from benchmarks.accelerator_settings import SECTIONS, parse_buckets, parse_skip
from htmtl_jax.documents.synthetic import generate_document
from htmtl_jax.errors import UserError
from htmtl_jax.evaluation import rouge
from tests.conftest import fast_compilation

_ROOT = pathlib.Path(__file__).resolve().parent.parent
# `run` without what a bare accelerator machine lacks: an import of any of these fails.
_BARE = """
import gc, importlib.abc, sys
gc.set_threshold(20_000, 50, 100)  # as in conftest.py
MISSING = (
    "ml_collections", "sentencex", "rouge_score", "nltk", "tensorboardX", "orbax", "tqdm",
    "markdown_it",
)

class Missing(importlib.abc.MetaPathFinder):
  def find_spec(self, name, path=None, target=None):
    if name.partition(".")[0] in MISSING:
      raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
sys.path.insert(0, sys.argv.pop(1))
from benchmarks import accelerator
sys.exit(accelerator.main())
"""


def _write_corpus(path: pathlib.Path, count: int) -> None:
  """Generated papers in the schema of JSON-lines corpora, paragraphs as plain strings."""
  with open(path, "w", encoding="utf-8") as f:
    for index in range(count):
      document = generate_document(index, "train", seed=0)
      f.write(
        json.dumps(
          {
            "id": document.id,
            "title": document.title,
            "abstract": [" ".join(paragraph) for paragraph in document.abstract],
            "summaries": {kind: " ".join(text) for kind, text in document.summaries.items()},
            "sections": [
              {"heading": s.heading, "paragraphs": [" ".join(p) for p in s.paragraphs]}
              for s in document.sections
            ],
          }
        )
        + "\n"
      )


def _make_folder(test: absltest.TestCase) -> pathlib.Path:
  folder = tempfile.TemporaryDirectory()
  test.addCleanup(folder.cleanup)
  return pathlib.Path(folder.name)


def _environment() -> dict[str, str]:
  """One CPU device and a compiler that does not optimise: most of the time is compiling."""
  return {**os.environ, "XLA_FLAGS": fast_compilation(), "JAX_PLATFORMS": "cpu"}


def _numbers(value) -> list[float]:
  if isinstance(value, dict):
    return [n for v in value.values() for n in _numbers(v)]
  if isinstance(value, list):
    return [n for v in value for n in _numbers(v)]
  return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


class EndToEndTest(absltest.TestCase):
  def test_prepare_run_and_score(self):
    folder = _make_folder(self)
    _write_corpus(folder / "papers.jsonl", 30)
    prepared, output = folder / "prepared", folder / "out"
    status = accelerator.main(
      [
        "prepare",
        f"--corpus={folder / 'papers.jsonl'}",
        f"--output={prepared}",
        "--tiny",
        "--processes=1",
      ]
    )
    self.assertEqual(status, 0)

    done = subprocess.run(
      [
        sys.executable,
        "-c",
        _BARE,
        str(_ROOT),
        "run",
        f"--prepared={prepared}.tar.xz",
        f"--output={output}",
        "--tiny",
        "--beam_size=1",
        "--date=2000-01-02",
      ],
      env=_environment(),
      capture_output=True,
      text=True,
      timeout=900,
    )
    self.assertEqual(done.returncode, 0, done.stderr)
    record = json.loads((output / report.JSON_FILE).read_text("utf-8"))
    self.assertEqual(
      {name: section["status"] for name, section in record["sections"].items()},
      dict.fromkeys(SECTIONS, "done"),
    )
    self.assertEqual(record["date"], "2000-01-02")
    self.assertNotIn(str(folder), (output / report.JSON_FILE).read_text("utf-8"))
    for name in SECTIONS:
      numbers = _numbers(record[name])
      self.assertNotEmpty(numbers, name)
      self.assertTrue(all(map(math.isfinite, numbers)), name)

    self.assertTrue(record["agreement"]["ok"])
    found = record["agreement"]["planted_fault_found_in"]
    self.assertContainsSubset(["gradients", "losses"], found)
    step = record["train_step"][0]
    self.assertAlmostEqual(
      step["source_tokens_per_second"] * step["seconds_per_step"], step["source_tokens"], places=3
    )
    share = step["source_tokens"] / step["token_slots"]
    self.assertAlmostEqual(step["padding_share"], 1 - share, places=6)
    # Two counts that know nothing of each other: attention and biases are in one only.
    self.assertBetween(step["matmul_tflop_per_step"] / step["six_n_tflop_per_step"], 0.5, 10.0)
    self.assertEqual(record["decoding"][0]["tokens_per_document"], 4 + 8 + 8)
    self.assertEqual(record["training"]["steps"], 4)
    self.assertLess(record["training"]["curve"][-1]["loss"], record["training"]["curve"][0]["loss"])
    self.assertIn("--output=out", record["evaluation"]["score_command"])
    self.assertNotIn("scores", record["evaluation"])

    self.assertEqual(accelerator.main(["score", f"--output={output}"]), 0)
    scores = json.loads((output / report.JSON_FILE).read_text("utf-8"))["evaluation"]["scores"]
    self.assertCountEqual(
      scores["systems"], ["htmtl", "htmtl_extractive", "lead", "lexrank", "oracle"]
    )
    for level in ("sentence", "paragraph", "section"):
      f = {name: system[level]["rouge1"]["f"] for name, system in scores["systems"].items()}
      self.assertGreater(f["oracle"], f["lead"], level)
      self.assertGreater(f["htmtl_extractive"], 0.0, level)
    markdown = (output / report.MARKDOWN_FILE).read_text("utf-8")
    self.assertIn("| paragraph | oracle |", markdown)
    self.assertNotIn("nan", markdown)


class TrainingTest(parameterized.TestCase):
  @parameterized.parameters(
    (0, 0, 0.0, False),  # no limit of steps: the first one is taken
    (0, 10**6, 59.0, False),
    (0, 10**6, 60.0, True),
    (4, 3, 0.0, False),
    (4, 4, 0.0, True),
  )
  def test_ends_with_the_minutes_or_the_steps(self, max_steps, step, seconds, is_over):
    settings = types.SimpleNamespace(max_steps=max_steps, minutes=1.0)
    self.assertEqual(accelerator_trainer.is_over(settings, step, seconds), is_over)


class AgreementTest(parameterized.TestCase):
  def _outputs(self) -> agreement.Outputs:
    rng = np.random.default_rng(0)
    return agreement.Outputs(
      log_probs=-rng.random(7),
      importance=-rng.random(5),
      losses={"loss": 2.0, "twice/section": 0.0},
      gradients={"['a']": rng.standard_normal((3, 4)), "['b']": rng.standard_normal(3)},
      ids=rng.integers(1, 9, (2, 3, 5)),
      lengths=np.full((2, 3), 5),
      scores=-rng.random((2, 3)),
    )

  def _failed(self, outputs, reference, rescored=None) -> list[str]:
    rescored = outputs.scores if rescored is None else rescored
    errors = agreement.measure_errors(outputs, reference, rescored)
    rows = agreement.judge(errors, agreement.TOLERANCES["float32"])
    return [row["quantity"] for row in rows if not row["ok"]]

  def test_equal_outputs_agree(self):
    self.assertEmpty(self._failed(self._outputs(), self._outputs()))

  @parameterized.parameters("log_probs", "importance", "losses", "worst_gradient", "decode_ids")
  def test_one_wrong_quantity_is_named(self, quantity):
    right = self._outputs()
    wrong = {
      "log_probs": lambda: {"log_probs": right.log_probs * 1.01},
      "importance": lambda: {"importance": right.importance + np.eye(5)[2] * 0.01},
      "losses": lambda: {"losses": {"loss": 2.0, "twice/section": 0.001}},
      "worst_gradient": lambda: {
        "gradients": {**right.gradients, "['b']": -right.gradients["['b']"]}
      },
      "decode_ids": lambda: {"ids": np.where(np.arange(5) == 4, 0, right.ids)},
    }[quantity]()
    failed = self._failed(dataclasses.replace(right, **wrong), right)
    self.assertIn(quantity, failed)
    self.assertContainsSubset(failed, [quantity, "gradients"])

  def test_wrong_score_of_the_decode_is_found(self):
    right = self._outputs()
    self.assertEqual(self._failed(right, right, right.scores - 0.1), ["decode_scores"])

  @parameterized.parameters(np.nan, np.inf)
  def test_what_is_not_finite_never_agrees(self, value):
    right = self._outputs()
    bad = dataclasses.replace(
      right,
      log_probs=np.full(7, value),
      losses={**right.losses, "loss": value},
      gradients={**right.gradients, "['a']": np.full((3, 4), value)},
    )
    self.assertContainsSubset(
      ["log_probs", "losses", "gradients", "worst_gradient"], self._failed(bad, right)
    )

  def test_relative_error_by_hand(self):
    value, reference = np.array([3.0, 4.5]), np.array([3.0, 4.0])
    self.assertAlmostEqual(agreement.relative_error(value, reference), 0.1)

  def test_failure_sets_the_exit_status_and_stops_nothing(self):
    folder = _make_folder(self)
    _write_corpus(folder / "papers.jsonl", 30)
    prepared = folder / "prepared"
    prepare = ["prepare", f"--corpus={folder / 'papers.jsonl'}", f"--output={prepared}", "--tiny"]
    self.assertEqual(accelerator.main([*prepare, "--processes=1", "--max_documents=24"]), 0)
    row = {"dtype": "float32", "quantity": "losses", "error": 9.0, "tolerance": 1e-3, "ok": False}
    wrong = {
      "ok": False,
      "reference": "a stand-in",
      "documents": 1,
      "output_tokens": 1,
      "planted_fault_found_in": ["losses"],
      "checks": [row],
    }
    run = ["run", f"--prepared={prepared}", f"--output={folder / 'out'}", "--tiny", "--devices=1"]
    with mock.patch.object(agreement, "check_agreement", return_value=wrong):
      status = accelerator.main([*run, "--skip=train_step,decoding,training,evaluation"])
    self.assertEqual(status, 1)
    record = json.loads((folder / "out" / report.JSON_FILE).read_text("utf-8"))
    self.assertEqual(record["sections"]["agreement"]["status"], "failed")
    self.assertIn("float32 losses", record["sections"]["agreement"]["error"])
    self.assertEqual(record["sections"]["ceiling"]["status"], "done")
    self.assertEqual(sum(record["documents"].values()), 24)
    self.assertIn("**no**", (folder / "out" / report.MARKDOWN_FILE).read_text("utf-8"))


class PartsTest(parameterized.TestCase):
  def test_sentences_are_joined_as_for_rouge(self):
    pieces = [["One  two.", " ", "Three\nfour."], [], ["Five."]]
    self.assertEqual(corpus_lib.join_sentences(pieces), rouge.join_sentences(pieces))

  def test_pieces_of_fillers_are_left_out_of_every_system(self):
    baseline = {
      "levels": {
        "section": {
          "reference": "a\nb",
          "reference_kind": "silver",
          "fillers": [False, True],
          "reference_without_fillers": "a",
          "systems": {"lead": [["l0"], ["l1"]]},
        }
      }
    }
    document = generate_document(0, "train", 0)
    written = {"htmtl": [["h0"], ["h1"], ["h2"]]}
    line = corpus_lib.pair_systems(document, baseline, "section", written)
    self.assertEqual(line["systems"], {"htmtl": "h0\nh1\nh2", "lead": "l0\nl1"})
    self.assertEqual(line["systems_without_fillers"], {"htmtl": "h0\nh2", "lead": "l0"})

  def test_repeated_trigrams_by_hand(self):
    # a b c a b c: abc bca cab abc: one of four stood there before; the second text has none.
    self.assertEqual(papers.repeated_trigram_share(["a b c a b c", "a b"]), 0.25)

  def test_json_has_no_number_that_is_not_finite(self):
    value = report.to_json({"a": [float("nan"), np.float32(0.5)], 1: (np.arange(2), float("inf"))})
    self.assertEqual(value, {"a": [None, 0.5], "1": [[0, 1], None]})

  def test_buckets_and_sections_are_read(self):
    self.assertEqual(parse_buckets("32x768,64x1216"), ((32, 768), (64, 1216)))
    self.assertEqual(parse_skip("training,evaluation"), {"training", "evaluation"})

  @parameterized.parameters(
    (lambda: parse_buckets("32x768,64"), "--buckets=32x768,64"),
    (lambda: parse_skip("trainng"), "trainng"),
    (lambda: corpus_lib.read_baselines("nowhere"), "nowhere"),
  )
  def test_bad_input_is_named(self, call, text):
    with self.assertRaisesRegex(UserError, text):
      call()

  def test_a_missing_folder_is_one_line_and_status_2(self):
    folder = _make_folder(self)
    with mock.patch("sys.stderr") as stderr:
      status = accelerator.main(["run", "--prepared=nowhere", f"--output={folder}", "--tiny"])
    self.assertEqual(status, 2)
    self.assertIn("nowhere", "".join(call.args[0] for call in stderr.write.call_args_list))

  def test_a_sample_takes_of_every_file_in_proportion(self):
    folder = _make_folder(self)
    for name, count in (("a", 30), ("b", 10), ("left_out", 50)):
      lines = [json.dumps({"id": f"{name}{i}"}) + "\n" for i in range(count)]
      (folder / f"{name}.jsonl").write_text("".join(lines))
    path = corpus_lib.sample_corpus(str(folder), str(folder), 20, ("left_out",))
    ids = [json.loads(line)["id"] for line in corpus_lib._read_lines(path)]
    self.assertEqual(ids, [f"a{i}" for i in range(15)] + [f"b{i}" for i in range(5)])


if __name__ == "__main__":
  absltest.main()
