"""Compiling the train step for a TPU that is not there.

The `libtpu` wheel holds the compiler; it runs on any x86 machine. Only shapes go in: no
parameter and no document exists at any time.
"""

import dataclasses
import importlib.util
import os

import flax.linen as nn
import jax

from htmtl_jax.config import get_frozen
from htmtl_jax.data.packing import blank_document, stack_documents
from htmtl_jax.errors import UserError
from htmtl_jax.flops import count_matmul_flops
from htmtl_jax.layout import Bucket
from htmtl_jax.losses import LossConfig
from htmtl_jax.models.config import ModelConfig
from htmtl_jax.models.htmtl import Htmtl
from htmtl_jax.optimizer import OptimizerConfig, make_optimizer
from htmtl_jax.sharding import LOGICAL_RULES, batch_shardings
from htmtl_jax.train_state import count_parameters, make_state
from htmtl_jax.train_step import make_train_step

# Keeps libtpu from asking a cloud's metadata server what it runs on, from complaining about
# that on stderr, and from refusing to be loaded by two processes at once.
TPU_COMPILER_ENVIRONMENT = {
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_ACCELERATOR_TYPE": "v5litepod-1",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "TPU_WORKER_ID": "0",
  "TPU_MIN_LOG_LEVEL": "3",
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


@dataclasses.dataclass(frozen=True)
class LoweredStep:
  """A train step traced and ready for the compiler.

  Attributes:
    lowered: compile it with `lowered.compile()`.
    useful_flops: three times the matmuls of the forward pass, as training counts them: all
      slots of rows, attention inside a row under its mask included.
    parameters: of the model.
  """

  lowered: jax.stages.Lowered
  useful_flops: int
  parameters: int


def tpu_devices(topology: str) -> list:
  """Devices of a topology such as "v5e:4x4", to compile for; "v5e" is one chip.

  Raises:
    UserError: without libtpu, or for a topology that it does not know.
  """
  if importlib.util.find_spec("libtpu") is None:
    raise UserError(
      "compiling for a TPU needs the libtpu package: pip install libtpu, in the version that "
      "jax[tpu] asks for"
    )
  from jax.experimental import topologies

  for name, value in TPU_COMPILER_ENVIRONMENT.items():
    os.environ.setdefault(name, value)
  name, _, shape = topology.partition(":")
  # A host has four or eight chips; a topology of one needs a host of one.
  options = {} if shape else {"chips_per_host_bounds": [1, 1, 1]}
  try:
    return list(topologies.get_topology_desc(f"{name}:{shape or '1x1'}", "tpu", **options).devices)
  except Exception as error:  # libtpu's own, of several types
    raise UserError(f"no TPU topology {topology!r}: {str(error).splitlines()[0]}") from error


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
    useful_flops=3 * count_matmul_flops(forward, state.params, batch),
    parameters=count_parameters(state.params),
  )
