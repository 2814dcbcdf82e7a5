"""What the model is made of. One frozen, hashable record that every module receives."""

import dataclasses

import jax.numpy as jnp

from htmtl_jax.errors import UserError

MEMORIES = ("all", "tokens", "segments")
TOKEN_ATTENTIONS = ("sentence", "blocks")
IMPORTANCES = ("learned", "uniform", "random")
STACKS = ("shared", "separate")
TOP_DOWN_MLPS = ("all", "segments", "none")
RESIDUAL_INITS = ("depth", "unit")
REMATS = ("none", "full", "dots")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """Sizes and choices; each field's meaning stands beside it in `configs/base.py`."""

  width: int = 512
  num_heads: int = 8
  mlp_width: int = 2048
  token_attention: str = "sentence"
  token_layers: int = 4
  paragraph_layers: int = 4
  section_layers: int = 2
  document_layers: int = 2
  top_down_layers: int = 1
  decoder_layers: int = 4
  max_positions: int = 64
  position_scale: float = 0.5
  token_shift: bool = True
  piece_positions: bool = True
  length_condition: bool = True
  top_down: bool = True
  top_down_mlps: str = "segments"
  copy: bool = True
  memory: str = "all"
  decoder_stacks: str = "shared"
  importance: str = "learned"
  importance_gate: bool = True
  importance_floor: float = 0.1
  residual_init: str = "depth"
  dropout: float = 0.1
  dtype: str = "bfloat16"
  remat: str = "none"
  scan_layers: bool = True
  scan_unroll: int = 0
  key_block: int = 512

  def __post_init__(self):
    for name in (
      "width",
      "num_heads",
      "mlp_width",
      "decoder_layers",
      "max_positions",
      "key_block",
    ):
      if getattr(self, name) < 1:
        raise UserError(f"config.model.{name}: {getattr(self, name)} must be at least 1")
    if self.scan_unroll < 0:
      raise UserError(
        f"config.model.scan_unroll: {self.scan_unroll} is negative; 0 is for all layers at once"
      )
    if self.width % self.num_heads or (self.width // self.num_heads) % 2:
      raise UserError(
        f"config.model: width {self.width} must be num_heads {self.num_heads} times an even number"
      )
    for name, value, known in (
      ("token_attention", self.token_attention, TOKEN_ATTENTIONS),
      ("importance", self.importance, IMPORTANCES),
      ("memory", self.memory, MEMORIES),
      ("top_down_mlps", self.top_down_mlps, TOP_DOWN_MLPS),
      ("residual_init", self.residual_init, RESIDUAL_INITS),
      ("decoder_stacks", self.decoder_stacks, STACKS),
      ("remat", self.remat, REMATS),
      ("dtype", self.dtype, ("float32", "bfloat16")),
    ):
      if value not in known:
        raise UserError(f"config.model.{name}: {value!r} is not one of {', '.join(known)}")
    if self.copy and self.memory == "segments":
      raise UserError(
        "config.model: copy needs token states in the memory; set copy=False or memory='all'"
      )

  @property
  def reads_segments(self) -> bool:
    """Whether anything asks for the states of sentences, paragraphs and sections."""
    return self.top_down or self.importance == "learned" or self.memory != "tokens"

  @property
  def head_width(self) -> int:
    return self.width // self.num_heads

  @property
  def encoder_depth(self) -> int:
    """Layers of the encoder's deepest stack."""
    stacks = (self.token_layers, self.paragraph_layers, self.section_layers, self.document_layers)
    return max(*stacks, self.top_down_layers, 1)

  def start_variance(self, depth: int) -> float:
    """Of a kernel's initial values, times its inputs.

    Args:
      depth: of the stack of layers that add the kernel's output up; 0 for any other kernel. What
        such a kernel adds starts so small that a stack adds about as much as one layer would
        (Radford et al. 2019, GPT-2).
    """
    return 1 / (2 * depth) if depth and self.residual_init == "depth" else 1.0

  @property
  def compute_dtype(self):
    return jnp.dtype(self.dtype)


def round_up_vocabulary(vocabulary_size: int, multiple: int = 128) -> int:
  """Rounds the vocabulary up so that any mesh divides it; the extra ids are never predicted."""
  return -(-vocabulary_size // multiple) * multiple
