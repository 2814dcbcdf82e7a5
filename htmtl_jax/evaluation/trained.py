"""A trained run's summaries and importance beside the untrained systems, document by document.

`RunComparison` is what worker processes are sent. It knows no model: what the run has
written, and its importance, arrive ready, so that the workers need no device.
"""

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np

from htmtl_jax.documents.document import Document
from htmtl_jax.documents.references import eligible_sections, make_references
from htmtl_jax.evaluation.baselines import Pieces, body_scores, extract
from htmtl_jax.evaluation.importance import oracle_labels, planted_labels
from htmtl_jax.evaluation.learned import LearnedExtractor
from htmtl_jax.evaluation.rankings import RankedDocument, judge_document
from htmtl_jax.evaluation.results import SummaryPair
from htmtl_jax.evaluation.text_measures import Source
from htmtl_jax.evaluation.untrained import make_pair, summarize_untrained


@dataclasses.dataclass(frozen=True)
class ReadDocument:
  """A document with what the run made of it.

  Attributes:
    document: S sentences, headings included.
    pieces: its summaries by level; None if only importance was asked for.
    importance: [K] of the first K <= S sentences, those that were read.
  """

  document: Document
  pieces: Mapping[str, Pieces] | None
  importance: np.ndarray


@dataclasses.dataclass(frozen=True)
class ComparedDocument:
  """What all systems made of one document.

  Attributes:
    pairs: one a level that has a reference.
    matters: [K] bool, which of the sentences that were read matter; None if it is not known.
    rankings: of `rankings.judge_document`; None likewise.
  """

  pairs: list[SummaryPair]
  matters: np.ndarray | None
  rankings: Mapping[str, Mapping[str, float | None]] | None


def choose_by_importance(
  document: Document,
  importance: np.ndarray,
  level: str,
  word_budget: float,
  eligible: Sequence[int],
  mmr: bool,
) -> Pieces:
  """The extractive summary of one level: importance chooses, within the budget of words.

  Args:
    importance: [K], see `ReadDocument`.
    document, level, word_budget, eligible, mmr: of `baselines.extract`.
  """
  scores = body_scores(document, importance)
  return extract(scores, document, level, word_budget, eligible, mmr=mmr)


@dataclasses.dataclass(frozen=True)
class RunComparison:
  """Compares a run with other systems on documents that it has read.

  Attributes:
    systems: of `systems.SYSTEMS`, in the order of the results.
    word_budgets: by level.
    mmr: of the systems that choose by importance or by what they learnt.
    labels: which sentences matter: the "planted" ones, or those of the "oracle".
    learned: the learned extractor, if it is among the systems.
  """

  systems: tuple[str, ...]
  word_budgets: Mapping[str, float]
  mmr: bool
  labels: str
  learned: LearnedExtractor | None = None

  def compare(self, chunk: Sequence[ReadDocument]) -> list[ComparedDocument]:
    """Lets every system summarise every document, and judges importance."""
    return [self._compare_document(read) for read in chunk]

  def _compare_document(self, read: ReadDocument) -> ComparedDocument:
    document = read.document
    references = make_references(document)
    eligible = eligible_sections(document)
    source = Source.of_document(document)
    learned = None if self.learned is None else self.learned.score(document)
    pairs = []
    for level, reference in references.items():
      pieces = {
        name: self._summarise(name, read, references, level, eligible, learned)
        for name in self.systems
      }
      pairs.append(make_pair(document, source, reference, pieces))
    if self.labels == "planted":
      matters = planted_labels(document)
    elif "paragraph" in references:
      matters = oracle_labels(document, references["paragraph"].text)
    else:
      return ComparedDocument(pairs, None, None)
    matters = matters[: len(read.importance)]  # what truncation left
    ranked = RankedDocument(document, read.importance, matters, learned)
    return ComparedDocument(pairs, matters, judge_document(ranked))

  def _summarise(self, name, read, references, level, eligible, learned) -> Pieces:
    """What one system, trained or not, makes of a document at one level."""
    budget = self.word_budgets[level]
    if name == "htmtl":
      return read.pieces[level]
    if name == "htmtl_extractive":
      return choose_by_importance(read.document, read.importance, level, budget, eligible, self.mmr)
    return summarize_untrained(
      name, read.document, references, level, budget, eligible, learned, self.mmr
    )
