"""What a compiled program costs: FLOPs, bytes of main memory, bytes between devices.

XLA's own `cost_analysis()` counts the body of a loop once. Here it counts as often as it
runs, and every number is kept by instruction, so that it can be asked where it comes from.
"""

import collections
import dataclasses
import re

from htmtl_jax.compiled.collectives import Collective, collectives
from htmtl_jax.compiled.loops import trip_count
from htmtl_jax.compiled.matmuls import custom_call_target, matmul_flops, passes
from htmtl_jax.compiled.origins import origin
from htmtl_jax.compiled.text import Computation, Instruction, Program, parse_program
from htmtl_jax.compiled.traffic import Traffic, traffic

_NO_ESTIMATE = 2**62
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')


@dataclasses.dataclass(frozen=True)
class Matmul:
  """One multiplication of matrices, all its runs together.

  Attributes:
    op_name: where it comes from.
    flops: multiplications and additions.
    pass_flops: the same in bfloat16 products, of which a TPU makes up to six for one
      in float32 (`jax.lax.Precision.HIGHEST`).
  """

  op_name: str
  flops: int
  pass_flops: int


@dataclasses.dataclass(frozen=True)
class Cost:
  """One instruction, all its runs together.

  Attributes:
    name, opcode, op_name: of the instruction; op_name of a neighbour where it has none.
    shapes: what it gives and what it reads, to be read by people.
    times: how often it runs.
    read, written: bytes of main memory.
    matmuls: those inside of it.
    collectives: those that it is or has fused into it.
    cycles: the compiler's estimate; 0 where it gives none.
  """

  name: str
  opcode: str
  op_name: str
  shapes: str
  times: int
  read: int
  written: int
  matmuls: tuple[Matmul, ...]
  collectives: tuple[Collective, ...]
  cycles: int

  @property
  def bytes(self) -> int:
    return self.read + self.written

  @property
  def flops(self) -> int:
    return sum(m.flops for m in self.matmuls)


@dataclasses.dataclass(frozen=True)
class ProgramCosts:
  """Attributes: costs by instruction; not_counted, a line for each thing not understood."""

  costs: tuple[Cost, ...]
  not_counted: tuple[str, ...]

  @property
  def flops(self) -> int:
    return sum(c.flops for c in self.costs)

  @property
  def pass_flops(self) -> int:
    return sum(m.pass_flops for c in self.costs for m in c.matmuls)

  @property
  def bytes_accessed(self) -> int:
    return sum(c.bytes for c in self.costs)

  @property
  def cycles(self) -> int:
    return sum(c.cycles for c in self.costs)

  def collective_bytes(self) -> dict[str, int]:
    """Payload bytes on one device by kind of collective."""
    total = collections.Counter()
    for cost in self.costs:
      for collective in cost.collectives:
        total[collective.kind] += collective.payload
    return dict(sorted(total.items()))

  def sent_bytes(self) -> int:
    """Bytes that one device sends."""
    return sum(collective.sent for c in self.costs for collective in c.collectives)


def program_costs(text: str) -> ProgramCosts:
  """Counts a program from `compiled.as_text()`.

  Raises:
    ValueError: if it is not the text of a compiled program.
  """
  return count_costs(parse_program(text))


def count_costs(program: Program) -> ProgramCosts:
  """The same for a program that has been read."""
  return _Counter(program).count()


class _Counter:
  """One walk through a program."""

  def __init__(self, program: Program):
    self._program = program
    self._costs, self._not_counted = [], []

  def count(self) -> ProgramCosts:
    self._walk(self._program.computations[self._program.entry], 1, "")
    return ProgramCosts(tuple(self._costs), tuple(self._not_counted))

  def _walk(self, computation: Computation, times: int, op_name: str) -> None:
    """Adds the instructions of a computation that runs so many times."""
    for instruction in computation.instructions.values():
      name = origin(self._program, computation, instruction) or op_name
      if instruction.opcode == "while":
        count = trip_count(self._program, computation, instruction)
        if count is None:
          count = 1
          self._not_counted.append(f"{instruction.name}: number of runs unknown, counted once")
        for body in instruction.called("condition") + instruction.called("body"):
          self._walk(self._program.computations[body], times * count, name)
      elif instruction.opcode in ("call", "async-start"):
        inner = instruction.called("to_apply") or instruction.called("calls")
        self._walk(self._program.computations[inner[0]], times, name)
      elif instruction.opcode == "conditional":
        self._dearest_branch(instruction, times, name)
      else:
        self._add(computation, instruction, times, name)

  def _dearest_branch(self, instruction: Instruction, times: int, op_name: str) -> None:
    branches = instruction.called("branch_computations") or (
      instruction.called("true_computation") + instruction.called("false_computation")
    )
    counted = []
    for branch in branches:
      counter = _Counter(self._program)
      counter._walk(self._program.computations[branch], times, op_name)
      counted.append(counter)
    dearest = max(counted, key=lambda c: sum(cost.bytes + cost.flops for cost in c._costs))
    self._costs += dearest._costs
    self._not_counted += dearest._not_counted
    self._not_counted.append(
      f"{instruction.name}: one of {len(branches)} branches runs, the dearest counted"
    )

  def _add(self, computation, instruction: Instruction, times: int, op_name: str) -> None:
    try:
      moved = traffic(self._program, computation, instruction)
      matmuls = tuple(self._matmuls(computation, instruction, times, op_name))
      exchanged = tuple(
        Collective(c.kind, c.payload * times, c.sent * times)
        for c in collectives(self._program, computation, instruction)
      )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
      self._not_counted.append(f"{instruction.name} ({instruction.opcode}): {error!r}")
      moved, matmuls, exchanged = Traffic(), (), ()
    if not (moved.total or matmuls or exchanged):
      return
    cycles = _CYCLES.search(instruction.attributes)
    cycles = int(cycles.group(1)) if cycles else 0
    self._costs.append(
      Cost(
        name=instruction.name,
        opcode=instruction.opcode,
        op_name=op_name,
        shapes=_describe(computation, instruction),
        times=times,
        read=moved.read * times,
        written=moved.written * times,
        matmuls=matmuls,
        collectives=exchanged,
        cycles=cycles * times if cycles < _NO_ESTIMATE else 0,
      )
    )

  def _matmuls(self, computation, instruction: Instruction, times: int, op_name: str):
    """The matmuls of an instruction, those fused into it included."""
    op_name = instruction.op_name or op_name
    if instruction.opcode == "fusion":
      inner = self._program.computations[instruction.called("calls")[0]]
      for fused in inner.instructions.values():
        yield from self._matmuls(inner, fused, times, op_name)
      return
    flops = matmul_flops(computation, instruction)
    if flops is None:
      target = custom_call_target(instruction)
      self._not_counted.append(f"{instruction.name}: FLOPs of custom call {target} unknown")
    elif flops:
      flops *= times
      yield Matmul(op_name, flops, flops * passes(instruction))


def _describe(computation: Computation, instruction: Instruction) -> str:
  operands = [
    str(array)
    for name in instruction.operands
    for array in computation.instructions[name].arrays
    if array.elements > 1024
  ]
  result = ", ".join(map(str, instruction.arrays))
  return f"{result} <- {', '.join(operands)}"
