"""The keys of a config: dotted names, the nearest known name, setting one from text.

`a.b=v` on the command line becomes `config.a.b = v`, with `v` read as the type
that the key already has, so that a config never changes type by accident.
"""

import ast
from collections.abc import Mapping, Sequence
import difflib
import math
from typing import Any

import ml_collections

from htmtl_jax.errors import UserError

_TRUE_WORDS = ("true", "1", "yes")
_FALSE_WORDS = ("false", "0", "no")


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
  """Returns {dotted name: value} of a nested config or dict, sorted by name.

  Lists become tuples, so that a config read back from JSON compares equal. A
  dict that is flat already comes back as it is.
  """
  flat = {}
  for key in config:
    value = config[key]
    if isinstance(value, (Mapping, ml_collections.ConfigDict)):
      flat.update({f"{key}.{name}": v for name, v in flatten(value).items()})
    else:
      flat[key] = as_tuple(value)
  return dict(sorted(flat.items()))


def as_tuple(value: Any) -> Any:
  """Returns the value with lists turned into tuples, at every depth."""
  if isinstance(value, (list, tuple)):
    return tuple(as_tuple(element) for element in value)
  return value


def describe_unknown_key(name: str, known: Mapping[str, Any]) -> str:
  """One line that names the key nearest to `name` among the dotted keys `known`."""
  near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
  if not near:  # the right key in the wrong section
    last = name.rpartition(".")[2]
    near = [key for key in known if key.rpartition(".")[2] == last][:1]
  if not near:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
  return f"unknown config key {name}" + (f"; did you mean {near[0]}?" if near else "")


def describe_type(expected: type, old: Any = None) -> str:
  """Says in words what a key of the type `expected` (now `old`) may be set to."""
  if expected in (tuple, list):
    return f"values separated by commas, like {','.join(map(str, old or ())) or 'a,b'}"
  return {bool: "true or false", int: "an integer", float: "a number", str: "text"}.get(
    expected, expected.__name__
  )


def apply_overrides(config: ml_collections.ConfigDict, overrides: Sequence[str]) -> None:
  """Sets the keys of `a.b=v` strings in place, each read as the key's type.

  Raises:
    UserError: an unknown key (the nearest known one is named), a section in
      place of a key, or a value that is not of the key's type.
  """
  for override in overrides:
    name, equals, text = override.partition("=")
    if not equals:
      raise UserError(f"override {override!r} has no value; write --config.{name}=VALUE")
    *sections, key = name.split(".")
    node = config
    for section in sections:
      node = node.get(section) if section in node else None
      if not isinstance(node, ml_collections.ConfigDict):
        raise UserError(describe_unknown_key(name, flatten(config)))
    if key not in node:
      raise UserError(describe_unknown_key(name, flatten(config)))
    if isinstance(node[key], ml_collections.ConfigDict):
      raise UserError(
        f"config key {name} is a section with the keys "
        f"{', '.join(sorted(node[key]))}; set one of those"
      )
    node[key] = _parse_value(name, text, node[key], node.get_type(key))


def _parse_value(name: str, text: str, old: Any, expected: type) -> Any:
  """Reads `text` as a value of the type `expected`; `old` gives element types."""
  if old is None and text.strip().lower() == "none":
    return None
  try:
    if expected in (tuple, list):
      return expected(_parse_elements(text, old or ()))
    if expected is type(None):
      return _guess_value(text)
    return _parse_scalar(text, expected)
  except ValueError:
    raise UserError(
      f"config key {name} cannot be {text!r}; it expects {describe_type(expected, old)}"
    ) from None


def _parse_scalar(text: str, expected: type) -> Any:
  if expected is bool:
    word = text.strip().lower()
    if word not in _TRUE_WORDS + _FALSE_WORDS:
      raise ValueError(text)
    return word in _TRUE_WORDS
  if expected is int:
    try:
      return int(text)
    except ValueError:
      number = float(text)  # 1e5 is a handy way to write an int
      if not number.is_integer():
        raise ValueError(text) from None
      return int(number)
  if expected is float:
    number = float(text)
    if math.isnan(number):
      raise ValueError(text)
    return number
  if expected is str:
    return text
  raise ValueError(text)


def _parse_elements(text: str, old: Sequence[Any]) -> list[Any]:
  text = text.strip()
  if old and all(isinstance(element, tuple) for element in old):
    return _parse_rows(text, old)
  if text[:1] in ("(", "[") and text[-1:] in (")", "]"):
    text = text[1:-1]
  words = [word.strip() for word in text.split(",")]
  if words[-1] == "":  # "" is the empty tuple, "1," a tuple of one
    words.pop()
  types = {type(element) for element in old}
  if types == {int, float}:
    types = {float}
  if len(types) == 1:
    (element_type,) = types
    if element_type is str:
      return [word.strip("\"'") for word in words]
    return [_parse_scalar(word, element_type) for word in words]
  return [_guess_value(word) for word in words]


def _parse_rows(text: str, old: Sequence[tuple]) -> list[tuple]:
  """Reads "(16, 768), (24, 1024)": rows as long and of the same types as the first there is."""
  try:
    rows = ast.literal_eval(
      f"({text.rstrip(', ')},)" if text[:2] not in ("((", "[[", "[(", "([") else text
    )
  except SyntaxError:
    raise ValueError(text) from None
  types = [type(value) for value in old[0]]
  for row in rows:
    if not isinstance(row, (tuple, list)) or [type(value) for value in row] != types:
      raise ValueError(text)
  return [tuple(row) for row in rows]


def _guess_value(text: str) -> Any:
  """Reads a value of a key whose type is not known: a Python literal, else text."""
  if text.lower() in ("true", "false"):
    return text.lower() == "true"
  try:
    value = ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text
  return value if isinstance(value, (int, float, str, tuple)) else text
