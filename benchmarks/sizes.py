"""The sizes of the comparison, and how HTMTL splits its layers in each.

Every system of a size has the same width, heads, vocabulary and, within 5%, the same
number of parameters without embeddings; `htmtl_deep` alone has more.
"""

import dataclasses

import ml_collections

from configs import sizes as config_sizes


@dataclasses.dataclass(frozen=True)
class Size:
  """What the systems of a size have in common.

  Attributes:
    width, num_heads, vocabulary: D, H, V.
    mlp_width: F of the peers.
    encoder_layers, decoder_layers: of the peers.
    config_size: of `configs/sizes.py`, whose split HTMTL then has; "" for `HTMTL_SPLITS`.
  """

  width: int
  num_heads: int
  mlp_width: int
  vocabulary: int
  encoder_layers: int
  decoder_layers: int
  config_size: str = ""


SIZES = {
  "tiny": Size(32, 2, 80, 250, 3, 2),  # shows that everything runs; its speeds mean nothing
  "small": Size(256, 4, 1024, 8000, 4, 2),
  "base": Size(512, 8, 2048, 32000, 8, 4),
  # HTMTL as in `configs/arxiv.py:small` and `:base`, peers of the number of layers that comes nearest
  "shipped_small": Size(256, 4, 1024, 32000, 18, 6, "small"),
  "shipped_base": Size(512, 8, 2048, 32000, 20, 6, "base"),
}

# HTMTL's split where no config has one of that size: values of `config.model` (configs/base.py). A
# test holds the parameters of all sizes to the peers', half of them to token layers and decoder.
HTMTL_SPLITS = {
  "tiny": dict(
    mlp_width=64,
    token_layers=1,
    paragraph_layers=0,
    section_layers=0,
    document_layers=0,
    top_down_layers=1,
    decoder_layers=1,
    top_down_mlps="all",
    max_positions=8,
    scan_layers=False,  # nothing to gain at one layer, and it traces twice
  ),
  "small": dict(
    mlp_width=1024,
    token_layers=1,
    paragraph_layers=1,
    section_layers=0,
    document_layers=0,
    top_down_layers=1,
    top_down_mlps="none",
    decoder_layers=2,
  ),
  "base": dict(
    mlp_width=2048,
    token_layers=2,
    paragraph_layers=2,
    section_layers=1,
    document_layers=1,
    top_down_layers=1,
    top_down_mlps="none",
    decoder_layers=4,
    scan_layers=False,  # stacking what a scan keeps of each layer costs a fifth of a step on a GPU
  ),
}


def set_split(config: ml_collections.ConfigDict, name: str, deep: bool = False) -> None:
  """Sets width and layers of a size (and what else `configs/sizes.py` sets, where it is used).

  Args:
    config: an experiment's.
    name: a key of `SIZES`.
    deep: with the peers' token and decoder layers, number and width, below ours above.
  """
  size, model = SIZES[name], config.model
  if size.config_size:
    config_sizes.set_size(config, size.config_size)
  else:
    model.update(dict(HTMTL_SPLITS[name], width=size.width, num_heads=size.num_heads))
  if deep:
    model.mlp_width = size.mlp_width
    model.token_layers, model.decoder_layers = size.encoder_layers, size.decoder_layers
