"""What the report of an evaluation shows, read back from the evaluation's files.

Numbers of all documents, texts of the few that are shown. See `results.py` for the files.
"""

from collections.abc import Collection, Mapping, Sequence
import dataclasses
import os
from typing import Any

import numpy as np

from htmtl_jax.errors import UserError
from htmtl_jax.evaluation.comparison import Run, compare_runs
from htmtl_jax.evaluation.importance_rows import ATTENTION_BINS, position_bins
from htmtl_jax.evaluation.rouge import METRICS
from htmtl_jax.evaluation.saved import (
  PREDICTIONS,
  RESULTS,
  SCORES,
  read_evaluation,
  read_json,
  read_lines,
)
from htmtl_jax.evaluation.systems import CEILINGS
from htmtl_jax.evaluation.terminal import LEVEL_LABELS
from htmtl_jax.evaluation.text_measures import MEASURES

IMPORTANCE = "importance.jsonl"
POSITION_BINS = 10
RANKED_BY = ("paragraph", "rouge2")  # what the best and the worst documents are chosen by

_CEILING_STYLE = 4  # grey, see charts.css
_COLUMNS = (*METRICS, *MEASURES)
_SAMPLES = 10_000  # of the tests, as in `--mode=compare`


@dataclasses.dataclass(frozen=True)
class EvaluationData:
  """One evaluation, as its report needs it.

  Attributes:
    directory: that it was read from.
    results: the content of results.json.
    comparison: of `comparison.compare_runs`: every system against `first`, level by level.
    keys: levels, and perhaps the digest without fillers, in the order of the page.
    systems: names in the order of results.json.
    first: the first system that is no ceiling: others are compared with it, and
      documents are ranked by it.
    documents: ids by key, in the order of all arrays.
    columns: {key: {system: {metric or measure: [documents] float64}}}, NaN where there
      is none.
    source_words: {level: [documents]}, NaN where unknown.
    reference_words: {level: [documents]}.
    titles: {id: title}, empty where unknown.
    positions: {level: {system: [POSITION_BINS]}}: where the sentences lie that a system
      chose, as shares, the mean over documents.
    attention: {level: [POSITION_BINS]}: where the model's summaries drew on.
    importance: rows of importance.jsonl; empty without a trained system.
  """

  directory: str
  results: Mapping[str, Any]
  comparison: Mapping[str, Any]
  keys: tuple[str, ...]
  systems: tuple[str, ...]
  first: str
  documents: Mapping[str, tuple[str, ...]]
  columns: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]]
  source_words: Mapping[str, np.ndarray]
  reference_words: Mapping[str, np.ndarray]
  titles: Mapping[str, str]
  positions: Mapping[str, Mapping[str, np.ndarray]]
  attention: Mapping[str, np.ndarray]
  importance: Sequence[Mapping[str, Any]]

  @property
  def seed(self) -> int:
    """Of intervals that are made for the report."""
    return int(self.results.get("seed", 0))

  def style_of(self, system: str) -> int:
    """The same colour and marker for a system all over the page; grey for a ceiling."""
    if system in CEILINGS:
      return _CEILING_STYLE
    number = [name for name in self.systems if name not in CEILINGS].index(system)
    return number + (number >= _CEILING_STYLE)

  def present(self, key: str) -> list[str]:
    """The systems that have scores there, ceilings last."""
    own = [name for name in self.systems if name in self.columns[key]]
    return sorted(own, key=lambda name: name in CEILINGS)


def read_evaluation_data(directory: str) -> EvaluationData:
  """Reads the files of one evaluation.

  Raises:
    UserError: one is missing, damaged or does not belong to the others.
  """
  evaluation = read_evaluation(directory)
  results = read_json(os.path.join(directory, RESULTS))
  systems = tuple(evaluation.systems)
  first = next((name for name in systems if name not in CEILINGS), systems[0])
  comparison = compare_runs([Run(directory, "run", evaluation)], f"run:{first}", _SAMPLES)
  places = _Predictions(evaluation.documents, systems)
  for where, line in read_lines(os.path.join(directory, PREDICTIONS)):
    places.add(line, where)
  importance = _read_importance(os.path.join(directory, IMPORTANCE))
  return EvaluationData(
    directory=directory,
    results=results,
    comparison=comparison,
    keys=tuple(key for key in LEVEL_LABELS if key in evaluation.documents),
    systems=systems,
    first=first,
    documents=evaluation.documents,
    columns=_read_columns(os.path.join(directory, SCORES), evaluation.documents),
    source_words=places.source_words,
    reference_words=places.reference_words,
    titles=places.titles,
    positions=places.mean_positions(),
    attention=_mean_attention(importance),
    importance=importance,
  )


def read_texts(directory: str, ids: Collection[str]) -> dict[str, dict[str, Mapping[str, Any]]]:
  """The lines of predictions.jsonl of some documents, {id: {level: line}}."""
  found: dict[str, dict[str, Mapping[str, Any]]] = {}
  for _, line in read_lines(os.path.join(directory, PREDICTIONS)):
    if line.get("id") in ids:
      found.setdefault(line["id"], {})[str(line.get("level"))] = line
  return found


def rank_documents(data: EvaluationData) -> list[str]:
  """All documents by falling score of the first system, where they have a paragraph."""
  key, metric = RANKED_BY
  if key not in data.documents or data.first not in data.columns[key]:
    return []
  order = np.argsort(-data.columns[key][data.first][metric], kind="stable")
  return [data.documents[key][i] for i in order]


def _read_columns(path: str, documents: Mapping[str, Sequence[str]]):
  """Metrics and measures of every document; `read_evaluation` has checked the file."""
  row_of = {
    key: {identifier: i for i, identifier in enumerate(own)} for key, own in documents.items()
  }
  columns: dict[str, dict[str, dict[str, np.ndarray]]] = {key: {} for key in documents}
  for _, line in read_lines(path):
    key, row = line["level"], row_of[line["level"]][line["id"]]
    own = columns[key].setdefault(line["system"], {})
    for name in _COLUMNS:
      value = line.get(name)
      if isinstance(value, bool) or not isinstance(value, (int, float)):
        continue
      if name not in own:
        own[name] = np.full(len(documents[key]), np.nan)
      own[name][row] = value
  return columns


class _Predictions:
  """Sums up predictions.jsonl line by line, so that no text is kept."""

  def __init__(self, documents: Mapping[str, Sequence[str]], systems: Sequence[str]):
    self._row_of = {key: {i: n for n, i in enumerate(own)} for key, own in documents.items()}
    self._systems = systems
    unknown = lambda: {key: np.full(len(own), np.nan) for key, own in documents.items()}
    self.source_words, self.reference_words = unknown(), unknown()
    self.titles: dict[str, str] = {}
    self._sums: dict[str, dict[str, np.ndarray]] = {}
    self._counts: dict[tuple[str, str], int] = {}

  def add(self, line: Mapping[str, Any], where: str) -> None:
    """Takes in one line.

    Raises:
      UserError: for places that are none.
    """
    level, identifier = str(line["level"]), str(line["id"])
    row = self._row_of.get(level, {}).get(identifier)
    if row is None:
      return
    self.reference_words[level][row] = len(str(line["reference"]).split())
    source = line.get("source")
    if not isinstance(source, dict):
      return  # of an earlier version
    try:
      self.titles[identifier] = str(source["title"])
      self.source_words[level][row] = float(source["words"])
      sentences = int(source["sentences"])
      places = {str(name): np.array(own, np.int64) for name, own in line["places"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
      raise UserError(f"{where}: not what an evaluation writes ({error}); evaluate again") from None
    for name, own in places.items():
      if not own.size:
        continue
      if own.ndim != 1 or own.min() < 0 or own.max() >= sentences:
        raise UserError(f"{where}: places of {name} lie outside the document; evaluate again")
      bins = np.bincount(position_bins(own, sentences, POSITION_BINS), minlength=POSITION_BINS)
      by_system = self._sums.setdefault(level, {})
      by_system[name] = by_system.get(name, np.zeros(POSITION_BINS)) + bins / own.size
      self._counts[level, name] = self._counts.get((level, name), 0) + 1

  def mean_positions(self) -> dict[str, dict[str, np.ndarray]]:
    """Shares by tenth of the document, the mean over documents that have any."""
    return {
      level: {
        name: by_system[name] / self._counts[level, name]
        for name in self._systems
        if name in by_system
      }
      for level, by_system in self._sums.items()
    }


def _read_importance(path: str) -> list[Mapping[str, Any]]:
  if not os.path.exists(path):
    return []
  rows = []
  for where, line in read_lines(path):
    try:
      count = len(line["importance"])
      good = all(isinstance(v, (int, float)) and v >= 0 for v in line["importance"])
      good = good and all(isinstance(i, int) and 0 <= i < count for i in line["matters"])
      good = good and all(len(own) == ATTENTION_BINS for own in line["attention"].values())
    except (KeyError, TypeError, AttributeError):
      good = False
    if not good:
      raise UserError(f"{where}: not what an evaluation writes; evaluate again")
    rows.append(line)
  return rows


def _mean_attention(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
  by_level: dict[str, list[np.ndarray]] = {}
  for row in rows:
    for level, shares in row["attention"].items():
      by_level.setdefault(level, []).append(np.asarray(shares, np.float64))
  # Pairs of stored bins make one that is shown.
  return {
    level: np.mean(own, axis=0).reshape(POSITION_BINS, -1).sum(axis=1)
    for level, own in by_level.items()
  }
