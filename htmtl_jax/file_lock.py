"""One run at a time: a lock that ends with the process that holds it."""

from collections.abc import Callable, Iterator
import contextlib
import os

from absl import logging


@contextlib.contextmanager
def lock_file(path: str, on_wait: Callable[[], None]) -> Iterator[None]:
  """Holds the lock of `path`, which is made if need be and stays there, empty.

  Args:
    path: in an existing folder.
    on_wait: called once if another process holds the lock; then this one waits.
  """
  try:
    import fcntl
  except ImportError:  # not on every system
    yield
    return
  with open(path, "w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      on_wait()
      fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
      logging.warning(
        "%s: no file locks here; do not use the folder from two runs at once", os.path.dirname(path)
      )
    yield
