"""How far raters agree: Krippendorff's alpha.

    alpha = 1 - D_o / D_e

D_o is the mean distance of two judgments of the same unit, D_e that of two judgments of
any units: 1 where raters always agree, 0 where they agree as much as chance would,
negative where less. A unit is a document and a system, or a document and a pair.

The value is NLTK's (`AnnotationTask.alpha`), with the distance of the ordinal scale, which
it lacks. The interval needs thousands of values, so `resampled_alpha` computes them from
coincidence matrices at once; the tests hold it to NLTK's numbers.

Source: Krippendorff 2004, "Content analysis", chapter 11; 2011, "Computing
Krippendorff's alpha-reliability".
"""

from collections.abc import Callable

import numpy as np

NOMINAL, ORDINAL = "nominal", "ordinal"


def alpha(units: np.ndarray, scale: str) -> float | None:
  """Krippendorff's alpha.

  Args:
    units: [units, raters] numbers, NaN where a rater did not judge.
    scale: "nominal" or "ordinal".

  Returns:
    At most 1; None where it is not defined: no unit with two judgments, or all
    judgments of such units equal.
  """
  from nltk.metrics.agreement import AnnotationTask  # loads in a second

  pairable = units[(~np.isnan(units)).sum(axis=1) >= 2]
  values = pairable[~np.isnan(pairable)]
  if len(np.unique(values)) < 2:
    return None
  triples = [(r, u, pairable[u, r]) for u, r in zip(*np.nonzero(~np.isnan(pairable)))]
  return float(AnnotationTask(triples, distance=_make_distance(values, scale)).alpha())


def _make_distance(values: np.ndarray, scale: str) -> Callable[[float, float], float]:
  """The distance of two judgments; the ordinal one depends on how often each was given."""
  if scale == NOMINAL:
    return lambda a, b: float(a != b)
  domain, counts = np.unique(values, return_counts=True)
  squares = _ordinal_distances(counts.astype(np.float64)[None])[0]
  place = {value: k for k, value in enumerate(domain)}
  return lambda a, b: squares[place[a], place[b]]


def _ordinal_distances(counts: np.ndarray) -> np.ndarray:
  """Squared distances of ordered values: [..., V] counts to [..., V, V].

  Two values are as far apart as there are judgments between them, the two themselves
  counting half: (sum of n_g for g from a to b - (n_a + n_b) / 2)^2.
  """
  below = np.cumsum(counts, axis=-1) - counts / 2.0
  return (below[..., :, None] - below[..., None, :]) ** 2


def _coincidences(units: np.ndarray, domain: np.ndarray) -> np.ndarray:
  """Of each unit, pairs of judgments by value: [units, V, V], as many as it has judgments."""
  counts = (units[:, :, None] == domain).sum(axis=1).astype(np.float64)  # [units, V]
  number = counts.sum(axis=1)
  pairs = counts[:, :, None] * counts[:, None, :]
  pairs -= counts[:, :, None] * np.eye(len(domain))
  scaled = np.zeros_like(pairs)
  np.divide(pairs, (number - 1.0)[:, None, None], out=scaled, where=(number > 1)[:, None, None])
  return scaled


def resampled_alpha(
  units: np.ndarray, document_of: np.ndarray, weights: np.ndarray, scale: str
) -> np.ndarray:
  """Alpha of resamples of documents.

  Args:
    units: [units, raters], NaN where a rater did not judge.
    document_of: [units], the document of each.
    weights: [samples, documents], how often a resample has each.
    scale: "nominal" or "ordinal".

  Returns:
    [samples]; NaN where it is not defined.
  """
  domain = np.unique(units[~np.isnan(units)])
  size = len(domain)
  by_unit = _coincidences(units, domain).reshape(len(units), size * size)
  by_document = np.zeros((weights.shape[1], size * size))
  np.add.at(by_document, document_of, by_unit)
  observed = (weights @ by_document).reshape(-1, size, size)
  counts = observed.sum(axis=2)  # [samples, V]
  total = counts.sum(axis=1)
  if scale == NOMINAL:
    distances = np.broadcast_to(1.0 - np.eye(size), observed.shape)
  else:
    distances = _ordinal_distances(counts)
  expected = (counts[:, :, None] * counts[:, None, :] * distances).sum(axis=(1, 2))
  found = (observed * distances).sum(axis=(1, 2)) * (total - 1.0)
  out = np.full(len(weights), np.nan)
  np.divide(found, expected, out=out, where=expected > 0)
  return 1.0 - out


def mean_agreement(units: np.ndarray) -> float | None:
  """The share of pairs of judgments of the same unit that are equal; None without pairs."""
  same = total = 0
  for unit in units:
    own = unit[~np.isnan(unit)]
    _, counts = np.unique(own, return_counts=True)
    same += int((counts * (counts - 1)).sum())
    total += len(own) * (len(own) - 1)
  return same / total if total else None


def as_units(values: np.ndarray, automatic: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Units and their documents, without those that follow from equal texts.

  Args:
    values: [documents, columns, raters].
    automatic: [documents, columns].

  Returns:
    ([units, raters], [units]).
  """
  documents, columns = np.nonzero(~automatic)
  return values[documents, columns], documents
