"""What scaling costs, by plan mode: the numbers of docs/scaling.md and of two configs' headers.

    python -m benchmarks.scaling                      plans what is not in scaling.json yet
    python -m benchmarks.scaling --rows=fsdp --again  plans the rows with that in their name again
    python -m benchmarks.scaling --tables             only writes the tables again

Needs the `libtpu` package (HTMTL_EXTRAS=plan launch/env.sh), no TPU. A row takes half a minute to a few
minutes. Nothing is drawn at random; the numbers depend on the code, JAX and libtpu.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import time
from typing import Any

from benchmarks.scaling_tables import header_tables, tables, write_tables
from htmtl_jax.config import load_config
from htmtl_jax.errors import UserError
from htmtl_jax.plan.run import plan_config
from htmtl_jax.plan.topology import parse_topology

RESULTS = pathlib.Path(__file__).with_name("scaling.json")
ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "scaling.md"
# The rows are those of arXiv; PubMed's config is the same but for the papers that it reads.
HEADERS = (ROOT / "configs" / "arxiv.py", ROOT / "configs" / "pubmed.py")

BUCKET = (136, 1216)  # 17,408 token slots and full targets
STRONG_BATCH = 256  # documents, whatever the number of chips
SLICES = {1: "1x1", 8: "2x4", 64: "8x8", 256: "16x16"}
# Meshes by what they are called in the tables; `data` takes what is left. Slices of parameters are
# brought together a layer at a time, as by the configs that have them (configs/sizes.py).
MESHES = {
  "data": (),
  "fsdp": ("mesh.data=1", "mesh.fsdp=-1", "model.scan_unroll=1"),
  "data, fsdp=8": ("mesh.fsdp=8", "model.scan_unroll=1"),
}


@dataclasses.dataclass(frozen=True)
class Row:
  """One plan: its config, topology, overrides `a.b=v`, and "ROWSxTARGETS" or ""."""

  config: str
  topology: str
  overrides: tuple[str, ...] = ()
  bucket: str = ""

  @property
  def command(self) -> str:
    flags = [f"--config={self.config}", f"--topology={self.topology}"]
    flags += [f"--config.{override}" for override in self.overrides]
    flags += [f"--bucket={self.bucket}"] if self.bucket else []
    return " ".join(["--mode=plan", *flags])


def make_rows() -> dict[str, Row]:
  """All rows by name."""
  arxiv = lambda size: f"configs/arxiv.py:{size}"
  rows = {
    "size/tiny/v5e": Row(arxiv("tiny"), "v5e:1x1"),
    "size/small/v5e": Row(arxiv("small"), "v5e:2x2"),
    "size/base/v5e": Row(arxiv("base"), "v5e:4x4"),
    "size/base/v6e": Row(arxiv("base"), "v6e:2x4"),
    "size/large/v5p": Row(arxiv("large"), "v5p:2x2x4"),
    "size/large/v6e": Row(arxiv("large"), "v6e:4x4"),
    "size/xl/v5p": Row(arxiv("xl"), "v5p:2x4x4"),
    "size/xl/v6e": Row(arxiv("xl"), "v6e:4x8"),
    "size/base/h100": Row(arxiv("base"), "h100:8"),
    "size/large/h100": Row(arxiv("large"), "h100:8"),
    "size/xl/h200": Row(arxiv("xl"), "h200:16"),
    "long/small/v5e": Row(arxiv("small,128k"), "v5e:2x2"),
    "long/base/v5p": Row(arxiv("base,128k"), "v5p:2x2x2"),
    "long/large/v5p": Row(arxiv("large,128k"), "v5p:2x2x4"),
    "long/xl/v5p": Row(arxiv("xl,128k"), "v5p:2x4x4", ("model.remat=dots",)),
    "million/base/v5p": Row(
      arxiv("base,128k"),
      "v5p:2x2x2",
      ("mesh.data=1", "mesh.sequence=8", "data.max_input_tokens=1048576"),
      "8704x1216",
    ),
  }
  for name, mesh in MESHES.items():
    for chips, shape in SLICES.items():
      if "fsdp=8" in name and chips < 8:
        continue
      weak = (f"train.batch_token_rows={BUCKET[0] * chips}",)
      rows[f"weak/{name}/{chips}"] = Row(arxiv("base"), f"v5e:{shape}", (*mesh, *weak))
      if "fsdp=8" in name:
        continue
      strong = (
        f"train.batch_token_rows={BUCKET[0] * STRONG_BATCH}",
        f"train.accumulate={STRONG_BATCH // chips}",
      )
      rows[f"strong/{name}/{chips}"] = Row(arxiv("base"), f"v5e:{shape}", (*mesh, *strong))
  return rows


def plan_row(row: Row) -> dict[str, Any]:
  """Its plan, and the command that gives it."""
  config = load_config(row.config, row.overrides)
  start = time.monotonic()
  plan = plan_config(config, topology=parse_topology(row.topology), bucket=row.bucket)
  return {"command": row.command, "seconds_to_plan": round(time.monotonic() - start, 1)} | plan


def main() -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--rows", default="", help="only rows with this in their name")
  parser.add_argument("--again", action="store_true", help="also those that are there already")
  parser.add_argument("--tables", action="store_true", help="plan nothing, write the tables")
  args = parser.parse_args()
  results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
  # Strong scaling last, of each the ends first: what has to stay the same is seen soon.
  order = lambda row: (row[0].startswith("strong"), not row[0].endswith(("/8", "/256")))
  rows = sorted(make_rows().items(), key=order)
  for name, row in rows:
    if args.tables or args.rows not in name or (name in results and not args.again):
      continue
    print(f"{name}: {row.command}", file=sys.stderr, flush=True)
    try:
      results[name] = plan_row(row)
    except UserError as error:
      print(f"  {error}", file=sys.stderr, flush=True)
      continue
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
  write_tables(DOCUMENT, tables(results))
  for header in HEADERS:
    write_tables(header, header_tables(results))
  return 0


if __name__ == "__main__":
  sys.exit(main())
