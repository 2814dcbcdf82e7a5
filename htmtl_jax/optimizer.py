"""Learning-rate schedules and optimisers, by name, from Optax."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from htmtl_jax.errors import UserError

SCHEDULES = ("cosine", "rsqrt", "constant")
OPTIMIZERS = ("adamw", "adafactor")
DECAYED = ("kernel", "embedding")  # parameters that weight decay applies to, by their last name


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """Each field's meaning stands beside it in `configs/base.py`."""

  name: str = "adamw"
  learning_rate: float = 5e-4
  schedule: str = "rsqrt"
  warmup_steps: int = 1000
  schedule_steps: int = 100_000
  final_share: float = 0.05
  beta1: float = 0.9
  beta2: float = 0.98
  weight_decay: float = 0.01
  clip_norm: float = 1.0

  def __post_init__(self):
    for field, value, known in (
      ("schedule", self.schedule, SCHEDULES),
      ("name", self.name, OPTIMIZERS),
    ):
      if value not in known:
        raise UserError(f"config.optimizer.{field}: {value!r} is not one of {', '.join(known)}")


def make_schedule(config: OptimizerConfig) -> optax.Schedule:
  """step -> learning rate: a linear warm-up, then the named decay.

  The decay is laid over `schedule_steps`, not over the number of steps a run is asked
  for, so that running longer or stopping earlier follows the same trajectory.
  """
  peak, warmup = config.learning_rate, config.warmup_steps
  if config.schedule == "cosine":
    return optax.warmup_cosine_decay_schedule(
      0.0, peak, warmup, max(config.schedule_steps, warmup + 1), peak * config.final_share
    )
  if config.schedule == "rsqrt":
    start = max(warmup, 1)
    # Optax calls it during the warm-up too, with a negative step, and drops the result.
    decay = lambda step: peak * (start / (jnp.maximum(step, 0) + start)) ** 0.5
  else:
    decay = optax.constant_schedule(peak)
  return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), decay], [warmup])


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
  """Clipping by global norm, then AdamW or Adafactor; weight decay on matrices only."""
  schedule = make_schedule(config)

  def is_matrix(params):
    # By name: under a scan over layers even a norm's scale has two dimensions.
    def decays(path, _):
      return [key.key for key in path if isinstance(key, jax.tree_util.DictKey)][-1] in DECAYED

    return jax.tree_util.tree_map_with_path(decays, params)

  if config.name == "adamw":
    update = optax.adamw(
      schedule, b1=config.beta1, b2=config.beta2, weight_decay=config.weight_decay, mask=is_matrix
    )
  else:
    update = optax.adafactor(
      schedule,
      multiply_by_parameter_scale=False,
      weight_decay_rate=config.weight_decay or None,
      weight_decay_mask=is_matrix,
    )
  return optax.chain(optax.clip_by_global_norm(config.clip_norm), update)
