"""The train step of a row of the ruler, compiled for one TPU chip."""

import dataclasses

from htmtl_jax.config import load_config
from htmtl_jax.plan.compiler import CompiledProgram, Request, compile_step
from htmtl_jax.plan.topology import parse_topology


@dataclasses.dataclass(frozen=True)
class Sizes:
  """What is compiled: a config's file, one batch of it, and overrides `a.b=v`."""

  config: str
  token_rows: int
  target_tokens: int
  documents: int
  overrides: tuple[str, ...] = ()


def compile_program(topology: str, sizes: Sizes, to_the_end: bool = False) -> CompiledProgram:
  """Compiles for a topology in a process of its own; see `compile_step`."""
  return compile_step(
    Request(
      parse_topology(topology),
      load_config(sizes.config, sizes.overrides),
      sizes.token_rows,
      sizes.target_tokens,
      sizes.documents,
      to_the_end,
    )
  )
