"""How much main memory a compiled program's arrays take at their most, and which they are.

The instructions of a compiled program stand in the order they run, so it can be followed
which arrays are alive when. The total is what XLA calls `peak_memory_in_bytes`. What it allocates
(`temp_size_in_bytes`) also holds the gaps between arrays, and is known only when the program
has been compiled to the end, which takes ten times as long.
"""

import collections
import dataclasses
import itertools
import re

from htmtl_jax.compiled.origins import origin
from htmtl_jax.compiled.text import Computation, Instruction, Program

_SHARED = re.compile(r'\{"indices":\["(\d+)","(\d+)"\]\}')
_ALIAS = re.compile(r"\{([\d, ]*)\}: \((\d+), \{[\d, ]*\}, (?:may|must)-alias\)")
# What they give is (part of) what they were given.
_SAME = frozenset(
  "bitcast copy-done slice-done async-done async-update opt-barrier after-all add-dependency "
  "all-reduce-done all-gather-done collective-permute-done domain".split()
)


@dataclasses.dataclass(frozen=True)
class Buffer:
  """An array in main memory.

  Attributes: name of the instruction that made it, shape, bytes, op_name of where it comes from.
  """

  name: str
  shape: str
  bytes: int
  op_name: str


@dataclasses.dataclass(frozen=True)
class MemoryUse:
  """Bytes of main memory.

  Attributes:
    arguments: of the program's inputs.
    results: of its outputs, those left out that are written over inputs.
    temporaries: of everything else alive at the worst moment.
    at_peak: the arrays among the temporaries at that moment, the largest first.
    where: the instruction then running.
  """

  arguments: int
  results: int
  temporaries: int
  at_peak: tuple[Buffer, ...]
  where: str

  @property
  def total(self) -> int:
    return self.arguments + self.results + self.temporaries


def memory_use(program: Program) -> MemoryUse:
  """Follows the arrays of a scheduled program from one instruction to the next."""
  entry = program.computations[program.entry]
  parameters = [entry.instructions[name] for name in entry.parameters.values()]
  arguments = sum(a.bytes for p in parameters for a in p.arrays if a.in_main_memory)
  root = entry.instructions[entry.root]
  overwritten = {
    int(m.group(1) or 0) for m in _ALIAS.finditer(program.header.partition("entry_computation")[0])
  }
  results = sum(
    a.bytes for i, a in enumerate(root.arrays) if a.in_main_memory and i not in overwritten
  )
  temporaries, at_peak, where = _Liveness(program).peak(entry)
  at_peak = sorted(at_peak, key=lambda b: (-b.bytes, b.name))
  return MemoryUse(arguments, results, temporaries, tuple(at_peak), where)


class _Liveness:
  """The worst moment of each computation, counted once."""

  def __init__(self, program: Program):
    self._program = program
    self._peaks = {}

  def peak(self, computation: Computation) -> tuple[int, list[Buffer], str]:
    """(bytes, buffers, instruction) of what a computation itself allocates, at the worst moment.

    Its parameters and its result belong to whoever calls it.
    """
    if computation.name not in self._peaks:
      self._peaks[computation.name] = self._follow(computation)
    return self._peaks[computation.name]

  def _follow(self, computation: Computation):
    values = {}  # of each instruction: the buffers of each of its arrays
    sizes = {}
    for instruction in computation.instructions.values():
      values[instruction.name] = self._leaves(computation, instruction, values, sizes)
    order = list(computation.instructions.values())
    last_use = {}
    for time, instruction in enumerate(order):
      read = values[instruction.name]
      if instruction.opcode != "get-tuple-element":  # that reads one array of many
        read = read + [buffers for name in instruction.operands for buffers in values[name]]
      for buffer in itertools.chain.from_iterable(read):
        last_use[buffer] = time
    outside = set(itertools.chain.from_iterable(values[computation.root]))
    ends = collections.defaultdict(list)
    for buffer, time in last_use.items():
      ends[time].append(buffer)

    alive, total = {}, 0
    worst = (0, [], "")
    for time, instruction in enumerate(order):
      for buffer in itertools.chain.from_iterable(values[instruction.name]):
        if buffer not in outside and buffer not in alive:
          alive[buffer] = sizes[buffer]
          total += sizes[buffer].bytes
      inner = max((self.peak(c) for c in self._called(instruction)), default=(0, [], ""))
      if total + inner[0] > worst[0]:
        worst = (total + inner[0], [*alive.values(), *inner[1]], inner[2] or instruction.name)
      for buffer in ends[time]:
        if buffer in alive:
          total -= alive.pop(buffer).bytes
    return worst

  def _called(self, instruction: Instruction) -> list[Computation]:
    """Computations that run, with buffers of their own, while this instruction does."""
    if instruction.opcode == "while":
      names = instruction.called("body") + instruction.called("condition")
    elif instruction.opcode == "call":
      names = instruction.called("to_apply")
    elif instruction.opcode == "conditional":
      names = instruction.called("branch_computations") or (
        instruction.called("true_computation") + instruction.called("false_computation")
      )
    else:
      names = ()
    return [self._program.computations[name] for name in names]

  def _leaves(self, computation, instruction: Instruction, values, sizes) -> list[tuple]:
    """For each array that an instruction gives, the buffers it lies in; new ones go into `sizes`.

    No buffers for what belongs to the caller or lies in another memory.
    """
    opcode = instruction.opcode
    operands = [values[name] for name in instruction.operands]
    if opcode in ("parameter", "constant"):
      return [()] * len(instruction.arrays)
    if opcode == "tuple":
      return [buffers for operand in operands for buffers in operand]
    if opcode == "custom-call" and "ConcatBitcast" in instruction.attributes:
      return [tuple(buffer for operand in operands for buffers in operand for buffer in buffers)]
    if opcode == "get-tuple-element":
      source = computation.instructions[instruction.operands[0]]
      if len(source.arrays) == len(operands[0]) and len(instruction.arrays) == 1:
        return [operands[0][int(instruction.attribute("index"))]]
      return operands[0]
    if opcode == "while":
      return operands[0]
    if opcode in _SAME:
      if opcode == "bitcast" or len(operands[0]) == len(instruction.arrays):
        return operands[0]
      # What an asynchronous operation gives in the end stands among what it started with.
      shape = str(instruction.arrays[0])
      made = [buffers for buffers in operands[0] if any(sizes[b].shape == shape for b in buffers)]
      return made[:1] or [()]
    shared = self._shared(computation, instruction)
    buffers = []
    for i, array in enumerate(instruction.arrays):
      if not array.in_main_memory:
        buffers.append(())
      elif i in shared:
        buffers.append(values[instruction.operands[shared[i]]][0])
      else:
        name = (instruction.name, i)
        where = origin(self._program, computation, instruction)
        sizes[name] = Buffer(instruction.name, str(array), array.bytes, where)
        buffers.append((name,))
    return buffers

  def _shared(self, computation: Computation, instruction: Instruction) -> dict[int, int]:
    """Operands that results are written over: {result: operand}."""
    if instruction.opcode in ("copy-start", "slice-start"):
      # They give their source back beside the copy.
      return {1 if instruction.opcode == "copy-start" else 0: 0}
    if instruction.opcode in ("dynamic-update-slice", "scatter"):
      return {0: 0}
    count = len(instruction.operands)
    return {
      int(result) - count: int(operand)
      for operand, result in _SHARED.findall(instruction.attributes)
      if len(instruction.arrays) > int(result) - count >= 0
    }
