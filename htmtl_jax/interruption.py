"""SIGTERM as a request to stop: after the step in progress, or at once where nothing is lost."""

import contextlib
import signal


class Interrupted(BaseException):
  """SIGTERM came where work can simply be done again. Not an `Exception`: nobody may swallow it."""


class Interruption:
  """While entered, SIGTERM raises `Interrupted`; inside `deferred()` it only sets `requested`.

  Attributes:
    requested: whether SIGTERM came.
  """

  def __init__(self):
    self.requested = False
    self._is_deferred = False

  def __enter__(self):
    try:
      self._previous = signal.signal(signal.SIGTERM, self._handle)
    except ValueError:  # not the main thread: the embedding program owns the signals
      self._previous = None
    return self

  def __exit__(self, *unused):
    if self._previous is not None:
      signal.signal(signal.SIGTERM, self._previous)

  @contextlib.contextmanager
  def deferred(self):
    """Here the caller looks at `requested` himself, and saves before he stops."""
    self._is_deferred = True
    try:
      yield self
    finally:
      self._is_deferred = False

  def _handle(self, *unused):
    self.requested = True
    if not self._is_deferred:
      raise Interrupted
