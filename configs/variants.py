"""What the configs of comparisons share: another config to start from, and changes by name.

`configs/flat_transformer.py` and `configs/ablation.py` are not one experiment but one
change to any experiment. After the file's name, behind a colon, stands what to change:

    --config=configs/flat_transformer.py:papers_tiny
    --config=configs/ablation.py:no_coverage,papers_tiny
"""

import difflib
import importlib
import pathlib

import ml_collections

from htmtl_jax.errors import UserError

_NOT_EXPERIMENTS = {"ablation", "flat_transformer", "sizes", "variants"}


def start_from(name: str) -> ml_collections.ConfigDict:
  """The config of `configs/NAME.py`.

  Raises:
    UserError: if there is none; the nearest one is named.
  """
  folder = pathlib.Path(__file__).parent
  known = sorted({path.stem for path in folder.glob("*.py")} - _NOT_EXPERIMENTS)
  if name not in known:
    raise UserError(f"no config to start from is called {name!r}{_nearest(name, known)}")
  return importlib.import_module(f"configs.{name}").get_config()


def choose(name: str, choices: dict):
  """choices[name], or a UserError that names the nearest."""
  if name not in choices:
    raise UserError(f"unknown variant {name!r}{_nearest(name, list(choices))}")
  return choices[name]


def _nearest(name: str, known: list[str]) -> str:
  near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
  return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"


def make_flat(config: ml_collections.ConfigDict, keep_pools: bool = False) -> None:
  """Puts all layers of the encoder at the level of tokens, at about equal parameters.

  The layers of the paragraph, section and document transformers, the pass down and the
  pools, unless they are kept, are given back as token layers: the nearest whole number
  of them (a test holds the whole model to 5%).
  """
  model = config.model
  square, mlp = model.width**2, 2 * model.width * model.mlp_width
  layer = 4 * square + mlp
  layers = model.paragraph_layers + model.section_layers + model.document_layers
  others = 0 if keep_pools else 3 * 2 * square  # value and output of each pool
  if model.top_down:
    layers += model.top_down_layers
    mlps = {"all": 3, "segments": 2, "none": 0}[model.top_down_mlps]
    others += 3 * square + mlps * mlp  # from parent to child, three times
  model.token_attention = "blocks"
  model.token_layers += layers + round(others / layer)
  model.paragraph_layers = model.section_layers = model.document_layers = 0
  model.top_down = False
