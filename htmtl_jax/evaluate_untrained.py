"""Evaluation of systems that need no training, on any corpus and any of its splits.

Nothing is prepared and no checkpoint is opened: documents are read from the source, by
worker processes that also summarise them. The length of summaries is the mean length of
the training references, as for a trained run, so that the numbers stand beside its own.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses

from absl import logging
import numpy as np

from htmtl_jax.data.corpus_builder import count_cores
from htmtl_jax.data.prepared import (
  SPLITS,
  load_prepared,
  prepared_directory,
  word_budgets_from_means,
)
from htmtl_jax.documents.sources import Corpus, Record, open_corpus
from htmtl_jax.errors import UserError
from htmtl_jax.evaluation import learned, parallel
from htmtl_jax.evaluation.publish import make_directory, score_and_publish
from htmtl_jax.evaluation.results import SummaryPair
from htmtl_jax.evaluation.untrained import Comparison, count_reference_words
from htmtl_jax.experiment import check_config
from htmtl_jax.levels import LEVELS

UNTRAINED_DIRECTORY = "untrained"  # in WORKDIR/evaluation, where others are named by step
ALL_SPLITS = "all"


def run_untrained(config, workdir: str, systems: Sequence[str], split: str = "test") -> dict:
  """Evaluates untrained systems and prints the table and an example.

  Args:
    config: names the corpus (`data`) and the settings of the evaluation (`evaluate`).
    workdir: results go to workdir/evaluation/untrained/; a prepared corpus in it, or
      where `data.prepared` says, is asked for the word budgets.
    systems: of `systems.SYSTEMS`, none of them a run's.
    split: "train", "validation", "test" or "all".

  Returns:
    What results.json holds, and the rows of scores.jsonl.

  Raises:
    UserError: for a corpus that cannot be read, or no document to evaluate on.
  """
  check_config(config)
  corpus = open_corpus(config.data)
  directory = make_directory(workdir, UNTRAINED_DIRECTORY)
  splits = SPLITS if split == ALL_SPLITS else (split,)
  extractor = learned.learn_if_asked(config, corpus, workdir, systems, splits)
  counts = Counter(record.split for record in corpus.records())
  word_budgets = _read_word_budgets(config, workdir, corpus)
  if word_budgets is None:
    word_budgets = _count_word_budgets(config, corpus, counts["train"])
  comparison = Comparison(corpus, tuple(systems), word_budgets, extractor, mmr=config.evaluate.mmr)
  pairs, record_of = _compare(config, corpus, counts, comparison, split)
  return score_and_publish(
    config,
    pairs,
    directory,
    None,
    split,
    word_budgets,
    shown=tuple(systems[:1]),
    learned=None if extractor is None else extractor.facts,
    describe=lambda ids: _describe(comparison, {record_of[i]: i for i in ids}),
  )


def _describe(comparison: Comparison, wanted: Mapping[str, str]) -> Iterator[dict]:
  """Reads some documents again and describes them; {id of the record: id in the results}."""
  for record in comparison.corpus.records(tell=False):
    if record.id in wanted:
      yield comparison.describe(record, wanted[record.id])


def _read_word_budgets(config, workdir: str, corpus: Corpus) -> dict[str, int] | None:
  """Of the prepared corpus, if there is one and it was made from this corpus."""
  try:
    prepared = load_prepared(prepared_directory(config, workdir))
  except UserError:
    return None
  same = prepared.statistics["settings"]["corpus"] == corpus.fingerprint
  return prepared.word_budgets if same else None


def _count_word_budgets(config, corpus: Corpus, num_documents: int) -> dict[str, int]:
  """From the references of all training documents."""
  words: dict[str, list[int]] = {level: [] for level in LEVELS}

  def add(counts):
    for by_level in counts:
      for level, count in by_level.items():
        words[level].append(count)

  logging.info("word budgets from %d training documents", num_documents)
  _work(
    config,
    corpus,
    num_documents,
    "measure",
    count_reference_words,
    _chunks(corpus, ("train",)),
    add,
  )
  return word_budgets_from_means(
    {level: float(np.mean(own)) if own else None for level, own in words.items()}
  )


def _compare(
  config, corpus: Corpus, counts: Counter, comparison: Comparison, split: str
) -> tuple[list[SummaryPair], dict[str, str]]:
  """The pairs of every document of a split, or of the first `evaluate.max_documents`.

  Returns:
    (pairs, record_of): and the id of the corpus' record by the id in the pairs.
  """
  splits = SPLITS if split == ALL_SPLITS else (split,)
  total = sum(counts[name] for name in splits)
  if not total:
    raise UserError(corpus.describe_empty(splits[0]))
  limit = config.evaluate.max_documents or total
  compared: list[tuple[str, list[SummaryPair]]] = []
  bad_lines = corpus.bad_lines  # of the pass that told; passes over chunks are silent

  def add(result):
    documents, malformed = result
    for where, reason in malformed:
      bad_lines.add(where, reason)
    compared.extend(documents)

  def enough(chunks):
    for chunk in chunks:
      if len(compared) >= limit:
        return
      yield chunk

  _work(
    config,
    comparison,
    min(total, limit),
    "baselines",
    Comparison.compare,
    enough(_chunks(corpus, splits)),
    add,
  )
  distinct = list(_distinguish([pairs for _, pairs in compared[:limit]]))
  pairs = [pair for own in distinct for pair in own]
  if not pairs:
    raise UserError(
      f"{corpus.describe()}: none of the {len(compared)} documents read has an abstract or another "
      "reference; evaluate on documents that have one"
    )
  record_of = {own[0].id: record for (record, _), own in zip(compared, distinct) if own}
  return pairs, record_of


def _chunks(corpus: Corpus, splits: Sequence[str]) -> Iterator[list[Record]]:
  """The records of some splits in the order of the corpus, few at a time."""
  return parallel.split_into_chunks(
    record for record in corpus.records(tell=False) if record.split in splits
  )


def _work(
  config,
  maker,
  total: int,
  label: str,
  function: Callable,
  chunks: Iterator[list[Record]],
  done: Callable,
) -> None:
  """`parallel.work`, with as many processes as the work is worth."""
  processes = config.data.processes or count_cores()
  if total < parallel.MIN_DOCUMENTS_FOR_WORKERS:
    processes = 1
  parallel.work(maker, function, chunks, done, total, label, processes)


def _distinguish(compared: Sequence[list[SummaryPair]]) -> Iterator[list[SummaryPair]]:
  """Documents with ids of their own: a paper that two splits share is there twice."""
  seen: Counter = Counter()
  for pairs in compared:
    for identifier in {pair.id for pair in pairs}:
      seen[identifier] += 1
      if seen[identifier] > 1:
        new = f"{identifier} ({seen[identifier]})"
        pairs = [dataclasses.replace(pair, id=new) for pair in pairs]
    yield pairs
