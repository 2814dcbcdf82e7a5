"""A measurement in a process of its own, with a limit on its time."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

_REPOSITORY = str(pathlib.Path(__file__).resolve().parent.parent)


def measure_apart(request: dict, limit: float) -> dict:
  """What `benchmarks.measure` says of a request in a new process, within `limit` seconds."""
  search_path = os.pathsep.join(filter(None, (_REPOSITORY, os.environ.get("PYTHONPATH"))))
  with tempfile.TemporaryDirectory(prefix="htmtl_benchmark_") as folder:
    path = pathlib.Path(folder) / "result.json"
    process = subprocess.Popen(
      [sys.executable, "-m", "benchmarks.measure", str(path)],
      stdin=subprocess.PIPE,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
      env=dict(os.environ, PYTHONPATH=search_path),
      start_new_session=True,  # so that a limit ends its children too
    )
    try:
      _, errors = process.communicate(json.dumps(request), timeout=limit)
    except subprocess.TimeoutExpired:
      return {"status": "timeout", "message": f"no result within {limit:g} s"}
    finally:
      _end(process)
    if path.is_file():
      return json.loads(path.read_text())
  if process.returncode == -signal.SIGKILL:
    return {"status": "out of memory", "message": "killed by the system, most likely for memory"}
  last = (errors.strip().splitlines() or ["no message"])[-1]
  return {"status": "failed", "message": f"exit status {process.returncode}: {last[:500]}"}


def _end(process: subprocess.Popen) -> None:
  """Ends the process and all that it started, if any of it still runs."""
  try:
    os.killpg(process.pid, signal.SIGKILL)
  except ProcessLookupError:
    pass
  process.communicate()
