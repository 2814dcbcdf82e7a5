"""The comparison with the peers: its documents, its equal parameters, one run end to end."""

import contextlib
import importlib.util
import io
import json
import os
import pathlib
import tempfile
from unittest import mock

from absl.testing import absltest, parameterized
import flax.linen as nn
import jax
import numpy as np

from benchmarks import comparison, htmtl_system, measure, run, run_arguments
from benchmarks.apart import measure_apart, measure_in_turns
from benchmarks.documents import make_document
from benchmarks.peer_names import PEERS
from benchmarks.prepared_system import Request
from benchmarks.sizes import SIZES
from htmtl_jax.config import get_frozen
from htmtl_jax.data.packing import blank_document, stack_documents
from htmtl_jax.data.tokenizer import EOS_ID, NUM_STRUCTURE_IDS
from htmtl_jax.errors import UserError
from htmtl_jax.layout import LayoutConfig, make_bucket
from htmtl_jax.models.config import ModelConfig
from htmtl_jax.models.htmtl import Htmtl
from tests.conftest import fast_compilation

PEERS_INSTALLED = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))
ROW = {
  "system", "task", "length", "parameters", "median_seconds", "real_tokens_per_second",
  "peak_memory_bytes", "non_embedding_parameters", "token_and_decoder_share", "token_slots",
  "padding_share", "min_seconds", "first_seconds", "seconds", "repeats", "dtype", "backend",
  "status", "seed",
}  # fmt: skip


def _count(system: str, size: str) -> dict:
  """Parameters of one of our systems, from shapes alone."""
  config = htmtl_system.make_config(system, size, "float32")
  model = Htmtl(get_frozen(config.model, ModelConfig, "model"), SIZES[size].vocabulary)
  bucket = make_bucket(LayoutConfig(), 2, 8)
  batch = stack_documents([blank_document(bucket)])
  initialise = lambda key: model.init(key, batch, bucket.units)
  shapes = nn.unbox(jax.eval_shape(initialise, jax.random.key(0)))["params"]
  return htmtl_system.count_parameters(shapes)


class DocumentsTest(parameterized.TestCase):
  @parameterized.parameters(64, 1000, 20_000)
  def test_exact_length_and_a_tree(self, length):
    document = make_document(length, 8000, (64, 512, 640), seed=3)
    self.assertLen(document.token_ids, length)
    self.assertEqual(document.sentence_lengths.sum(), length)
    self.assertGreaterEqual(document.sentence_lengths.min(), 1)
    self.assertEqual([len(ids) for ids in document.target_ids], [64, 512, 640])
    self.assertTrue(all(ids[-1] == EOS_ID for ids in document.target_ids))
    for parents, children in (
      (document.sentence_paragraph, len(document.sentence_lengths)),
      (document.paragraph_section, len(document.paragraph_section)),
    ):
      self.assertLen(parents, children)
      self.assertEqual(parents[0], 0)
      self.assertContainsSubset(np.diff(parents), (0, 1))
    self.assertBetween(document.token_ids.min(), NUM_STRUCTURE_IDS, 7999)
    self.assertBetween(document.token_ids.max(), NUM_STRUCTURE_IDS, 7999)
    self.assertAlmostEqual(document.importance_labels.sum(), 1.0, places=5)

  def test_structure_is_that_of_papers(self):
    document = make_document(200_000, 8000, (0, 64, 0), seed=0)
    body = ~document.is_heading
    self.assertBetween(document.sentence_lengths[body].mean(), 34, 42)  # measured: 38
    paragraphs = len(np.unique(document.sentence_paragraph[body]))
    self.assertBetween(body.sum() / paragraphs, 4.2, 5.2)  # measured: 4.6
    sections = document.paragraph_section[-1] + 1
    self.assertBetween(paragraphs / sections, 5.5, 8.0)  # measured: 6.6

  def test_the_same_for_the_same_seed(self):
    first, again, other = (make_document(500, 300, (0, 32, 0), seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.token_ids, again.token_ids)
    np.testing.assert_array_equal(first.target_ids[1], again.target_ids[1])
    self.assertFalse(np.array_equal(first.token_ids, other.token_ids))

  def test_fits_a_bucket_of_the_config_or_a_longer_one(self):
    layout = LayoutConfig()
    for length, expected in (
      (2000, [16]),
      (2048, [17]),  # that of documents cut there
      (30_000, range(0, 999, 8)),
    ):
      document = make_document(length, 8000, (0, 512, 0), seed=0)
      bucket = htmtl_system.fit_bucket(document, layout, 512)
      self.assertIn(bucket.token_rows, expected)
      self.assertBetween(bucket.tokens, length, 1.3 * length)
      self.assertEqual(bucket.target_tokens, 512)

  @absltest.skipUnless(PEERS_INSTALLED, "PyTorch and transformers are not installed")
  def test_every_system_gets_the_same_ids(self):
    from benchmarks import peer_system

    request = Request("led", "train", 512, "tiny", "float32", target_tokens=40, threads=1)
    seen = {}

    class Stop(Exception):
      pass

    def peer(name, *_):
      model = mock.Mock()
      model.parameters.return_value = model.named_parameters.return_value = []
      return mock.Mock(model=model, inputs={})

    with (
      mock.patch.object(peer_system, "make_peer", peer),
      mock.patch.object(peer_system, "_train_runner", lambda *a: seen.update(peer=a[1:3])),
    ):
      peer_system.prepare(request)

    def take(batch, mesh):
      seen["ours"] = batch
      raise Stop

    with mock.patch.object(htmtl_system, "put_batch", take), self.assertRaises(Stop):
      htmtl_system.prepare(Request("htmtl", "train", 512, "tiny", "float32", target_tokens=40))
    inputs, labels = seen["peer"]
    batch = seen["ours"]
    order = np.argsort(batch.reading_order.reshape(-1))[:512]
    np.testing.assert_array_equal(inputs["input_ids"][0], batch.token_ids.reshape(-1)[order])
    np.testing.assert_array_equal(labels[0], batch.targets.ids[0])


class ParametersTest(parameterized.TestCase):
  @parameterized.parameters(*SIZES)
  def test_ours_are_equal_and_do_not_starve_the_tokens(self, size):
    ours = _count("htmtl", size)
    flat = _count("flat", size)
    deep = _count("htmtl_deep", size)
    rows = [{"system": "htmtl", **ours}, {"system": "flat", **flat}]
    self.assertEqual(comparison.check_parameters(rows), [])
    self.assertGreaterEqual(ours["token_and_decoder_share"], 0.5)
    self.assertGreater(deep["parameters"], ours["parameters"])
    config = htmtl_system.make_config("htmtl_deep", size, "float32")
    self.assertEqual(config.model.token_layers, SIZES[size].encoder_layers)
    self.assertEqual(config.model.mlp_width, SIZES[size].mlp_width)

  @absltest.skipUnless(PEERS_INSTALLED, "PyTorch and transformers are not installed")
  @parameterized.parameters(*SIZES)
  def test_peers_are_equal(self, size):
    import torch

    from benchmarks import peers

    rows = [{"system": "htmtl", **_count("htmtl", size)}]
    for name in PEERS:
      with torch.device("meta"):
        model = peers.make_peer(name, SIZES[size], 1024, 512, "meta").model
      total, without = peers.count_parameters(model)
      self.assertGreater(total, without)
      rows.append({"system": name, "parameters": total, "non_embedding_parameters": without})
    self.assertEqual(comparison.check_parameters(rows), [])

  def test_a_difference_is_said(self):
    rows = [
      {"system": name, "parameters": 0, "non_embedding_parameters": count}
      for name, count in (("htmtl", 100), ("led", 104), ("longt5", 94), ("htmtl_deep", 200))
    ]
    (line,) = comparison.check_parameters(rows)
    self.assertIn("longt5 has -6.0%", line)


class ComparisonTest(absltest.TestCase):
  def test_rounds_rates_ratios_linearity(self):
    row = lambda system, length, seconds, **more: {
      "system": system, "task": "train", "length": length, "status": "ok", "seconds": seconds,
      "peak_memory_bytes": length, "token_slots": 20_000, "useful_flops": 50,
      "other_programs_share": 0.0, **more,
    }  # fmt: skip
    rows = comparison.merge_rounds(
      [
        row("htmtl", 8192, [1.0, 2.0]),
        row("led", 8192, [6.0], other_programs_share=0.3),
        row("htmtl", 16384, [4.4]),
        row("htmtl", 8192, [3.0], peak_memory_bytes=9000),
        row("led", 16384, [], status="timeout", message="slow"),
      ]
    )
    comparison.add_rates(rows, matmul_rate=100.0)
    self.assertLen(rows, 4)
    ours, led, long, failed = rows
    self.assertEqual((ours["median_seconds"], ours["min_seconds"], ours["rounds"]), (2.0, 1.0, 2))
    self.assertEqual(ours["peak_memory_bytes"], 9000)
    self.assertEqual(ours["real_tokens_per_second"], 4096.0)
    self.assertEqual(ours["share_of_matmul_rate"], 0.25)
    self.assertEqual(ours["floor_seconds"], 0.25 * 2.0)
    self.assertEqual(led["other_programs_share"], 0.3)
    self.assertEqual(failed["status"], "timeout")
    self.assertNotIn("median_seconds", failed)
    (ratio,) = comparison.make_ratios(rows)
    self.assertEqual((ratio["system"], ratio["length"], ratio["ratio"]), ("led", 8192, 3.0))
    (linear,) = comparison.make_linearity(rows)
    self.assertAlmostEqual(linear["time_per_token_ratio"], (4.4 / 16384) / (2.0 / 8192))
    self.assertAlmostEqual(linear["time_per_slot_ratio"], 2.2)
    self.assertAlmostEqual(linear["memory_per_token_ratio"], 8192 / 9000)
    table = comparison.render(rows, [ratio], [linear])
    self.assertIn("| led | ", table)
    self.assertIn("| timeout |", table)
    self.assertEqual(long["length"], 16384)


class RunTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = self.enter_context(tempfile.TemporaryDirectory())
    self.out = pathlib.Path(folder) / "new" / "peers.json"
    environment = {"XLA_FLAGS": fast_compilation(), "JAX_PLATFORMS": "cpu"}
    self.enter_context(mock.patch.dict(os.environ, environment))

  def _main(self, *argv, measure=measure_apart) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with (
      contextlib.redirect_stdout(out),
      contextlib.redirect_stderr(err),
      mock.patch.object(run, "measure_apart", measure),
    ):
      status = run.main([f"--out={self.out}", "--size=tiny", *argv])
    return status, out.getvalue(), err.getvalue()

  def test_end_to_end(self):
    systems = ["htmtl", "led"] if PEERS_INSTALLED else ["htmtl"]
    status, out, err = self._main(
      "--lengths=512",
      f"--systems={','.join(systems)}",
      "--tasks=train",
      "--repeats=2",
      "--target_tokens=32",
      "--threads=1",
    )
    self.assertEqual((status, err), (0, ""))
    record = json.loads(self.out.read_text())
    self.assertEqual(
      [(row["task"], row["system"]) for row in record["rows"]],
      [("train", system) for system in systems],
    )
    for row in record["rows"]:
      self.assertEqual(row["status"], "ok", row)
      self.assertContainsSubset(ROW, row)
      self.assertEqual(row["length"], 512)
      self.assertGreater(row["median_seconds"], 0.0)
      self.assertGreater(row["peak_memory_bytes"], 50e6)
      self.assertAlmostEqual(row["real_tokens_per_second"], 512 / row["median_seconds"])
      self.assertTrue(np.isfinite(row["loss"]))
      self.assertGreater(row["flops"], 6 * 0.3 * row["non_embedding_parameters"] * 512)
      self.assertBetween(row["useful_flops"] / row["flops"], 0.1, 1.1)
      self.assertGreater(row["share_of_matmul_rate"], 0.0)
    self.assertEqual(record["warnings"], [])
    self.assertLen(record["ratios"], len(systems) - 1)
    for key in ("machine", "versions", "date", "seed", "command", "matmul_flops_per_second"):
      self.assertTrue(record[key] or key == "seed")
    self.assertIn("train, 512 tokens", out)
    page = self.out.with_suffix(".html").read_text()
    self.assertIn("Peak memory", page)

  @parameterized.parameters("htmtl", "led")
  def test_decoding_writes_as_many_tokens_as_asked_for(self, system):
    if system in PEERS and not PEERS_INSTALLED:
      self.skipTest("PyTorch and transformers are not installed")
    request = Request(
      system, "decode", 512, "tiny", "float32",
      decode_tokens=5, beam_size=2, repeats=1, threads=1,
    )  # fmt: skip
    row = measure.measure(request)
    self.assertEqual(row["written_tokens"], 5)
    self.assertLen(row["seconds"], 1)
    self.assertGreater(row["median_seconds"], 0.0)

  def test_what_fails_is_a_row(self):
    def fake(request, limit):
      if "matmul" in request:
        return {"status": "ok", "flops_per_second": 1e9}
      if request["system"] == "flat":
        return {"status": "out of memory", "message": "no room"}
      return {"status": "ok", "seconds": [1.0], "median_seconds": 1.0, "peak_memory_bytes": 1}

    status, out, _ = self._main("--systems=htmtl,flat", "--lengths=64,128", measure=fake)
    self.assertEqual(status, 0)
    rows = json.loads(self.out.read_text())["rows"]
    self.assertLen(rows, 6)  # two lengths of training, one of decoding
    self.assertEqual([row["status"] for row in rows], ["ok", "out of memory"] * 3)
    self.assertIn("| out of memory |", out)
    self.assertIn("no room", self.out.with_suffix(".html").read_text())

  def test_a_limit_ends_a_measurement(self):
    result = measure_apart({"system": "htmtl"}, 0.01)
    self.assertEqual(result["status"], "timeout")
    results = measure_in_turns([{"system": "htmtl", "repeats": 2}] * 2, 0.01)
    self.assertEqual([result["status"] for result in results], ["timeout"] * 2)

  def test_in_turns(self):
    request = {
      "system": "htmtl", "task": "train", "length": 64, "size": "tiny", "dtype": "float32",
      "target_tokens": 8, "repeats": 3,
    }  # fmt: skip
    results = measure_in_turns([request, {"repeats": 3}, request], 300)
    self.assertEqual([result["status"] for result in results], ["ok", "failed", "ok"])
    self.assertIn("missing", results[1]["message"])
    for result in results[::2]:
      self.assertLen(result["seconds"], 3)
    first, _, last = (result.get("ended") for result in results)
    # 1 3 | 3 1 | 1 3: the second call of the last one comes before that of the first.
    self.assertLess(first[0], last[0])
    self.assertLess(last[1], first[1])
    self.assertLess(first[1], first[2])
    self.assertLess(first[2], last[2])

  def test_an_exception_becomes_a_result(self):
    request = dict(system="htmtl", task="train", length=64, size="tiny", dtype="float32")
    for error, status in (
      (RuntimeError("RESOURCE_EXHAUSTED: 3 GB"), "out of memory"),
      (ValueError("odd\nshape"), "failed"),
      (UserError("no corpus"), "wrong input"),
    ):
      with mock.patch.object(measure, "measure", side_effect=error):
        result = measure.answer(request)
      self.assertEqual(result["status"], status)
      self.assertNotIn("\n", result["message"])

  @parameterized.parameters(
    ("--lengths=4k", "--lengths=4k"),
    ("--lengths=32", "at least 64"),
    ("--systems=htmlt", "did you mean htmtl?"),
    ("--tasks=test", "unknown"),
    ("--size=huge", "--size"),
    ("--repeats=0", "--repeats=0"),
    ("--limit=-1", "--limit=-1"),
    ("--nonsense", "--nonsense"),
    (f"--out={os.path.dirname(__file__)}", "name a file"),
  )
  def test_bad_input_is_one_line(self, argument, expected):
    status, out, err = self._main("--systems=htmtl", argument)
    self.assertEqual((status, out), (2, ""))
    self.assertStartsWith(err, "error: ")
    self.assertEqual(err.count("\n"), 1)
    self.assertIn(expected, err)

  def test_peers_that_are_not_installed(self):
    with mock.patch.object(run_arguments, "_peers_installed", lambda: False):
      arguments = run_arguments.parse_arguments(["--out=x.json"])
      self.assertEqual(arguments.systems, list(run_arguments.OURS))
      status, _, err = self._main("--systems=led")
    self.assertEqual(status, 2)
    self.assertIn("HTMTL_EXTRAS=peers", err)


if __name__ == "__main__":
  absltest.main()
