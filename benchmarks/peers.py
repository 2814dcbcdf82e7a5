"""The peers: LED, LongT5, PEGASUS-X and BigBird-Pegasus from `transformers`, on PyTorch.

Randomly initialised from a config, nothing is downloaded. Width, heads, layers,
vocabulary, target length and the number of parameters are those of the size asked for;
the attention is that of each paper. Run as `transformers` users run them: eager, with the
attention implementation that the class supports.
"""

import dataclasses

import torch
import transformers

from benchmarks.sizes import Size
from htmtl_jax.data.tokenizer import BOS_ID, EOS_ID, PAD_ID

LED_WINDOW = 1024  # tokens a query sees: 512 on either side
PEGASUS_X_BLOCK, PEGASUS_X_GLOBAL_TOKENS = 512, 128
LONGT5_RADIUS, LONGT5_GLOBAL_BLOCK = 127, 16
BIGBIRD_BLOCK, BIGBIRD_RANDOM_BLOCKS = 64, 3
_TABLES = ("embed_positions", "shared", "embed_tokens", "lm_head")


@dataclasses.dataclass(frozen=True)
class Peer:
  """A model and what it has to be told about its input.

  Attributes:
    model: on the device, in training mode or not as its user sets it.
    attention: the attention implementation that was taken, "sdpa" or "eager".
    mlp_width: of the encoder's layers.
    inputs: further arguments of the model's forward pass and of `generate`.
  """

  model: torch.nn.Module
  attention: str
  mlp_width: int
  inputs: dict


def make_peer(
  name: str, size: Size, length: int, target_tokens: int, device: str, seed: int = 0
) -> Peer:
  """Builds one of `PEERS` for inputs of `length` tokens.

  Args:
    size: of the model; see `_config` for what each peer's parameters are made equal by.
    length: learned position tables have just so many rows, so that none lies idle.
    target_tokens: the same for the decoder's.
  """
  torch.manual_seed(seed)
  config, model_class = _config(name, size, length, target_tokens)
  for attention in ("sdpa", "eager"):
    try:
      config._attn_implementation = attention
      model = model_class(config)
      break
    except ValueError as error:  # "does not support an attention implementation through ..."
      if attention == "eager":
        raise
      unsupported = str(error)
      assert "attention implementation" in unsupported, unsupported
  inputs = {}
  if name == "led":
    # As its authors do for summarisation: the first token sees and is seen by all.
    first = torch.zeros((1, length), dtype=torch.long, device=device)
    first[:, 0] = 1
    inputs["global_attention_mask"] = first
  mlp_width = config.d_ff if name == "longt5" else config.encoder_ffn_dim
  return Peer(model.to(device), attention, mlp_width, inputs)


def padded_length(name: str, length: int) -> int:
  """The token slots that a peer's encoder computes on, for a document of `length` tokens."""
  block = {
    "led": _led_window(length),
    "longt5": LONGT5_RADIUS + 1,
    "pegasus_x": PEGASUS_X_BLOCK,
    "bigbird": BIGBIRD_BLOCK,
  }[name]
  return -(-length // block) * block


def _led_window(length: int) -> int:
  return min(LED_WINDOW, length - length % 2)


def count_parameters(model: torch.nn.Module) -> tuple[int, int]:
  """(all, without the embeddings of tokens and positions); tied ones counted once."""
  total = sum(p.numel() for p in model.parameters())
  tables = {
    id(p): p.numel()
    for name, p in model.named_parameters()
    if any(table in name for table in _TABLES)
  }
  return total, total - sum(tables.values())


def _config(name: str, size: Size, length: int, target_tokens: int):
  """(config, model class) of a peer.

  Two differ from the plain layer of 4 D^2 for attention and 2 D F for the MLP, and have
  a narrower MLP instead: LED's encoder has a second set of query, key and value
  projections for its global tokens, and LongT5's MLP is gated, with three matrices.
  """
  width, heads, mlp = size.width, size.num_heads, size.mlp_width
  shared = dict(
    vocab_size=size.vocabulary,
    d_model=width,
    pad_token_id=PAD_ID,
    bos_token_id=BOS_ID,
    eos_token_id=EOS_ID,
    decoder_start_token_id=BOS_ID,
    use_cache=True,
  )
  bart = dict(
    shared,
    encoder_layers=size.encoder_layers,
    decoder_layers=size.decoder_layers,
    encoder_attention_heads=heads,
    decoder_attention_heads=heads,
    encoder_ffn_dim=mlp,
    decoder_ffn_dim=mlp,
    dropout=0.0,
    attention_dropout=0.0,
    activation_dropout=0.0,
  )
  if name == "led":
    window = _led_window(length)
    config = transformers.LEDConfig(
      **dict(bart, encoder_ffn_dim=mlp - 3 * width // 2),
      attention_window=window,
      max_encoder_position_embeddings=-(-length // window) * window,
      max_decoder_position_embeddings=target_tokens + 1,
    )
    return config, transformers.LEDForConditionalGeneration
  if name == "pegasus_x":
    config = transformers.PegasusXConfig(
      **bart,
      block_size=PEGASUS_X_BLOCK,
      num_global_tokens=min(PEGASUS_X_GLOBAL_TOKENS, width // 2),  # fewer at toy sizes only
      stagger_local_blocks=True,
      max_position_embeddings=max(length, target_tokens + 1),
      forced_eos_token_id=None,
    )
    return config, transformers.PegasusXForConditionalGeneration
  if name == "bigbird":
    config = transformers.BigBirdPegasusConfig(
      **bart,
      attention_type="block_sparse",
      block_size=BIGBIRD_BLOCK,
      num_random_blocks=BIGBIRD_RANDOM_BLOCKS,
      max_position_embeddings=max(length, target_tokens + 1),
    )
    return config, transformers.BigBirdPegasusForConditionalGeneration
  if name == "longt5":
    config = transformers.LongT5Config(
      **shared,
      d_kv=width // heads,
      num_heads=heads,
      d_ff=2 * mlp // 3,
      num_layers=size.encoder_layers,
      num_decoder_layers=size.decoder_layers,
      encoder_attention_type="transient-global",
      local_radius=LONGT5_RADIUS,
      global_block_size=LONGT5_GLOBAL_BLOCK,
      feed_forward_proj="gated-gelu",
      dropout_rate=0.0,
    )
    return config, transformers.LongT5ForConditionalGeneration
  raise ValueError(name)
