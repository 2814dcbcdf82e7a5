"""The least time of a step: what the chip has to compute, move and send, each at its peak."""

import dataclasses

from htmtl_jax.chips import Chip


@dataclasses.dataclass(frozen=True)
class Roofline:
  """Seconds of one step on every chip alike.

  Attributes:
    arithmetic: FLOPs / peak FLOP/s.
    memory: bytes of main memory / bandwidth.
    interconnect: bytes sent to other chips / bytes a second of the chip's links.
  """

  arithmetic: float
  memory: float
  interconnect: float

  @property
  def seconds(self) -> float:
    """max(arithmetic, memory) + interconnect.

    Computing and reading overlap at best completely. Of the communication nothing is taken to
    overlap: how much of it does is the scheduler's affair, and a plan should rather be too long.
    """
    return max(self.arithmetic, self.memory) + self.interconnect

  @property
  def bound_by(self) -> str:
    """Which of the three takes longest."""
    return max(("arithmetic", "memory", "interconnect"), key=lambda name: getattr(self, name))


def roofline(flops: int, moved: int, sent: int, chip: Chip, chips: int) -> Roofline:
  """Least times (Williams et al. 2009, with a third roof for the links between chips).

  Args:
    flops: of one chip in bfloat16 products; a float32 product of highest precision is six.
    moved: bytes that one chip reads from and writes to its main memory.
    sent: bytes that one chip sends to others.
    chip: its peaks.
    chips: how many; beyond a node of GPUs, all bytes go over the network.
  """
  return Roofline(flops / chip.flops, moved / chip.bandwidth, sent / chip.link(chips))


def model_flops_utilisation(useful_flops: int, seconds: float, chip: Chip, chips: int) -> float:
  """Useful FLOPs / (seconds x chips x peak FLOP/s), after Chowdhery et al. 2022 (PaLM).

  Args:
    useful_flops: of a whole step on all chips: the matmuls of the model, nothing recomputed.
  """
  return useful_flops / (seconds * chips * chip.flops)
