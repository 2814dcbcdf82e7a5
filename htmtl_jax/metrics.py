"""Metrics of a run on disk: metrics.jsonl for programs, TensorBoard for people.

metrics.jsonl has one JSON object a line: `step`, `time` (seconds since 1970),
`kind` ("train" or "eval"), and the named numbers. The file reads as one
uninterrupted run whatever happened to the process: lines that a resumed run
will write again are removed first, and so is a line torn by a kill.
"""

from collections.abc import Mapping
import json
import math
import os
import pathlib
import time
from typing import Any
import uuid

METRICS_FILE = "metrics.jsonl"
TENSORBOARD_FOLDER = "tensorboard"


class MetricWriter:
  """Appends metrics to `workdir/metrics.jsonl` and to `workdir/tensorboard/`.

  A context manager. Every write is flushed, so a killed run loses nothing that
  was written. On several hosts, only one process may write: the others pass
  `enabled=False` and their calls do nothing.
  """

  def __init__(
    self, workdir: str | os.PathLike, resume_step: int | None = None, enabled: bool = True
  ):
    """Opens the files of a workdir, which is created if need be.

    Args:
      workdir: folder of the run.
      resume_step: step that the run continues from; lines of later steps are
        removed, and TensorBoard is told to hide them. None keeps every whole line.
      enabled: whether this process writes.
    """
    self._file = self._tensorboard = None
    if not enabled:
      return
    workdir = pathlib.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / METRICS_FILE
    if path.exists():
      _keep_lines_up_to(path, resume_step)
    self._file = path.open("a", encoding="utf-8")
    self._folder = str(workdir / TENSORBOARD_FOLDER)
    self._purge_step = None if resume_step is None else resume_step + 1

  def __enter__(self) -> "MetricWriter":
    return self

  def __exit__(self, *exception_info) -> None:
    self.close()

  def write(self, step: int, values: Mapping[str, Any], kind: str = "train") -> None:
    """Writes named numbers of one step.

    Args:
      step: optimiser steps taken.
      values: {name: number}; Python, NumPy and JAX scalars will do. Non-finite
        numbers are null in the file, since JSON has none.
      kind: "train" or "eval"; TensorBoard shows the names under it.

    Raises:
      ValueError: an unknown kind, or a name that the line itself uses.
    """
    if kind not in ("train", "eval"):
      raise ValueError(f"kind is {kind!r}; it must be 'train' or 'eval'")
    reserved = values.keys() & {"step", "time", "kind"}
    if reserved:
      raise ValueError(f"metric names {sorted(reserved)} are taken by the line itself")
    if self._file is None:
      return
    numbers = {name: float(value) for name, value in values.items()}
    line = {"step": int(step), "time": round(time.time(), 3), "kind": kind}
    line.update((name, x if math.isfinite(x) else None) for name, x in numbers.items())
    self._file.write(json.dumps(line, allow_nan=False) + "\n")
    self._file.flush()
    self.open_tensorboard()
    for name, number in numbers.items():
      tag = name if name.startswith(kind + "/") else f"{kind}/{name}"
      self._tensorboard.add_scalar(tag, number, int(step))
    self._tensorboard.flush()

  def open_tensorboard(self) -> None:
    """Opens its file, which the first `write` does otherwise; a second call does nothing.

    Takes 0.3 s, or 2 s where PyTorch is installed, since tensorboardX imports it: to be called
    where one waits anyway.
    """
    if self._file is None or self._tensorboard is not None:
      return
    import tensorboardX

    self._tensorboard = tensorboardX.SummaryWriter(self._folder, purge_step=self._purge_step)

  def close(self) -> None:
    """Closes both files; a second call does nothing."""
    if self._file is not None:
      self._file.close()
    if self._tensorboard is not None:
      self._tensorboard.close()
    self._file = self._tensorboard = None


def read_metrics(workdir: str | os.PathLike, kind: str | None = None) -> list[dict[str, Any]]:
  """Returns the lines of `metrics.jsonl` in order, of one kind or all."""
  path = pathlib.Path(workdir) / METRICS_FILE
  lines = [_parse_line(line) for line in path.read_bytes().splitlines()]
  return [line for line in lines if line is not None and kind in (None, line.get("kind"))]


def _keep_lines_up_to(path: pathlib.Path, last_step: int | None) -> None:
  """Rewrites the file without torn lines and without steps after `last_step`."""
  content = path.read_bytes()
  kept = []
  for line in content.splitlines(keepends=True):
    parsed = _parse_line(line)
    # A line without its newline is torn even if it happens to parse ("12" of "123").
    if parsed is None or not line.endswith(b"\n"):
      continue
    if last_step is None or parsed["step"] <= last_step:
      kept.append(line)
  if b"".join(kept) == content:
    return
  temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
  temporary.write_bytes(b"".join(kept))
  temporary.replace(path)


def _parse_line(line: bytes) -> dict[str, Any] | None:
  try:
    parsed = json.loads(line)
  except ValueError:
    return None
  return parsed if isinstance(parsed, dict) and isinstance(parsed.get("step"), int) else None
