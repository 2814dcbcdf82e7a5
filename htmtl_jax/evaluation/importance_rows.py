"""importance.jsonl: the importance of every sentence beside whether it matters; calibration.

    {"id", "labels": "planted" or "oracle", "importance": [B shares of 1], "matters":
     [indices], "headings": share, "attention": {level: [20 shares of 1]}}

B counts the body sentences that were read. Headings are left out of what is compared, as
they are when importance is judged by AUC; what they had is "headings", and the rest is
scaled to sum to 1. "matters" are the planted sentences, or the oracle's. "attention" says
where the summaries drew on: shares by twentieths of the body.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

ATTENTION_BINS = 20
_DIGITS = 4  # significant ones: plenty for plots, a third of the bytes


def make_row(
  identifier: str,
  labels: str,
  importance: np.ndarray,
  matters: np.ndarray,
  is_heading: np.ndarray,
  num_body: int,
  attention: Mapping[str, np.ndarray | None],
) -> dict[str, Any]:
  """One line of the file.

  Args:
    identifier: of the document.
    labels: what `matters` is, "planted" or "oracle".
    importance: [K] of the sentences that were read, headings included.
    matters: [K] bool.
    is_heading: [K] bool.
    num_body: body sentences of the document, read or not.
    attention: by level [K] mean share of the summary's attention, or None.
  """
  body = ~np.asarray(is_heading, bool)
  own = np.asarray(importance, np.float64)[body]
  total = own.sum()
  binned = {
    level: _bin_positions(np.asarray(shares, np.float64)[body], num_body)
    for level, shares in attention.items()
    if shares is not None
  }
  return {
    "id": identifier,
    "labels": labels,
    "importance": _round(own / total if total > 0 else own),
    "matters": [int(i) for i in np.flatnonzero(np.asarray(matters, bool)[body])],
    "headings": float(f"{float(np.sum(importance)) - float(total):.{_DIGITS}g}"),
    "attention": {level: _round(shares) for level, shares in binned.items() if shares is not None},
  }


def _round(values: np.ndarray) -> list[float]:
  return [float(f"{v:.{_DIGITS}g}") for v in values]


def _bin_positions(shares: np.ndarray, num_body: int) -> np.ndarray | None:
  """Shares of the first sentences of `num_body`, by twentieths of the body; sum to 1."""
  total = shares.sum()
  if not len(shares) or total <= 0:
    return None
  return np.bincount(
    position_bins(np.arange(len(shares)), num_body, ATTENTION_BINS),
    weights=shares / total,
    minlength=ATTENTION_BINS,
  )


def position_bins(places: Sequence[int] | np.ndarray, num_body: int, bins: int) -> np.ndarray:
  """Which of equal parts of a body each place lies in: the middle of sentence i is at i + 1/2."""
  relative = (np.asarray(places, np.float64) + 0.5) / max(num_body, 1)
  return np.minimum((relative * bins).astype(np.int64), bins - 1)


# ---------------------------------------------------------------------- calibration


@dataclasses.dataclass(frozen=True)
class Calibration:
  """Importance against what matters, in bins of equal predicted mass.

  A document's mass is 1: predicted, its importance; actual, the same share for each of its
  sentences that matter. In a bin of sentences that were given about the share p, the mean
  actual share is p if importance is calibrated.

  Attributes:
    predicted, actual: [bins] mean share of a bin's sentences.
    low, high: [bins] 95% bootstrap interval of `actual`, over documents.
    sentences: [bins] how many.
    predicted_mass, actual_mass: [bins] share of all mass.
    moved: share of importance that would have to go to other bins for the two to agree:
      half the sum of |predicted_mass - actual_mass|.
    documents: that had sentences that matter and others.
  """

  predicted: np.ndarray
  actual: np.ndarray
  low: np.ndarray
  high: np.ndarray
  sentences: np.ndarray
  predicted_mass: np.ndarray
  actual_mass: np.ndarray
  moved: float
  documents: int


def calibrate(
  rows: Sequence[Mapping[str, Any]], bins: int = 10, samples: int = 1000, seed: int = 0
) -> Calibration | None:
  """Sorts all sentences by importance and compares.

  Args:
    rows: of importance.jsonl.
    bins: of equal predicted mass, as far as single sentences allow.
    samples, seed: of the bootstrap.

  Returns:
    None where no document has a sentence that matters.
  """
  predicted, actual, document = [], [], []
  count = 0
  for row in rows:
    importance = np.asarray(row["importance"], np.float64)
    matters = np.asarray(row["matters"], np.int64)
    if not matters.size or not importance.sum() > 0:
      continue
    truth = np.zeros(len(importance))
    truth[matters] = 1.0 / len(matters)
    predicted.append(importance / importance.sum())
    actual.append(truth)
    document.append(np.full(len(importance), count))
    count += 1
  if not count:
    return None
  p, q, d = (np.concatenate(parts) for parts in (predicted, actual, document))
  order = np.argsort(p, kind="stable")
  p, q, d = p[order], q[order], d[order]
  middle = (np.cumsum(p) - p / 2.0) / p.sum()  # the mass before a sentence's middle
  bin_of = np.minimum((middle * bins).astype(np.int64), bins - 1)
  cell = d * bins + bin_of
  sums = lambda weights: np.bincount(cell, weights, count * bins).reshape(count, bins)
  number, mass, truth = sums(np.ones(len(p))), sums(p), sums(q)  # [documents, bins]

  rng = np.random.default_rng(seed)
  drawn = rng.multinomial(count, np.full(count, 1.0 / count), samples).astype(np.float64)
  with np.errstate(invalid="ignore", divide="ignore"):
    means = (drawn @ truth) / (drawn @ number)  # NaN where a resample has no such sentence
  used = number.sum(0) > 0
  low, high = np.nanpercentile(means[:, used], (2.5, 97.5), axis=0)
  total = number.sum(0)[used]
  predicted_mass, actual_mass = mass.sum(0)[used] / count, truth.sum(0)[used] / count
  return Calibration(
    predicted=mass.sum(0)[used] / total,
    actual=truth.sum(0)[used] / total,
    low=low,
    high=high,
    sentences=total.astype(np.int64),
    predicted_mass=predicted_mass,
    actual_mass=actual_mass,
    moved=float(np.abs(predicted_mass - actual_mass).sum() / 2.0),
    documents=count,
  )
