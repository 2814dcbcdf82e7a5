"""The report beside a dataset: what was met in each split, for people and for programs."""

from collections.abc import Mapping
import dataclasses
import json
import os
from typing import Any

from htmtl_jax.datasets.examples import SplitReport

JSON_FILE = "repairs.json"
MARKDOWN_FILE = "REPAIRS.md"


def write_reports(
  folder: str, title: str, facts: Mapping[str, str], reports: Mapping[str, SplitReport]
) -> None:
  """Writes both files.

  Args:
    folder: where the dataset is.
    title: its name and version.
    facts: further lines for the head, by name.
    reports: by split.
  """
  record = {"dataset": title, **facts, "splits": {s: _to_json(r) for s, r in reports.items()}}
  with open(os.path.join(folder, JSON_FILE), "w", encoding="utf-8") as file:
    json.dump(record, file, indent=2)
    file.write("\n")
  with open(os.path.join(folder, MARKDOWN_FILE), "w", encoding="utf-8") as file:
    file.write(format_markdown(title, facts, reports))


def format_markdown(
  title: str, facts: Mapping[str, str], reports: Mapping[str, SplitReport]
) -> str:
  """A table of counts by split, each with its meaning."""
  lines = [f"# {title}", ""]
  lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in facts.items()]
  lines += [
    "",
    f"| count | {' | '.join(reports)} | of |",
    f"| --- |{' ---: |' * len(reports)} --- |",
  ]
  for name, (values, meaning) in _collect(reports).items():
    cells = " | ".join(f"{value:,}" for value in values)
    lines.append(f"| {name.replace('_', ' ')} | {cells} | {meaning} |")
  return "\n".join(lines) + "\n"


def _to_json(report: SplitReport) -> dict[str, Any]:
  record = dataclasses.asdict(report)
  if report.repairs is None:
    del record["repairs"]
  return record


def _collect(reports: Mapping[str, SplitReport]) -> dict[str, tuple[list[int], str]]:
  """Count by count: the values of all splits, and what is counted."""
  rows = {}
  parts = [list(reports.values())]
  if all(report.repairs is not None for report in reports.values()):
    parts.append([report.repairs for report in reports.values()])
  for part in parts:
    for field in dataclasses.fields(part[0]):
      if "meaning" in field.metadata:
        values = [getattr(item, field.name) for item in part]
        rows[field.name] = (values, field.metadata["meaning"])
  return rows
