"""Plans of a tiny model, compiled: for eight CPU devices, and for a TPU slice.

Skipped for the TPU without libtpu.
"""

import functools
import json
import math
import pathlib
import tempfile
import types

from absl.testing import absltest
import jax

from benchmarks.tpu_floor import floors
from htmtl_jax.ahead_of_time import lower_train_step
from htmtl_jax.config import get_frozen, load_config
from htmtl_jax.experiment import make_experiment
from htmtl_jax.layout import LayoutConfig, make_bucket
from htmtl_jax.models.config import ModelConfig
from htmtl_jax.plan.child import bytes_on_a_device
from htmtl_jax.plan.libtpu import libtpu_version
from htmtl_jax.sharding import MeshConfig, make_mesh
from tests import tiny_config

KEYS = (
  "topology", "chips", "fits", "memory_bytes_per_chip", "memory_limit_bytes", "useful_flops",
  "compiled_flops", "bytes_accessed", "collective_bytes_per_chip", "roofline_seconds",
  "tokens_per_second", "mfu",
)  # fmt: skip
CHANGES = ("train.accumulate=1", "model.dropout=0", "model.decoder_layers=1")


def run_plan(*flags) -> tuple[int, str, str]:
  overrides = [f"--config.{change}" for change in CHANGES]
  return tiny_config.run_main("--mode=plan", f"--config={tiny_config.PATH}", *overrides, *flags)


@functools.cache
def plan_on_cpus():
  """(plan.json, standard output) of eight CPU devices, data parallel."""
  with tempfile.TemporaryDirectory() as folder:
    status, out, err = run_plan("--topology=cpu:8", f"--workdir={folder}")
    assert status == 0, err
    return json.loads(pathlib.Path(folder, "plan.json").read_text()), out


@functools.cache
def lowered(documents):
  """The step of some documents on one device, traced here."""
  config = load_config(tiny_config.PATH, CHANGES)
  bucket = make_bucket(get_frozen(config.layout, LayoutConfig, "layout"), 8, 80)
  step = lower_train_step(config, bucket, documents, make_mesh(MeshConfig(), jax.devices()[:1]))
  return config, bucket, step


class CpuTest(absltest.TestCase):
  def test_the_plan_has_its_keys_and_is_printed(self):
    plan, out = plan_on_cpus()
    self.assertContainsSubset(KEYS, plan)
    self.assertEqual((plan["topology"], plan["chips"], plan["documents"]), ("cpu:8", 8, 8))
    self.assertEmpty(plan["not_counted"])
    for name in ("fits", "memory_limit_bytes", "roofline_seconds", "mfu"):
      self.assertIsNone(plan[name])  # nothing is known of these CPUs
    self.assertIn("data=8", out)
    self.assertIn("8 documents of 256 tokens (8 rows) and 80 target tokens", out)

  def test_useful_flops(self):
    plan, _ = plan_on_cpus()
    config, bucket, step = lowered(8)
    self.assertEqual(plan["useful_flops"], step.useful_flops)
    by_hand = floors(
      get_frozen(config.model, ModelConfig, "model"),
      bucket, 8, config.tokenizer.vocab_size, step.parameters,
    )  # fmt: skip
    self.assertBetween(sum(floor.flops for floor in by_hand) / plan["useful_flops"], 0.8, 1.0)
    self.assertBetween(plan["compiled_flops"] / plan["useful_flops"], 0.9, 1.2)

  def test_memory_of_the_state_is_exact(self):
    plan, _ = plan_on_cpus()
    parameters = lowered(8)[2].parameters
    kinds = plan["memory_by_kind"]
    self.assertEqual(kinds["parameters"], 4 * parameters)
    # Two moments, the optimiser's and the schedule's count, the step.
    self.assertEqual(kinds["optimizer"], 8 * parameters + 3 * 4)
    self.assertEqual(sum(kinds.values()), plan["memory_bytes_per_chip"])

  def test_data_parallel_training_reduces_its_gradients_and_nothing_else(self):
    plan, _ = plan_on_cpus()
    self.assertEqual(list(plan["collectives"]), ["all-reduce"])
    gradients = plan["memory_by_kind"]["parameters"]
    table = 4 * 640 * 16  # vocabulary, rounded up, times width
    # The table has three uses (source, targets, generator), whose gradients XLA reduces one by one.
    self.assertBetween(plan["collective_bytes_per_chip"], gradients, gradients + 2 * table + 1024)
    ring = 2 * 7 / 8 * plan["collective_bytes_per_chip"]
    self.assertAlmostEqual(plan["sent_bytes_per_chip"], ring, delta=10)

  def test_a_mesh_that_does_not_divide_is_refused_in_one_line(self):
    status, out, err = run_plan("--topology=cpu:2", "--config.mesh.data=3")
    self.assertEqual((status, out), (2, ""))
    self.assertRegex(
      err.splitlines()[-1],
      "^htmtl_jax: error: config.mesh: data=3 needs 3 devices, but there are 2; change",
    )


class ShardedMemoryTest(absltest.TestCase):
  def test_slices_are_a_quarter_of_all_but_the_tables_of_positions(self):
    config = load_config(tiny_config.PATH, ("mesh.data=2", "mesh.fsdp=4"))
    tokenizer = types.SimpleNamespace(vocab_size=config.tokenizer.vocab_size)
    _, _, state = make_experiment(config, tokenizer).make_state()
    expected = 0
    for path, array in jax.tree_util.tree_leaves_with_path(state.params):
      whole = any(name in str(path) for name in ("position", "length")) or array.size == 1
      expected += 4 * math.prod(array.shape) // (1 if whole else 4)
    self.assertEqual(bytes_on_a_device(state.params), expected)


class TpuTest(absltest.TestCase):
  def test_a_slice_of_four_chips(self):
    if libtpu_version() is None:
      self.skipTest("libtpu is not installed (launch/env.sh test)")
    with tempfile.TemporaryDirectory() as folder:
      status, out, err = run_plan(
        "--topology=v5e:2x2", "--config.mesh.data=1", "--config.mesh.fsdp=4",
        f"--output={folder}/p.json",
      )  # fmt: skip
      self.assertEqual(status, 0, err)
      plan = json.loads(pathlib.Path(folder, "p.json").read_text())
    self.assertTrue(plan["fits"])
    self.assertEqual(plan["memory_limit_bytes"], 16e9)
    self.assertEqual(sum(plan["memory_by_kind"].values()), plan["memory_bytes_per_chip"])
    self.assertEqual(plan["useful_flops"], lowered(plan["documents"])[2].useful_flops)
    self.assertBetween(plan["compiled_flops"] / plan["useful_flops"], 0.9, 1.3)
    self.assertIn("all-gather", plan["collectives"])  # of the slices of parameters
    self.assertEmpty(plan["not_counted"])
    slower = max(plan["arithmetic_seconds"], plan["memory_seconds"])
    self.assertEqual(plan["roofline_seconds"], slower + plan["interconnect_seconds"])
    self.assertIn("v5e:2x2, 4 chips", out)


if __name__ == "__main__":
  absltest.main()
