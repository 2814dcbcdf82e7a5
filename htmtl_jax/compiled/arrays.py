"""Arrays as XLA's text writes them, `bf16[4,128]{1,0:T(8,128)(2,1)S(1)}`, and their size.

TPUs store arrays in tiles: the last two dimensions are filled up to multiples of 8 and 128,
and the filling travels between memory and core like the rest. So the size that counts is
that of the tiles, not of the elements.
"""

import dataclasses
import math
import re

_BITS = {
  "pred": 8, "s2": 2, "u2": 2, "s4": 4, "u4": 4, "s8": 8, "u8": 8, "s16": 16, "u16": 16,
  "bf16": 16, "f16": 16, "s32": 32, "u32": 32, "f32": 32, "s64": 64, "u64": 64, "f64": 64,
  "c64": 64, "c128": 128, "token": 0, "opaque": 0, "f4e2m1fn": 4, "f8e8m0fnu": 8,
}  # fmt: skip
_ARRAY = re.compile(r"([a-z]\w*)\[([^\]]*)\](?:\{([^{}]*)\})?")
_TILE = re.compile(r"\(([\d,*]+)\)")
MAIN_MEMORY = 0


@dataclasses.dataclass(frozen=True)
class Array:
  """One array of an instruction.

  Attributes:
    dtype: XLA's name of the element type.
    shape: logical dimensions.
    order: dimensions from major to minor, as they lie in memory.
    tiles: one tuple of sizes for each level of tiling, the outermost first.
    space: memory space; 0 is main memory (HBM), on a TPU 1 is VMEM.
  """

  dtype: str
  shape: tuple[int, ...]
  order: tuple[int, ...] = ()
  tiles: tuple[tuple[int, ...], ...] = ()
  space: int = MAIN_MEMORY

  @property
  def bits(self) -> int:
    """Bits of an element; 8-bit floats have names of their own."""
    if self.dtype in _BITS:
      return _BITS[self.dtype]
    if self.dtype.startswith("f8"):
      return 8
    raise ValueError(f"unknown element type {self.dtype}")

  @property
  def elements(self) -> int:
    return math.prod(self.shape)

  @property
  def logical_bytes(self) -> int:
    """Bytes of the elements alone."""
    return -(-self.elements * self.bits // 8)

  @property
  def bytes(self) -> int:
    """Bytes in memory, tiles filled up."""
    sizes = [self.shape[i] for i in self.order] if self.order else list(self.shape)
    for tile in self.tiles:
      sizes = [1] * (len(tile) - len(sizes)) + sizes
      first = len(sizes) - len(tile)
      counts = [-(-size // part) for size, part in zip(sizes[first:], tile)]
      sizes = sizes[:first] + counts + list(tile)
    return -(-math.prod(sizes) * self.bits // 8)

  @property
  def in_main_memory(self) -> bool:
    return self.space == MAIN_MEMORY

  def __str__(self) -> str:
    where = "" if self.in_main_memory else f"@{self.space}"
    return f"{self.dtype}[{','.join(map(str, self.shape))}]{where}"


def parse_arrays(text: str) -> tuple[Array, ...]:
  """All arrays of a type, tuples flattened, in order."""
  return tuple(_parse(*match.groups()) for match in _ARRAY.finditer(text))


def _parse(dtype: str, dims: str, layout: str | None) -> Array:
  # A dynamic dimension is written with its bound, `<=128`.
  shape = tuple(int(n.strip().lstrip("<=")) for n in dims.split(",") if n.strip())
  order, tiles, space = (), (), MAIN_MEMORY
  if layout:
    minor_to_major, _, rest = layout.partition(":")
    order = tuple(int(n) for n in reversed(minor_to_major.split(",")) if n.strip())
    tiling = re.search(r"T((?:\([\d,*]+\))+)", rest)
    if tiling and "*" not in tiling.group(1):
      tiles = tuple(
        tuple(int(n) for n in tile.split(",")) for tile in _TILE.findall(tiling.group(1))
      )
    found = re.search(r"S\((\d+)\)", rest)
    space = int(found.group(1)) if found else MAIN_MEMORY
  return Array(dtype, shape, order, tiles, space)
