"""Evaluations as a trained model would leave them, without one: for tests of their reports.

The made-up model says the reference with every `drop`-th word left out, more of it the
later a document comes, so that documents differ; its importance is `records.fake_record`'s.
"""

import dataclasses
import pathlib

import numpy as np

from htmtl_jax.documents.document import iterate_sentences
from htmtl_jax.documents.references import eligible_sections, make_references
from htmtl_jax.evaluation.importance import planted_labels
from htmtl_jax.evaluation.importance_rows import make_row
from htmtl_jax.evaluation.results import compute_results, write_results
from htmtl_jax.evaluation.text_measures import Source
from htmtl_jax.evaluation.untrained import make_pair, summarize_untrained
from htmtl_jax.levels import LEVELS
from tests import records

BUDGETS = {"sentence": 12, "paragraph": 50, "section": 50}


@dataclasses.dataclass(frozen=True)
class FakeEvaluation:
  """What was written, and what it was made of."""

  directory: pathlib.Path
  documents: list
  pairs: list
  results: dict

  def describe(self, ids):
    """As `evaluate.run_evaluate` does."""
    for document in self.documents:
      if document.id in ids:
        yield records.fake_record(document)


def _drop_words(text: str, number: int) -> list[str]:
  keep = 2 + max(0, 10 - number)  # the later the document, the more is lost
  return [
    " ".join(w for i, w in enumerate(line.split()) if (i + 1) % keep) for line in text.split("\n")
  ]


def write_evaluation(
  directory, documents=None, others=("lead", "oracle"), importance=True, samples=50
) -> FakeEvaluation:
  """Writes the files of an evaluation of "htmtl" and others.

  Args:
    directory: made if need be.
    documents: with references; None takes twelve generated papers.
    others: untrained systems.
    importance: whether there is an importance.jsonl.
    samples: of the bootstrap.
  """
  if documents is None:
    documents = [records.generated_paper(i) for i in range(12)]
  pairs, rows = [], []
  for number, document in enumerate(documents):
    references, eligible = make_references(document), eligible_sections(document)
    source = Source.of_document(document)
    for level, reference in references.items():
      pieces = {"htmtl": [_drop_words(reference.text, number)]}
      for name in others:
        pieces[name] = summarize_untrained(
          name, document, references, level, BUDGETS[level], eligible
        )
      pairs.append(make_pair(document, source, reference, pieces))
    rows.append(_make_row(document))
  auc = {"sentence_auc": 0.75, "labels": "planted", "supervised": False}
  results = compute_results(
    pairs, 7, "test", auc if importance else None, bootstrap_samples=samples, seed=1
  )
  results["word_budgets"] = BUDGETS
  write_results(directory, results, pairs, rows if importance else None)
  return FakeEvaluation(pathlib.Path(directory), documents, pairs, results)


def _make_row(document) -> dict:
  record = records.fake_record(document)
  places = list(iterate_sentences(document))
  shares = np.array([s["importance"] for s in record["importance"]["sentences"]])
  matters = planted_labels(document)
  return make_row(
    document.id,
    "planted",
    shares,
    np.zeros(len(places), bool) if matters is None else matters,
    np.array([place.is_heading for place in places]),
    sum(not place.is_heading for place in places),
    {level: shares for level in LEVELS},
  )
