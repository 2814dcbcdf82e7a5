"""A `Document` as one line of JSON and back, losing nothing.

This is the project's own cache format; `jsonl.py` reads the format users bring.
"""

import json
from typing import Any

from htmtl_jax.documents.document import Document, Section


def document_to_json(document: Document) -> str:
  """One line of JSON, the same for equal documents; `document_from_json` inverts it."""
  record: dict[str, Any] = {
    "id": document.id,
    "title": document.title,
    "sections": [
      {"heading": section.heading, "paragraphs": section.paragraphs}
      for section in document.sections
    ],
    "abstract": document.abstract,
    "abstract_labels": document.abstract_labels,
    "summaries": dict(document.summaries),
    "section_summaries": document.section_summaries,
    "paragraphs_are": document.paragraphs_are,
    "planted": None if document.planted is None else sorted(document.planted),
  }
  # ASCII, so that a lone surrogate in the text is no problem for the file.
  return json.dumps(record, ensure_ascii=True)


def document_from_json(line: str) -> Document:
  """The document that `document_to_json` wrote.

  Raises:
    ValueError, KeyError or TypeError: if the line is not of that form.
  """
  record = json.loads(line)
  planted = record["planted"]
  return Document(
    id=record["id"],
    title=record["title"],
    sections=tuple(
      Section(section["heading"], _as_paragraphs(section["paragraphs"]))
      for section in record["sections"]
    ),
    abstract=_as_paragraphs(record["abstract"]),
    abstract_labels=tuple(record["abstract_labels"]),
    summaries={kind: tuple(summary) for kind, summary in record["summaries"].items()},
    section_summaries=_as_paragraphs(record["section_summaries"]),
    paragraphs_are=record["paragraphs_are"],
    planted=None if planted is None else frozenset(tuple(place) for place in planted),
  )


def _as_paragraphs(paragraphs: list[list[str]]) -> tuple[tuple[str, ...], ...]:
  return tuple(tuple(paragraph) for paragraph in paragraphs)
