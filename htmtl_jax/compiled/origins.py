"""Where in the traced program an instruction comes from, also where XLA does not say.

Copies between memories, casts of weights taken out of a loop, and the buffers that a loop
fills carry no name. They are given that of the nearest instruction they work for.
"""

from collections.abc import Callable

from htmtl_jax.compiled.text import Computation, Instruction, Program

_STEPS = 6  # so many neighbours away at most
_WIDTH = 32  # so many at each step
_CARRIERS = ("tuple", "while", "get-tuple-element", "parameter")
_SAME = ("get-tuple-element", "bitcast", "copy", "copy-done", "copy-start")


def origin(program: Program, computation: Computation, instruction: Instruction) -> str:
  """The op_name of an instruction, or that of the nearest one it works for, or ""."""
  if instruction.op_name:
    return instruction.op_name
  readers = lambda i: computation.users[i.name]
  sources = lambda i: [computation.instructions[name] for name in i.operands]
  in_loop = lambda i: _name(i) or _in_loop(program, computation, i)
  searches = [(readers, in_loop), (sources, _name)]
  # What brings a value into the core's memory works for its reader, what puts it away for
  # its writer.
  if instruction.opcode == "copy-start" and instruction.arrays[0].in_main_memory:
    searches.reverse()
  return next(filter(None, (_nearest(instruction, *search) for search in searches)), "")


def _nearest(instruction: Instruction, neighbours: Callable, name_of: Callable) -> str:
  layer = [instruction]
  for _ in range(_STEPS):
    for other in layer:
      name = name_of(other)
      if name:
        return name
    layer = [n for i in layer for n in neighbours(i) if n.opcode not in ("tuple", "while")]
    layer = layer[:_WIDTH]
  return ""


def _in_loop(program: Program, computation: Computation, instruction: Instruction) -> str:
  """For the first value of a part of a loop's state: who writes that part in the loop, or reads it."""
  for state in computation.users[instruction.name]:
    if state.opcode != "tuple":
      continue
    index = state.operands.index(instruction.name)
    for loop in computation.users[state.name]:
      if loop.opcode == "while":
        body = program.computations[loop.called("body")[0]]
        name = _writer(body, index) or _reader(body, index)
        if name:
          return name
  return ""


def _writer(body: Computation, index: int) -> str:
  result = body.instructions[body.root]
  if result.opcode != "tuple":
    return ""
  writer = body.instructions[result.operands[index]]
  while writer.opcode in _SAME:
    writer = body.instructions[writer.operands[0]]
  return writer.op_name if writer.opcode != "parameter" else ""


def _reader(body: Computation, index: int) -> str:
  for parameter in body.parameters.values():
    for part in body.users[parameter]:
      if part.opcode == "get-tuple-element" and part.attribute("index") == str(index):
        name = _nearest(part, lambda i: body.users[i.name], _name)
        if name:
          return name
  return ""


def _name(instruction: Instruction) -> str:
  return instruction.op_name if instruction.opcode not in _CARRIERS else ""
