"""Summaries made of a document's own sentences, at the three levels.

One selection rule for Lead-k, LexRank and the model's extractive mode, so that they
differ in their ranking alone: take sentences best first up to a budget of words (the
mean length of the training references), then put them back into document order.
Headings and the title are never taken.

A summary is a list of pieces, each a list of sentences: one piece at the sentence and
paragraph levels, one per eligible section at the section level.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from htmtl_jax.documents.document import Document, SentencePlace, iterate_sentences
from htmtl_jax.documents.references import Reference
from htmtl_jax.evaluation.oracle import greedy_oracle
from htmtl_jax.evaluation.ranking import lead_scores, lexrank_scores, mmr_order, rank_order
from htmtl_jax.levels import LEVELS

Pieces = list[list[str]]
Scorer = Callable[[Sequence[str]], np.ndarray]


def _lead(sentences: Sequence[str]) -> np.ndarray:
  return lead_scores(len(sentences))


# Rankings that need no model, by the name they have in results.json.
UNTRAINED: Mapping[str, Scorer] = {"lead": _lead, "lexrank": lexrank_scores}


def body_places(document: Document) -> list[SentencePlace]:
  """The sentences that may be extracted: all but the headings, in reading order."""
  return [place for place in iterate_sentences(document) if not place.is_heading]


def find_sentences(document: Document, pieces: Sequence[Sequence[str]]) -> list[int] | None:
  """Where extracted sentences stand: their indices in `body_places`, in the order given.

  Each place is used once, so that sentences that are repeated differ. None where the body
  lacks one of them, or does not have it so often: a text that was not extracted.
  """
  places: dict[str, list[int]] = {}
  for i, place in enumerate(body_places(document)):
    places.setdefault(place.text, []).append(i)
  found = []
  for sentence in (s for piece in pieces for s in piece):
    if not places.get(sentence):
      return None
    found.append(places[sentence].pop(0))
  return found


def body_scores(document: Document, scores: np.ndarray) -> np.ndarray:
  """Scores of the body sentences from the model's scores of all sentences.

  Args:
    document: S sentences, headings included, B of them in the body.
    scores: [K] for the first K <= S sentences of `iterate_sentences`; the model sees
      fewer than S where its configured maximum cut the document.

  Returns:
    [B] float64; sentences that the model did not see score 0.

  Raises:
    ValueError: for more scores than sentences.
  """
  is_body = np.array([not place.is_heading for place in iterate_sentences(document)], bool)
  if len(scores) > len(is_body):
    raise ValueError(f"{document.id}: {len(scores)} scores for {len(is_body)} sentences")
  padded = np.zeros(len(is_body), np.float64)
  padded[: len(scores)] = scores
  return padded[is_body]


def select_within_budget(
  order: Sequence[int], lengths: Sequence[int], word_budget: float
) -> list[int]:
  """Takes sentences in order until the budget of words is reached.

  The sentence that crosses the budget is taken only if the total is then closer to
  it; nothing is taken after it. At least one sentence is.

  Args:
    order: indices, best first.
    lengths: words of each sentence, indexed by the entries of `order`.
    word_budget: words.

  Returns:
    The chosen indices in ascending (document) order.
  """
  chosen: list[int] = []
  total = 0
  for index in order:
    longer = total + lengths[index]
    # Below the budget this stops nothing; past it, every sentence leads further away.
    if chosen and abs(longer - word_budget) >= abs(total - word_budget):
      break
    chosen.append(index)
    total = longer
  return sorted(chosen)


def _select(
  sentences: list[str],
  scores: np.ndarray,
  level: str,
  word_budget: float,
  mmr: bool,
  trade_off: float,
) -> list[str]:
  """The chosen ones of these sentences, in order."""
  if not sentences:
    return []
  if level == "sentence":
    return [sentences[rank_order(scores)[0]]]
  if mmr:
    # No sentence is shorter than a word, so the budget bounds how many are needed.
    order = mmr_order(scores, sentences, trade_off, limit=int(word_budget) + 2)
  else:
    order = rank_order(scores)
  lengths = [len(s.split()) for s in sentences]
  return [sentences[i] for i in select_within_budget(order, lengths, word_budget)]


def extract(
  system_scores: Scorer | np.ndarray,
  document: Document,
  level: str,
  word_budget: float,
  eligible: Sequence[int],
  mmr: bool = False,
  trade_off: float = 0.7,
) -> Pieces:
  """An extractive summary of one document at one level.

  Args:
    system_scores: [B] finite scores of the body sentences (see `body_scores`), or a
      function from sentences to scores, as in `UNTRAINED`; a function is called on
      the whole body, and at the section level on each section by itself.
    document: what to summarise.
    level: "sentence" takes exactly one sentence, the best; "paragraph" ranks the whole
      body; "section" ranks each eligible section by itself.
    word_budget: words of the whole summary, of which each eligible section has an equal
      share; not used at the sentence level.
    eligible: indices of the sections that get a piece at the section level
      (`references.eligible_sections`).
    mmr: rank by maximal marginal relevance instead of by score alone.
    trade_off: of `mmr_order`.

  Returns:
    Pieces of sentences. A document without body sentences gives empty pieces.

  Raises:
    ValueError: for an unknown level, or scores that are not [B] finite numbers.
  """
  if level not in LEVELS:
    raise ValueError(f"unknown level {level!r}; the levels are {', '.join(LEVELS)}")
  places = body_places(document)
  scores = None if callable(system_scores) else np.asarray(system_scores, np.float64)
  if scores is not None and (scores.shape != (len(places),) or not np.isfinite(scores).all()):
    raise ValueError(
      f"{document.id}: scores of shape {scores.shape} for {len(places)} body sentences,"
      f" {int((~np.isfinite(scores)).sum())} of them not finite"
    )
  if level == "section":
    groups = [[i for i, p in enumerate(places) if p.section == c] for c in eligible]
  else:
    groups = [list(range(len(places)))]
  budget = word_budget / max(len(groups), 1)
  pieces = []
  for group in groups:
    sentences = [places[i].text for i in group]
    own = system_scores(sentences) if scores is None else scores[group]
    pieces.append(_select(sentences, own, level, budget, mmr, trade_off))
  return pieces


def oracle_summary(
  document: Document,
  references: Mapping[str, Reference],
  level: str,
  eligible: Sequence[int],
  max_sentences: int | None = None,
) -> Pieces:
  """What greedy extraction could score at one level, knowing its reference.

  Args:
    document: what to summarise.
    references: by level, as `references.make_references` returns them; at the section
      level with one piece per eligible section, in the same order.
    level: at "sentence" one sentence is taken; at "section" the sentences of each
      section are matched with that section's piece.
    eligible: indices of the sections that get a piece.
    max_sentences: at most so many a piece; None stops only when nothing is gained.

  Returns:
    Pieces of sentences in document order; empty where nothing overlaps.

  Raises:
    ValueError: for an unknown level, or pieces that do not match `eligible`.
  """
  if level not in LEVELS:
    raise ValueError(f"unknown level {level!r}; the levels are {', '.join(LEVELS)}")
  places = body_places(document)
  reference = references[level]
  if level == "section":
    if len(reference.pieces) != len(eligible):
      raise ValueError(
        f"{document.id}: {len(reference.pieces)} reference pieces for {len(eligible)} sections"
      )
    groups = [[p.text for p in places if p.section == c] for c in eligible]
    texts = ["\n".join(piece.sentences) for piece in reference.pieces]
  else:
    groups = [[p.text for p in places]]
    texts = [reference.text]
  limit = 1 if level == "sentence" else max_sentences
  return [
    [group[i] for i in greedy_oracle(group, text, limit)]
    for group, text in zip(groups, texts, strict=True)
  ]
