"""Percentages that add up as they are shown.

Numbers rounded one by one do not: three thirds are 33.3 + 33.3 + 33.3 = 99.9. Here whole
*units* (a thousandth of everything, say, shown as 0.1%) are given out by the largest
remainder, from the whole down to its parts, so that the children of a segment show
exactly what it shows, and everything together 100.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Percentages:
  """What to show for every segment of a document.

  Attributes:
    units: by segment id ("c1", "c1.p0", "c1.p0.s2"), how many units of 10^-decimals percent.
    decimals: of the percentages, the same for all of them.
  """

  units: Mapping[str, int]
  decimals: int

  def show(self, segment: str) -> str:
    """For example "12.5%"."""
    return format_units(self.units[segment], self.decimals)


def apportion(values: Sequence[float], units: int) -> list[int]:
  """Gives out `units` in proportion to `values`, by the largest remainder.

  Args:
    values: none negative.
    units: to give out.

  Returns:
    A whole number for each value, together `units` (all 0 if all values are 0). Each is its
    exact quota rounded down or up; of equal remainders the first is rounded up; what is 0
    stays 0.
  """
  array = np.asarray(values, np.float64)
  total = array.sum()
  if not units or not total > 0:
    return [0] * len(array)
  quotas = units * (array / total)
  shares = np.floor(quotas).astype(np.int64)
  # Rounding of the quotas themselves cannot make more or less than one unit a value.
  order = np.argsort(-np.where(array > 0, quotas - shares, -1.0), kind="stable")
  missing = int(units - shares.sum())
  if missing > 0:
    shares[order[:missing]] += 1
  return [int(share) for share in shares]


def choose_decimals(num_sentences: int) -> int:
  """Decimals at which the mean sentence has two digits: 2.3%, 0.23%, 0.023%."""
  return max(1, math.ceil(math.log10(max(num_sentences, 1))) - 1)


def compute_percentages(importance: Mapping[str, Sequence[Mapping]]) -> Percentages:
  """The percentages of a record's `importance` (see `summary_record.py`).

  Sections share 100%, the paragraphs of a section what it got, the sentences of a
  paragraph what that got.
  """
  decimals = choose_decimals(len(importance["sentences"]))
  units: dict[str, int] = {}

  def divide(children: Sequence[Mapping], available: int) -> None:
    given = apportion([child["importance"] for child in children], available)
    units.update(zip((child["id"] for child in children), given))

  divide(importance["sections"], 100 * 10**decimals)
  for level in ("paragraphs", "sentences"):
    children: dict[str, list[Mapping]] = {}
    for child in importance[level]:
      children.setdefault(child["id"].rpartition(".")[0], []).append(child)
    for parent, group in children.items():
      divide(group, units[parent])
  return Percentages(units, decimals)


def format_units(units: int, decimals: int) -> str:
  """Units of 10^-decimals percent as text: 125 with one decimal is "12.5%"."""
  if not decimals:
    return f"{units}%"
  return f"{units // 10**decimals}.{units % 10**decimals:0{decimals}d}%"
