"""HTMTL beside its peers: one command, one table, one JSON file, one page of charts.

    python -m benchmarks.run --out=runs/peers.json [--lengths=4096,8192,16384] \\
        [--systems=htmtl,led,...] [--tasks=train,decode] [--size=small] [--dtype=float32]

Every measurement runs in a process of its own, all systems of a task and a length one after the
other or, with `--turns`, step by step in turns, so that a machine that grows warm or busy meets
all alike. The JSON is written anew after each, so a run that is cut off leaves what it had measured.
How the comparison is made: benchmarks/README.md.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
import datetime
import json
import pathlib
import shlex
import sys

from benchmarks import comparison, machine, plots
from benchmarks.apart import measure_apart, measure_in_turns
from benchmarks.peer_names import PEERS
from benchmarks.run_arguments import SYSTEMS, parse_arguments, plan
from htmtl_jax.errors import UserError
from htmtl_jax.evaluation.results import write_atomically
from htmtl_jax.reports.page import check_writable, write_page


def run(
  arguments: argparse.Namespace,
  command: str,
  log: Callable[[str], None] = print,
) -> dict:
  """Measures, writes the JSON and the page as it goes, and returns what the JSON holds."""
  out = pathlib.Path(arguments.out)
  rates = {}
  for framework in ("jax", "torch") if set(arguments.systems) & set(PEERS) else ("jax",):
    request = {
      "matmul": framework,
      "dtype": arguments.dtype,
      "quick": arguments.size == "tiny",
    }
    result = measure_apart(request, arguments.limit)
    rates[framework] = rate = result.get("flops_per_second")
    shown = f"{rate / 1e9:,.0f} GFLOP/s" if rate else result["message"]
    log(f"matmul rate, {framework}: {shown}")
  record = {
    "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    "command": command,
    "machine": machine.describe_machine(),
    "versions": machine.describe_versions(),
    "size": arguments.size,
    "dtype": arguments.dtype,
    "seed": arguments.seed,
    "rounds": arguments.rounds,
    "in_turns": arguments.turns,
    "matmul_flops_per_second": rates,
  }
  groups, measured = plan(arguments), []
  count = sum(map(len, groups))
  for row in _measure_all(groups, arguments):
    measured.append(row)
    if row["status"] == "wrong input":
      raise UserError(row["message"])
    shown = f"{row['median_seconds']:.3f} s" if row["status"] == "ok" else row["message"]
    what = f"{row['task']}, {row['length']:,} tokens, {row['system']}"
    log(f"[{len(measured)}/{count}] {what}: {row['status']}, {shown}")
    rows = comparison.merge_rounds(measured)
    comparison.add_rates(rows, max(filter(None, rates.values()), default=None))
    record |= {
      "rows": rows,
      "ratios": comparison.make_ratios(rows),
      "linearity": comparison.make_linearity(rows),
      "warnings": comparison.check_parameters(rows),
    }
    write_atomically(out, [json.dumps(record, indent=1)])
    write_page(str(out.with_suffix(".html")), plots.render(record, SYSTEMS))
  return record


def _measure_all(groups, arguments: argparse.Namespace) -> Iterator[dict]:
  for requests in groups:
    if arguments.turns:
      found = measure_in_turns(requests, arguments.limit)
    else:
      found = (measure_apart(request, arguments.limit) for request in requests)
    for request, result in zip(requests, found, strict=True):
      yield {**request, **result}


def main(argv: Sequence[str] | None = None) -> int:
  argv = list(sys.argv[1:] if argv is None else argv)
  try:
    arguments = parse_arguments(argv)
    out = pathlib.Path(arguments.out)
    if out.is_dir() or out.suffix == ".html":
      raise UserError(f"--out={out}: name a file for the JSON, such as runs/peers.json")
    try:
      out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise UserError(f"--out={out}: its folder cannot be made ({error.strerror})") from error
    check_writable(str(out.with_suffix(".html")))
    record = run(arguments, shlex.join(["python", "-m", "benchmarks.run", *argv]))
  except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  print()
  print(comparison.render(record["rows"], record["ratios"], record["linearity"]))
  for warning in record["warnings"]:
    print(f"warning: {warning}")
  print(f"\n{arguments.out}, {pathlib.Path(arguments.out).with_suffix('.html')}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
