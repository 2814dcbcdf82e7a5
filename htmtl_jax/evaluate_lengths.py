"""How well the lengths that are asked for are met, and what shorter summaries cost.

The documents are written again for each of a few lengths, shares of the mean length of
the training references, and scored against the same references: what a shorter summary
gains in conciseness it loses in what it can say (`decode.target_words`).
"""

from collections.abc import Sequence
import math

import numpy as np

from htmtl_jax import hosts
from htmtl_jax.data.tokenized import TokenizedDocument
from htmtl_jax.documents.document import Document
from htmtl_jax.documents.references import make_references
from htmtl_jax.errors import UserError
from htmtl_jax.evaluation.results import compute_results
from htmtl_jax.evaluation.text_measures import Source
from htmtl_jax.evaluation.untrained import make_pair
from htmtl_jax.experiment import TrainedRun
from htmtl_jax.inference import lengths_in_tokens
from htmtl_jax.levels import LEVELS
from htmtl_jax.readings import read_documents


def check_length_factors(run: TrainedRun, factors: Sequence[float]) -> None:
  """Refuses lengths that cannot be asked for, before anything takes time.

  Raises:
    UserError: names the key.
  """
  for factor in factors:
    if not isinstance(factor, (int, float)) or not 0 < factor < math.inf:
      raise UserError(f"config.evaluate.length_factors: {factor!r} must be a number above 0")
    try:
      lengths_in_tokens(run, target_words(run, factor))
    except UserError as error:
      raise UserError(f"config.evaluate.length_factors: {factor}: {error}") from error


def target_words(run: TrainedRun, factor: float) -> tuple[int, ...]:
  """Words by level: a share of the mean length of the training references, at least 1."""
  return tuple(max(1, round(factor * run.word_budgets[level])) for level in LEVELS)


def score_by_length(
  run: TrainedRun,
  documents: Sequence[Document],
  tokenized: Sequence[TokenizedDocument],
  factors: Sequence[float],
) -> list[dict]:
  """Writes and scores the documents once for each length.

  Args:
    run: trained, told lengths (`model.length_condition`).
    documents, tokenized: the same documents.
    factors: of the mean length of the training references.

  Returns:
    For each factor {"factor", "levels": {level: {"target_words", "words" (the mean),
    "length_error" (mean of |words - target| / target), METRIC: {"f", "low", "high"}}}}.
    Of several hosts, the first one scores what all have written.
  """
  config = run.experiment.config
  rows = []
  for factor in factors:
    words = dict(zip(LEVELS, target_words(run, factor), strict=True))
    readings = read_documents(run, tokenized, target_words=tuple(words.values()), explain=False)
    own = {i: reading for i, reading in enumerate(readings) if reading is not None}
    readings = hosts.merge(own).values()
    if not hosts.is_first():
      continue
    pairs = []
    for document, reading in zip(documents, readings, strict=True):
      source = Source.of_document(document)
      for level, reference in make_references(document).items():
        if level not in run.experiment.decode_config.levels:
          continue
        pieces = {"htmtl": reading.written.pieces[level]}
        pairs.append(make_pair(document, source, reference, pieces))
    results = compute_results(
      pairs,
      run.step,
      "",
      bootstrap_samples=config.evaluate.bootstrap_samples,
      seed=config.seed,
    )
    levels = {}
    for level, target in words.items():
      if level not in results["systems"]["htmtl"]:
        continue
      written = np.array(
        [row["words"] for row in results["scores"] if row["level"] == level], np.float64
      )
      levels[level] = {
        "target_words": target,
        "words": float(written.mean()),
        "length_error": float((np.abs(written - target) / target).mean()),
        **results["systems"]["htmtl"][level],
      }
    rows.append({"factor": float(factor), "levels": levels})
  return rows
