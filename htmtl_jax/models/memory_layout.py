"""Where a document's keys lie in the memory: in equal slices, one for each device that shares it.

    slice 0                                     slice 1
    its token rows | its segments | padding     its token rows | its segments | padding     ...

So a device's slice is made of the token rows that it has computed, and a share of the segments
of every level. One slice is the plain order: tokens, sentences, paragraphs, sections, padding.
"""

import dataclasses

import jax
import jax.numpy as jnp

from htmtl_jax.errors import UserError
from htmtl_jax.models.memory_attention import Blocks


@dataclasses.dataclass(frozen=True)
class MemoryLayout:
  """M = slices * slice_keys.

  Attributes:
    slices: how many.
    tokens: N, a multiple of `slices`.
    segments: S + P + C; 0 where the memory has tokens alone.
    slice_keys: keys of one slice, padding included.
  """

  slices: int
  tokens: int
  segments: int
  slice_keys: int

  @classmethod
  def cover(cls, slices: int, rows: int, row_tokens: int, segments: int, key_block: int):
    """The layout whose slices cross-attention can cut into equal blocks.

    Raises:
      UserError: if the slices do not get whole token rows.
    """
    if rows % slices:
      raise UserError(
        f"config.mesh.sequence: {slices} devices cannot share {rows} token rows; choose a size that "
        "divides them"
      )
    keys = rows // slices * row_tokens + -(-segments // slices)
    return cls(slices, rows * row_tokens, segments, Blocks.cover(keys, key_block).length)

  def join(self, tokens: jax.Array, segments: jax.Array, axis: int, fill) -> jax.Array:
    """[..., N, ...] and [..., S + P + C, ...] along an axis -> [..., M, ...], `fill` at padding."""
    segments = _pad_end(segments, axis, -segments.shape[axis] % self.slices, fill)
    parts = [_cut(part, axis, self.slices) for part in (tokens, segments)]
    joined = jnp.concatenate(parts, axis + 1)
    padding = self.slice_keys - joined.shape[axis + 1]
    return _merge(_pad_end(joined, axis + 1, padding, fill), axis)

  def split(self, keys: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """What `join` has put together: [..., M, ...] -> [..., N, ...] and [..., S + P + C, ...].

    Slices that are too short for the segments get zeros in their place.
    """
    tokens = self.tokens // self.slices
    segments = -(-self.segments // self.slices)
    keys = _cut(keys, axis, self.slices)
    keys = _pad_end(keys, axis + 1, max(0, tokens + segments - self.slice_keys), 0)
    take = lambda low, high: _merge(jax.lax.slice_in_dim(keys, low, high, axis=axis + 1), axis)
    segments = take(tokens, tokens + segments)
    return take(0, tokens), jax.lax.slice_in_dim(segments, 0, self.segments, axis=axis)


def _cut(array, axis, slices):
  shape = array.shape
  return array.reshape(*shape[:axis], slices, shape[axis] // slices, *shape[axis + 1 :])


def _merge(array, axis):
  shape = array.shape
  return array.reshape(*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])


def _pad_end(array, axis, size, fill):
  widths = [(0, 0)] * array.ndim
  widths[axis] = (0, size)
  return jnp.pad(array, widths, constant_values=fill)
