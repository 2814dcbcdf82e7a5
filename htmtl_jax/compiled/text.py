"""The text of a compiled program (`compiled.as_text()`) as computations and instructions."""

import dataclasses
import functools
import re

from htmtl_jax.compiled.arrays import Array, parse_arrays

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_OPCODE = re.compile(r"\s*([a-z][\w\-]*)\(")
_COMMENT = re.compile(r"/\*.*?\*/")
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_PARTITIONS = re.compile(r"num_partitions=(\d+)")
_REPLICAS = re.compile(r"replica_count=(\d+)")


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line of a computation.

  Attributes:
    name: unique in the program.
    opcode: "fusion", "while", ...
    arrays: what it gives, tuples flattened.
    operands: names of instructions of the same computation.
    argument: the text in the parentheses: the number of a parameter, the value of a constant.
    attributes: all that stands behind the parentheses.
    op_name: where in the traced program it comes from, "" where XLA does not say.
  """

  name: str
  opcode: str
  arrays: tuple[Array, ...]
  operands: tuple[str, ...]
  argument: str
  attributes: str
  op_name: str

  def attribute(self, key: str) -> str | None:
    """The value of an attribute that is a name, a number or stands in braces."""
    found = re.search(rf"(?:^|[ ,]){key}=(\{{[^}}]*\}}|[^, ]+)", self.attributes)
    return found.group(1) if found else None

  def called(self, key: str) -> tuple[str, ...]:
    """Names of the computations in an attribute."""
    value = self.attribute(key)
    return tuple(n.strip().lstrip("%") for n in value.strip("{}").split(",")) if value else ()


@dataclasses.dataclass(frozen=True)
class Computation:
  """Instructions by name, in the order they run.

  Attributes:
    name: unique in the program.
    instructions: by name.
    root: the name of the one whose value is the computation's.
  """

  name: str
  instructions: dict[str, Instruction]
  root: str

  @functools.cached_property
  def parameters(self) -> dict[int, str]:
    """Names of the parameters by number."""
    return {int(i.argument): i.name for i in self.instructions.values() if i.opcode == "parameter"}

  @functools.cached_property
  def users(self) -> dict[str, list[Instruction]]:
    """Who reads an instruction."""
    users = {name: [] for name in self.instructions}
    for instruction in self.instructions.values():
      for operand in dict.fromkeys(instruction.operands):
        users[operand].append(instruction)
    return users


@dataclasses.dataclass(frozen=True)
class Program:
  """Attributes: computations by name, the entry's name, devices it runs on, the first line."""

  computations: dict[str, Computation]
  entry: str
  num_devices: int
  header: str


def parse_program(text: str) -> Program:
  """Reads the text of one module.

  Raises:
    ValueError: if there is no entry computation, so that it is not a program's text.
  """
  computations, entry = {}, None
  name, instructions, root = None, {}, None
  for line in text.splitlines():
    if name is None:
      header = _COMPUTATION.match(line)
      if header:
        name, instructions, root = header.group(2), {}, None
        entry = name if header.group(1) else entry
    elif line.startswith("}"):
      computations[name] = Computation(name, instructions, root)
      name = None
    else:
      found = _INSTRUCTION.match(line)
      if found:
        instruction = _parse_instruction(found.group(2), found.group(3))
        instructions[instruction.name] = instruction
        root = instruction.name if found.group(1) else root
  if entry is None:
    raise ValueError("no ENTRY computation: not the text of a compiled program")
  header = text[: text.find("\n")]
  devices = 1
  for pattern in (_PARTITIONS, _REPLICAS):
    found = pattern.search(header)
    devices *= int(found.group(1)) if found else 1
  return Program(computations, entry, devices, header)


def _parse_instruction(name: str, text: str) -> Instruction:
  if "/*" in text:
    text = _COMMENT.sub("", text)
  end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
  opcode = _OPCODE.match(text, end)
  start = opcode.end() - 1
  close = _closing(text, start)
  argument, attributes = text[start + 1 : close], text[close + 1 :].lstrip(", ")
  operands = ()
  if opcode.group(1) not in ("constant", "parameter", "iota"):
    operands = tuple(part.split()[-1].lstrip("%") for part in _split(argument))
  op_name = _OP_NAME.search(attributes)
  return Instruction(
    name=name,
    opcode=opcode.group(1),
    arrays=parse_arrays(text[:end]),
    operands=operands,
    argument=argument,
    attributes=attributes,
    op_name=op_name.group(1) if op_name else "",
  )


def _closing(text: str, start: int) -> int:
  """Where the parenthesis opened at `start` is closed."""
  depth = 0
  for found in re.finditer(r"[()]", text[start:]):
    depth += 1 if found.group() == "(" else -1
    if depth == 0:
      return start + found.start()
  raise ValueError(f"parentheses that do not match: {text[:200]}")


def _split(text: str) -> list[str]:
  """Splits at the commas outside of brackets: operands may be written with their shapes."""
  parts, depth, last = [], 0, 0
  for found in re.finditer(r"[()\[\]{},]", text):
    if found.group() in "([{":
      depth += 1
    elif found.group() in ")]}":
      depth -= 1
    elif depth == 0:
      parts.append(text[last : found.start()])
      last = found.end()
  parts.append(text[last:])
  return [part.strip() for part in parts if part.strip()]
