"""From a compiled train step to the numbers of `plan.json`.

Numbers named `..._per_chip` are of one chip; FLOPs and `bytes_accessed` are of all chips
together. docs/scaling.md has the list of all keys.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from htmtl_jax.chips import Chip, chip_of_kind
from htmtl_jax.compiled.costs import ProgramCosts, count_costs
from htmtl_jax.compiled.memory import memory_use
from htmtl_jax.compiled.text import Program, parse_program
from htmtl_jax.plan.compiler import CompiledProgram
from htmtl_jax.plan.roofline import model_flops_utilisation, roofline
from htmtl_jax.plan.topology import CPU, GPU, PRESENT, TPU, Topology

FOLLOWED = "followed through the scheduled program"
ALLOCATED = "allocated by the compiler"


@dataclasses.dataclass(frozen=True)
class Memory:
  """Bytes on one device. Attributes: total; where it is from; by kind."""

  total: int
  source: str
  by_kind: dict[str, int]


def make_plan(
  topology: Topology, compiled_for: Topology, compiled: CompiledProgram, num_steps: int
) -> dict[str, Any]:
  """All numbers of a plan, plain values only.

  Args:
    topology: what the plan is for.
    compiled_for: where the program is from; another one than `topology` for GPUs.
    compiled: the program.
    num_steps: of the whole training.
  """
  facts, program = compiled.facts, parse_program(compiled.text)
  costs = count_costs(program)
  chip = topology.chip or chip_of_kind(facts["device_kind"])
  chips, devices = _chips(topology, chip, facts["devices"])
  memory = _memory(program, compiled, by_compiler=compiled_for.kind in (CPU, PRESENT))
  per_chip = memory.total * devices
  limit = int(chip.memory) if chip else None
  plan = {
    "topology": topology.name or f"present: {chips} x {facts['device_kind']}",
    "chips": chips,
    "devices": facts["devices"],
    "compiled_for": compiled_for.name or "the devices present",
    "mesh": facts["mesh"],
    "documents": facts["documents"],
    "documents_wanted": facts["documents_wanted"],
    "bucket": [facts["token_rows"], facts["target_tokens"] // facts["documents"]],
    "tokens": facts["tokens"],
    "target_tokens": facts["target_tokens"],
    "padding_counted": True,  # every slot of the bucket is taken to be a real token
    "parameters": facts["parameters"],
    "fits": None if limit is None else per_chip <= limit,
    "memory_bytes_per_chip": per_chip,
    "memory_limit_bytes": limit,
    "memory_by_kind": {name: n * devices for name, n in memory.by_kind.items()},
    "memory_source": memory.source,
    "useful_flops": facts["useful_flops"],
    "compiled_flops": costs.flops * facts["devices"],
    "bytes_accessed": costs.bytes_accessed * facts["devices"],
    "collective_bytes_per_chip": sum(costs.collective_bytes().values()) * devices,
    "collectives": {name: n * devices for name, n in costs.collective_bytes().items()},
    "sent_bytes_per_chip": costs.sent_bytes() * devices,
    "num_steps": num_steps,
    "not_counted": list(costs.not_counted),
    "jax": facts["jax"],
  }
  return plan | _times(plan, costs, chip, devices, chips)


def _chips(topology: Topology, chip: Chip | None, devices: int) -> tuple[int, int]:
  """(chips, devices that JAX shows of one)."""
  if topology.kind in (TPU, GPU):
    return topology.chips, devices // topology.chips
  of_one = chip.devices if chip else 1
  return devices // of_one, of_one


def _times(plan: Mapping[str, Any], costs: ProgramCosts, chip, devices, chips) -> dict[str, Any]:
  """Roofline and what follows from it; None where the chip's peaks are not known."""
  names = ("arithmetic_seconds", "memory_seconds", "interconnect_seconds", "bound_by")
  names += ("roofline_seconds", "tokens_per_second", "mfu", "hours", "chip_hours")
  if chip is None:
    return dict.fromkeys(names)
  least = roofline(
    costs.pass_flops * devices,
    costs.bytes_accessed * devices,
    plan["sent_bytes_per_chip"],
    chip,
    chips,
  )
  hours = least.seconds * plan["num_steps"] / 3600
  mfu = model_flops_utilisation(plan["useful_flops"], least.seconds, chip, chips)
  values = (least.arithmetic, least.memory, least.interconnect, least.bound_by)
  values += (least.seconds, plan["tokens"] / least.seconds, mfu, hours, hours * chips)
  return dict(zip(names, values, strict=True))


def _memory(program: Program, compiled: CompiledProgram, by_compiler: bool) -> Memory:
  """The compiler's own figure where there is one to be had, else ours.

  By kind: parameters, optimiser state and batch by their exact sizes; `filling`, what tiles add
  to these; `activations and gradients`, everything else that is alive at the worst moment.
  """
  facts, use = compiled.facts, memory_use(program)
  by_kind = {
    "parameters": facts["parameter_bytes"],
    "optimizer": facts["optimizer_bytes"],
    "batch": facts["batch_bytes"],
  }
  own = compiled.memory if by_compiler or compiled.memory else None
  arguments = own["argument"] if own else use.arguments
  total = allocated_bytes(own) if own else use.total
  # Of the batch, what the step does not read is no argument in the end.
  state = by_kind["parameters"] + by_kind["optimizer"]
  by_kind["batch"] = min(by_kind["batch"], arguments - state)
  by_kind["filling"] = arguments - state - by_kind["batch"]
  by_kind["activations and gradients"] = total - arguments
  return Memory(total, ALLOCATED if own else FOLLOWED, by_kind)


def allocated_bytes(memory: Mapping[str, int]) -> int:
  """What the compiler allocates; outputs written over inputs count once."""
  held = memory["argument"] + memory["output"] - memory["alias"]
  return held + memory["temp"] + memory["generated_code"]
