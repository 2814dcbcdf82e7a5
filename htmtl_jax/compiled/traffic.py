"""Bytes that an instruction moves to and from main memory.

Each instruction of a computation that is not fused into another reads its operands from
main memory and writes its result there, unless they lie in the core's own memory. What
only takes or puts a slice touches the slice, not the buffer it lies in. An operand is
counted as read once, however often a kernel comes back to it.
"""

import dataclasses

from htmtl_jax.compiled.matmuls import custom_call_target, estimated
from htmtl_jax.compiled.text import Computation, Instruction, Program

# They name, group or reinterpret buffers; nothing moves.
_FREE = frozenset(
  "parameter constant tuple get-tuple-element bitcast after-all opt-barrier domain partition-id "
  "replica-id copy-done slice-done async-done async-update add-dependency get-dimension-size "
  "all-reduce-done all-gather-done collective-permute-done send-done recv-done".split()
)
_FREE_TARGETS = frozenset(
  [
    "AllocateBuffer",
    "ConcatBitcast",
    "AssumeGatherIndicesInBound",
    "Sharding",
    "SPMDFullToShardShape",
  ]
)
_ELEMENTWISE = frozenset("bitcast convert copy reshape transpose negate".split())


@dataclasses.dataclass(frozen=True)
class Traffic:
  """Bytes read from and written to main memory."""

  read: int = 0
  written: int = 0

  @property
  def total(self) -> int:
    return self.read + self.written


def traffic(program: Program, computation: Computation, instruction: Instruction) -> Traffic:
  """What one instruction moves; for loops, calls and branches nothing, their bodies do."""
  opcode = instruction.opcode
  operands = [computation.instructions[name] for name in instruction.operands]
  if opcode in _FREE:
    return Traffic()
  if opcode == "custom-call":
    if custom_call_target(instruction) in _FREE_TARGETS:
      return Traffic()
    known = estimated(instruction).get("bytes_accessed")
    if known:
      return Traffic(read=known)
  if opcode in ("copy-start", "slice-start"):
    # The result of a copy is (to, from, context), that of a slice (from, to, context).
    to, source = instruction.arrays[:2] if opcode == "copy-start" else instruction.arrays[1::-1]
    size = min(to.bytes, source.bytes)
    return Traffic(size * source.in_main_memory, size * to.in_main_memory)
  if opcode == "fusion":
    return _fusion_traffic(program, operands, instruction)
  written = _stored(instruction.arrays)
  if opcode in ("dynamic-slice", "slice"):
    return Traffic(_at_most(instruction, operands[0]), written)
  if opcode == "gather":
    return Traffic(_at_most(instruction, operands[0]) + _stored(operands[1].arrays), written)
  if opcode == "dynamic-update-slice":
    return Traffic(_stored(operands[1].arrays), _at_most(operands[1], instruction))
  if opcode == "scatter":
    touched = _at_most(operands[2], instruction)
    return Traffic(touched + sum(_stored(o.arrays) for o in operands[1:]), touched)
  if opcode.endswith("-start"):
    # A collective's result holds its operands once more.
    read = sum(_stored(o.arrays) for o in operands)
    return Traffic(read, max(written - read, 0))
  return Traffic(
    sum(_stored(o.arrays) for o in operands if not _is_tuple(o)),
    written,
  )


def _is_tuple(instruction: Instruction) -> bool:
  return len(instruction.arrays) != 1


def _stored(arrays) -> int:
  return sum(a.bytes for a in arrays if a.in_main_memory)


def _at_most(part: Instruction, whole: Instruction) -> int:
  """Bytes of a part of `whole`, if that lies in main memory."""
  array = whole.arrays[0]
  return min(part.arrays[0].bytes, array.bytes) * array.in_main_memory


# ------------------------------------------------------------------ fusions


def _fusion_traffic(program: Program, operands, instruction: Instruction) -> Traffic:
  inner = program.computations[instruction.called("calls")[0]]
  results = _results(program, inner)
  updates = {}  # instructions that write into a buffer they were given
  written = 0
  for array, (computation, name) in zip(instruction.arrays, results):
    size = array.bytes
    update = _update_in_place(program, computation, name)
    if update is not None:
      updates[update.name] = update
      size = min(size, _update_bytes(computation, update))
    written += size * array.in_main_memory
  read = 0
  for number, operand in enumerate(operands):
    if _is_tuple(operand) or not operand.arrays[0].in_main_memory:
      continue
    read += _read_bytes(program, inner, inner.parameters[number], operand.arrays[0].bytes, updates)
  return Traffic(read, written)


def _results(program: Program, computation: Computation):
  """(computation, name) of what gives each result, fusions inside the fusion followed."""
  root = computation.instructions[computation.root]
  names = root.operands if root.opcode == "tuple" else (root.name,)
  return [_origin(program, computation, name) for name in names]


def _origin(program: Program, computation: Computation, name: str):
  instruction = computation.instructions[name]
  if instruction.opcode == "fusion" and len(instruction.arrays) == 1:
    inner = program.computations[instruction.called("calls")[0]]
    return _origin(program, inner, inner.root)
  if instruction.opcode == "bitcast":
    return _origin(program, computation, instruction.operands[0])
  return computation, name


def _update_in_place(program, computation: Computation, name: str) -> Instruction | None:
  """The instruction, if it puts a slice or a scatter into one of the fusion's operands."""
  instruction = computation.instructions[name]
  if instruction.opcode not in ("dynamic-update-slice", "scatter"):
    return None
  target = computation.instructions[instruction.operands[0]]
  while target.opcode in ("bitcast", "copy", "get-tuple-element"):
    target = computation.instructions[target.operands[0]]
  return instruction if target.opcode == "parameter" else None


def _update_bytes(computation: Computation, update: Instruction) -> int:
  operand = update.operands[2 if update.opcode == "scatter" else 1]
  return computation.instructions[operand].arrays[0].bytes


def _read_bytes(program, computation, name, size, updates) -> int:
  """How much of the value `name`, `size` bytes, its readers inside a fusion need."""
  total = 0
  for user in computation.users[name]:
    total += max(
      _needed(program, computation, user, place, size, updates)
      for place, operand in enumerate(user.operands)
      if operand == name
    )
    if total >= size:
      return size
  return total


def _needed(program, computation, user: Instruction, place: int, size: int, updates) -> int:
  if user.opcode in ("dynamic-slice", "slice", "gather") and place == 0:
    return user.arrays[0].bytes
  if user.name in updates and place == 0:
    # A slice is overwritten unseen, a scatter adds to what is there.
    return _update_bytes(computation, user) if user.opcode == "scatter" else 0
  if user.opcode == "fusion":
    inner = program.computations[user.called("calls")[0]]
    return _read_bytes(program, inner, inner.parameters[place], size, updates)
  if user.opcode in _ELEMENTWISE:
    if user.name == computation.root:
      return size
    return _read_bytes(program, computation, user.name, size, updates)
  if user.opcode == "tuple":
    return 0
  return size
