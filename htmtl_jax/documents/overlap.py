"""ROUGE between many sentences at once, for rules that need thousands of pairs.

The numbers are those of the rouge-score package without stemming (a test holds
them equal), computed from integer ids with NumPy. Source: Lin 2004, ROUGE.
"""

from collections.abc import Sequence
import functools
import itertools
import re

import numpy as np

_TOKEN = re.compile(r"[a-z0-9]+")


def tokenize_for_rouge(text: str) -> list[str]:
  """Lower-case runs of a-z and 0-9, as the rouge-score package makes them, unstemmed."""
  return _TOKEN.findall(text.lower())


# Every byte that is no lower-case letter and no digit becomes a blank.
_TO_BLANKS = bytes(b if chr(b).isalnum() and b < 128 else 32 for b in range(256))
# References, fillers and labels look at the same sentences of a document in turn.
_CACHED_SENTENCES = 8192


@functools.lru_cache(maxsize=_CACHED_SENTENCES)
def _split_words(text: str) -> tuple[bytes, ...]:
  """The words of `tokenize_for_rouge` as bytes: three times as fast as the expression."""
  return tuple(text.lower().encode("ascii", "replace").translate(_TO_BLANKS).split())


class _IdOfWord(dict):
  """A word that is looked up for the first time gets the next number."""

  def __missing__(self, word: bytes) -> int:
    self[word] = number = len(self)
    return number


class Ids:
  """Numbers words from 0 in the order they are first seen."""

  def __init__(self):
    self._id_of_word = _IdOfWord()

  def __len__(self) -> int:
    return len(self._id_of_word)

  def encode(self, text: str) -> list[int]:
    """The ids of the words of `text`, new words numbered on the way."""
    return list(map(self._id_of_word.__getitem__, _split_words(text)))


def flatten_ids(sentences: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
  """All ids one after the other, and the length of each sentence: [N], [S] int64."""
  lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
  flat = np.fromiter(itertools.chain.from_iterable(sentences), np.int64, int(lengths.sum()))
  return flat, lengths


def count_ids(sentences: Sequence[Sequence[int]], columns: np.ndarray, width: int) -> np.ndarray:
  """How often each id of interest occurs in each sentence.

  Args:
    sentences: S lists of ids.
    columns: [number of ids] int, the column of an id, or -1 for ids left out.
    width: the number of columns, W.

  Returns:
    [S, W] int32 counts.
  """
  flat, lengths = flatten_ids(sentences)
  rows = np.repeat(np.arange(len(sentences)), lengths)
  cols = columns[flat] if flat.size else flat
  keep = cols >= 0
  places = rows[keep] * width + cols[keep]
  counts = np.bincount(places, minlength=len(sentences) * width)
  return counts.reshape(len(sentences), width).astype(np.int32)


def compute_pairwise_overlap(left: np.ndarray, right: np.ndarray) -> np.ndarray:
  """Clipped common counts of every pair: sum over words of min(left, right).

  Uses min(a, b) = sum over k of [a >= k][b >= k]: one matrix product for each k,
  the later ones over the few words that occur k times anywhere.

  Args:
    left: [A, W] counts.
    right: [B, W] counts.

  Returns:
    [A, B] float32, whole numbers.
  """
  overlap = np.zeros((left.shape[0], right.shape[0]), np.float32)
  k = 1
  while left.size and right.size:
    columns = (left >= k).any(0) & (right >= k).any(0)
    if not columns.any():
      break
    left, right = left[:, columns], right[:, columns]
    overlap += (left >= k).astype(np.float32) @ (right >= k).astype(np.float32).T
    k += 1
  return overlap


def compute_f_measure(overlap, candidate_length, reference_length):
  """ROUGE-N F, 2 overlap / (candidate + reference), and 0 where both are empty; broadcasts."""
  return 2.0 * overlap / np.maximum(np.asarray(candidate_length) + reference_length, 1)


def compute_lcs_length(
  mask_of_id: dict[int, int], reference_length: int, candidate: Sequence[int]
) -> int:
  """Length of the longest common subsequence, by one big-integer row.

  Source: Hyyrö 2004, bit-parallel LCS: V starts as ones; for each word with
  match mask M, V = (V + (V & M)) | (V & ~M); zeros in V count the LCS.

  Args:
    mask_of_id: for each id of the reference, the bits of its positions.
    reference_length: words of the reference.
    candidate: ids of the other text.
  """
  full = (1 << reference_length) - 1
  v = full
  for i in candidate:
    mask = mask_of_id.get(i)
    if mask is not None:
      u = v & mask
      v = ((v + u) | (v - u)) & full
  return reference_length - v.bit_count()


def make_position_masks(reference: Sequence[int]) -> dict[int, int]:
  """For each id, an integer whose set bits are its positions in `reference`."""
  masks = {}
  for position, i in enumerate(reference):
    masks[i] = masks.get(i, 0) | (1 << position)
  return masks


def find_best_by_rouge_l_recall(
  reference: Sequence[int], candidates: Sequence[Sequence[int]], bounds: np.ndarray
) -> tuple[int, float]:
  """The candidate with the highest ROUGE-L recall of `reference`, the first of equals.

  Candidates are tried from the highest upper bound down, and the search ends
  where no bound can beat the best: a few LCS computations instead of all.

  Args:
    reference: ids.
    candidates: S lists of ids, S at least 1.
    bounds: [S], at least the LCS length of each candidate (the clipped unigram overlap).

  Returns:
    (index, recall); (0, 0.0) when nothing overlaps.
  """
  best_index, best_length = 0, 0
  masks = make_position_masks(reference)
  for index in np.argsort(-bounds, kind="stable").tolist():
    bound = bounds[index]
    if bound < best_length or bound <= 0:
      break
    if bound == best_length and index > best_index:
      continue
    length = compute_lcs_length(masks, len(reference), candidates[index])
    if length > best_length or (length == best_length > 0 and index < best_index):
      best_index, best_length = index, length
  return best_index, best_length / max(len(reference), 1)


def compute_rouge_1_centrality(
  sentences: Sequence[Sequence[int]], max_others: int | None = None
) -> np.ndarray:
  """Mean ROUGE-1 F of each sentence against the other sentences.

  Args:
    sentences: S lists of ids.
    max_others: compare with at most so many sentences, evenly spaced, so that
      the work stays linear in S; None for all.

  Returns:
    [S] float64, zero for a sentence alone.
  """
  num_sentences = len(sentences)
  if num_sentences < 2:
    return np.zeros(num_sentences)
  others = np.arange(num_sentences)
  if max_others is not None and num_sentences > max_others:
    others = np.linspace(0, num_sentences - 1, max_others).round().astype(np.int64)
  flat, lengths = flatten_ids(sentences)
  used = np.unique(flat)
  columns = np.full(int(used[-1]) + 1 if used.size else 1, -1, np.int64)
  columns[used] = np.arange(used.size)
  counts = count_ids(sentences, columns, used.size)
  scores = compute_f_measure(
    compute_pairwise_overlap(counts, counts[others]), lengths[:, None], lengths[others][None, :]
  )
  is_self = np.arange(num_sentences)[:, None] == others[None, :]
  scores[is_self] = 0.0
  return scores.sum(1) / np.maximum((~is_self).sum(1), 1)
