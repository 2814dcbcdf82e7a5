"""Bytes that collectives move between devices."""

import dataclasses
import math
import re

from htmtl_jax.compiled.text import Computation, Instruction, Program

KINDS = (
  "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "ragged-all-to-all",
  "collective-permute", "collective-broadcast",
)  # fmt: skip
_IOTA_GROUPS = re.compile(r"replica_groups=\[\d+,(\d+)\]")  # [groups, devices in each]<=[...]
_LISTED_GROUPS = re.compile(r"replica_groups=\{\{([\d,]*)\}")
_MESH_GROUPS = re.compile(r"replica_groups=mesh\[([^\]]*)\][^{}]*\{([^}]*)\}")
_CHAIN = "chain_id="
_AXIS = re.compile(r"'([^']+)'(?:=(\d+)|:\(\d+\)(\d+))?")


@dataclasses.dataclass(frozen=True)
class Collective:
  """What one device sees of a collective.

  Attributes:
    kind: one of `KINDS`.
    payload: bytes of the whole array, the larger of what goes in and what comes out.
    sent: bytes this device sends.
  """

  kind: str
  payload: int
  sent: int


def collectives(program: Program, computation: Computation, instruction: Instruction):
  """Yields a `Collective` for each collective that an instruction is or has fused into it.

  Sizes are without tiles' filling. Sent is that of the usual algorithms on a ring of n
  devices: an all-reduce sends every byte twice, (n - 1) / n of it each time, the others
  once, a permutation the whole array.
  """
  if instruction.opcode == "fusion":
    inner = program.computations[instruction.called("calls")[0]]
    sliced = _keeps_a_slice(inner)
    starts = 'custom_call_target="AsyncCollectiveStart"' in inner.instructions[inner.root].attributes
    for fused in inner.instructions.values():
      # A collective that runs beside other work is written again in each piece of that work.
      if _CHAIN in fused.attributes and not starts:
        continue
      for found in collectives(program, inner, fused):
        if sliced and found.kind == "all-reduce":
          found = Collective("reduce-scatter", found.payload, found.sent // 2)
        yield found
    return
  kind = instruction.opcode.removesuffix("-start")
  if kind not in KINDS:
    return
  operands = sum(
    a.logical_bytes for name in instruction.operands for a in computation.instructions[name].arrays
  )
  results = sum(a.logical_bytes for a in instruction.arrays)
  if instruction.opcode.endswith("-start") and kind in ("all-gather", "collective-permute"):
    results -= operands  # the result of a start holds the operands as well
  payload = max(operands, results)
  size = _group_size(program, instruction.attributes)
  share = (size - 1) / size
  factor = {"all-reduce": 2 * share, "collective-permute": 1.0}.get(kind, share)
  yield Collective(kind, payload, round(payload * factor))


def _keeps_a_slice(fused: Computation) -> bool:
  """Whether each device keeps its slice of what it computes: a TPU's way to write reduce-scatter."""
  root = fused.instructions[fused.root]
  results = root.operands if root.opcode == "tuple" else (root.name,)
  return all(fused.instructions[name].opcode == "dynamic-slice" for name in results)


def _group_size(program: Program, attributes: str) -> int:
  """Devices that take part together; all where no groups are written."""
  iota = _IOTA_GROUPS.search(attributes)
  if iota:
    return int(iota.group(1))
  listed = _LISTED_GROUPS.search(attributes)
  if listed and listed.group(1):
    return len(listed.group(1).split(","))
  mesh = _MESH_GROUPS.search(attributes)
  if mesh:
    sizes = {name: int(size) for name, size, _ in _AXIS.findall(mesh.group(1))}
    axes = _AXIS.findall(mesh.group(2))
    return math.prod(int(part) if part else sizes[name] for name, _, part in axes)
  return program.num_devices
