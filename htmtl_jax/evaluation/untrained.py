"""What the untrained systems make of documents, beside the references.

`Comparison` is what worker processes are sent: records in, `SummaryPair`s out. A pair
depends on its document and the settings alone, so it is the same whoever makes it.
"""

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np

from htmtl_jax.documents.document import Document, iterate_sentences
from htmtl_jax.documents.references import Reference, eligible_sections, make_references
from htmtl_jax.documents.sources import Corpus, Record
from htmtl_jax.evaluation import extractors
from htmtl_jax.evaluation.baselines import (
  UNTRAINED,
  Pieces,
  Scorer,
  body_places,
  extract,
  find_sentences,
  oracle_summary,
)
from htmtl_jax.evaluation.learned import LearnedExtractor
from htmtl_jax.evaluation.results import SummaryPair
from htmtl_jax.evaluation.rouge import join_sentences
from htmtl_jax.evaluation.systems import CEILINGS, LEARNED, WRITERS
from htmtl_jax.evaluation.text_measures import Source, measure
from htmtl_jax.levels import LEVELS
from htmtl_jax.summary_record import make_record

_SCORERS: Mapping[str, Scorer] = {
  **UNTRAINED,
  "textrank": extractors.textrank_scores,
  "lsa": extractors.lsa_scores,
  "sumbasic": extractors.sumbasic_scores,
}
_CENTRALITIES = ("lexrank", "textrank")  # their scores are shares of a whole


def summarize_untrained(
  name: str,
  document: Document,
  references: Mapping[str, Reference],
  level: str,
  word_budget: float,
  eligible: Sequence[int],
  learned: np.ndarray | None = None,
  mmr: bool = True,
) -> Pieces:
  """What an untrained system makes of a document at one level.

  Args:
    name: of `systems.SYSTEMS`, but none of `systems.TRAINED`.
    document: what to summarise.
    references: by level; only the oracle looks at them.
    level: of `LEVELS`.
    word_budget: see `baselines.extract`.
    eligible: the sections that get a piece at the section level.
    learned: [B] scores of the body sentences by the learned extractor, if that is the name.
    mmr: of `baselines.extract`, for the learned extractor, as for a run's own choice; the
      others are what their sources describe.
  """
  if name == LEARNED:
    return extract(learned, document, level, word_budget, eligible, mmr=mmr)
  if name == "oracle":
    return oracle_summary(document, references, level, eligible)
  scorer = extractors.random_scorer(document.id) if name == "random" else _SCORERS[name]
  return extract(scorer, document, level, word_budget, eligible)


def make_pair(
  document: Document, source: Source, reference: Reference, pieces: Mapping[str, Pieces]
) -> SummaryPair:
  """Puts what the systems made of a document at one level beside its reference.

  At the section level also without the pieces of filler sections.

  Args:
    document: what was summarised.
    source: of the document, for the measures of the texts.
    reference: at the level.
    pieces: by system, one for each eligible section at the section level.
  """
  systems = {name: join_sentences(own) for name, own in pieces.items()}
  measures = {name: measure(source, text, reference.text) for name, text in systems.items()}
  # A model may happen to write nothing but sentences of the source; that is not choosing.
  places = {
    name: find_sentences(document, own) for name, own in pieces.items() if name not in WRITERS
  }
  fillers = [piece.filler for piece in reference.pieces]
  reference_without = systems_without = None
  if any(fillers):
    # Piece j of a system belongs to eligible section j; a piece beyond them to none.
    keep = lambda own: [p for j, p in enumerate(own) if j >= len(fillers) or not fillers[j]]
    reference_without = reference.text_without_fillers
    systems_without = {name: join_sentences(keep(own)) for name, own in pieces.items()}
  return SummaryPair(
    document.id,
    reference.level,
    reference.text,
    reference.kind,
    systems,
    reference_without_fillers=reference_without,
    systems_without_fillers=systems_without,
    measures=measures,
    source={
      "title": document.title,
      "words": source.num_words,
      "sentences": len(body_places(document)),
    },
    places={name: own for name, own in places.items() if own is not None},
  )


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Compares untrained systems on the documents of a corpus.

  Attributes:
    corpus: parses records.
    systems: names, in the order of the results.
    word_budgets: by level.
    learned: the learned extractor, if it is among the systems.
    mmr: see `summarize_untrained`.
  """

  corpus: Corpus
  systems: tuple[str, ...]
  word_budgets: Mapping[str, float]
  learned: LearnedExtractor | None = None
  mmr: bool = True

  def compare(
    self, records: Sequence[Record]
  ) -> tuple[list[tuple[str, list[SummaryPair]]], list[tuple[str, str]]]:
    """Lets every system summarise every document at every level that has a reference.

    Returns:
      (id of the record, pairs) of each well-formed document; (where, reason) of every
      malformed one.
    """
    compared, malformed = [], []
    for record in records:
      try:
        document = self.corpus.parse(record)
      except ValueError as error:
        malformed.append((record.where, str(error)))
        continue
      compared.append((record.id, self._compare_document(document, record)))
    return compared, malformed

  def describe(self, record: Record, identifier: str) -> dict:
    """The record of `summary_record.py` of what the first system makes of a document.

    Importance is the system's centrality, where it has one; else the sentences that it
    chose for the paragraph have all of it, in equal parts.

    Args:
      record: well-formed.
      identifier: of the document in the results.
    """
    document = dataclasses.replace(self.corpus.parse(record), id=identifier)
    name = next((own for own in self.systems if own not in CEILINGS), self.systems[0])
    references = make_references(document)
    eligible = eligible_sections(document)
    learned = self.learned.score(document, record) if name == LEARNED else None
    pieces = {
      level: summarize_untrained(
        name, document, references, level, self.word_budgets[level], eligible, learned, self.mmr
      )
      if level in references or name not in CEILINGS
      else []
      for level in LEVELS
    }
    places = list(iterate_sentences(document))
    body = [i for i, place in enumerate(places) if not place.is_heading]
    importance = np.zeros(len(places))
    if name in _CENTRALITIES:
      importance[body] = _SCORERS[name]([places[i].text for i in body])
    else:
      for i in find_sentences(document, pieces["paragraph"]) or ():
        importance[body[i]] = 1.0
    importance /= max(importance.sum(), 1e-9)
    return make_record(document, name, pieces, eligible, importance, pieces["paragraph"])

  def _compare_document(self, document: Document, record: Record) -> list[SummaryPair]:
    references = make_references(document)
    learned = None if self.learned is None else self.learned.score(document, record)
    eligible = eligible_sections(document)
    source = Source.of_document(document)
    pairs = []
    for level, reference in references.items():
      pieces = {
        name: summarize_untrained(
          name,
          document,
          references,
          level,
          self.word_budgets[level],
          eligible,
          learned,
          self.mmr,
        )
        for name in self.systems
      }
      pairs.append(make_pair(document, source, reference, pieces))
    return pairs


def count_reference_words(corpus: Corpus, records: Sequence[Record]) -> list[dict[str, int]]:
  """Words of the references of every well-formed document, by level."""
  counts = []
  for record in records:
    try:
      references = make_references(corpus.parse(record))
    except ValueError:
      continue  # told when the documents are compared, or not part of the comparison
    counts.append({level: len(r.text.split()) for level, r in references.items()})
  return counts
