"""Who judges what in which order: the plan of a study, drawn from its seed.

A *question* is one screen: a document, a level, a task, and the texts that are shown as
A, B, ... A rater reads a paper once: all questions on it come one after the other.

Orders are random but balanced. Of the questions in which a rater compares two systems,
each comes first in half; of those with more, each stands in each place equally often (to
within one, as far as all texts differ).

Texts that are equal are shown once and stand for all systems that wrote them. Two systems
that wrote the same are not compared: that is a tie without asking.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import random

from htmtl_jax.errors import UserError
from htmtl_jax.human_eval.settings import MAX_TEXTS, Design

LABELS = "ABCDEFGH"

Candidate = tuple[str, ...]  # the systems that wrote one text


@dataclasses.dataclass(frozen=True)
class Question:
  """One screen of one rater.

  Attributes:
    id: unique for the rater, by place: says nothing.
    document: its id.
    level: of `LEVELS`.
    task: of `settings.TASKS`.
    candidates: who wrote text A, B, ...
    repeat_of: the id of the question that this one repeats, None for a first one.
  """

  id: str
  document: str
  level: str
  task: str
  candidates: tuple[Candidate, ...]
  repeat_of: str | None = None


@dataclasses.dataclass(frozen=True)
class Identical:
  """Two systems that wrote the same."""

  document: str
  level: str
  systems: tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Plan:
  """A whole study.

  Attributes:
    raters: the questions of each, in their order.
    assigned: the raters of each document.
    identical: pairs that are ties without asking.
  """

  raters: Mapping[str, Sequence[Question]]
  assigned: Mapping[str, Sequence[str]]
  identical: Sequence[Identical]


def name_raters(count: int) -> list[str]:
  """ "rater-01", ..."""
  return [f"rater-{k + 1:02d}" for k in range(count)]


def list_pairs(systems: Sequence[str], pairs: str) -> list[tuple[str, str]]:
  """The pairs of systems that are compared, see `Design.pairs`."""
  every = list(itertools.combinations(systems, 2))
  return every if pairs == "all" else [pair for pair in every if pair[0] == systems[0]]


def make_plan(
  design: Design,
  systems: Sequence[str],
  documents: Sequence[str],
  texts: Mapping[str, Mapping[str, Mapping[str, str]]],
) -> Plan:
  """Draws the plan; equal arguments give an equal one.

  Args:
    design: of the study.
    systems: that are judged.
    documents: the sample, ordered by stratum.
    texts: {level: {document: {system: text}}}.

  Raises:
    UserError: more systems than can stand beside each other, or nothing to ask.
  """
  together = "best_worst" in design.tasks or ("likert" in design.tasks and design.likert_together)
  if together and len(systems) > MAX_TEXTS:
    raise UserError(
      f"{len(systems)} systems cannot be judged beside each other, {MAX_TEXTS} can: name fewer with "
      "--systems, or set study.design.tasks=likert and study.design.likert_together=false"
    )
  if design.tasks == ("best_worst",) and len(systems) < 3:
    raise UserError(
      "best_worst needs three systems or more; name more with --systems, or set "
      "study.design.tasks=pairwise"
    )
  assigned = _assign(design, documents)
  pairs = list_pairs(systems, design.pairs)
  plans = {}
  for rater in name_raters(design.raters):
    own = [d for d in documents if rater in assigned[d]]
    plans[rater] = _plan_rater(design, rater, own, systems, pairs, texts)
  if not any(plans.values()):
    raise UserError("all systems wrote the same for every document; there is nothing to judge")
  for rater, questions in plans.items():
    if not questions:
      raise UserError(
        f"{rater} would get nothing to judge: {len(documents)} documents are too few for "
        f"{design.raters} raters; lower study.design.raters, or raise study.design.documents"
      )
  identical = [
    Identical(d, level, pair)
    for level in design.levels
    for d in documents
    for pair in pairs
    if "pairwise" in design.tasks and _same(texts[level][d], *pair)
  ]
  return Plan(plans, assigned, identical)


def _same(texts: Mapping[str, str], a: str, b: str) -> bool:
  return texts[a].split() == texts[b].split()


def _assign(design: Design, documents: Sequence[str]) -> dict[str, list[str]]:
  """Raters of each document: dealt in turn, so that loads differ by one document at most."""
  raters = name_raters(design.raters)
  random.Random(f"{design.seed}/assign").shuffle(raters)
  each = design.raters_per_document or len(raters)
  return {
    d: sorted(raters[(k * each + i) % len(raters)] for i in range(each))
    for k, d in enumerate(documents)
  }


def _plan_rater(
  design: Design,
  rater: str,
  documents: Sequence[str],
  systems: Sequence[str],
  pairs: Sequence[tuple[str, str]],
  texts: Mapping[str, Mapping[str, Mapping[str, str]]],
) -> list[Question]:
  draw = lambda purpose: random.Random(f"{design.seed}/{purpose}/{rater}")
  order = list(documents)
  draw("documents").shuffle(order)
  by_document: dict[str, list[Question]] = {d: [] for d in order}
  rng = draw("questions")
  for level in design.levels:
    for task in design.tasks:
      made = _make_questions(design, level, task, order, systems, pairs, texts[level], rng)
      for question in made:
        by_document[question.document].append(question)
  blocks = []
  for d in order:
    levels = list(design.levels)
    rng.shuffle(levels)
    tasks = list(design.tasks)
    rng.shuffle(tasks)
    own = by_document[d]
    rng.shuffle(own)
    own.sort(key=lambda q: (levels.index(q.level), tasks.index(q.task)))  # stable: pairs stay mixed
    if own:
      blocks.append(own)
  return _number(_insert_repeats(blocks, design.repeats, draw("repeats")))


def _make_questions(
  design: Design,
  level: str,
  task: str,
  documents: Sequence[str],
  systems: Sequence[str],
  pairs: Sequence[tuple[str, str]],
  texts: Mapping[str, Mapping[str, str]],
  rng: random.Random,
) -> list[Question]:
  """All questions of one task at one level, with balanced orders."""
  made = []
  if task == "pairwise":
    for a, b in pairs:
      asked = [d for d in documents if not _same(texts[d], a, b)]
      for d, turned in zip(asked, _halves(len(asked), rng)):
        made.append(Question("", d, level, task, ((b,), (a,)) if turned else ((a,), (b,))))
    return made
  together = task == "best_worst" or design.likert_together
  orders = _places(len(systems), len(documents), rng)
  for d, order in zip(documents, orders):
    candidates = _merge([systems[k] for k in order], texts[d])
    if task == "best_worst" and len(candidates) < 2:
      continue  # all wrote the same: nobody is best
    if together:
      made.append(Question("", d, level, task, candidates))
    else:
      made += [Question("", d, level, task, (candidate,)) for candidate in candidates]
  return made


def _halves(count: int, rng: random.Random) -> list[bool]:
  """Half of them True, at random places; the odd one by chance."""
  turned = [bool(k % 2) for k in range(count - count % 2)]
  if count % 2:
    turned.append(rng.random() < 0.5)
  rng.shuffle(turned)
  return turned


def _places(size: int, count: int, rng: random.Random) -> list[list[int]]:
  """Orders of `size` things in which each stands in each place equally often.

  Blocks of `size` orders are Latin squares: the rotations of a random order, shuffled.
  """
  orders: list[list[int]] = []
  while len(orders) < count:
    first = list(range(size))
    rng.shuffle(first)
    square = [first[k:] + first[:k] for k in range(size)]
    rng.shuffle(square)
    orders += square
  return orders[:count]


def _merge(systems: Sequence[str], texts: Mapping[str, str]) -> tuple[Candidate, ...]:
  """Systems that wrote the same become one candidate, in the place of the first."""
  merged: dict[tuple[str, ...], list[str]] = {}
  for system in systems:
    merged.setdefault(tuple(texts[system].split()), []).append(system)
  return tuple(map(tuple, merged.values()))


def _insert_repeats(
  blocks: list[list[Question]], share: float, rng: random.Random
) -> list[tuple[Question, int | None]]:
  """Questions in order, and for each the place of the one that it repeats.

  A repeated question comes after at least one other document where there is one, turned
  so that no text keeps its label.
  """
  total = sum(map(len, blocks))
  count = max(1, round(share * total)) if share > 0 and total else 0
  # Of the last document nothing could come again later.
  eligible = [(k, q) for k, block in enumerate(blocks[:-1] or blocks) for q in block]
  chosen = rng.sample(eligible, min(count, len(eligible)))
  after: dict[int, list[Question]] = {}  # repeats by the block that they follow
  for k, question in chosen:
    place = rng.randint(min(k + 1, len(blocks) - 1), len(blocks) - 1)
    after.setdefault(place, []).append(question)
  ordered: list[tuple[Question, int | None]] = []
  place_of: dict[int, int] = {}
  for k, block in enumerate(blocks):
    for question in block:
      place_of[id(question)] = len(ordered)
      ordered.append((question, None))
    repeats = after.get(k, [])
    rng.shuffle(repeats)
    repeats.sort(key=lambda q: q.document)  # a paper is opened once more, not in turns
    for question in repeats:
      turned = dataclasses.replace(question, candidates=_turn(question.candidates, rng))
      ordered.append((turned, place_of[id(question)]))
  return ordered


def _turn(candidates: tuple[Candidate, ...], rng: random.Random) -> tuple[Candidate, ...]:
  """Rotated by a random number of places, so that each has another place."""
  if len(candidates) < 2:
    return candidates
  by = rng.randint(1, len(candidates) - 1)
  return candidates[by:] + candidates[:by]


def _number(ordered: Sequence[tuple[Question, int | None]]) -> list[Question]:
  name = lambda place: f"q{place + 1:04d}"
  return [
    dataclasses.replace(
      question, id=name(place), repeat_of=None if original is None else name(original)
    )
    for place, (question, original) in enumerate(ordered)
  ]
