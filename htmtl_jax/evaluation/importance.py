"""How well a ranking of sentences, such as the encoder's importance, finds those that matter.

The truth is the generator's planted sentences, or for a real paper the sentences of
the greedy oracle. The main measure is the area under the ROC curve within a document: the
probability that a sentence that matters is ranked above one that does not. Beside it
stand precision at the top of the ranking, and rank correlation with the soft gains of
all sentences (`references.compute_importance_labels`), which asks about the order of the
others as well. Headings are left out: a model that merely knows a heading when it sees one
must not score.
"""

from collections.abc import Iterable

import numpy as np

from htmtl_jax.documents.document import Document, iterate_sentences
from htmtl_jax.evaluation.oracle import greedy_oracle
from htmtl_jax.evaluation.ranking import rank_order

FIXED_K = (5, 10)
# In the order of `judge_ranking`.
MEASURES = ("auc", "precision_at_k", *(f"precision_at_{k}" for k in FIXED_K), "spearman", "kendall")


def sentence_auc(
  importance: np.ndarray, planted: np.ndarray, is_heading: np.ndarray | None = None
) -> float | None:
  """Area under the ROC curve of one document's sentence importance.

  Exact, from ranks: with n sentences that matter, m that do not, and R the sum of the
  mean ranks of the former, AUC = (R - n (n + 1) / 2) / (n m). A tie counts one half.

  Args:
    importance: [S] any increasing function of importance.
    planted: [S] bool, the sentences that matter.
    is_heading: [S] bool, sentences to leave out; None for none.

  Returns:
    From 0 to 1, 0.5 by chance; None where one of the two classes is empty.

  Raises:
    ValueError: if the shapes differ, or an importance is NaN.

  Source: Mann & Whitney 1947.
  """
  importance = np.asarray(importance, np.float64)
  planted = np.asarray(planted, bool)
  body = np.ones(planted.shape, bool) if is_heading is None else ~np.asarray(is_heading, bool)
  if importance.ndim != 1 or not importance.shape == planted.shape == body.shape:
    raise ValueError(f"shapes differ: {importance.shape}, {planted.shape}, {body.shape}")
  importance, planted = importance[body], planted[body]
  if np.isnan(importance).any():
    raise ValueError("importance holds NaN")
  num_planted = int(planted.sum())
  num_others = planted.size - num_planted
  if not num_planted or not num_others:
    return None
  _, value_of, counts = np.unique(importance, return_inverse=True, return_counts=True)
  mean_ranks = np.cumsum(counts) - (counts - 1) / 2.0  # of each distinct value, from 1
  rank_sum = mean_ranks[value_of][planted].sum()
  wins = rank_sum - num_planted * (num_planted + 1) / 2.0
  return float(wins / (num_planted * num_others))


def precision_at(scores: np.ndarray, matters: np.ndarray, k: int) -> float | None:
  """Share of the k best-ranked sentences that matter.

  Args:
    scores: [S] finite; of equal ones the earlier sentence ranks first, as in extraction.
    matters: [S] bool.
    k: at least 1.

  Returns:
    From 0 to 1; None for fewer than k sentences, or none that matters.
  """
  matters = np.asarray(matters, bool)
  if len(matters) < k or not matters.any():
    return None
  return float(matters[rank_order(scores)[:k]].mean())


def rank_correlations(scores: np.ndarray, gains: np.ndarray) -> tuple[float | None, float | None]:
  """Spearman's rho and Kendall's tau-b of two rankings of the same sentences.

  Args:
    scores, gains: [S]; ties share their mean rank, and are allowed for in tau.

  Returns:
    From -1 to 1; None where one of the two ranks nothing: fewer than two sentences, or
    all equal.

  Source: Spearman 1904; Kendall 1945, "The treatment of ties in ranking problems".
  """
  if len(scores) < 2 or np.ptp(scores) == 0.0 or np.ptp(gains) == 0.0:
    return None, None
  # Here, because training imports this module for the AUC, and this takes half a second.
  from scipy import stats

  rho, tau = stats.spearmanr(scores, gains), stats.kendalltau(scores, gains)
  return float(rho.statistic), float(tau.statistic)


def judge_ranking(
  scores: np.ndarray, matters: np.ndarray, gains: np.ndarray | None
) -> dict[str, float | None]:
  """All measures of one document's ranking.

  Args:
    scores: [S] of the sentences, headings left out; higher ranks first.
    matters: [S] bool.
    gains: [S] what each sentence alone shares with the abstract, or any increasing
      function of it; None where there is no abstract.

  Returns:
    In the order of `MEASURES`, None where undefined:

      auc             probability that a sentence that matters ranks above one that does not
      precision_at_k  share of the k best that matter, k as many as matter
      precision_at_N  the same of the N best; documents of fewer sentences have none
      spearman, kendall   rank correlation with the gains
  """
  scores = np.asarray(scores, np.float64)
  matters = np.asarray(matters, bool)
  rho, tau = (None, None) if gains is None else rank_correlations(scores, gains)
  return {
    "auc": sentence_auc(scores, matters),
    "precision_at_k": precision_at(scores, matters, max(int(matters.sum()), 1)),
    **{f"precision_at_{k}": precision_at(scores, matters, k) for k in FIXED_K},
    "spearman": rho,
    "kendall": tau,
  }


def mean_sentence_auc(documents: Iterable[tuple[np.ndarray, ...]]) -> float | None:
  """Mean of the documents' AUCs, each document counting once.

  Args:
    documents: (importance, labels) or (importance, labels, is_heading) of each, the
      arguments of `sentence_auc`; documents whose AUC is undefined do not count.

  Returns:
    From 0 to 1; None if no document has a defined AUC.
  """
  values = [sentence_auc(*document) for document in documents]
  defined = [v for v in values if v is not None]
  return float(np.mean(defined)) if defined else None


def planted_labels(document: Document) -> np.ndarray | None:
  """[S] bool over `iterate_sentences`, the generator's truth; None where unknown."""
  if document.planted is None:
    return None
  return np.array(
    [(p.section, p.paragraph, p.sentence) in document.planted for p in iterate_sentences(document)],
    bool,
  )


def oracle_labels(
  document: Document, reference: str, max_sentences: int | None = None
) -> np.ndarray:
  """Sentences that the greedy oracle takes against a reference.

  Args:
    document: S sentences, headings included.
    reference: newline-separated sentences, usually the abstract.
    max_sentences: of the oracle; None for no limit.

  Returns:
    [S] bool over `iterate_sentences`; False at headings.
  """
  places = list(iterate_sentences(document))
  body = [i for i, place in enumerate(places) if not place.is_heading]
  labels = np.zeros(len(places), bool)
  chosen = greedy_oracle([places[i].text for i in body], reference, max_sentences)
  labels[[body[i] for i in chosen]] = True
  return labels
