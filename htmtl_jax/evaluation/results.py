"""An evaluation's numbers, and the files that hold them.

    results.json       means and intervals by system and level, for scripts and people
    predictions.jsonl  what every system wrote beside its reference, a pair a line
    scores.jsonl       ROUGE and measures of every system on every document, for paired tests
    rankings.jsonl     how well importance and other rankings find what matters, by document
    importance.jsonl   a trained model's importance of sentences, see `importance_rows.py`

Owns their schema. What is scored is decided elsewhere: a `SummaryPair` arrives with
its texts ready, sentences separated by newlines (`rouge.join_sentences`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import json
import math
import os
import pathlib
from typing import Any

import numpy as np

from htmtl_jax.evaluation import rouge
from htmtl_jax.levels import LEVELS

WITHOUT_FILLERS = "section_without_fillers"


@dataclasses.dataclass(frozen=True)
class SummaryPair:
  """One document at one level: the reference, and what each system wrote.

  Attributes:
    id: the document's.
    level: one of `LEVELS`.
    reference: newline-separated sentences, uncut.
    reference_kind: "gold" (a person wrote it for this) or "silver" (a rule made it).
    systems: text by system; "" where a system had nothing to say, which scores 0.
    reference_without_fillers: at the section level, the reference without the pieces
      that were taken from the section itself for want of anything better; None where
      there are none.
    systems_without_fillers: the systems' texts without the pieces of those sections;
      None scores the full `systems` against the shorter reference.
    measures: by system what `text_measures.measure` says of its text; None where the
      source is not at hand.
    source: {"title", "words", "sentences"} of what was summarised, its body sentences
      counted; None where it is not at hand.
    places: which of the source's body sentences a system's text consists of, counted from
      0, for systems that choose sentences; None where the source is not at hand.
  """

  id: str
  level: str
  reference: str
  reference_kind: str
  systems: Mapping[str, str]
  reference_without_fillers: str | None = None
  systems_without_fillers: Mapping[str, str] | None = None
  measures: Mapping[str, Mapping[str, float | None]] | None = None
  source: Mapping[str, Any] | None = None
  places: Mapping[str, Sequence[int]] | None = None


def _check_pairs(pairs: Sequence[SummaryPair]) -> dict[str, tuple[str, ...]]:
  """The systems of each level; every document must have all of them."""
  seen: set[tuple[str, str]] = set()
  systems: dict[str, tuple[str, ...]] = {}
  for pair in pairs:
    if pair.level not in LEVELS:
      raise ValueError(f"{pair.id}: unknown level {pair.level!r}")
    if (pair.id, pair.level) in seen:
      raise ValueError(f"{pair.id}: two summaries at the {pair.level} level")
    seen.add((pair.id, pair.level))
    expected = systems.setdefault(pair.level, tuple(pair.systems))
    for named in (pair.systems, pair.systems_without_fillers, pair.measures):
      if named is not None and set(named) != set(expected):
        # Means over different documents would not be comparable.
        raise ValueError(
          f"{pair.id}: at the {pair.level} level its systems are {sorted(named)},"
          f" those of other documents {sorted(expected)}"
        )
  return systems


def _without_fillers(pair: SummaryPair) -> SummaryPair | None:
  """The pair as it counts without fillers; None if its reference is nothing but fillers."""
  if pair.reference_without_fillers is None:
    return pair
  if not pair.reference_without_fillers.strip():
    return None
  systems = pair.systems if pair.systems_without_fillers is None else pair.systems_without_fillers
  return dataclasses.replace(pair, reference=pair.reference_without_fillers, systems=systems)


def _blocks(pairs: Sequence[SummaryPair]) -> dict[str, list[SummaryPair]]:
  """Pairs by key of the results: the levels, and the digest without its fillers."""
  blocks = {level: [p for p in pairs if p.level == level] for level in LEVELS}
  digests = blocks["section"]
  if any(p.reference_without_fillers not in (None, p.reference) for p in digests):
    blocks[WITHOUT_FILLERS] = [q for q in map(_without_fillers, digests) if q is not None]
  return {key: block for key, block in blocks.items() if block}


def _split_by_kind(block: Sequence[SummaryPair]) -> dict[str, list[int]]:
  """Indices of the gold and of the silver references; empty if all are of one kind."""
  kinds = [pair.reference_kind for pair in block]
  if len(set(kinds)) < 2:
    return {}
  return {kind: [i for i, k in enumerate(kinds) if k == kind] for kind in sorted(set(kinds))}


def _measures_of(pair: SummaryPair, key: str, system: str) -> Mapping[str, float | None]:
  """Measures are of whole summaries: there are none for a digest without its fillers."""
  return {} if pair.measures is None or key not in LEVELS else pair.measures[system]


def _mean_measures(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
  """The mean of each measure over the documents that have it; None where none has."""
  names = dict.fromkeys(name for row in rows for name in row)
  values = {name: [row[name] for row in rows if row.get(name) is not None] for name in names}
  return {name: float(np.mean(own)) if own else None for name, own in values.items()}


def compute_results(
  pairs: Sequence[SummaryPair],
  step: int | None,
  split: str,
  importance: Mapping[str, Any] | None = None,
  processes: int = 1,
  bootstrap_samples: int = 1000,
  seed: int = 0,
  progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
  """Scores every system on every document and sums up.

  Args:
    pairs: one a document and level; every document of a level has the same systems.
      A test document that is empty stays in, with empty texts.
    step: of the checkpoint that was evaluated; None where no model took part.
    split: of the documents, or "all".
    importance: {"sentence_auc": 0..1 or None, "labels": "planted" or "oracle",
      "supervised": bool, and what `rankings.summarise_rankings` returns}; None where no
      model took part.
    processes: worker processes for ROUGE; no influence on the numbers.
    bootstrap_samples: resamples of each 95% interval.
    seed: of the bootstrap.
    progress: see `rouge.score_all`.

  Returns:
    The content of results.json, scores 0 to 100, and under "scores" the list of rows
    of scores.jsonl, which `write_results` writes apart:

      {"step", "split", "documents", "systems": {name: {level: {metric: {"f", "low",
       "high"}}}}, "by_reference_kind": {level: {kind: {"documents", "systems": {name:
       {metric: {"f", "low", "high"}}}}}}, "measures": {name: {level: {measure: mean or
       None}}}, "importance",
       "reference_kinds": {level: {kind: documents}}, "documents_per_level": {level:
       documents}, "seed", "bootstrap_samples", "scores"}

    "by_reference_kind" is there only if a level has both kinds, and only of such levels.
    "section_without_fillers" stands beside the levels where any reference has fillers;
    documents whose reference is nothing else are not in it. "measures" is there only if
    pairs have measures; see `text_measures.measure` for what they are.

  Raises:
    ValueError: for two pairs of one document and level, or differing systems.
  """
  systems_of = _check_pairs(pairs)
  blocks = _blocks(pairs)
  # One flat list, so that a process pool starts once.
  jobs = [
    (key, name, pair)
    for key, block in blocks.items()
    for name in systems_of[block[0].level]
    for pair in block
  ]
  scores = rouge.score_all(
    [(pair.reference, pair.systems[name]) for _, name, pair in jobs], processes, progress
  )
  systems: dict[str, dict[str, Any]] = {}
  measures: dict[str, dict[str, Any]] = {}
  by_kind: dict[str, dict[str, Any]] = {}
  start = 0
  for key, block in blocks.items():
    for name in systems_of[block[0].level]:
      own = {metric: values[start : start + len(block)] for metric, values in scores.items()}
      systems.setdefault(name, {})[key] = rouge.summarise(own, bootstrap_samples, seed)
      for kind, chosen in _split_by_kind(block).items():
        part = by_kind.setdefault(key, {}).setdefault(
          kind, {"documents": len(chosen), "systems": {}}
        )
        part["systems"][name] = rouge.summarise(
          {metric: values[chosen] for metric, values in own.items()}, bootstrap_samples, seed
        )
      start += len(block)
      measured = _mean_measures([_measures_of(pair, key, name) for pair in block])
      if measured:
        measures.setdefault(name, {})[key] = measured
  rows = [
    {"id": pair.id, "level": key, "system": name}
    | {metric: float(values[i]) for metric, values in scores.items()}
    | dict(_measures_of(pair, key, name))
    for i, (key, name, pair) in enumerate(jobs)
  ]
  return {
    "step": step,
    "split": split,
    "documents": len({pair.id for pair in pairs}),
    "systems": systems,
    **({"by_reference_kind": by_kind} if by_kind else {}),
    **({"measures": measures} if measures else {}),
    "importance": None if importance is None else dict(importance),
    "reference_kinds": {
      level: dict(sorted(Counter(p.reference_kind for p in blocks[level]).items()))
      for level in LEVELS
      if level in blocks
    },
    "documents_per_level": {key: len(block) for key, block in blocks.items()},
    "seed": seed,
    "bootstrap_samples": bootstrap_samples,
    "scores": rows,
  }


def _to_json(value: Any) -> Any:
  """Plain Python values; a number that is not finite becomes null, as JSON has none."""
  if isinstance(value, Mapping):
    return {str(k): _to_json(v) for k, v in value.items()}
  if isinstance(value, (list, tuple)):
    return [_to_json(v) for v in value]
  if hasattr(value, "__array__"):  # NumPy's and JAX's arrays and scalars
    return _to_json(np.asarray(value).tolist())
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def write_atomically(path: pathlib.Path, lines: Iterable[str]) -> None:
  """Readers see the old file or the whole new one, never a part."""
  temporary = path.with_name(f".{path.name}.{os.getpid()}")
  try:
    # A lone surrogate, legal in JSON input, cannot be encoded; inside a JSON string
    # the backslash form that replaces it is its proper escape.
    with open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
      file.writelines(line + "\n" for line in lines)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except BaseException:
    temporary.unlink(missing_ok=True)
    raise


def _dump(value: Any, indent: int | None = None) -> str:
  return json.dumps(_to_json(value), ensure_ascii=False, allow_nan=False, indent=indent)


def write_results(
  directory: str | os.PathLike,
  results: Mapping[str, Any],
  pairs: Iterable[SummaryPair],
  importance_rows: Iterable[Mapping[str, Any]] | None = None,
  ranking_rows: Iterable[Mapping[str, Any]] | None = None,
) -> None:
  """Writes results.json and the files of JSON lines, each atomically.

  results.json comes last: where it is, the others are complete.

  Args:
    directory: made if it is not there.
    results: of `compute_results`.
    pairs: what was scored, in the order of the lines of predictions.jsonl.
    importance_rows: of `importance_rows.make_row`, for importance.jsonl.
    ranking_rows: of `rankings.make_rows`, for rankings.jsonl. Both None where no model took
      part: there are no such files then.
  """
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  predictions = (
    _dump(
      {
        "id": pair.id,
        "level": pair.level,
        "reference": pair.reference,
        "reference_kind": pair.reference_kind,
        "systems": dict(pair.systems),
        **({} if pair.source is None else {"source": dict(pair.source)}),
        **({} if pair.places is None else {"places": dict(pair.places)}),
      }
    )
    for pair in pairs
  )
  write_atomically(directory / "predictions.jsonl", predictions)
  write_atomically(directory / "scores.jsonl", map(_dump, results.get("scores", ())))
  for name, rows in (("importance.jsonl", importance_rows), ("rankings.jsonl", ranking_rows)):
    if rows is None:
      (directory / name).unlink(missing_ok=True)  # of an earlier evaluation
    else:
      write_atomically(directory / name, map(_dump, rows))
  summary = {key: value for key, value in results.items() if key != "scores"}
  write_atomically(directory / "results.json", [_dump(summary, indent=2)])
