"""Words and numbers as terminal, Markdown and HTML show them."""

from collections.abc import Callable, Mapping
from typing import Any

_MARKDOWN_SPECIAL = r"\`*_[]<>|#&"


def printable(text: str) -> str:
  """No control characters: names of files must not drive a terminal or break a row."""
  return "".join(c if c.isprintable() else "?" for c in text)


def escape_markdown(text: str) -> str:
  """Text that Markdown shows as it is, in one line."""
  return "".join("\\" + c if c in _MARKDOWN_SPECIAL else c for c in printable(text))


def plural(count: int, noun: str) -> str:
  """ "1 rater", "2 raters"."""
  return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def percent(value: float | None) -> str:
  """ "62%", or "-" for nothing."""
  return "-" if value is None else f"{value:.0%}"


def signed(value: float | None) -> str:
  """ "+0.25"."""
  return "-" if value is None else f"{value:+.2f}"


def p_value(value: float) -> str:
  """Three digits; smaller ones only as small."""
  return "< 0.001" if value < 0.001 else f"{value:.3f}"


def score(value: float | None, task: str) -> str:
  """A mean: win rates in percent, others with two digits."""
  if value is None:
    return "-"
  return f"{100.0 * value:.1f}%" if task == "pairwise" else f"{value:.2f}"


def bounds(low: float | None, high: float | None, show: Callable[[float], str]) -> str:
  """ " [LOW, HIGH]", or nothing where they are not known."""
  return "" if low is None or high is None else f" [{show(low)}, {show(high)}]"


def interval(own: Mapping[str, Any], task: str) -> str:
  """A mean with its interval."""
  return score(own["mean"], task) + bounds(own["low"], own["high"], lambda v: score(v, task))
