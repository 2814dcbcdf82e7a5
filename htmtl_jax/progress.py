"""Progress for people: a bar on a terminal, a plain line now and then in a log.

Everything goes to stderr, so that stdout holds results only.
"""

from collections.abc import Callable
import io
import sys
import time
from typing import Any, TextIO

_silent = False
_LONG_FIRST_SECONDS = 5.0  # a first unit that took longer may have waited for a compilation


def silence() -> None:
  """From now on nothing is shown in this process: another one of the same run shows it."""
  global _silent
  _silent = True


def format_duration(seconds: float) -> str:
  """Returns a duration in the two units that matter: `2 min 13 s`, `3 h 05 min`."""
  seconds = max(0, round(seconds))
  if seconds < 60:
    return f"{seconds} s"
  if seconds < 3600:
    return f"{seconds // 60} min {seconds % 60:02d} s"
  return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


class Progress:
  """Counts units of work up to a total and tells how long the rest will take.

  Use as a context manager:

    with Progress(num_steps, "train", initial=restored_step) as progress:
      for ...:
        progress.update(loss=loss)

  On a terminal this is a tqdm bar. Elsewhere it is one line when at least
  `every_seconds` have passed since the last one, and a closing line:
  `train 120/400 (30%), 2.1 step/s, 2 min 13 s left, loss 2.31`.
  """

  def __init__(
    self,
    total: int,
    label: str,
    initial: int = 0,
    unit: str = "step",
    *,
    every_seconds: float = 10.0,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
  ):
    """Starts counting.

    Args:
      total: units of work altogether.
      label: what is being done, one word.
      initial: units done before (a resumed run); they do not count for the rate.
      unit: what is counted, singular.
      every_seconds: shortest time between two plain lines.
      stream: where to write, default `sys.stderr`.
      clock: returns seconds, for tests.
    """
    self._total, self._label, self._unit = total, label, unit
    self._initial = self._count = initial
    self._every_seconds = every_seconds
    self._stream = stream if stream is not None else sys.stderr
    if _silent:
      self._stream = io.StringIO()
    self._clock = clock
    self._start = self._last_line_time = clock()
    # What the rate is counted from: the first unit, once others have followed it, since it may
    # have waited for a compilation.
    self._first: tuple[float, int] | None = None
    self._last_line_count: int | None = None
    self._postfix: dict[str, Any] = {}
    self._bar = None
    if self._stream.isatty():
      import tqdm  # here, because a machine without a terminal may be without it too

      self._bar = tqdm.tqdm(
        total=total,
        desc=label,
        initial=initial,
        unit=f" {unit}",
        file=self._stream,
        dynamic_ncols=True,
      )

  def __enter__(self) -> "Progress":
    return self

  def __exit__(self, *exception_info) -> None:
    self.close()

  def update(self, n: int = 1, **postfix: Any) -> None:
    """Counts `n` more units; `postfix` values stay shown until replaced."""
    self._count += n
    self._first = self._first or (self._clock(), self._count)
    self._postfix.update(postfix)
    if self._bar is not None:
      if postfix:
        self._bar.set_postfix_str(self._format_postfix(), refresh=False)
      self._bar.update(n)
    elif self._clock() - self._last_line_time >= self._every_seconds:
      self._write_line()

  @property
  def count(self) -> int:
    """Units done so far."""
    return self._count

  def skip(self, n: int) -> None:
    """Counts `n` units that were done before; like `initial`, they say nothing of the rate."""
    self._initial += n
    self._count += n
    if self._first:
      self._first = (self._first[0], self._first[1] + n)
    if self._bar is not None:
      self._bar.initial += n
      self._bar.update(n)

  def say(self, text: str) -> None:
    """Prints a line without breaking the bar."""
    if self._bar is not None:
      self._bar.write(text, file=self._stream)
    else:
      print(text, file=self._stream, flush=True)

  def close(self) -> None:
    """Ends the bar, or writes the closing line if its count was not written yet."""
    if self._bar is not None:
      self._bar.close()
      self._bar = None
    elif self._last_line_count != self._count and self._count > self._initial:
      self._write_line()

  def _write_line(self) -> None:
    self._last_line_time, self._last_line_count = self._clock(), self._count
    print(self._format_line(), file=self._stream, flush=True)

  def _format_line(self) -> str:
    parts = [f"{self._label} {self._count}/{self._total}"]
    if self._total > 0:
      parts[0] += f" ({100 * self._count // self._total}%)"
    seconds = self._clock() - self._start
    remaining = self._total - self._count
    done, spent = self._count - self._initial, seconds
    if self._first and self._count > self._first[1] and self._clock() > self._first[0]:
      done, spent = self._count - self._first[1], self._clock() - self._first[0]
    elif remaining > 0 and seconds >= _LONG_FIRST_SECONDS:
      done = 0  # the first alone tells nothing of the rest
    if done > 0 and spent > 0:
      rate = done / spent
      parts.append(
        f"{rate:.3g} {self._unit}/s" if rate >= 0.1 else f"{1 / rate:.3g} s/{self._unit}"
      )
      parts.append(
        f"{format_duration(remaining / rate)} left"
        if remaining > 0
        else f"took {format_duration(seconds)}"
      )
    if self._postfix:
      parts.append(self._format_postfix())
    return ", ".join(parts)

  def _format_postfix(self) -> str:
    return ", ".join(
      f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
      for name, value in self._postfix.items()
    )
