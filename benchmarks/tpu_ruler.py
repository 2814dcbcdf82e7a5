"""What the train step costs on one TPU chip, counted without one.

    python -m benchmarks.tpu_ruler                      compiles, prints the table
    python -m benchmarks.tpu_ruler --breakdown          also which parts and instructions it comes from
    python -m benchmarks.tpu_ruler --write              and writes benchmarks/tpu_ruler.json, and
                                                        its table in docs/performance.md
    python -m benchmarks.tpu_ruler --rows=base_16k --topologies=v5e --override=model.dropout=0

Needs the `libtpu` package (`launch/env.sh test` installs it), no TPU. The numbers depend on
nothing but the code and the versions of JAX and libtpu; docs/performance.md says what they mean.
"""

import argparse
from collections.abc import Sequence
import dataclasses
import json
import pathlib
import sys
from typing import Any

from benchmarks.scaling_tables import write_tables
from benchmarks.tpu_floor import Floor, floors
from benchmarks.tpu_program import Sizes, compile_program
from benchmarks.tpu_ruler_tables import breakdown_table, document_table, ruler_table
from htmtl_jax.chips import chip_named
from htmtl_jax.compiled.costs import count_costs
from htmtl_jax.compiled.memory import memory_use
from htmtl_jax.compiled.text import parse_program
from htmtl_jax.config import get_frozen, load_config
from htmtl_jax.errors import UserError
from htmtl_jax.layout import LayoutConfig, make_bucket
from htmtl_jax.models.config import ModelConfig
from htmtl_jax.plan.account import allocated_bytes
from htmtl_jax.plan.compiler import CompiledProgram
from htmtl_jax.plan.libtpu import libtpu_version, require_libtpu

RESULTS = pathlib.Path(__file__).with_name("tpu_ruler.json")
DOCUMENT = pathlib.Path(__file__).resolve().parent.parent / "docs" / "performance.md"
TOPOLOGIES = ("v5e", "v6e")
# Batches without padding: 128 rows of 128 tokens are 16k, and every target slot is written.
ROWS = {
  "base_16k": Sizes("configs/papers_base.py", token_rows=128, target_tokens=1216, documents=1),
  "base_4k": Sizes("configs/papers_base.py", token_rows=32, target_tokens=1216, documents=4),
  "tiny_8k": Sizes("configs/papers_tiny.py", token_rows=64, target_tokens=1216, documents=1),
}
# What may not grow, and by how much it may without anybody looking.
GUARDED = ("compiled_flops", "bytes_accessed", "memory_bytes")
TOLERANCE = 0.02
_UPDATE = "python -m benchmarks.tpu_ruler --write"


@dataclasses.dataclass(frozen=True)
class Measured:
  """One row: its numbers, and the program they were counted in."""

  numbers: dict[str, Any]
  program: CompiledProgram


def measure(topology: str, sizes: Sizes, to_the_end: bool = False) -> Measured:
  """Compiles one row for one chip and counts."""
  program = compile_program(topology, sizes, to_the_end)
  facts, chip = program.facts, chip_named(topology)
  parsed = parse_program(program.text)
  costs, memory = count_costs(parsed), memory_use(parsed)
  arithmetic = costs.flops / chip.flops
  transfer = costs.bytes_accessed / chip.bandwidth
  numbers = {
    "documents": facts["documents"],
    "tokens": facts["tokens"],
    "target_tokens": facts["target_tokens"],
    "parameters": facts["parameters"],
    "useful_flops": facts["useful_flops"],
    "compiled_flops": costs.flops,
    "compiled_over_useful": _rounded(costs.flops / facts["useful_flops"]),
    "bfloat16_pass_flops": costs.pass_flops,
    "bytes_accessed": costs.bytes_accessed,
    "bytes_per_token": _rounded(costs.bytes_accessed / facts["tokens"]),
    "arithmetic_seconds": _rounded(arithmetic),
    "memory_seconds": _rounded(transfer),
    "memory_over_arithmetic": _rounded(transfer / arithmetic),
    "roofline_seconds": _rounded(max(arithmetic, transfer)),
    "tokens_per_second": _rounded(facts["tokens"] / max(arithmetic, transfer)),
    "memory_bytes": memory.total,
    "memory_limit_bytes": int(chip.memory),
    "allocated_bytes": allocated_bytes(program.memory) if to_the_end else None,
    "not_counted": len(costs.not_counted),
  }
  return Measured(numbers, program)


def floors_of(sizes: Sizes, parameters: int) -> list[Floor]:
  """What the parts of a row have to cost at least."""
  config = load_config(sizes.config, sizes.overrides)
  layout = get_frozen(config.layout, LayoutConfig, "layout")
  return floors(
    get_frozen(config.model, ModelConfig, "model"),
    make_bucket(layout, sizes.token_rows, sizes.target_tokens),
    sizes.documents,
    config.tokenizer.vocab_size,
    parameters,
  )


def find_worse(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
  """A line for each guarded number that grew by more than the tolerance."""
  return [
    f"{name} was {old[name]:,}, is {new[name]:,} ({new[name] / old[name] - 1:+.1%})"
    for name in GUARDED
    if new[name] > old[name] * (1 + TOLERANCE)
  ]


def read_results() -> dict[str, Any]:
  """The committed numbers: versions, and rows by name and topology."""
  return json.loads(RESULTS.read_text(encoding="utf-8"))


def versions() -> dict[str, str | None]:
  """Versions that the numbers depend on."""
  import jax

  return {"jax": jax.__version__, "libtpu": libtpu_version()}


def _rounded(value: float) -> float:
  return float(f"{value:.5g}")


def _write(rows: dict[str, dict[str, Any]]) -> None:
  """Replaces the rows that were measured; all of them where the versions have changed."""
  kept = {}
  if RESULTS.exists():
    old = read_results()
    kept = old["rows"] if {name: old[name] for name in versions()} == versions() else {}
  for name, numbers in rows.items():
    before = kept.get(name)
    # Known only from compiling to the end; still true of a program that is the same.
    if before and numbers["allocated_bytes"] is None and _same(before, numbers):
      numbers = numbers | {"allocated_bytes": before["allocated_bytes"]}
    kept[name] = numbers
  results = versions() | {"rows": kept}
  RESULTS.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n", encoding="utf-8")
  write_tables(DOCUMENT, {"ruler": document_table(kept)})


def _same(a: dict[str, Any], b: dict[str, Any]) -> bool:
  return all(a[name] == b[name] for name in a if name != "allocated_bytes")


def _chosen(text: str, known: Sequence[str], flag: str) -> list[str]:
  names = [name for name in text.split(",") if name]
  for name in names:
    if name not in known:
      raise UserError(f"--{flag}: {name!r} is not one of {', '.join(known)}")
  return names or list(known)


def _run(args) -> None:
  if args.write and (args.override or args.documents):
    raise UserError("--write keeps the rows as they are: leave out --override and --documents")
  require_libtpu()
  rows = {}
  for name in _chosen(args.rows, list(ROWS), "rows"):
    sizes = dataclasses.replace(
      ROWS[name],
      overrides=tuple(args.override),
      documents=args.documents or ROWS[name].documents,
    )
    for topology in _chosen(args.topologies, TOPOLOGIES, "topologies"):
      key = f"{name}/{topology}"
      print(f"compiling {key}", file=sys.stderr, flush=True)
      measured = measure(topology, sizes, args.to_the_end)
      rows[key] = measured.numbers
      if args.save:
        path = pathlib.Path(args.save, f"{name}_{topology}.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(measured.program.text, encoding="utf-8")
      if args.breakdown:
        least = floors_of(sizes, measured.numbers["parameters"])
        print(breakdown_table(key, measured.program, least, args.depth, args.top))
  print(ruler_table(rows))
  if RESULTS.exists() and not (args.override or args.documents):
    old = read_results()["rows"]
    for key, numbers in rows.items():
      for line in find_worse(old[key], numbers) if key in old else []:
        print(f"worse than committed: {key}: {line}")
  if args.write:
    _write(rows)


def main() -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--topologies", default="", help=f"of {','.join(TOPOLOGIES)}; default all")
  parser.add_argument("--rows", "--configs", default="", help=f"of {','.join(ROWS)}; default all")
  parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
  parser.add_argument("--breakdown", action="store_true", help="parts and instructions")
  parser.add_argument("--depth", type=int, default=3, help="modules in the name of a part")
  parser.add_argument("--top", type=int, default=30, help="instructions and arrays to list")
  parser.add_argument("--override", action="append", default=[], help="a.b=v of the config")
  parser.add_argument("--documents", type=int, default=0, help="other than the row's")
  parser.add_argument(
    "--to_the_end",
    action="store_true",
    help="make machine code too (minutes): the compiler's own memory, and its estimated cycles",
  )
  parser.add_argument("--save", default="", help="folder for the programs' text")
  try:
    _run(parser.parse_args())
  except UserError as error:
    print(f"tpu_ruler: {error}", file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main())
