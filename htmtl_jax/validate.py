"""The loss pass over the validation split: every term by level, and importance."""

import jax
import numpy as np

from htmtl_jax import hosts
from htmtl_jax.data.packing import PieceIndex, merge_pieces
from htmtl_jax.data.pipeline import PackedSplit
from htmtl_jax.data.prepared import PreparedCorpus
from htmtl_jax.evaluation.importance import mean_sentence_auc
from htmtl_jax.experiment import Experiment
from htmtl_jax.levels import LEVELS
from htmtl_jax.losses import normalise_terms, total_loss
from htmtl_jax.sharding import host_part, put_batch, take_part
from htmtl_jax.train_step import make_eval_step


class Validator:
  """Computes validation losses as sums over the split, divided once."""

  def __init__(self, experiment: Experiment, corpus: PreparedCorpus):
    documents = corpus.split("validation")
    limit = experiment.config.train.validation_documents
    if limit:
      documents = [documents[i] for i in range(min(limit, len(documents)))]
    self._experiment = experiment
    self._split = PackedSplit(
      documents, experiment.buckets, experiment.config.train.batch_token_rows
    )
    self._steps = {}

  def evaluate(self, params, step: int) -> dict[str, float]:
    """{"eval/loss", "eval/ce/LEVEL", ..., "eval/sentence_auc" where the truth is known}."""
    experiment = self._experiment
    sums, weights, judged = None, None, {}
    part = host_part(experiment.mesh)
    for bucket, indices, batch, pieces in self._split.evaluation_batches(
      experiment.multiple, *part
    ):
      if bucket not in self._steps:
        self._steps[bucket] = make_eval_step(
          experiment.scanned_model,
          experiment.loss_config,
          experiment.buckets[bucket],
          experiment.mesh,
        )
      result = self._steps[bucket](params, np.asarray(step), put_batch(batch, experiment.mesh))
      terms, counts, log_importance = jax.device_get(result)
      sums = terms if sums is None else jax.tree.map(np.add, sums, terms)
      weights = counts if weights is None else jax.tree.map(np.add, weights, counts)
      own = take_part(np.exp(log_importance), experiment.mesh)
      judged |= self._judge(own, indices, pieces)

    terms = normalise_terms(sums, weights)
    results = {f"eval/{name}": float(value) for name, value in terms.items()}
    for level, tokens in zip(LEVELS, weights.tokens):
      if not tokens:  # no reference at this level: zero would look like a perfect score
        del results[f"eval/ce/{level}"]
    results["eval/loss"] = float(total_loss(terms, experiment.loss_config, step))
    judged = hosts.merge(judged)
    if judged:
      results["eval/sentence_auc"] = mean_sentence_auc(list(judged.values()))
    return results

  def describe(self, results: dict[str, float]) -> str:
    """One line for people."""
    losses = " / ".join(f"{results.get(f'eval/ce/{level}', float('nan')):.3f}" for level in LEVELS)
    line = f"validation cross-entropy {losses} ({' / '.join(LEVELS)})"
    if "eval/sentence_auc" in results:
      line += f", importance AUC {results['eval/sentence_auc']:.3f}"
    return line

  def _judge(
    self, importance: np.ndarray, indices, pieces: list[PieceIndex | None]
  ) -> dict[int, tuple]:
    """(importance, planted, is_heading) of each document whose truth is known, by its index."""
    judged = {}
    for row, (i, index) in enumerate(zip(indices, pieces)):
      if index is None:
        continue
      document = self._split.documents[int(i)]
      if document.planted is not None:
        scores = merge_pieces(importance[row], index.sentence, len(document.is_heading))
        judged[int(i)] = (scores, document.planted, document.is_heading)
    return judged
