"""`--mode=plan`: from a config and a topology to a table and `plan.json`."""

from collections.abc import Mapping
import functools
import json
import os
import pathlib
import re
from typing import Any

from htmtl_jax.config import get_frozen
from htmtl_jax.errors import UserError
from htmtl_jax.experiment import check_config
from htmtl_jax.layout import LayoutConfig, make_buckets
from htmtl_jax.plan import report, sweep
from htmtl_jax.plan.account import make_plan
from htmtl_jax.plan.compiler import Request, compile_step
from htmtl_jax.plan.libtpu import libtpu_version, require_libtpu
from htmtl_jax.plan.topology import CPU, GPU, TPU, Topology, parse_topology, stand_in

PLAN_FILE = "plan.json"


def run_plan(
  config,
  *,
  topology: str = "",
  bucket: str = "",
  full_compile: bool = False,
  sweep_meshes: bool = False,
  output: str | None = None,
) -> dict[str, Any]:
  """Plans, prints, and writes `plan.json` if there is an output.

  Args:
    config: the whole config.
    topology: see `topology.parse_topology`.
    bucket: "ROWSxTARGETS"; "" for the config's largest.
    full_compile: also make machine code, for the compiler's own figure of the memory.
    sweep_meshes: try meshes and rematerialisation, and plan the best.
    output: a file that ends in .json, or a folder for plan.json.

  Returns:
    What was written.

  Raises:
    UserError: for what cannot be planned: a topology, a mesh or a bucket that cannot be.
  """
  check_config(config)
  planned = functools.partial(
    plan_config, topology=parse_topology(topology), bucket=bucket, full_compile=full_compile
  )
  if sweep_meshes:
    plan = sweep.find_best(config, planned, report.progress)
  else:
    report.progress(f"compiling for {topology or 'the devices present'}")
    plan = planned(config)
  print(report.format_plan(plan))
  if output:
    print(f"\nwritten: {write_plan(plan, output)}")
  return plan


def plan_config(
  config, *, topology: Topology, bucket: str = "", full_compile: bool = False
) -> dict[str, Any]:
  """The plan of one config, mesh and rematerialisation; see `account.make_plan`."""
  compiled_for = compiler_target(topology)
  rows, targets = parse_bucket(config, bucket)
  request = Request(compiled_for, config, rows, targets, to_the_end=full_compile)
  plan = make_plan(topology, compiled_for, compile_step(request), config.train.num_steps)
  return plan | {"remat": config.model.remat, "libtpu": libtpu_version()}


def compiler_target(topology: Topology) -> Topology:
  """What to compile for: the devices themselves; for GPUs as many TPU chips, else CPUs."""
  if topology.kind == TPU:
    require_libtpu()
  if topology.kind != GPU:
    return topology
  if libtpu_version() is not None:
    return stand_in(topology)
  return parse_topology(f"{CPU}:{topology.chips}")


_MOST_ROWS, _MOST_TARGETS = 1_000_000, 100_000  # beyond these, counts leave 64 bits


def parse_bucket(config, text: str) -> tuple[int, int]:
  """(token rows, target tokens) of "136x1216", or of the config's largest bucket.

  Raises:
    UserError: for anything else.
  """
  largest = make_buckets(get_frozen(config.layout, LayoutConfig, "layout"))[-1]
  if not text:
    return largest.token_rows, largest.target_tokens
  found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
  if not found:
    raise UserError(
      f"--bucket={text}: write token rows by target tokens, such as "
      f"{largest.token_rows}x{largest.target_tokens}"
    )
  rows, targets = int(found.group(1)), int(found.group(2))
  if rows > _MOST_ROWS or targets > _MOST_TARGETS:
    raise UserError(f"--bucket={text}: at most {_MOST_ROWS}x{_MOST_TARGETS}")
  return rows, targets


def write_plan(plan: Mapping[str, Any], output: str) -> pathlib.Path:
  """Writes the plan to a file that ends in .json, or to plan.json in a folder."""
  path = pathlib.Path(output)
  path = path if path.suffix == ".json" else path / PLAN_FILE
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)
  except OSError as error:
    raise UserError(f"{path} cannot be written: {error.strerror}") from error
  return path
