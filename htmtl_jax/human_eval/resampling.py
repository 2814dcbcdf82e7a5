"""Intervals by the bootstrap over documents.

A resample draws as many documents as there are, with replacement, with all judgments on
them; the raters are taken as given. Whatever a table holds is resampled as *weights* of
documents, so all statistics of a study rest on the same resamples.
"""

import warnings

import numpy as np


def draw_weights(documents: int, samples: int, seed: int) -> np.ndarray:
  """How often each resample has each document: [samples, documents] float64."""
  rng = np.random.default_rng(seed)
  return rng.multinomial(documents, np.full(documents, 1.0 / documents), samples).astype(np.float64)


def weighted_means(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
  """Means over documents with a value, weighted.

  Args:
    weights: [samples, documents].
    values: [documents, columns], NaN where there is none.

  Returns:
    [samples, columns]; NaN where a resample has no document with a value.
  """
  judged = ~np.isnan(values)
  total = weights @ np.where(judged, values, 0.0)
  count = weights @ judged.astype(np.float64)
  return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def percentile_interval(statistics: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
  """Bounds of the percentile interval of resampled statistics [samples, ...].

  Resamples without a value (NaN) are left out.
  """
  tail = 50.0 * (1.0 - confidence)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)  # a column without any value stays NaN
    low, high = np.nanpercentile(statistics, (tail, 100.0 - tail), axis=0)
  return low, high


def mean_interval(
  values: np.ndarray, weights: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """(mean, low, high), each [columns], of values [documents, columns]."""
  whole = np.ones((1, len(values)))
  low, high = percentile_interval(weighted_means(weights, values), confidence)
  return weighted_means(whole, values)[0], low, high
