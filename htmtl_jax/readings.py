"""What a trained run makes of the documents of a split: summaries, importance, their sources.

Batch by batch, so that a whole test set is read; what is kept of a document is small.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np

from htmtl_jax import hosts
from htmtl_jax.data.pipeline import PackedSplit
from htmtl_jax.data.tokenized import TokenizedDocument
from htmtl_jax.documents.document import Document
from htmtl_jax.documents.references import eligible_sections
from htmtl_jax.evaluation.baselines import Pieces
from htmtl_jax.evaluation.trained import choose_by_importance
from htmtl_jax.experiment import TrainedRun
from htmtl_jax.inference import Importances, Inference, Written
from htmtl_jax.levels import LEVELS
from htmtl_jax.progress import Progress
from htmtl_jax.sharding import host_part
from htmtl_jax.summary_record import MAX_SEGMENTS, make_record


@dataclasses.dataclass(frozen=True)
class Drawn:
  """What the summaries of one document drew on; K sentences of it were read.

  Attributes:
    largest: by level, for each summary sentence the (indices, shares) of the at most
      `MAX_SEGMENTS` sentences it drew on most.
    mean: by level, [K] float32, the mean share over the summary's sentences; None where
      nothing was written.
  """

  largest: tuple[tuple[tuple[np.ndarray, np.ndarray], ...], ...]
  mean: tuple[np.ndarray | None, ...]

  @classmethod
  def of(cls, shares: Sequence[Sequence[np.ndarray]]) -> "Drawn":
    """From the whole shares of `Inference.explain_batch`."""
    largest, mean = [], []
    for own in shares:
      orders = [np.argsort(-share, kind="stable")[:MAX_SEGMENTS] for share in own]
      largest.append(tuple((i, share[i]) for i, share in zip(orders, own, strict=True)))
      mean.append(np.mean(own, axis=0).astype(np.float32) if len(own) else None)
    return cls(tuple(largest), tuple(mean))

  def expand(self, count: int) -> list[list[np.ndarray]]:
    """By level, an array over the `count` read sentences for each summary sentence."""
    expanded = []
    for level in self.largest:
      rows = np.zeros((len(level), count))
      for row, (indices, shares) in zip(rows, level, strict=True):
        row[indices] = shares
      expanded.append(list(rows))
    return expanded


@dataclasses.dataclass(frozen=True)
class Reading:
  """What the run made of one document.

  Attributes:
    written: its summaries; None if only importance was asked for.
    importances: of its segments.
    drawn: what the summaries drew on; None if that was not asked for.
    num_truncated: tokens that were not read.
  """

  written: Written | None
  importances: Importances
  drawn: Drawn | None
  num_truncated: int


def read_documents(
  run: TrainedRun,
  tokenized: Sequence[TokenizedDocument],
  write: bool = True,
  explain: bool = True,
  target_words: Sequence[int] | None = None,
) -> list[Reading | None]:
  """Reads every document of a split, in order; of several hosts each a part.

  Without `write` nothing is decoded, which is most of the time saved; without `explain`
  what the summaries drew on is not looked up. `target_words` by level stand in for
  `decode.target_words`.

  Returns:
    For each document what was made of it; None where another host read it.
  """
  inference = Inference(run)
  config = run.experiment.config
  packed = PackedSplit(tokenized, run.experiment.buckets, config.evaluate.batch_token_rows)
  readings: list = [None] * len(tokenized)
  hosts.meet()  # the first may be scoring what was read before
  with Progress(len(tokenized), "decode", unit="document") as progress:
    part = host_part(run.experiment.mesh)
    for _, indices, batch, pieces in packed.evaluation_batches(run.experiment.multiple, *part):
      rows = [None if i < 0 else tokenized[int(i)] for i in indices]
      if write:
        num_pieces = [0 if row is None else row.num_pieces for row in rows]
        written = inference.write(batch, num_pieces, target_words)
      else:
        written = [None] * len(rows)
      if write and explain:
        explained = inference.explain_batch(rows, batch, pieces, written)
      else:
        importances = inference.importance(batch, pieces, rows)
        explained = [None if own is None else (own, None) for own in importances]
      for i, row, text, own in zip(indices, rows, written, explained, strict=True):
        if row is not None:
          importance, shares = own
          drawn = None if shares is None else Drawn.of(shares)
          readings[int(i)] = Reading(text, importance, drawn, row.num_truncated)
      progress.update(sum(row is not None for row in rows))
  return readings


def choose_sentences(
  run: TrainedRun, document: Document, reading: Reading, level: str, eligible: Sequence[int]
) -> Pieces:
  """The extractive summary of one level: importance chooses, within the run's budget of words."""
  return choose_by_importance(
    document,
    reading.importances.sentences,
    level,
    run.word_budgets[level],
    eligible,
    run.experiment.config.evaluate.mmr,
  )


def describe_reading(run: TrainedRun, document: Document, reading: Reading) -> dict:
  """The record of `summary_record.py`; the extractive summaries where nothing was written."""
  eligible = eligible_sections(document)
  chosen = {
    level: choose_sentences(run, document, reading, level, eligible)
    for level in (LEVELS if reading.written is None else ("paragraph",))
  }
  importance = reading.importances.sentences
  return make_record(
    document,
    "htmtl_extractive" if reading.written is None else "htmtl",
    chosen if reading.written is None else reading.written.pieces,
    eligible,
    importance,
    chosen["paragraph"],
    None if reading.drawn is None else reading.drawn.expand(len(importance)),
    reading.num_truncated,
  )
