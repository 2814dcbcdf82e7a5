"""How fast text becomes batches: every stage of preparation, and the pipeline by itself.

    python -m benchmarks.data --corpus=FOLDER --prepared=DIR [--out=FILE.json]

`--corpus` is a folder of JSON lines; `--prepared` what `--mode=prepare` made of it (any
config). Stages of preparation are timed in this process, on one core, over the first
documents of the corpus; the pipeline over the prepared training split, batches of the
config's buckets, with the worker processes of `--workers`.
"""

import os

# As in the worker processes of a preparation; read when NumPy is imported.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
  os.environ.setdefault(_name, "1")

# ruff: noqa: E402
import argparse
import itertools
import json
import platform
import time

from htmtl_jax.config import get_frozen, load_config
from htmtl_jax.data import packing, placement
from htmtl_jax.data.pipeline import PackedSplit
from htmtl_jax.data.prepared import load_prepared
from htmtl_jax.data.tokenize import Limits, tokenize_document
from htmtl_jax.documents import references, sources
from htmtl_jax.layout import LayoutConfig, make_buckets

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def time_stages(config, tokenizer, count: int) -> dict[str, float]:
  """Documents a second of each stage on one core, over `count` documents."""
  corpus = sources.open_corpus(config.data)
  start = time.perf_counter()
  records = list(itertools.islice(corpus.records(), count))
  rates = {}

  def lap(name, function, *arguments):
    start = time.perf_counter()
    results = [function(*items) for items in zip(*arguments)]
    rates[name] = len(results) / (time.perf_counter() - start)
    return results

  rates["records"] = len(records) / (time.perf_counter() - start)
  limits = Limits(config.data.max_input_tokens, tuple(config.data.max_target_tokens))
  bucket = make_buckets(get_frozen(config.layout, LayoutConfig, "layout"))[-1]
  documents = lap("parse and split sentences", corpus.parse, records)
  made = lap("references", references.make_references, documents)
  lap("importance labels", references.compute_importance_labels, documents)
  arrays = lap(
    "tokenise", lambda d, r: tokenize_document(d, tokenizer, limits, False, r), documents, made
  )
  lap("measure", lambda a: placement.measure_document(a, bucket.geometry), arrays)
  lap("pack", lambda a: packing.pack_document(a, bucket), arrays)
  rates["all of preparation"] = 1 / sum(
    1 / rate for name, rate in rates.items() if name not in ("pack", "records")
  )
  return rates


def time_pipeline(config, corpus, workers: int, seconds: float) -> dict[str, float]:
  """Real tokens and documents a second of the pipeline alone, started before the clock is."""
  buckets = make_buckets(get_frozen(config.layout, LayoutConfig, "layout"))
  split = PackedSplit(corpus.split("train"), buckets, config.train.batch_token_rows)
  batches = split.training_batches(config.seed, 0, 1, workers=workers)
  for _ in range(4):  # workers have started, files are open
    next(batches)
  tokens = documents = slots = 0
  start = time.perf_counter()
  while time.perf_counter() - start < seconds:
    _, _, batch = next(batches)
    tokens += int(batch.tokens.mask.sum())
    slots += batch.tokens.slot.size
    documents += int(batch.document_mask.sum())
  elapsed = time.perf_counter() - start
  batches.close()
  return {
    "workers": workers,
    "tokens_per_second": tokens / elapsed,
    "documents_per_second": documents / elapsed,
    "real_token_share": tokens / slots,
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--corpus", required=True, help="a folder of JSON lines")
  parser.add_argument("--prepared", required=True, help="what --mode=prepare made of it")
  parser.add_argument("--config", default=os.path.join(_ROOT, "configs", "papers_base.py"))
  parser.add_argument("--documents", type=int, default=300)
  parser.add_argument("--seconds", type=float, default=20.0)
  parser.add_argument("--workers", default="0,1,2", help="numbers of worker processes to try")
  parser.add_argument("--out", default="")
  arguments = parser.parse_args()
  config = load_config(arguments.config, [f"data.path={arguments.corpus}"])
  corpus = load_prepared(arguments.prepared)
  stages = time_stages(config, corpus.tokenizer, arguments.documents)
  for name, rate in stages.items():
    print(f"{name:28} {rate:10,.0f} documents/s on one core")
  rows = []
  for workers in map(int, arguments.workers.split(",")):
    row = time_pipeline(config, corpus, workers, arguments.seconds)
    rows.append(row)
    print(
      f"pipeline, {workers} workers: {row['tokens_per_second']:12,.0f} real tokens/s, "
      f"{row['documents_per_second']:8,.1f} documents/s, {100 * row['real_token_share']:.1f}% of slots"
    )
  if arguments.out:
    with open(arguments.out, "w", encoding="utf-8") as f:
      json.dump(
        {
          "machine": platform.processor(),
          "cores": os.cpu_count(),
          "stages": stages,
          "pipeline": rows,
        },
        f,
        indent=2,
      )


if __name__ == "__main__":
  main()
