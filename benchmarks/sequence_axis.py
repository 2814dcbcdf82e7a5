"""What the `sequence` axis sends, beside ring attention: the table of docs/sharding.md.

    python -m benchmarks.sequence_axis            compiles what is not in sequence_axis.json yet
    python -m benchmarks.sequence_axis --again    compiles all rows again
    python -m benchmarks.sequence_axis --tables   only writes the table again

Needs the `libtpu` package (HTMTL_EXTRAS=plan launch/env.sh), no TPU. Minutes a row, longer for
the million tokens. Depends on the code, JAX and libtpu alone.
"""

import argparse
from collections.abc import Iterable
import dataclasses
import json
import math
import pathlib
import re
import sys

import flax.linen as nn
import jax

from benchmarks.ring_attention import ring_bytes
from benchmarks.scaling_tables import write_tables
from configs import variants
from htmtl_jax.compiled.costs import Cost, program_costs
from htmtl_jax.config import get_frozen, load_config
from htmtl_jax.data.packing import blank_document, stack_documents
from htmtl_jax.layout import Bucket, LayoutConfig, make_bucket
from htmtl_jax.models.config import ModelConfig
from htmtl_jax.models.htmtl import Htmtl
from htmtl_jax.plan.compiler import Request, compile_step
from htmtl_jax.plan.topology import parse_topology

RESULTS = pathlib.Path(__file__).with_name("sequence_axis.json")
DOCUMENT = pathlib.Path(__file__).resolve().parent.parent / "docs" / "sharding.md"
CONFIG = "configs/arxiv.py:base"
TARGETS = 1216
_SHAPE = re.compile(r"([a-z]\w*)\[([\d,]*)\]")
_BYTES = {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "pred": 1}


@dataclasses.dataclass(frozen=True)
class Row:
  """One document on one slice, all of which is the `sequence` axis."""

  token_rows: int
  topology: str
  devices: int


ROWS = (
  Row(136, "v5e:2x2", 4),
  Row(136, "v5e:2x4", 8),
  Row(1088, "v5e:2x4", 8),
  Row(8704, "v5p:2x2x2", 8),
)


def measure(row: Row) -> dict:
  """Bytes that one device sends in a step."""
  config = load_config(CONFIG, ("mesh.data=1", f"mesh.sequence={row.devices}"))
  topology = parse_topology(row.topology)
  compiled = compile_step(Request(topology, config, row.token_rows, TARGETS, documents=1))
  bucket = make_bucket(get_frozen(config.layout, LayoutConfig, "layout"), row.token_rows, TARGETS)
  costs = program_costs(compiled.text)
  weights = bytes_of_weights(costs.costs, parameter_shapes(config, bucket))
  variants.make_flat(config)
  ring = ring_bytes(bucket.tokens, config.model.width, config.model.token_layers, row.devices)
  return dataclasses.asdict(row) | {
    "tokens": bucket.tokens,
    "sent": costs.sent_bytes(),
    "sent_for_weights": weights,
    "ring_layers": config.model.token_layers,
    "ring": ring,
    "not_counted": list(costs.not_counted),
    "jax": jax.__version__,
  }


def parameter_shapes(config, bucket: Bucket) -> set[tuple[int, ...]]:
  """Of all parameters, and of one layer's where they are stacked; sorted, as layouts may differ."""
  model = Htmtl(get_frozen(config.model, ModelConfig, "model"), config.tokenizer.vocab_size)
  batch = stack_documents([blank_document(bucket)])
  initialise = lambda key: model.init(key, batch, bucket.units)
  shapes = set()
  params = nn.unbox(jax.eval_shape(initialise, jax.random.key(0)))["params"]
  for path, array in jax.tree_util.tree_leaves_with_path(params):
    stacked = "'layers'" in jax.tree_util.keystr(path)
    for shape in (array.shape, array.shape[1:] if stacked else array.shape):
      shapes.add(_sorted(shape))
  return shapes


def bytes_of_weights(costs: Iterable[Cost], shapes: set[tuple[int, ...]]) -> int:
  """Bytes sent for arrays of a parameter's shape: their gradients, which any way to train sends."""
  total = 0.0
  for cost in costs:
    sent = sum(collective.sent for collective in cost.collectives)
    if not sent:
      continue
    arrays = [
      (_sorted(map(int, filter(None, dims.split(",")))), _BYTES[kind])
      for kind, dims in _SHAPE.findall(cost.shapes.split(" <- ")[0])
    ]
    size = {True: 0, False: 0}
    for shape, item in arrays:
      size[shape in shapes] += math.prod(shape) * item
    total += sent * size[True] / sum(size.values())
  return round(total)


def _sorted(shape) -> tuple[int, ...]:
  return tuple(sorted(n for n in shape if n != 1))


def table(results: Iterable[dict]) -> str:
  """Markdown."""
  lines = [
    "| tokens | devices | MB sent for weights | MB sent beside | ring attention, MB | share |",
    "| ---: | --- | ---: | ---: | ---: | ---: |",
  ]
  for row in results:
    own = row["sent"] - row["sent_for_weights"]
    lines.append(
      f"| {row['tokens']:,} | `{row['topology']}` | {row['sent_for_weights'] / 1e6:,.0f} | "
      f"{own / 1e6:,.1f} | {row['ring'] / 1e6:,.0f} | {own / row['ring']:.1%} |"
    )
  return "\n".join(lines)


def main() -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--again", action="store_true", help="also rows that are there already")
  parser.add_argument("--tables", action="store_true", help="compile nothing, write the table")
  args = parser.parse_args()
  results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
  for row in ROWS:
    name = f"{row.token_rows}/{row.topology}"
    if args.tables or (name in results and not args.again):
      continue
    print(f"compiling {row.token_rows} token rows for {row.topology}", file=sys.stderr, flush=True)
    results[name] = measure(row)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
  if DOCUMENT.exists():
    write_tables(DOCUMENT, {"sequence": table(results.values())})
  return 0


if __name__ == "__main__":
  sys.exit(main())
