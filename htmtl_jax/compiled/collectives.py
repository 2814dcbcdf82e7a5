"""Bytes that collectives move between devices."""

import dataclasses
import re

from htmtl_jax.compiled.text import Computation, Instruction, Program

KINDS = (
  "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "ragged-all-to-all",
  "collective-permute", "collective-broadcast",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Collective:
  """Attributes: kind; payload, bytes of the whole array on one device; sent, bytes one device sends."""

  kind: str
  payload: int
  sent: int


def collective_cost(
  program: Program, computation: Computation, instruction: Instruction
) -> Collective | None:
  """What a collective moves, None for other instructions; sizes without tiles' filling.

  Sent is that of the usual algorithms on a ring of n devices: an all-reduce sends every
  byte twice, (n - 1) / n of it each time, the others once, a permutation the whole array.
  """
  kind = instruction.opcode.removesuffix("-start")
  if kind not in KINDS:
    return None
  operands = sum(
    a.logical_bytes for name in instruction.operands for a in computation.instructions[name].arrays
  )
  results = sum(a.logical_bytes for a in instruction.arrays)
  if instruction.opcode.endswith("-start") and kind in ("all-gather", "collective-permute"):
    results -= operands  # the result of a start holds the operands as well
  payload = max(operands, results)
  size = _group_size(program, instruction)
  share = (size - 1) / size
  factor = {"all-reduce": 2 * share, "collective-permute": 1.0}.get(kind, share)
  return Collective(kind, payload, round(payload * factor))


def _group_size(program: Program, instruction: Instruction) -> int:
  """Devices that take part together; all where no groups are written."""
  iota = re.search(r"replica_groups=\[\d+,(\d+)\]", instruction.attributes)
  if iota:
    return int(iota.group(1))
  groups = re.search(r"replica_groups=\{\{([\d,]*)\}", instruction.attributes)
  if groups and groups.group(1):
    return len(groups.group(1).split(","))
  return program.num_devices
