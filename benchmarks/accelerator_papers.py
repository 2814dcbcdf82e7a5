"""Held-out papers: losses, summaries beside the baselines', importance, scores."""

from collections.abc import Callable
import importlib.util
import json
import os
import time
from typing import Any

import jax
import numpy as np

from benchmarks.accelerator_corpus import pair_systems, read_baselines
from benchmarks.accelerator_settings import Settings
from benchmarks.accelerator_trainer import Trainer
from htmtl_jax.data.packing import merge_pieces
from htmtl_jax.data.pipeline import PackedSplit
from htmtl_jax.data.prepared import PreparedCorpus
from htmtl_jax.data.tokenize import decode_summary
from htmtl_jax.decoding import make_decoder
from htmtl_jax.errors import UserError
from htmtl_jax.evaluation.baselines import body_scores, extract
from htmtl_jax.evaluation.importance import mean_sentence_auc
from htmtl_jax.levels import LEVELS
from htmtl_jax.losses import normalise_terms, total_loss
from htmtl_jax.sharding import put_batch
from htmtl_jax.train_state import TrainState
from htmtl_jax.train_step import make_eval_step

PREDICTIONS_FILE = "predictions.jsonl"
SCORES_FOLDER = "scores"


def evaluate(
  settings: Settings,
  trainer: Trainer,
  state: TrainState,
  corpus: PreparedCorpus,
  output: str,
  log: Callable[[str], None],
) -> dict[str, Any]:
  """Decodes the first held-out test papers and writes predictions.jsonl.

  Args:
    settings: how many papers, the beam.
    trainer: has the model and the mesh.
    state: trained or not.
    corpus: the prepared papers.
    output: where predictions.jsonl goes.
    log: called with a line a batch.

  Returns:
    {"documents", "seconds", "documents_per_second", "losses", "importance_auc",
     "documents_beyond_buckets", "mean_words", "repeated_trigram_share"}: seconds with
    compilation, losses by term and level on the same papers, words and the share of
    repeated trigrams by level of what the model wrote.
  """
  limit = min(settings.max_documents, len(corpus.split("test")))
  documents = corpus.split("test")[:limit]
  texts = corpus.documents("test")[:limit]
  baselines = read_baselines(corpus.directory)[:limit]
  # Two sizes only: each costs a compilation, and decoding is the time of its steps.
  buckets = tuple(
    sorted(
      {settings.buckets[len(settings.buckets) // 2], settings.buckets[-1]},
      key=lambda b: b.token_rows,
    )
  )
  split = PackedSplit(documents, buckets, settings.decode_token_rows)
  decoder = make_decoder(trainer.model, settings.decode, settings.loss, trainer.mesh)
  steps = {}
  pieces_of: list[dict] = [{} for _ in documents]
  importance: list[np.ndarray] = [np.zeros(0)] * limit
  sums = weights = None
  done, start = 0, time.perf_counter()
  for bucket, indices, batch, maps in split.evaluation_batches(trainer.multiple):
    if bucket not in steps:
      steps[bucket] = make_eval_step(trainer.model, settings.loss, buckets[bucket], trainer.mesh)
    on_device = put_batch(batch, trainer.mesh)
    rows = [int(i) for i in indices]  # -1 for a blank
    num_pieces = np.array([documents[i].num_pieces if i >= 0 else 0 for i in rows], np.int32)
    result = decoder(state.params, state.step, on_device, num_pieces)
    scored = steps[bucket](state.params, state.step, on_device)
    result, (terms, counts, log_importance) = jax.device_get((result, scored))
    sums = terms if sums is None else jax.tree.map(np.add, sums, terms)
    weights = counts if weights is None else jax.tree.map(np.add, weights, counts)
    for row, i in enumerate(rows):
      if i < 0:
        continue
      for level, name in enumerate(LEVELS):
        ids = result.ids[row, level, : result.lengths[row, level]]
        pieces_of[i][name] = decode_summary(ids, name, corpus.tokenizer, keep_empty=True)
      count = len(documents[i].sentence_lengths)
      importance[i] = merge_pieces(np.exp(log_importance[row]), maps[row].sentence, count)
      done += 1
    log(f"decoded {done} of {limit} held-out papers, {time.perf_counter() - start:.0f} s")
  seconds = time.perf_counter() - start

  lines = []
  for text, baseline, pieces, scores in zip(texts, baselines, pieces_of, importance, strict=True):
    if text.id != baseline["id"]:
      raise UserError(f"{corpus.directory}: baselines of other papers; run `prepare` again")
    for level in baseline["levels"]:
      extractive = extract(
        body_scores(text, scores),
        text,
        level,
        corpus.word_budgets[level],
        baseline["eligible"],
        mmr=True,
      )
      systems = {"htmtl": pieces[level], "htmtl_extractive": extractive}
      lines.append(pair_systems(text, baseline, level, systems))
  with open(os.path.join(output, PREDICTIONS_FILE), "w", encoding="ascii") as f:
    f.writelines(json.dumps(line) + "\n" for line in lines)

  terms = normalise_terms(sums, weights)
  terms["loss"] = total_loss(terms, settings.loss, state.step)
  written = {
    level: [line["systems"]["htmtl"] for line in lines if line["level"] == level]
    for level in LEVELS
  }
  return {
    "documents": limit,
    "seconds": seconds,
    "documents_per_second": limit / seconds,
    "step": int(state.step),
    "documents_beyond_buckets": split.num_beyond,
    "losses": {name: float(value) for name, value in terms.items()},
    "importance_auc": mean_sentence_auc(
      _judged(document, baseline, scores)
      for document, baseline, scores in zip(documents, baselines, importance, strict=True)
    ),
    "mean_words": {
      level: float(np.mean([len(t.split()) for t in own])) for level, own in written.items() if own
    },
    "repeated_trigram_share": {
      level: repeated_trigram_share(own) for level, own in written.items() if own
    },
  }


def _judged(document, baseline, scores):
  """(importance, oracle labels, is_heading) of the sentences that truncation left."""
  labels = np.zeros(len(scores), bool)
  labels[[i for i in baseline["important"] if i < len(scores)]] = True
  return scores, labels, document.is_heading


def repeated_trigram_share(texts: list[str]) -> float:
  """Share of word trigrams that stood in the same text before; 0 is none, 1 is a loop."""
  total = repeated = 0
  for text in texts:
    words = text.split()
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    total += len(trigrams)
    repeated += len(trigrams) - len(set(trigrams))
  return repeated / max(total, 1)


def can_score() -> bool:
  """Whether ROUGE can be computed on this machine."""
  try:
    return all(importlib.util.find_spec(name) is not None for name in ("rouge_score", "nltk"))
  except ImportError:
    return False


def score(output: str, step: int, seed: int, processes: int = 1) -> dict[str, Any]:
  """Scores predictions.jsonl with ROUGE and writes OUTPUT/scores/.

  Returns:
    The results without the scores of single documents, see `results.compute_results`,
    and under "table" the table for a terminal.

  Raises:
    UserError: if there are no predictions, or ROUGE is not installed.
  """
  path = os.path.join(output, PREDICTIONS_FILE)
  if not can_score():
    raise UserError("rouge-score is not installed here: pip install rouge-score")
  from htmtl_jax.evaluation.results import SummaryPair, compute_results, write_results
  from htmtl_jax.evaluation.terminal import render_table

  try:
    with open(path, encoding="ascii") as f:
      pairs = [SummaryPair(**json.loads(line)) for line in f]
  except (OSError, ValueError, TypeError) as error:
    raise UserError(f"{path}: missing or damaged ({error}); run the evaluation first") from error
  results = compute_results(pairs, step, "test", processes=processes, seed=seed)
  write_results(os.path.join(output, SCORES_FOLDER), results, pairs)
  summary = {key: value for key, value in results.items() if key != "scores"}
  return {**summary, "table": render_table(results)}
