"""What ring attention sends, by formula and compiled; telling weights from other arrays."""

import json

from absl.testing import absltest
import jax

from benchmarks.ring_attention import AXIS, compile_ring, ring_bytes
from benchmarks.sequence_axis import RESULTS, ROWS, bytes_of_weights, table
from htmtl_jax.compiled.collectives import Collective
from htmtl_jax.compiled.costs import Cost, program_costs


class RingTest(absltest.TestCase):
  def test_the_formula_is_what_the_compiled_program_sends(self):
    mesh = jax.make_mesh((4,), (AXIS,), devices=jax.devices()[:4])
    costs = program_costs(compile_ring(mesh, tokens=64, heads=2, head_width=8, layers=5))
    expected = ring_bytes(tokens=64, width=16, layers=5, devices=4, item=4)
    self.assertEqual(costs.collective_bytes(), {"collective-permute": expected})
    self.assertEqual(expected, 5 * 3 * 3 * (2 * 16 * 16 * 4))


class WeightsTest(absltest.TestCase):
  def test_arrays_of_a_parameters_shape_are_told_apart(self):
    def cost(shapes, sent):
      return Cost(
        "c", "all-reduce", "", shapes, 1, 0, 0, (), (Collective("all-reduce", 0, sent),), 0
      )

    costs = [
      cost("bf16[1,16,8]@1, f32[24] <- bf16[1,16,8]", 600),  # 256 bytes of a weight, 96 of another
      cost("f32[8,3] <- f32[8,3]", 50),
      cost("f32[24]", 40),
    ]
    self.assertEqual(bytes_of_weights(costs, {(8, 16)}), round(600 * 256 / 352))
    self.assertEqual(bytes_of_weights(costs, {(8, 16), (24,), (3, 8)}), 690)


class CommittedTest(absltest.TestCase):
  def test_less_than_a_twentieth_of_ring_attention(self):
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    self.assertLen(results, len(ROWS))
    for row in results.values():
      self.assertEmpty(row["not_counted"])
      self.assertLess(row["sent"] - row["sent_for_weights"], 0.05 * row["ring"])
    self.assertLen(table(results.values()).splitlines(), 2 + len(results))


if __name__ == "__main__":
  absltest.main()
