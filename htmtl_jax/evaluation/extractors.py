"""Classic untrained extractors: Random, TextRank, LSA, SumBasic.

Each reads plain sentences and returns a score for each, as `ranking.py` does for Lead
and LexRank; `baselines.extract` selects by these under one rule for all. A method that
chooses one sentence after the other gives the first one the highest score.

Words are lower-cased runs of letters and digits; content words are those outside
`function_words.py`. TextRank, which asks how many words two sentences share, compares stems
and leaves numbers out.
"""

from collections.abc import Callable, Sequence
import hashlib

import numpy as np
from scipy import sparse
from scipy.sparse import linalg

from htmtl_jax.evaluation.function_words import FUNCTION_WORDS
from htmtl_jax.evaluation.ranking import (
  rank_order,
  similarity_graph,
  walk_scores,
  word_counts,
)

_DENSE_SENTENCES = 200  # up to here all singular vectors at once are the fastest
_MAX_TOPICS = 128  # that are looked for in a longer document; most papers have about 10


def random_scorer(document_id: str, seed: int = 0) -> Callable[[Sequence[str]], np.ndarray]:
  """A scorer that draws its scores: Random-k, the floor of any table.

  Args:
    document_id: equal ids and seeds draw alike, on every machine and in any order of
      the documents.
    seed: of the draw.

  Returns:
    A function from S sentences to [S] float64 in [0, 1). Each call goes on drawing, so
    the sections of a document are drawn independently.
  """
  digest = hashlib.sha256(f"{seed}/{document_id}".encode(errors="backslashreplace")).digest()
  generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
  return lambda sentences: generator.random(len(sentences))


def textrank_scores(sentences: Sequence[str], damping: float = 0.85) -> np.ndarray:
  """TextRank: PageRank over sentences that share words.

  The edge between two different sentences a and b weighs

      |words of both| / (log |a| + log |b|)

  with distinct stems in the numerator and running words in the denominator, content
  words both. Two sentences of one word each have no edge: their denominator is 0.

  The source adds 1 - damping to every score where `walk_scores` adds a constant that
  makes them sum to 1: the same scores up to one factor.

  Args:
    sentences: S plain strings.
    damping: probability of following an edge.

  Returns:
    [S] float64 summing to 1 (empty for no sentences); equal sentences score equally.

  Source: Mihalcea & Tarau 2004, "TextRank: bringing order into texts", section 4.1 and
  equation 2; of the variants named there, the one that counts open-class words.
  """
  if not sentences:
    return np.zeros(0)
  counts = word_counts(sentences, left_out=FUNCTION_WORDS, stem=True, numbers=False)
  logarithms = np.log(np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1.0))
  counts.data[:] = 1.0
  transposed = counts.T.tocsr()

  def similarities(start: int, stop: int) -> np.ndarray:
    shared = (counts[start:stop] @ transposed).toarray()
    scale = logarithms[start:stop, None] + logarithms[None, :]
    shared = np.divide(shared, scale, out=np.zeros_like(shared), where=scale > 0.0)
    shared[np.arange(stop - start), np.arange(start, stop)] = 0.0
    return shared

  graph = similarity_graph(len(sentences), similarities, np.finfo(np.float64).tiny)
  return walk_scores(graph, damping)


def lsa_scores(sentences: Sequence[str], smallest_share: float = 0.5) -> np.ndarray:
  """Latent semantic analysis: how strongly a sentence stands for the main topics.

  With the singular value decomposition A = U diag(sigma) V^T of words by sentences,
  sentence j scores

      sqrt(sum_i v_ji^2 sigma_i^2)        over the i with sigma_i >= sigma_1 / 2

  Of the weightings of A that the source leaves open, this is content words that occur
  or do not, and columns of unit length. Without the latter the score grows with the
  sentence, and what is taken is the longest debris of tables and formulas.

  Args:
    sentences: S plain strings.
    smallest_share: of the largest singular value, below which a topic does not count.

  Returns:
    [S] float64, at least 0 (empty for no sentences).

  Source: Steinberger & Jezek 2004, "Using latent semantic analysis in text
  summarization and summary evaluation".
  """
  if not sentences:
    return np.zeros(0)
  columns = word_counts(sentences, left_out=FUNCTION_WORDS)  # [S, V], the transpose of A
  num_distinct = np.diff(columns.indptr)
  columns.data = 1.0 / np.sqrt(np.repeat(num_distinct, num_distinct))
  if not columns.nnz:
    return np.zeros(len(sentences))
  values, vectors = _leading_topics(columns, smallest_share)
  return np.sqrt((vectors**2) @ values)


def _leading_topics(
  columns: sparse.csr_array, smallest_share: float
) -> tuple[np.ndarray, np.ndarray]:
  """(sigma^2 [I], right singular vectors [S, I]) of the singular values that count.

  They are the eigenvalues and eigenvectors of A^T A. Of documents longer than
  `_DENSE_SENTENCES` only as many are computed as count, at most `_MAX_TOPICS`.
  """
  num_sentences = columns.shape[0]
  least = lambda values: smallest_share**2 * values[-1] * (1.0 - 1e-9)  # values ascend
  if num_sentences <= _DENSE_SENTENCES:
    values, vectors = np.linalg.eigh((columns @ columns.T).toarray())
  else:
    gram = linalg.LinearOperator(
      (num_sentences, num_sentences),
      matvec=lambda x: columns @ (columns.T @ x),
      dtype=np.float64,
    )
    # A fixed start, so that the same document always gives the same numbers.
    start = np.random.default_rng(0).uniform(0.5, 1.5, num_sentences)
    count = 16
    while True:
      values, vectors = linalg.eigsh(gram, k=count, v0=start)
      if values[0] < least(values) or count >= _MAX_TOPICS:
        break
      count *= 2
  kept = values >= max(least(values), 0.0)
  return np.maximum(values[kept], 0.0), vectors[:, kept]


def sumbasic_scores(sentences: Sequence[str]) -> np.ndarray:
  """SumBasic: sentences of frequent words, each word counting less once it is said.

  p(w) is the share of the content word w among the document's. One after the
  other, of the sentences that hold the word with the largest p, the one whose words
  have the largest mean p is taken; then p(w) becomes p(w)^2 for its words. Of equals
  the earlier word, and the earlier sentence.

  Args:
    sentences: S plain strings.

  Returns:
    [S] float64, S for the sentence taken first, down to 1; sentences without a content
    word come last, in order.

  Source: Nenkova & Vanderwende 2005, "The impact of frequency on summarization".
  """
  counts = word_counts(sentences, left_out=FUNCTION_WORDS)  # [S, V]
  num_sentences = counts.shape[0]
  lengths = np.asarray(counts.sum(axis=1)).ravel()
  total = lengths.sum()
  if not total:
    return np.arange(num_sentences, 0, -1, dtype=np.float64)
  probability = np.asarray(counts.sum(axis=0)).ravel() / total  # [V]
  holders = counts.T.tocsr()  # [V, S]: the sentences of a word
  untaken = np.diff(holders.indptr)  # [V] sentences that hold the word and are left
  means = counts.copy()
  means.data /= np.repeat(lengths, np.diff(counts.indptr))
  weights = means @ probability  # [S]
  available = lengths > 0
  order = []
  for _ in range(int(available.sum())):
    word = int(np.argmax(np.where(untaken > 0, probability, -1.0)))
    candidates = holders.indices[holders.indptr[word] : holders.indptr[word + 1]]
    candidates = candidates[available[candidates]]
    best = int(candidates[rank_order(weights[candidates])[0]])
    order.append(best)
    available[best] = False
    words = counts.indices[counts.indptr[best] : counts.indptr[best + 1]]
    untaken[words] -= 1
    probability[words] **= 2
    weights = means @ probability
  order += np.flatnonzero(lengths == 0).tolist()
  scores = np.empty(num_sentences)
  scores[order] = np.arange(num_sentences, 0, -1)
  return scores
