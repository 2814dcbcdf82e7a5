"""One training in a workdir at a time: two would overwrite each other's checkpoints."""

from collections.abc import Iterator
import contextlib
import os
import sys

from htmtl_jax import hosts
from htmtl_jax.errors import UserError
from htmtl_jax.file_lock import lock_file, this_machine

LOCK = ".lock"  # in the workdir, held while training
_PATIENCE_SECONDS = 120.0  # a network file system needs so long to notice that a host is gone


@contextlib.contextmanager
def alone_in(workdir: str) -> Iterator[None]:
  """Makes the workdir, and keeps other trainings out of it meanwhile.

  Raises:
    UserError: at every process, if another training is in there, or the folder cannot be made.
  """
  with contextlib.ExitStack() as held:
    error = None
    try:
      os.makedirs(workdir, exist_ok=True)
      if hosts.is_first():
        _lock(workdir, held)
    except UserError as e:
      error = e
    except OSError as e:
      error = UserError(
        f"--workdir={workdir} cannot be made ({e.strerror}); give a folder one can write to"
      )
      error.__cause__ = e
    hosts.stop_together(error)
    yield


def _lock(workdir: str, held: contextlib.ExitStack) -> None:
  """Takes the workdir's lock, for as long as `held` lasts.

  A network file system may keep the lock of a machine that is gone, some for ever. So where another
  machine has it, this one warns after a while and goes on: a spot machine has to be replaceable.

  Raises:
    UserError: another process of this machine has it.
  """
  path = os.path.join(workdir, LOCK)
  say = lambda text: print(f"htmtl_jax: {text}", file=sys.stderr, flush=True)
  try:
    wait = f"another training seems to be in {workdir}: waiting for up to {_PATIENCE_SECONDS:.0f} s"
    held.enter_context(lock_file(path, lambda: say(wait), _PATIENCE_SECONDS))
  except TimeoutError as e:
    with open(path, encoding="utf-8") as file:
      if file.read() == this_machine():
        raise UserError(
          f"--workdir={workdir} is in use by another training; end that one first, or give another "
          "folder"
        ) from e
    say(
      f"warning: another machine holds {path}; going on, since it may be gone. If a training is still "
      "running there, end one of the two: they would overwrite each other's checkpoints"
    )
