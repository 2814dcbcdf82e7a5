"""The train steps of a run, one compiled program a bucket, with what each costs."""

from concurrent.futures import Future, ThreadPoolExecutor
import time

import jax

from htmtl_jax import hosts
from htmtl_jax.experiment import Experiment
from htmtl_jax.flops import count_matmul_flops
from htmtl_jax.layout import Batch
from htmtl_jax.optimizer import make_optimizer
from htmtl_jax.progress import Progress, format_duration
from htmtl_jax.train_step import make_train_step, under_mesh


class CompiledSteps:
  """Calls the step of a bucket, which is compiled when it is first met, or ahead by `start`.

  Attributes:
    flops: model FLOPs of a step, by bucket met: three times the forward pass's matmuls.
  """

  def __init__(self, experiment: Experiment, shardings, abstract_state, progress: Progress):
    """Args:
    experiment: the model, and how it is trained.
    shardings, abstract_state: of the train state, see `make_state`.
    progress: is told what was compiled.
    """
    self._experiment, self._shardings = experiment, shardings
    self._abstract_state, self._progress = abstract_state, progress
    self._steps: dict[int, jax.stages.Compiled] = {}
    self._started: dict[int, Future] = {}
    self.flops: dict[int, int] = {}

  def start(self, bucket: int, batch: Batch) -> None:
    """Traces the step, and has it compiled in a thread while this one does something else.

    Args:
      bucket: index of the batch's bucket.
      batch: on the devices; only its shapes and shardings count.
    """
    lowered = self._lower(bucket, batch)

    def compile_step():
      start = time.monotonic()
      return lowered.compile(), time.monotonic() - start

    pool = ThreadPoolExecutor(1)
    self._started[bucket] = pool.submit(compile_step)
    pool.shutdown(wait=False)

  def __call__(self, bucket: int, state, batch: Batch):
    """(state, metrics) after one step; the old state's buffers are reused."""
    new = bucket not in self._steps
    if new:
      if bucket not in self._started:
        self.start(bucket, batch)
      self._steps[bucket], seconds = self._started.pop(bucket).result()
      hosts.meet()  # another process may have found its program in the cache, or not
    result = self._steps[bucket](state, batch)
    if new:
      self.flops[bucket] = self._count_flops(bucket, batch)  # while the device is at work
      self._progress.say(
        f"compiled the step for {batch.token_ids.shape[0]} documents of up to "
        f"{self._experiment.buckets[bucket].tokens:,} tokens in {format_duration(seconds)}: "
        f"{self.flops[bucket] / 1e9:,.1f} GFLOP a step"
      )
    return jax.block_until_ready(result) if hosts.must_wait() else result

  def _lower(self, bucket: int, batch: Batch) -> jax.stages.Lowered:
    experiment = self._experiment
    step = make_train_step(
      experiment.model,
      make_optimizer(experiment.optimizer_config),
      experiment.loss_config,
      experiment.buckets[bucket],
      experiment.mesh,
      self._shardings,
      seed=experiment.config.seed,
      accumulate=experiment.config.train.accumulate,
      hide_length=experiment.config.train.hide_length,
    )
    return under_mesh(step.__wrapped__.lower, experiment.mesh)(self._abstract_state, batch)

  def _count_flops(self, bucket: int, batch: Batch) -> int:
    units = self._experiment.buckets[bucket].units
    forward = lambda params, batch: (
      self._experiment.model.apply({"params": params}, batch, units).log_probs
    )
    return 3 * count_matmul_flops(forward, self._abstract_state.params, batch)
