"""What a study is: every key, its default, its meaning; read from TOML and the command line.

One file describes a study from the sample to the tests, so that the analysis is decided
before anybody has answered:

    [design]
    documents = 40
    tasks = ["pairwise", "likert"]

    [analysis]
    alpha = 0.05

A key that is left out has its default. `--study.design.documents=40` changes one.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import os
import tomllib
from typing import Any

import ml_collections

from htmtl_jax.config import get_frozen
from htmtl_jax.config_keys import apply_overrides, as_tuple
from htmtl_jax.errors import UserError
from htmtl_jax.levels import LEVELS

TASKS = ("pairwise", "best_worst", "likert")
CRITERIA = ("informativeness", "conciseness", "fluency", "faithfulness")
OVERALL = "overall"  # the question which of two or more is better, all things considered
SHOWN = ("text", "abstract", "reference")
STRATA = ("length", "source")
MAX_TEXTS = 8  # summaries beside each other; more, and nobody compares them


@dataclasses.dataclass(frozen=True)
class Design:
  """Who is asked what.

  Attributes:
    title: of the study, as raters see it.
    contact: whom to ask, and where to send the answers; shown at both ends of the form.
    consent: what a rater agrees to before the first question; "" asks for nothing.
    instructions: shown after the study's own, "" for none.
    seed: of the sample, the orders and the repeated questions.
    documents: that are drawn.
    raters: packets that are made.
    raters_per_document: that judge each document; 0 for all.
    levels: of `LEVELS`.
    tasks: of `TASKS`.
    criteria: that `likert` asks for, of `CRITERIA`.
    compare_by: what `pairwise` and `best_worst` ask for: "overall" or any of `CRITERIA`.
    pairs: "all", or "first": the first system with each other.
    likert_together: all summaries of a document on one screen; else one a screen.
    repeats: share of a rater's questions that come again, in another order.
    show: what raters see of the paper, of `SHOWN`; () for nothing but the summaries.
    strata: what the sample is stratified by, of `STRATA`.
    length_bins: strata by length.
  """

  title: str = "Summaries of scientific papers"
  contact: str = ""
  consent: str = ""
  instructions: str = ""
  seed: int = 0
  documents: int = 30
  raters: int = 3
  raters_per_document: int = 0
  levels: tuple[str, ...] = LEVELS
  tasks: tuple[str, ...] = ("pairwise", "likert")
  criteria: tuple[str, ...] = CRITERIA
  compare_by: tuple[str, ...] = (OVERALL,)
  pairs: str = "all"
  likert_together: bool = True
  repeats: float = 0.1
  show: tuple[str, ...] = ("text",)
  strata: tuple[str, ...] = STRATA
  length_bins: int = 3


@dataclasses.dataclass(frozen=True)
class Analysis:
  """What is made of the answers.

  Attributes:
    seed: of the bootstrap and of the power simulations.
    samples: resamples of the documents for each interval.
    confidence: of the intervals.
    alpha: of the tests, after Holm's correction.
    attention: share of repeated questions that a rater has to answer alike; a rater
      below it is flagged, not dropped.
    exclude: raters to leave out of everything, such as ("rater-03",); reported.
    incomplete: "refuse" files with unanswered questions, or "use" what there is.
    power_simulations: studies simulated for each number of the power table.
    power_raters: raters per document, the columns of the power table.
    power_likert: differences of mean ratings to be detected.
    power_best_worst: differences of best-worst scores to be detected.
    power_win_rates: win rates to be told from 50%.
  """

  seed: int = 0
  samples: int = 2000
  confidence: float = 0.95
  alpha: float = 0.05
  attention: float = 0.6
  exclude: tuple[str, ...] = ()
  incomplete: str = "refuse"
  power_simulations: int = 500
  power_raters: tuple[int, ...] = (1, 3, 5)
  power_likert: tuple[float, ...] = (0.25, 0.5, 1.0)
  power_best_worst: tuple[float, ...] = (0.2, 0.4, 0.8)
  power_win_rates: tuple[float, ...] = (0.55, 0.6, 0.7)


@dataclasses.dataclass(frozen=True)
class Simulation:
  """Raters that are programs, for trying out the pipeline.

  All numbers are points of the five-point scale.

  Attributes:
    seed: of everything that is drawn.
    qualities: true quality of each system, 0 being average; () spreads them evenly
      from 0.75 down to -0.75.
    document_spread: standard deviation of a system's quality from document to document.
    noise: standard deviation of a judgment of the same text by the same rater.
    leniency: standard deviation of raters' means.
    first_bonus: what the summary that is shown first gains in a comparison.
    tie_width: differences felt below this are called a tie.
    careless: raters, the last ones, who answer at random without reading.
  """

  seed: int = 0
  qualities: tuple[float, ...] = ()
  document_spread: float = 0.5
  noise: float = 0.5
  leniency: float = 0.3
  first_bonus: float = 0.0
  tie_width: float = 0.4
  careless: int = 0


@dataclasses.dataclass(frozen=True)
class Study:
  """The three sections of a study's settings."""

  design: Design = Design()
  analysis: Analysis = Analysis()
  simulation: Simulation = Simulation()


def load_study(
  path: str | None, overrides: Sequence[str] = (), saved: Mapping[str, Any] | None = None
) -> Study:
  """The settings of a study.

  Args:
    path: of a TOML file; None for the defaults.
    overrides: `study.SECTION.KEY=VALUE`, applied last.
    saved: of `study_to_json`, in place of the defaults.

  Raises:
    UserError: a file that cannot be read, an unknown key, a value that cannot be.
  """
  values = study_to_json(Study()) if saved is None else saved
  config = ml_collections.ConfigDict({"study": _tuples(values)}).lock()
  if path is not None:
    _apply_file(config, path)
  apply_overrides(config, overrides)
  # Numbers may be written without a point.
  for section, kind in (("analysis", Analysis), ("simulation", Simulation)):
    for field in dataclasses.fields(kind):
      if field.type == tuple[float, ...]:
        given = config.study[section][field.name]
        if all(type(value) in (int, float) for value in given):
          config.study[section][field.name] = tuple(map(float, given))
  study = get_frozen(config.study, Study, "study")
  check_study(study)
  return study


def study_to_json(study: Study) -> dict[str, Any]:
  """Sections of keys, as JSON and `load_study` have them."""
  return dataclasses.asdict(study)


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
  return {name: {k: as_tuple(v) for k, v in section.items()} for name, section in values.items()}


def _apply_file(config: ml_collections.ConfigDict, path: str) -> None:
  """Sets what a TOML file says, key by key, so that each is checked."""
  try:
    with open(path, "rb") as file:
      sections = tomllib.load(file)
  except OSError as error:
    raise UserError(
      f"--study={path} cannot be read ({error.strerror}); name a TOML file with the settings of a "
      "study, or leave it out"
    ) from None
  except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
    raise UserError(f"--study={path} is not TOML ({error}); correct it") from None
  known = {name: sorted(config.study[name]) for name in config.study}
  for name, section in sections.items():
    if name not in known or not isinstance(section, dict):
      raise UserError(f"--study={path}: {name!r} is no section; there are {', '.join(known)}")
    for key, value in section.items():
      if key not in known[name]:
        raise UserError(
          f"--study={path}: unknown key {key!r} in [{name}]; there are {', '.join(known[name])}"
        )
      old = config.study[name][key]
      value = as_tuple(value)
      if isinstance(old, float) and type(value) is int:
        value = float(value)
      if type(value) is not type(old):
        raise UserError(
          f"--study={path}: {key} in [{name}] is {value!r}; write it as {_example(old)}"
        )
      config.study[name][key] = value


def _example(value: Any) -> str:
  """How a value is written in TOML."""
  if isinstance(value, bool):
    return "true or false"
  if isinstance(value, tuple):
    return "a list, [" + ", ".join(map(_example, value[:2])) + ", ...]"
  return f'"{value}"' if isinstance(value, str) else f"{value}"


# --------------------------------------------------------------------- checking


def check_study(study: Study) -> None:
  """Refuses what cannot be carried out.

  Raises:
    UserError: names the key.
  """
  design, analysis, simulation = study.design, study.analysis, study.simulation
  for key, known in (
    ("levels", LEVELS),
    ("tasks", TASKS),
    ("criteria", CRITERIA),
    ("compare_by", (OVERALL, *CRITERIA)),
    ("show", SHOWN),
    ("strata", STRATA),
  ):
    _check_words(f"design.{key}", getattr(design, key), known, key in ("show", "strata"))
  if design.pairs not in ("all", "first"):
    raise UserError(f'study.design.pairs={design.pairs!r} is unknown; it is "all" or "first"')
  if analysis.incomplete not in ("refuse", "use"):
    raise UserError(
      f'study.analysis.incomplete={analysis.incomplete!r} is unknown; it is "refuse" or "use"'
    )
  asked = {*(design.criteria if "likert" in design.tasks else ())}
  asked |= {*(design.compare_by if {"pairwise", "best_worst"} & {*design.tasks} else ())}
  if "faithfulness" in asked and "text" not in design.show:
    raise UserError(
      "study.design asks for faithfulness, which nobody can judge without the paper: add text to "
      "study.design.show, or leave faithfulness out of criteria and compare_by"
    )
  for name, value, low, high in (
    ("design.seed", design.seed, 0, None),
    ("design.documents", design.documents, 1, None),
    ("design.raters", design.raters, 1, 999),
    ("design.raters_per_document", design.raters_per_document, 0, design.raters),
    ("design.repeats", design.repeats, 0.0, 0.5),
    ("design.length_bins", design.length_bins, 1, 20),
    ("analysis.seed", analysis.seed, 0, None),
    ("analysis.samples", analysis.samples, 100, 1_000_000),
    ("analysis.confidence", analysis.confidence, 0.5, 0.999),
    ("analysis.alpha", analysis.alpha, 0.0001, 0.5),
    ("analysis.attention", analysis.attention, 0.0, 1.0),
    ("analysis.power_simulations", analysis.power_simulations, 100, 100_000),
    ("simulation.seed", simulation.seed, 0, None),
    ("simulation.careless", simulation.careless, 0, design.raters),
    *((f"analysis.power_raters[{i}]", n, 1, 99) for i, n in enumerate(analysis.power_raters)),
    *(
      (f"analysis.{key}[{i}]", d, 0.01, 4.0)
      for key in ("power_likert", "power_best_worst")
      for i, d in enumerate(getattr(analysis, key))
    ),
    *(
      (f"analysis.power_win_rates[{i}]", w, 0.501, 0.99)
      for i, w in enumerate(analysis.power_win_rates)
    ),
    *(
      (f"simulation.{key}", getattr(simulation, key), 0.0, 10.0)
      for key in ("document_spread", "noise", "leniency", "tie_width")
    ),
    ("simulation.first_bonus", simulation.first_bonus, -10.0, 10.0),
    *((f"simulation.qualities[{i}]", q, -10.0, 10.0) for i, q in enumerate(simulation.qualities)),
  ):
    _check_range(name, value, low, high)


def _check_words(key: str, given: Sequence[str], known: Sequence[str], may_be_empty: bool) -> None:
  if not given and not may_be_empty:
    raise UserError(f"study.{key} is empty; choose from {', '.join(known)}")
  for word in given:
    if word not in known:
      raise UserError(f"study.{key} has {word!r}; there are {', '.join(known)}")
    if given.count(word) > 1:
      raise UserError(f"study.{key} has {word} twice; name it once")


def _check_range(name: str, value: float, low: float | None, high: float | None) -> None:
  if not isinstance(value, (int, float)) or isinstance(value, bool):
    raise UserError(f"study.{name} is {value!r}; it must be a number")
  if (low is not None and value < low) or (high is not None and value > high) or value != value:
    bounds = f"at least {low}" if high is None else f"between {low} and {high}"
    raise UserError(f"study.{name} is {value}; it must be {bounds}")


def settings_file(study: str | os.PathLike | None) -> str | None:
  """`--study` of export: None, or the path of a file.

  Raises:
    UserError: a folder, which the other actions take.
  """
  if study is None:
    return None
  if os.path.isdir(study):
    raise UserError(
      f"--study={study} is a folder; --action=export takes a TOML file with settings, and --output "
      "for the folder that it makes"
    )
  return os.fspath(study)
