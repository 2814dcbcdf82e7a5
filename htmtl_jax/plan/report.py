"""A plan as a table for people."""

from collections.abc import Mapping
import sys
from typing import Any

from htmtl_jax.plan.sweep import mesh_text
from htmtl_jax.progress import format_duration

_CLOSE = 0.6  # what is followed may be a quarter less than what the compiler allocates


def progress(line: str) -> None:
  """Says on standard error what goes on."""
  print(line, file=sys.stderr, flush=True)


def format_plan(plan: Mapping[str, Any]) -> str:
  """The plan's numbers, a line each, sizes per chip where it says so."""
  lines = [
    ("topology", f"{plan['topology']}, {plan['chips']} chips"),
    ("mesh", f"{mesh_text(plan['mesh'])}; remat {plan['remat']}"),
    ("batch", _batch(plan)),
    ("parameters", f"{plan['parameters']:,}"),
    ("memory a chip", _memory(plan)),
    *((f"  {name}", _bytes(size)) for name, size in plan["memory_by_kind"].items()),
    ("useful FLOPs", f"{plan['useful_flops']:.4g} a step, all chips; every slot counts as real"),
    (
      "compiled FLOPs",
      f"{plan['compiled_flops']:.4g}, {plan['compiled_flops'] / plan['useful_flops']:.2f} x useful",
    ),
    ("main memory moved", f"{_bytes(plan['bytes_accessed'] // plan['chips'])} a chip and step"),
    (
      "collectives",
      f"{_bytes(plan['collective_bytes_per_chip'])} a chip and step, of which it sends "
      f"{_bytes(plan['sent_bytes_per_chip'])}",
    ),
    *((f"  {name}", _bytes(size)) for name, size in plan["collectives"].items()),
    *_times(plan),
    *(("not counted", line) for line in plan["not_counted"][:5]),
  ]
  width = max(len(name) for name, _ in lines)
  return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in lines)


def _batch(plan: Mapping[str, Any]) -> str:
  rows, targets = plan["bucket"]
  return (
    f"{plan['documents']} documents of {plan['tokens'] // plan['documents']:,} tokens ({rows} rows) "
    f"and {targets:,} target tokens"
  )


def _memory(plan: Mapping[str, Any]) -> str:
  used, limit = plan["memory_bytes_per_chip"], plan["memory_limit_bytes"]
  if limit is None:
    return f"{_bytes(used)}, {plan['memory_source']}"
  verdict = "fits" if plan["fits"] else "DOES NOT FIT"
  if plan["fits"] and used > _CLOSE * limit and "compiler" not in plan["memory_source"]:
    verdict += ", if closely: --full_compile says for sure"
  return (
    f"{_bytes(used)} of {_bytes(limit)} ({used / limit:.0%}): {verdict}; {plan['memory_source']}"
  )


def _times(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
  if plan["roofline_seconds"] is None:
    return [("roofline", "unknown: no peaks are known of these devices")]
  milliseconds = lambda name: f"{plan[name] * 1e3:.2f} ms"
  return [
    (
      "roofline",
      f"{milliseconds('roofline_seconds')} a step at least: arithmetic "
      f"{milliseconds('arithmetic_seconds')}, memory {milliseconds('memory_seconds')}, "
      f"interconnect {milliseconds('interconnect_seconds')}",
    ),
    ("at the roofline", f"{plan['tokens_per_second']:,.0f} tokens/s, MFU {plan['mfu']:.1%}"),
    (
      "whole training",
      f"{plan['num_steps']:,} steps: {format_duration(3600 * plan['hours'])}, "
      f"{plan['chip_hours']:,.3g} chip hours, at least",
    ),
  ]


def _bytes(size: int) -> str:
  for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
    if size >= scale:
      return f"{size / scale:.2f} {unit}"
  return f"{size} B"
