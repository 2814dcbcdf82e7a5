"""How many documents and raters it takes to find a difference, by simulating studies.

What a study like this one needs depends on two spreads, which its own answers tell: how
much the difference of two systems varies from document to document, and how much judgments
of the same document vary. An analysis of variance separates them, for each pair of systems,
and the means over the pairs of a level and task are what is simulated:

    ratings      the difference of a document is normal about the given one, with variance
                 between documents + between judgments / raters
    comparisons  a judgment is a normal variable, in which judgments of a document correlate
                 as they did, cut at two thresholds: as many ties as there were, and the
                 given win rate otherwise

Every simulated study is tested by the Wilcoxon signed-rank test in its normal approximation
(the report's own test is exact up to 50 documents); power is the share of them with
p < alpha, for one comparison that was planned. Correcting for several
costs more.

The number of documents for 80% is found through the power at a few sizes, from power being
close to Phi(c sqrt(n) - z) with one constant c.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np
from scipy import stats

from htmtl_jax.human_eval.comparisons import ZEROS
from htmtl_jax.human_eval.judgments import Table

TARGET = 0.8
MAX_DOCUMENTS = 1000
_MIN_DOCUMENTS = 6  # no p < 0.05 below
_LATENT_DRAWS = 20_000


@dataclasses.dataclass(frozen=True)
class Spread:
  """What the answers tell about chance.

  Attributes:
    between: variance of the difference between documents.
    within: variance of one judgment of it on the same document.
    ties: share of ties, of comparisons; 0 of ratings.
  """

  between: float
  within: float
  ties: float = 0.0

  @property
  def correlation(self) -> float:
    """Of two judgments of the same document."""
    total = self.between + self.within
    return self.between / total if total else 0.0


def estimate_spread(tables: Sequence[Table]) -> Spread | None:
  """The spread of the judgments of one level and task, over criteria and pairs.

  One-way analysis of variance with documents as groups. With one judgment a document
  nothing tells the two variances apart, and all of it counts as between documents.

  Args:
    tables: a criterion each.

  Returns:
    None where there are not two documents to compare.
  """
  betweens, withins, ties = [], [], []
  for table in tables:
    for values in _judgment_differences(table):  # [documents, raters]
      found = _variances(values)
      if found is not None:
        betweens.append(found[0])
        withins.append(found[1])
      if table.task == "pairwise":
        judged = values[~np.isnan(values)]
        ties.append(float((judged == 0.0).mean()) if len(judged) else 0.0)
  if not betweens:
    return None
  return Spread(
    float(np.mean(betweens)), float(np.mean(withins)), float(np.mean(ties)) if ties else 0.0
  )


def _judgment_differences(table: Table):
  """Of each pair of systems, each rater's difference on each document."""
  if table.task == "pairwise":
    for k in range(len(table.columns)):
      yield table.values[:, k]
    return
  for i in range(len(table.columns)):
    for j in range(i + 1, len(table.columns)):
      yield table.values[:, i] - table.values[:, j]


def _variances(values: np.ndarray) -> tuple[float, float] | None:
  """(between, within) documents, of judgments [documents, raters] with NaN."""
  judged = ~np.isnan(values)
  number = judged.sum(axis=1)
  values, number = values[number > 0], number[number > 0]
  if len(values) < 2:
    return None
  means = np.nanmean(values, axis=1)
  spare = int((number - 1).sum())
  within = float(np.nansum((values - means[:, None]) ** 2) / spare) if spare else 0.0
  total = int(number.sum())
  grand = float((means * number).sum() / total)
  mean_square = float((number * (means - grand) ** 2).sum() / (len(values) - 1))
  size = (total - float((number**2).sum()) / total) / (len(values) - 1)
  return max(0.0, (mean_square - within) / size), within


# --------------------------------------------------------------------- simulating


def simulate_power(
  task: str,
  spread: Spread,
  effect: float,
  documents: int,
  raters: int,
  alpha: float,
  simulations: int,
  seed: int,
) -> float:
  """The share of simulated studies that find an effect.

  Args:
    task: "pairwise", where the effect is a win rate, or another, where it is a
      difference of means.
    spread: of `estimate_spread`.
    effect: that is there.
    documents: of each study.
    raters: that judge each document.
    alpha: of the test.
    simulations: studies.
    seed: of the simulation.
  """
  rng = np.random.default_rng([seed, documents, raters])
  size = (simulations, documents)
  if task == "pairwise":
    values = _draw_comparisons(spread, effect, size, raters, rng)
  else:
    deviation = np.sqrt(spread.between + spread.within / raters)
    values = effect + deviation * rng.standard_normal(size)
  with np.errstate(invalid="ignore", divide="ignore"):
    p = stats.wilcoxon(values, zero_method=ZEROS, method="asymptotic", axis=1).pvalue
  return float((np.nan_to_num(p, nan=1.0) < alpha).mean())


def _draw_comparisons(spread, win_rate, size, raters, rng) -> np.ndarray:
  """Means over raters of 1, 0 and -1, [simulations, documents]."""
  low, high = _thresholds(spread.ties, win_rate)
  share = _latent_correlation(spread.correlation, *_thresholds(spread.ties, 0.5))
  common = np.sqrt(share) * rng.standard_normal(size)
  total = np.zeros(size)
  for _ in range(raters):
    felt = common + np.sqrt(1.0 - share) * rng.standard_normal(size)
    total += (felt > high).astype(np.float64) - (felt < low)
  return total / raters


def _thresholds(ties: float, win_rate: float) -> tuple[float, float]:
  """Of a standard normal variable: a loss below the first, a win above the second."""
  # More ties than this leave no room for the losses of such a win rate.
  ties = min(ties, 1.8 * (1.0 - win_rate))
  return (
    float(stats.norm.ppf(1.0 - win_rate - ties / 2.0)),
    float(stats.norm.isf(win_rate - ties / 2.0)),
  )


def _latent_correlation(observed: float, low: float, high: float) -> float:
  """The correlation of normal variables whose outcomes, cut at thresholds, correlate as observed."""
  rng = np.random.default_rng(0)  # always the same draws: the answer is smooth in `observed`
  common, one, two = rng.standard_normal((3, _LATENT_DRAWS))
  cut = lambda felt: (felt > high).astype(np.float64) - (felt < low)
  below, above = 0.0, 0.999
  for _ in range(20):
    middle = (below + above) / 2.0
    rest = np.sqrt(1.0 - middle)
    pair = cut(np.sqrt(middle) * common + rest * one), cut(np.sqrt(middle) * common + rest * two)
    found = float(np.corrcoef(*pair)[0, 1]) if pair[0].any() and pair[1].any() else 0.0
    below, above = (middle, above) if found < observed else (below, middle)
  return (below + above) / 2.0


def find_documents(
  task: str,
  spread: Spread,
  effect: float,
  raters: int,
  alpha: float,
  simulations: int,
  seed: int,
) -> int | None:
  """Documents that a study needs for 80% power; None for more than 1,000."""
  z = float(stats.norm.isf(alpha / 2.0))
  goal = float(stats.norm.ppf(TARGET))
  mean, variance = _moments(task, spread, effect, raters)
  if variance <= 0.0:
    return _MIN_DOCUMENTS
  slope = mean / np.sqrt(variance)  # power is about Phi(slope sqrt(n) - z)
  for _ in range(2):
    documents = int(np.ceil(((goal + z) / slope) ** 2))
    if documents > MAX_DOCUMENTS * 1.2:
      return None
    documents = max(documents, _MIN_DOCUMENTS)
    power = simulate_power(task, spread, effect, documents, raters, alpha, simulations, seed)
    # Away from 0 and 1, where a few simulations more or less would say anything.
    power = min(max(power, 0.05), 0.98)
    slope = max((float(stats.norm.ppf(power)) + z) / np.sqrt(documents), 1e-3)
    if documents == _MIN_DOCUMENTS and power >= TARGET:
      break
  found = max(int(np.ceil(((goal + z) / slope) ** 2)), _MIN_DOCUMENTS)
  return found if found <= MAX_DOCUMENTS else None


def _moments(task: str, spread: Spread, effect: float, raters: int) -> tuple[float, float]:
  """Mean and variance of a document's difference, roughly: where the search begins."""
  variance = spread.between + spread.within / raters
  return (2.0 * effect - 1.0 if task == "pairwise" else effect), variance


# ------------------------------------------------------------------------- table


def make_power_table(
  tables: Sequence[Table],
  effects: Sequence[float],
  raters: Sequence[int],
  alpha: float,
  simulations: int,
  seed: int,
) -> dict[str, Any] | None:
  """What later studies need, and what this one could find.

  Args:
    tables: of one level and task, a criterion each.
    effects: differences of means, or win rates.
    raters: columns.
    alpha: of one test.
    simulations: for each number.
    seed: of the simulation.

  Returns:
    {"between", "within", "ties", "documents", "raters": of this study, "rows": [{"effect",
    "power": of this study, "needed": {raters: documents or None}}]}, or None where the
    answers tell nothing.
  """
  spread = estimate_spread(tables)
  if spread is None:
    return None
  task = tables[0].task
  judged = ~np.isnan(tables[0].values).all(axis=1)  # [documents, raters]
  documents = int(judged.any(axis=1).sum())
  own = max(1, round(float(judged.sum(axis=1)[judged.any(axis=1)].mean())))
  settings = (alpha, simulations, seed)
  return {
    "between": spread.between,
    "within": spread.within,
    "ties": spread.ties,
    "documents": documents,
    "raters": own,
    "rows": [
      {
        "effect": effect,
        "power": simulate_power(task, spread, effect, documents, own, *settings),
        "needed": {
          str(count): find_documents(task, spread, effect, count, *settings) for count in raters
        },
      }
      for effect in effects
    ],
  }
