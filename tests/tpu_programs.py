"""Short programs in the text of the TPU compiler, written by hand for tests."""
# ruff: noqa: E501

MATMULS = """\
HloModule jit_f, is_scheduled=true

%fused (param_0: bf16[5,3,7,64], param_1: bf16[5,3,11,64]) -> f32[5,3,7,11] {
  %param_0 = bf16[5,3,7,64]{3,2,1,0:T(8,128)(2,1)} parameter(0)
  %param_1 = bf16[5,3,11,64]{3,2,1,0:T(8,128)(2,1)S(1)} parameter(1)
  ROOT %convolution.1 = f32[5,3,7,11]{3,2,1,0:T(8,128)} convolution(%param_0, %param_1), WINDOW, dim_labels=01bf_01oi->01bf, operand_precision={highest,highest}, metadata={op_name="jit(f)/attention/dot_general"}
}

ENTRY %main (a: bf16[5,3,7,64], b: bf16[5,3,11,64]) -> f32[5,3,7,11] {
  %a = bf16[5,3,7,64]{3,2,1,0:T(8,128)(2,1)} parameter(0)
  %b = bf16[5,3,11,64]{3,2,1,0:T(8,128)(2,1)S(1)} parameter(1)
  ROOT %fusion = f32[5,3,7,11]{3,2,1,0:T(8,128)} fusion(%a, %b), kind=kOutput, calls=%fused, backend_config={"window_config":{"estimated_cycles":"1234"}}
}
"""

KERNEL = """\
HloModule jit_f

ENTRY %main (a: f32[8,128]) -> f32[8,128] {
  %a = f32[8,128]{1,0:T(8,128)} parameter(0)
  ROOT %kernel = f32[8,128]{1,0:T(8,128)} custom-call(%a), custom_call_target="tpu_custom_call", backend_config={"custom_call_config":{"body":"AAAA"ESTIMATE}}
}
"""

# A loop of four runs that adds row i of %table, brought into the core's memory, to row i of a
# stack; before it a copy out of the core's memory.
LOOP = """\
HloModule jit_f, is_scheduled=true

%add_row (param_0: f32[4,8,128], param_1: f32[1,8,128], param_2: s32[]) -> f32[4,8,128] {
  %param_0 = f32[4,8,128]{2,1,0:T(8,128)} parameter(0)
  %param_1 = f32[1,8,128]{2,1,0:T(8,128)S(1)} parameter(1)
  %param_2 = s32[]{:T(128)} parameter(2)
  %zero = s32[]{:T(128)} constant(0)
  %old = f32[1,8,128]{2,1,0:T(8,128)} dynamic-slice(%param_0, %param_2, %zero, %zero), dynamic_slice_sizes={1,8,128}
  %new = f32[1,8,128]{2,1,0:T(8,128)} add(%old, %param_1)
  ROOT %update = f32[4,8,128]{2,1,0:T(8,128)} dynamic-update-slice(%param_0, %new, %param_2, %zero, %zero)
}

%body (state: (s32[], f32[4,8,128], f32[4,8,128])) -> (s32[], f32[4,8,128], f32[4,8,128]) {
  %state = (s32[]{:T(128)}, f32[4,8,128]{2,1,0:T(8,128)}, f32[4,8,128]{2,1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%state), index=0
  %stack = f32[4,8,128]{2,1,0:T(8,128)} get-tuple-element(%state), index=1
  %table = f32[4,8,128]{2,1,0:T(8,128)} get-tuple-element(%state), index=2
  %start = ((f32[4,8,128]{2,1,0:T(8,128)}), f32[1,8,128]{2,1,0:T(8,128)S(1)}, s32[]{:S(2)}) slice-start(%table), slice={[0:1], [0:8], [0:128]}
  %row = f32[1,8,128]{2,1,0:T(8,128)S(1)} slice-done(%start)
  %added = f32[4,8,128]{2,1,0:T(8,128)} fusion(%stack, %row, %i), kind=kLoop, calls=%add_row, metadata={op_name="jit(f)/jvp(Model)/Model.encode/encoder/stack/while/body/add"}, backend_config={"aliasing_operands":{"lists":[{"indices":["0","3"]}]}}
  %one = s32[]{:T(128)S(6)} constant(1)
  %next = s32[]{:T(128)S(6)} add(%i, %one)
  ROOT %result = (s32[]{:T(128)}, f32[4,8,128]{2,1,0:T(8,128)}, f32[4,8,128]{2,1,0:T(8,128)}) tuple(%next, %added, %table)
}

%condition (state.1: (s32[], f32[4,8,128], f32[4,8,128])) -> pred[] {
  %state.1 = (s32[]{:T(128)}, f32[4,8,128]{2,1,0:T(8,128)}, f32[4,8,128]{2,1,0:T(8,128)}) parameter(0)
  %limit = s32[]{:T(128)} constant(4)
  %i.1 = s32[]{:T(128)} get-tuple-element(%state.1), index=0
  ROOT %less = pred[]{:T(512)S(6)} compare(%i.1, %limit), direction=LT
}

ENTRY %main (a: f32[4,8,128], b: f32[4,8,128]) -> f32[4,8,128] {
  %a = f32[4,8,128]{2,1,0:T(8,128)} parameter(0)
  %b = f32[4,8,128]{2,1,0:T(8,128)S(1)} parameter(1)
  %first = s32[]{:T(128)S(6)} constant(0)
  %zeros = f32[4,8,128]{2,1,0:T(8,128)} custom-call(), custom_call_target="AllocateBuffer"
  %out = (f32[4,8,128]{2,1,0:T(8,128)}, f32[4,8,128]{2,1,0:T(8,128)S(1)}, u32[]{:S(2)}) copy-start(%b)
  %table.1 = f32[4,8,128]{2,1,0:T(8,128)} copy-done(%out)
  %begin = (s32[]{:T(128)}, f32[4,8,128]{2,1,0:T(8,128)}, f32[4,8,128]{2,1,0:T(8,128)}) tuple(%first, %zeros, %table.1)
  %loop = (s32[]{:T(128)}, f32[4,8,128]{2,1,0:T(8,128)}, f32[4,8,128]{2,1,0:T(8,128)}) while(%begin), condition=%condition, body=%body
  %sums = f32[4,8,128]{2,1,0:T(8,128)} get-tuple-element(%loop), index=1
  ROOT %scaled = f32[4,8,128]{2,1,0:T(8,128)} multiply(%sums, %a), metadata={op_name="jit(f)/jvp(Model)/decoder/layers/mlp/mul"}
}
"""

SCATTERED = """\
HloModule jit_f, num_partitions=8

%scattered (param_0: f32[16,8]) -> f32[4,8] {
  %param_0 = f32[16,8]{1,0:T(8,128)} parameter(0)
  %i = s32[] constant(0)
  %sum = f32[16,8]{1,0:T(8,128)} all-reduce(%param_0), channel_id=2, replica_groups=GROUPS, use_global_device_ids=true, to_apply=%add
  ROOT %slice = f32[4,8]{1,0:T(8,128)} dynamic-slice(%sum, %i, %i), dynamic_slice_sizes={4,8}
}

ENTRY %main (a: f32[16,8]) -> f32[4,8] {
  %a = f32[16,8]{1,0:T(8,128)} parameter(0)
  ROOT %fusion = f32[4,8]{1,0:T(8,128)} fusion(%a), kind=kCustom, calls=%scattered
}
"""

# Two arrays joined without moving, put in a tuple with a third, which alone is used later.
JOINED = """\
HloModule jit_f, is_scheduled=true

ENTRY %main (a: f32[8,128]) -> f32[32,128] {
  %a = f32[8,128]{1,0:T(8,128)S(1)} parameter(0)
  %x = f32[8,128]{1,0:T(8,128)} negate(%a)
  %y = f32[8,128]{1,0:T(8,128)} negate(%a)
  %z = f32[8,128]{1,0:T(8,128)} exponential(%a)
  %joined = f32[16,128]{1,0:T(8,128)} custom-call(%x, %y), custom_call_target="ConcatBitcast"
  %pair = (f32[16,128]{1,0:T(8,128)}, f32[8,128]{1,0:T(8,128)}) tuple(%joined, %z)
  %second = f32[8,128]{1,0:T(8,128)} get-tuple-element(%pair), index=1
  %wide = f32[32,128]{1,0:T(8,128)} pad(%second), padding=0_24x0_0
  ROOT %out = f32[32,128]{1,0:T(8,128)S(1)} negate(%wide)
}
"""

# Gradients of two weights, summed together; each device keeps its slice of both.
SCATTERED_TOGETHER = """\
HloModule jit_f, num_partitions=8

%scattered (param_0: bf16[16,8], param_1: bf16[8,24]) -> (bf16[2,8], bf16[8,3]) {
  %param_0 = bf16[16,8]{1,0:T(8,128)(2,1)} parameter(0)
  %param_1 = bf16[8,24]{1,0:T(8,128)(2,1)} parameter(1)
  %i = s32[] constant(0)
  %sums = (bf16[16,8]{1,0:T(8,128)(2,1)}, bf16[8,24]{1,0:T(8,128)(2,1)}) all-reduce(%param_0, %param_1), channel_id=1, replica_groups={{0,1,2,3,4,5,6,7}}, use_global_device_ids=true, to_apply=%add
  %first = bf16[16,8]{1,0:T(8,128)(2,1)} get-tuple-element(%sums), index=0
  %second = bf16[8,24]{1,0:T(8,128)(2,1)} get-tuple-element(%sums), index=1
  %slice.1 = bf16[2,8]{1,0:T(8,128)(2,1)} dynamic-slice(%first, %i, %i), dynamic_slice_sizes={2,8}
  %slice.2 = bf16[8,3]{1,0:T(8,128)(2,1)} dynamic-slice(%second, %i, %i), dynamic_slice_sizes={8,3}
  ROOT %both = (bf16[2,8]{1,0:T(8,128)(2,1)}, bf16[8,3]{1,0:T(8,128)(2,1)}) tuple(%slice.1, %slice.2)
}

ENTRY %main (a: bf16[16,8], b: bf16[8,24]) -> (bf16[2,8], bf16[8,3]) {
  %a = bf16[16,8]{1,0:T(8,128)(2,1)} parameter(0)
  %b = bf16[8,24]{1,0:T(8,128)(2,1)} parameter(1)
  ROOT %fusion = (bf16[2,8]{1,0:T(8,128)(2,1)}, bf16[8,3]{1,0:T(8,128)(2,1)}) fusion(%a, %b), kind=kCustom, calls=%scattered
}
"""

# One all-gather that runs beside an addition: it stands in the start, the addition, and the end.
BESIDE_OTHER_WORK = """\
HloModule jit_f, num_partitions=8

%start (param_0: f32[4,64]) -> (f32[4,64], f32[32,64], u32[]) {
  %param_0 = f32[4,64]{1,0:T(8,128)} parameter(0)
  %gather.1 = f32[32,64]{1,0:T(8,128)} all-gather(%param_0), channel_id=7, replica_groups={{0,1,2,3,4,5,6,7}}, dimensions={0}, frontend_attributes={chain_id="2"}
  ROOT %started = (f32[4,64]{1,0:T(8,128)}, f32[32,64]{1,0:T(8,128)}, u32[]{:S(2)}) custom-call(%gather.1), custom_call_target="AsyncCollectiveStart"
}

%async_collective_fusion (param_0.1: f32[4,64], param_1: f32[4,64]) -> (f32[4,64], f32[32,64]) {
  %param_0.1 = f32[4,64]{1,0:T(8,128)} parameter(0)
  %param_1 = f32[4,64]{1,0:T(8,128)} parameter(1)
  %work = f32[4,64]{1,0:T(8,128)} add(%param_1, %param_1)
  %gather.2 = f32[32,64]{1,0:T(8,128)} all-gather(%param_0.1), channel_id=7, replica_groups={{0,1,2,3,4,5,6,7}}, dimensions={0}, frontend_attributes={chain_id="2"}
  ROOT %both = (f32[4,64]{1,0:T(8,128)}, f32[32,64]{1,0:T(8,128)}) tuple(%work, %gather.2)
}

%end (param_0.2: f32[4,64]) -> f32[32,64] {
  %param_0.2 = f32[4,64]{1,0:T(8,128)} parameter(0)
  %gather.3 = f32[32,64]{1,0:T(8,128)} all-gather(%param_0.2), channel_id=7, replica_groups={{0,1,2,3,4,5,6,7}}, dimensions={0}, frontend_attributes={chain_id="2"}
  ROOT %ended = f32[32,64]{1,0:T(8,128)} custom-call(%gather.3), custom_call_target="AsyncCollectiveDone"
}

ENTRY %main (a: f32[4,64], b: f32[4,64]) -> f32[32,64] {
  %a = f32[4,64]{1,0:T(8,128)} parameter(0)
  %b = f32[4,64]{1,0:T(8,128)} parameter(1)
  %async-collective-start.2 = (f32[4,64]{1,0:T(8,128)}, f32[32,64]{1,0:T(8,128)}, u32[]{:S(2)}) fusion(%a), kind=kCustom, calls=%start
  %own = f32[4,64]{1,0:T(8,128)} get-tuple-element(%async-collective-start.2), index=0
  %piece = (f32[4,64]{1,0:T(8,128)}, f32[32,64]{1,0:T(8,128)}) fusion(%own, %b), kind=kCustom, calls=%async_collective_fusion
  ROOT %async-collective-done.2 = f32[32,64]{1,0:T(8,128)} fusion(%own), kind=kCustom, calls=%end
}
"""
