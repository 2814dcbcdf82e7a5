"""`--topology`: which devices a plan is for, and for which ones its program is compiled."""

import dataclasses
import math
import re

from htmtl_jax.chips import CHIPS, Chip, chip_named
from htmtl_jax.errors import UserError

TPU, CPU, GPU, PRESENT = "tpu", "cpu", "gpu", "present"
_TPUS = tuple(chip.name for chip in CHIPS if chip.node is None)
_GPUS = tuple(chip.name for chip in CHIPS if chip.node is not None)
KNOWN = "v5e:16x16, v5p:2x2x2 (v4, v5e, v5p, v6e, tpu7x), h100:8 (a100, h100, h200), cpu:8"
_MOST_CPUS = 1024
# The TPU whose compiler counts for a GPU: its memory is the nearest, so that XLA does not
# recompute what a GPU could keep.
_STAND_IN = "v5p"


@dataclasses.dataclass(frozen=True)
class Topology:
  """Devices by name.

  Attributes:
    name: as the user wrote it; "" for the devices that are present.
    kind: TPU, CPU, GPU or PRESENT.
    chip: a row of the chip table; None for CPUs and until the present devices are known.
    chips: how many; 0 until the present devices are known.
    shape: of a TPU slice.
  """

  name: str
  kind: str
  chip: Chip | None
  chips: int
  shape: tuple[int, ...] = ()


def parse_topology(name: str) -> Topology:
  """Reads "v5e:16x16", "v5e" (one chip), "h100:8", "cpu:8", or "" for what is present.

  Raises:
    UserError: for anything else; it names what there is.
  """
  if not name:
    return Topology("", PRESENT, None, 0)
  family, _, size = name.partition(":")
  if family not in (*_TPUS, *_GPUS, CPU):
    raise UserError(f"--topology={name}: no chip is called {family!r}; known are {KNOWN}")
  if not re.fullmatch(r"([1-9]\d*(x[1-9]\d*)*)?", size):
    raise UserError(f"--topology={name}: {size!r} is no size; write one like {KNOWN}")
  shape = tuple(int(n) for n in size.split("x")) if size else (1,)
  if family in _TPUS:
    flat = family in ("v5e", "v6e")
    if size and len(shape) != (2 if flat else 3):
      example = "4x4" if flat else "2x2x4"
      raise UserError(
        f"--topology={name}: slices of {family} have {2 if flat else 3} dimensions, "
        f"such as {family}:{example}"
      )
    shape = shape if size else (1, 1) if flat else (1, 1, 1)
    return Topology(name, TPU, chip_named(family), math.prod(shape), shape)
  if len(shape) != 1 or (family == CPU and shape[0] > _MOST_CPUS):
    raise UserError(f"--topology={name}: write a number of devices, such as {family}:8")
  if family == CPU:
    return Topology(name, CPU, None, shape[0])
  return Topology(name, GPU, chip_named(family), shape[0])


def stand_in(topology: Topology) -> Topology:
  """The TPU slice of as many chips in whose program the costs of GPUs are counted."""
  sides, rest, factor = [1, 1, 1], topology.chips, 2
  factors = []
  while rest > 1:
    if rest % factor:
      factor += 1
    else:
      factors.append(factor)
      rest //= factor
  for factor in reversed(factors):  # as much of a cube as its prime factors make
    sides[sides.index(min(sides))] *= factor
  shape = tuple(sorted(sides))
  name = f"{_STAND_IN}:{'x'.join(map(str, shape))}"
  return Topology(name, TPU, chip_named(_STAND_IN), topology.chips, shape)
