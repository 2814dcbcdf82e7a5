"""The TPU ruler's tables, in Markdown where they go into docs."""

import collections
from collections.abc import Sequence
from typing import Any

from benchmarks.tpu_floor import OTHERS, Floor, part_with_floor
from benchmarks.tpu_program import CompiledProgram
from htmtl_jax.compiled.costs import ProgramCosts, count_costs
from htmtl_jax.compiled.memory import MemoryUse, memory_use
from htmtl_jax.compiled.parts import (
  BACKWARD,
  FORWARD,
  RECOMPUTED,
  PartCost,
  by_part,
  direction_of,
  part_of,
)
from htmtl_jax.compiled.text import parse_program

_SMALL = 0.001  # parts below this share of both FLOPs and bytes go into one line


def ruler_table(rows: dict[str, dict[str, Any]]) -> str:
  """One line a row and chip."""
  header = (
    "row", "useful TFLOP", "compiled TFLOP", "ratio", "GB", "kB/token", "arithmetic ms",
    "memory ms", "memory/arithmetic", "memory GB", "of chip", "allocated GB",
  )  # fmt: skip
  lines = []
  for name, row in rows.items():
    allocated = row["allocated_bytes"]
    lines.append(
      (
        name,
        f"{row['useful_flops'] / 1e12:.3f}",
        f"{row['compiled_flops'] / 1e12:.3f}",
        f"{row['compiled_over_useful']:.3f}",
        f"{row['bytes_accessed'] / 1e9:.2f}",
        f"{row['bytes_per_token'] / 1e3:.0f}",
        f"{row['arithmetic_seconds'] * 1e3:.2f}",
        f"{row['memory_seconds'] * 1e3:.2f}",
        f"{row['memory_over_arithmetic']:.2f}",
        f"{row['memory_bytes'] / 1e9:.2f}",
        f"{row['memory_bytes'] / row['memory_limit_bytes']:.0%}",
        "" if allocated is None else f"{allocated / 1e9:.2f}",
      )
    )
  return _table(header, lines)


def document_table(rows: dict[str, dict[str, Any]]) -> str:
  """The columns that docs/performance.md shows."""
  header = (
    "row", "chip", "compiled / useful FLOPs", "GB moved", "ms arithmetic", "ms memory",
    "memory / arithmetic", "GB of memory",
  )  # fmt: skip
  lines = []
  for name, row in rows.items():
    config, chip = name.rsplit("/", 1)
    size, documents = config.split("_")[0], row["documents"]
    tokens = row["tokens"] // documents
    lines.append(
      (
        f"{size}, {documents} x {tokens:,} tokens",
        chip,
        f"{row['compiled_over_useful']:.2f}",
        f"{row['bytes_accessed'] / 1e9:.1f}" if row["bytes_accessed"] > 1e9 else
        f"{row['bytes_accessed'] / 1e9:.2f}",
        f"{row['arithmetic_seconds'] * 1e3:.1f}",
        f"{row['memory_seconds'] * 1e3:.1f}",
        f"{row['memory_over_arithmetic']:.2f}",
        f"{row['memory_bytes'] / 1e9:.1f} of {row['memory_limit_bytes'] / 1e9:.0f}",
      )
    )  # fmt: skip
  return _table(header, lines)


def breakdown_table(
  name: str, program: CompiledProgram, floors: Sequence[Floor], depth: int, top: int
) -> str:
  """Where a row's FLOPs, bytes and memory come from."""
  parsed = parse_program(program.text)
  costs, memory = count_costs(parsed), memory_use(parsed)
  tokens = program.facts["tokens"]
  sections = [
    f"## {name}: {costs.flops / 1e12:.3f} TFLOP, {costs.bytes_accessed / 1e9:.2f} GB, "
    f"{program.facts['documents']} documents of {tokens // program.facts['documents']:,} tokens",
    "Against the floor (benchmarks/tpu_floor.py):",
    floor_table(costs, floors, tokens),
    "By part; B/token is bytes a source token:",
    _parts(costs, tokens, depth),
    f"The {top} instructions that move the most, all runs together (@1 is the core's own memory):",
    _instructions(costs, top),
    f"The {top} largest arrays when memory is fullest ({memory.total / 1e9:.2f} GB, "
    f"{memory.arguments / 1e9:.2f} of it arguments), at {memory.where}:",
    _arrays(memory, top),
  ]
  if costs.not_counted:
    sections.append("Not counted:\n" + "\n".join(f"- {line}" for line in costs.not_counted))
  return "\n\n".join(sections) + "\n"


def floor_table(costs: ProgramCosts, floors: Sequence[Floor], tokens: int) -> str:
  """What each part has to cost and what it does cost, the one furthest above first."""
  flops, moved = collections.Counter(), collections.Counter()
  for name, part in by_part(costs, depth=9).items():
    flops[part_with_floor(floors, name)] += part.flops
    moved[part_with_floor(floors, name)] += part.bytes
  lines = []
  parts = [*floors, Floor(OTHERS, (), 0, 0, "")]
  for part in sorted(parts, key=lambda part: part.bytes - moved[part.name]):
    lines.append(
      (
        part.name,
        f"{part.flops / 1e9:,.1f}",
        f"{flops[part.name] / 1e9:,.1f}",
        f"{part.flops / tokens / 1e6:,.2f}",
        f"{part.bytes / 1e6:,.0f}",
        f"{moved[part.name] / 1e6:,.0f}",
        f"{(moved[part.name] - part.bytes) / 1e6:,.0f}",
        f"{part.bytes / tokens / 1e3:,.1f}",
        part.formula,
      )
    )
  total = Floor("all", (), sum(f.flops for f in floors), sum(f.bytes for f in floors), "")
  lines.append(
    (
      "all",
      f"{total.flops / 1e9:,.1f}",
      f"{costs.flops / 1e9:,.1f}",
      f"{total.flops / tokens / 1e6:,.2f}",
      f"{total.bytes / 1e6:,.0f}",
      f"{costs.bytes_accessed / 1e6:,.0f}",
      f"{(costs.bytes_accessed - total.bytes) / 1e6:,.0f}",
      f"{total.bytes / tokens / 1e3:,.1f}",
      "",
    )
  )
  header = (
    "part", "floor GFLOP", "now", "floor MFLOP/token", "floor MB", "now MB", "above MB",
    "floor kB/token", "floor of bytes without weights",
  )  # fmt: skip
  return _table(header, lines)


def _parts(costs: ProgramCosts, tokens: int, depth: int) -> str:
  header = (
    "part", "GFLOP", "of it again", "MB", "share", "B/token", "forward MB", "again MB",
    "backward MB", "Mcycles",
  )  # fmt: skip
  parts, others = by_part(costs, depth), PartCost()
  for name, part in list(parts.items()):
    if part.bytes < _SMALL * costs.bytes_accessed and part.flops < _SMALL * costs.flops:
      others.add(parts.pop(name))
  lines = []
  for name, part in [*parts.items(), ("(smaller ones)", others)]:
    lines.append(
      (
        name,
        f"{part.flops / 1e9:,.1f}",
        f"{part.flops_of[RECOMPUTED] / 1e9:,.1f}",
        f"{part.bytes / 1e6:,.0f}",
        f"{part.bytes / costs.bytes_accessed:.1%}",
        f"{part.bytes / tokens:,.0f}",
        *(f"{part.bytes_of[d] / 1e6:,.0f}" for d in (FORWARD, RECOMPUTED, BACKWARD)),
        f"{part.cycles / 1e6:,.1f}" if costs.cycles else "",
      )
    )
  return _table(header, lines)


def _instructions(costs: ProgramCosts, top: int) -> str:
  largest = sorted(costs.costs, key=lambda c: (-c.bytes, c.name))[:top]
  lines = [
    (
      f"{cost.bytes / 1e6:,.0f}",
      f"{cost.read / 1e6:,.0f}",
      f"{cost.written / 1e6:,.0f}",
      str(cost.times),
      f"{cost.flops / 1e9:,.1f}",
      f"{part_of(cost.op_name, 9)}: {_operation(cost.op_name) or cost.opcode}",
      direction_of(cost.op_name),
      cost.name,
      _shortened(cost.shapes, 240),
    )
    for cost in largest
  ]
  header = ("MB", "read", "written", "runs", "GFLOP", "from", "direction", "instruction", "arrays")
  return _table(header, lines)


def _arrays(memory: MemoryUse, top: int) -> str:
  lines = [
    (
      f"{buffer.bytes / 1e6:,.0f}",
      buffer.shape,
      f"{part_of(buffer.op_name, 9)}: {_operation(buffer.op_name)}",
      direction_of(buffer.op_name),
      buffer.name,
    )
    for buffer in memory.at_peak[:top]
  ]
  return _table(("MB", "array", "from", "direction", "instruction"), lines)


def _operation(op_name: str) -> str:
  return op_name.rpartition("/")[2]


def _shortened(text: str, length: int) -> str:
  return text if len(text) <= length else text[: length - 3] + "..."


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  """A Markdown table whose columns also line up in a terminal; numbers to the right."""
  rows = [tuple(header), *(tuple(line) for line in lines)]
  widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
  numeric = [all(_is_number(row[i]) for row in rows[1:]) for i in range(len(header))]
  align = lambda row: " | ".join(
    cell.rjust(width) if right else cell.ljust(width)
    for cell, width, right in zip(row, widths, numeric)
  )
  rule = " | ".join(
    "-" * (width - 1) + ":" if right else "-" * width for width, right in zip(widths, numeric)
  )
  return "\n".join(f"| {line.rstrip()} |" for line in [align(rows[0]), rule, *map(align, rows[1:])])


def _is_number(text: str) -> bool:
  return not text.strip("0123456789.,-%")
