"""The peers as systems of the comparison: one train step, one summary."""

import contextlib
import os
import warnings

import torch
from torch.utils.flop_counter import FlopCounterMode
import transformers

from benchmarks.documents import make_document
from benchmarks.peers import Peer, count_parameters, make_peer, padded_length
from benchmarks.prepared_system import PreparedSystem, Request
from benchmarks.sizes import SIZES
from htmtl_jax.levels import PARAGRAPH

_WARM_UP_TOKENS = 4  # nothing is compiled: a short summary touches all that a long one does


def prepare(request: Request) -> PreparedSystem:
  """Builds the model, its document and its optimiser; nothing has run yet."""
  warnings.filterwarnings("ignore", module="transformers")
  transformers.logging.set_verbosity_error()
  torch.set_num_threads(request.threads or os.cpu_count())
  device = "cuda" if torch.cuda.is_available() else "cpu"
  size = SIZES[request.size]
  training = request.task == "train"
  target_tokens = request.target_tokens if training else request.decode_tokens
  document = make_document(
    request.length, size.vocabulary, (0, request.target_tokens, 0), request.seed, request.prepared
  )
  peer = make_peer(request.system, size, request.length, target_tokens, device, request.seed)
  as_tensor = lambda ids: torch.as_tensor(ids, dtype=torch.long, device=device)[None]
  inputs = dict(peer.inputs, input_ids=as_tensor(document.token_ids))
  inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
  labels = as_tensor(document.target_ids[PARAGRAPH])
  precision = (
    torch.autocast(device, torch.bfloat16)
    if request.dtype == "bfloat16"
    else contextlib.nullcontext()
  )
  if training:
    warm_up = run = _train_runner(peer, inputs, labels, precision, device)
  else:
    run, warm_up = (
      _decode_runner(peer, inputs, request.beam_size, tokens, precision, device)
      for tokens in (request.decode_tokens, min(request.decode_tokens, _WARM_UP_TOKENS))
    )

  def count_flops():
    if not training:
      return None, None
    forward = _count_flops(lambda: peer.model(**inputs, labels=labels, use_cache=False))
    return _count_flops(run), 3 * forward * request.length // slots

  slots = padded_length(request.system, request.length)
  total, without = count_parameters(peer.model)
  on_gpu = device == "cuda"
  return PreparedSystem(
    run,
    warm_up,
    {
      "parameters": total,
      "non_embedding_parameters": without,
      "token_and_decoder_share": 1.0,
      "token_slots": slots,
      "padding_share": 1.0 - request.length / slots,
      "target_tokens": target_tokens,
      "layers": {
        "encoder_layers": size.encoder_layers,
        "decoder_layers": size.decoder_layers,
        "mlp_width": peer.mlp_width,
      },
      "attention": peer.attention,
      "backend": device,
      "device": torch.cuda.get_device_name() if on_gpu else "cpu",
      "framework": f"torch {torch.__version__}, transformers {transformers.__version__}",
    },
    count_flops,
    reset_peak=torch.cuda.reset_peak_memory_stats if on_gpu else lambda: None,
    peak_bytes=torch.cuda.max_memory_allocated if on_gpu else lambda: None,
  )


def _count_flops(function) -> int:
  """FLOPs of the matmuls of one call."""
  with FlopCounterMode(display=False) as counter:
    function()
  return counter.get_total_flops()


def _train_runner(peer: Peer, inputs: dict, labels, precision, device: str):
  """() -> {"loss"}: forward, backward, clipping and one AdamW update, waited for."""
  model = peer.model.train()
  optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)

  def run():
    optimizer.zero_grad(set_to_none=True)
    with precision:
      loss = model(**inputs, labels=labels, use_cache=False).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    _wait(device)
    return {"loss": float(loss.detach())}

  return run


def _decode_runner(peer: Peer, inputs: dict, beam_size: int, tokens: int, precision, device: str):
  """() -> {"written_tokens"}: `generate` with a cache, as many tokens as asked for."""
  model = peer.model.eval()

  def run():
    with precision, torch.inference_mode():
      written = model.generate(
        **inputs,
        num_beams=beam_size,
        do_sample=False,
        min_new_tokens=tokens,
        max_new_tokens=tokens,
        use_cache=True,
      )
    _wait(device)
    count = written.shape[1] - 1  # without the start token
    assert count == tokens, f"{count} tokens written, {tokens} asked for"
    return {"written_tokens": count}

  return run


def _wait(device: str) -> None:
  if device == "cuda":
    torch.cuda.synchronize()
