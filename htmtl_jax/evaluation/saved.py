"""Evaluations that lie on disk: finding a run's, and reading one back.

The other end of `results.write_results`. A run is named by its workdir, or an
evaluation by its own folder:

    WORKDIR/evaluation/STEP/           the latest evaluation of a checkpoint
    WORKDIR/evaluation/STEP/SPLIT/     that of another split, moved there

Files may come from another machine or another day, so everything that later code
relies on is checked here, and what is wrong is said in one line.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import hashlib
import json
import os
import pathlib
from typing import Any

import numpy as np

from htmtl_jax.errors import UserError
from htmtl_jax.evaluation.rouge import METRICS
from htmtl_jax.levels import LEVELS

EVALUATION = "evaluation"
RESULTS, SCORES, PREDICTIONS = "results.json", "scores.jsonl", "predictions.jsonl"

_AGREEMENT = 1e-6  # ROUGE points: means computed twice from the same scores


@dataclasses.dataclass(frozen=True)
class SavedEvaluation:
  """One evaluation: who scored what, on which documents, against which references.

  Attributes:
    directory: that it was read from.
    step: of the checkpoint.
    split: of the corpus.
    documents: sorted ids by key of the results ("sentence", ..., and perhaps
      "section_without_fillers").
    scores: {key: {system: [documents, metrics] float64}}, 0 to 100, in the order of
      `documents` and `METRICS`.
    systems: means and intervals, {system: {key: {metric: {"f", "low", "high"}}}}.
    reference_kinds: {level: {kind: documents}}.
    references: {(level, id): digest of the reference}.
  """

  directory: str
  step: int
  split: str
  documents: Mapping[str, tuple[str, ...]]
  scores: Mapping[str, Mapping[str, np.ndarray]]
  systems: Mapping[str, Any]
  reference_kinds: Mapping[str, Mapping[str, int]]
  references: Mapping[tuple[str, str], bytes]


# ---------------------------------------------------------------------- finding


def holds_evaluation(path: str) -> bool:
  """Whether this is the folder of an evaluation, not that of a run."""
  return os.path.isfile(os.path.join(path, RESULTS))


def find_evaluation(run: str, split: str) -> str:
  """The folder of a run's newest evaluation of a split.

  Args:
    run: a workdir, or the folder of an evaluation, which is then taken as it is.
    split: that it must be of.

  Returns:
    The folder. Newest means written last, since a checkpoint that was chosen again
    after a later one was tried is what the user looked at last.

  Raises:
    UserError: there is no such run, or no evaluation of the split.
  """
  if not os.path.isdir(run):
    raise UserError(f"--runs: {run} not found; name a workdir or the folder of an evaluation")
  if holds_evaluation(run):
    found = _read_split(os.path.join(run, RESULTS))
    if found != split:
      raise UserError(
        f"--runs: {run} is an evaluation of the {found} split, not of {split}; give --split={found}"
      )
    return run
  root = pathlib.Path(run) / EVALUATION
  paths = [*root.glob(f"*/{RESULTS}"), *root.glob(f"*/*/{RESULTS}")]
  split_of = {path: _read_split(path) for path in paths}
  wanted = [path for path in paths if split_of[path] == split]
  if not wanted:
    others = sorted(set(split_of.values()))
    has = f"it has one of {' and '.join(others)}; " if others else ""
    raise UserError(
      f"--runs: {run} holds no evaluation of the {split} split; {has}"
      f"make one with --mode=evaluate --workdir={run} --split={split}"
    )
  return str(max(wanted, key=lambda path: (path.stat().st_mtime_ns, str(path))).parent)


def _read_split(path: str | os.PathLike) -> str:
  return str(_require(read_json(path), "split", path))


# ---------------------------------------------------------------------- reading


def read_json(path: str | os.PathLike) -> Any:
  """The content of a JSON file.

  Raises:
    UserError: it cannot be read, or is not JSON.
  """
  try:
    with open(path, encoding="utf-8") as file:
      return json.load(file)
  except OSError as error:
    raise UserError(f"{path} cannot be read ({error.strerror}); evaluate again") from None
  except ValueError:  # not JSON, or not UTF-8
    raise UserError(f"{path} is not JSON; evaluate again") from None


def _require(value: Any, key: str, where: str | os.PathLike) -> Any:
  if not isinstance(value, dict) or key not in value:
    raise UserError(f"{where} has no {key!r}: not what an evaluation writes; evaluate again")
  return value[key]


def read_lines(path: str) -> Iterator[tuple[str, Any]]:
  """Yields (where, object) of a file of JSON lines.

  Raises:
    UserError: it cannot be read, or a line is not JSON.
  """
  try:
    with open(path, encoding="utf-8") as file:
      for number, line in enumerate(file, 1):
        where = f"{path}:{number}"
        try:
          yield where, json.loads(line)
        except ValueError:
          raise UserError(f"{where} is not JSON; evaluate again") from None
  except OSError as error:
    raise UserError(f"{path} cannot be read ({error.strerror}); evaluate again") from None
  except UnicodeDecodeError:
    raise UserError(f"{path} is not UTF-8; evaluate again") from None


def _read_references(path: str) -> dict[tuple[str, str], bytes]:
  """Digests, since the texts of a large test set are hundreds of megabytes."""
  digests = {}
  for where, line in read_lines(path):
    level, identifier, text = (str(_require(line, k, where)) for k in ("level", "id", "reference"))
    # A lone surrogate is legal in JSON and has no UTF-8.
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    if digests.setdefault((level, identifier), digest) != digest:
      raise UserError(f"{where}: {identifier} has two references at the {level} level")
  return digests


def _read_scores(path: str) -> dict[str, dict[str, dict[str, list[float]]]]:
  """{key: {system: {document: scores in the order of METRICS}}}."""
  rows: dict[str, dict[str, dict[str, list[float]]]] = {}
  for where, line in read_lines(path):
    key, system, identifier = (str(_require(line, k, where)) for k in ("level", "system", "id"))
    values = [_require(line, metric, where) for metric in METRICS]
    if not all(type(v) in (int, float) and abs(v - 50.0) <= 50.0 + _AGREEMENT for v in values):
      raise UserError(f"{where}: scores must be numbers from 0 to 100; evaluate again")
    by_document = rows.setdefault(key, {}).setdefault(system, {})
    if identifier in by_document:
      raise UserError(f"{where}: {identifier} is scored twice for {system} at the {key} level")
    by_document[identifier] = values
  return rows


def read_evaluation(directory: str) -> SavedEvaluation:
  """Reads what `results.write_results` wrote.

  Args:
    directory: that holds results.json, scores.jsonl and predictions.jsonl.

  Returns:
    The evaluation; documents sorted, so that two of them line up.

  Raises:
    UserError: a file is missing, damaged, or does not belong to the others.
  """
  summary_path = os.path.join(directory, RESULTS)
  summary = read_json(summary_path)
  systems = _require(summary, "systems", summary_path)
  rows = _read_scores(os.path.join(directory, SCORES))
  if not rows:
    raise UserError(f"{directory} holds no scores; evaluate on a split that has documents")
  documents, scores = {}, {}
  for key, by_system in rows.items():
    first, *others = by_system
    ids = tuple(sorted(by_system[first]))
    for name in others:
      missing = sorted(set(ids) ^ set(by_system[name]))
      if missing:
        raise UserError(
          f"{directory}: {first} and {name} were not scored on the same documents at the {key}"
          f" level ({name_some(missing)}); evaluate again"
        )
    documents[key] = ids
    scores[key] = {
      name: np.array([own[i] for i in ids], np.float64) for name, own in by_system.items()
    }
  _check_means(systems, scores, directory)
  references = _read_references(os.path.join(directory, PREDICTIONS))
  for key, ids in documents.items():
    missing = [i for i in ids if (level_of(key), i) not in references]
    if missing:
      raise UserError(
        f"{directory}: {PREDICTIONS} lacks the {key} reference of {name_some(missing)}; evaluate again"
      )
  kinds = _require(summary, "reference_kinds", summary_path)
  if not isinstance(kinds, dict) or not all(
    isinstance(own, dict) and all(type(n) is int for n in own.values()) for own in kinds.values()
  ):
    raise UserError(f"{summary_path}: 'reference_kinds' must count documents; evaluate again")
  return SavedEvaluation(
    directory,
    step=_require(summary, "step", summary_path),
    split=str(_require(summary, "split", summary_path)),
    documents=documents,
    scores=scores,
    systems=systems,
    reference_kinds=kinds,
    references=references,
  )


def read_texts(directory: str) -> dict[str, dict[str, dict[str, Any]]]:
  """What all systems wrote: {level: {document: line of predictions.jsonl}}.

  Each line has at least "reference" and "systems", {name: text}; newer ones also "source",
  {"title", "words", "sentences"}.

  Raises:
    UserError: the file is missing or damaged.
  """
  texts: dict[str, dict[str, dict[str, Any]]] = {}
  for where, line in read_lines(os.path.join(directory, PREDICTIONS)):
    level, identifier, reference, systems = (
      _require(line, key, where) for key in ("level", "id", "reference", "systems")
    )
    written = [reference, *(systems.values() if isinstance(systems, dict) else [None])]
    if not all(isinstance(text, str) for text in written):
      raise UserError(f"{where}: 'reference' and 'systems' must hold texts; evaluate again")
    texts.setdefault(str(level), {})[str(identifier)] = line
  return texts


def _check_means(systems: Any, scores: Mapping[str, Mapping[str, np.ndarray]], directory: str):
  """Refuses per-document scores that are not those the means were made from."""
  for key, by_system in scores.items():
    for name, values in by_system.items():
      try:
        means = [float(systems[name][key][metric]["f"]) for metric in METRICS]
        bounds = [systems[name][key][m][b] for m in METRICS for b in ("low", "high")]
        agree = np.allclose(means, values.mean(axis=0), rtol=0.0, atol=_AGREEMENT)
        agree = agree and all(type(bound) in (int, float) for bound in bounds)
      except (KeyError, TypeError, ValueError):
        agree = False
      if not agree:
        raise UserError(
          f"{directory}: {RESULTS} and {SCORES} disagree on {name} at the {key} level: "
          "they are of two evaluations; evaluate again"
        )


def level_of(key: str) -> str:
  """The level that a key of the results belongs to: without its fillers, it is `section`."""
  return next((level for level in LEVELS if key.startswith(level)), key)


def name_some(names: Sequence[str]) -> str:
  """The first of many, and how many more."""
  more = f" and {len(names) - 1} more" if len(names) > 1 else ""
  return f"{names[0]}{more}"
