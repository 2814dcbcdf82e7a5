"""What the processes of one run say to each other; without others, nothing is said.

All of these are collective: every process calls them in the same order. `distributed.py`
brings the processes together.
"""

from collections.abc import Callable
import pickle
from typing import Any, TypeVar

import jax
from jax.experimental import multihost_utils
import jax.numpy as jnp
import numpy as np

from htmtl_jax.errors import UserError
from htmtl_jax.sharding import put_by_host, replicated

T = TypeVar("T")


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
    _stop_together(error)
  return result


def _stop_together(error: Exception | None) -> None:
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
