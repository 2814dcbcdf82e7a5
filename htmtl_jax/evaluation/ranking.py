"""Untrained scores for sentences: position, LexRank, and MMR against redundancy.

Reads plain sentences, returns numbers or orders; selection under a word budget is
in `baselines.py`. Sentences are bags of lower-cased words (for LexRank, of their stems),
weighted by

    tf(w, s) * log((1 + S) / df(w))        (S sentences, df(w) of them holding w)

and compared by cosine. The 1 keeps the weight of a word that every sentence holds
above zero, so that identical sentences have similarity 1 rather than 0 / 0.
"""

from collections.abc import Callable, Collection, Sequence
import re

import numpy as np
from scipy import sparse

_WORD = re.compile(r"\w+")
_BLOCK_ENTRIES = 4_000_000  # dense similarities held at once: 32 MB
_MAX_NEIGHBOURS = 1000  # kept per sentence, so that memory is linear in sentences


def lead_scores(n: int) -> np.ndarray:
  """[n] float64, descending: the earlier a sentence, the better."""
  return np.arange(n, 0, -1, dtype=np.float64)


def word_counts(
  sentences: Sequence[str],
  left_out: Collection[str] = frozenset(),
  stem: bool = False,
  numbers: bool = True,
) -> sparse.csr_array:
  """How often each word occurs in each sentence.

  Args:
    sentences: S plain strings.
    left_out: lower-case words that do not count.
    stem: count Porter stems, as ROUGE does: "yields" and "yielded" are one word.
    numbers: whether words of digits alone count.

  Returns:
    [S, V] float64 in canonical form, words in the order of their first occurrence and V
    at least 1; a sentence without a word (formula debris) is a zero row.
  """
  stem_word = _load_stemmer() if stem else None
  vocabulary: dict[str, int] = {}
  columns, lengths = [], []
  for sentence in sentences:
    words = [word for word in _WORD.findall(sentence.lower()) if word not in left_out]
    if not numbers:
      words = [word for word in words if not word.isdigit()]
    if stem_word is not None:
      words = map(stem_word, words)
    length = len(columns)
    columns.extend(vocabulary.setdefault(word, len(vocabulary)) for word in words)
    lengths.append(len(columns) - length)
  num_sentences = len(lengths)
  offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
  counts = sparse.csr_array(
    (np.ones(len(columns)), np.asarray(columns, np.int64), offsets),
    shape=(num_sentences, max(len(vocabulary), 1)),
  )
  counts.sum_duplicates()
  return counts


def _load_stemmer() -> Callable[[str], str]:
  # Here, because importance and MMR, which need no stems, run where rouge-score and what it
  # brings are not installed.
  from htmtl_jax.evaluation import rouge

  return rouge.stem


def tfidf_vectors(sentences: Sequence[str], stem: bool = False) -> sparse.csr_array:
  """Unit-length tf-idf vectors of sentences.

  Args:
    sentences: S plain strings.
    stem: of `word_counts`.

  Returns:
    [S, V] float64; a sentence without a word is a zero row.
  """
  counts = word_counts(sentences, stem=stem)
  num_sentences = counts.shape[0]
  document_frequency = np.bincount(counts.indices, minlength=counts.shape[1])
  idf = np.log((1 + num_sentences) / np.maximum(document_frequency, 1))
  counts.data *= idf[counts.indices]
  rows = np.repeat(np.arange(num_sentences), np.diff(counts.indptr))
  norms = np.sqrt(np.bincount(rows, counts.data**2, minlength=num_sentences))
  counts.data /= norms[rows]  # a row with an entry has a positive norm
  return counts


def similarity_graph(
  num_sentences: int, similarities: Callable[[int, int], np.ndarray], threshold: float
) -> sparse.csr_array:
  """The similarities of at least `threshold`, others zero, a block of rows at a time.

  Of a sentence with more than `_MAX_NEIGHBOURS` such neighbours only the most similar
  are kept: below 1,000 sentences never, above it only in very repetitive texts.

  Args:
    num_sentences: S.
    similarities: called as (start, stop), gives [stop - start, S] of these sentences
      with all; may be changed in place.
    threshold: above 0.

  Returns:
    [S, S].
  """
  block = max(1, _BLOCK_ENTRIES // max(num_sentences, 1))
  parts = []
  for start in range(0, num_sentences, block):
    values = similarities(start, min(start + block, num_sentences))  # [block, S]
    if num_sentences > _MAX_NEIGHBOURS:
      kept = np.partition(values, -_MAX_NEIGHBOURS, axis=1)[:, -_MAX_NEIGHBOURS, None]
      crowded = (values >= threshold).sum(axis=1) > _MAX_NEIGHBOURS  # [block]
      for row in np.flatnonzero(crowded):
        # Ties at the cut: the earliest sentences stay, and never more than the cap.
        above = np.flatnonzero(values[row] > kept[row])
        level = np.flatnonzero(values[row] == kept[row])[: _MAX_NEIGHBOURS - len(above)]
        best = np.concatenate([above, level])
        best_values = values[row, best]
        values[row] = 0.0
        values[row, best] = best_values
    values[values < threshold] = 0.0
    parts.append(sparse.csr_array(values))
  return sparse.vstack(parts, format="csr")


def _similarity_graph(vectors: sparse.csr_array, threshold: float) -> sparse.csr_array:
  """[S, S] cosines of unit-length rows, see `similarity_graph`."""
  transposed = vectors.T.tocsr()
  cosines = lambda start, stop: (vectors[start:stop] @ transposed).toarray()
  return similarity_graph(vectors.shape[0], cosines, threshold)


def walk_scores(
  graph: sparse.csr_array,
  damping: float = 0.85,
  tolerance: float = 1e-8,
  max_iterations: int = 200,
) -> np.ndarray:
  """The stationary distribution of a walk between sentences (PageRank).

  With probability `damping` the walk follows an edge in proportion to its weight,
  else, or from a sentence without an edge, it goes to any sentence.

  Args:
    graph: [S, S] non-negative weights, from row to column; normalised in place.
    damping: probability of following an edge.
    tolerance: the iteration stops when the scores move by less in all (L1).
    max_iterations: and at the latest here.

  Returns:
    [S] float64 summing to 1; S is at least 1.
  """
  num_sentences = graph.shape[0]
  degrees = np.asarray(graph.sum(axis=1)).ravel()  # [S]
  dangling = degrees == 0.0
  graph.data /= np.repeat(degrees, np.diff(graph.indptr))
  moves = graph.T.tocsr()  # [to, from]
  scores = np.full(num_sentences, 1.0 / num_sentences)
  for _ in range(max_iterations):
    jump = (1.0 - damping + damping * scores[dangling].sum()) / num_sentences
    updated = damping * (moves @ scores) + jump
    change = np.abs(updated - scores).sum()
    scores = updated
    if change < tolerance:
      break
  return scores / scores.sum()


def lexrank_scores(
  sentences: Sequence[str],
  threshold: float = 0.1,
  damping: float = 0.85,
  tolerance: float = 1e-8,
  max_iterations: int = 200,
) -> np.ndarray:
  """LexRank: the stationary distribution of a walk between similar sentences.

  Sentences whose cosine is at least `threshold` are joined by an edge, each also with
  itself; all edges are alike. (The source's other variant, edges that weigh the cosine,
  scores 0.9 rouge1 less on papers; docs/experiments.md.)

  Args:
    sentences: S plain strings.
    threshold: smallest cosine that makes an edge.
    damping, tolerance, max_iterations: of `walk_scores`.

  Returns:
    [S] float64 summing to 1 (empty for no sentences); equal sentences score equally.

  Source: Erkan & Radev 2004, "LexRank", section 3.2, with the threshold that is best there;
  idf over the document's own sentences.
  """
  if not sentences:
    return np.zeros(0)
  return lexrank_of_vectors(
    tfidf_vectors(sentences, stem=True), threshold, damping, tolerance, max_iterations
  )


def lexrank_of_vectors(
  vectors: sparse.csr_array,
  threshold: float = 0.1,
  damping: float = 0.85,
  tolerance: float = 1e-8,
  max_iterations: int = 200,
) -> np.ndarray:
  """`lexrank_scores` of sentences whose `tfidf_vectors` are at hand, at least one."""
  graph = _similarity_graph(vectors, threshold)
  graph.data[:] = 1.0
  return walk_scores(graph, damping, tolerance, max_iterations)


def rank_order(scores: np.ndarray) -> list[int]:
  """Indices by descending score; of equal scores the earlier sentence first."""
  # Rounded: sums taken in another order must not decide between equal sentences.
  scores = np.asarray(scores, np.float64)
  scale = np.abs(scores).max(initial=0.0) or 1.0
  return np.argsort(-np.round(scores / scale, 12), kind="stable").tolist()


def mmr_order(
  scores: np.ndarray,
  sentences: Sequence[str],
  trade_off: float = 0.7,
  limit: int | None = None,
) -> list[int]:
  """Ranks sentences by maximal marginal relevance: important, and not yet said.

  Each next sentence maximises

      trade_off * score / max score - (1 - trade_off) * max cosine to those taken

  Scores are scaled by their maximum because importance is a distribution over
  hundreds of sentences, far below the scale of a cosine.

  Args:
    scores: [S], non-negative.
    sentences: the S sentences.
    trade_off: 1 ranks by score alone, 0 by novelty alone.
    limit: how many to rank so; the others follow by score. None ranks all.

  Returns:
    All S indices, best first; of equal values the earlier sentence first.

  Raises:
    ValueError: if there are not as many scores as sentences.

  Source: Carbonell & Goldstein 1998, "The use of MMR".
  """
  scores = np.asarray(scores, np.float64)
  if scores.shape != (len(sentences),):
    raise ValueError(f"{scores.shape} scores for {len(sentences)} sentences")
  if not len(sentences):
    return []
  vectors = tfidf_vectors(sentences)
  relevance = np.round(scores / (scores.max() or 1.0), 12)
  redundancy = np.zeros(len(sentences))
  available = np.ones(len(sentences), bool)
  order = []
  for _ in range(len(sentences) if limit is None else min(limit, len(sentences))):
    value = trade_off * relevance - (1.0 - trade_off) * redundancy
    best = int(np.argmax(np.where(available, value, -np.inf)))
    order.append(best)
    available[best] = False
    cosines = vectors @ vectors[[best]].toarray().ravel()  # [S]
    redundancy = np.maximum(redundancy, cosines)
  return order + [i for i in rank_order(scores) if available[i]]
