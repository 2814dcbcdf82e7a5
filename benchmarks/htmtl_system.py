"""HTMTL and our flat Transformer as systems of the comparison.

The config is the experiment `configs/papers_base.py` with the sizes of the comparison;
losses, optimiser, layout and buckets are as shipped, dropout is off as in the peers.
"""

import dataclasses
import itertools

import flax.linen as nn
import jax
import numpy as np

from benchmarks.documents import make_document
from benchmarks.prepared_system import PreparedSystem, Request
from benchmarks.sizes import SIZES, set_split
from configs import flat_transformer, papers_base
from htmtl_jax.config import get_frozen
from htmtl_jax.data.packing import pack_document, stack_documents
from htmtl_jax.data.placement import bucket_capacity, measure_document
from htmtl_jax.data.tokenized import TokenizedDocument
from htmtl_jax.decoding import DecodeConfig, make_decoder
from htmtl_jax.flops import count_matmul_flops
from htmtl_jax.layout import Bucket, LayoutConfig, make_bucket, make_buckets
from htmtl_jax.losses import LossConfig
from htmtl_jax.models.config import ModelConfig
from htmtl_jax.models.htmtl import Htmtl
from htmtl_jax.optimizer import OptimizerConfig, make_optimizer
from htmtl_jax.sharding import LOGICAL_RULES, MeshConfig, make_mesh, put_batch
from htmtl_jax.startup import prepare_jax
from htmtl_jax.train_state import make_state
from htmtl_jax.train_step import make_train_step

SYSTEMS = ("htmtl", "htmtl_deep", "htmtl_three", "flat")
DIGEST_TOKENS, SENTENCE_TOKENS = 640, 64  # beside the paragraph, of `htmtl_three`
ROW_STEP = 8  # token rows of buckets longer than the config's go up by so many
_TOKEN_LEVEL = (
  "flat_transformer",
  "sentence_transformer",
  "sentence_to_token",
  "token_shift",
  "token_norm",
)


def set_flags() -> None:
  """What XLA reads when its backend starts; call it before any use of a device."""
  prepare_jax(compilation_cache="")


def make_config(system: str, size_name: str, dtype: str):
  """The experiment's config of one of `SYSTEMS`."""
  config = papers_base.get_config()
  set_split(config, size_name, deep=system == "htmtl_deep")
  config.model.dropout = 0.0
  config.model.dtype = dtype
  if system == "flat":
    flat_transformer.change(config)
  return config


def fit_bucket(document: TokenizedDocument, layout: LayoutConfig, target_tokens: int) -> Bucket:
  """The smallest bucket that holds the document: one of the config's, or a longer one.

  The config is that of a corpus whose documents are cut at this one's length.
  """
  buckets = make_buckets(layout, len(document.token_ids))
  rows = [bucket.token_rows for bucket in buckets]
  need = measure_document(document, make_bucket(layout, rows[0], target_tokens).geometry)
  for token_rows in itertools.chain(rows, itertools.count(rows[-1] + ROW_STEP, ROW_STEP)):
    bucket = make_bucket(layout, token_rows, target_tokens)
    if (need <= bucket_capacity(bucket)).all():
      return bucket


def prepare(request: Request) -> PreparedSystem:
  """Builds the model, its document and the compiled function; nothing has run yet."""
  config = make_config(request.system, request.size, request.dtype)
  return prepare_config(config, SIZES[request.size].vocabulary, request)


def prepare_config(config, vocabulary: int, request: Request) -> PreparedSystem:
  """`prepare` for any config; of the request's system only the levels that are trained count."""
  set_flags()
  targets = [0, request.target_tokens, 0]
  if request.system == "htmtl_three":
    targets = [SENTENCE_TOKENS, request.target_tokens, DIGEST_TOKENS]
  document = make_document(
    request.length, vocabulary, tuple(targets), request.seed, request.prepared
  )
  layout = get_frozen(config.layout, LayoutConfig, "layout")
  bucket = fit_bucket(document, layout, sum(targets))
  arrays, _, dropped = pack_document(document, bucket)
  assert dropped == 0, dropped
  mesh = make_mesh(MeshConfig(), jax.devices()[:1])
  batch = put_batch(stack_documents([arrays]), mesh)
  model = Htmtl(get_frozen(config.model, ModelConfig, "model"), vocabulary)
  optimizer = make_optimizer(get_frozen(config.optimizer, OptimizerConfig, "optimizer"))
  loss = get_frozen(config.loss, LossConfig, "loss")
  init, shardings, abstract = make_state(model, optimizer, batch, bucket.units, mesh, request.seed)

  step = make_train_step(
    model,
    optimizer,
    loss,
    bucket,
    mesh,
    shardings,
    seed=request.seed,
    hide_length=config.train.hide_length,
  )
  if request.task == "train":
    run = _train_runner(step, init(), batch)
  else:
    run = _decode_runner(request, model, loss, mesh, init().params, batch)

  def count_flops():
    if request.task != "train":
      return None, None
    filled, shapes = without_padding(document, bucket)

    def forward(params, batch):
      return model.apply({"params": params}, batch, filled.units).log_probs

    with jax.set_mesh(mesh), nn.logical_axis_rules(LOGICAL_RULES):
      traced = count_matmul_flops(step.__wrapped__, abstract, batch)
      return traced, 3 * count_matmul_flops(forward, abstract.params, shapes)

  return PreparedSystem(
    run,
    run,  # compiles, and runs once
    {
      **count_parameters(abstract.params),
      "token_slots": bucket.tokens,
      "padding_share": 1.0 - request.length / bucket.tokens,
      "target_tokens": sum(targets),
      "bucket": [bucket.token_rows, bucket.target_tokens],
      "layers": {
        name: config.model[name] for name in config.model if name.endswith("_layers")
      } | {"mlp_width": config.model.mlp_width},
      "backend": jax.default_backend(),
      "device": jax.devices()[0].device_kind,
      "framework": f"jax {jax.__version__}",
    },
    count_flops,
    reset_peak=lambda: None,  # JAX cannot; the peak of a device is then the process's
    peak_bytes=lambda: (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use"),
    trace=lambda folder: _trace(run, folder),
  )  # fmt: skip


def count_parameters(params) -> dict:
  """All, without the token embedding, and the share of these in token layers and decoder."""
  size = lambda tree: sum(int(np.prod(x.shape)) for x in jax.tree.leaves(tree))
  total = size(params)
  without = total - size(params["embedding"])
  token_level = sum(size(tree) for name, tree in params["encoder"].items() if name in _TOKEN_LEVEL)
  decoder = without - size(params["encoder"])
  return {
    "parameters": total,
    "non_embedding_parameters": without,
    "token_and_decoder_share": (token_level + decoder) / without,
  }


def without_padding(document: TokenizedDocument, bucket: Bucket):
  """(bucket, shapes of a batch) with no more rows than the document's segments fill."""
  full = lambda count, width: max(1, -(-count // width))
  sentences = len(document.sentence_lengths)
  paragraphs = len(document.paragraph_section)
  filled = dataclasses.replace(
    bucket,
    token_rows=full(len(document.token_ids), bucket.row_tokens),
    sentence_rows=full(sentences, bucket.row_sentences),
    paragraph_rows=full(paragraphs, bucket.row_paragraphs),
    sections=int(document.paragraph_section[-1]) + 1,
  )
  # Only shapes are traced, so what does not fit these rows does not matter.
  arrays, _, _ = pack_document(document, filled)
  batch = stack_documents([arrays])
  return filled, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)


def _train_runner(step, state, batch):
  """() -> {"loss"}: one optimiser step on the same batch, waited for."""
  states = [state]  # the step donates its input, so the newest is kept here

  def run():
    states[0], metrics = step(states[0], batch)
    return {"loss": float(jax.block_until_ready(metrics["loss"]))}

  return run


def _decode_runner(request: Request, model, loss: LossConfig, mesh, params, batch):
  """() -> {"written_tokens"}: the paragraph summary of the document, from its tokens on."""
  tokens = request.decode_tokens
  decode = make_decoder(
    model,
    DecodeConfig(
      levels=("paragraph",),
      beam_size=request.beam_size,
      min_tokens=(0, tokens, 0),
      max_tokens=(1, tokens, 1),
      no_repeat_ngram=(0, 0, 0),
    ),
    loss,
    mesh,
  )
  num_pieces = np.ones(1, np.int32)
  step = np.int32(10**6)  # importance gates the memory in full

  def run():
    result = jax.block_until_ready(decode(params, step, batch, num_pieces))
    written = int(result.lengths[0, 1])
    assert written == tokens, f"{written} tokens written, {tokens} asked for"
    return {"written_tokens": written}

  return run


def _trace(run, folder: str) -> None:
  with jax.profiler.trace(folder):
    run()
