"""Block-local attention over the whole document: what a flat Transformer reads with.

The tokens are laid out in reading order, in blocks of L, and each attends to its own
block and its two neighbours, whatever sentence, paragraph or section they belong to
(the local attention of Beltagy et al. 2020, by blocks). Linear in the length, like the
sentence transformer that it takes the place of, and of the same parameters per layer.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from htmtl_jax.layout import Batch
from htmtl_jax.models.attention import RowAttention, attend
from htmtl_jax.models.config import ModelConfig
from htmtl_jax.models.layers import Mlp, Stack
from htmtl_jax.models.rotation import make_rotation
from htmtl_jax.models.rows import permute


class BlockAttention(RowAttention):
  """`RowAttention` whose keys are those of the row before, the row itself and the next."""

  def attend(self, query, key, value, mask):
    """query, key, value: [B, R, L, H, E]; mask: [B, R, L, 3L]."""
    return attend(query, with_neighbours(key), with_neighbours(value), mask)


class BlockLayer(nn.Module):
  """One transformer layer over blocks: attention, then an MLP."""

  config: ModelConfig

  @nn.compact
  def __call__(self, x, rotation, mask, deterministic):
    x = BlockAttention(self.config, name="attention")(x, rotation, mask, deterministic)
    x = Mlp(self.config, self.config.encoder_depth, name="mlp")(x, deterministic)
    return nn.with_logical_constraint(x, ("act_batch", "act_row", "act_token", "act_embed"))


class BlockTransformer(nn.Module):
  """A stack of layers over the document's tokens in reading order; rows in, rows out."""

  config: ModelConfig

  @nn.compact
  def __call__(self, x, batch: Batch, deterministic: bool):
    """x: [B, R, L, D] in token rows, returned in the same places."""
    config = self.config
    batch_size, rows, width, features = x.shape
    order = jnp.asarray(batch.reading_order).reshape(batch_size, -1)  # [B, N] of each slot
    mask = jnp.asarray(batch.tokens.mask).reshape(batch_size, -1)  # [B, N] real slots
    slots = jnp.argsort(order, axis=-1)  # [B, N] the slot of each token; padding comes last
    real = jnp.take_along_axis(mask, slots, axis=-1)  # [B, N] real tokens
    order = jnp.where(mask, order, 0)

    x = permute(x.reshape(batch_size, -1, features), slots, real, order, mask)
    # Rotary positions say how far apart two tokens are, these where in the document.
    positions = jnp.arange(rows * width)
    x = x + config.position_scale * sinusoidal_positions(positions, features).astype(x.dtype)
    x = x.reshape(batch_size, rows, width, features)
    real_rows = real.reshape(batch_size, rows, width)
    keys = with_neighbours(real_rows[..., None])[..., 0]  # [B, R, 3L]
    may_look = real_rows[..., :, None] & keys[..., None, :]
    rotation = make_rotation(positions.reshape(rows, width), config.head_width)
    x = Stack(BlockLayer, config.token_layers, config, config.scan_unroll, name="stack")(
      x, rotation, may_look, deterministic=deterministic
    )
    x = permute(x.reshape(batch_size, -1, features), order, mask, slots, real)
    return x.reshape(batch_size, rows, width, features)


def with_neighbours(x: jax.Array) -> jax.Array:
  """[B, R, L, ...] -> [B, R, 3L, ...]: the row before, the row, the next; zeros beyond the ends."""
  padded = jnp.pad(x, [(0, 0), (1, 1)] + [(0, 0)] * (x.ndim - 2))
  return jnp.concatenate([padded[:, :-2], padded[:, 1:-1], padded[:, 2:]], axis=2)


def sinusoidal_positions(positions: jax.Array, width: int) -> jax.Array:
  """Sines and cosines of Vaswani et al. (2017), scaled to unit variance: [n] -> [n, D]."""
  half = width // 2
  frequency = 10_000.0 ** (-jnp.arange(half, dtype=jnp.float32) / half)
  angle = positions[:, None].astype(jnp.float32) * frequency
  return 2.0**0.5 * jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
