"""How often a loop of a compiled program runs.

XLA for CPU and GPU writes it beside the loop. For TPU it does not; there the counter is
followed: where it starts, what the body adds to it, and what the condition compares it with.
"""

import re

from htmtl_jax.compiled.text import Computation, Instruction, Program

_KNOWN = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_SAME = ("copy", "bitcast", "convert", "copy-done", "copy-start", "opt-barrier", "reshape")


def trip_count(program: Program, caller: Computation, loop: Instruction) -> int | None:
  """How often the body of a `while` runs, None where the text does not tell."""
  known = _KNOWN.search(loop.attributes)
  if known:
    return int(known.group(1))
  (condition,), (body,) = loop.called("condition"), loop.called("body")
  condition, body = program.computations[condition], program.computations[body]
  limit = _limit(program, condition)
  if limit is None:
    return None
  index, bound, direction = limit
  start = _value(program, caller, *_element(caller, loop.operands[0], index))
  step = _step(program, body, index)
  if isinstance(bound, tuple):  # the limit is carried through the loop: unchanged, it must be
    if _value(program, body, *_element(body, body.root, bound[1])) != bound:
      return None
    bound = _value(program, caller, *_element(caller, loop.operands[0], bound[1]))
  if not all(isinstance(n, int) for n in (start, step, bound)) or not step:
    return None
  if direction == "LT" and step > 0:
    return max(0, -(-(bound - start) // step))
  if direction == "LE" and step > 0:
    return max(0, (bound - start) // step + 1)
  if direction == "GT" and step < 0:
    return max(0, -(-(start - bound) // -step))
  if direction == "GE" and step < 0:
    return max(0, (start - bound) // -step + 1)
  return None


def _limit(program: Program, condition: Computation):
  """(which element counts, its limit, direction) of a condition `element < limit`, or None.

  The limit is an int, or ("element", i) where it is carried in the loop's state.
  """
  found = _compare(program, condition, condition.root, {})
  if found is None:
    return None
  left, right, direction = found
  if isinstance(left, int):
    swapped = {"LT": "GT", "GT": "LT", "LE": "GE", "GE": "LE"}
    left, right, direction = right, left, swapped.get(direction)
  if not (isinstance(left, tuple) and left[0] == "element") or right is None:
    return None
  if isinstance(right, tuple) and right[0] != "element":
    return None
  return left[1], right, direction


def _compare(program, computation, name, arguments):
  """The two sides and the direction of the comparison that gives a condition's value."""
  instruction = computation.instructions[name]
  if instruction.opcode == "compare":
    sides = [_value(program, computation, o, arguments) for o in instruction.operands]
    return (*sides, instruction.attribute("direction"))
  if instruction.opcode in ("fusion", "call"):
    inner, inner_arguments = _enter(program, computation, instruction, arguments)
    return _compare(program, inner, inner.root, inner_arguments)
  if instruction.opcode in _SAME:
    return _compare(program, computation, instruction.operands[0], arguments)
  return None


def _step(program: Program, body: Computation, index: int) -> int | None:
  """What the body adds to element `index` of its state."""
  value = _value(program, body, *_element(body, body.root, index))
  if isinstance(value, tuple) and value[0] == "sum" and value[1] == index:
    return value[2]
  return None


def _element(computation: Computation, name: str, index: int):
  """(name of what is put in a tuple at `index`, no arguments yet)."""
  instruction = computation.instructions[name]
  while instruction.opcode in ("opt-barrier", "copy"):
    instruction = computation.instructions[instruction.operands[0]]
  return (instruction.operands[index] if instruction.opcode == "tuple" else None), {}


def _enter(program, computation, instruction, arguments):
  """The called computation, and the values of its parameters."""
  key = "calls" if instruction.opcode == "fusion" else "to_apply"
  inner = program.computations[instruction.called(key)[0]]
  values = [_value(program, computation, o, arguments) for o in instruction.operands]
  return inner, {inner.parameters[i]: value for i, value in enumerate(values)}


def _value(program, computation, name, arguments):
  """An int, ("element", i) of the loop's state, ("sum", i, n) that element plus n, or None."""
  if name is None:
    return None
  if name in arguments:
    return arguments[name]
  instruction = computation.instructions[name]
  value = lambda operand: _value(program, computation, operand, arguments)
  if instruction.opcode == "constant":
    return int(instruction.argument) if re.fullmatch(r"-?\d+", instruction.argument) else None
  if instruction.opcode == "get-tuple-element":
    source = computation.instructions[instruction.operands[0]]
    index = int(instruction.attribute("index"))
    if source.opcode == "parameter":
      return "element", index
    if source.opcode == "tuple":
      return value(source.operands[index])
    if source.opcode == "fusion":
      inner, inner_arguments = _enter(program, computation, source, arguments)
      root = inner.instructions[inner.root]
      if root.opcode == "tuple":
        return _value(program, inner, root.operands[index], inner_arguments)
    return None
  if instruction.opcode in _SAME:
    return value(instruction.operands[0])
  if instruction.opcode in ("fusion", "call"):
    inner, inner_arguments = _enter(program, computation, instruction, arguments)
    return _value(program, inner, inner.root, inner_arguments)
  if instruction.opcode in ("add", "subtract"):
    left, right = map(value, instruction.operands)
    if instruction.opcode == "subtract":
      right = -right if isinstance(right, int) else None
    if isinstance(left, int) and isinstance(right, int):
      return left + right
    if isinstance(left, int):
      left, right = right, left
    if isinstance(left, tuple) and left[0] == "element" and isinstance(right, int):
      return "sum", left[1], right
  return None
