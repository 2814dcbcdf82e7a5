"""Evaluation of one checkpoint on one split: decode, compare with the baselines, write down.

Every system summarises the same documents under the same rules and is scored by the
same code; see `htmtl_jax/evaluation/`.
"""

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np

from htmtl_jax import hosts
from htmtl_jax.data.corpus_builder import count_cores
from htmtl_jax.data.prepared import prepare_corpus, prepared_directory
from htmtl_jax.documents.document import Document, iterate_sentences
from htmtl_jax.documents.sources import open_corpus
from htmtl_jax.errors import UserError
from htmtl_jax.evaluate_lengths import check_length_factors, score_by_length
from htmtl_jax.evaluation import parallel, rankings
from htmtl_jax.evaluation.baselines import body_places
from htmtl_jax.evaluation.importance_rows import make_row
from htmtl_jax.evaluation.learned import LearnedExtractor, learn_if_asked
from htmtl_jax.evaluation.publish import make_directory, score_and_publish
from htmtl_jax.evaluation.systems import DEFAULT_SYSTEMS, LEARNED
from htmtl_jax.evaluation.trained import ComparedDocument, ReadDocument, RunComparison
from htmtl_jax.experiment import TrainedRun, open_run
from htmtl_jax.levels import LEVELS
from htmtl_jax.readings import Reading, describe_reading, read_documents


def run_evaluate(
  config,
  workdir: str,
  split: str = "test",
  checkpoint: str = "best",
  systems: Sequence[str] = DEFAULT_SYSTEMS,
) -> dict:
  """Evaluates a trained run and prints the table and an example.

  Args:
    config: the run's config; its data is prepared again if it is gone.
    workdir: of the run; results go to workdir/evaluation/STEP/.
    split: "validation" or "test".
    checkpoint: "best" (lowest validation loss at the paragraph level), "latest" or a step.
    systems: of `systems.SYSTEMS`, at least one of them the run's.

  Returns:
    What results.json holds, and the rows of scores.jsonl; nothing at a process that is
    not the first.
  """
  run = open_run(workdir, checkpoint, config)
  factors = config.evaluate.length_factors if "htmtl" in systems else ()
  check_length_factors(run, factors)
  corpus = hosts.first_then_others(
    lambda: prepare_corpus(config, prepared_directory(config, workdir))
  )
  if corpus.tokenizer.to_bytes() != run.experiment.tokenizer.to_bytes():
    raise UserError(
      f"the corpus prepared in {corpus.directory} has another vocabulary than the run in {workdir}: "
      "evaluate with the data settings that it was trained with, or set config.data.prepared to "
      "its corpus"
    )
  limit = config.evaluate.max_documents or len(corpus.split(split))
  documents = corpus.documents(split)[:limit]
  tokenized = [corpus.split(split)[i] for i in range(len(documents))]

  directory = hosts.first_then_others(lambda: make_directory(workdir, str(run.step)))
  learned = None
  if LEARNED in systems:
    learned = hosts.first_then_others(
      lambda: learn_if_asked(config, open_corpus(config.data), workdir, systems, (split,))
    )
  readings = read_documents(run, tokenized, write="htmtl" in systems)
  readings, compared, labels = compare(run, documents, readings, systems, learned)
  by_length = score_by_length(run, documents, tokenized, factors)
  if not hosts.is_first():  # the results are in one place, and written once
    hosts.gather(None)
    return {}
  pairs = [pair for own in compared for pair in own.pairs]
  judged = [
    Judged(document, reading, own.matters, own.rankings)
    for document, reading, own in zip(documents, readings, compared, strict=True)
    if own.matters is not None
  ]
  if "htmtl" in systems:  # nothing to compare where the run is not to write
    pairs = [pair for pair in pairs if pair.level in run.experiment.decode_config.levels]
  ranked = [own.rankings for own in judged]
  summary = rankings.summarise_rankings(ranked, config.evaluate.bootstrap_samples, config.seed)
  importance = {
    "sentence_auc": rankings.mean_auc(summary),
    "labels": labels,
    "supervised": config.loss.importance > 0 and config.data.importance_labels,
    **summary,
  }
  results = score_and_publish(
    config,
    pairs,
    directory,
    run.step,
    split,
    run.word_budgets,
    importance,
    shown=("htmtl",) if "htmtl" in systems else systems[:1],
    by_target_length=by_length,
    learned=None if learned is None else learned.facts,
    importance_rows=[_describe_importance(own, labels) for own in judged],
    ranking_rows=rankings.make_rows([own.document.id for own in judged], ranked),
    describe=lambda ids: (
      describe_reading(run, document, reading)
      for document, reading in zip(documents, readings, strict=True)
      if document.id in ids
    ),
  )
  hosts.gather(None)  # the others stay till the end: who leaves early is waited for, then missed
  return results


@dataclasses.dataclass(frozen=True)
class Judged:
  """A document whose important sentences are known.

  Attributes:
    document, reading: it, and what the run made of it.
    matters: [K] bool, of the K sentences that were read.
    rankings: of `rankings.judge_document`.
  """

  document: Document
  reading: Reading
  matters: np.ndarray
  rankings: Mapping[str, Mapping[str, float | None]]


def compare(
  run: TrainedRun,
  documents: list[Document],
  readings: list[Reading | None],
  systems: Sequence[str] = DEFAULT_SYSTEMS,
  learned: LearnedExtractor | None = None,
) -> tuple[list[Reading], list[ComparedDocument], str]:
  """Puts what every system says of every document beside its reference, on all cores.

  Of several hosts each does so for the documents that it has read.

  Returns:
    (readings, compared, labels): of every document, whichever host read it; and where the
    important sentences are from, "planted" or "oracle".
  """
  config = run.experiment.config
  labels = "planted" if all(d.planted is not None for d in documents) else "oracle"
  comparison = RunComparison(tuple(systems), run.word_budgets, config.evaluate.mmr, labels, learned)
  own = {i: reading for i, reading in enumerate(readings) if reading is not None}
  read = (
    ReadDocument(
      documents[i],
      None if reading.written is None else reading.written.pieces,
      reading.importances.sentences,
    )
    for i, reading in own.items()
  )
  compared: list[ComparedDocument] = []
  processes = config.data.processes or count_cores()
  parallel.work(
    comparison,
    RunComparison.compare,
    parallel.split_into_chunks(read),
    compared.extend,
    len(own),
    "baselines",
    1 if len(own) < parallel.MIN_DOCUMENTS_FOR_WORKERS else processes,
  )
  merged = hosts.merge(dict(zip(own, zip(own.values(), compared, strict=True), strict=True)))
  return *map(list, zip(*merged.values(), strict=True)), labels


def _describe_importance(judged: Judged, labels: str) -> dict:
  """A row of importance.jsonl."""
  drawn = judged.reading.drawn
  places = list(iterate_sentences(judged.document))[: len(judged.matters)]
  return make_row(
    judged.document.id,
    labels,
    judged.reading.importances.sentences,
    judged.matters,
    np.array([place.is_heading for place in places], bool),
    num_body=len(body_places(judged.document)),
    attention={} if drawn is None else dict(zip(LEVELS, drawn.mean, strict=True)),
  )
