"""What a report is made of: blocks with a title, sentences and a table."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from htmtl_jax.human_eval.wording import LEVEL_NAMES, TASK_NAMES

SIMULATED = (
  "SIMULATED. These answers come from a program, to try out the pipeline. They are no judgment of "
  "anybody's and say nothing about the systems."
)
SCORE_NAMES = {"pairwise": "win rate", "best_worst": "best - worst", "likert": "mean rating"}


@dataclasses.dataclass(frozen=True)
class Grid:
  """A table; the first column is text, the others are numbers unless `words` names them.

  Attributes:
    header: of the columns.
    rows: of cells.
    words: places of further columns with text.
  """

  header: tuple[str, ...]
  rows: Sequence[tuple[str, ...]]
  words: frozenset[int] = frozenset()


@dataclasses.dataclass(frozen=True)
class Block:
  """A part of the report.

  Attributes:
    kind: what it is, for those who add to it.
    title: of the part.
    depth: 1 for parts, 2 for parts of parts.
    text: sentences.
    grid: a table, or None.
    source: the piece of the report that it is of.
  """

  kind: str
  title: str
  depth: int
  text: Sequence[str] = ()
  grid: Grid | None = None
  source: Any = None


def family_title(table: Mapping[str, Any]) -> str:
  title = f"{LEVEL_NAMES[table['level']]}: {TASK_NAMES[table['task']]}"
  return title[0].upper() + title[1:]
