"""Strengths of systems from comparisons of two: Bradley-Terry with ties, after Davidson.

With theta_i the strength of system i and nu > 0 common to all,

    P(i better than j) : P(tie) : P(j better than i)
      = exp(theta_i) : nu exp((theta_i + theta_j) / 2) : exp(theta_j)

Strengths add up to 0; a difference is the logarithm of the odds of winning, ties aside. The
likelihood is that of a multinomial logit, hence concave, and Newton's method finds its
maximum, for all resamples of a bootstrap at once. For two systems it is
theta_1 - theta_2 = log(wins / losses).

A system that never loses would be infinitely strong. Each pair that was compared is
therefore given one more judgment, a third of it a win, a third a tie, a third a loss.

Source: Bradley and Terry 1952, "Rank analysis of incomplete block designs"; Davidson 1970,
"On extending the Bradley-Terry model to accommodate ties in paired comparison experiments".
"""

from collections.abc import Sequence

import numpy as np

PRIOR = 1.0 / 3.0  # of a judgment, for each outcome of each pair
_MAX_STEP = 2.0  # of a parameter; far from the maximum, full steps overshoot
_TOLERANCE = 1e-9
_MAX_ITERATIONS = 100


def fit(
  pairs: Sequence[tuple[int, int]], counts: np.ndarray, systems: int, prior: float = PRIOR
) -> tuple[np.ndarray, np.ndarray]:
  """Strengths with the greatest likelihood.

  Args:
    pairs: places of the two systems of each pair.
    counts: [..., pairs, 3]: how often the first won, nobody, the second.
    systems: S, how many there are; all are connected by pairs.
    prior: added to each count.

  Returns:
    (theta [..., S], log nu [...]).
  """
  counts = np.asarray(counts, np.float64) + prior
  lead = counts.shape[:-2]
  counts = counts.reshape(-1, len(pairs), 3)
  # features[p, k]: how outcome k of pair p depends on (theta, log nu).
  features = np.zeros((len(pairs), 3, systems + 1))
  for p, (i, j) in enumerate(pairs):
    features[p, 0, i] = features[p, 2, j] = features[p, 1, systems] = 1.0
    features[p, 1, i] = features[p, 1, j] = 0.5
  number = counts.sum(axis=2)  # [R, P]
  parameters = np.zeros((len(counts), systems + 1))
  # Adding a constant to all strengths changes nothing; this keeps their sum at 0.
  pin = np.zeros((systems + 1, systems + 1))
  pin[:systems, :systems] = 1.0
  for _ in range(_MAX_ITERATIONS):
    utility = np.einsum("pkf,rf->rpk", features, parameters)
    utility -= utility.max(axis=2, keepdims=True)
    chance = np.exp(utility)
    chance /= chance.sum(axis=2, keepdims=True)
    gradient = np.einsum("rpk,pkf->rf", counts - number[:, :, None] * chance, features)
    mean = np.einsum("rpk,pkf->rpf", chance, features)
    hessian = np.einsum("rp,rpk,pkf,pkg->rfg", number, chance, features, features, optimize=True)
    hessian -= np.einsum("rp,rpf,rpg->rfg", number, mean, mean, optimize=True)
    step = np.linalg.solve(hessian + pin, gradient[:, :, None])[:, :, 0]
    largest = np.abs(step).max(axis=1, keepdims=True)
    parameters += step * np.minimum(1.0, _MAX_STEP / np.maximum(largest, _MAX_STEP))
    if largest.max() < _TOLERANCE:
      break
  theta = parameters[:, :systems] - parameters[:, :systems].mean(axis=1, keepdims=True)
  return theta.reshape(*lead, systems), parameters[:, systems].reshape(lead)


def count_outcomes(values: np.ndarray) -> np.ndarray:
  """Judgments [documents, pairs, raters] of 1, 0, -1 and NaN as counts [documents, pairs, 3]."""
  return np.stack([(values == outcome).sum(axis=2) for outcome in (1.0, 0.0, -1.0)], axis=2)
