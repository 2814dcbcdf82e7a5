"""Checkpoints of a run: saved in the background, restored on any devices.

The only file that imports Orbax. One folder a step, with three things in it:
the state (any pytree of arrays that has `params` at its top), the position in
the data (JSON), and the metric by which the step is judged, lower is better.

A checkpoint appears under its step's name only when it is whole, so a kill in
the middle of a save leaves the previous one in force. `newly_saved` says when that was.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import math
import os
import pathlib
import sys
from typing import Any

from absl import logging
import jax
import numpy as np
import orbax.checkpoint as ocp

from htmtl_jax import hosts
from htmtl_jax.errors import DISK_ERRORS, UserError

_STATE, _POSITION = "state", "position"


@contextlib.contextmanager
def _quiet():
  """Only errors are logged meanwhile."""
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  try:
    yield
  finally:
    logging.set_verbosity(verbosity)


class CheckpointStore:
  """The checkpoints of one run, in one folder. A context manager.

  Kept are the `keep_latest` newest and the `keep_best` with the lowest metric;
  the others are deleted as new ones arrive. On several hosts every process
  makes the same calls.
  """

  def __init__(
    self,
    directory: str | os.PathLike,
    keep_latest: int = 2,
    keep_best: int = 1,
    read_only: bool = False,
  ):
    """Opens the folder, created if need be, and removes what a kill left half done.

    With `read_only` nothing is created or removed: a run may be saving there right now.
    """
    self._directory = pathlib.Path(os.path.abspath(directory))
    logging.get_absl_logger().addFilter(_is_news)
    self._metrics: dict[int, float] = {}  # of the steps saved with a finite metric
    self._begun: list[int] = []  # saves of which nobody was told yet that they are whole
    # Orbax's own tracking of the best is not used: `best_step` of a manager with
    # a preservation policy is the latest step, and metrics do not survive a restart.
    policy = _KeepLatestAndBest(keep_latest, keep_best, self._metrics)
    hosts.meet()  # Orbax waits for all here, in an operation of the devices
    with _quiet():  # Orbax warns that read-only is read-only
      self._manager = ocp.CheckpointManager(
        self._directory,
        options=ocp.CheckpointManagerOptions(
          create=not read_only,
          enable_async_checkpointing=not read_only,
          read_only=read_only,
          cleanup_tmp_directories=not read_only,
          preservation_policy=policy,
        ),
      )
    # What there is, is kept and is best, all have to see in the same way.
    self._check_all_see(self.steps())
    read = lambda: {step: self._read_metric(step) for step in self.steps()}
    metrics = hosts.gather(read() if hosts.is_first() else {})[0]
    self._metrics.update({step: metric for step, metric in metrics.items() if metric is not None})

  def __enter__(self) -> "CheckpointStore":
    return self

  def __exit__(self, kind, *others) -> None:
    try:
      self.close()
    except Exception:
      if kind is None:
        raise
      logging.info("closing after an error failed as well", exc_info=True)

  # ------------------------------------------------------------------- saving

  def save(
    self, step: int, state: Any, position: Mapping[str, Any], metric: float | None = None
  ) -> bool:
    """Starts saving in the background; the arrays may be donated afterwards.

    Args:
      step: optimiser steps taken.
      state: pytree of arrays, with `params` at its top.
      position: JSON-able place in the data, for an exact resume.
      metric: what "best" goes by, lower is better; None or a number that is
        not finite never counts as best.

    Returns:
      False if there is a checkpoint at this step or a later one, which stays.

    Raises:
      UserError: the disk did not take it, or the save before.
    """
    latest = self.latest_step()
    if latest is not None and latest >= step:
      return False
    metric = None if metric is None else float(metric)
    if metric is not None and math.isfinite(metric):
      self._metrics[step] = metric
    else:
      metric = None
    with self._writing():
      saves = self._manager.save(
        step,
        args=ocp.args.Composite(
          **{
            _STATE: ocp.args.StandardSave(state),
            _POSITION: ocp.args.JsonSave({"position": dict(position), "metric": metric}),
          }
        ),
      )
    if saves:
      self._begun.append(step)
    return saves

  def newly_saved(self) -> list[int]:
    """Steps saved here whose checkpoints have become whole since the last call; costs little.

    Raises:
      UserError: the disk did not take one.
    """
    if not self._begun:
      return []
    with self._writing():
      self._manager.check_for_errors()
    whole = [step for step in self._begun if self._path(step).is_dir()]
    if whole:  # of earlier ones only the latest may be here still
      self._begun = [step for step in self._begun if step > whole[-1]]
    return whole

  def wait(self) -> None:
    """Blocks until the save in progress is on disk; raises what went wrong in it."""
    with self._writing():
      self._manager.wait_until_finished()

  def close(self) -> None:
    """Finishes the save in progress and lets the folder go."""
    with self._writing():
      self._manager.close()

  # ------------------------------------------------------------ which there are

  def steps(self) -> list[int]:
    """Returns the steps of the checkpoints there are, rising."""
    return sorted(self._manager.all_steps())

  def latest_step(self) -> int | None:
    """Returns the newest step, or None."""
    return max(self.steps(), default=None)

  def best_step(self) -> int | None:
    """Returns the step with the lowest metric (the earliest of equals), or None."""
    judged = [step for step in self.steps() if step in self._metrics]
    return min(judged, key=self._metrics.__getitem__, default=None)

  def resolve(self, name: str | int) -> int:
    """Returns the step meant by "best", "latest" or a number.

    "best" is the latest one where no checkpoint has a metric.

    Raises:
      UserError: there is no such checkpoint; the steps there are, are named.
    """
    steps = self.steps()
    if not steps:
      raise UserError(f"no checkpoint in {self._directory}; train first with --mode=train")
    if name == "latest":
      return steps[-1]
    if name == "best":
      best = self.best_step()
      return steps[-1] if best is None else best
    if str(name).isdecimal() and int(name) in steps:
      return int(name)
    what = f"at step {name}" if str(name).isdecimal() else f"named {str(name)!r}"
    raise UserError(
      f"no checkpoint {what} in {self._directory}; there are steps "
      f"{', '.join(map(str, steps))}; choose one, best or latest"
    )

  # ----------------------------------------------------------------- restoring

  def restore(self, step: int, abstract_state: Any) -> tuple[Any, dict[str, Any]]:
    """Reads one checkpoint onto the devices that `abstract_state` names.

    Args:
      step: one of `steps()`.
      abstract_state: pytree of `jax.ShapeDtypeStruct` with shardings, of the
        structure that was saved; the mesh may be another than when saving.

    Returns:
      (state, position): the saved state, with those shardings, and the position.

    Raises:
      UserError: no such step, or arrays of another shape or dtype.
      Exception: whatever reading a damaged checkpoint ends in.
    """
    self.resolve(step)
    self._check_fits(step, abstract_state)
    position = self._read_position(step)["position"]
    # By the handler: the manager would wait for all in the end, also for one that has met damage.
    with contextlib.closing(ocp.StandardCheckpointHandler()) as handler:
      state = handler.restore(
        self._path(step) / _STATE, args=ocp.args.StandardRestore(abstract_state)
      )
    return state, position

  def restore_latest(self, abstract_state: Any) -> tuple[int, Any, dict[str, Any]] | None:
    """Reads the newest checkpoint that can be read.

    A newer one that cannot be read is renamed to `STEP.unreadable` once an
    older one has been read, so that the run can save at that step again.

    Returns:
      (step, state, position), or None if there is no checkpoint at all.

    Raises:
      UserError: there are checkpoints, but none can be read, or they are of
        another model.
    """
    unreadable: dict[int, str] = {}
    for step in reversed(self.steps()):
      state, damage, refusal = None, None, None
      try:
        state, position = self.restore(step, abstract_state)
      except UserError as error:
        refusal = error
      except Exception as error:  # Orbax and TensorStore raise many kinds
        damage = _one_line(error)
      # Of several processes, one may have met the damage that the others need not read.
      hosts.stop_together(refusal)
      damage = next((text for text in hosts.gather(damage) if text is not None), None)
      if damage is not None:
        unreadable[step] = damage
        self._warn(f"the checkpoint at step {step} in {self._directory} cannot be read ({damage})")
        continue
      if unreadable:
        names = ", ".join(self._set_aside(list(unreadable)))
        self._warn(f"going on from the checkpoint at step {step}; kept aside: {names}")
      return step, state, position
    if not unreadable:
      return None
    raise UserError(
      f"none of the checkpoints in {self._directory} can be read (steps "
      f"{', '.join(map(str, sorted(unreadable)))}; {unreadable[max(unreadable)]}); "
      "use a new --workdir, or restore the folder from a copy"
    )

  def restore_params(self, step: int) -> dict[str, Any]:
    """Reads only `params` of a state, for inference: nested dict of NumPy arrays.

    Needs no knowledge of the model, the optimiser or the devices of the run.

    Raises:
      UserError: no such step, or the checkpoint cannot be read.
    """
    self.resolve(step)
    self.wait()
    path = self._path(step) / _STATE
    refusal = None
    try:
      params = {"params": self._read_metadata(step)["params"]}
      as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), params)
      with contextlib.closing(ocp.PyTreeCheckpointHandler()) as handler:
        restored = handler.restore(
          path,
          args=ocp.args.PyTreeRestore(item=params, restore_args=as_numpy, partial_restore=True),
        )
    except Exception as error:
      refusal = UserError(
        f"the checkpoint at step {step} in {self._directory} cannot be read "
        f"({_one_line(error)}); choose another with --checkpoint, there are "
        f"steps {', '.join(map(str, self.steps()))}"
      )
      refusal.__cause__ = error
    hosts.stop_together(refusal)
    return restored["params"]

  # ------------------------------------------------------------------- details

  def _path(self, step: int) -> pathlib.Path:
    return self._directory / str(step)

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    """Turns what a full or broken disk raises into one line."""
    try:
      yield
    except Exception as error:
      reason = _find_disk_error(error)
      if reason is None:
        raise
      whole = sorted(int(path.name) for path in self._directory.iterdir() if path.name.isdecimal())
      kept = f"those of steps {', '.join(map(str, whole))} are whole" if whole else "there is none"
      raise UserError(
        f"a checkpoint could not be written to {self._directory} ({reason}); {kept}; make room "
        "there, and run the same command again"
      ) from error

  def _warn(self, text: str) -> None:
    """Nobody may miss this, whatever is logged."""
    if hosts.is_first():
      print(f"htmtl_jax: warning: {text}", file=sys.stderr, flush=True)

  def _read_metadata(self, step: int) -> Any:
    """Returns the saved state's tree, with shapes and dtypes in place of arrays."""
    path = self._path(step) / _STATE
    return ocp.PyTreeCheckpointHandler().metadata(path).tree

  def _check_fits(self, step: int, abstract_state: Any) -> None:
    """Complains about another model here: Orbax would cast a dtype in silence."""
    self.wait()
    saved = _named_leaves(self._read_metadata(step))
    wanted = _named_leaves(abstract_state)
    for name in sorted(saved.keys() | wanted.keys()):
      if saved.get(name) != wanted.get(name):
        raise UserError(
          f"the checkpoint at step {step} in {self._directory} is of another model: {name} "
          f"is {_describe_leaf(saved.get(name))} there and {_describe_leaf(wanted.get(name))} "
          "now; use the config of that run, or a new --workdir"
        )

  def _check_all_see(self, steps: list[int]) -> None:
    """Complains where a process has another view of the folder: each would go on from its own."""
    for process, others in enumerate(hosts.gather(steps)):
      if others != steps:
        raise UserError(
          f"process {jax.process_index()} finds checkpoints at steps {steps} in {self._directory}, "
          f"process {process} at {others}; all have to see the same file system there, and its "
          "newest state: check that, and start again"
        )

  def _read_position(self, step: int) -> dict[str, Any]:
    """What `save` wrote beside the state: {"position", "metric"}."""
    return ocp.JsonCheckpointHandler().restore(self._path(step) / _POSITION)

  def _read_metric(self, step: int) -> float | None:
    try:
      return self._read_position(step)["metric"]
    except Exception as error:
      # Not fatal: the checkpoint may not be asked for, and `restore` says more.
      logging.warning(
        "the metric of the checkpoint at step %d in %s cannot be read (%s)",
        step,
        self._directory,
        _one_line(error),
      )
      return None

  def _set_aside(self, steps: Sequence[int]) -> list[str]:
    """Renames them; returns their new names."""
    names = []
    if hosts.is_first():
      for step in steps:
        path = self._path(step)
        target, number = path.with_name(f"{step}.unreadable"), 1
        while target.exists():
          number += 1
          target = path.with_name(f"{step}.unreadable{number}")
        path.rename(target)
        names.append(target.name)
    names = hosts.gather(names)[0]  # and they are renamed before anybody reads the folder again
    for step in steps:
      self._metrics.pop(step, None)
    self._manager.reload()
    return names


def _is_news(record) -> bool:
  """False for what Orbax's threads log, traceback and all, of errors that they also raise."""
  return not (record.exc_info and "orbax" in record.pathname)


class _KeepLatestAndBest:
  """Which checkpoints to keep, by Orbax's protocol for preservation policies."""

  def __init__(self, keep_latest: int, keep_best: int, metrics: Mapping[int, float]):
    self._keep_latest, self._keep_best, self._metrics = keep_latest, keep_best, metrics

  def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
    """Returns for each checkpoint, given by rising step, whether it stays."""
    del context
    steps = sorted(checkpoint.step for checkpoint in checkpoints)
    judged = sorted((self._metrics[step], step) for step in steps if step in self._metrics)
    kept = set(steps[max(0, len(steps) - self._keep_latest) :])
    kept.update(step for _, step in judged[: self._keep_best])
    return [checkpoint.step in kept for checkpoint in checkpoints]


def _named_leaves(tree: Any) -> dict[str, tuple[tuple[int, ...], str]]:
  """Returns {path: (shape, dtype)}; attributes, keys and indices look the same in a path."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(
    tree, is_leaf=lambda node: hasattr(node, "shape") and hasattr(node, "dtype")
  )
  return {
    jax.tree_util.keystr(path, simple=True, separator="."): (
      tuple(leaf.shape),
      str(np.dtype(leaf.dtype)),
    )
    for path, leaf in leaves
  }


def _describe_leaf(leaf: tuple[tuple[int, ...], str] | None) -> str:
  return "absent" if leaf is None else f"{leaf[1]}{list(leaf[0])}"


def _find_disk_error(error: BaseException | None) -> str | None:
  """What the disk said, if anywhere behind this error it was the disk."""
  while error is not None:
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
      return os.strerror(error.errno)
    for number in DISK_ERRORS:
      if os.strerror(number) in str(error):
        return os.strerror(number)
    error = error.__cause__ or error.__context__
  return None


def _one_line(error: Exception) -> str:
  text = " ".join(str(error).split())
  return f"{type(error).__name__}: {text[:200]}"
