"""Building blocks: dense layers with logical axes, norm, MLP, learned positions, stacks of layers.

Precision, everywhere in the model: parameters float32, matmuls in `ModelConfig.dtype`,
norms, softmaxes and losses float32. Weights carry the logical axes vocab, table, embed,
embed_out, qkv, heads, head_dim, mlp, layers; activations act_batch, act_row, act_token,
act_target, act_embed, act_vocab. Only `htmtl_jax/sharding.py`
knows which mesh axes these are.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from htmtl_jax.models.config import ModelConfig
from htmtl_jax.models.dense_product import dense_product
from htmtl_jax.models.dropout import Dropout
from htmtl_jax.models.rows import EXACT

# Where the steps of `LengthEmbedding` begin: 1, 2, ..., 8, 10, 11, 13, 16, 19, ... 2048.
_LENGTH_STEPS = np.array([*range(1, 9), *np.round(8 * 2 ** (np.arange(1, 33) / 4))], np.int32)


class Dense(nn.Module):
  """A linear map without bias over the last axes, its kernel in its natural shape.

  `nn.DenseGeneral` initialises a flattened kernel, which cannot carry one logical axis a
  dimension under a mesh; hence our own.

  Attributes:
    features: output axes.
    axes: logical axes of the kernel [contracted..., features...].
    config: gives the compute dtype.
    contract: how many of the input's last axes are summed over.
    depth: of the stack whose attention or MLP this is the last kernel of, see `start_variance`.
  """

  features: tuple[int, ...]
  axes: tuple[str | None, ...]
  config: ModelConfig
  contract: int = 1
  depth: int = 0

  @nn.compact
  def __call__(self, x, transposed: bool = False, part=()):
    """[..., contracted] -> [..., features], or [features, ...] if `transposed`.

    `part` is an index into the features, of integers and slices: only those are computed. Cutting
    the result in place of the kernel would copy it.
    """
    inputs = x.shape[x.ndim - self.contract :]
    # LeCun normal: variance one over the number of inputs; less for what adds up.
    init = nn.initializers.variance_scaling(
      self.config.start_variance(self.depth),
      "fan_in",
      "normal",
      in_axis=tuple(range(self.contract)),
      out_axis=tuple(range(self.contract, self.contract + len(self.features))),
    )
    kernel = self.param(
      "kernel", nn.with_logical_partitioning(init, self.axes), (*inputs, *self.features)
    )
    dtype = self.config.compute_dtype
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    # Stored in slices along embed, used whole. Left to itself the compiler for TPUs sends slices
    # round a ring of devices and adds up products: every result is written once for each device.
    whole = tuple(None if axis == "embed" else axis for axis in self.axes)
    kernel = nn.with_logical_constraint(kernel, whole)
    kernel = kernel[(slice(None),) * self.contract + tuple(part)]
    if transposed:
      last, first = tuple(range(x.ndim - self.contract, x.ndim)), tuple(range(self.contract))
      return jax.lax.dot_general(kernel, x, ((first, last), ((), ())))
    return dense_product(x, kernel, self.contract)


def dense(features, axes, config: ModelConfig, *, contract=1, depth=0, name=None) -> Dense:
  """`Dense` with an int allowed for a single output axis."""
  features = (features,) if isinstance(features, int) else tuple(features)
  return Dense(features, tuple(axes), config, contract, depth, name=name)


def join_heads(config: ModelConfig, *, depth=0, name=None) -> Dense:
  """The last linear map of an attention: [..., H, E] -> [..., D]; `depth` as in `Dense`."""
  axes = ("heads", "head_dim", "embed")
  return dense(config.width, axes, config, contract=2, depth=depth, name=name)


class RMSNorm(nn.Module):
  """Root-mean-square norm (Zhang & Sennrich 2019) over the last axis, in float32."""

  config: ModelConfig

  @nn.compact
  def __call__(self, x):
    scale = self.param(
      "scale", nn.with_logical_partitioning(nn.initializers.ones, ("embed",)), (x.shape[-1],)
    )
    return rms_norm(x, scale).astype(self.config.compute_dtype)


@jax.custom_vjp
def rms_norm(x: jax.Array, scale: jax.Array) -> jax.Array:
  """x / rms(x) * scale over the last axis: [..., D], [D] -> [..., D] float32.

  Its own gradient, so that x is all that is kept for the backward pass. Left to itself
  every norm would keep three float32 arrays of its size.
  """
  return _normalised(x)[0] * scale


def _normalised(x):
  """(x / rms, 1 / rms), float32."""
  x = x.astype(jnp.float32)
  inverse = jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-6)
  return x * inverse, inverse


def _rms_norm_backward(residuals, gradient):
  x, scale = residuals
  unit, inverse = _normalised(x)
  d_scale = (gradient * unit).sum(tuple(range(x.ndim - 1)))
  d_unit = gradient * scale
  d_x = inverse * (d_unit - unit * jnp.mean(d_unit * unit, axis=-1, keepdims=True))
  return d_x.astype(x.dtype), d_scale


rms_norm.defvjp(lambda x, scale: (rms_norm(x, scale), (x, scale)), _rms_norm_backward)


class Mlp(nn.Module):
  """Pre-norm residual MLP: x + W2 gelu(W1 norm(x)); [..., D] -> [..., D]; `depth` of its stack."""

  config: ModelConfig
  depth: int

  @nn.compact
  def __call__(self, x, deterministic):
    config = self.config
    h = RMSNorm(config, name="norm")(x)
    h = gelu(dense(config.mlp_width, ("embed", "mlp"), config, name="wide")(h))
    h = dense(config.width, ("mlp", "embed"), config, depth=self.depth, name="narrow")(h)
    return x + Dropout(config.dropout)(h, deterministic=deterministic)


_GELU_SLOPE = 2 * (2 / np.pi) ** 0.5


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
  """x Phi(x) in its tanh form (Hendrycks & Gimpel 2016), keeping x alone for the backward pass.

  Written as a sigmoid, (1 + tanh u) / 2 = sigmoid(2 u): one pass over the array, not three.
  """
  return x * jax.nn.sigmoid(_GELU_SLOPE * x * (1 + 0.044715 * x * x))


def _gelu_backward(x, gradient):
  z = x.astype(jnp.float32)
  share = jax.nn.sigmoid(_GELU_SLOPE * z * (1 + 0.044715 * z * z))
  inner = _GELU_SLOPE * (1 + 3 * 0.044715 * z * z)
  derivative = share + z * share * (1 - share) * inner
  return ((gradient.astype(jnp.float32) * derivative).astype(x.dtype),)


gelu.defvjp(lambda x: (gelu(x), x), _gelu_backward)


class PositionEmbedding(nn.Module):
  """A learned vector for an index among siblings; indices past the last share it.

  The scale is comparable to the unit-variance embeddings they are added to: with the
  customary 0.02 the paragraph rouge2 of a prototype halved (docs/design.md, section 3).
  """

  config: ModelConfig

  @nn.compact
  def __call__(self, positions):
    """[...] int32 -> [..., D]."""
    count = self.config.max_positions
    return _look_up(self, count, jnp.minimum(positions, count - 1))


class LengthEmbedding(nn.Module):
  """A learned vector for how many tokens are left to write (Kikuchi et al. 2016, LenEmb).

  Exact up to 8, then four steps an octave, since nobody asks for 301 tokens rather than
  300; the first vector stands for a length that the decoder is not told.
  """

  config: ModelConfig

  @nn.compact
  def __call__(self, remaining):
    """[...] int32 of `Targets.remaining` -> [..., D]."""
    step = jnp.searchsorted(_LENGTH_STEPS, remaining, side="right")
    return _look_up(self, len(_LENGTH_STEPS) + 1, step)


def _look_up(module: nn.Module, count: int, indices: jax.Array) -> jax.Array:
  """Rows of the module's own table of `count` learned vectors: [...] int32 -> [..., D]."""
  config = module.config
  table = module.param(
    "embedding",
    nn.with_logical_partitioning(
      nn.initializers.normal(config.position_scale),
      (None, "table"),  # small: not cut
    ),
    (count, config.width),
  )
  # As a matmul: of a small table that costs nothing, while a gather's gradient is a scatter, which
  # adds in any order on a GPU, and in rows that do not divide among devices was wrong (XLA of
  # jaxlib 0.10.2 added what lies in their padding).
  chosen = jax.nn.one_hot(indices, count, dtype=jnp.float32)
  return jnp.einsum("...n,nd->...d", chosen, table, precision=EXACT).astype(config.compute_dtype)


class TokenShift(nn.Module):
  """Mixes each token's embedding with its predecessor's: x_t + W x_{t-1}.

  Copying a name of several pieces needs keys that know the token before them. A
  two-token convolution gives that from the first step instead of leaving it to be
  discovered by attention (cf. So et al. 2021, Primer); measured in docs/experiments.md.
  """

  config: ModelConfig

  @nn.compact
  def __call__(self, x, previous):
    """x and previous: [..., D], `previous` being zero at the first position."""
    return x + dense(self.config.width, ("embed", "embed_out"), self.config, name="mix")(previous)


def previous_in_row(x: jax.Array, positions: jax.Array) -> jax.Array:
  """Shifts [..., n, D] by one along n; zero where `positions` [..., n] is 0 (a first token)."""
  shifted = jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(1, 0), (0, 0)])[..., :-1, :]
  return jnp.where((positions > 0)[..., None], shifted, 0)


def rematerialise(function: Callable, config: ModelConfig, length: int, unroll: int) -> Callable:
  """Wraps `function(module, *arrays)` so that its activations are recomputed, as configured.

  "none" keeps every activation, "full" keeps only the inputs, "dots" keeps the results
  of matmuls without a batch dimension (the weights' matmuls). `length` and `unroll` are those of
  the scan that it is called in.
  """
  policies = {"full": None, "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable}
  if config.remat == "none":
    return function
  # In a turn of a scan of its own nothing else can be merged with what is computed again.
  alone = config.scan_layers and unroll == 1 and length > 1
  return nn.remat(function, policy=policies[config.remat], prevent_cse=not alone)


def scan_layers(function: Callable, length: int, unroll: int) -> Callable:
  """`function(layer, carry, xs) -> (carry, ys)` over layers whose parameters are stacked.

  A turn of the scan computes `unroll` layers, all of them if it is 0.
  """
  return nn.scan(
    function,
    variable_axes={"params": 0},
    split_rngs={"params": True, "dropout": True},
    length=length,
    unroll=unroll or length,
    metadata_params={nn.PARTITION_NAME: "layers"},
  )


class Stack(nn.Module):
  """`num_layers` copies of a layer `(x, *shared, deterministic) -> x`, by scan or by loop.

  The scan stacks the parameters along a leading "layers" axis, and turn by turn computes
  `unroll` layers; the loop names them layer_0, layer_1, ... and computes the same. One layer a
  turn is the right number for segments: they are few, so that stacking what their layers keep
  costs nothing, and one layer is soon compiled.
  """

  layer: type[nn.Module]
  num_layers: int
  config: ModelConfig
  unroll: int = 1

  @nn.compact
  def __call__(self, x, *shared, deterministic):
    if self.num_layers == 0:
      return x
    run = lambda layer, x: layer(x, *shared, deterministic)
    apply = rematerialise(run, self.config, self.num_layers, self.unroll)
    if not self.config.scan_layers:
      for i in range(self.num_layers):
        x = apply(self.layer(self.config, name=f"layer_{i}"), x)
      return x
    scanned = scan_layers(
      lambda layer, x, _: (apply(layer, x), None), self.num_layers, self.unroll
    )
    x, _ = scanned(self.layer(self.config, name="layers"), x, None)
    return x
