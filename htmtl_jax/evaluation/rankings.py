"""The run's importance beside other rankings of the same sentences: which finds what matters?

An importance that is no better than position has learnt that papers say what they say at
the beginning. So every measure of `importance.py` is given for position, LexRank and, if it
takes part, the learned extractor as well, on the same documents and the same sentences:
those that the run has read.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from htmtl_jax.documents.document import Document, iterate_sentences
from htmtl_jax.documents.references import compute_importance_labels
from htmtl_jax.evaluation.importance import MEASURES, judge_ranking
from htmtl_jax.evaluation.ranking import lead_scores, lexrank_scores
from htmtl_jax.evaluation.rouge import bootstrap_interval

RUN = "htmtl"  # the run's own ranking; the others are baselines


@dataclasses.dataclass(frozen=True)
class RankedDocument:
  """A document with the run's ranking and the truth.

  Attributes:
    document: S sentences, headings included.
    importance: [K] of the first K <= S sentences, those that the run has read.
    matters: [K] bool.
    learned: [B] scores of all body sentences by the learned extractor, or None.
  """

  document: Document
  importance: np.ndarray
  matters: np.ndarray
  learned: np.ndarray | None = None


def judge_document(ranked: RankedDocument) -> dict[str, dict[str, float | None]]:
  """{ranking: {measure: value or None}}, see `importance.judge_ranking`."""
  places = list(iterate_sentences(ranked.document))
  count = len(ranked.importance)
  body = np.array([i for i, p in enumerate(places[:count]) if not p.is_heading], np.int64)
  sentences = [places[i].text for i in body]
  gains = compute_importance_labels(ranked.document)
  rankings = {
    RUN: np.asarray(ranked.importance, np.float64)[body],
    "position": lead_scores(len(body)),
    "lexrank": lexrank_scores(sentences),
  }
  if ranked.learned is not None:
    rankings["learned"] = np.asarray(ranked.learned)[: len(body)]
  matters = np.asarray(ranked.matters, bool)[body]
  gains = None if gains is None else gains[body]
  return {name: judge_ranking(scores, matters, gains) for name, scores in rankings.items()}


def summarise_rankings(
  judged: Sequence[Mapping[str, Mapping[str, float | None]]], samples: int = 1000, seed: int = 0
) -> dict[str, Any]:
  """Means over documents, and how far the run is ahead of each baseline.

  Args:
    judged: of `judge_document`; all with the same rankings.
    samples: bootstrap resamples.
    seed: of the bootstrap.

  Returns:
    {"rankings": {name: {measure: {"mean", "low", "high", "documents"}}},
     "differences": {baseline: {measure: the same of run - baseline, by document}}}, the
    intervals 95% and over documents; a measure that no document has is None.
  """
  names = list(judged[0]) if judged else []
  values = {
    name: {
      measure: np.array([_number(own[name][measure]) for own in judged]) for measure in MEASURES
    }
    for name in names
  }
  summary = lambda own: _summarise(own, samples, seed)
  return {
    "rankings": {
      name: {measure: summary(own) for measure, own in values[name].items()} for name in names
    },
    "differences": {
      name: {measure: summary(values[RUN][measure] - own) for measure, own in values[name].items()}
      for name in names
      if name != RUN
    },
  }


def mean_auc(summary: Mapping[str, Any]) -> float | None:
  """The mean AUC of the run's own ranking; None if no document has one."""
  own = summary["rankings"].get(RUN, {}).get("auc")
  return None if own is None else own["mean"]


def _number(value: float | None) -> float:
  return np.nan if value is None else value


def _summarise(values: np.ndarray, samples: int, seed: int) -> dict[str, Any] | None:
  values = values[~np.isnan(values)]
  if not values.size:
    return None
  low, high = bootstrap_interval(values, samples, seed)
  return {"mean": float(values.mean()), "low": low, "high": high, "documents": int(values.size)}


def make_rows(
  identifiers: Iterable[str], judged: Iterable[Mapping[str, Mapping[str, float | None]]]
) -> list[dict[str, Any]]:
  """The lines of rankings.jsonl: {"id", "ranking", measure: value or None, ...}."""
  return [
    {"id": identifier, "ranking": name, **measures}
    for identifier, own in zip(identifiers, judged, strict=True)
    for name, measures in own.items()
  ]
