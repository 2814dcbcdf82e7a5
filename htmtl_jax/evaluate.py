"""Evaluation of one checkpoint on one split: decode, compare with the baselines, write down.

Every system summarises the same documents under the same rules and is scored by the
same code; see `htmtl_jax/evaluation/`.
"""

from collections.abc import Sequence

from htmtl_jax.data.corpus_builder import count_cores
from htmtl_jax.data.pipeline import PackedSplit
from htmtl_jax.data.prepared import prepare_corpus, prepared_directory
from htmtl_jax.documents.document import Document
from htmtl_jax.documents.references import eligible_sections, make_references
from htmtl_jax.documents.sources import open_corpus
from htmtl_jax.errors import UserError
from htmtl_jax.evaluation import rankings
from htmtl_jax.evaluation.baselines import Pieces, body_scores, extract
from htmtl_jax.evaluation.importance import oracle_labels, planted_labels
from htmtl_jax.evaluation.learned import LearnedExtractor, learn_if_asked
from htmtl_jax.evaluation.publish import make_directory, score_and_publish
from htmtl_jax.evaluation.results import SummaryPair
from htmtl_jax.evaluation.systems import DEFAULT_SYSTEMS, LEARNED
from htmtl_jax.evaluation.text_measures import Source
from htmtl_jax.evaluation.untrained import make_pair, summarize_untrained
from htmtl_jax.experiment import TrainedRun, open_run
from htmtl_jax.inference import Importances, Inference, Written
from htmtl_jax.progress import Progress


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
    What results.json holds, and the rows of scores.jsonl.
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

  directory = make_directory(workdir, str(run.step))
  learned = None
  if LEARNED in systems:
    learned = learn_if_asked(config, open_corpus(config.data), workdir, systems, (split,))
  written, importances = summarise_split(run, tokenized, write="htmtl" in systems)
  pairs, ranked, labels = compare(run, documents, written, importances, systems, learned)
  judged = rankings.judge_documents(ranked, config.data.processes or count_cores())
  summary = rankings.summarise_rankings(judged, config.evaluate.bootstrap_samples, config.seed)
  importance = {
    "sentence_auc": rankings.mean_auc(summary),
    "labels": labels,
    "supervised": config.loss.importance > 0 and config.data.importance_labels,
    **summary,
  }
  return score_and_publish(
    config,
    pairs,
    directory,
    run.step,
    split,
    run.word_budgets,
    importance,
    shown=("htmtl",) if "htmtl" in systems else systems[:1],
    learned=None if learned is None else learned.facts,
    ranking_rows=rankings.make_rows([own.document.id for own in ranked], judged),
  )


def summarise_split(
  run: TrainedRun, tokenized, write: bool = True
) -> tuple[list[Written | None], list[Importances]]:
  """Decodes every document of a split: what was written, and its importance, in order.

  Without `write` nothing is, which is most of the time saved.
  """
  inference = Inference(run)
  config = run.experiment.config
  packed = PackedSplit(tokenized, run.experiment.buckets, config.evaluate.batch_token_rows)
  written: list = [None] * len(tokenized)
  importances: list = [None] * len(tokenized)
  with Progress(len(tokenized), "decode", unit="document") as progress:
    for _, indices, batch, pieces in packed.evaluation_batches(run.experiment.multiple):
      indices = list(indices) + [-1] * (len(pieces) - len(indices))
      rows = [None if i < 0 else tokenized[int(i)] for i in indices]
      num_pieces = [0 if row is None else row.num_pieces for row in rows]
      texts = inference.write(batch, num_pieces) if write else [None] * len(rows)
      scores = inference.importance(batch, pieces, rows)
      for i, text, score in zip(indices, texts, scores):
        if i >= 0:
          written[int(i)], importances[int(i)] = text, score
      progress.update(sum(row is not None for row in rows))
  return written, importances


def compare(
  run: TrainedRun,
  documents: list[Document],
  written: list[Written | None],
  importances: list[Importances],
  systems: Sequence[str] = DEFAULT_SYSTEMS,
  learned: LearnedExtractor | None = None,
) -> tuple[list[SummaryPair], list[rankings.RankedDocument], str]:
  """Puts what every system says of every document beside its reference.

  Returns:
    (pairs, ranked, labels): for `compute_results`; the documents whose important sentences
    are known; and how they are known, "planted" or "oracle".
  """
  pairs, ranked = [], []
  labels = "planted" if all(d.planted is not None for d in documents) else "oracle"
  with Progress(len(documents), "baselines", unit="document") as progress:
    for document, text, importance in zip(documents, written, importances):
      progress.update()
      references = make_references(document)
      eligible = eligible_sections(document)
      source = Source.of_document(document)
      scores = None if learned is None else learned.score(document)
      for level, reference in references.items():
        pieces = {
          name: _summarise(
            run, name, document, references, level, eligible, text, importance, scores
          )
          for name in systems
        }
        pairs.append(make_pair(document, source, reference, pieces))
      if labels == "planted":
        truth = planted_labels(document)
      elif "paragraph" in references:
        truth = oracle_labels(document, references["paragraph"].text)
      else:
        continue
      kept = truth[: len(importance.sentences)]  # what truncation left
      ranked.append(rankings.RankedDocument(document, importance.sentences, kept, scores))
  return pairs, ranked, labels


def _summarise(
  run, name, document, references, level, eligible, text, importance, learned
) -> Pieces:
  """What one system, trained or not, makes of a document at one level."""
  budget = run.word_budgets[level]
  if name == "htmtl":
    return text.pieces[level]
  mmr = run.experiment.config.evaluate.mmr
  if name == "htmtl_extractive":
    scores = body_scores(document, importance.sentences)
    return extract(scores, document, level, budget, eligible, mmr=mmr)
  return summarize_untrained(name, document, references, level, budget, eligible, learned, mmr)
