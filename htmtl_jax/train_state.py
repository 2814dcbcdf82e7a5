"""What training carries from step to step, created in place on its devices."""

import os

import flax.linen as nn
import flax.struct
import jax
from jax.extend.core import jaxpr_as_fun
import jax.numpy as jnp
import optax

from htmtl_jax.layout import Batch
from htmtl_jax.models.htmtl import Htmtl
from htmtl_jax.sharding import state_shardings

_EFFORT = "xla_backend_optimization_level"  # of XLA's flags


@flax.struct.dataclass
class TrainState:
  """Attributes: step [] int32, params, opt_state. Randomness is derived from the step."""

  step: jax.Array
  params: dict
  opt_state: optax.OptState


def make_state(
  model: Htmtl,
  optimizer: optax.GradientTransformation,
  batch: Batch,
  num_units: int,
  mesh,
  seed: int,
):
  """Initialises the state directly in its shardings; no device ever holds all of it.

  Args:
    model: the model.
    optimizer: its state is sharded like the parameters.
    batch: any packed batch; only its shapes count.
    num_units: U of its bucket.
    mesh: the mesh.
    seed: of the initial parameters.

  Returns:
    (init, shardings, abstract): a function without arguments that makes the state, its
    shardings, and its shapes with shardings, for restoring a checkpoint into.
  """
  shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)

  def initialise(key):
    blank = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    params = model.init(key, blank, num_units)["params"]
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))

  key = jax.random.key(seed)
  # Traced once, for the shapes and for the program, and outside the mesh: under it, unboxing
  # would try to place shapes on devices.
  jaxpr, boxed = jax.make_jaxpr(initialise, return_shape=True)(key)
  shardings = state_shardings(mesh, boxed)
  abstract = jax.tree.map(
    lambda array, sharding: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding),
    nn.unbox(boxed),
    shardings,
  )
  structure = jax.tree.structure(abstract)

  def init_state(key):
    return jax.tree.unflatten(structure, jaxpr_as_fun(jaxpr)(key))

  # It runs once, so on a CPU LLVM need not try hard: less time to compile, the same values.
  options = None
  has_devices = isinstance(mesh, jax.sharding.Mesh)  # an abstract one is good for shapes alone
  on_cpu = has_devices and mesh.devices.flat[0].platform == "cpu"
  if on_cpu and _EFFORT not in os.environ.get("XLA_FLAGS", ""):
    options = {_EFFORT: 1}
  compiled = jax.jit(init_state, out_shardings=shardings, compiler_options=options)
  return lambda: compiled(key), shardings, abstract


def count_parameters(params) -> int:
  return sum(x.size for x in jax.tree.leaves(params))
