"""Plan mode's arithmetic: topologies, chips, roofline, meshes to try. Nothing is compiled."""

import json
import math
import pathlib
import tempfile
from unittest import mock

from absl.testing import absltest, parameterized
import ml_collections

from benchmarks import scaling, scaling_tables
from htmtl_jax.chips import CHIPS, chip_named, chip_of_kind
from htmtl_jax.config import load_config
from htmtl_jax.config_keys import flatten
from htmtl_jax.errors import UserError
from htmtl_jax.plan import compiler, libtpu, report, run, sweep
from htmtl_jax.plan.roofline import model_flops_utilisation, roofline
from htmtl_jax.plan.topology import GPU, PRESENT, TPU, parse_topology, stand_in
from tests import tiny_config

CONFIG = "tests/tiny_config.py"


class TopologyTest(parameterized.TestCase):
  @parameterized.parameters(
    ("v5e:16x16", TPU, "v5e", 256),
    ("v5p:2x2x4", TPU, "v5p", 16),
    ("tpu7x:2x2x1", TPU, "tpu7x", 4),
    ("v6e", TPU, "v6e", 1),
    ("v5e:", TPU, "v5e", 1),
    ("h200:16", GPU, "h200", 16),
    ("", PRESENT, None, 0),
  )
  def test_names(self, name, kind, chip, chips):
    topology = parse_topology(name)
    self.assertEqual((topology.kind, topology.chips), (kind, chips))
    self.assertEqual(topology.chip and topology.chip.name, chip)

  @parameterized.parameters(
    ("v9:2x2", "no chip is called 'v9'"),
    ("v5e:16", "slices of v5e have 2 dimensions, such as v5e:4x4"),
    ("v5p:4x4", "slices of v5p have 3 dimensions"),
    ("v5e:0x4", "'0x4' is no size"),
    ("h100:2x4", "write a number of devices, such as h100:8"),
    ("cpu:9999", "write a number of devices"),
    ("cpu:eight", "'eight' is no size"),
  )
  def test_what_is_none_is_refused_in_one_line(self, name, message):
    flags = ("--mode=plan", f"--config={CONFIG}", f"--topology={name}")
    status, out, err = tiny_config.run_main(*flags)
    self.assertEqual((status, out), (2, ""))
    last = err.splitlines()[-1]
    self.assertStartsWith(last, f"htmtl_jax: error: --topology={name}: ")
    self.assertIn(message, last)

  @parameterized.parameters(1, 2, 6, 8, 16, 24, 256)
  def test_gpus_are_counted_on_as_many_chips(self, chips):
    shape = stand_in(parse_topology(f"h100:{chips}")).shape
    self.assertEqual(math.prod(shape), chips)
    self.assertLen(shape, 3)

  def test_without_the_compiler(self):
    with mock.patch.object(run, "libtpu_version", return_value=None):
      self.assertEqual(run.compiler_target(parse_topology("h100:8")).name, "cpu:8")
    with mock.patch.object(libtpu, "libtpu_version", return_value=None):
      with self.assertRaisesRegex(UserError, "^[^\n]*HTMTL_EXTRAS=plan launch/env.sh[^\n]*$"):
        run.compiler_target(parse_topology("v5e:2x2"))


class ChipsTest(parameterized.TestCase):
  @parameterized.parameters(
    ("TPU v4", "v4"),
    ("TPU v5 lite", "v5e"),
    ("TPU v5", "v5p"),
    ("TPU v5p", "v5p"),
    ("TPU v6 lite", "v6e"),
    ("TPU7x", "tpu7x"),
    ("NVIDIA A100-SXM4-80GB", "a100"),
    ("NVIDIA H100 80GB HBM3", "h100"),
    ("NVIDIA H200", "h200"),
  )
  def test_jax_calls_them(self, kind, name):
    self.assertEqual(chip_of_kind(kind).name, name)

  def test_others_are_not_known(self):
    self.assertIsNone(chip_of_kind("cpu"))
    self.assertIsNone(chip_named("cpu"))

  def test_no_row_has_a_wrong_unit(self):
    for chip in CHIPS:
      self.assertBetween(chip.flops / chip.bandwidth, 100, 700)  # FLOPs a byte
      self.assertBetween(chip.bandwidth / chip.interconnect, 2, 20)
      self.assertBetween(chip.memory / chip.bandwidth, 0.01, 0.05)  # seconds to read all of it


class RooflineTest(absltest.TestCase):
  def test_the_longer_of_two_and_the_links(self):
    chip = chip_named("v5e")
    least = roofline(int(197e12), int(819e9 * 2), int(200e9 * 3), chip, 256)
    self.assertAlmostEqual(least.arithmetic, 1)
    self.assertAlmostEqual(least.memory, 2)
    self.assertAlmostEqual(least.interconnect, 3)
    self.assertAlmostEqual(least.seconds, 5)
    self.assertEqual(least.bound_by, "interconnect")

  def test_beyond_a_node_gpus_use_the_network(self):
    chip = chip_named("h100")
    inside, outside = (roofline(0, 0, 10**9, chip, n).interconnect for n in (8, 16))
    self.assertAlmostEqual(outside / inside, 450 / 50)

  def test_all_useful_at_the_peak_is_one(self):
    chip = chip_named("v6e")
    self.assertAlmostEqual(model_flops_utilisation(int(4 * 918e12), 1.0, chip, 4), 1)


def made_up(mesh, remat="none", *, seconds=1.0, memory=10, documents=8):
  return {
    "mesh": dict(mesh),
    "remat": remat,
    "bucket": [16, 64],
    "devices": 8,
    "documents": documents,
    "documents_wanted": 8,
    "fits": memory <= 16,
    "memory_bytes_per_chip": memory,
    "roofline_seconds": seconds,
    "tokens_per_second": documents / seconds,
    "collective_bytes_per_chip": 0,
  }


class SweepTest(parameterized.TestCase):
  @parameterized.parameters(1, 8, 24, 256)
  def test_candidates_are_meshes_of_all_devices(self, devices):
    meshes = sweep.candidate_meshes(devices, 4, made_up({}))
    self.assertLessEqual(len(meshes), sweep.MOST_MESHES)
    self.assertLen({tuple(mesh.values()) for mesh in meshes}, len(meshes))
    for mesh in meshes:
      self.assertEqual(math.prod(mesh.values()), devices)
      self.assertEqual(4 % mesh["tensor"], 0)

  def test_where_documents_are_few_their_rows_are_split(self):
    meshes = sweep.candidate_meshes(8, 4, made_up({}) | {"documents_wanted": 1})
    self.assertEqual(meshes[0]["sequence"] * meshes[0]["tensor"], 8)
    meshes = sweep.candidate_meshes(8, 4, made_up({}) | {"documents_wanted": 8})
    self.assertEqual(meshes[0]["data"], 8)

  def _sweep(self, cost):
    """`cost(mesh, remat)` -> (seconds, memory), or a UserError."""
    config = ml_collections.ConfigDict(
      {
        "mesh": {"data": 8, "fsdp": 1, "tensor": 1, "sequence": 1},
        "model": {"remat": "none", "num_heads": 4},
      }
    )

    def planned(config):
      seconds, memory = cost(config.mesh, config.model.remat)
      return made_up(config.mesh, config.model.remat, seconds=seconds, memory=memory)

    said = []
    plan = sweep.find_best(config, planned, said.append)
    self.assertEqual(config.mesh.data, 8)  # the caller's own is left alone
    self.assertLen(said, len(plan["sweep"]) + len(plan["sweep_failures"]))
    return plan

  def test_the_fastest_that_fits_is_found(self):
    def cost(mesh, remat):
      if mesh.tensor > 1:
        raise UserError("does not divide")
      return 1 + (mesh.fsdp > 1) + (remat != "none"), 20 // mesh.fsdp

    plan = self._sweep(cost)
    self.assertGreater(plan["mesh"]["fsdp"], 1)
    self.assertEqual((plan["remat"], plan["fits"]), ("none", True))
    self.assertNotEmpty(plan["sweep_failures"])
    for row in plan["sweep"]:
      self.assertTrue(not row["fits"] or row["roofline_seconds"] >= plan["roofline_seconds"])

  def test_rematerialisation_where_nothing_fits_without(self):
    memory = {"none": 40, "dots": 30, "full": 15}
    plan = self._sweep(lambda mesh, remat: (1.0, memory[remat]))
    self.assertEqual((plan["remat"], plan["fits"]), ("full", True))

  def test_where_the_compiler_finds_it_too_large_everything_is_recomputed(self):
    def cost(mesh, remat):
      if remat != "full":
        raise UserError("the train step does not fit")
      return 1.0, 10

    plan = self._sweep(cost)
    self.assertEqual((plan["remat"], plan["fits"]), ("full", True))
    with self.assertRaisesRegex(UserError, "never compiles"):
      self._sweep(mock.Mock(side_effect=UserError("never compiles")))

  def test_blanks_are_no_documents(self):
    full = made_up({}, seconds=1.0)
    blank = made_up({}, seconds=1.5, documents=16)
    self.assertGreater(blank["tokens_per_second"], full["tokens_per_second"])
    self.assertIs(sweep.choose([blank, full]), full)


class ReasonTest(parameterized.TestCase):
  @parameterized.parameters(
    ("a\nconfig.mesh: no\n", 2, "^config.mesh: no$"),
    (
      "Traceback\njax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED: Used 120G of 95G hbm.\n---\nFor more",
      1,
      "^the train step does not fit: RESOURCE_EXHAUSTED: Used 120G of 95G hbm.; use more devices",
    ),
    ("Traceback\nValueError: odd\n-----\nFor simplicity, JAX has", 1, "compile: ValueError: odd$"),
    ("", -9, "ended with status -9"),
  )
  def test_what_the_other_process_said_is_one_line(self, log, status, message):
    reason = compiler._reason(log, status)
    self.assertRegex(reason, message)
    self.assertNotIn("\n", reason)


class RunTest(parameterized.TestCase):
  def test_buckets(self):
    config = load_config(CONFIG)
    self.assertEqual(run.parse_bucket(config, ""), (8, 80))
    self.assertEqual(run.parse_bucket(config, "136x1216"), (136, 1216))
    for text in ("136", "0x80", "8x80x3", "large"):
      with self.assertRaisesRegex(UserError, f"^--bucket={text}: .* such as 8x80$"):
        run.parse_bucket(config, text)

  def test_where_the_plan_is_written(self):
    with tempfile.TemporaryDirectory() as folder:
      for output, expected in (("a/b.json", "a/b.json"), ("c", "c/plan.json")):
        path = run.write_plan({"chips": 3}, f"{folder}/{output}")
        self.assertEqual(path, pathlib.Path(folder, expected))
        self.assertEqual(json.loads(path.read_text()), {"chips": 3})
      pathlib.Path(folder, "file").write_text("")
      with self.assertRaisesRegex(UserError, "file/plan.json cannot be written"):
        run.write_plan({}, f"{folder}/file")

  def test_what_does_not_fit_is_said_plainly(self):
    plan = json.loads(scaling.RESULTS.read_text())["size/base/v5e"]
    self.assertIn(": fits;", report.format_plan(plan))
    plan |= {"fits": False, "memory_bytes_per_chip": 2 * plan["memory_limit_bytes"]}
    self.assertRegex(report.format_plan(plan), r"32\.00 GB of 16\.00 GB \(200%\): DOES NOT FIT;")
    plan |= {"roofline_seconds": None, "memory_limit_bytes": None, "fits": None}
    self.assertIn("no peaks are known", report.format_plan(plan))

  @parameterized.parameters(
    (["--mode=plan"], "--config is missing"),
    (["--mode=train", "--sweep"], "--sweep has no meaning with --mode=train"),
  )
  def test_flags(self, arguments, message):
    workdir = tempfile.mkdtemp()
    status, out, err = tiny_config.run_main(f"--workdir={workdir}", *arguments)
    self.assertEqual((status, out), (2, ""))
    self.assertIn(message, err)


class DocumentTest(parameterized.TestCase):
  """docs/scaling.md and the headers of configs say what plan mode said."""

  def setUp(self):
    super().setUp()
    self.results = json.loads(scaling.RESULTS.read_text())

  def rewritten(self, path, made):
    """The text of a file after its tables are written."""
    copy = pathlib.Path(self.create_tempdir(), path.name)
    copy.write_text(path.read_text())
    scaling_tables.write_tables(copy, made)
    return copy.read_text()

  def test_the_tables_are_those_of_the_plans(self):
    self.assertEqual(self.results.keys(), scaling.make_rows().keys())
    for name, plan in self.results.items():
      self.assertEqual(plan["command"], scaling.make_rows()[name].command)
    made = scaling_tables.tables(self.results)
    self.assertEqual(self.rewritten(scaling.DOCUMENT, made), scaling.DOCUMENT.read_text())
    with self.assertRaisesRegex(UserError, "no place for the table 'other'"):
      self.rewritten(scaling.DOCUMENT, {"other": ""})

  def test_the_headers_of_the_configs_have_them_too(self):
    made = scaling_tables.header_tables(self.results)
    for path in scaling.HEADERS:
      self.assertEqual(self.rewritten(path, made), path.read_text())
      self.assertIn(f"--mode=plan --config=configs/{path.name}:SIZE --topology=", path.read_text())
    # A row fewer, none, or a row with more flags leave a header that can be read.
    self.assertIn("TOPOLOGY", scaling_tables.header_tables({})["plans"])
    row = dict(self.results["size/base/v5e"])
    row["command"] += " --config.model.remat=full"
    lines = scaling_tables.header_tables({"long/base/v5e": row})["plans"].splitlines()
    self.assertLen(lines, 3)
    self.assertEqual(lines[2], "    base v5e:4x4: with --config.model.remat=full")

  @parameterized.parameters("small", "base", "large", "xl", "base,128k")
  def test_a_plan_of_pubmed_is_one_of_arxiv(self, size):
    arxiv, pubmed = (flatten(load_config(f"{path}:{size}", ())) for path in scaling.HEADERS)
    self.assertEqual({key for key in arxiv if arxiv[key] != pubmed[key]}, {"data.name"})

  def test_every_command_is_understood(self):
    for name, row in scaling.make_rows().items():
      plan = self.results[name]
      with mock.patch.object(run, "plan_config", return_value=plan) as planned:
        status, _, err = tiny_config.run_main(*row.command.split(" "))
      self.assertEqual(status, 0, f"{name}: {err}")
      config, asked = planned.call_args.args[0], planned.call_args.kwargs
      self.assertEqual(config.train.num_steps, plan["num_steps"])
      self.assertEqual(asked["topology"].chips, plan["chips"])
      self.assertEqual(list(run.parse_bucket(config, asked["bucket"])), plan["bucket"])

  def test_the_aims_that_are_said_to_be_reached_are(self):
    plans = self.results
    base = plans["size/base/v5e"]
    self.assertEqual((base["topology"], base["bucket"]), ("v5e:4x4", [136, 1216]))
    self.assertGreaterEqual(base["documents"], base["chips"])
    self.assertLess(base["memory_bytes_per_chip"], 0.8 * base["memory_limit_bytes"])
    for name, plan in plans.items():
      self.assertTrue(plan["fits"], name)
    for axis in ("data", "fsdp"):
      few, many = plans[f"weak/{axis}/8"], plans[f"weak/{axis}/256"]
      growth = many["collective_bytes_per_chip"] / few["collective_bytes_per_chip"]
      self.assertLess(growth, 1.05, axis)


if __name__ == "__main__":
  absltest.main()
