"""Is the difference of two systems more than luck in the choice of documents?

Two paired tests, an interval of the difference, and Holm's correction for testing
many. Pure functions of numbers: what the numbers are is known elsewhere
(`comparison.py`).

Everything starts from differences d_i = a_i - b_i, one a document, of two systems
scored on the same n documents; their mean is written d. A matrix [documents,
comparisons] does many comparisons at once, on the same resamples, column by column
the same as alone. The two questions differ:

    paired bootstrap    would other documents of this kind give the same winner?
    randomisation       could scores that carry no information on which system wrote
                        the summary have given so large a difference?

The second is exact where the systems are exchangeable and holds its level for few
documents; the first is slightly too optimistic there. What both do on simulated data
is measured by `benchmarks/significance_calibration.py`, recorded in docs/evaluation.md.
"""

from typing import NamedTuple

import numpy as np

_BLOCK = 2_000_000  # resampled documents held at once: 16 MB of float64
_ROUNDING = 1e-12  # sums that differ by less, relative to sum |d_i|, are equal


class Comparisons(NamedTuple):
  """What `compare` finds; every field is [comparisons], or a scalar for one.

  Attributes:
    difference: mean of a - b.
    low: lower bound of its percentile bootstrap interval.
    high: upper bound.
    p_bootstrap: of `paired_bootstrap`.
    p_randomisation: of `randomisation_test`.
  """

  difference: np.ndarray
  low: np.ndarray
  high: np.ndarray
  p_bootstrap: np.ndarray
  p_randomisation: np.ndarray


def _as_columns(differences: np.ndarray, samples: int) -> np.ndarray:
  """[documents, comparisons] float64; refuses what no test can be made of."""
  differences = np.asarray(differences, np.float64)
  if differences.ndim not in (1, 2) or not len(differences):
    raise ValueError(
      f"differences must be [documents] or [documents, comparisons], got {differences.shape}"
    )
  if not np.isfinite(differences).all():
    raise ValueError("differences must be finite")
  if samples < 1:
    raise ValueError(f"samples must be at least 1, got {samples}")
  return differences.reshape(len(differences), -1)


def _like(answer: np.ndarray, differences: np.ndarray) -> np.ndarray:
  """[comparisons] as it is for a matrix, a scalar for a vector of differences."""
  return answer[0] if np.ndim(differences) == 1 else answer


def _resampled_means(columns: np.ndarray, samples: int, seed: int) -> np.ndarray:
  """Means of documents drawn with replacement: [samples, comparisons].

  Draws the documents that `rouge.bootstrap_interval` draws for the same seed.
  """
  documents = len(columns)
  rng = np.random.default_rng(seed)
  means = np.empty((samples, columns.shape[1]), np.float64)
  block = max(1, _BLOCK // documents)
  for start in range(0, samples, block):
    rows = min(block, samples - start)
    drawn = rng.integers(0, documents, (rows, documents))  # [rows, documents]
    # How often each document was drawn; a product with it is the sum over the draws
    # for all comparisons at once.
    drawn += np.arange(rows)[:, None] * documents
    counts = np.bincount(drawn.ravel(), minlength=rows * documents).reshape(rows, documents)
    means[start : start + rows] = counts.astype(np.float64) @ columns / documents
  return means


def _bootstrap_p(means: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
  """Two-sided p from resampled means [samples, comparisons]."""
  samples = len(means)
  not_above = 1 + np.count_nonzero(means <= tolerance, axis=0)
  not_below = 1 + np.count_nonzero(means >= -tolerance, axis=0)
  return np.minimum(1.0, 2.0 * np.minimum(not_above, not_below) / (samples + 1))


def _tolerance(columns: np.ndarray) -> np.ndarray:
  """Means closer to each other than this differ by rounding: [comparisons]."""
  return _ROUNDING * np.abs(columns).mean(axis=0)


def _check_confidence(confidence: float) -> None:
  if not 0.0 < confidence < 1.0:
    raise ValueError(f"confidence must be between 0 and 1, got {confidence}")


def _percentiles(means: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
  tail = 50.0 * (1.0 - confidence)
  low, high = np.percentile(means, (tail, 100.0 - tail), axis=0)
  return low, high


def paired_bootstrap(
  differences: np.ndarray, samples: int = 10_000, seed: int = 0
) -> np.ndarray | float:
  """Two-sided p-value of the paired bootstrap over documents.

  Documents are drawn with replacement `samples` (R) times; d*_r is the mean
  difference of resample r. Koehn counts the resamples in which the better system is
  not better; the p-value here is the same count for both directions, with the
  observed data as one more resample so that it is never 0:

      p = min(1, 2 min(1 + #{d*_r <= 0}, 1 + #{d*_r >= 0}) / (R + 1))

  Args:
    differences: [documents] or [documents, comparisons], a - b of each document.
    samples: R, the resamples.
    seed: of the resampling.

  Returns:
    p, a scalar or [comparisons].

  Raises:
    ValueError: without documents or samples, or with differences that are not finite.

  Source: Koehn 2004, "Statistical significance tests for machine translation
  evaluation"; the +1 from Davison and Hinkley 1997, section 4.2.
  """
  columns = _as_columns(differences, samples)
  means = _resampled_means(columns, samples, seed)
  return _like(_bootstrap_p(means, _tolerance(columns)), differences)


def randomisation_test(
  differences: np.ndarray, samples: int = 10_000, seed: int = 0
) -> np.ndarray | float:
  """Two-sided p-value of the randomisation test of the mean paired difference.

  If it makes no difference which system wrote which summary, swapping the two at any
  document, which flips the sign of d_i, gives data as likely as those seen. With
  e_ri = +1 or -1, each with probability 1/2, and d*_r = mean_i(e_ri d_i):

      p = (1 + #{|d*_r| >= |d|}) / (R + 1)        R random sign vectors
      p = #{|d*_r| >= |d|} / 2^n                  all of them, where 2^n <= `samples`

  The first is Noreen's approximate randomisation, whose 1 is the observed data; the
  second is exact and draws nothing.

  Args:
    differences: [documents] or [documents, comparisons], a - b of each document.
    samples: R, the random sign vectors.
    seed: of the signs.

  Returns:
    p, a scalar or [comparisons].

  Raises:
    ValueError: without documents or samples, or with differences that are not finite.

  Source: Noreen 1989, "Computer-intensive methods for testing hypotheses", chapter 2;
  Fisher 1935, "The design of experiments", section 21, for the exact form.
  """
  columns = _as_columns(differences, samples)
  documents = len(columns)
  threshold = np.abs(columns.mean(axis=0)) - _tolerance(columns)

  def count(bits: np.ndarray) -> np.ndarray:
    """How many sign vectors [rows, documents] of bits reach the observed mean."""
    signs = 2.0 * bits - 1.0
    return np.count_nonzero(np.abs(signs @ columns / documents) >= threshold, axis=0)

  if documents < 63 and 2**documents <= samples:
    every = np.arange(2**documents)[:, None] >> np.arange(documents) & 1
    return _like(count(every) / 2**documents, differences)
  rng = np.random.default_rng(seed)
  extreme = np.ones(columns.shape[1], np.int64)
  block = max(1, _BLOCK // documents)
  for start in range(0, samples, block):
    rows = min(block, samples - start)
    extreme += count(rng.integers(0, 2, (rows, documents), np.int8))
  return _like(extreme / (samples + 1), differences)


def difference_interval(
  differences: np.ndarray, samples: int = 10_000, seed: int = 0, confidence: float = 0.95
) -> tuple[np.ndarray | float, np.ndarray | float, np.ndarray | float]:
  """The mean difference and its percentile bootstrap interval.

  Args:
    differences: [documents] or [documents, comparisons], a - b of each document.
    samples: resamples of the documents.
    seed: of the resampling.
    confidence: mass between the two percentiles.

  Returns:
    (difference, low, high), each a scalar or [comparisons].

  Raises:
    ValueError: without documents or samples, with differences that are not finite, or
      a confidence outside (0, 1).

  Source: Efron 1979, "Bootstrap methods: another look at the jackknife".
  """
  _check_confidence(confidence)
  columns = _as_columns(differences, samples)
  low, high = _percentiles(_resampled_means(columns, samples, seed), confidence)
  return tuple(_like(x, differences) for x in (columns.mean(axis=0), low, high))


def compare(
  differences: np.ndarray, samples: int = 10_000, seed: int = 0, confidence: float = 0.95
) -> Comparisons:
  """Both tests and the interval, the bootstrap drawn once for the two that need it.

  Equal to the three functions called one by one with the same arguments.

  Args:
    differences: [documents] or [documents, comparisons], a - b of each document.
    samples: resamples of the bootstrap, and sign vectors of the randomisation.
    seed: of both.
    confidence: of the interval.

  Returns:
    `Comparisons` of scalars or of [comparisons]; p-values not corrected for their number.

  Raises:
    ValueError: as `difference_interval`.
  """
  _check_confidence(confidence)
  columns = _as_columns(differences, samples)
  means = _resampled_means(columns, samples, seed)
  low, high = _percentiles(means, confidence)
  found = (columns.mean(axis=0), low, high, _bootstrap_p(means, _tolerance(columns)))
  return Comparisons(
    *(_like(x, differences) for x in found), randomisation_test(differences, samples, seed)
  )


def holm(p_values: np.ndarray) -> np.ndarray:
  """P-values corrected for being one family: Holm's step-down method.

  With p_(1) <= ... <= p_(m) the sorted values,

      adjusted p_(k) = max over j <= k of min(1, (m - j + 1) p_(j))

  Calling those below 0.05 significant makes one false claim or more in the family
  with probability 0.05 at most, however the tests depend on each other.

  Args:
    p_values: of any shape; all of it is one family.

  Returns:
    Adjusted p-values, the same shape.

  Raises:
    ValueError: for a value outside [0, 1].

  Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
  """
  p_values = np.asarray(p_values, np.float64)
  flat = p_values.ravel()
  if not ((flat >= 0.0) & (flat <= 1.0)).all():  # false for NaN, too
    raise ValueError("p-values must be between 0 and 1")
  order = np.argsort(flat, kind="stable")
  factors = np.arange(flat.size, 0, -1)
  stepped = np.maximum.accumulate(np.minimum(1.0, factors * flat[order]))
  adjusted = np.empty_like(flat)
  adjusted[order] = stepped
  return adjusted.reshape(p_values.shape)
