"""Summaries of one's own papers: from Python, and for `--mode=summarize`.

A trained run writes; without one there is still the LexRank extract, labelled as such.
Both answer with the same record:

    {id, title, method,
     summaries: {sentence: text, paragraph: text, section: [{heading, text}]},
     extractive: [{id, text}],
     importance: {sections: [{id, heading, importance}], paragraphs: [{id, importance}],
                  sentences: [{id, text, importance}]},
     provenance: [{level, sentence, text, segments: [{id, share}]}],
     truncated_tokens}

Segment ids read "c1.p0.s2": section 1, its first body paragraph, its third sentence;
"c1.h.s0" is the heading. Importance sums to 1 over the sentences, and a paragraph's or
a section's is the sum of its sentences'.
"""

from collections.abc import Sequence
import hashlib
import json
import os
import re
import sys
import textwrap

import numpy as np

from htmtl_jax.data.prepared import DEFAULT_WORD_BUDGETS
from htmtl_jax.data.tokenize import tokenize_document
from htmtl_jax.documents.document import Document, SentencePlace, iterate_sentences
from htmtl_jax.documents.parsers.files import read_papers
from htmtl_jax.documents.references import eligible_sections
from htmtl_jax.errors import UserError
from htmtl_jax.evaluation.baselines import body_places, body_scores, extract
from htmtl_jax.evaluation.ranking import lexrank_scores
from htmtl_jax.experiment import CHECKPOINTS, open_run
from htmtl_jax.inference import Inference
from htmtl_jax.levels import LEVELS
from htmtl_jax.progress import Progress

MAX_SEGMENTS = 5  # sentences named as the source of a summary sentence
MIN_SHARE = 0.02  # of a summary sentence's attention, below which a segment is not named


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
    """The record described at the top of this file.

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
    summaries = {
      "sentence": _text(written.pieces["sentence"]),
      "paragraph": _text(written.pieces["paragraph"]),
      "section": _by_section(document, eligible, written.pieces["section"]),
    }
    return _make_record(
      document,
      "htmtl",
      summaries,
      _find_places(document, chosen),
      _describe_importance(places, importances.sentences),
      _describe_provenance(places, written.pieces, shares),
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
  provenance = []
  for level in LEVELS:
    for i, place in enumerate(_find_places(document, pieces[level])):
      provenance.append(
        {
          "level": level,
          "sentence": i,
          "text": place.text,
          "segments": [{"id": place.sentence_id, "share": 1.0}],
        }
      )
  summaries = {
    "sentence": _text(pieces["sentence"]),
    "paragraph": _text(pieces["paragraph"]),
    "section": _by_section(document, eligible, pieces["section"]),
  }
  return _make_record(
    document,
    "lexrank",
    summaries,
    _find_places(document, pieces["paragraph"]),
    _describe_importance(places, importance),
    provenance,
    0,
  )


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
    output_directory: gets one JSON file a document, if given.
    checkpoint: "best", "latest" or a step.

  Returns:
    The records, in order.
  """
  documents = read_papers(input_path)
  if output_directory:
    try:  # now, not after the first paper
      os.makedirs(output_directory, exist_ok=True)
    except OSError as e:
      raise UserError(
        f"--output={output_directory} cannot be made ({e.strerror}); give a folder"
      ) from e
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
        print(f"written: {write_record(record, output_directory)}\n")
      progress.update()
  if failures and not records:
    raise failures[0]
  return records


def _has_checkpoint(workdir: str) -> bool:
  try:
    return any(name.isdigit() for name in os.listdir(os.path.join(workdir, CHECKPOINTS)))
  except OSError:
    return False


def write_record(record: dict, directory: str) -> str:
  """Writes one record as DIRECTORY/ID.json, atomically; returns the path.

  An id that cannot be a file's name is cleaned, and a digest of it keeps the names apart.
  """
  os.makedirs(directory, exist_ok=True)
  name = re.sub(r"[^\w.-]+", "_", record["id"]).strip("._")[:100]
  if name != record["id"]:
    name = f"{name or 'document'}-{hashlib.sha256(record['id'].encode()).hexdigest()[:8]}"
  path = os.path.join(directory, f"{name}.json")
  temporary = f"{path}.partial"
  with open(temporary, "w", encoding="utf-8") as f:
    json.dump(record, f, ensure_ascii=False, indent=2, allow_nan=False)
  os.replace(temporary, path)
  return path


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


# ------------------------------------------------------------------ parts of a record


def _make_record(
  document, method, summaries, extractive, importance, provenance, num_truncated
) -> dict:
  return {
    "id": document.id,
    "title": document.title,
    "method": method,
    "summaries": summaries,
    "extractive": [{"id": place.sentence_id, "text": place.text} for place in extractive],
    "importance": importance,
    "provenance": provenance,
    "truncated_tokens": int(num_truncated),
  }


def _check_not_empty(document: Document) -> None:
  if not any(not place.is_heading for place in iterate_sentences(document)):
    raise UserError(f"{document.id}: the document has no text to summarise")


def _text(pieces: Sequence[Sequence[str]]) -> str:
  return "\n".join(sentence for piece in pieces for sentence in piece)


def _by_section(document: Document, eligible: Sequence[int], pieces) -> list[dict]:
  """Piece j under the heading of eligible section j; pieces beyond them without one."""
  headings = [document.sections[c].heading for c in eligible]
  headings += [""] * (len(pieces) - len(headings))
  return [{"heading": h, "text": "\n".join(piece)} for h, piece in zip(headings, pieces)]


def _find_places(document: Document, pieces: Sequence[Sequence[str]]) -> list[SentencePlace]:
  """Where extracted sentences stand; each place is used once, so repeated sentences differ."""
  free = body_places(document)
  found = []
  for sentence in (s for piece in pieces for s in piece):
    place = next(place for place in free if place.text == sentence)
    free.remove(place)
    found.append(place)
  return found


def _describe_importance(places: list[SentencePlace], sentences: np.ndarray) -> dict:
  """Importance of every segment; parents are the sums of their sentences'.

  Sentences that truncation cut have importance 0.
  """
  padded = np.zeros(len(places))
  padded[: len(sentences)] = sentences
  paragraphs: dict[str, float] = {}
  sections: dict[str, float] = {}
  headings: dict[str, str] = {}
  for place, value in zip(places, padded):
    paragraphs[place.paragraph_id] = paragraphs.get(place.paragraph_id, 0.0) + float(value)
    sections[place.section_id] = sections.get(place.section_id, 0.0) + float(value)
    headings.setdefault(place.section_id, place.text if place.is_heading else "")
  return {
    "sections": [{"id": i, "heading": headings[i], "importance": v} for i, v in sections.items()],
    "paragraphs": [{"id": i, "importance": v} for i, v in paragraphs.items()],
    "sentences": [
      {"id": place.sentence_id, "text": place.text, "importance": float(value)}
      for place, value in zip(places, padded)
    ],
  }


def _describe_provenance(
  places, pieces_by_level: dict, shares_by_level: list[list[np.ndarray]]
) -> list[dict]:
  """For each summary sentence the sentences of the paper it drew on, largest share first."""
  provenance = []
  for level, shares in zip(LEVELS, shares_by_level):
    sentences = [s for piece in pieces_by_level[level] for s in piece]
    for i, (text, share) in enumerate(zip(sentences, shares)):
      order = np.argsort(-share, kind="stable")[:MAX_SEGMENTS]
      provenance.append(
        {
          "level": level,
          "sentence": i,
          "text": text,
          "segments": [
            {"id": places[j].sentence_id, "share": float(share[j])}
            for rank, j in enumerate(order)
            if rank == 0 or share[j] >= MIN_SHARE
          ],
        }
      )
  return provenance
