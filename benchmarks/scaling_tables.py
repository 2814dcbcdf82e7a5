"""The tables of docs/scaling.md and of configs' headers, from plans of `benchmarks/scaling.py`."""

from collections.abc import Iterable, Mapping
import pathlib
import re
from typing import Any

from htmtl_jax.errors import UserError
from htmtl_jax.plan.sweep import mesh_text

Plans = Mapping[str, Mapping[str, Any]]


def tables(plans: Plans) -> dict[str, str]:
  """Markdown by name of the table, from {row: plan}."""
  chosen = {"sizes": _sizes(_of(plans, "size/")), "long": _sizes(_of(plans, "long/", "million/"))}
  for kind in ("weak", "strong"):
    rows = [(name.split("/")[1], plans[name]) for name in plans if name.startswith(kind)]
    chosen[kind] = _scaling(sorted(rows, key=lambda row: (row[0], row[1]["chips"])))
  chosen["growth"] = _growth(plans)
  return chosen


def header_tables(plans: Plans) -> dict[str, str]:
  """The one table of a config's docstring, as plain text: its sizes on the devices planned.

  What a row's command has besides SIZE and TOPOLOGY stands below the table.
  """
  rows, flags = [], {}
  for plan in _of(plans, "size/", "long/"):
    found = re.search(r"--config=configs/\w+\.py:(\S+) --topology=(\S+)(.*)", plan["command"])
    size, topology, others = found.groups()
    if others:
      flags[f"{size} {topology}"] = others.strip()
    rows.append(
      (
        size,
        topology,
        mesh_text(plan["mesh"]),
        f"{plan['documents']} x {plan['tokens'] // plan['documents']:,}",
        _memory(plan),
        f"{plan['useful_flops'] / 1e12:,.0f}",
        f"{plan['hours']:.1f} for {plan['num_steps']:,}",
      )
    )
  head = ("SIZE", "TOPOLOGY", "mesh", "documents", "GB a chip", "TFLOPs", "hours, steps")
  lines = _aligned([head, *rows], numbers_from=3)
  lines += [f"{name}: with {others}" for name, others in flags.items()]
  return {"plans": "\n".join(f"    {line}" for line in lines)}


def write_tables(path: pathlib.Path, made: Mapping[str, str]) -> None:
  """Replaces what stands between `<!-- table: NAME -->` and `<!-- end -->`.

  Raises:
    UserError: for a table that has no place in the document.
  """
  text = path.read_text(encoding="utf-8")
  for name, table in made.items():
    place = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not place.search(text):
      raise UserError(f"{path} has no place for the table {name!r}")
    text = place.sub(lambda found, table=table: f"{found[1]}\n{table}\n\n{found[2]}", text)
  path.write_text(text, encoding="utf-8")


def _of(plans: Plans, *prefixes: str) -> list[Mapping[str, Any]]:
  chosen = [plan for name, plan in plans.items() if name.startswith(prefixes)]
  return sorted(chosen, key=lambda plan: (plan["bucket"], plan["parameters"], plan["topology"]))


def _table(head: Iterable[str], rows: Iterable[Iterable[str]], numbers_from: int) -> str:
  """Markdown; columns from `numbers_from` on are set to the right."""
  head = list(head)
  rule = ["---" if i < numbers_from else "---:" for i in range(len(head))]
  return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def _aligned(rows: list[tuple[str, ...]], numbers_from: int) -> list[str]:
  """A line a row; columns from `numbers_from` on are set to the right."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  pad = lambda i, cell: cell.rjust(widths[i]) if i >= numbers_from else cell.ljust(widths[i])
  return ["  ".join(pad(i, cell) for i, cell in enumerate(row)) for row in rows]


def _memory(plan: Mapping[str, Any]) -> str:
  """GB of a chip that are used, and that there are."""
  return f"{plan['memory_bytes_per_chip'] / 1e9:.1f} ({plan['memory_limit_bytes'] / 1e9:.0f})"


def _sizes(plans) -> str:
  head = (
    "config", "devices", "mesh", "million parameters", "documents x tokens", "GB a chip (of)",
    "free", "TFLOPs a step, useful", "compiled / useful", "ms a step", "bound by", "MFU",
    "hours", "chip hours",
  )  # fmt: skip
  rows = [
    (
      f"`{re.search(r'--config=configs/(.*?) ', plan['command'])[1]}`",
      f"`{plan['topology']}`",
      mesh_text(plan["mesh"]) + ("" if plan["remat"] == "none" else f", remat {plan['remat']}"),
      f"{plan['parameters'] / 1e6:.0f}",
      f"{plan['documents']} x {plan['tokens'] // plan['documents']:,}",
      _memory(plan),
      f"{1 - plan['memory_bytes_per_chip'] / plan['memory_limit_bytes']:.0%}",
      f"{plan['useful_flops'] / 1e12:,.0f}",
      f"{plan['compiled_flops'] / plan['useful_flops']:.2f}",
      f"{plan['roofline_seconds'] * 1e3:,.0f}",
      plan["bound_by"],
      f"{plan['mfu']:.0%}",
      f"{plan['hours']:.1f}",
      f"{plan['chip_hours']:,.0f}",
    )
    for plan in plans
  ]
  return _table(head, rows, 4)


def _scaling(rows) -> str:
  head = (
    "mesh", "chips", "documents", "TFLOPs a chip", "GB moved a chip", "MB in collectives a chip",
    "MB sent a chip", "GB of memory a chip", "ms a step", "tokens/s",
  )  # fmt: skip
  cells = [
    (
      f"`{name}`",
      str(plan["chips"]),
      str(plan["documents"]),
      f"{plan['compiled_flops'] / plan['chips'] / 1e12:.3f}",
      f"{plan['bytes_accessed'] / plan['chips'] / 1e9:.2f}",
      f"{plan['collective_bytes_per_chip'] / 1e6:,.1f}",
      f"{plan['sent_bytes_per_chip'] / 1e6:,.1f}",
      f"{plan['memory_bytes_per_chip'] / 1e9:.2f}",
      f"{plan['roofline_seconds'] * 1e3:,.1f}",
      f"{plan['tokens_per_second']:,.0f}",
    )
    for name, plan in rows
  ]
  return _table(head, cells, 1)


def _growth(plans: Plans) -> str:
  """From 8 to 256 chips, a document a chip: what communication and the rest become."""
  ends = {}
  for name, plan in plans.items():
    kind, mesh, chips = (*name.split("/"), "")[:3]
    if kind == "weak" and chips in ("8", "256"):
      ends.setdefault(mesh, {})[chips] = plan
  rows = [
    (f"`{mesh}`", *_more(both["8"], both["256"]))
    for mesh, both in sorted(ends.items())
    if len(both) == 2
  ]
  head = ("mesh", "bytes in collectives", "bytes sent", "FLOPs", "bytes moved", "memory")
  return _table(head, rows, 1)


def _more(small: Mapping[str, Any], large: Mapping[str, Any]) -> list[str]:
  """What a chip of `large` has more than one of `small`."""
  keys = ("collective_bytes_per_chip", "sent_bytes_per_chip", "compiled_flops", "bytes_accessed")
  of_one = lambda plan, key: plan[key] / (1 if key.endswith("per_chip") else plan["chips"])
  return [
    f"{of_one(large, key) / of_one(small, key) - 1:+.1%}"
    for key in (*keys, "memory_bytes_per_chip")
  ]
