"""What only TPU programs write, in short texts of our own with answers worked out by hand.

That real ones are read so too is checked with the TPU compiler, in
`benchmarks_tpu_ruler_test.py`.
"""

from absl.testing import absltest, parameterized

from htmtl_jax.compiled.arrays import parse_arrays
from htmtl_jax.compiled.costs import program_costs
from htmtl_jax.compiled.memory import memory_use
from htmtl_jax.compiled.parts import BACKWARD, FORWARD, RECOMPUTED, by_part, direction_of, part_of
from htmtl_jax.compiled.text import parse_program
from tests.tpu_programs import (
  BESIDE_OTHER_WORK,
  JOINED,
  KERNEL,
  LOOP,
  MATMULS,
  SCATTERED,
  SCATTERED_TOGETHER,
)


class ArraysTest(parameterized.TestCase):
  @parameterized.parameters(
    ("f32[16,256]{1,0}", 16 * 256 * 4, 0),
    ("f32[16,256]{1,0:T(8,128)}", 16 * 256 * 4, 0),
    ("bf16[3,100]{1,0:T(8,128)(2,1)}", 8 * 128 * 2, 0),  # 3 rows fill a tile of 8
    ("bf16[3,100]{0,1:T(8,128)(2,1)}", 104 * 128 * 2, 0),  # lying down: 100 rows of 3
    ("f32[2,5,8]{2,1,0:T(8,128)}", 2 * 8 * 128 * 4, 0),
    ("f32[300]{0:T(256)}", 512 * 4, 0),
    ("s32[]{:T(128)S(6)}", 128 * 4, 6),
    ("pred[7,9]{1,0:T(8,128)(4,1)S(1)}", 8 * 128, 1),
    ("u4[8]{0}", 4, 0),
    ("f8e4m3fn[8]{0}", 8, 0),
  )
  def test_tiles_are_filled_up(self, text, size, space):
    (array,) = parse_arrays(text)
    self.assertEqual(array.bytes, size)
    self.assertEqual(array.space, space)

  def test_tuples_are_flattened(self):
    arrays = parse_arrays("((f32[2]{0}), bf16[3,4]{1,0:T(8,128)(2,1)}, u32[]{:S(2)})")
    self.assertEqual([array.shape for array in arrays], [(2,), (3, 4), ()])


class MatmulTest(parameterized.TestCase):
  @parameterized.parameters(
    "window={size=5x3 stride=4x2 lhs_dilate=5x3}",
    "window={size=5x3 stride=5x3 pad=4_4x2_2 lhs_dilate=4x2 rhs_reversal=1x1}",
  )
  def test_a_batch_of_matmuls_written_as_a_convolution(self, window):
    costs = program_costs(MATMULS.replace("WINDOW", window))
    self.assertEqual(costs.flops, 2 * 5 * 3 * 7 * 11 * 64)
    self.assertEqual(costs.pass_flops, 6 * costs.flops)
    self.assertEqual(costs.cycles, 1234)

  def test_what_lies_in_the_cores_memory_moves_nothing(self):
    costs = program_costs(MATMULS.replace("WINDOW", "window={size=5x3 stride=4x2 lhs_dilate=5x3}"))
    (cost,) = costs.costs
    self.assertEqual(cost.read, 5 * 3 * 8 * 128 * 2)  # %a; %b lies in memory space 1
    self.assertEqual(cost.written, 5 * 3 * 8 * 128 * 4)


class KernelTest(absltest.TestCase):
  def test_a_kernel_costs_what_its_author_wrote_down(self):
    estimate = ',"cost_estimate":{"flops":"77","transcendentals":"5","bytes_accessed":"99"}'
    costs = program_costs(KERNEL.replace("ESTIMATE", estimate))
    self.assertEqual((costs.flops, costs.bytes_accessed), (77, 99))
    self.assertEmpty(costs.not_counted)

  def test_a_kernel_without_an_estimate_is_named(self):
    costs = program_costs(KERNEL.replace("ESTIMATE", ""))
    self.assertEqual((costs.flops, costs.bytes_accessed), (0, 2 * 8 * 128 * 4))
    self.assertRegex(" ".join(costs.not_counted), "tpu_custom_call unknown")


ROW = 8 * 128 * 4


class LoopTest(absltest.TestCase):
  def test_slices_and_copies_between_memories(self):
    costs = {cost.name: cost for cost in program_costs(LOOP).costs}
    moved = {name: (cost.read, cost.written) for name, cost in costs.items()}
    self.assertEqual(moved["out"], (0, 4 * ROW))
    self.assertEqual(moved["start"], (4 * ROW, 0))  # a row in each run
    counter = 4 * 128 * 4
    self.assertEqual(moved["added"], (4 * ROW + counter, 4 * ROW))
    self.assertEqual(moved["scaled"], (8 * ROW, 4 * ROW))
    self.assertNotIn("zeros", moved)

  def test_names_of_what_has_none(self):
    costs = {cost.name: cost for cost in program_costs(LOOP).costs}
    self.assertEqual(part_of(costs["start"].op_name), "encoder")
    self.assertEqual(part_of(costs["scaled"].op_name), "decoder/mlp")

  def test_memory_is_what_is_alive_at_the_worst_moment(self):
    memory = memory_use(parse_program(LOOP))
    self.assertEqual(memory.arguments, 4 * ROW)  # %b is not in main memory
    self.assertEqual(memory.results, 4 * ROW)
    # The stack and the table; the fusion writes over the stack, the rows are elsewhere.
    self.assertEqual(memory.temporaries, 8 * ROW)
    self.assertEqual([buffer.name for buffer in memory.at_peak], ["out", "zeros"])
    self.assertEqual(part_of(memory.at_peak[1].op_name), "encoder")

  def test_arrays_joined_without_moving_live_as_long_as_the_whole(self):
    memory = memory_use(parse_program(JOINED))
    self.assertEqual(memory.temporaries, 5 * ROW)  # %z and %wide; %x and %y are over
    self.assertEqual(memory.where, "wide")
    later = JOINED.replace("negate(%wide)", "negate(%joined)")
    self.assertEqual(memory_use(parse_program(later)).temporaries, 7 * ROW)

  def test_a_result_over_an_input_takes_no_memory_of_its_own(self):
    aliased = "input_output_alias={ {}: (0, {}, may-alias) }, entry_computation_layout"
    memory = memory_use(parse_program(LOOP.replace("is_scheduled=true", aliased, 1)))
    self.assertEqual(memory.results, 0)


class CollectivesTest(parameterized.TestCase):
  @parameterized.parameters(
    ("{{0,1,2,3},{4,5,6,7}}", 4),
    ("[2,4]<=[8]", 4),
    ("mesh['axis_0'=2,'axis_1'=4] {'axis_1'}", 4),
    ("mesh['axis_0'=2,'axis_1'=4], device_ids=([4,2]T(1,0)) {'axis_0'}", 2),
    ("mesh['axis_0'=8] {'axis_0':(1)2}", 2),
    ("{}", 8),
  )
  def test_a_reduce_scatter_as_a_tpu_writes_it(self, groups, size):
    costs = program_costs(SCATTERED.replace("GROUPS", groups))
    self.assertEqual(costs.collective_bytes(), {"reduce-scatter": 16 * 8 * 4})
    self.assertEqual(costs.sent_bytes(), 16 * 8 * 4 * (size - 1) // size)

  def test_a_reduce_scatter_of_several_arrays(self):
    costs = program_costs(SCATTERED_TOGETHER)
    size = 2 * (16 * 8 + 8 * 24)
    self.assertEqual(costs.collective_bytes(), {"reduce-scatter": size})
    self.assertEqual(costs.sent_bytes(), size * 7 // 8)

  def test_a_collective_beside_other_work_counts_once(self):
    costs = program_costs(BESIDE_OTHER_WORK)
    self.assertEqual(costs.collective_bytes(), {"all-gather": 32 * 64 * 4})
    self.assertEqual(costs.sent_bytes(), 28 * 64 * 4)


class PartsTest(parameterized.TestCase):
  @parameterized.parameters(
    (
      "jit(step)/transpose(jvp(Htmtl))/Htmtl.encode/encoder/sentence_transformer/stack/while/body/"
      "closed_call/layers.<lambda>/layers/mlp/wide/dot_general",
      "encoder/sentence_transformer/mlp",
      BACKWARD,
    ),
    (
      "jit(step)/jvp(Htmtl)/Htmtl.score_targets/decoder/stack_0/last_layer.with_scores/"
      "cross_attention.with_scores/while/body/closed_call/bhqm,bmhe->bqhe/dot_general",
      "decoder/last_layer/cross_attention",
      FORWARD,
    ),
    (
      "jit(step)/transpose(jvp(Htmtl))/decoder/cross_attention/while/body/closed_call/checkpoint/"
      "rematted_computation/reduce_sum",
      "decoder/cross_attention",
      RECOMPUTED,
    ),
    ("jit(step)/decoder/cross_attention/computed_twice/dot", "decoder/cross_attention", RECOMPUTED),
    ("jit(step)/jvp(Htmtl)/Htmtl.embed/jit(_take)/gather", "embed", FORWARD),
    ("jit(step)/transpose(jvp(losses))/vmap(jit(_where))/mul", "losses", BACKWARD),
    ("jit(step)/optimizer/mul;jit(step)/other/add", "optimizer", FORWARD),
    ("jit(step)/mul", "(no module)", FORWARD),
    ("", "(no module)", FORWARD),
  )
  def test_parts_and_directions(self, op_name, part, direction):
    self.assertEqual(part_of(op_name), part)
    self.assertEqual(direction_of(op_name), direction)

  def test_parts_add_up_to_the_program(self):
    costs = program_costs(LOOP)
    parts = by_part(costs)
    self.assertEqual(sum(part.bytes for part in parts.values()), costs.bytes_accessed)
    self.assertEqual(list(parts)[0], max(parts, key=lambda name: parts[name].bytes))


if __name__ == "__main__":
  absltest.main()
