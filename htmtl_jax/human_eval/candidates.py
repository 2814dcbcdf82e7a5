"""The summaries that can be judged: systems of evaluated runs, on the same documents.

Runs and systems are named as `--mode=compare` names them. The reference, which a person
wrote, can be judged as a system, too.
"""

from collections.abc import Mapping, Sequence
import dataclasses

from htmtl_jax.errors import UserError
from htmtl_jax.evaluation.comparison import (
  CEILINGS,
  Row,
  check_comparable,
  make_rows,
  read_runs,
)
from htmtl_jax.evaluation.rouge import METRICS
from htmtl_jax.evaluation.saved import (
  read_texts,
)

REFERENCE = "reference"  # the name of the reference as a system


@dataclasses.dataclass(frozen=True)
class Candidates:
  """What raters may be shown.

  Attributes:
    split: of the corpus.
    runs: {"name", "step", "directory"} of each.
    systems: labels, in the order of the user.
    documents: sorted ids that have every level.
    texts: {level: {document: {system: text}}}; sentences separated by newlines.
    references: {level: {document: text}}.
    words: {document: words}, see `words_are`.
    words_are: "words of the paper", or of the reference where that is not known.
    scores: {level: {system: {metric: {document: score}}}} of the evaluation; the reference
      has none.
  """

  split: str
  runs: Sequence[Mapping[str, object]]
  systems: tuple[str, ...]
  documents: tuple[str, ...]
  texts: Mapping[str, Mapping[str, Mapping[str, str]]]
  references: Mapping[str, Mapping[str, str]]
  words: Mapping[str, int]
  words_are: str
  scores: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]


def read_candidates(
  paths: Sequence[str], split: str, levels: Sequence[str], systems: str | None = None
) -> Candidates:
  """Reads what the systems of some runs wrote.

  Args:
    paths: workdirs, or folders of evaluations.
    split: that was evaluated.
    levels: that every document must have.
    systems: "RUN:SYSTEM,SYSTEM,...", "reference" for the reference; None takes all but
      those that have seen the reference.

  Raises:
    UserError: runs that cannot be compared, an unknown system, no document left.
  """
  runs = read_runs(paths, split)
  keys = check_comparable(runs)
  for level in levels:
    if level not in keys:
      raise UserError(
        f"--runs: the {level} level was not evaluated in every run; evaluate it, or set "
        f"--study.design.levels={','.join(k for k in levels if k in keys) or keys[0]}"
      )
  rows = _choose_rows(make_rows(runs, list(levels)), systems)
  written = {run.evaluation.directory: read_texts(run.evaluation.directory) for run in runs}
  first = written[runs[0].evaluation.directory]
  documents = _with_every_level(first, levels)
  texts: dict[str, dict[str, dict[str, str]]] = {}
  for level in levels:
    texts[level] = {i: _texts_of(rows, written, level, i) for i in documents}
  words, words_are = _measure(first, levels, documents)
  return Candidates(
    split,
    [
      {"name": r.name, "step": r.evaluation.step, "directory": r.evaluation.directory} for r in runs
    ],
    tuple(row if isinstance(row, str) else row.label for row in rows),
    documents,
    texts,
    {level: {i: first[level][i]["reference"] for i in documents} for level in levels},
    words,
    words_are,
    {
      level: {row.label: _scores_of(row, level) for row in rows if isinstance(row, Row)}
      for level in levels
    },
  )


def _choose_rows(rows: Sequence[Row], systems: str | None) -> list[Row | str]:
  """The rows that are asked for, in that order; `REFERENCE` stands for itself."""
  if systems is None:
    chosen: list[Row | str] = [row for row in rows if row.system not in CEILINGS]
  else:
    chosen = []
    for name in filter(None, (word.strip() for word in systems.split(","))):
      found = REFERENCE if name == REFERENCE else _find_row(rows, name)
      if found in chosen:
        raise UserError(f"--systems names {name} twice; name every system once")
      chosen.append(found)
  if len(chosen) < 2:
    known = ", ".join([*(row.label for row in rows), REFERENCE])
    raise UserError(
      f"a study compares two systems or more, --systems leaves {len(chosen)}; there are {known}"
    )
  return chosen


def _find_row(rows: Sequence[Row], name: str) -> Row:
  for row in rows:
    if name in row.aliases:
      return row
  # A name without its run is clear where one run has it.
  own = [row for row in rows if row.system == name]
  if len(own) == 1:
    return own[0]
  known = ", ".join([*(row.label for row in rows), REFERENCE])
  raise UserError(f"--systems: {name} is not among the systems; there are {known}")


def _with_every_level(texts: Mapping, levels: Sequence[str]) -> tuple[str, ...]:
  ids = set.intersection(*(set(texts.get(level, {})) for level in levels))
  if not ids:
    raise UserError(
      f"--runs: no document has a reference at every one of the levels {', '.join(levels)}; set "
      "--study.design.levels to fewer of them"
    )
  return tuple(sorted(ids))


def _texts_of(
  rows: Sequence[Row | str], written: Mapping, level: str, identifier: str
) -> dict[str, str]:
  texts = {}
  for row in rows:
    if isinstance(row, str):
      texts[row] = next(iter(written.values()))[level][identifier]["reference"]
      continue
    directory = row.evaluation.directory
    line = written[directory].get(level, {}).get(identifier)
    if line is None or row.system not in line["systems"]:
      raise UserError(
        f"{directory}: predictions.jsonl lacks what {row.system} wrote of {identifier} at the "
        f"{level} level; evaluate again"
      )
    texts[row.label] = line["systems"][row.system]
  return texts


def _scores_of(row: Row, level: str) -> dict[str, dict[str, float]]:
  """ROUGE of one system on each document."""
  documents = row.evaluation.documents[level]
  values = row.evaluation.scores[level][row.system]  # [documents, metrics]
  return {metric: dict(zip(documents, values[:, k].tolist())) for k, metric in enumerate(METRICS)}


def _measure(
  texts: Mapping, levels: Sequence[str], documents: Sequence[str]
) -> tuple[dict[str, int], str]:
  """How long the documents are, and what that is the length of."""
  sources = {i: texts[levels[0]][i].get("source") for i in documents}
  if all(isinstance(own, dict) and type(own.get("words")) is int for own in sources.values()):
    return {i: own["words"] for i, own in sources.items()}, "words of the paper"
  words = {i: sum(len(texts[k][i]["reference"].split()) for k in levels) for i in documents}
  return words, "words of the reference"
