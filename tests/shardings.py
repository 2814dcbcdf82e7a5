"""How every array of the shipped configs is cut, as text; what is committed, and how to renew it.

    python -m tests.shardings      writes tests/shardings.txt again, after a change that is meant

Everything is traced by shapes, on a mesh of which no device exists; nothing is compiled.
"""

import functools
import importlib.util
import pathlib

import flax.linen as nn
import jax
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from htmtl_jax import config as config_lib
from htmtl_jax.config import get_frozen
from htmtl_jax.data.packing import blank_document, stack_documents
from htmtl_jax.layout import LayoutConfig, make_buckets
from htmtl_jax.models.config import ModelConfig
from htmtl_jax.models.htmtl import Htmtl
from htmtl_jax.optimizer import OptimizerConfig, make_optimizer
from htmtl_jax.sharding import LOGICAL_RULES, MESH_AXES, batch_multiple, batch_shardings
from htmtl_jax.train_state import make_state

GOLDEN = pathlib.Path(__file__).with_name("shardings.txt")
NOT_EXPERIMENTS = {"ablation.py", "flat_transformer.py", "sizes.py", "variants.py"}
CONFIGS = pathlib.Path(__file__).resolve().parent.parent / "configs"
# Two devices along every axis, so that every cut shows.
MESH = AbstractMesh((2,) * len(MESH_AXES), MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES))
HEADER = """\
Where the arrays of the shipped configs are cut, on a mesh of two devices along every axis.
Written by `python -m tests.shardings`. A line: name, shape, mesh axes of each dimension (- whole).
Activations: those that a constraint names, and the arrays that go into (>) and come out of (<)
what is written for one device; of the smallest bucket whose rows two devices can share.
"""


def shipped_configs() -> list[str]:
  """Names for `--config` of all experiments in the folder, arXiv's in each of its sizes.

  Of the variants those with parameters of their own.
  """
  names = sorted({path.name for path in CONFIGS.glob("*.py")} - NOT_EXPERIMENTS)
  names += ["flat_transformer.py:papers_base", "ablation.py:separate_stacks,papers_base"]
  if importlib.util.find_spec("configs.sizes"):
    from configs import sizes

    names += [f"arxiv.py:{size}" for size in sizes.SIZES]
  return names


def describe_all() -> str:
  """The text for all configs; those that are cut alike share a part."""
  parts = {}
  for name in shipped_configs():
    parts.setdefault(describe(name), []).append(name)
  return "\n".join([HEADER, *(f"== {', '.join(names)}\n{text}" for text, names in parts.items())])


def describe(name: str) -> str:
  """Parameters, optimiser state, batch and activations of one config."""
  config = config_lib.load_config(f"{CONFIGS}/{name}")
  layout = get_frozen(config.layout, LayoutConfig, "layout")
  return _describe(
    get_frozen(config.model, ModelConfig, "model"),
    get_frozen(config.optimizer, OptimizerConfig, "optimizer").name,
    next(b for b in make_buckets(layout) if b.token_rows % MESH.shape["sequence"] == 0),
    config.tokenizer.vocab_size,
  )


@functools.cache
def _describe(model_config, optimizer_name, bucket, vocabulary_size) -> str:
  model = Htmtl(model_config, vocabulary_size)
  optimizer = make_optimizer(OptimizerConfig(name=optimizer_name))
  batch = stack_documents([blank_document(bucket)] * batch_multiple(MESH))
  _, shardings, state = make_state(model, optimizer, batch, bucket.units, MESH, 0)
  batch_cuts = batch_shardings(MESH, batch)
  lines = ["parameters", *_tree_lines(state.params, shardings.params)]
  lines += ["optimizer", *_moments_unlike_parameters(state, shardings)]
  lines += ["batch", *_tree_lines(batch, batch_cuts), "activations"]
  lines += _activations(model, bucket, state.params, batch)
  return "\n".join(lines) + "\n"


def _tree_lines(arrays, shardings):
  paths = jax.tree_util.tree_leaves_with_path(arrays)
  for (path, array), sharding in zip(paths, jax.tree.leaves(shardings), strict=True):
    yield _line(jax.tree_util.keystr(path, simple=True, separator="/"), array, sharding.spec)


def _line(name, array, spec) -> str:
  axes = [*spec, *[None] * (array.ndim - len(spec))]
  names = ["-" if a is None else a if isinstance(a, str) else "*".join(a) for a in axes]
  shape = ",".join(map(str, array.shape))
  return f"  {name} [{shape}] ({', '.join(names)})"


def _moments_unlike_parameters(state, shardings):
  """Of the optimiser's state only what is not an array of a parameter's shape, cut as that is."""
  cuts = {
    _line("", array, sharding.spec)
    for array, sharding in zip(jax.tree.leaves(state.params), jax.tree.leaves(shardings.params))
  }
  for line, array, sharding in zip(
    _tree_lines(state.opt_state, shardings.opt_state),
    jax.tree.leaves(state.opt_state),
    jax.tree.leaves(shardings.opt_state),
  ):
    if _line("", array, sharding.spec) not in cuts:
      yield line


def _activations(model, bucket, params, batch) -> list[str]:
  rngs = {"dropout": jax.random.key(0)}
  forward = lambda params, batch: model.apply(
    {"params": params}, batch, bucket.units, 1.0, False, rngs=rngs
  )
  shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)
  with jax.sharding.use_abstract_mesh(MESH), nn.logical_axis_rules(LOGICAL_RULES):
    traced = jax.make_jaxpr(forward)(params, shapes)
  return list(dict.fromkeys(_constraints(traced.jaxpr, "")))  # each once, in the order they come


def _constraints(jaxpr, outside):
  """Lines of a traced program; names are those of modules, without what only calls them."""
  for equation in jaxpr.eqns:
    parts = [outside, *str(equation.source_info.name_stack).split("/")]
    name = "/".join(part for part in parts if part and "<" not in part and "._" not in part)
    if equation.primitive.name == "sharding_constraint":
      yield _line(name, equation.outvars[0].aval, equation.params["sharding"].spec)
    elif equation.primitive.name == "shard_map":
      # Without arguments: constants, taken out of a scan.
      for sign, variables, specs in (
        (">", equation.invars, equation.params["in_specs"]),
        ("<", equation.outvars if equation.invars else (), equation.params["out_specs"]),
      ):
        for variable, spec in zip(variables, specs):
          yield _line(f"{name} {sign}", variable.aval, PartitionSpec(*spec))
      continue
    for value in equation.params.values():
      is_jaxpr = lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")
      for inner in jax.tree.leaves(value, is_leaf=is_jaxpr):
        inner = getattr(inner, "jaxpr", inner)
        if hasattr(inner, "eqns"):
          yield from _constraints(inner, name)


if __name__ == "__main__":
  GOLDEN.write_text(describe_all(), encoding="utf-8")
