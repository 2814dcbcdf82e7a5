"""Every shipped config is whole, every key of it has a reader, and the sizes are what they say."""

import ast
import contextlib
import dataclasses
import math
import types
from unittest import mock

from absl.testing import absltest, parameterized
import flax.linen as nn
import jax
import ml_collections
import numpy as np

from htmtl_jax import config as config_lib
from htmtl_jax.config_keys import flatten
from htmtl_jax.data.packing import blank_document, stack_documents
from htmtl_jax.data.tokenizer import NUM_STRUCTURE_IDS
from htmtl_jax.decoding import DecodeConfig, make_decoder
from htmtl_jax.documents import sources
from htmtl_jax.errors import UserError
from htmtl_jax.experiment import TrainedRun, make_experiment
from htmtl_jax.inference import lengths_in_tokens
from htmtl_jax.layout import LayoutConfig
from htmtl_jax.levels import LEVELS
from htmtl_jax.losses import LossConfig
from htmtl_jax.models.config import ModelConfig, round_up_vocabulary
from htmtl_jax.optimizer import OptimizerConfig, make_optimizer
from htmtl_jax.sharding import LOGICAL_RULES, MeshConfig
from htmtl_jax.train_step import make_train_step
from tests import tiny_config

CONFIGS = tiny_config.REPOSITORY / "configs"
# One change to any experiment, and what the two share: tested in configs_variants_test.py.
VARIANTS = {"ablation.py", "flat_transformer.py", "sizes.py", "variants.py"}
NAMES = sorted({path.name for path in CONFIGS.glob("*.py")} - VARIANTS)
PACKAGE = tiny_config.REPOSITORY / "htmtl_jax"
# Sections that become frozen dataclasses; the others are read from the config as it is.
DATACLASSES = {
  "layout": LayoutConfig,
  "model": ModelConfig,
  "loss": LossConfig,
  "optimizer": OptimizerConfig,
  "decode": DecodeConfig,
  "mesh": MeshConfig,
}


def stub_tokenizer(config):
  """The size of the vocabulary is all that building a model needs of it."""
  return types.SimpleNamespace(vocab_size=config.tokenizer.vocab_size)


def abstract_batch(bucket, size):
  batch = stack_documents([blank_document(bucket)] * size)
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)


class ConfigFilesTest(parameterized.TestCase):
  @parameterized.parameters(*DATACLASSES)
  def test_defaults_in_code_are_those_of_base(self, section):
    base = config_lib.load_config(CONFIGS / "base.py")
    self.assertEqual(
      config_lib.get_frozen(base[section], DATACLASSES[section], section), DATACLASSES[section]()
    )

  @parameterized.parameters(*NAMES)
  def test_loads_and_builds(self, name):
    config = config_lib.load_config(CONFIGS / name)
    config_lib.validate(config, config_lib.load_schema())
    experiment = make_experiment(config, stub_tokenizer(config))
    self.assertLen(experiment.buckets, len(config.layout.buckets))
    if config.data.source != "synthetic":  # generated papers are all shorter than their maximum
      self.assertGreaterEqual(experiment.buckets[-1].tokens, config.data.max_input_tokens)
    self.assertGreater(config.tokenizer.vocab_size, NUM_STRUCTURE_IDS + 256)  # bytes fall back
    # Three references of the greatest length fit the largest bucket.
    self.assertGreaterEqual(
      experiment.buckets[-1].target_tokens, sum(config.data.max_target_tokens)
    )
    # A batch holds at least one document of the largest bucket.
    self.assertGreaterEqual(config.train.batch_token_rows, experiment.buckets[-1].token_rows)
    self.assertEqual(config.loss.importance > 0, config.data.importance_labels)
    # As JSON and back, it is the same config.
    self.assertEqual(flatten(config_lib.from_json(config_lib.to_json(config))), flatten(config))

  @parameterized.parameters(*NAMES)
  def test_its_header_says_how_to_run_it(self, name):
    text = (CONFIGS / name).read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text))
    if name == "base.py":
      self.assertIn("Not an experiment", docstring)
    else:
      self.assertIn(f"python -m htmtl_jax.main --config=configs/{name} ", docstring)

  @parameterized.parameters("papers_base.py", "papers_tiny.py")
  def test_papers_leave_out_the_manuals(self, name):
    config = config_lib.load_config(CONFIGS / name)
    self.assertEqual(config.data.exclude, ("tech_docs",))

  @parameterized.parameters("arxiv", "pubmed")
  def test_benchmarks_train_as_papers_do(self, name):
    config = config_lib.load_config(CONFIGS / f"{name}.py")
    self.assertEqual((config.data.source, config.data.name), ("tfds", name))
    self.assertEqual(flatten(config), flatten(config_lib.load_config(CONFIGS / f"{name}.py:base")))
    papers = flatten(config_lib.load_config(CONFIGS / "papers_base.py"))
    differing = {key for key, value in flatten(config).items() if papers[key] != value}
    layers = {f"model.{level}_layers" for level in ("token", "paragraph", "section", "document")}
    self.assertEqual(
      differing,
      {"data.source", "data.name", "data.exclude", "model.decoder_layers"} | layers,
    )

  def test_quickstart_trains_without_importance_labels(self):
    config = config_lib.load_config(CONFIGS / "quickstart.py")
    self.assertEqual((config.loss.importance, config.data.importance_labels), (0.0, False))


class PapersBaseTest(absltest.TestCase):
  """The base size, by shapes alone: no memory is used."""

  def setUp(self):
    super().setUp()
    overrides = ("mesh.data=2", "mesh.fsdp=4")
    self.config = config_lib.load_config(CONFIGS / "papers_base.py", overrides)
    self.experiment = make_experiment(self.config, stub_tokenizer(self.config))

  def test_parameters(self):
    _, shardings, state = self.experiment.make_state()
    shapes = {
      jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
      for path, leaf in jax.tree_util.tree_leaves_with_path(state.params)
    }
    vocabulary = round_up_vocabulary(self.config.tokenizer.vocab_size)
    self.assertIn((vocabulary, self.config.model.width), shapes.values())
    self.assertBetween(sum(map(math.prod, shapes.values())), 80e6, 90e6)
    self.assertTrue(all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(state.params)))
    # Parameters and the optimiser's state are cut into four along fsdp, nearly all of them.
    whole = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state))
    on_one_device = sum(
      math.prod(sharding.shard_shape(leaf.shape))
      for leaf, sharding in zip(jax.tree.leaves(state), jax.tree.leaves(shardings), strict=True)
    )
    self.assertLess(on_one_device, 0.27 * whole)

  def test_forward_pass_of_the_largest_bucket(self):
    experiment, bucket = self.experiment, self.experiment.buckets[-1]
    _, _, state = experiment.make_state()
    forward = lambda params, batch: experiment.model.apply({"params": params}, batch, bucket.units)
    with jax.set_mesh(experiment.mesh), nn.logical_axis_rules(LOGICAL_RULES):
      output = jax.eval_shape(forward, state.params, abstract_batch(bucket, experiment.multiple))
    self.assertEqual(output.log_probs.shape, (8, bucket.target_tokens))
    self.assertEqual(output.log_probs.dtype, np.float32)
    self.assertEqual(output.encoded.importance.sentences.shape, (8, bucket.sentences))


class EveryKeyIsReadTest(absltest.TestCase):
  """A key that nobody reads is a promise that nobody keeps."""

  def test_frozen_sections(self):
    read = {}  # section -> fields that were looked at while everything was traced
    with contextlib.ExitStack() as stack:
      for section, cls in DATACLASSES.items():
        stack.enter_context(_recording(cls, read.setdefault(section, set())))
      for variant in (
        {},
        {
          "model.copy": False,
          "model.scan_layers": True,
          "optimizer.schedule": "cosine",
          "loss.label_smoothing": 0.1,
          "loss.importance": 0.5,
          "data.importance_labels": True,
        },
      ):
        config = tiny_config.get_config()
        config.update_from_flattened_dict(variant)
        _trace_everything(config)
    for section, cls in DATACLASSES.items():
      fields = {field.name for field in dataclasses.fields(cls)}
      self.assertEqual(fields, set(config_lib.load_schema()[section]), section)
      self.assertEmpty(fields - read[section], f"unread keys of {section}")

  def test_the_other_sections(self):
    schema = config_lib.load_schema()
    read = _attribute_chains(PACKAGE)
    for source in ("synthetic", "jsonl", "tfds"):  # what these read does not show in their text
      data = _Recorder(
        schema.data.copy_and_resolve_references(), {"source": source, "path": __file__}
      )
      if source == "tfds":  # looks for the dataset, which is not there, once it has read its keys
        with self.assertRaisesRegex(UserError, "no dataset '' in .*: arxiv, "):
          sources.open_corpus(data)
      else:
        sources.open_corpus(data)
      read |= {f"data.{key}" for key in data.read}
    unread = [
      key
      for key in flatten(schema)
      if key.split(".")[0] not in DATACLASSES and key not in read and f"config.{key}" not in read
    ]
    self.assertEmpty(unread)
    # The check itself can fail: a key that is not there is not found.
    self.assertNotIn("train.no_such_key", read)
    self.assertIn("train.num_steps", read)


class _Recorder:
  """A section of a config that remembers which of its keys were read."""

  def __init__(self, section: ml_collections.ConfigDict, values: dict):
    self._values = {**section.to_dict(), **values}
    self.read = set()

  def __getattr__(self, key):
    if key not in self._values:
      raise AttributeError(key)
    self.read.add(key)
    return self._values[key]


@contextlib.contextmanager
def _recording(cls, names: set):
  """Adds to `names` what is read of any instance of a dataclass, except to check or compare it."""
  quiet = []

  def __getattribute__(self, name):
    if not quiet:
      names.add(name)
    return object.__getattribute__(self, name)

  def silent(method):
    def call(*args, **kwargs):
      quiet.append(True)
      try:
        return method(*args, **kwargs)
      finally:
        quiet.pop()

    return call

  methods = {
    name: silent(getattr(cls, name))
    for name in ("__post_init__", "__hash__", "__eq__", "__repr__")
    if name in vars(cls)
  }
  with contextlib.ExitStack() as stack:
    stack.enter_context(mock.patch.object(cls, "__getattribute__", __getattribute__))
    # Copies every field, which is not reading it.
    stack.enter_context(mock.patch.object(dataclasses, "replace", silent(dataclasses.replace)))
    for name, method in methods.items():
      stack.enter_context(mock.patch.object(cls, name, method))
    yield


def _trace_everything(config) -> None:
  """Train step and decoding as far as shapes; nothing is compiled."""
  experiment = make_experiment(config, stub_tokenizer(config))
  bucket = experiment.buckets[0]
  batch = abstract_batch(bucket, experiment.multiple * config.train.accumulate)
  _, shardings, state = experiment.make_state()
  step = make_train_step(
    experiment.model,
    make_optimizer(experiment.optimizer_config),
    experiment.loss_config,
    bucket,
    experiment.mesh,
    shardings,
    seed=0,
    accumulate=config.train.accumulate,
  )
  decode = make_decoder(
    experiment.model, experiment.decode_config, experiment.loss_config, experiment.mesh
  )
  lengths_in_tokens(TrainedRun(experiment, {}, 0, {}, dict.fromkeys(LEVELS, 1.0)))
  pieces = jax.ShapeDtypeStruct(batch.document_mask.shape, np.int32)
  with jax.set_mesh(experiment.mesh), nn.logical_axis_rules(LOGICAL_RULES):
    jax.eval_shape(step.__wrapped__, state, batch)
    jax.eval_shape(decode.__wrapped__, state.params, state.step, batch, pieces)


def _attribute_chains(folder) -> set[str]:
  """Dotted names as they stand in the source, `config.` cut off: "train.num_steps", "seed"."""
  chains = set()
  for path in folder.rglob("*.py"):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
      names = []
      while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
      if isinstance(node, ast.Name):
        names.append(node.id)
      names.reverse()
      if "config" in names:
        chains.add(".".join(names[names.index("config") + 1 :]))
  return chains


if __name__ == "__main__":
  absltest.main()
