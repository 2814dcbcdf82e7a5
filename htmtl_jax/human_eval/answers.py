"""Reads what raters send back, and refuses what does not belong to the study.

A file is JSON as the forms write it:

    {"format", "version", "study", "rater", "packet", "simulated", "complete",
     "answers": {QUESTION: {"answer", "seconds", "skipped", "comment"}}}

All files are checked before anything is used: either all of them are right, or one line
says which is not and what to do.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import os
import pathlib
from typing import Any

from htmtl_jax.errors import UserError
from htmtl_jax.human_eval.folder import VERSION
from htmtl_jax.human_eval.packets import ANSWERS_FORMAT

_MAX_BYTES = 50_000_000  # of a file; a rater's answers are a few hundred kB
SCALE = (1, 2, 3, 4, 5)
TIE = "tie"


@dataclasses.dataclass(frozen=True)
class Answer:
  """What a rater said to a question.

  Attributes:
    value: by task {criterion: "A" | "tie" | "B"}, {criterion: {"best", "worst"}} or
      {label: {criterion: 1..5}}; None where the rater could not judge.
    seconds: that the question was on the screen.
    comment: may be empty.
  """

  value: Mapping[str, Any] | None
  seconds: float
  comment: str


@dataclasses.dataclass(frozen=True)
class Returned:
  """The checked answers of one rater.

  Attributes:
    path: of the file.
    rater: name.
    simulated: whether a program answered.
    answers: by question; those that were left open are not in it.
  """

  path: str
  rater: str
  simulated: bool
  answers: Mapping[str, Answer]


def list_files(paths: str) -> list[str]:
  """The files that `--input` names: files, or folders of *.json, separated by commas.

  Raises:
    UserError: there are none.
  """
  found = []
  for path in filter(None, (word.strip() for word in paths.split(","))):
    path = os.path.expanduser(path)
    if os.path.isdir(path):
      inside = sorted(str(p) for p in pathlib.Path(path).glob("*.json"))
      if not inside:
        raise UserError(f"--input={path} holds no *.json; put the files that raters sent there")
      found += inside
    elif os.path.isfile(path):
      found.append(path)
    else:
      raise UserError(f"--input={path} not found; name the files that raters sent, or their folder")
  if not found:
    raise UserError("--input names nothing; name the files that raters sent, or their folder")
  return found


def read_answers(
  paths: Sequence[str], key: Mapping[str, Any], incomplete: str = "refuse"
) -> list[Returned]:
  """Reads and checks all files.

  Args:
    paths: of the files.
    key: of the study.
    incomplete: "refuse" or "use" files with open questions.

  Returns:
    One a rater, sorted by name.

  Raises:
    UserError: names the file and what is wrong with it.
  """
  returned: dict[str, Returned] = {}
  for path in paths:
    one = _read_file(path, key, incomplete)
    other = returned.get(one.rater)
    if other is not None:
      raise UserError(
        f"{path} and {other.path} are both of {one.rater}; keep the one that counts, and move the "
        "other out of --input"
      )
    returned[one.rater] = one
  kinds = {one.simulated for one in returned.values()}
  if len(kinds) > 1:
    simulated = next(one for one in returned.values() if one.simulated)
    real = next(one for one in returned.values() if not one.simulated)
    raise UserError(
      f"{simulated.path} was answered by a program and {real.path} by a person; the two are never "
      "mixed: import them apart"
    )
  return [returned[rater] for rater in sorted(returned)]


def _read_file(path: str, key: Mapping[str, Any], incomplete: str) -> Returned:
  return check_record(_read_json(path), path, key, incomplete)


def check_record(record: Any, path: str, key: Mapping[str, Any], incomplete: str) -> Returned:
  """Checks what a file holds.

  Args:
    record: parsed JSON.
    path: of the file, for messages.
    key: of the study.
    incomplete: "refuse" or "use" open questions.

  Raises:
    UserError: says what is wrong.
  """
  if not isinstance(record, dict) or record.get("format") != ANSWERS_FORMAT:
    raise UserError(
      f"{path} holds no answers of a rater; take it out of --input, or ask for the file that the form "
      "saves"
    )
  if record.get("version") != VERSION:
    raise UserError(
      f"{path} has version {record.get('version')!r}, this program reads {VERSION}; use the version of "
      "htmtl_jax that made the study"
    )
  if record.get("study") != key["study"]:
    raise UserError(
      f"{path} answers study {record.get('study')!r}, not {key['study']}; take it out of --input, or "
      "name the folder of its study with --study"
    )
  rater = record.get("rater")
  if not isinstance(rater, str) or rater not in key["raters"]:
    raise UserError(
      f"{path} is of {rater!r}, and the study has no such rater, only "
      f"{', '.join(key['raters'])}; ask for the file as the form saved it"
    )
  own = key["raters"][rater]
  if record.get("packet") != own["packet"]:
    raise UserError(
      f"{path} answers another packet than the one of {rater}; ask for the file as the form saved it"
    )
  if type(record.get("simulated")) is not bool:
    raise UserError(
      f"{path} does not say whether a person answered ('simulated' is not true or false); ask for "
      "the file as the form saved it"
    )
  given = record.get("answers")
  if not isinstance(given, dict):
    raise UserError(f"{path} has no 'answers'; ask for the file as the form saved it")
  questions = own["questions"]
  for name in given:
    if name not in questions:
      raise UserError(
        f"{path}: {rater} has no question {name!r}; ask for the file as the form saved it"
      )
  answers = {}
  for name, question in questions.items():
    answer = _read_answer(given.get(name), question, key, f"{path}: {name}")
    if answer is not None:
      answers[name] = answer
  missing = [name for name in questions if name not in answers]
  if missing and incomplete == "refuse":
    raise UserError(
      f"{path}: {rater} left {len(missing)} of {len(questions)} questions open ({missing[0]} first); "
      "ask the rater to open the form, load this file and go on, or use what there is with "
      "--study.analysis.incomplete=use"
    )
  return Returned(path, rater, record["simulated"], answers)


def _read_json(path: str) -> Any:
  try:
    if os.path.getsize(path) > _MAX_BYTES:
      raise UserError(f"{path} is too large to be a rater's answers; take it out of --input")
    with open(path, "rb") as file:
      return json.loads(file.read().decode("utf-8-sig"), parse_constant=_refuse_constant)
  except OSError as error:
    raise UserError(f"{path} cannot be read ({error.strerror}); check its permissions") from None
  except (ValueError, RecursionError):  # cut off, not UTF-8, not JSON, NaN
    raise UserError(
      f"{path} is damaged: not JSON; ask the rater to save the file again and send it unchanged"
    ) from None


def _refuse_constant(name: str):
  raise ValueError(name)


# ---------------------------------------------------------------------- an answer


def _read_answer(
  given: Any, question: Mapping[str, Any], key: Mapping[str, Any], where: str
) -> Answer | None:
  """One checked answer; None where the question is open."""
  if given is None:
    return None
  if not isinstance(given, dict):
    raise _wrong(where, "it is not an answer")
  seconds, comment = given.get("seconds", 0.0), given.get("comment", "")
  if type(seconds) not in (int, float) or not 0 <= seconds < 1e9:
    raise _wrong(where, f"'seconds' is {seconds!r}")
  if not isinstance(comment, str):
    raise _wrong(where, "'comment' is no text")
  skipped = given.get("skipped", False)
  if type(skipped) is not bool:
    raise _wrong(where, f"'skipped' is {skipped!r}")
  if skipped:
    return Answer(None, float(seconds), comment)
  value = given.get("answer")
  if value is None:
    return None
  if not isinstance(value, dict):
    raise _wrong(where, "'answer' is not an object")
  design = key["settings"]["design"]
  labels = list(question["candidates"])
  check = {"pairwise": _check_pairwise, "best_worst": _check_best_worst, "likert": _check_likert}
  if not check[question["task"]](value, labels, design, where):
    return None
  return Answer(value, float(seconds), comment)


def _wrong(where: str, what: str) -> UserError:
  return UserError(f"{where}: {what}; ask for the file as the form saved it")


def _check_names(value: Mapping[str, Any], known: Sequence[str], where: str) -> None:
  for name in value:
    if name not in known:
      raise _wrong(where, f"{name!r} was not asked, {' and '.join(known)} were")


def _check_pairwise(value, labels, design, where) -> bool:
  """Whether everything is answered; raises for what cannot be. So do the next two."""
  _check_names(value, design["compare_by"], where)
  for name, choice in value.items():
    if choice not in (*labels, TIE):
      raise _wrong(where, f"{name} is {choice!r}, not {', '.join(labels)} or {TIE}")
  return len(value) == len(design["compare_by"])


def _check_best_worst(value, labels, design, where) -> bool:
  _check_names(value, design["compare_by"], where)
  complete = len(value) == len(design["compare_by"])
  for name, chosen in value.items():
    if not isinstance(chosen, dict):
      raise _wrong(where, f"{name} is {chosen!r}, not a best and a worst")
    _check_names(chosen, ("best", "worst"), where)
    for which, choice in chosen.items():
      if choice not in labels:
        raise _wrong(where, f"{name} {which} is {choice!r}, not one of {', '.join(labels)}")
    if len(chosen) == 2 and chosen["best"] == chosen["worst"]:
      raise _wrong(where, f"{name} has {chosen['best']} as best and as worst")
    complete = complete and len(chosen) == 2
  return complete


def _check_likert(value, labels, design, where) -> bool:
  _check_names(value, labels, where)
  complete = len(value) == len(labels)
  for label, ratings in value.items():
    if not isinstance(ratings, dict):
      raise _wrong(where, f"{label} is {ratings!r}, not ratings")
    _check_names(ratings, design["criteria"], where)
    for name, rating in ratings.items():
      if type(rating) is not int or rating not in SCALE:
        raise _wrong(where, f"{label} {name} is {rating!r}, not a number from 1 to 5")
    complete = complete and len(ratings) == len(design["criteria"])
  return complete
