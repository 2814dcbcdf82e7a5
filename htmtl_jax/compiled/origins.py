"""Where in the traced program an instruction comes from, also where XLA does not say.

Copies between memories, and the buffers that a loop fills, carry no name. They are given
that of the nearest instruction they work for.
"""

from collections.abc import Callable

from htmtl_jax.compiled.text import Computation, Instruction, Program

_STEPS = 6  # so many neighbours away at most
_WIDTH = 32  # so many at each step
_CARRIERS = ("tuple", "while", "get-tuple-element", "parameter")


def origin(program: Program, computation: Computation, instruction: Instruction) -> str:
  """The op_name of an instruction, or that of the nearest one it works for, or ""."""
  if instruction.op_name:
    return instruction.op_name
  filled = _filled_by(program, computation, instruction)
  if filled:
    return filled
  readers = lambda i: computation.users[i.name]
  sources = lambda i: [computation.instructions[name] for name in i.operands]
  directions = [readers, sources]
  # What brings a value into the core's memory works for its reader, what puts it away for
  # its writer.
  if instruction.opcode == "copy-start" and instruction.arrays[0].in_main_memory:
    directions.reverse()
  return next(filter(None, (_nearest(instruction, d) for d in directions)), "")


def _nearest(instruction: Instruction, neighbours: Callable) -> str:
  layer = [instruction]
  for _ in range(_STEPS):
    layer = [n for i in layer for n in neighbours(i) if n.opcode not in ("tuple", "while")]
    layer = layer[:_WIDTH]
    for other in layer:
      if other.op_name and other.opcode not in _CARRIERS:
        return other.op_name
  return ""


def _filled_by(program: Program, computation: Computation, instruction: Instruction) -> str:
  """For the first value of an element of a loop's state: the name of what the loop puts there."""
  if instruction.opcode not in ("custom-call", "broadcast", "constant"):
    return ""
  for state in computation.users[instruction.name]:
    if state.opcode != "tuple":
      continue
    index = state.operands.index(instruction.name)
    for loop in computation.users[state.name]:
      if loop.opcode != "while":
        continue
      body = program.computations[loop.called("body")[0]]
      result = body.instructions[body.root]
      if result.opcode != "tuple":
        continue
      writer = body.instructions[result.operands[index]]
      while writer.opcode in ("get-tuple-element", "bitcast", "copy", "copy-done", "copy-start"):
        writer = body.instructions[writer.operands[0]]
      if writer.op_name and writer.opcode != "parameter":
        return writer.op_name
  return ""
