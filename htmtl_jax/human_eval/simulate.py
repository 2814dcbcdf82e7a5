"""Raters that are programs: fill in packets from known qualities, to test everything after.

What a simulated rater feels of a text is

    quality of the system + of this text (document_spread) + leniency of the rater + noise

in points of the scale. A rating is 3 more, rounded and kept in 1..5; a comparison goes by
the difference of two feelings, and is a tie within `tie_width`; best and worst are the
extremes. Every answer draws noise of its own. Careless raters answer at random.

What they "say" is no judgment of anybody's. Every file is stamped `simulated`, and so is
all that is made of it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from htmtl_jax.errors import UserError
from htmtl_jax.human_eval.answers import SCALE, TIE
from htmtl_jax.human_eval.folder import VERSION
from htmtl_jax.human_eval.packets import ANSWERS_FORMAT
from htmtl_jax.human_eval.settings import Simulation

_MIDDLE = 3.0


def true_qualities(simulation: Simulation, systems: list[str]) -> dict[str, float]:
  """The quality of each system.

  Raises:
    UserError: as many qualities are given as there are no systems.
  """
  given = simulation.qualities
  if not given:
    given = tuple(np.linspace(0.75, -0.75, len(systems)).tolist())
  if len(given) != len(systems):
    raise UserError(
      f"study.simulation.qualities has {len(given)} numbers for {len(systems)} systems "
      f"({', '.join(systems)}); give one for each"
    )
  return dict(zip(systems, given))


def simulate_answers(key: Mapping[str, Any], simulation: Simulation) -> dict[str, dict[str, Any]]:
  """Fills in all packets of a study.

  Args:
    key: of the study.
    simulation: how the raters are.

  Returns:
    {rater: content of the file that a form would save}.

  Raises:
    UserError: see `true_qualities`.
  """
  qualities = true_qualities(simulation, list(key["systems"]))
  texts = _draw_texts(key, simulation, qualities)
  raters = list(key["raters"])
  careless = set(raters[len(raters) - simulation.careless :])
  files = {}
  for r, rater in enumerate(raters):
    rng = np.random.default_rng([simulation.seed, 1, r])
    leniency = simulation.leniency * rng.standard_normal()
    design = key["settings"]["design"]
    answers = {}
    for name, question in key["raters"][rater]["questions"].items():
      if rater in careless:
        value = _answer_blindly(question, design, rng)
      else:
        value = _answer(question, design, texts, leniency, simulation, rng)
      answers[name] = {"answer": value, "seconds": 0.0}
    files[rater] = {
      "format": ANSWERS_FORMAT,
      "version": VERSION,
      "study": key["study"],
      "rater": rater,
      "packet": key["raters"][rater]["packet"],
      "simulated": True,
      "complete": True,
      "answers": answers,
    }
  return files


def _draw_texts(
  key: Mapping[str, Any], simulation: Simulation, qualities: Mapping[str, float]
) -> dict[tuple[str, str, str], float]:
  """How good each text is: {(document, level, system): quality}; equal texts are equally good."""
  rng = np.random.default_rng([simulation.seed, 0])
  texts = {
    (document["id"], level, system): quality + simulation.document_spread * rng.standard_normal()
    for document in key["documents"]
    for level in key["settings"]["design"]["levels"]
    for system, quality in qualities.items()
  }
  for own in key["raters"].values():
    for question in own["questions"].values():
      for systems in question["candidates"].values():
        for system in systems[1:]:
          place = question["document"], question["level"]
          texts[*place, system] = texts[*place, systems[0]]
  return texts


def _answer(question, design, texts, leniency, simulation, rng) -> dict[str, Any]:
  """What a careful rater says."""
  labels = list(question["candidates"])
  quality = np.array(
    [
      texts[question["document"], question["level"], systems[0]]
      for systems in question["candidates"].values()
    ]
  )
  feel = lambda: quality + simulation.noise * rng.standard_normal(len(labels))
  if question["task"] == "likert":
    felt = {c: _MIDDLE + leniency + feel() for c in design["criteria"]}
    return {
      label: {c: int(np.clip(np.rint(felt[c][k]), SCALE[0], SCALE[-1])) for c in design["criteria"]}
      for k, label in enumerate(labels)
    }
  value: dict[str, Any] = {}
  for criterion in design["compare_by"]:
    felt = feel()
    felt[0] += simulation.first_bonus
    if question["task"] == "best_worst":
      best, worst = int(felt.argmax()), int(felt.argmin())
      value[criterion] = {"best": labels[best], "worst": labels[worst]}
    elif abs(felt[0] - felt[1]) < simulation.tie_width:
      value[criterion] = TIE
    else:
      value[criterion] = labels[int(felt.argmax())]
  return value


def _answer_blindly(question, design, rng) -> dict[str, Any]:
  labels = list(question["candidates"])
  if question["task"] == "likert":
    return {label: {c: int(rng.integers(1, 6)) for c in design["criteria"]} for label in labels}
  value: dict[str, Any] = {}
  for criterion in design["compare_by"]:
    if question["task"] == "best_worst":
      best, worst = rng.permutation(len(labels))[:2]
      value[criterion] = {"best": labels[best], "worst": labels[worst]}
    else:
      value[criterion] = [*labels, TIE][int(rng.integers(0, len(labels) + 1))]
  return value
