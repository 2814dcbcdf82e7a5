"""Compiling the train step for a TPU that is not there.

The `libtpu` wheel holds the compiler; it runs on any x86 machine. Only shapes go in: no
parameter and no document exists at any time.
"""

import dataclasses
import os

import flax.linen as nn
import jax

from htmtl_jax.config import get_frozen
from htmtl_jax.data.packing import blank_document, stack_documents
from htmtl_jax.errors import UserError
from htmtl_jax.flops import count_matmul_flops
from htmtl_jax.layout import Batch, Bucket
from htmtl_jax.losses import LossConfig
from htmtl_jax.models.config import ModelConfig
from htmtl_jax.models.htmtl import Htmtl
from htmtl_jax.optimizer import OptimizerConfig, make_optimizer
from htmtl_jax.plan.libtpu import COMPILER_ENVIRONMENT, require_libtpu
from htmtl_jax.plan.topology import parse_topology
from htmtl_jax.sharding import LOGICAL_RULES, batch_shardings
from htmtl_jax.train_state import TrainState, count_parameters, make_state
from htmtl_jax.train_step import make_train_step


@dataclasses.dataclass(frozen=True)
class LoweredStep:
  """A train step traced and ready for the compiler.

  Attributes:
    lowered: compile it with `lowered.compile()`.
    state, batch: their shapes with shardings.
    useful_flops: three times the matmuls of the forward pass, as training counts them: all
      slots of rows, attention inside a row under its mask included.
    parameters: of the model.
  """

  lowered: jax.stages.Lowered
  state: TrainState
  batch: Batch
  useful_flops: int
  parameters: int


def tpu_devices(topology: str) -> list:
  """Devices of a topology such as "v5e:4x4", to compile for; "v5e" is one chip.

  Raises:
    UserError: without libtpu, or for a slice that it does not know.
  """
  require_libtpu()
  from jax.experimental import topologies

  for name, value in COMPILER_ENVIRONMENT.items():
    os.environ.setdefault(name, value)
  wanted = parse_topology(topology)
  options = {}
  if wanted.chips < 4:  # a host has four or eight chips; a slice of fewer needs a smaller host
    options["chips_per_host_bounds"] = [*wanted.shape, 1][:3]
  if wanted.chip.name == "v4":  # both cores of a chip as one device, as on Cloud TPU
    options["chip_config_name"] = "megacore"
  name = f"{wanted.chip.name}:{'x'.join(map(str, wanted.shape))}"
  try:
    return list(topologies.get_topology_desc(name, "tpu", **options).devices)
  except Exception as error:  # libtpu's own, of several types
    raise UserError(
      f"--topology={topology}: the TPU compiler knows no such slice ({str(error).splitlines()[0]}); "
      "sides of more than one chip are even, such as v5e:4x4 or v5p:2x2x4"
    ) from error


def lower_train_step(config, bucket: Bucket, documents: int, mesh) -> LoweredStep:
  """Traces the train step of a config for a batch of `documents` in one bucket.

  Args:
    config: a whole config; the size of the vocabulary is what it asks for.
    bucket: the sizes of the batch.
    documents: B.
    mesh: of devices to compile for.
  """
  model = Htmtl(get_frozen(config.model, ModelConfig, "model"), config.tokenizer.vocab_size)
  optimizer = make_optimizer(get_frozen(config.optimizer, OptimizerConfig, "optimizer"))
  blank = stack_documents([blank_document(bucket)] * documents)
  batch = jax.tree.map(
    lambda array, sharding: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding),
    blank,
    batch_shardings(mesh, blank),
  )
  _, shardings, state = make_state(model, optimizer, blank, bucket.units, mesh, config.seed)
  forward = lambda params, batch: model.apply({"params": params}, batch, bucket.units).log_probs
  step = make_train_step(
    model,
    optimizer,
    get_frozen(config.loss, LossConfig, "loss"),
    bucket,
    mesh,
    shardings,
    seed=config.seed,
    accumulate=config.train.accumulate,
    hide_length=config.train.hide_length,
  )
  with jax.set_mesh(mesh), nn.logical_axis_rules(LOGICAL_RULES):
    lowered = step.__wrapped__.lower(state, batch)
  return LoweredStep(
    lowered=lowered,
    state=state,
    batch=batch,
    useful_flops=3 * count_matmul_flops(forward, state.params, batch),
    parameters=count_parameters(state.params),
  )
