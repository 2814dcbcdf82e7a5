"""The report of one paper: a self-contained HTML page, made from its record.

It shows the summaries, the paper's text shaded by importance, and what each sentence of a
summary drew on. docs/reports.md says how to read it.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import os
from typing import Any

from htmtl_jax.documents.document import Document
from htmtl_jax.documents.references import MIN_SECTION_WORDS
from htmtl_jax.reports.document_view import build_view, count
from htmtl_jax.reports.page import render_page, write_page
from htmtl_jax.summary_record import make_file_name

INDEX = "index.html"


@dataclasses.dataclass(frozen=True)
class Beside:
  """A text to show beside the summaries: a reference, or what another system says.

  Attributes:
    label: what it is, for people: "The author's abstract", "Reference (gold)", "lead".
    level: "sentence", "paragraph" or "section".
    text: a line a sentence.
  """

  label: str
  level: str
  text: str


@dataclasses.dataclass(frozen=True)
class Link:
  """To another page, from this one: a relative address within the same folders."""

  label: str
  address: str

  def __post_init__(self):
    if ":" in self.address or self.address.startswith(("/", "\\")):
      raise ValueError(f"{self.address}: pages link to what lies beside them only")


LINK_TO_INDEX = Link("All papers", INDEX)


def render_document_report(
  record: Mapping[str, Any], beside: Sequence[Beside] = (), links: Sequence[Link] = ()
) -> str:
  """The page of one paper.

  Args:
    record: as `summary_record.make_record` makes it; it holds the paper's text, too.
    beside: texts to compare the summaries with.
    links: above the title, to pages that this one belongs to.
  """
  title = record["title"] or record["id"]
  context = {
    **build_view(record),
    "beside": beside,
    "links": links,
    "count": count,
    "min_section_words": MIN_SECTION_WORDS,
  }
  return render_page(
    "document.html",
    title,
    context=context,
    styles=("document.css",),
    scripts=("tabs.js", "document.js"),
  )


def write_document_report(
  record: Mapping[str, Any],
  directory: str,
  beside: Sequence[Beside] = (),
  links: Sequence[Link] = (),
) -> str:
  """Writes DIRECTORY/ID.html; returns the path. See `render_document_report`, `write_page`."""
  return write_page(
    report_path(record["id"], directory), render_document_report(record, beside, links)
  )


def report_path(document_id: str, directory: str) -> str:
  """Where the report of a document goes in a folder."""
  return os.path.join(directory, f"{make_file_name(document_id)}.html")


def write_index(records: Sequence[Mapping[str, Any]], directory: str) -> str:
  """Writes DIRECTORY/index.html, the list of the papers whose reports lie there; returns the path."""
  papers = [
    {
      "title": record["title"] or record["id"],
      "id": record["id"],
      "address": f"{make_file_name(record['id'])}.html",
      "sentence": record["summaries"]["sentence"],
      "is_model": record["method"] == "htmtl",
      "size": count(sum(len(s["text"].split()) for s in record["importance"]["sentences"]), "word"),
    }
    for record in records
  ]
  html = render_page(
    "index.html",
    f"{count(len(papers), 'paper')} in one sentence each",
    context={"papers": papers},
    styles=("index.css",),
  )
  return write_page(os.path.join(directory, INDEX), html)


def author_summaries(document: Document) -> list[Beside]:
  """What the author wrote that the model has not read, to compare with."""
  beside = []
  if document.summaries.get("one_sentence"):
    text = "\n".join(document.summaries["one_sentence"])
    beside.append(Beside("The author's one sentence", "sentence", text))
  if document.abstract_sentences:
    text = "\n".join(document.abstract_sentences)
    beside.append(Beside("The author's abstract", "paragraph", text))
  return beside
