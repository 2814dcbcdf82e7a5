"""How carefully each rater answered: what a report says of the raters themselves.

*Attention* is how alike a rater answered the questions that came twice, with the summaries
in other places: for comparisons 1 where the answers agree, 0 where they are opposite, 1/2
where one is a tie or half of best and worst agree; for ratings the share that differ by one
point or less.

*Chance* is what a rater would reach who chooses letters and points as often as this one,
without reading. Somebody who always takes A never agrees with himself, since A is another
summary the second time.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
import itertools
from typing import Any

import numpy as np

from htmtl_jax.human_eval.answers import TIE, Returned
from htmtl_jax.human_eval.judgments import Repeat

_ALWAYS_THE_SAME = 0.95  # share of one answer from which on a rater seems not to choose
_MIN_ANSWERS = 10  # before that is said
_HASTY_SECONDS = 4.0


def describe_raters(
  key: Mapping[str, Any],
  returned: Sequence[Returned],
  repeats: Sequence[Repeat],
  threshold: float,
) -> dict[str, dict[str, Any]]:
  """What is known of each rater, and what is odd about it.

  Args:
    key: of the study.
    returned: the raters' answers.
    repeats: questions answered twice, of all raters.
    threshold: of attention.

  Returns:
    {rater: {"questions", "answered", "skipped", "comments", "seconds", "checks",
    "attention", "chance", "first", "same", "flags"}}: "seconds" the median a question or
    None, "first" the share of comparisons without ties in which the first summary won,
    "same" the share of the most frequent answer, "flags" sentences.
  """
  found = {}
  for one in returned:
    own = [repeat for repeat in repeats if repeat.rater == one.rater]
    letters = _letters(key["raters"][one.rater]["questions"], one)
    described = {
      "questions": len(key["raters"][one.rater]["questions"]),
      "answered": sum(answer.value is not None for answer in one.answers.values()),
      "skipped": sum(answer.value is None for answer in one.answers.values()),
      "comments": sum(bool(answer.comment) for answer in one.answers.values()),
      "seconds": _median_seconds(one),
      "checks": len(own),
      "attention": float(np.mean([_likeness(repeat) for repeat in own])) if own else None,
      "chance": float(np.mean([_chance(repeat, letters) for repeat in own])) if own else None,
      "first": _first_share(letters),
      "same": _same_share(letters),
    }
    found[one.rater] = {**described, "flags": _flag(described, threshold)}
  return found


def _letters(questions: Mapping[str, Any], one: Returned) -> dict[tuple[str, str], Counter]:
  """How often a rater gave each answer, by (task, criterion): letters, pairs, points."""
  counts: dict[tuple[str, str], Counter] = {}
  for name, answer in one.answers.items():
    task = questions[name]["task"]
    for criterion, given in _answers_of(task, answer.value or {}):
      counts.setdefault((task, criterion), Counter())[given] += 1
  return counts


def _answers_of(task: str, value: Mapping[str, Any]):
  if task == "likert":
    for ratings in value.values():
      yield from ratings.items()
  elif task == "best_worst":
    for criterion, chosen in value.items():
      yield criterion, (chosen["best"], chosen["worst"])
  else:
    yield from value.items()


def _likeness(repeat: Repeat) -> float:
  """Of the two answers, 0 to 1."""
  if repeat.task == "likert":
    return _likert_likeness(repeat)
  return float(np.mean([_alike(repeat, repeat.first[c], repeat.second[c]) for c in repeat.first]))


def _likert_likeness(repeat: Repeat) -> float:
  second = {tuple(systems): label for label, systems in repeat.second_systems.items()}
  close = [
    abs(rating - repeat.second[second[tuple(systems)]][criterion]) <= 1
    for label, systems in repeat.first_systems.items()
    for criterion, rating in repeat.first[label].items()
  ]
  return float(np.mean(close))


def _alike(repeat: Repeat, first: Any, second: Any) -> float:
  """Of two answers to one comparison, in letters of the first and the second showing."""
  a, b = repeat.first_systems, repeat.second_systems
  if repeat.task == "best_worst":
    pairs = zip(first, second) if isinstance(first, tuple) else zip(_both(first), _both(second))
    return float(np.mean([a[x] == b.get(y) for x, y in pairs]))
  if TIE in (first, second):
    return 1.0 if first == second else 0.5
  return float(a[first] == b[second])


def _both(chosen: Mapping[str, str]) -> tuple[str, str]:
  return chosen["best"], chosen["worst"]


def _chance(repeat: Repeat, letters: Mapping[tuple[str, str], Counter]) -> float:
  """The likeness to expect of answers that are drawn from a rater's own, without reading."""
  if repeat.task == "likert":
    criteria = next(iter(repeat.first.values()))
    each = [_expect(letters[repeat.task, c], lambda x, y: float(abs(x - y) <= 1)) for c in criteria]
    return float(np.mean(each))
  known = set(repeat.first_systems)
  each = []
  for criterion in repeat.first:
    own = letters[repeat.task, criterion]
    # Letters that this question does not have (others had more texts) are no answers to it.
    fit = {x: n for x, n in own.items() if x == TIE or set(x) <= known}
    each.append(_expect(fit, lambda x, y: _alike(repeat, x, y)))
  return float(np.mean(each))


def _expect(counts: Mapping[Any, int], likeness) -> float:
  total = sum(counts.values())
  return sum(
    counts[x] * counts[y] * likeness(x, y) for x, y in itertools.product(counts, counts)
  ) / (total * total)


def _median_seconds(one: Returned) -> float | None:
  """None where no time was kept, as with simulated raters."""
  seconds = [answer.seconds for answer in one.answers.values()]
  return float(np.median(seconds)) if any(seconds) else None


def _first_share(letters: Mapping[tuple[str, str], Counter]) -> float | None:
  counts = sum((own for (task, _), own in letters.items() if task == "pairwise"), Counter())
  total = counts["A"] + counts["B"]
  return counts["A"] / total if total else None


def _same_share(letters: Mapping[tuple[str, str], Counter]) -> float | None:
  """The largest over tasks of how often the most frequent answer was given."""
  by_task: dict[str, Counter] = {}
  for (task, _), own in letters.items():
    by_task.setdefault(task, Counter()).update(own)
  shares = [
    max(own.values()) / own.total() for own in by_task.values() if own.total() >= _MIN_ANSWERS
  ]
  return max(shares) if shares else None


def _flag(described: Mapping[str, Any], threshold: float) -> list[str]:
  flags = []
  attention, chance = described["attention"], described["chance"]
  if attention is not None and attention < threshold:
    flags.append(f"answered repeated questions alike by {attention:.0%}, below {threshold:.0%}")
  elif attention is not None and attention <= chance < 0.99:
    flags.append(
      f"answered repeated questions alike by {attention:.0%}, which choosing blindly would reach "
      f"({chance:.0%})"
    )
  if described["same"] is not None and described["same"] >= _ALWAYS_THE_SAME:
    flags.append(f"gave the same answer in {described['same']:.0%} of a task")
  if described["seconds"] is not None and described["seconds"] < _HASTY_SECONDS:
    flags.append(f"took {described['seconds']:.1f} seconds for a question (median)")
  return flags
