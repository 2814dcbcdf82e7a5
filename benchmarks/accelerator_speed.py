"""How fast: the machine's own ceiling, then the train step and decoding against it."""

from collections.abc import Callable
import functools
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator_settings import Settings
from benchmarks.accelerator_trainer import Trainer
from htmtl_jax.data.batches import BLANK
from htmtl_jax.data.packing import real_token_share
from htmtl_jax.data.pipeline import PackedSplit
from htmtl_jax.decoding import DecodeConfig, make_decoder
from htmtl_jax.flops import peak_flops
from htmtl_jax.sharding import put_batch

_TOKEN_LEVEL = ("sentence_transformer", "sentence_to_token", "token_shift", "token_norm")


def median_seconds(run: Callable[[], Any], repeats: int, inner: int = 1) -> float:
  """Median over `repeats` of the seconds of one `run`, `inner` of them in a row.

  Args:
    run: returns arrays; waited for after `inner` calls, so that the host's work
      overlaps with the device's as in training.
    repeats: timings.
    inner: calls in one timing.
  """
  jax.block_until_ready(run())
  times = []
  for _ in range(repeats):
    start = time.perf_counter()
    for _ in range(inner):
      result = run()
    jax.block_until_ready(result)
    times.append((time.perf_counter() - start) / inner)
  return statistics.median(times)


def measure_ceiling(settings: Settings, device) -> dict[str, Any]:
  """What one device can do at best: bfloat16 matmul rate, and bytes moved a second.

  On random data: zeros draw less power and run faster than real work does.
  """
  n = settings.matmul_size
  rng = np.random.default_rng(settings.seed)
  put = lambda array: jax.device_put(array, device)
  a, b = (put(rng.standard_normal((n, n), np.float32)).astype(jnp.bfloat16) for _ in range(2))
  multiply = jax.jit(lambda a, b: a @ b)
  seconds = median_seconds(lambda: multiply(a, b), settings.repeats, inner=5)
  count = settings.copy_bytes // 4
  x = jax.random.uniform(jax.random.key(settings.seed), (count,), jnp.float32)
  x = put(x)
  scale = jax.jit(lambda x: x * 1.5)
  copy_seconds = median_seconds(lambda: scale(x), settings.repeats, inner=5)
  peak = peak_flops(device)
  return {
    "matmul_size": n,
    "matmul_dtype": "bfloat16",
    "matmul_tflops": 2 * n**3 / seconds / 1e12,
    "copy_gb_per_second": 2 * 4 * count / copy_seconds / 1e9,
    "data_sheet_tflops": None if peak is None else peak / 1e12,
  }


def time_train_steps(
  settings: Settings, trainer: Trainer, ceiling_tflops: float | None
) -> list[dict[str, Any]]:
  """Times the train step in the buckets that hold the most training documents.

  Returns:
    One row a bucket; see `_time_bucket`.
  """
  counts = np.bincount(trainer.split.bucket_of, minlength=len(settings.buckets))
  fullest = [int(b) for b in np.argsort(-counts, kind="stable") if counts[b]]
  rows = []
  for bucket in sorted(fullest[: settings.timed_buckets]):
    rows.append(
      {
        "bucket_token_rows": settings.buckets[bucket].token_rows,
        "bucket_documents": int(counts[bucket]),
        **_time_bucket(settings, trainer, bucket, ceiling_tflops),
      }
    )
  return rows


def _time_bucket(settings, trainer, bucket, ceiling_tflops) -> dict[str, Any]:
  """Times one bucket's step on one real batch that stays on the device."""
  batch = _fill_batch(trainer.split, bucket, trainer.multiple)
  on_device = put_batch(batch, trainer.mesh)
  step, compile_seconds = trainer.compile(bucket, on_device)
  state = [trainer.init()]  # the step donates its input, so the newest is kept here

  def run():
    state[0], metrics = step(state[0], on_device)
    return metrics["loss"]

  seconds = median_seconds(run, settings.repeats, inner=1 if settings.tiny else 3)
  flops = trainer.count_flops(bucket, batch)
  num_devices = trainer.mesh.devices.size
  achieved = flops / seconds / num_devices / 1e12
  real_share = real_token_share(batch)
  real_tokens = int(batch.tokens.mask.sum())
  return {
    "documents": int(batch.document_mask.sum()),
    "token_slots": int(batch.tokens.slot.size),
    "source_tokens": real_tokens,
    "target_tokens": int(batch.targets.mask.sum()),
    "padding_share": 1.0 - real_share,
    "seconds_per_step": seconds,
    "source_tokens_per_second": real_tokens / seconds,
    "documents_per_second": float(batch.document_mask.sum()) / seconds,
    "compile_seconds": compile_seconds,
    "matmul_tflop_per_step": flops / 1e12,
    "xla_tflop_per_step": _xla_flops(step),
    "six_n_tflop_per_step": six_n_flops(trainer.abstract_state.params, batch) / 1e12,
    "tflops_per_device": achieved,
    "mfu_of_ceiling": achieved / ceiling_tflops if ceiling_tflops else None,
    "program_bytes": _program_bytes(step),
    "peak_bytes": peak_bytes(trainer.mesh.devices.flat[0]),
  }


def time_decoding(settings: Settings, trainer: Trainer, documents) -> list[dict[str, Any]]:
  """Times greedy and beam search over held-out documents, every output equally long.

  The texts are those of an untrained model and have exactly `settings.timed_tokens`
  tokens, so that the time is that of the work and not of what was written.
  """
  split = PackedSplit(documents, settings.buckets, settings.decode_token_rows)
  counts = np.bincount(split.bucket_of, minlength=len(settings.buckets))
  bucket = int(np.argmax(counts))
  batch = _fill_batch(split, bucket, trainer.multiple)
  on_device = put_batch(batch, trainer.mesh)
  num_pieces = np.full(len(batch.document_mask), 1, np.int32)
  params = trainer.init().params
  tokens = settings.timed_tokens
  rows = []
  for beam_size in sorted({1, settings.decode.beam_size}):
    config = DecodeConfig(beam_size=beam_size, min_tokens=tokens, max_tokens=tokens)
    decoder = make_decoder(trainer.model, config, settings.loss, trainer.mesh)
    run = functools.partial(decoder, params, np.int32(0), on_device, num_pieces)
    start = time.perf_counter()
    first = jax.block_until_ready(run())
    first_seconds = time.perf_counter() - start
    seconds = median_seconds(run, min(settings.repeats, 3))
    real = batch.document_mask
    written = int(np.asarray(first.lengths)[real].sum())
    rows.append(
      {
        "beam_size": beam_size,
        "bucket_token_rows": settings.buckets[bucket].token_rows,
        "documents": int(real.sum()),
        "tokens_per_document": written / int(real.sum()),
        "seconds_per_batch": seconds,
        "documents_per_second": float(real.sum()) / seconds,
        "tokens_per_second": written / seconds,
        "compile_seconds": max(first_seconds - seconds, 0.0),
        "peak_bytes": peak_bytes(trainer.mesh.devices.flat[0]),
      }
    )
  return rows


def six_n_flops(params, batch) -> int:
  """6 x parameters x positions they are applied at: 2 forward, 4 backward for each.

  A cross-check that knows nothing of the program: no attention products, norms as if
  they were matrices, upper encoder layers as if all ran on sentences.
  """
  size = lambda tree: sum(int(np.prod(x.shape)) for x in jax.tree.leaves(tree))
  token_level = sum(size(tree) for name, tree in params["encoder"].items() if name in _TOKEN_LEVEL)
  tokens, sentences = batch.tokens.slot.size, batch.tokens.parent_mask.size
  targets = batch.targets.ids.size
  applied = (
    token_level * tokens
    + (size(params["encoder"]) - token_level) * sentences
    + (size(params) - size(params["encoder"])) * targets
  )
  return 6 * applied


def peak_bytes(device) -> int | None:
  """Most device memory in use at once since the process began; None where not told."""
  statistics_ = device.memory_stats() or {}
  return statistics_.get("peak_bytes_in_use")


def _fill_batch(split: PackedSplit, bucket: int, multiple: int):
  """One batch of a bucket's first documents; of all that fit it where those are too few."""
  size = split.batch_sizes[bucket]
  own = np.flatnonzero(split.bucket_of == bucket)
  smaller = np.flatnonzero(split.bucket_of < bucket)[::-1]
  indices = np.concatenate([own, smaller])[:size]
  indices = np.concatenate([indices, np.full(size - len(indices), BLANK)])
  return split.pack(bucket, indices, multiple)[0]


def _xla_flops(compiled) -> float | None:
  """XLA's own count in TFLOP; it counts the body of a loop once, whatever its length."""
  analysis = compiled.cost_analysis()
  analysis = analysis[0] if isinstance(analysis, list) else analysis
  flops = (analysis or {}).get("flops")
  return None if flops is None or flops < 0 else flops / 1e12


def _program_bytes(compiled) -> int | None:
  """Device memory that the compiled step needs at once, arguments included."""
  memory = compiled.memory_analysis()
  if memory is None:
    return None
  sizes = (memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.temp_size_in_bytes)
  return int(sum(sizes) - memory.alias_size_in_bytes)
