"""ROUGE between a reference and a prediction, per document and with intervals.

Owns the numbers: rouge1, rouge2, rougeL and rougeLsum by the rouge-score package
with Porter stemming, on a scale of 0 to 100, and the bootstrap over documents.
Knows nothing of systems, levels or files (`results.py`).

A text is its sentences joined by newlines. rougeLsum depends on it: it takes the
union of longest common subsequences sentence by sentence, while rougeL sees one
long sentence; the two differ by more than ten points on abstracts, so both are
always reported by name.

Latin script only: rouge-score lower-cases a text and keeps the runs of [a-z0-9].
Letters outside that range are dropped, accented ones included, so that a text in
Chinese, Greek or Russian scores 0 against itself.

Source: Lin 2004, "ROUGE: a package for automatic evaluation of summaries".
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import functools
import multiprocessing

from nltk.stem import porter
import numpy as np
from rouge_score import rouge_scorer, tokenizers
from rouge_score import tokenize as rouge_tokenize

METRICS = ("rouge1", "rouge2", "rougeL", "rougeLsum")

_BOOTSTRAP_BLOCK = 2_000_000  # resampled indices held at once: 16 MB
_CHUNK = 16  # pairs handed to a worker at a time: about 0.3 s of work


class CachedStemmer:
  """Porter's stemmer, remembering the words it has seen.

  Stemming is a quarter of the scoring time and papers repeat their words.
  """

  def __init__(self):
    self.stem = functools.lru_cache(maxsize=100_000)(porter.PorterStemmer().stem)


class _StemmingTokenizer(tokenizers.Tokenizer):
  """rouge-score's own tokeniser, with the caching stemmer in it."""

  def __init__(self):
    self._stemmer = CachedStemmer()

  def tokenize(self, text: str) -> list[str]:
    return rouge_tokenize.tokenize(text, self._stemmer)


_TOKENIZER = _StemmingTokenizer()


def tokenize(text: str) -> list[str]:
  """The stemmed words that ROUGE compares, exactly as `score_pair` sees them."""
  return _TOKENIZER.tokenize(text)


@functools.cache
def _scorer() -> rouge_scorer.RougeScorer:
  return rouge_scorer.RougeScorer(list(METRICS), tokenizer=_TOKENIZER)


def join_sentences(pieces: Iterable[Iterable[str]]) -> str:
  """Pieces of sentences as the one text that is scored: a sentence a line.

  Markers between pieces thereby become newlines. White space inside a sentence is
  collapsed, so that a stray line break cannot make two sentences of one.
  """
  lines = (" ".join(sentence.split()) for piece in pieces for sentence in piece)
  return "\n".join(line for line in lines if line)


def score_pair_in_full(reference: str, prediction: str) -> dict[str, dict[str, float]]:
  """Precision, recall and F of every metric, 0 to 100.

  Args:
    reference: newline-separated sentences.
    prediction: newline-separated sentences; an empty one scores 0 throughout.

  Returns:
    {"rouge1": {"precision": x, "recall": x, "f": x}, ...}, keys in `METRICS` order.
  """
  scores = _scorer().score(reference, prediction)
  return {
    metric: {
      "precision": 100.0 * scores[metric].precision,
      "recall": 100.0 * scores[metric].recall,
      "f": 100.0 * scores[metric].fmeasure,
    }
    for metric in METRICS
  }


def score_pair(reference: str, prediction: str) -> dict[str, float]:
  """F of every metric, 0 to 100; see `score_pair_in_full`."""
  return {m: s["f"] for m, s in score_pair_in_full(reference, prediction).items()}


def _score_row(pair: tuple[str, str]) -> tuple[float, ...]:
  return tuple(score_pair(*pair).values())


def score_all(
  pairs: Sequence[tuple[str, str]],
  processes: int = 1,
  progress: Callable[[int, int], None] | None = None,
) -> dict[str, np.ndarray]:
  """F of every metric for every (reference, prediction), 0 to 100.

  Args:
    pairs: (reference, prediction) texts; equal pairs are computed once.
    processes: worker processes. They are spawned, because forking a process that
      has started JAX's threads can deadlock; each costs the time of an import, so
      more than one pays from a few hundred pairs on. The numbers do not depend on it.
    progress: called as progress(done, total) after each distinct pair.

  Returns:
    {metric: [len(pairs)] float64}, in the order of `pairs`.

  Raises:
    ValueError: if `processes` is below 1.
  """
  if processes < 1:
    raise ValueError(f"processes must be at least 1, got {processes}")
  position = {pair: i for i, pair in enumerate(dict.fromkeys(map(tuple, pairs)))}
  rows = np.zeros((len(position), len(METRICS)), np.float64)  # [distinct pairs, metrics]

  def collect(results: Iterable[tuple[float, ...]]) -> None:
    for i, row in enumerate(results):
      rows[i] = row
      if progress is not None:
        progress(i + 1, len(position))

  workers = min(processes, -(-len(position) // _CHUNK))
  if workers <= 1:
    collect(map(_score_row, position))
  else:
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
      collect(pool.imap(_score_row, position, chunksize=_CHUNK))
  rows = rows[[position[tuple(pair)] for pair in pairs]]  # [pairs, metrics]
  return {metric: rows[:, k].copy() for k, metric in enumerate(METRICS)}


def bootstrap_interval(
  scores: np.ndarray, samples: int = 1000, seed: int = 0, confidence: float = 0.95
) -> tuple[float, float]:
  """Percentile bootstrap interval of the mean over documents.

  Documents are drawn with replacement `samples` times by a generator of its own, so
  that neither another call nor the global NumPy state can change the answer.

  Args:
    scores: [documents] one score a document.
    samples: resamples.
    seed: of the resampling; equal seeds draw equal documents, so intervals of
      systems scored on the same documents come from the same resamples.
    confidence: mass between the two percentiles.

  Returns:
    (low, high), in the unit of `scores`.

  Raises:
    ValueError: without scores or samples, or a confidence outside (0, 1).

  Source: Efron 1979; Koehn 2004 for its use over documents.
  """
  scores = np.asarray(scores, np.float64)
  if scores.ndim != 1 or not scores.size:
    raise ValueError(f"scores must be a non-empty vector, got shape {scores.shape}")
  if samples < 1 or not 0.0 < confidence < 1.0:
    raise ValueError(f"got samples={samples}, confidence={confidence}")
  rng = np.random.default_rng(seed)
  means = np.empty(samples, np.float64)
  block = max(1, _BOOTSTRAP_BLOCK // scores.size)
  for start in range(0, samples, block):
    rows = min(block, samples - start)
    drawn = rng.integers(0, scores.size, (rows, scores.size))  # [rows, documents]
    means[start : start + rows] = scores[drawn].mean(axis=1)
  tail = 50.0 * (1.0 - confidence)
  low, high = np.percentile(means, (tail, 100.0 - tail))
  return float(low), float(high)


def summarise(
  scores: Mapping[str, np.ndarray], samples: int = 1000, seed: int = 0
) -> dict[str, dict[str, float]]:
  """Mean and 95% interval of every metric.

  Args:
    scores: {metric: [documents]}, as `score_all` returns it.
    samples: bootstrap resamples.
    seed: of the bootstrap.

  Returns:
    {"rouge1": {"f": mean, "low": x, "high": x}, ...}.
  """
  summary = {}
  for metric, values in scores.items():
    low, high = bootstrap_interval(values, samples, seed)
    summary[metric] = {"f": float(np.mean(values)), "low": low, "high": high}
  return summary
