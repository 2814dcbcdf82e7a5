"""The arrays of the memory kernels, and which part of each a program gets."""

import dataclasses

import flax.struct
import jax
from jax.experimental import pallas as pl
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Tiles:
  """How a kernel is cut: queries and keys of a block, warps of a program, stages of its loop."""

  queries: int
  keys: int
  warps: int = 4
  stages: int = 2


@flax.struct.dataclass
class Readers:
  """Who reads: everything that has a value for each query.

  Attributes:
    query: [B, T, H, E] bfloat16, not scaled.
    levels: [B, T, N] bfloat16, what each query takes of the bias (`split_bias`); None without one.
    units: [B, U, T] bfloat16, one-hot unit of each query, U a power of two; None without scores.
    targets: [B, T] int32, the tokens to be predicted; None without scores.
  """

  query: jax.Array
  levels: jax.Array | None = None
  units: jax.Array | None = None
  targets: jax.Array | None = None


@flax.struct.dataclass
class Memory:
  """What is read: everything that has a value for each key.

  Attributes:
    keys, values: [B, H, E, M] bfloat16.
    bias: [B, N, M] bfloat16, see `split_bias`, or None.
    mask: [B, T, M] bool, True where a query may look, or None.
    token_ids: [B, M] int32, -1 where not copyable; None without scores.
  """

  keys: jax.Array
  values: jax.Array
  bias: jax.Array | None = None
  mask: jax.Array | None = None
  token_ids: jax.Array | None = None


class BlockSpecs:
  """Which part of each array a program gets: of programs (block, head, document)."""

  def __init__(
    self, tiles: Tiles, queries: int, keys: int, width: int, *, query_programs: bool, heads: int = 0
  ):
    """With `heads` a program gets them all, and its grid is (block, document)."""
    t, m = (tiles.queries, keys) if query_programs else (queries, tiles.keys)
    place = lambda i: (i, 0) if query_programs else (0, i)  # (of queries, of keys)

    def spec(shape, index):
      if heads:
        return pl.BlockSpec(shape, lambda i, b: index(b, 0, *place(i)))
      return pl.BlockSpec(shape, lambda i, h, b: index(b, h, *place(i)))

    head = heads or None
    self.query = spec((None, t, head, width), lambda b, h, i, j: (b, i, h, 0))
    self.keys = spec((None, head, width, m), lambda b, h, i, j: (b, h, 0, j))
    self.by_head = spec((None, head, t), lambda b, h, i, j: (b, h, i))
    self.by_unit_and_key = lambda n: spec((None, n, m), lambda b, h, i, j: (b, 0, j))
    self._units = lambda n: spec((None, n, t), lambda b, h, i, j: (b, 0, i))
    self._levels = lambda n: spec((None, t, n), lambda b, h, i, j: (b, i, 0))
    self.mask = spec((None, t, m), lambda b, h, i, j: (b, i, j))
    self._by_query = spec((None, t), lambda b, h, i, j: (b, i))
    self._by_key = spec((None, m), lambda b, h, i, j: (b, j))

  def of(self, record):
    """The same record with a spec in place of each array."""
    if record is None:
      return None
    known = {
      Readers: lambda: Readers(
        query=self.query,
        levels=self._if(record.levels, self._levels, 2),
        units=self._if(record.units, self._units, 1),
        targets=None if record.targets is None else self._by_query,
      ),
      Memory: lambda: Memory(
        keys=self.keys,
        values=self.keys,
        bias=self._if(record.bias, self.by_unit_and_key, 1),
        mask=None if record.mask is None else self.mask,
        token_ids=None if record.token_ids is None else self._by_key,
      ),
    }
    return known[type(record)]()

  @staticmethod
  def _if(array, make, axis):
    return None if array is None else make(array.shape[axis])


def pad_queries(tiles: Tiles, readers: Readers, memory: Memory, *others):
  """(padded T, and all with so many queries): the added ones see all and count for nothing."""
  length = readers.query.shape[1]
  padded = -(-length // tiles.queries) * tiles.queries
  if padded == length:
    return padded, readers, memory, *others
  extra = padded - length
  first = lambda x: jnp.pad(x, [(0, 0), (0, extra)] + [(0, 0)] * (x.ndim - 2))
  last = lambda x: None if x is None else pad_last(x, padded)
  readers = Readers(
    first(readers.query),
    None if readers.levels is None else first(readers.levels),
    last(readers.units),
    None if readers.targets is None else pad_last(readers.targets, padded, -2),
  )
  if memory.mask is not None:
    memory = memory.replace(mask=first(memory.mask))
  if not others:
    return padded, readers, memory
  gradient, lse, delta, through_scores = others
  through_scores = None if through_scores is None else first(through_scores)
  return padded, readers, memory, first(gradient), last(lse), last(delta), through_scores


def pad_last(array, length, value=0):
  """With zeros, or `value`, up to a length of the last axis."""
  missing = length - array.shape[-1]
  padding = [(0, 0)] * (array.ndim - 1) + [(0, missing)]
  return jnp.pad(array, padding, constant_values=value)
