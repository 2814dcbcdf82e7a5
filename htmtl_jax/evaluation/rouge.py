"""ROUGE between a reference and a prediction, per document and with intervals.

Owns the numbers: rouge1, rouge2, rougeL and rougeLsum with Porter stemming, on a scale of
0 to 100, and the bootstrap over documents. The words are those of the rouge-score package's
own tokeniser, the scores equal its own to the last digit (`rouge_counts.py`).
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
from rouge_score import tokenize as rouge_tokenize

from htmtl_jax.evaluation.rouge_counts import Text, score_lcs, score_ngrams, score_summary_lcs

METRICS = ("rouge1", "rouge2", "rougeL", "rougeLsum")

_BOOTSTRAP_BLOCK = 2_000_000  # resampled indices held at once: 16 MB
_CHUNK = 128  # pairs handed to a worker at a time: about 0.2 s of work


class CachedStemmer:
  """Porter's stemmer, remembering the words it has seen.

  Stemming would be most of the scoring time, and papers repeat their words.
  """

  def __init__(self):
    self.stem = functools.lru_cache(maxsize=100_000)(porter.PorterStemmer().stem)


_STEMMER = CachedStemmer()


def stem(word: str) -> str:
  """The Porter stem of a lower-case word; words of three letters or fewer stay, as in ROUGE."""
  return _STEMMER.stem(word) if len(word) > 3 else word


def tokenize(text: str) -> list[str]:
  """The stemmed words that ROUGE compares, by rouge-score's own tokeniser."""
  return rouge_tokenize.tokenize(text, _STEMMER)


@functools.lru_cache(maxsize=8)  # a reference stays while the systems are compared with it
def _read(text: str) -> Text:
  return Text([tokenize(line) for line in text.split("\n")])


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
  texts = _read(reference), _read(prediction)
  scores = (
    score_ngrams(texts[0].unigrams, texts[1].unigrams),
    score_ngrams(texts[0].bigrams, texts[1].bigrams),
    score_lcs(*texts),
    score_summary_lcs(*texts),
  )
  return {
    metric: {
      "precision": 100.0 * score.precision,
      "recall": 100.0 * score.recall,
      "f": 100.0 * score.f,
    }
    for metric, score in zip(METRICS, scores, strict=True)
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
      more than one pays from some thousand pairs on. The numbers do not depend on it.
    progress: called as progress(done, total) after each distinct pair.

  Returns:
    {metric: [len(pairs)] float64}, in the order of `pairs`.

  Raises:
    ValueError: if `processes` is below 1.
  """
  if processes < 1:
    raise ValueError(f"processes must be at least 1, got {processes}")
  # By reference, which is then read once for all systems.
  order = {reference: i for i, reference in enumerate(dict.fromkeys(p[0] for p in pairs))}
  distinct = sorted(dict.fromkeys(map(tuple, pairs)), key=lambda pair: order[pair[0]])
  position = {pair: i for i, pair in enumerate(distinct)}
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
