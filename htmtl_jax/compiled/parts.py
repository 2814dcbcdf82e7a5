"""Which part of the model an instruction belongs to, read off its op_name.

An op_name is the path of transformations, functions and modules that led to an operation:
`jit(step)/transpose(jvp(Htmtl))/Htmtl.encode/encoder/sentence_transformer/stack/while/body/
closed_call/layers.<lambda>/layers/mlp/wide/dot_general`. Its modules are the part, here
`encoder/sentence_transformer/mlp`.
"""

import collections
import dataclasses
import re

from htmtl_jax.compiled.costs import ProgramCosts
from htmtl_jax.flops import RECOMPUTED as COMPUTED_TWICE

FORWARD, BACKWARD, RECOMPUTED = "forward", "backward", "recomputed"
OTHER = "(no module)"
_WRAPPER = re.compile(r"^(?:jvp|transpose|vmap)\((.*)\)$")
# Control flow, functions, and names that say how layers are stacked, not which part they are.
_NOT_A_PART = re.compile(
  r"^(|while|body|cond|closed_call|checkpoint|rematted_computation|branch_\d+_fun|shard_map|"
  rf"custom_[jv][vj]p_call\w*|{COMPUTED_TWICE}|layers|layer_\d+|stack|stack_\d+|[A-Z]\w*)$|[(<>]|->"
)


@dataclasses.dataclass
class PartCost:
  """Sums over the instructions of one part; see `Cost`. `*_of` are by direction."""

  flops: int = 0
  bytes: int = 0
  cycles: int = 0
  flops_of: collections.Counter = dataclasses.field(default_factory=collections.Counter)
  bytes_of: collections.Counter = dataclasses.field(default_factory=collections.Counter)

  def add(self, other: "PartCost") -> None:
    """Adds the sums of another part to these."""
    self.flops += other.flops
    self.bytes += other.bytes
    self.cycles += other.cycles
    self.flops_of += other.flops_of
    self.bytes_of += other.bytes_of


def part_of(op_name: str, depth: int = 3) -> str:
  """The first `depth` modules of an op_name; a method of the whole model where there is none."""
  modules, method = [], OTHER
  # XLA joins the names of operations that it merged.
  for name in _split(op_name.partition(";")[0])[:-1]:
    while wrapped := _WRAPPER.match(name):
      name = wrapped.group(1)
    name, _, function = name.partition(".")
    if function and name[:1].isupper():
      method = function
    if not _NOT_A_PART.search(name) and "->" not in function and [name] != modules[-1:]:
      modules.append(name)
  return "/".join(modules[:depth]) or method


def direction_of(op_name: str) -> str:
  """Whether an operation belongs to the forward pass, the backward pass, or is done again."""
  if "rematted_computation" in op_name or COMPUTED_TWICE in op_name:
    return RECOMPUTED
  return BACKWARD if "transpose(" in op_name else FORWARD


def by_part(costs: ProgramCosts, depth: int = 3) -> dict[str, PartCost]:
  """Costs by part, the one that moves the most bytes first."""
  parts = collections.defaultdict(PartCost)
  for cost in costs.costs:
    part = parts[part_of(cost.op_name, depth)]
    part.bytes += cost.bytes
    part.cycles += cost.cycles
    part.bytes_of[direction_of(cost.op_name)] += cost.bytes
    for matmul in cost.matmuls:
      part = parts[part_of(matmul.op_name, depth)]
      part.flops += matmul.flops
      part.flops_of[direction_of(matmul.op_name)] += matmul.flops
  return dict(sorted(parts.items(), key=lambda item: (-item[1].bytes, item[0])))


def _split(op_name: str) -> list[str]:
  """Splits at the slashes outside of parentheses."""
  parts, depth, last = [], 0, 0
  for found in re.finditer(r"[()/]", op_name):
    if found.group() == "/":
      if depth == 0:
        parts.append(op_name[last : found.start()])
        last = found.end()
    else:
      depth += 1 if found.group() == "(" else -1
  return [*parts, op_name[last:]]
