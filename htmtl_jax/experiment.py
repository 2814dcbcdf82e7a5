"""Everything a config decides, put together once for training, evaluation and reading.

A workdir explains itself: `config.json`, `vocabulary.model` and `statistics.json` lie
beside the checkpoints, so a trained model needs neither the corpus nor its preparation.
"""

import dataclasses
import json
import os

from absl import logging
import jax

from htmtl_jax.checkpoint import CheckpointStore
from htmtl_jax.config import flatten, get_frozen, load_saved_config
from htmtl_jax.data.packing import blank_document, stack_documents
from htmtl_jax.data.prepared import (
  STATISTICS_FILE,
  VOCABULARY_FILE,
  PreparedCorpus,
  tokens_per_word_of,
  word_budgets_of,
)
from htmtl_jax.data.tokenize import Limits
from htmtl_jax.data.tokenizer import Tokenizer
from htmtl_jax.decoding import DecodeConfig
from htmtl_jax.errors import UserError
from htmtl_jax.layout import Bucket, LayoutConfig, make_buckets
from htmtl_jax.losses import LossConfig
from htmtl_jax.models.config import ModelConfig
from htmtl_jax.models.htmtl import Htmtl
from htmtl_jax.optimizer import OptimizerConfig, make_optimizer
from htmtl_jax.sharding import (
  MeshConfig,
  batch_multiple,
  check_token_rows,
  make_mesh,
  put_whole,
)
from htmtl_jax.train_state import make_state

CHECKPOINTS = "checkpoints"
_SECTIONS = {
  "layout": LayoutConfig,
  "model": ModelConfig,
  "loss": LossConfig,
  "decode": DecodeConfig,
  "optimizer": OptimizerConfig,
  "mesh": MeshConfig,
}


@dataclasses.dataclass(frozen=True)
class Experiment:
  """The parts of one run.

  Attributes:
    config: the whole config.
    buckets: from small to large.
    limits: what `tokenize_document` keeps of a source and of a reference.
    model_config, loss_config, decode_config, optimizer_config: its sections, frozen.
    mesh: the devices.
    tokenizer: the shared vocabulary.
    model: the linen module.
  """

  config: object
  buckets: tuple[Bucket, ...]
  limits: Limits
  model_config: ModelConfig
  loss_config: LossConfig
  decode_config: DecodeConfig
  optimizer_config: OptimizerConfig
  mesh: jax.sharding.Mesh
  tokenizer: Tokenizer
  model: Htmtl

  @property
  def scanned_model(self) -> Htmtl:
    """`model`, a layer a turn of its scans: less to compile, the same parameters and results.

    For all that has no backward pass, and nothing to gain from many layers in one turn.
    """
    return self.model.clone(config=dataclasses.replace(self.model_config, scan_unroll=1))

  @property
  def multiple(self) -> int:
    """Batches are filled with blank documents to a multiple of this."""
    return batch_multiple(self.mesh)

  @property
  def training_multiple(self) -> int:
    """The same for training, where a batch is also cut into `train.accumulate` pieces."""
    return self.multiple * self.config.train.accumulate

  def make_state(self):
    """(init, shardings, abstract) of the train state, see `train_state.make_state`."""
    bucket = self.buckets[0]
    batch = stack_documents([blank_document(bucket)] * self.multiple)
    return make_state(
      self.scanned_model,
      make_optimizer(self.optimizer_config),
      batch,
      bucket.units,
      self.mesh,
      self.config.seed,
    )


def make_experiment(config, tokenizer: Tokenizer) -> Experiment:
  """Freezes the config's sections and builds the model and the mesh.

  Raises:
    UserError: for a value that cannot be, named by its key.
  """
  check_config(config)
  model_config = get_frozen(config.model, ModelConfig, "model")
  mesh = make_checked_mesh(config)
  buckets = make_buckets(
    get_frozen(config.layout, LayoutConfig, "layout"),
    config.data.max_input_tokens,
    multiple=mesh.shape["sequence"],
  )
  return Experiment(
    config=config,
    buckets=buckets,
    limits=Limits(config.data.max_input_tokens, tuple(config.data.max_target_tokens)),
    model_config=model_config,
    loss_config=get_frozen(config.loss, LossConfig, "loss"),
    decode_config=get_frozen(config.decode, DecodeConfig, "decode"),
    optimizer_config=get_frozen(config.optimizer, OptimizerConfig, "optimizer"),
    mesh=mesh,
    tokenizer=tokenizer,
    model=Htmtl(model_config, tokenizer.vocab_size),
  )


def make_checked_mesh(config) -> jax.sharding.Mesh:
  """The mesh of the devices there are.

  Raises:
    UserError: if the config asks for others, or the token rows of a bucket cannot be shared.
  """
  mesh = make_mesh(get_frozen(config.mesh, MeshConfig, "mesh"))
  check_token_rows(mesh, make_buckets(get_frozen(config.layout, LayoutConfig, "layout")))
  return mesh


def check_config(config) -> None:
  """Refuses what would fail late: after the corpus is prepared, or after hours of training.

  Raises:
    UserError: for a value that cannot be, named by its key.
  """
  for section, kind in _SECTIONS.items():
    get_frozen(config[section], kind, section)
  make_buckets(get_frozen(config.layout, LayoutConfig, "layout"))
  Limits(config.data.max_input_tokens, tuple(config.data.max_target_tokens))
  least = {
    "seed": 0,
    "data.max_input_tokens": 1,
    "train.accumulate": 1,
    "train.log_every": 1,
    "train.checkpoint_every": 1,
    "train.evaluate_every": 1,
    "train.keep_latest": 1,
    "train.batch_token_rows": 1,
    "evaluate.bootstrap_samples": 1,
    "evaluate.reports": -1,
    "evaluate.batch_token_rows": 1,
  }
  values = flatten(config)
  for name, low in least.items():
    if values[name] < low:
      raise UserError(f"config.{name}: {values[name]} must be at least {low}")
  if config.model.length_condition and not 0 < config.train.hide_length < 1:
    raise UserError(
      f"config.train.hide_length: {config.train.hide_length} must be above 0 and below 1, so that "
      "the model learns both to be told a length and to choose one"
    )
  if any(config.decode.target_words) and not config.model.length_condition:
    raise UserError(
      f"config.decode.target_words={tuple(config.decode.target_words)} needs a model that is told"
      " lengths: train one with model.length_condition=True, or leave target_words at 0,0,0"
    )
  if config.loss.importance > 0 and not config.data.importance_labels:
    raise UserError(
      "config.loss.importance is on but there are no labels; set config.data.importance_labels=True"
    )


def keep_vocabulary(workdir: str, corpus: PreparedCorpus) -> None:
  """Copies vocabulary and statistics into the workdir, or checks that they are the run's.

  Raises:
    UserError: if the run in the workdir was trained with another vocabulary.
  """
  path = os.path.join(workdir, VOCABULARY_FILE)
  if os.path.exists(path):
    if Tokenizer.load(path).to_bytes() != corpus.tokenizer.to_bytes():
      raise UserError(
        f"{path} is not the vocabulary of the prepared corpus in {corpus.directory}: the corpus has "
        "changed since this run began; use a new --workdir, or put the corpus back"
      )
    return
  with open(os.path.join(workdir, STATISTICS_FILE), "w", encoding="utf-8") as f:
    json.dump(corpus.statistics, f, indent=2)
  corpus.tokenizer.save(path)


@dataclasses.dataclass(frozen=True)
class TrainedRun:
  """A trained model, opened from its workdir alone.

  Attributes:
    experiment: its parts.
    params: on the devices, in their shardings.
    step: of the checkpoint.
    word_budgets: mean words of the training references by level.
    tokens_per_word: mean tokens of a training reference over its mean words, by level.
  """

  experiment: Experiment
  params: dict
  step: int
  word_budgets: dict[str, int]
  tokens_per_word: dict[str, float]


def open_run(workdir: str, checkpoint: str = "best", config=None) -> TrainedRun:
  """Loads the model, the vocabulary and one checkpoint from a workdir.

  Args:
    workdir: of a training run.
    checkpoint: "best", "latest" or a step.
    config: in place of the saved one (its decoding or its mesh may differ).

  Raises:
    UserError: if there is no run in the workdir, or no such checkpoint.
  """
  config = config or load_saved_config(workdir)
  if config is None or not os.path.isdir(os.path.join(workdir, CHECKPOINTS)):
    raise UserError(f"no trained run in {workdir}; train one first with --mode=train")
  experiment = make_experiment(config, Tokenizer.load(os.path.join(workdir, VOCABULARY_FILE)))
  _, shardings, abstract = experiment.make_state()
  with CheckpointStore(os.path.join(workdir, CHECKPOINTS), read_only=True) as store:
    step = store.resolve(checkpoint)
    params = store.restore_params(step)
  _check_shapes(params, abstract.params, workdir)
  params = jax.tree.map(put_whole, params, shardings.params)
  logging.info("restored step %d of %s", step, workdir)
  statistics = _read_statistics(workdir)
  return TrainedRun(
    experiment, params, step, word_budgets_of(statistics), tokens_per_word_of(statistics)
  )


def _read_statistics(workdir: str) -> dict:
  path = os.path.join(workdir, STATISTICS_FILE)
  try:
    with open(path, encoding="utf-8") as f:
      return json.load(f)
  except (OSError, ValueError) as e:
    raise UserError(f"{path} cannot be read ({e}); train again, or restore the file") from e


def _check_shapes(params, abstract, workdir) -> None:
  same = jax.tree.structure(params) == jax.tree.structure(abstract) and all(
    a.shape == b.shape for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(abstract))
  )
  if not same:
    raise UserError(
      f"the checkpoint in {workdir} is of another model than its config describes; leave out --config "
      "and --config.model overrides, so that the saved config is used"
    )
