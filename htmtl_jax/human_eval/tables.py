"""A report as plain text and as Markdown, and every judgment as a row of CSV."""

from collections.abc import Iterator, Mapping
import csv
import io
import shutil
import textwrap
from typing import Any

import numpy as np

from htmtl_jax.human_eval.block import Block, Grid
from htmtl_jax.human_eval.blocks import make_blocks
from htmtl_jax.human_eval.judgments import Judgments
from htmtl_jax.human_eval.text import escape_markdown, printable


def render_terminal(report: Mapping[str, Any]) -> str:
  """The report for a terminal; lines without a final newline. Tables are as wide as they are."""
  width = max(shutil.get_terminal_size((100, 24)).columns, 60)
  lines = [_title(report), "=" * len(_title(report))]
  for block in make_blocks(report):
    indent = "" if block.depth == 1 else "  "
    lines += ["", f"{indent}{printable(block.title).upper() if block.depth == 1 else block.title}"]
    for line in block.text:
      lines += textwrap.wrap(
        printable(line), width, initial_indent=indent, subsequent_indent=indent + "  "
      )
    if block.grid and block.grid.rows:
      lines += [f"{indent}{line}" for line in _columns(block.grid)]
  return "\n".join(line.rstrip() for line in lines)


def _title(report: Mapping[str, Any]) -> str:
  return ("SIMULATED: " if report["simulated"] else "") + printable(report["title"])


def _columns(grid: Grid) -> list[str]:
  rows = [tuple(map(printable, row)) for row in (grid.header, *grid.rows)]
  widths = [max(len(row[k]) for row in rows) for k in range(len(grid.header))]
  is_text = lambda k: k == 0 or k in grid.words
  return [
    "  "
    + "  ".join(
      cell.ljust(widths[k]) if is_text(k) else cell.rjust(widths[k]) for k, cell in enumerate(row)
    )
    for row in rows
  ]


def render_markdown(report: Mapping[str, Any]) -> str:
  """The report as a Markdown document."""
  lines = [f"# {escape_markdown(_title(report))}"]
  for block in make_blocks(report):
    lines += ["", f"{'#' * (block.depth + 1)} {escape_markdown(_heading(block))}"]
    for line in block.text:
      lines += ["", escape_markdown(line)]
    if block.grid and block.grid.rows:
      lines += ["", *_markdown_rows(block.grid)]
  return "\n".join(lines)


def _heading(block: Block) -> str:
  return block.title[:1].upper() + block.title[1:]


def _markdown_rows(grid: Grid) -> list[str]:
  marks = ["---" if k == 0 or k in grid.words else "---:" for k in range(len(grid.header))]
  row = lambda cells: "| " + " | ".join(map(escape_markdown, cells)) + " |"
  return [row(grid.header), "| " + " | ".join(marks) + " |", *map(row, grid.rows)]


def render_csv(key: Mapping[str, Any], judgments: Judgments) -> Iterator[str]:
  """Every judgment, unblinded, for other programs: lines without their ends.

  "value" is as in `judgments.py`; "against" is the second system of a comparison of two;
  "automatic" marks what follows from equal texts. Repeated questions are not in it.
  """
  line = io.StringIO()
  writer = csv.writer(line, lineterminator="")

  def write(*cells) -> str:
    line.seek(0)
    line.truncate()
    writer.writerow(cells)
    return line.getvalue()

  stratum = {document["id"]: document["stratum"] for document in key["documents"]}
  yield write(
    *("study", "simulated", "level", "task", "criterion", "document", "stratum", "rater"),
    *("system", "against", "value", "automatic"),
  )
  for table in judgments.tables:
    for d, c, r in np.argwhere(~np.isnan(table.values)):
      document, column = judgments.documents[d], table.columns[c]
      yield write(
        key["study"],
        int(judgments.simulated),
        table.level,
        table.task,
        table.criterion,
        document,
        stratum[document],
        judgments.raters[r],
        column[0],
        column[1] if len(column) > 1 else "",
        int(table.values[d, c, r]),
        int(table.automatic[d, c]),
      )
