"""The greedy extractive oracle: what the best choice of sentences could score.

It sees the reference, so it is a ceiling for extraction and no competitor. It also
makes the labels by which importance is judged on papers without planted sentences.
"""

from collections import Counter
from collections.abc import Sequence
import itertools

import numpy as np


def _ngram_counts(sentences: Sequence[list[str]], n: int) -> Counter:
  return Counter(gram for s in sentences for gram in zip(*(s[k:] for k in range(n)), strict=False))


def _count_matrix(
  sentences: Sequence[list[str]], reference: Counter, n: int
) -> tuple[np.ndarray, np.ndarray]:
  """([S, R] counts of the reference's n-grams, [S] n-grams of any kind)."""
  ids = {gram: i for i, gram in enumerate(reference)}
  counts = np.zeros((len(sentences), len(ids)), np.int32)
  totals = np.zeros(len(sentences), np.int64)
  for row, words in enumerate(sentences):
    for gram in zip(*(words[k:] for k in range(n)), strict=False):
      column = ids.get(gram)
      if column is not None:
        counts[row, column] += 1
    totals[row] = max(0, len(words) - n + 1)
  return counts, totals


def greedy_oracle(
  sentences: Sequence[str], reference_text: str, max_sentences: int | None = None
) -> list[int]:
  """Adds the sentence that most raises ROUGE-1 F + ROUGE-2 F, until none does.

  Words are stemmed as in `rouge.py`; bigrams do not cross from one sentence into the
  next, on either side, which is the only difference from rouge-score. Matches are
  clipped at the reference's counts.

  Args:
    sentences: S candidates.
    reference_text: newline-separated sentences.
    max_sentences: at most so many; None for no limit.

  Returns:
    Indices in document order; empty where nothing overlaps with the reference. Of
    equally good sentences the earliest is taken.

  Source: Nallapati et al. 2017, "SummaRuNNer", section 2.3.
  """
  # Here, because what imports this module may run where rouge-score is not installed.
  from htmtl_jax.evaluation import rouge

  words = [rouge.tokenize(s) for s in sentences]
  reference = [rouge.tokenize(s) for s in reference_text.split("\n")]
  available = np.array([bool(w) for w in words], bool)
  grams = []  # per n: (counts [S, R], totals [S], reference counts [R], reference total)
  for n in (1, 2):
    reference_counts = _ngram_counts(reference, n)
    counts, totals = _count_matrix(words, reference_counts, n)
    grams.append(
      (
        counts,
        totals,
        np.fromiter(reference_counts.values(), np.int32, len(reference_counts)),
        reference_counts.total(),
      )
    )
  covered = [np.zeros(g[2].shape, np.int32) for g in grams]
  length = [0, 0]
  chosen: list[int] = []
  best_value = 0.0
  limit = len(words) if max_sentences is None else max_sentences
  for _ in itertools.repeat(None, min(limit, int(available.sum()))):
    value = np.zeros(len(words))
    for k, (counts, totals, reference_counts, reference_total) in enumerate(grams):
      hits = np.minimum(covered[k] + counts, reference_counts).sum(axis=1)  # [S]
      # F = 2 P R / (P + R) = 2 hits / (candidate n-grams + reference n-grams).
      value += 2.0 * hits / np.maximum(length[k] + totals + reference_total, 1)
    value[~available] = -1.0
    best = int(np.argmax(value))
    if value[best] <= best_value + 1e-12:
      break
    best_value = value[best]
    chosen.append(best)
    available[best] = False
    for k, (counts, totals, _, _) in enumerate(grams):
      covered[k] += counts[best]
      length[k] += int(totals[best])
  return sorted(chosen)
