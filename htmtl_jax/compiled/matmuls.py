"""FLOPs of the instructions that multiply matrices: dots, convolutions, library calls.

TPUs have no dot: XLA turns each into a convolution, a batch of matmuls into one with a
window as large as the batch whose other places fall on padding or between dilated inputs.
Only products of two real numbers count, so that both ways of writing cost the same.
"""

import functools
import json
import math
import re

from htmtl_jax.compiled.text import Computation, Instruction

_PASSES = {"highest": 6, "high": 3}  # bfloat16 products that stand in for a float32 one on a TPU
_LIBRARY = ("__cublas$gemm", "__cublas$lt$matmul", "__onednn$matmul")
_KERNELS = ("tpu_custom_call", "mosaic", "triton", "__cudnn", "__cublas", "__onednn")


def matmul_flops(computation: Computation, instruction: Instruction) -> int | None:
  """Multiplications and additions of one instruction, 0 for other ones, None where unknown."""
  operand = lambda i: computation.instructions[instruction.operands[i]].arrays[0]
  if instruction.opcode == "dot":
    contracted = _numbers(instruction.attribute("lhs_contracting_dims"))
    return 2 * instruction.arrays[0].elements * _product(operand(0).shape, contracted)
  if instruction.opcode == "convolution":
    return _convolution_flops(instruction, operand(0).shape, operand(1).shape)
  if instruction.opcode == "custom-call":
    target = custom_call_target(instruction)
    if any(name in target for name in _LIBRARY):
      found = re.search(r'"lhs_contracting_dimensions":\[([^\]]*)\]', instruction.attributes)
      if not found:
        return None
      contracted = _numbers(found.group(1).replace('"', ""))
      return 2 * instruction.arrays[0].elements * _product(operand(0).shape, contracted)
    if any(name in target for name in _KERNELS):
      return estimated(instruction).get("flops")
  return 0


def passes(instruction: Instruction) -> int:
  """How many bfloat16 products a TPU makes of each product, by the precision asked for."""
  precision = instruction.attribute("operand_precision") or ""
  return max(
    (n for name, n in _PASSES.items() if name in precision.strip("{}").split(",")), default=1
  )


def custom_call_target(instruction: Instruction) -> str:
  found = re.search(r'custom_call_target="([^"]*)"', instruction.attributes)
  return found.group(1) if found else ""


def estimated(instruction: Instruction) -> dict[str, int]:
  """The cost that a kernel's author wrote down (Pallas' `CostEstimate`), {} where none is."""
  found = re.search(r'"cost_estimate":(\{[^}]*\})', instruction.attributes.replace('\\"', '"'))
  if not found:
    return {}
  return {name: int(value) for name, value in json.loads(found.group(1)).items()}


def _convolution_flops(instruction: Instruction, lhs, rhs) -> int:
  labels = instruction.attribute("dim_labels")
  inputs, rest = labels.split("_")
  kernel, output = rest.split("->")
  window = _window(instruction, sum(c.isdigit() for c in inputs))
  groups = int(instruction.attribute("feature_group_count") or 1)
  batches = int(instruction.attribute("batch_group_count") or 1)
  result = instruction.arrays[0].shape
  places = 1
  for i, (stride, low, lhs_dilate, rhs_dilate) in enumerate(window):
    axis = str(i)
    places *= _real_places(
      lhs[inputs.index(axis)],
      rhs[kernel.index(axis)],
      result[output.index(axis)],
      stride,
      low,
      lhs_dilate,
      rhs_dilate,
    )
  features = lhs[inputs.index("f")] // groups * result[output.index("f")]
  return 2 * places * features * (lhs[inputs.index("b")] // batches)


def _window(instruction: Instruction, rank: int):
  """(stride, low padding, input dilation, kernel dilation) of each spatial dimension."""
  text = instruction.attribute("window") or "{}"
  fields = dict(part.split("=") for part in text.strip("{}").split())
  split = lambda name, default: fields[name].split("x") if name in fields else [default] * rank
  return [
    (int(stride), int(pad.split("_")[0]), int(lhs), int(rhs))
    for stride, pad, lhs, rhs in zip(
      split("stride", "1"),
      split("pad", "0_0"),
      split("lhs_dilate", "1"),
      split("rhs_dilate", "1"),
      strict=True,
    )
  ]


@functools.lru_cache(maxsize=None)
def _real_places(width, kernel, outputs, stride, low, lhs_dilate, rhs_dilate) -> int:
  """Pairs (output, kernel element) of one dimension that meet an input, not padding or a hole."""
  # The input met is (output * stride + element * rhs_dilate - low) / lhs_dilate.
  total = 0
  last = (width - 1) * lhs_dilate
  period = lhs_dilate // math.gcd(stride, lhs_dilate)
  for element in range(kernel):
    shift = element * rhs_dilate - low
    first_output = max(0, -(shift // stride))  # from here on the place is not negative
    last_output = min(outputs - 1, (last - shift) // stride)
    for output in range(first_output, min(first_output + period, last_output + 1)):
      if (output * stride + shift) % lhs_dilate == 0:
        total += (last_output - output) // period + 1
        break
  return total


def _numbers(text: str | None) -> tuple[int, ...]:
  return tuple(int(n) for n in (text or "").strip("{}").split(",") if n.strip())


def _product(shape, dims) -> int:
  return math.prod(shape[i] for i in dims)
