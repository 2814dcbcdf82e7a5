"""What one chip can do at best: the one table of peaks, memories and links.

    flops         dense bfloat16 FLOP/s
    memory        bytes of main memory
    bandwidth     bytes a second between the chip and that memory
    interconnect  bytes a second that a chip can send to its neighbours, all links together,
                  one direction (makers often give both directions added up: halved here)
    network       bytes a second that a chip can send to chips outside of its node

Looked up on 2026-11-26. TPUs: "System architecture" on docs.cloud.google.com/tpu/docs/v4, v5e,
v5p, v6e and tpu7x, where GB are read as 10^9 bytes, which errs to the safe side. GPUs: NVIDIA's
data sheets of the A100 80GB SXM, the H100 SXM and the H200 SXM; the network is that of DGX
machines, one adapter a GPU: HDR 200 Gbit/s beside the A100, NDR 400 Gbit/s beside the others.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Chip:
  """One row of the table; see the module for the units.

  Attributes:
    name: what it is called in `--topology`.
    kinds: parts of JAX's `device_kind` that tell it from others.
    flops, memory, bandwidth, interconnect: peaks of one chip.
    node: chips that reach one another by `interconnect`; None where all of a slice do.
    network: outside of the node; None where there is no outside.
    devices: what JAX shows of one chip; each has its share of everything.
  """

  name: str
  kinds: tuple[str, ...]
  flops: float
  memory: float
  bandwidth: float
  interconnect: float
  node: int | None = None
  network: float | None = None
  devices: int = 1

  def link(self, chips: int) -> float:
    """Bytes a second that a chip of `chips` sends at best: the slowest link it has to use."""
    beyond_node = self.node is not None and chips > self.node
    return self.network if beyond_node else self.interconnect


# The first whose kind is found counts: "TPU v5 lite" before "TPU v5".
CHIPS = (
  Chip("v4", ("TPU v4",), 275e12, 32e9, 1228e9, 300e9),
  Chip("v5e", ("TPU v5 lite", "TPU v5e"), 197e12, 16e9, 819e9, 200e9),
  Chip("v5p", ("TPU v5p", "TPU v5"), 459e12, 95e9, 2765e9, 600e9),
  Chip("v6e", ("TPU v6",), 918e12, 32e9, 1640e9, 400e9),
  Chip("tpu7x", ("TPU7x", "TPU v7"), 2307e12, 192e9, 7380e9, 600e9, devices=2),
  Chip("a100", ("A100",), 312e12, 80e9, 2039e9, 300e9, node=8, network=25e9),
  Chip("h100", ("H100",), 989e12, 80e9, 3350e9, 450e9, node=8, network=50e9),
  Chip("h200", ("H200",), 989e12, 141e9, 4800e9, 450e9, node=8, network=50e9),
)


def chip_named(name: str) -> Chip | None:
  """The chip of that name, None where there is none."""
  return next((chip for chip in CHIPS if chip.name == name), None)


def chip_of_kind(device_kind: str) -> Chip | None:
  """The chip of JAX's `device_kind`, None where we do not know it (CPUs)."""
  return next((c for c in CHIPS if any(kind in device_kind for kind in c.kinds)), None)
