"""Training, as a recipe: prepare, build, restore, then step by step.

Everything with a test of its own lives elsewhere; this file is the order of things.
"""

import itertools
import math
import os
import sys
import time

from absl import logging
import jax
import numpy as np

from htmtl_jax import hosts
from htmtl_jax.checkpoint import CheckpointStore
from htmtl_jax.compiled_steps import CompiledSteps
from htmtl_jax.config import check_resume, load_saved_config, save_config
from htmtl_jax.data.packing import real_token_share
from htmtl_jax.data.pipeline import PackedSplit
from htmtl_jax.data.prepared import PreparedCorpus, prepare_corpus, prepared_directory
from htmtl_jax.errors import UserError
from htmtl_jax.experiment import (
  CHECKPOINTS,
  Experiment,
  check_config,
  keep_vocabulary,
  make_checked_mesh,
  make_experiment,
)
from htmtl_jax.flops import peak_flops
from htmtl_jax.interruption import Interrupted, Interruption
from htmtl_jax.metrics import MetricWriter
from htmtl_jax.optimizer import make_schedule
from htmtl_jax.progress import Progress
from htmtl_jax.sharding import host_part, put_batch
from htmtl_jax.train_state import count_parameters
from htmtl_jax.validate import Validator
from htmtl_jax.workdir_lock import alone_in

# Keys that may differ when a run is resumed: they do not change its trajectory.
MAY_DIFFER = (
  "train.num_steps",
  "train.log_every",
  "train.checkpoint_every",
  "train.evaluate_every",
  "train.keep_latest",
  "train.evaluate_at_end",
  "train.validation_documents",
  "evaluate",
  "decode",
  # Where the corpus lies; that it is the same one is checked by its content.
  "mesh",
  "data.path",
  "data.prepared",
  "data.processes",
  "data.workers",
  "model.remat",
  "model.scan_unroll",
  "model.key_block",
)


def run_train(config, workdir: str) -> str:
  """Trains, resuming if the workdir holds a run, and evaluates at the end.

  Args:
    config: an experiment's config.
    workdir: gets config.json, vocabulary.model, checkpoints/, metrics.jsonl, tensorboard/
      and evaluation/STEP/.

  Returns:
    "finished", or "interrupted" after a SIGTERM at any point: saved, to be run again.

  Raises:
    Interrupted: with several processes, if this one got SIGTERM outside the loop.
    UserError: for bad data or a config that does not go with the workdir's run; or
      when the loss is not finite any more.
  """
  with Interruption() as interruption:
    try:
      with alone_in(workdir):
        return _run(config, workdir, interruption)
    except Interrupted:  # while preparing or evaluating: nothing there to be saved
      if jax.process_count() > 1:
        raise  # the others may not know: `main` leaves without them
      return "interrupted"


def _run(config, workdir: str, interruption: Interruption) -> str:
  """The recipe."""
  # ---- the config, and that of the run that may be here already
  saved = load_saved_config(workdir)
  if saved is not None:
    check_resume(saved, config, MAY_DIFFER)

  check_config(config)
  make_checked_mesh(config)  # before documents are prepared, which may take hours

  # ---- documents, prepared once
  corpus = hosts.first_then_others(lambda: _prepare(config, workdir))
  experiment = make_experiment(config, corpus.tokenizer)
  train_split = PackedSplit(
    corpus.split("train"), experiment.buckets, config.train.batch_token_rows
  )
  validator = Validator(experiment, corpus)

  # ---- the state's shapes, and the state itself where there is a checkpoint
  init_state, shardings, abstract_state = experiment.make_state()
  store = CheckpointStore(os.path.join(workdir, CHECKPOINTS), keep_latest=config.train.keep_latest)
  restored = store.restore_latest(abstract_state)
  if restored:
    step, state, position = restored
    if position["corpus"] != corpus.statistics["settings"]:
      raise UserError(
        f"the corpus is not the one that the run in {workdir} was trained on; put it back, or use "
        "a new --workdir"
      )
  else:
    step, state = 0, None

  # ---- the loop
  with (
    store,
    MetricWriter(workdir, resume_step=step, enabled=hosts.is_first()) as writer,
    Progress(max(config.train.num_steps, step), "train", initial=step) as progress,
    interruption.deferred(),
  ):
    progress.say(_describe(experiment, train_split, abstract_state))
    if restored:
      progress.say(f"resuming at step {step}")
    steps = CompiledSteps(experiment, shardings, abstract_state, progress)
    own, parts = host_part(experiment.mesh)
    batches = train_split.training_batches(
      config.seed,
      start=step,
      multiple=experiment.training_multiple,
      own=own,
      parts=parts,
      workers=config.data.workers,
    )
    first = []
    if step < config.train.num_steps:
      first = [next(batches)]
      steps.start(first[0][0], put_batch(first[0][2], experiment.mesh))
    if state is None:
      state = init_state()  # while the step compiles
    writer.open_tensorboard()
    schedule = make_schedule(experiment.optimizer_config)
    window = _Window(len(own) / parts)
    losses = _LossWatch(train_split, store)
    stop = hosts.AgreedStop(experiment.mesh)

    def tell_saved():  # only what is whole on disk is called saved
      for saved in store.newly_saved():
        progress.say(f"saved step {saved}")

    def save(metric=None):
      losses.settle()  # nothing that is not finite is ever saved
      tell_saved()
      position = {"batch": step, "corpus": corpus.statistics["settings"]}
      store.save(step, state, position, metric)

    ordered = itertools.chain(first, batches)
    while step < config.train.num_steps and not stop(interruption.requested):
      bucket, indices, batch = next(ordered)
      # Both calls return before the device is done, so this batch travels during the step before.
      device_batch = put_batch(batch, experiment.mesh)
      state, metrics = steps(bucket, state, device_batch)
      step += 1
      # The loss is that of the parameters before the update; their norm after it counts too.
      losses.follow(step, metrics["loss"] + 0 * metrics["parameter_norm"], indices)
      window.add(batch, steps.flops[bucket])
      progress.update(**({} if math.isnan(losses.last) else {"loss": round(losses.last, 3)}))

      at_end = step == config.train.num_steps
      if step % config.train.log_every == 0 or at_end:
        losses.settle()
        values = {f"train/{name}": float(value) for name, value in metrics.items()}
        values["train/learning_rate"] = float(schedule(step - 1))
        values |= window.report()
        writer.write(step, values)
      metric = None
      if step % config.train.evaluate_every == 0 or at_end:
        results = validator.evaluate(state.params, step)
        writer.write(step, results, kind="eval")
        metric = results.get("eval/ce/paragraph")
        progress.say(f"step {step}: " + validator.describe(results))
        window.restart()
      if metric is not None or step % config.train.checkpoint_every == 0:
        save(metric)
      tell_saved()

    batches.close()
    if step > (store.latest_step() or 0):
      save()
    store.wait()
    tell_saved()
  report = _write_report(workdir)
  if step < config.train.num_steps:
    return "interrupted"

  # ---- the end: decode and score the held-out documents with the best checkpoint
  if config.train.evaluate_at_end:
    if hosts.any_of(interruption.requested):
      return "interrupted"
    del state
    from htmtl_jax.evaluate import run_evaluate

    run_evaluate(config, workdir, split="test", checkpoint="best")
    report = _write_report(workdir)  # again: now it links to the evaluation
  if report:
    print(f"report: {report}")
  return "finished"


def _prepare(config, workdir: str) -> PreparedCorpus:
  """Opens the corpus, made first where need be, and puts what explains the run into the workdir."""
  corpus = prepare_corpus(config, prepared_directory(config, workdir))
  _check_references(corpus)
  if hosts.is_first():
    save_config(config, workdir)
  keep_vocabulary(workdir, corpus)
  return corpus


def _write_report(workdir: str) -> str | None:
  """Writes report.html, on one host; returns its path, or None where it could not be written."""
  if not hosts.is_first():
    return None
  from htmtl_jax.reports.run_report import write_run_report

  try:
    return write_run_report(workdir)
  except UserError as error:
    print(f"htmtl_jax: warning: no report: {error}", file=sys.stderr)
  except Exception:  # status 75, and the evaluation to come, are worth more than a page
    logging.exception("the report of %s could not be written", workdir)
  return None


class _LossWatch:
  """Stops the run when a loss is not finite, without making the device wait for the host.

  Each loss is looked at when the next step has been handed to the device, or when
  somebody asks to `settle`.

  Attributes:
    last: the newest loss that was looked at.
  """

  def __init__(self, split: PackedSplit, store: CheckpointStore):
    self._split, self._store = split, store
    self._pending = None
    self.last = math.nan

  def follow(self, step: int, loss: jax.Array, indices: np.ndarray) -> None:
    """Checks the step before and remembers this one."""
    self.settle()
    self._pending = (step, loss, indices)

  def settle(self) -> None:
    """Checks the remembered step.

    Raises:
      UserError: names the step, the documents of its batch and the last good checkpoint.
    """
    if self._pending is None:
      return
    step, loss, indices = self._pending
    self._pending = None
    self.last = float(loss)
    if math.isfinite(self.last):
      return
    self._store.wait()
    ids = ", ".join(self._split.documents[int(i)].id for i in indices if i >= 0)
    latest = self._store.latest_step()
    good = f"the last good checkpoint is step {latest}" if latest else "there is no checkpoint yet"
    raise UserError(
      f"the loss is {self.last} at step {step}, in the batch of {ids}; {good}; lower "
      "config.optimizer.learning_rate or look at these documents, in a new --workdir"
    )


class _Window:
  """Speed since the last report; every report starts a new window."""

  def __init__(self, share: float):
    """With the share of every batch's documents that this process packs."""
    self._packed = share
    devices = jax.devices()
    peak = peak_flops(devices[0])
    self._peak = peak * len(devices) if peak else None
    self.restart()

  def restart(self):
    self._start, self._steps, self._tokens, self._flops, self._share = (
      time.monotonic(),
      0,
      0.0,
      0.0,
      0.0,
    )

  def add(self, batch, flops):
    self._steps += 1
    self._tokens += int(batch.tokens.mask.sum())
    self._share += real_token_share(batch)
    self._flops += flops

  def report(self) -> dict[str, float]:
    """Real source tokens a second (all devices), share of slots real, MFU and memory if known."""
    seconds = max(time.monotonic() - self._start, 1e-9)
    steps = max(self._steps, 1)
    said = hosts.gather((self._tokens, self._share, self._packed))
    tokens, shares, packed = zip(*said, strict=True)
    tokens = sum(tokens) / sum(packed)  # hosts that share documents have counted them twice
    values = {
      "speed/steps_per_second": self._steps / seconds,
      "speed/tokens_per_second": tokens / seconds,
      "speed/real_token_share": sum(shares) / len(shares) / steps,
    }
    if self._peak:
      values["speed/mfu"] = self._flops / seconds / self._peak
    memory = jax.local_devices()[0].memory_stats()
    if memory and "peak_bytes_in_use" in memory:
      values["speed/peak_memory_gib"] = memory["peak_bytes_in_use"] / 2**30
    self.restart()
    return values


def _check_references(corpus) -> None:
  references = corpus.statistics["splits"]["train"]["references"]
  if all(reference["mean_words"] is None for reference in references.values()):
    raise UserError(
      f"no document of the training split prepared in {corpus.directory} has an abstract or another "
      'reference summary, so there is nothing to learn; give documents an "abstract"'
    )


def _describe(experiment: Experiment, split: PackedSplit, state) -> str:
  shape = " ".join(f"{axis}={size}" for axis, size in experiment.mesh.shape.items())
  counts = np.bincount(split.bucket_of, minlength=len(split.buckets))
  buckets = ", ".join(
    f"{count} in {bucket.token_rows} rows (batches of {size})"
    for bucket, count, size in zip(split.buckets, counts, split.batch_sizes)
    if count
  )
  return (
    f"{count_parameters(state.params):,} parameters on {jax.device_count()} "
    f"{jax.devices()[0].platform} device(s), mesh {shape}; {len(split.documents):,} documents: "
    f"{buckets}"
  )
