"""Configs: loading a config file, overriding single keys, comparing two runs.

A config file defines `get_config() -> ml_collections.ConfigDict`, nested by
subject: `config.model.num_heads`, dotted name `model.num_heads`. (What can be
said about one key is in `config_keys.py`: names, nearest names, `a.b=v`.)
`configs/base.py` holds every key there is, so it is also the schema; the
other files start from it and change values.

This file knows no key by name: what a key means is the business of its reader.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import difflib
import importlib.util
import json
import os
import pathlib
import sys
import traceback
from typing import Any, TypeVar, get_args, get_origin, get_type_hints
import uuid

import ml_collections

from htmtl_jax.config_keys import (
  apply_overrides,
  as_tuple,
  describe_type,
  describe_unknown_key,
  flatten,
)
from htmtl_jax.errors import UserError

CONFIG_FILE = "config.json"

_REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
_MAX_DIFFERENCES_SHOWN = 5

DataclassT = TypeVar("DataclassT")


# ----------------------------------------------------------------- config files


def load_config(path: str | os.PathLike, overrides: Sequence[str] = ()):
  """Returns the locked config of a file, with `a.b=v` overrides applied.

  Args:
    path: a Python file with a function `get_config()`; behind a colon may stand an
      argument for it ("configs/ablation.py:no_copy").
    overrides: strings `a.b=v`; `v` is read as the type that `a.b` already has.

  Returns:
    A locked `ConfigDict`: values can be changed, keys cannot be added.

  Raises:
    UserError: no such file, a file that does not run or has no `get_config`,
      an unknown key, or a value of the wrong type.
  """
  path, colon, argument = os.fspath(path).partition(".py:")
  arguments = (argument,) if colon else ()
  config = _run_get_config(pathlib.Path(path + (".py" if colon else "")), arguments)
  apply_overrides(config, overrides)
  return config.lock()


def load_schema(near: str | os.PathLike | None = None):
  """Returns the config of `base.py`, which has every known key, or None.

  Looks in the project's own `configs/`, then in the folder of the file `near`
  (an installed package has no `configs/` beside it).
  """
  folders = [_REPOSITORY / "configs"]
  if near is not None:
    folders.append(pathlib.Path(near).parent)
  for folder in folders:
    if (folder / "base.py").is_file():
      return load_config(folder / "base.py")
  return None


def _run_get_config(
  path: pathlib.Path, arguments: tuple[str, ...] = ()
) -> ml_collections.ConfigDict:
  if not path.is_file():
    raise UserError(_describe_missing_file(path))
  name = f"htmtl_jax_config_{path.stem}"
  spec = importlib.util.spec_from_file_location(name, path)
  if spec is None or path.suffix != ".py":
    raise UserError(f"config {path} is not a Python file (*.py)")
  module = importlib.util.module_from_spec(spec)
  # `from configs import base` has to work from any working directory, also in
  # a config file that somebody keeps outside the project.
  search_path = [str(path.resolve().parent.parent), str(_REPOSITORY)]
  sys.path[:0] = search_path
  try:
    spec.loader.exec_module(module)
    if not callable(getattr(module, "get_config", None)):
      raise UserError(
        f"config {path} has no function get_config(); "
        "define one that returns an ml_collections.ConfigDict"
      )
    config = module.get_config(*arguments)
  except UserError:
    raise
  except Exception as error:  # whatever a file written by a user may raise
    raise UserError(
      f"config {path}{_line_of_failure(error, path)} failed: "
      f"{type(error).__name__}: {_one_line(error)}"
    ) from error
  finally:
    for folder in search_path:
      sys.path.remove(folder)
  if not isinstance(config, ml_collections.ConfigDict):
    raise UserError(
      f"get_config() of {path} returned {type(config).__name__}; "
      "return an ml_collections.ConfigDict"
    )
  return config


def _describe_missing_file(path: pathlib.Path) -> str:
  if path.is_dir():
    return f"config {path} is a folder; name a file in it: {_list_configs(path, '')}"
  if not path.parent.is_dir():
    return f"config {path} not found: there is no folder {path.parent}"
  return f"config {path} not found; in that folder: {_list_configs(path.parent, path.name)}"


def _list_configs(folder: pathlib.Path, wanted: str) -> str:
  names = sorted(p.name for p in folder.glob("*.py") if _defines_config(p))
  near = difflib.get_close_matches(wanted, names, n=5, cutoff=0.7)
  return ", ".join(near or names[:20]) or "no *.py file"


def _defines_config(path: pathlib.Path) -> bool:
  """False of modules that configs import, and of what cannot be read."""
  try:
    return "def get_config" in path.read_text(encoding="utf-8", errors="replace")
  except OSError:
    return False


def _line_of_failure(error: Exception, path: pathlib.Path) -> str:
  if isinstance(error, SyntaxError):
    return f" line {error.lineno}"
  lines = [
    frame.lineno
    for frame in traceback.extract_tb(error.__traceback__)
    if pathlib.Path(frame.filename).resolve() == path.resolve()
  ]
  return f" line {lines[-1]}" if lines else ""


def _one_line(error: Exception) -> str:
  text = error.args[0] if isinstance(error, KeyError) and error.args else error
  return " ".join(str(text).split())


# ------------------------------------------------------------ comparing configs


def validate(config: ml_collections.ConfigDict, base: ml_collections.ConfigDict) -> None:
  """Checks that `config` has the keys of the schema `base`, with values of its types.

  An int may stand where `base` has a float; a None in `base` allows anything.

  Raises:
    UserError: a key that `base` lacks (the nearest one is named), a key that
      only `base` has, or a value of another type.
  """
  known, given = flatten(base), flatten(config)
  for name in given:
    if name not in known:
      raise UserError(describe_unknown_key(name, known))
  for name, default in known.items():
    if name not in given:
      raise UserError(
        f"config key {name} is missing; configs/base.py has it "
        f"(default {default!r}): start from there"
      )
    value = given[name]
    if (
      default is None
      or value is None
      or isinstance(value, type(default))
      and (isinstance(value, bool) == isinstance(default, bool))
    ):
      continue
    if isinstance(default, float) and type(value) is int:
      continue
    raise UserError(
      f"config key {name} is {value!r}; it expects {describe_type(type(default), default)}"
    )


def check_resume(
  saved: Mapping[str, Any], current: Mapping[str, Any], may_differ: Sequence[str] = ()
) -> None:
  """Refuses to continue a run under a config that would change its course.

  Args:
    saved: config of the run in the workdir, nested or flat.
    current: config asked for now, nested or flat.
    may_differ: dotted names of keys, or of whole sections, that do not change
      the trajectory ("train.steps", "mesh").

  Raises:
    UserError: names the keys that differ, saved and current value of each.
  """
  before, now = flatten(saved), flatten(current)
  absent = object()  # a key that one side lacks differs from every value
  allowed = [name.rstrip(".") for name in may_differ]
  differing = [
    name
    for name in sorted(before.keys() | now.keys())
    if before.get(name, absent) != now.get(name, absent)
    and not any(name == a or name.startswith(a + ".") for a in allowed)
  ]
  if not differing:
    return
  show = lambda values, name: repr(values[name]) if name in values else "absent"
  shown = [
    f"{name}: {show(before, name)} -> {show(now, name)}"
    for name in differing[:_MAX_DIFFERENCES_SHOWN]
  ]
  more = len(differing) - len(shown)
  raise UserError(
    f"the workdir holds a run with another config ({len(differing)} "
    f"{'key differs' if len(differing) == 1 else 'keys differ'}, saved -> now): "
    + "; ".join(shown)
    + (f"; and {more} more" if more else "")
    + "; use a new --workdir, or set them back"
  )


# ------------------------------------------------------- config.json of a workdir

# What runs did before there was a key for it: section, a key that it has had before, key, value.
_YOUNGER_KEYS = (
  ("model", "scan_layers", "scan_unroll", 1),
  ("model", "scan_layers", "residual_init", "unit"),
  ("model", "top_down", "top_down_mlps", "all"),
)


def to_json(config: Mapping[str, Any]) -> str:
  """Returns the config as indented JSON with sorted keys."""
  if isinstance(config, ml_collections.ConfigDict):
    config = config.to_dict()
  return json.dumps(config, indent=2, sort_keys=True) + "\n"


def from_json(text: str) -> ml_collections.ConfigDict:
  """Returns the locked config of `to_json`; lists come back as tuples.

  Raises:
    UserError: the text is not a JSON object.
  """
  try:
    values = json.loads(text)
  except json.JSONDecodeError as error:
    raise UserError(f"{CONFIG_FILE} is not JSON ({error})") from None
  if not isinstance(values, dict):
    raise UserError(f"{CONFIG_FILE} holds a {type(values).__name__}, not an object")
  nest = lambda node: {
    key: nest(value) if isinstance(value, dict) else as_tuple(value) for key, value in node.items()
  }
  return ml_collections.ConfigDict(nest(values)).lock()


def save_config(config: Mapping[str, Any], workdir: str | os.PathLike) -> None:
  """Writes `config.json` in the workdir, whole or not at all."""
  workdir = pathlib.Path(workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  temporary = workdir / f".{CONFIG_FILE}.{uuid.uuid4().hex}"
  temporary.write_text(to_json(config), encoding="utf-8")
  temporary.replace(workdir / CONFIG_FILE)


def load_saved_config(workdir: str | os.PathLike) -> ml_collections.ConfigDict | None:
  """Returns the config that a run left in its workdir, or None if there is none.

  Keys that are younger than the run have the value that stands for what it did.
  """
  path = pathlib.Path(workdir) / CONFIG_FILE
  if not path.is_file():
    return None
  try:
    config = from_json(path.read_text(encoding="utf-8"))
  except UserError as error:
    raise UserError(f"{path}: {error}; pass --config, or use another --workdir") from None
  with config.unlocked():
    for section, elder, key, value in _YOUNGER_KEYS:
      own = config.get(section)
      if isinstance(own, ml_collections.ConfigDict) and elder in own and key not in own:
        own[key] = value
  return config


# ------------------------------------------------------ sections as dataclasses


def _length(hint: Any) -> int | None:
  """Values that a tuple type has, None where it has any number."""
  arguments = get_args(hint)
  return None if not arguments or arguments[-1] is Ellipsis else len(arguments)


def get_frozen(section: Mapping[str, Any], cls: type[DataclassT], name: str = "") -> DataclassT:
  """Builds the dataclass `cls` from a config section, field by field.

  Lists become tuples, ints become floats where the field is a float, and a
  section inside becomes a dataclass where the field is one.

  Args:
    section: the values, one for each field that has no default.
    cls: a dataclass.
    name: dotted name of the section, for messages; default: the class's name.

  Raises:
    UserError: an unknown key, a missing one, or a value of the wrong type.
  """
  name = name or cls.__name__
  fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
  hints = get_type_hints(cls)
  values = {}
  for key in section:
    if key not in fields:
      raise UserError(
        describe_unknown_key(f"{name}.{key}", {f"{name}.{field}": None for field in fields})
      )
    value, expected = as_tuple(section[key]), hints[key]
    if dataclasses.is_dataclass(expected) and isinstance(
      value, (Mapping, ml_collections.ConfigDict)
    ):
      value = get_frozen(value, expected, f"{name}.{key}")
    elif get_origin(expected) is tuple and _length(expected) not in (None, len(value)):
      raise UserError(
        f"config key {name}.{key} is {value!r}; it expects {_length(expected)} values, "
        "one for each level: sentence, paragraph, section"
      )
    elif expected is float and type(value) is int:
      value = float(value)
    elif expected in (bool, int, float, str) and type(value) is not expected:
      raise UserError(f"config key {name}.{key} is {value!r}; it expects {describe_type(expected)}")
    values[key] = value
  for key, field in fields.items():
    has_default = (
      field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    )
    if key not in values and not has_default:
      raise UserError(f"config key {name}.{key} is missing")
  return cls(**values)
