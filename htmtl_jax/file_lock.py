"""One run at a time: a lock that ends with the process that holds it."""

from collections.abc import Callable, Iterator
import contextlib
import os
import socket
import time

from absl import logging


@contextlib.contextmanager
def lock_file(
  path: str, on_wait: Callable[[], None], seconds: float | None = None
) -> Iterator[None]:
  """Holds the lock of `path`, which is made if need be and stays there, with `this_machine` in it.

  Args:
    path: in an existing folder.
    on_wait: called once if another process holds the lock; then this one waits.
    seconds: for so long; None for as long as it takes.

  Raises:
    TimeoutError: the other one still holds it.
  """
  try:
    import fcntl
  except ImportError:  # not on every system
    yield
    return
  with open(path, "a+", encoding="utf-8") as file:  # what the holder wrote stays
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      on_wait()
      _wait_for_lock(file, seconds)
    except OSError:
      logging.warning(
        "%s: no file locks here; do not use the folder from two runs at once", os.path.dirname(path)
      )
    file.truncate(0)
    file.write(this_machine())
    file.flush()
    yield


def this_machine() -> str:
  """What no other machine has, nor this one once it has been started again."""
  try:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
      return file.read().strip()
  except OSError:  # not on every system
    return socket.gethostname()


def _wait_for_lock(file, seconds: float | None) -> None:
  import fcntl

  if seconds is None:
    fcntl.flock(file, fcntl.LOCK_EX)
    return
  deadline = time.monotonic() + seconds
  while True:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      return
    except BlockingIOError:
      if time.monotonic() >= deadline:
        raise TimeoutError(f"{file.name} is held by another process") from None
      time.sleep(min(0.5, seconds))
