"""Evaluation of one checkpoint on one split: decode, compare with the baselines, write down.

Every system summarises the same documents under the same rules and is scored by the
same code; see `htmtl_jax/evaluation/`.
"""

import json
import os

import numpy as np

from htmtl_jax.data.pipeline import PackedSplit
from htmtl_jax.data.prepared import prepare_corpus, prepared_directory
from htmtl_jax.documents.document import Document, iterate_sentences
from htmtl_jax.documents.references import Reference, eligible_sections, make_references
from htmtl_jax.errors import UserError
from htmtl_jax.evaluation.baselines import UNTRAINED, body_scores, extract, oracle_summary
from htmtl_jax.evaluation.importance import mean_sentence_auc, oracle_labels, planted_labels
from htmtl_jax.evaluation.results import SummaryPair, compute_results, write_results
from htmtl_jax.evaluation.rouge import join_sentences
from htmtl_jax.evaluation.saved import EVALUATION
from htmtl_jax.evaluation.terminal import render_examples, render_table
from htmtl_jax.experiment import TrainedRun, open_run
from htmtl_jax.inference import Importances, Inference, Written
from htmtl_jax.progress import Progress


def run_evaluate(config, workdir: str, split: str = "test", checkpoint: str = "best") -> dict:
  """Evaluates a trained run and prints the table and an example.

  Args:
    config: the run's config; its data is prepared again if it is gone.
    workdir: of the run; results go to workdir/evaluation/STEP/.
    split: "validation" or "test".
    checkpoint: "best" (lowest validation loss at the paragraph level), "latest" or a step.

  Returns:
    What results.json holds.
  """
  run = open_run(workdir, checkpoint, config)
  corpus = prepare_corpus(config, prepared_directory(config, workdir))
  if corpus.tokenizer.to_bytes() != run.experiment.tokenizer.to_bytes():
    raise UserError(
      f"the corpus prepared in {corpus.directory} has another vocabulary than the run in {workdir}: "
      "evaluate with the data settings that it was trained with, or set config.data.prepared to "
      "its corpus"
    )
  limit = config.evaluate.max_documents or len(corpus.split(split))
  documents = corpus.documents(split)[:limit]
  tokenized = [corpus.split(split)[i] for i in range(len(documents))]

  written, importances = summarise_split(run, tokenized)
  pairs, judged, labels = compare(run, documents, written, importances)
  auc = mean_sentence_auc(judged)
  importance = {
    "sentence_auc": auc,
    "labels": labels,
    "supervised": config.loss.importance > 0 and config.data.importance_labels,
  }
  texts = sum(len(pair.systems) for pair in pairs)
  with Progress(texts, "score", unit="summary") as progress:
    results = compute_results(
      pairs,
      run.step,
      split,
      importance,
      processes=_processes(config, len(pairs)),
      bootstrap_samples=config.evaluate.bootstrap_samples,
      seed=config.seed,
      progress=_follow(progress),
    )
  directory = os.path.join(workdir, EVALUATION, str(run.step))
  _keep_other_split(directory, split)
  write_results(directory, results, pairs)
  print(render_table(results))
  if config.evaluate.examples:
    print(render_examples(pairs, count=config.evaluate.examples))
  print(f"results: {directory}")
  return results


def summarise_split(run: TrainedRun, tokenized) -> tuple[list[Written], list[Importances]]:
  """Decodes every document of a split: what was written, and its importance, in order."""
  inference = Inference(run)
  config = run.experiment.config
  packed = PackedSplit(tokenized, run.experiment.buckets, config.evaluate.batch_token_rows)
  written: list = [None] * len(tokenized)
  importances: list = [None] * len(tokenized)
  with Progress(len(tokenized), "decode", unit="document") as progress:
    for _, indices, batch, pieces in packed.evaluation_batches(run.experiment.multiple):
      indices = list(indices) + [-1] * (len(pieces) - len(indices))
      rows = [None if i < 0 else tokenized[int(i)] for i in indices]
      texts = inference.write(batch, [0 if row is None else row.num_pieces for row in rows])
      scores = inference.importance(batch, pieces, rows)
      for i, text, score in zip(indices, texts, scores):
        if i >= 0:
          written[int(i)], importances[int(i)] = text, score
      progress.update(sum(row is not None for row in rows))
  return written, importances


def compare(
  run: TrainedRun, documents: list[Document], written: list[Written], importances: list[Importances]
) -> tuple[list[SummaryPair], list[tuple], str]:
  """Puts what every system says of every document beside its reference.

  Returns:
    (pairs, judged, labels): for `compute_results`; (importance, labels, is_heading) by
    document for the AUC; and what the labels are, "planted" or "oracle".
  """
  pairs, judged = [], []
  labels = "planted" if all(d.planted is not None for d in documents) else "oracle"
  with Progress(len(documents), "baselines", unit="document") as progress:
    for document, text, importance in zip(documents, written, importances):
      progress.update()
      references = make_references(document)
      eligible = eligible_sections(document)
      for level, reference in references.items():
        pieces = _system_pieces(run, document, references, level, eligible, text, importance)
        pairs.append(_pair(document, reference, eligible, pieces))
      if labels == "planted":
        truth = planted_labels(document)
      elif "paragraph" in references:
        truth = oracle_labels(document, references["paragraph"].text)
      else:
        continue
      count = len(importance.sentences)  # what truncation left
      headings = np.array([place.is_heading for place in iterate_sentences(document)], bool)[:count]
      judged.append((importance.sentences, truth[:count], headings))
  return pairs, judged, labels


def _system_pieces(run, document, references, level, eligible, text, importance) -> dict[str, list]:
  """Pieces of sentences by system."""
  budget = run.word_budgets[level]
  scores = body_scores(document, importance.sentences)
  pieces = {
    "htmtl": text.pieces[level],
    "htmtl_extractive": extract(
      scores, document, level, budget, eligible, mmr=run.experiment.config.evaluate.mmr
    ),
  }
  for name, scorer in UNTRAINED.items():
    pieces[name] = extract(scorer, document, level, budget, eligible)
  pieces["oracle"] = oracle_summary(document, references, level, eligible)
  return pieces


def _pair(
  document: Document, reference: Reference, eligible, pieces: dict[str, list]
) -> SummaryPair:
  """A `SummaryPair`; at the section level also without the pieces of filler sections."""
  systems = {name: join_sentences(p) for name, p in pieces.items()}
  fillers = [piece.filler for piece in reference.pieces]
  if not any(fillers):
    return SummaryPair(document.id, reference.level, reference.text, reference.kind, systems)
  # Piece j of a system belongs to eligible section j; a piece beyond them to none.
  keep = lambda p: [piece for j, piece in enumerate(p) if j >= len(fillers) or not fillers[j]]
  without = {name: join_sentences(keep(p)) for name, p in pieces.items()}
  return SummaryPair(
    document.id,
    reference.level,
    reference.text,
    reference.kind,
    systems,
    reference_without_fillers=reference.text_without_fillers,
    systems_without_fillers=without,
  )


def _processes(config, num_pairs: int) -> int:
  """Worker processes for ROUGE: starting them pays from a few hundred pairs on."""
  if num_pairs < 600:
    return 1
  return config.data.processes or os.cpu_count() or 1


def _follow(progress: Progress):
  """Adapts (done, total) to `Progress`."""
  seen = 0

  def update(done, total):
    nonlocal seen
    progress.expect(total)
    progress.update(done - seen)
    seen = done

  return update


def _keep_other_split(directory: str, split: str) -> None:
  """Moves the results of another split, if there are any here, to a folder of its name."""
  path = os.path.join(directory, "results.json")
  try:
    with open(path, encoding="utf-8") as f:
      other = json.load(f)["split"]
  except (OSError, ValueError, KeyError):
    return
  if other == split:
    return
  os.makedirs(os.path.join(directory, other), exist_ok=True)
  for name in os.listdir(directory):
    source = os.path.join(directory, name)
    if os.path.isfile(source):
      os.replace(source, os.path.join(directory, other, name))
