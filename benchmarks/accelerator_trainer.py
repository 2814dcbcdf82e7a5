"""Training on prepared papers for a number of minutes: no checkpoints, no parsing, no config."""

from collections.abc import Callable
import contextlib
import dataclasses
import math
import time
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from benchmarks.accelerator_settings import Settings
from htmtl_jax.data.pipeline import PackedSplit
from htmtl_jax.flops import count_matmul_flops
from htmtl_jax.levels import LEVELS
from htmtl_jax.models.htmtl import Htmtl
from htmtl_jax.optimizer import make_optimizer
from htmtl_jax.sharding import LOGICAL_RULES, MeshConfig, batch_multiple, make_mesh, put_batch
from htmtl_jax.train_state import TrainState, count_parameters, make_state
from htmtl_jax.train_step import make_train_step

_CURVE_POINTS = 400  # at most so many are kept; the interval doubles when it is full
_SECONDS_BETWEEN_LINES = 20.0


class Trainer:
  """The model, its optimiser and one compiled step a bucket.

  Attributes:
    mesh, model: all devices that were given, along `data`; the model.
    split: the training documents.
    multiple: documents of a batch come in multiples of this.
    init: makes the state of step 0.
    abstract_state: its shapes.
    num_parameters: of the model.
  """

  def __init__(self, settings: Settings, documents, vocabulary_size: int, devices):
    self.mesh = make_mesh(MeshConfig(), devices)
    self.model = Htmtl(settings.model, vocabulary_size)
    self.multiple = batch_multiple(self.mesh)
    self.split = PackedSplit(documents, settings.buckets, settings.batch_token_rows)
    self._settings = settings
    self._optimizer = make_optimizer(settings.optimizer)
    self._compiled: dict[int, tuple[Any, float]] = {}
    batch, _ = self.split.pack(0, np.full(self.split.batch_sizes[0], -1), self.multiple)
    self.init, self._shardings, self.abstract_state = make_state(
      self.model, self._optimizer, batch, settings.buckets[0].units, self.mesh, settings.seed
    )
    self.num_parameters = count_parameters(self.abstract_state.params)

  def compile(self, bucket: int, batch) -> tuple[Any, float]:
    """(compiled step, seconds it took) of a bucket; compiled once."""
    if bucket not in self._compiled:
      start = time.perf_counter()
      step = self._make_step(bucket, self.model)
      with self._in_context():
        compiled = step.lower(self.abstract_state, batch).compile()
      self._compiled[bucket] = compiled, time.perf_counter() - start
    return self._compiled[bucket]

  def is_compiled(self, bucket: int) -> bool:
    return bucket in self._compiled

  def count_flops(self, bucket: int, batch) -> int:
    """Matmul FLOPs of one step on a batch: what the model needs, nothing recomputed."""
    plain = Htmtl(dataclasses.replace(self.model.config, remat="none"), self.model.vocabulary_size)
    with self._in_context():
      return count_matmul_flops(self._make_step(bucket, plain), self.abstract_state, batch)

  def _make_step(self, bucket: int, model: Htmtl) -> Callable:
    """The jitted step itself: to be lowered and traced, in `_in_context`."""
    step = make_train_step(
      model,
      self._optimizer,
      self._settings.loss,
      self._settings.buckets[bucket],
      self.mesh,
      self._shardings,
      seed=self._settings.seed,
    )
    return step.__wrapped__

  @contextlib.contextmanager
  def _in_context(self):
    with jax.set_mesh(self.mesh), nn.logical_axis_rules(LOGICAL_RULES):
      yield


def train(
  settings: Settings,
  trainer: Trainer,
  log: Callable[[str], None],
  save: Callable[[dict], None] = lambda record: None,
) -> tuple[TrainState, dict[str, Any]]:
  """Trains until the minutes or the steps are over, whichever is first.

  Compilation does not count as training time. The loss of a step is read one step
  later, so the device never waits for the host, and a loss that is not finite ends it.

  Args:
    settings: minutes, steps, seed.
    trainer: from `Trainer`.
    log: called with a line now and then.
    save: called with the record so far, as often.

  Returns:
    (state, record): record has "steps", "seconds", "compile_seconds", token rates,
    "epochs", "finite", "first" and "last" losses, and the "curve".
  """
  state = trainer.init()
  curve, every = [], 1
  waiting = None
  used = {"documents": 0}
  used |= dict.fromkeys(("seconds", "compile_seconds", "source_tokens", "token_slots"), 0.0)
  step, finite, last_line = 0, True, -math.inf
  point = None
  record: dict[str, Any] = {}
  batches = trainer.split.training_batches(settings.seed, 0, trainer.multiple)
  started = time.perf_counter()

  def read(metrics) -> dict[str, float]:
    values = jax.device_get(metrics)
    return {
      name: float(values[name])
      for name in ("loss", *(f"ce/{level}" for level in LEVELS), "importance", "gradient_norm")
    }

  try:
    while not is_over(settings, step, used["seconds"]):
      bucket, indices, batch = next(batches)
      on_device = put_batch(batch, trainer.mesh)
      known = trainer.is_compiled(bucket)
      compiled, seconds = trainer.compile(bucket, on_device)
      used["compile_seconds"] += 0.0 if known else seconds
      state, metrics = compiled(state, on_device)
      step += 1
      used["source_tokens"] += float(batch.tokens.mask.sum())
      used["token_slots"] += float(batch.tokens.slot.size)
      used["documents"] += int(batch.document_mask.sum())
      if waiting is not None:
        point = {"step": step - 1, "seconds": used["seconds"], **read(waiting)}
        if not math.isfinite(point["loss"]):
          finite = False
          break
        if (step - 2) % every == 0:
          curve.append(point)
          if len(curve) > _CURVE_POINTS:
            curve, every = curve[::2], 2 * every
      waiting = metrics
      used["seconds"] = time.perf_counter() - started - used["compile_seconds"]
      if point is not None and used["seconds"] - last_line > _SECONDS_BETWEEN_LINES:
        last_line = used["seconds"]
        record = _summarise(trainer, step, used, curve, point, finite)
        log(_line(settings, record))
        save(record)
    if waiting is not None and finite:
      point = {"step": step, "seconds": used["seconds"], **read(waiting)}
      finite = math.isfinite(point["loss"])
      if not curve or curve[-1]["step"] != step:
        curve.append(point)
  finally:
    batches.close()
  used["seconds"] = time.perf_counter() - started - used["compile_seconds"]
  record = _summarise(trainer, step, used, curve, point, finite)
  log(_line(settings, record))
  return state, record


def is_over(settings: Settings, step: int, seconds: float) -> bool:
  """Whether the minutes are over or, where their number is limited, the steps."""
  return seconds >= 60.0 * settings.minutes or 0 < settings.max_steps <= step


def _summarise(trainer, step, used, curve, point, finite) -> dict[str, Any]:
  seconds = max(used["seconds"], 1e-9)
  return {
    "steps": step,
    "seconds": used["seconds"],
    "compile_seconds": used["compile_seconds"],
    "documents": used["documents"],
    "epochs": used["documents"] / max(len(trainer.split.documents), 1),
    "source_tokens": used["source_tokens"],
    "source_tokens_per_second": used["source_tokens"] / seconds,
    "padding_share": 1.0 - used["source_tokens"] / max(used["token_slots"], 1.0),
    "documents_beyond_buckets": trainer.split.num_beyond,
    "finite": finite,
    "first": curve[0] if curve else None,
    "last": point,
    "curve": list(curve),
  }


def _line(settings, record) -> str:
  last = record["last"] or {}
  losses = " / ".join(f"{last.get(f'ce/{level}', math.nan):.3f}" for level in LEVELS)
  return (
    f"step {record['steps']}, {record['seconds']:.0f} of {60 * settings.minutes:.0f} s,"
    f" loss {last.get('loss', math.nan):.3f}, cross-entropy {losses} ({' / '.join(LEVELS)}),"
    f" {record['source_tokens_per_second']:,.0f} source tokens/s"
  )
