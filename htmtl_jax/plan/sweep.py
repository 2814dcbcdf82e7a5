"""`--sweep`: which mesh, and which rematerialisation, is the fastest that fits."""

from collections.abc import Callable, Mapping
import time
from typing import Any

import ml_collections

from htmtl_jax.errors import UserError
from htmtl_jax.sharding import MESH_AXES

MOST_MESHES = 10  # each is compiled, which takes tens of seconds
_TENSOR = (1, 2, 4, 8)
_SEQUENCE = (1, 2, 4, 8)
# Memory falls from left to right.
_BY_MEMORY = ("none", "dots", "full")


def find_best(
  config, planned: Callable[[Any], dict[str, Any]], say: Callable[[str], None]
) -> dict[str, Any]:
  """Plans the config on every candidate mesh, then the best mesh with every rematerialisation.

  The best is the one with the most tokens a second among those that fit; where none fits, the
  one that needs the least memory, and its rematerialisation is swept all the same.

  Args:
    config: the whole config; its own mesh is tried first.
    planned: config -> plan.
    say: prints progress.

  Returns:
    The plan of the best, with `sweep`, a list of what was tried.

  Raises:
    UserError: if the config's own mesh cannot be planned, recomputing everything; of other meshes
      that cannot it is noted why.
  """
  failures = []
  # What the compiler itself finds too large may do with everything recomputed.
  tried = _try(_with(config, {}), planned, say, failures)
  if not tried:
    config = _with(config, {})
    config.model.remat = _BY_MEMORY[-1]
    tried = _try(config, planned, say, failures)
  if not tried:
    raise UserError(failures[0])
  first = tried[0]
  for mesh in candidate_meshes(first["devices"], config.model.num_heads, first):
    if mesh != first["mesh"]:
      tried += _try(_with(config, mesh), planned, say, failures)
  best = choose(tried)
  for remat in _BY_MEMORY:
    if remat != best["remat"] and not _tried(tried, best["mesh"], remat):
      changed = _with(config, best["mesh"])
      changed.model.remat = remat
      tried += _try(changed, planned, say, failures)
  best = choose(tried)
  return best | {"sweep": [_row(plan) for plan in tried], "sweep_failures": failures}


def candidate_meshes(devices: int, num_heads: int, plan: Mapping[str, Any]) -> list[dict[str, int]]:
  """Meshes worth a try, the likeliest first, at most `MOST_MESHES`.

  Documents are spread over `data` or `fsdp`; more shards than documents would hold blanks, so
  that `sequence` and `tensor` take what documents cannot.
  """
  wanted = plan["documents_wanted"]
  meshes = []
  for sequence in _SEQUENCE:
    for tensor in _TENSOR:
      shards, rest = divmod(devices, sequence * tensor)
      if rest or num_heads % tensor or plan["bucket"][0] % sequence:
        continue
      for fsdp in dict.fromkeys((1, shards, min(shards, 8))):
        if shards % fsdp == 0:
          sizes = (shards // fsdp, fsdp, tensor, sequence)
          blanks = max(shards - wanted, 0)
          meshes.append((blanks, tensor * sequence, sizes))
  meshes = [sizes for *_, sizes in sorted(meshes, key=lambda mesh: mesh[:2])]
  return [dict(zip(MESH_AXES, sizes)) for sizes in meshes[:MOST_MESHES]]


def choose(plans: list[dict[str, Any]]) -> dict[str, Any]:
  """The most real tokens a second among those that fit, else the least memory."""
  fitting = [plan for plan in plans if plan["fits"] is not False]
  if not fitting:
    return min(plans, key=lambda plan: plan["memory_bytes_per_chip"])
  if fitting[0]["roofline_seconds"] is None:  # CPUs: nothing is known of their speed
    return min(fitting, key=lambda plan: plan["memory_bytes_per_chip"])
  return max(fitting, key=_documents_a_second)


def _documents_a_second(plan: Mapping[str, Any]) -> float:
  """Blanks that only fill a batch are no documents."""
  return min(plan["documents"], plan["documents_wanted"]) / plan["roofline_seconds"]


def _with(config, mesh: Mapping[str, int]):
  changed = ml_collections.ConfigDict(config.to_dict())
  changed.mesh.update(mesh)
  return changed


def _try(config, planned, say, failures: list[str]) -> list[dict[str, Any]]:
  """[the plan], or [] and a line in `failures`."""
  start = time.monotonic()
  try:
    plan = planned(config)
  except UserError as error:
    failures.append(f"{dict(config.mesh)}, remat {config.model.remat}: {error}")
    say(f"  {failures[-1]}")
    return []
  _say(say, plan, time.monotonic() - start)
  return [plan]


def _tried(plans: list[dict[str, Any]], mesh: Mapping[str, int], remat: str) -> bool:
  return any(plan["mesh"] == mesh and plan["remat"] == remat for plan in plans)


def _say(say, plan: Mapping[str, Any], seconds: float) -> None:
  speed = plan["tokens_per_second"]
  say(
    f"  {mesh_text(plan['mesh'])}, remat {plan['remat']}: "
    f"{plan['memory_bytes_per_chip'] / 1e9:.2f} GB a chip"
    + ("" if plan["fits"] is not False else " (does not fit)")
    + (f", {speed:,.0f} tokens/s" if speed else "")
    + (f"   [{seconds:.0f} s]" if seconds else "")
  )


def mesh_text(mesh: Mapping[str, int]) -> str:
  """ "data=8 tensor=2": the axes that are more than one."""
  return " ".join(f"{axis}={n}" for axis, n in mesh.items() if n > 1) or "one device"


def _row(plan: Mapping[str, Any]) -> dict[str, Any]:
  keys = ("mesh", "remat", "documents", "fits", "memory_bytes_per_chip", "roofline_seconds")
  return {key: plan[key] for key in (*keys, "tokens_per_second", "collective_bytes_per_chip")}
