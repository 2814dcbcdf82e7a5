"""Summaries of one's own papers: from Python, and for `--mode=summarize`.

A trained run writes; without one there is still the LexRank extract, labelled as such.
Both answer with the same record, which `summary_record.py` describes.
"""

from collections.abc import Sequence
import os
import sys
import textwrap

import numpy as np

from htmtl_jax.data.prepared import DEFAULT_WORD_BUDGETS
from htmtl_jax.data.tokenize import tokenize_document
from htmtl_jax.documents.document import Document, iterate_sentences
from htmtl_jax.documents.parsers.files import read_papers
from htmtl_jax.documents.references import MIN_SECTION_WORDS, eligible_sections
from htmtl_jax.errors import UserError
from htmtl_jax.evaluation.baselines import body_places, body_scores, extract
from htmtl_jax.evaluation.ranking import lexrank_scores
from htmtl_jax.experiment import CHECKPOINTS, open_run
from htmtl_jax.inference import Inference
from htmtl_jax.levels import LEVELS
from htmtl_jax.progress import Progress
from htmtl_jax.reports import document_report
from htmtl_jax.reports.page import check_writable
from htmtl_jax.summary_record import SHORT, make_record, write_record


class Summarizer:
  """A trained run, ready to read papers. See `htmtl_jax.load`."""

  def __init__(self, workdir: str, checkpoint: str = "best", config=None):
    """Opens a run.

    Raises:
      UserError: if there is no trained run in `workdir`, or no such checkpoint.
    """
    self._run = open_run(workdir, checkpoint, config)
    self._inference = Inference(self._run)

  def summarize(self, document: Document) -> dict:
    """The record that `summary_record.py` describes.

    Args:
      document: one paper, of any length; what exceeds `data.max_input_tokens` is cut
        and counted in `truncated_tokens`.

    Raises:
      UserError: for a document without any text.
    """
    _check_not_empty(document)
    experiment = self._run.experiment
    # The references are not an input: a paper that brings its abstract is read like any other.
    tokenized = tokenize_document(document, experiment.tokenizer, experiment.limits, references={})
    _, batch, index = self._inference.pack_one(tokenized)
    # A section that truncation cut off altogether gets no piece: nothing was read of it.
    places = list(iterate_sentences(document))
    read = {p.section for p in places[: len(tokenized.sentence_lengths)] if not p.is_heading}
    eligible = tuple(c for c in eligible_sections(document) if c in read)
    num_pieces = [len(eligible)] + [0] * (experiment.multiple - 1)
    written = self._inference.write(batch, num_pieces)[0]
    importances, shares = self._inference.explain(tokenized, batch, index, written)

    scores = body_scores(document, importances.sentences)
    chosen = extract(
      scores,
      document,
      "paragraph",
      self._run.word_budgets["paragraph"],
      eligible,
      mmr=experiment.config.evaluate.mmr,
    )
    return make_record(
      document,
      "htmtl",
      written.pieces,
      eligible,
      importances.sentences,
      chosen,
      shares,
      tokenized.num_truncated,
    )


def summarize_without_model(document: Document) -> dict:
  """The LexRank extract in the same record; its centralities stand as importance.

  Raises:
    UserError: for a document without any text.
  """
  _check_not_empty(document)
  eligible = eligible_sections(document)
  budgets = DEFAULT_WORD_BUDGETS
  pieces = {
    level: extract(lexrank_scores, document, level, budgets[level], eligible) for level in LEVELS
  }
  places = list(iterate_sentences(document))
  body = lexrank_scores([place.text for place in body_places(document)])
  importance = np.zeros(len(places))
  importance[[i for i, place in enumerate(places) if not place.is_heading]] = body / max(
    body.sum(), 1e-9
  )
  return make_record(document, "lexrank", pieces, eligible, importance, pieces["paragraph"])


def run_summarize(
  config,
  workdir: str | None,
  input_path: str,
  output_directory: str | None = None,
  checkpoint: str = "best",
) -> list[dict]:
  """Reads a paper or a folder of papers and prints the summaries of each.

  Args:
    config: in place of the run's saved one, or None.
    workdir: of a trained run; None or one without a checkpoint gives the LexRank extract.
    input_path: a file or a folder.
    output_directory: gets each document's record (ID.json) and report (ID.html), and a list
      of the papers (index.html) if there are more than one.
    checkpoint: "best", "latest" or a step.

  Returns:
    The records, in order.

  Raises:
    UserError: nothing to read, a folder that cannot be written, or one with pages of
      somebody else where the reports belong.
  """
  if workdir and not os.path.isdir(workdir):
    raise UserError(
      f"--workdir={workdir}: no such folder; give that of a trained run, or leave it out for an "
      "extract without a model"
    )
  documents = read_papers(input_path)
  if output_directory:
    _prepare_output(output_directory, documents)
  if workdir and _has_checkpoint(workdir):
    summarize = Summarizer(workdir, checkpoint, config).summarize
    print("compiling the model for the first paper, and for each larger size", file=sys.stderr)
  else:
    where = (
      f"no trained model in {workdir}" if workdir else "no --workdir with a trained model given"
    )
    if workdir:  # a mistyped folder should not look like success
      print(f"htmtl_jax: warning: {where}; LexRank extracts instead", file=sys.stderr)
    print(f"{where}: sentences chosen by LexRank, nothing is written by a model\n")
    summarize = summarize_without_model

  records, failures = [], []
  with Progress(len(documents), "summarise", unit="document") as progress:
    for document in documents:
      try:
        record = summarize(document)
      except UserError as error:
        failures.append(error)
        progress.say(f"skipped: {error}")
        continue
      records.append(record)
      print(render_record(record), flush=True)
      if output_directory:
        print(f"written: {write_record(record, output_directory)}")
        links = [document_report.LINK_TO_INDEX] if len(documents) > 1 else []
        beside = document_report.author_summaries(document)
        path = document_report.write_document_report(record, output_directory, beside, links)
        print(f"report: {path}\n", flush=True)
      progress.update()
  if failures and not records:
    raise failures[0]
  if output_directory and len(documents) > 1:
    print(f"all reports: {document_report.write_index(records, output_directory)}")
  return records


def _prepare_output(directory: str, documents: Sequence[Document]) -> None:
  """Makes the folder, and sees that everything can be written, before anything takes time."""
  try:
    os.makedirs(directory, exist_ok=True)
  except OSError as e:
    raise UserError(f"--output={directory} cannot be made ({e.strerror}); give a folder") from e
  for document in documents:
    check_writable(document_report.report_path(document.id, directory))
  if len(documents) > 1:
    check_writable(os.path.join(directory, document_report.INDEX))


def _has_checkpoint(workdir: str) -> bool:
  try:
    return any(name.isdigit() for name in os.listdir(os.path.join(workdir, CHECKPOINTS)))
  except OSError:
    return False


def render_record(record: dict, width: int = 100) -> str:
  """The record for a terminal: three summaries and the extract."""
  wrap = lambda text, indent="  ": "\n".join(
    textwrap.fill(line, width, initial_indent=indent, subsequent_indent=indent) or indent
    for line in (text or "(nothing)").split("\n")
  )
  label = "" if record["method"] == "htmtl" else " (LexRank extract, no trained model)"
  lines = ["=" * width, (record["title"] or record["id"]) + label, "=" * width]
  lines += ["", "In one sentence", wrap(record["summaries"]["sentence"])]
  lines += ["", "In one paragraph", wrap(record["summaries"]["paragraph"].replace("\n", " "))]
  lines += ["", "Section by section"]
  for piece in record["summaries"]["section"]:
    lines += [
      f"  {piece['heading'] or '(no heading)'}",
      wrap(piece["text"].replace("\n", " "), "    "),
    ]
  if record["left_out"]:
    lines.append(wrap(_describe_left_out(record["left_out"])))
  lines += ["", "Most important sentences of the paper, in its own words"]
  shares = {s["id"]: s["importance"] for s in record["importance"]["sentences"]}
  for sentence in record["extractive"]:
    lines.append(wrap(f"[{sentence['id']}, {shares[sentence['id']]:.1%}] {sentence['text']}"))
  if record["truncated_tokens"]:
    lines += [
      "",
      f"The last {record['truncated_tokens']:,} tokens exceed data.max_input_tokens "
      "and were not read.",
    ]
  return "\n".join(lines) + "\n"


def _describe_left_out(sections: Sequence[dict]) -> str:
  """The sections that the digest does not speak of, by reason."""
  names: dict[str, list[str]] = {}
  for section in sections:
    name = section["heading"] or f"section {int(section['id'][1:]) + 1}"
    if section["reason"] == SHORT:
      name += f" ({section['words']})"
    names.setdefault(section["reason"], []).append(name)
  labels = {SHORT: f"under {MIN_SECTION_WORDS} words"}
  reasons = [f"{labels.get(reason, reason)}: {', '.join(group)}" for reason, group in names.items()]
  return f"(left out, {'; '.join(reasons)})"


def _check_not_empty(document: Document) -> None:
  if not any(not place.is_heading for place in iterate_sentences(document)):
    raise UserError(f"{document.id}: the document has no text to summarise")
