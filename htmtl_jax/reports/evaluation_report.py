"""The report of an evaluation: tables, charts, and the documents worth looking at.

    DIRECTORY/report.html            this page
    DIRECTORY/documents/ID.html      reports of single documents that it links to

Made from the evaluation's files alone (`evaluation_data.py`), so it can be made again
later; only the reports of documents need what the evaluation has at hand.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
import os
from typing import Any
from urllib.parse import quote

import numpy as np

from htmtl_jax.evaluation.rouge import METRICS
from htmtl_jax.evaluation.systems import CEILINGS
from htmtl_jax.levels import LEVELS
from htmtl_jax.progress import Progress
from htmtl_jax.reports.document_report import Beside, Link, report_path, write_document_report
from htmtl_jax.reports.evaluation_asked_lengths import asked_lengths_section
from htmtl_jax.reports.evaluation_charts import (
  distributions_section,
  lengths_section,
  positions_section,
)
from htmtl_jax.reports.evaluation_data import (
  RANKED_BY,
  EvaluationData,
  rank_documents,
  read_evaluation_data,
  read_texts,
)
from htmtl_jax.reports.evaluation_importance import importance_section
from htmtl_jax.reports.evaluation_tables import (
  ORDER,
  SHOWN_METRIC,
  Section,
  describe_documents,
  format_difference,
  label_of,
  measures_section,
  ordered_keys,
  scores_section,
)
from htmtl_jax.reports.page import is_own_page, render_page, write_page

REPORT_FILE = "report.html"
DOCUMENTS = "documents"

# Makes the records (`summary_record.py`) of the documents with these ids.
Describe = Callable[[Collection[str]], Iterable[Mapping[str, Any]]]

# The parts of the page that speak of all documents, in order. One that has nothing to show
# returns None. A new part is a function here and a template.
SECTIONS: tuple[Callable[[EvaluationData], Section | None], ...] = (
  scores_section,
  measures_section,
  distributions_section,
  lengths_section,
  asked_lengths_section,
  positions_section,
  importance_section,
)
_DEFAULT_SHOWN = 5  # best, and as many worst documents, where none has a report


def write_evaluation_report(
  directory: str,
  reports: int = 0,
  examples: Sequence[str] = (),
  describe: Describe | None = None,
) -> str:
  """Writes DIRECTORY/report.html and the reports of documents; returns its path.

  Args:
    directory: that holds the files of an evaluation.
    reports: so many best and so many worst documents get a report of their own; -1 for
      all documents, 0 for none.
    examples: ids of documents that get one in any case, unless `reports` is 0.
    describe: makes records; None leaves the reports of documents as they are.

  Raises:
    UserError: files that are missing or damaged, or a page that cannot be written.
  """
  data = read_evaluation_data(directory)
  if describe is not None:
    _write_documents(data, _choose(data, reports, examples), describe)
  return write_page(os.path.join(directory, REPORT_FILE), render_evaluation_report(data, reports))


def render_evaluation_report(data: EvaluationData, reports: int = 0) -> str:
  """The page; links to the reports of documents that are there."""
  sections = [section for make in SECTIONS if (section := make(data)) is not None]
  documents = _documents_section(data, reports if reports > 0 else _DEFAULT_SHOWN)
  sections += [documents] if documents is not None else []
  sections.append(_method_section(data))
  return render_page(
    "evaluation.html",
    _title(data),
    context={
      "where": f"The same documents for all: {', '.join(data.systems)}.",
      "facts": _make_facts(data),
      "sections": sections,
    },
    styles=("charts.css",),
    scripts=("tabs.js",),
  )


def _title(data: EvaluationData) -> str:
  split = str(data.results["split"])
  where = "all splits" if split == "all" else f"the {split} split"
  step = data.results["step"]
  return f"Evaluation on {where}" + ("" if step is None else f", step {step:,}")


# ---------------------------------------------------------------------------- facts


def _fact(name: str, value: str, note: str = "") -> dict[str, str]:
  return {"name": name, "value": value, "note": note}


def _make_facts(data: EvaluationData) -> list[dict[str, str]]:
  facts = [_fact("Documents", f"{data.results['documents']:,}", str(data.results["split"]))]
  key = next((key for key in ORDER if key in data.keys), None)
  if key is not None and data.first in data.columns[key]:
    systems = data.comparison["levels"][key]["systems"]
    own = systems[data.first]["metrics"]
    for metric in METRICS[:2] + METRICS[3:]:
      cell = own[metric]
      note = f"{cell['low']:.1f} to {cell['high']:.1f}; {data.first}, {key}"
      facts.append(_fact(metric, f"{cell['f']:.1f}", note))
    others = [
      (system["metrics"][SHOWN_METRIC], name)
      for name, system in systems.items()
      if name != data.first and name not in CEILINGS
    ]
    if others:
      cell, name = max(others, key=lambda item: item[0]["f"])
      note = f"{data.first} against {name}, the best of the others; " + (
        "significant" if cell["significant"] else "not significant"
      )
      facts.append(_fact(f"{SHOWN_METRIC} ahead", format_difference(-cell["difference"], 1), note))
  auc = (data.results.get("importance") or {}).get("sentence_auc")
  if auc is not None:
    facts.append(_fact("Importance, AUC", f"{auc:.3f}", "0.5 by chance"))
  return facts


# ------------------------------------------------------------------------ documents


def _choose(data: EvaluationData, reports: int, examples: Sequence[str]) -> list[str]:
  """The documents that get a report."""
  everything = list(dict.fromkeys(i for key in data.keys for i in data.documents[key]))
  if reports == 0:
    return []
  if reports < 0:
    return everything
  ranked = rank_documents(data)
  known = set(everything)
  wanted = [*ranked[:reports], *ranked[-reports:], *(i for i in examples if i in known)]
  return list(dict.fromkeys(wanted))


def _write_documents(data: EvaluationData, ids: Sequence[str], describe: Describe) -> None:
  """Writes the reports of some documents, and removes those of an earlier evaluation."""
  folder = os.path.join(data.directory, DOCUMENTS)
  written = set()
  if ids:
    texts = read_texts(data.directory, set(ids))
    links = [Link("The evaluation", f"../{REPORT_FILE}#documents")]
    with Progress(len(ids), "reports", unit="document") as progress:
      for record in describe(set(ids)):
        beside = _texts_beside(data, texts.get(record["id"], {}))
        written.add(write_document_report(record, folder, beside=beside, links=links))
        progress.update()
  _remove_others(folder, {os.path.basename(path) for path in written})


def _texts_beside(data: EvaluationData, by_level: Mapping[str, Mapping[str, Any]]) -> list[Beside]:
  """The references of a document, and what the other systems wrote."""
  beside = []
  for level in LEVELS:
    line = by_level.get(level)
    if line is None:
      continue
    beside.append(Beside(f"Reference ({line['reference_kind']})", level, line["reference"]))
    beside += [
      Beside(name, level, line["systems"][name])
      for name in data.systems
      if name != data.first and name in line["systems"]
    ]
  return beside


def _remove_others(folder: str, kept: Collection[str]) -> None:
  """Removes our own pages that are not among these; leaves what anybody else put there."""
  try:
    names = os.listdir(folder)
  except OSError:
    return
  for name in names:
    path = os.path.join(folder, name)
    if name in kept or not name.endswith(".html") or not os.path.isfile(path):
      continue
    with open(path, "rb") as file:
      own = is_own_page(file.read(1024))
    if own:
      os.remove(path)


def _documents_section(data: EvaluationData, shown: int) -> Section | None:
  """The best and the worst documents; further ones that have a report."""
  ranked = rank_documents(data)
  if not ranked:
    return None
  best = ranked[:shown]
  worst = [i for i in reversed(ranked[-shown:]) if i not in best]
  texts = read_texts(data.directory, {*best, *worst})
  key, metric = RANKED_BY
  row_of = {identifier: row for row, identifier in enumerate(data.documents[key])}
  hrefs = {i: _find_page(data, i) for i in ranked}
  describe = lambda i: _describe_document(data, i, row_of[i], hrefs[i], texts.get(i, {}))
  others = [i for i in ranked if hrefs[i] and i not in best and i not in worst]
  return Section(
    "documents",
    "Best and worst documents",
    "evaluation_documents.html",
    {
      "first": data.first,
      "metric": metric,
      "level": key,
      "best": [describe(i) for i in best],
      "worst": [describe(i) for i in worst],
      "others": [describe(i) for i in others],
      "has_pages": any(hrefs.values()),
    },
  )


def _find_page(data: EvaluationData, identifier: str) -> str | None:
  """The relative address of a document's report, if there is one."""
  path = report_path(identifier, os.path.join(data.directory, DOCUMENTS))
  return f"{DOCUMENTS}/{quote(os.path.basename(path))}" if os.path.isfile(path) else None


def _describe_document(
  data: EvaluationData,
  identifier: str,
  row: int,
  href: str | None,
  texts: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
  key, metric = RANKED_BY
  columns = data.columns[key]
  facts = [f"{metric} {columns[data.first][metric][row]:.1f}"]
  others = [(columns[n][metric][row], n) for n in data.present(key) if n != data.first]
  rivals = [other for other in others if other[1] not in CEILINGS]
  if rivals:
    value, name = max(rivals)
    facts.append(f"{name} {value:.1f}")
  facts += [f"{name} {value:.1f}" for value, name in others if name in CEILINGS]
  if np.isfinite(data.source_words[key][row]):
    facts.append(f"{data.source_words[key][row]:,.0f} words")
  title = data.titles.get(identifier, "")
  if title:
    facts.append(identifier)
  shown = []
  for level in (key for key in ordered_keys(data) if key in texts):
    kind = texts[level]["reference_kind"]
    for label, text in (
      (f"reference ({kind})", texts[level]["reference"]),
      (data.first, texts[level]["systems"].get(data.first, "")),
    ):
      shown.append({"label": f"{label_of(level)}, {label}", "text": text})
  return {"name": title or identifier, "href": href, "facts": " · ".join(facts), "texts": shown}


# --------------------------------------------------------------------------- method


def _method_section(data: EvaluationData) -> Section:
  """How the numbers were made."""
  results = data.results
  budgets = results.get("word_budgets") or {}
  entries = [
    {"name": label_of(key), "value": f"{describe_documents(data, key)}."}
    for key in ordered_keys(data)
  ]
  if budgets:
    words = ", ".join(f"{level} {words:,}" for level, words in budgets.items())
    entries.append(
      {
        "name": "Words that systems choosing sentences were given",
        "value": f"{words}: the mean of the training references.",
      }
    )
  entries += [
    {
      "name": "Intervals",
      "value": f"95% percentile bootstrap over documents, {results.get('bootstrap_samples', 0):,} "
      f"samples, seed {data.seed}.",
    },
    {
      "name": "Tests",
      "value": f"Paired {data.comparison['test']}, {data.comparison['samples']:,} samples, seed "
      f"{data.comparison['seed']}; Holm’s correction over the comparisons of a level.",
    },
    {
      "name": "Files beside this page",
      "value": "results.json has the numbers of the tables, scores.jsonl those of every document, "
      "predictions.jsonl the texts.",
    },
  ]
  return Section("method", "How this was made", "evaluation_method.html", {"entries": entries})
