"""The train step on a batch of documents of 16,384 tokens: time, share of the chip, kernels.

    python -m benchmarks.long_step --size=base --documents=8 [--remat=full] [--scan] [--plain]

The documents are generated, of the lengths of real papers' segments, with all three summaries.
Prints one line, and with --profile the kernels by time.
"""

import argparse
import contextlib
import dataclasses
import statistics
import time

import flax.linen as nn
import jax

from benchmarks import htmtl_system, kernels
from benchmarks.accelerator_settings import PAPER_BUCKETS, SIZES
from benchmarks.accelerator_speed import peak_bytes
from benchmarks.documents import make_document
from benchmarks.matmul import rate_of
from htmtl_jax.data.packing import pack_document, stack_documents
from htmtl_jax.flops import count_matmul_flops
from htmtl_jax.layout import LayoutConfig
from htmtl_jax.losses import LossConfig
from htmtl_jax.models.config import REMATS
from htmtl_jax.models.gpu.launch import reference_only
from htmtl_jax.models.htmtl import Htmtl
from htmtl_jax.optimizer import OptimizerConfig, make_optimizer
from htmtl_jax.sharding import LOGICAL_RULES, MeshConfig, make_mesh, put_batch
from htmtl_jax.train_state import make_state
from htmtl_jax.train_step import make_train_step

VOCABULARY = 32_000
TARGETS = (64, 512, 640)
_WARM_UP = 2


def main() -> None:
  arguments = _parse()
  model_config = dataclasses.replace(
    SIZES[arguments.size][0],
    remat=arguments.remat,
    scan_layers=arguments.scan,
    scan_unroll=1,  # what `--scan` is for: the cost of stacking what each layer keeps
  )
  layout = LayoutConfig(min_sections=16, buckets=PAPER_BUCKETS)
  documents = [
    make_document(arguments.tokens, VOCABULARY, TARGETS, seed, "")
    for seed in range(arguments.documents)
  ]
  buckets = [htmtl_system.fit_bucket(d, layout, sum(TARGETS)) for d in documents]
  bucket = max(buckets, key=lambda b: b.token_rows)
  mesh = make_mesh(MeshConfig(), jax.devices()[:1])
  batch = put_batch(stack_documents([pack_document(d, bucket)[0] for d in documents]), mesh)
  model, optimizer = Htmtl(model_config, VOCABULARY), make_optimizer(OptimizerConfig())
  init, shardings, abstract = make_state(model, optimizer, batch, bucket.units, mesh, 0)
  step = make_train_step(model, optimizer, LossConfig(), bucket, mesh, shardings, seed=0)
  code = reference_only() if arguments.plain else contextlib.nullcontext()
  with code, jax.set_mesh(mesh), nn.logical_axis_rules(LOGICAL_RULES):
    start = time.perf_counter()
    compiled = step.__wrapped__.lower(abstract, batch).compile()
    compile_seconds = time.perf_counter() - start
    traced = count_matmul_flops(step.__wrapped__, abstract, batch)
    useful = sum(_useful_flops(model, abstract.params, d, bucket) for d in documents)

  state, seconds = init(), []
  for _ in range(_WARM_UP + arguments.repeats):
    start = time.perf_counter()
    state, metrics = compiled(state, batch)
    jax.block_until_ready(metrics["loss"])
    seconds.append(time.perf_counter() - start)
  median = statistics.median(seconds[_WARM_UP:])
  rate = rate_of("jax", model_config.dtype)["flops_per_second"]
  memory = peak_bytes(jax.devices()[0])
  print(
    f"{arguments.size}, {arguments.documents} documents in {bucket.token_rows} rows each,"
    f" {jax.devices()[0].device_kind}, {jax.__version__}: {median * 1e3:.1f} ms a step,"
    f" {arguments.documents * arguments.tokens / median:,.0f} tokens/s; matmuls"
    f" {useful / 1e12:.2f} TFLOP without padding, {useful / median / rate:.1%} of the measured"
    f" {rate / 1e12:.0f} TFLOP/s, with padding {traced / 1e12:.2f} TFLOP,"
    f" {traced / median / rate:.1%}; compiled in {compile_seconds:.0f} s"
    + (f"; {memory / 2**30:.1f} GiB" if memory else "")
  )
  if arguments.profile:
    with jax.profiler.trace(arguments.profile):
      state, metrics = compiled(state, batch)
      jax.block_until_ready(metrics["loss"])
    print(kernels.render(kernels.kernels_by_time(arguments.profile)))


def _useful_flops(model, params, document, bucket) -> int:
  filled, shapes = htmtl_system.without_padding(document, bucket)
  forward = lambda params, batch: model.apply({"params": params}, batch, filled.units).log_probs
  return 3 * count_matmul_flops(forward, params, shapes)


def _parse() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--size", choices=sorted(SIZES), default="base")
  parser.add_argument("--documents", type=int, default=8)
  parser.add_argument("--tokens", type=int, default=16_384, help="of each document")
  parser.add_argument("--remat", choices=REMATS, default="none")
  parser.add_argument("--scan", action="store_true", help="scan over layers instead of unrolling")
  parser.add_argument("--plain", action="store_true", help="no GPU kernels of ours")
  parser.add_argument("--repeats", type=int, default=6)
  parser.add_argument("--profile", default="", help="folder for a trace; prints kernels by time")
  return parser.parse_args()


if __name__ == "__main__":
  main()
