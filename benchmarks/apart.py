"""Measurements in processes of their own, with a limit on their time."""

from collections.abc import Sequence
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading

_REPOSITORY = str(pathlib.Path(__file__).resolve().parent.parent)


def measure_apart(request: dict, limit: float) -> dict:
  """What `benchmarks.measure` says of a request in a new process, within `limit` seconds."""
  with _Measurement(request, limit) as measurement:
    measurement.wait()
    return measurement.result()


def measure_in_turns(requests: Sequence[dict], limit: float) -> list[dict]:
  """The same of several requests of as many repeats, timed in turns: first all once, then all again.

  So a machine that slows down meets all alike. All are warmed up before, one after the other, and stay
  in memory together. Every second time they go in the opposite order.

  Args:
    requests: with "repeats".
    limit: seconds for each warm-up and for each turn of each.
  """
  with contextlib.ExitStack() as stack:
    running = []
    for request in requests:
      running.append(stack.enter_context(_Measurement({**request, "in_turns": True}, limit)))
      running[-1].wait()
    for turn in range(max(request["repeats"] for request in requests)):
      for measurement in running[:: -1 if turn % 2 else 1]:
        measurement.go()
        measurement.wait()
    return [measurement.result() for measurement in running]


class _Measurement:
  """A process of `benchmarks.measure`; leaving the context ends it and all that it started."""

  def __init__(self, request: dict, limit: float):
    self._limit, self._is_late = limit, False
    self._folder = tempfile.TemporaryDirectory(prefix="htmtl_benchmark_")
    self._result = pathlib.Path(self._folder.name) / "result.json"
    self._errors = open(pathlib.Path(self._folder.name) / "errors", "w+", errors="replace")
    search_path = os.pathsep.join(filter(None, (_REPOSITORY, os.environ.get("PYTHONPATH"))))
    self._process = subprocess.Popen(
      [sys.executable, "-m", "benchmarks.measure", str(self._result)],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._errors,
      text=True,
      env=dict(os.environ, PYTHONPATH=search_path),
      start_new_session=True,  # so that a limit ends its children too
    )
    self._say(json.dumps(request))

  def __enter__(self):
    return self

  def __exit__(self, *exception_info):
    self._end()
    self._process.wait()
    for file in (self._process.stdin, self._process.stdout, self._errors):
      with contextlib.suppress(OSError):  # what nobody has read
        file.close()
    self._folder.cleanup()

  def wait(self) -> None:
    """Returns when it is ready for its next turn, or has ended, or the limit has ended it."""
    timer = threading.Timer(self._limit, self._be_late)
    timer.start()
    try:
      for line in self._process.stdout:
        if line == "ready\n":
          return
    finally:
      timer.cancel()

  def go(self) -> None:
    """Its turn; nothing happens where it has ended."""
    self._say("go")

  def result(self) -> dict:
    """Its row, once it has ended."""
    status = self._process.wait()
    if self._is_late:
      return {"status": "timeout", "message": f"no result within {self._limit:g} s"}
    if self._result.is_file():
      return json.loads(self._result.read_text())
    if status == -signal.SIGKILL:
      return {"status": "out of memory", "message": "killed by the system, most likely for memory"}
    self._errors.seek(0)
    last = (self._errors.read().strip().splitlines() or ["no message"])[-1]
    return {"status": "failed", "message": f"exit status {status}: {last[:500]}"}

  def _say(self, line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.write(line + "\n")
      self._process.stdin.flush()

  def _be_late(self) -> None:
    self._is_late = True
    self._end()

  def _end(self) -> None:
    with contextlib.suppress(ProcessLookupError):
      os.killpg(self._process.pid, signal.SIGKILL)
