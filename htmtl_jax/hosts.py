"""What the processes of one run say to each other; without others, nothing is said.

All of these are collective: every process calls them in the same order. `distributed.py`
brings the processes together.

Where one may be late by more than a moment, since the first prepares, scores or writes alone,
the others wait in `meet`: in JAX's coordination service, where waiting has no limit but ours. In a
collective operation of the devices it has some of others, of minutes, and they end the run.
"""

from collections.abc import Callable
import contextlib
import os
import pickle
import sys
import threading
import time
from typing import Any, TypeVar

import jax
from jax._src import distributed  # the service has no public interface; Orbax takes this one, too
from jax.experimental import multihost_utils
import jax.numpy as jnp
import numpy as np

from htmtl_jax.errors import UserError
from htmtl_jax.sharding import put_by_host, replicated

T = TypeVar("T")

_WAIT = "HTMTL_WAIT_HOURS"
_FEWEST_HOURS, _MOST_HOURS = 1e-4, 100_000  # milliseconds have to fit into JAX's integer
_QUIET_SECONDS = 60  # so long nobody says that he waits


def meet() -> None:
  """Waits until all processes are here, for up to HTMTL_WAIT_HOURS (24).

  Says so in a line after a minute. SIGTERM is heard meanwhile.

  Raises:
    UserError: somebody did not come in that time, or see `wait_hours`.
  """
  if jax.process_count() == 1:
    return
  hours = wait_hours()
  started, errors = time.monotonic(), []

  def wait():
    try:
      distributed.global_state.client.wait_at_barrier("htmtl_jax", int(hours * 3_600_000))
    except Exception as error:
      errors.append(error)

  waiting = threading.Thread(target=wait, daemon=True)  # in C++, a signal would have to wait
  waiting.start()
  waiting.join(_QUIET_SECONDS)
  if waiting.is_alive():
    print(
      f"htmtl_jax: process {jax.process_index()} waits for the others, for up to {hours:g} h ({_WAIT})",
      file=sys.stderr,
      flush=True,
    )
    waiting.join()
  if errors:
    if "DEADLINE_EXCEEDED" in str(errors[0]):
      if time.monotonic() - started < hours * 3600 / 2:  # it is this one that was waited for
        raise UserError(
          f"process {jax.process_index()} came too late: the others had waited {hours:g} h for it; "
          f"run the same command again, with {_WAIT} at more hours"
        ) from errors[0]
      raise UserError(
        f"process {jax.process_index()} has waited {hours:g} h for the others; see what they do, and "
        f"run the same command again, with {_WAIT} at more hours if they need them"
      ) from errors[0]
    raise errors[0]


def wait_hours() -> float:
  """HTMTL_WAIT_HOURS, or 24.

  Raises:
    UserError: it is none that one can wait.
  """
  text = os.environ.get(_WAIT, "24")
  with contextlib.suppress(ValueError):
    if _FEWEST_HOURS <= float(text) <= _MOST_HOURS:
      return float(text)
  raise UserError(
    f"{_WAIT}={text} must be a number of hours from {_FEWEST_HOURS:g} to {_MOST_HOURS:,}"
  )


def is_first() -> bool:
  """Whether this process writes what is written once."""
  return jax.process_index() == 0


def gather(value: T) -> list[T]:
  """Every process's value, in the order of the processes, at every process.

  Args:
    value: anything that pickles, of at most 2 GiB.
  """
  if jax.process_count() == 1:
    return [value]
  meet()
  content = np.frombuffer(pickle.dumps(value), np.uint8)
  sizes = multihost_utils.process_allgather(np.array([len(content)], np.int32))[:, 0]
  padded = np.zeros(1 << (int(sizes.max()) - 1).bit_length(), np.uint8)  # few sizes to compile
  padded[: len(content)] = content
  rows = multihost_utils.process_allgather(padded)
  return [pickle.loads(row[:size].tobytes()) for row, size in zip(rows, sizes)]


def any_of(wanted: bool) -> bool:
  """Whether it is true at any process."""
  return any(gather(bool(wanted)))


def merge(own: dict[int, T]) -> dict[int, T]:
  """All processes' entries in one, by rising key; no key is at two with another value."""
  merged = {key: value for part in gather(own) for key, value in part.items()}
  return dict(sorted(merged.items()))


def first_then_others(function: Callable[[], T]) -> T:
  """Calls it at process 0, then at the others, which find on disk what was made.

  Raises:
    UserError: at every process, if it was raised at one; other exceptions likewise.
  """
  if jax.process_count() == 1:
    return function()
  result = None
  for turn in (True, False):
    error = None
    if is_first() == turn:
      try:
        result = function()
      except Exception as own:
        error = own
    stop_together(error)
  return result


def stop_together(error: Exception | None) -> None:
  """Raises at every process what one has met, each gives its own error or None.

  Raises:
    UserError: if that is what was met; other exceptions are a RuntimeError where they are not one's own.
  """
  said = gather(None if error is None else (isinstance(error, UserError), str(error)))
  if error is not None:
    raise error
  for index, message in enumerate(said):
    if message is not None:
      is_of_user, text = message
      raise (UserError if is_of_user else RuntimeError)(f"process {index}: {text}")


class AgreedStop:
  """Whether any process wants to stop: the same answer at the same call everywhere.

  A flag of each process is joined on the devices, and looked at one call later, when it
  has long been there: nobody waits for it. So a wish is followed one step after.
  """

  def __init__(self, mesh: Any):
    self._mesh = mesh
    self._several = jax.process_count() > 1
    self._join = jax.jit(jnp.max, out_shardings=replicated(mesh))
    self._pending = None

  def __call__(self, wanted: bool) -> bool:
    if not self._several:
      return wanted
    previous = self._pending
    self._pending = self._join(put_by_host(self._mesh, int(wanted)))
    if must_wait():
      self._pending.block_until_ready()
    return previous is not None and bool(previous)


def must_wait() -> bool:
  """Whether each program has to end before the next one is queued.

  Processes on CPUs stop for good when collective operations of two queued programs meet
  in another order at one of them.
  """
  return jax.process_count() > 1 and jax.default_backend() == "cpu"
