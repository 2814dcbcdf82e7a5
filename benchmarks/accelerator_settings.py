"""What the accelerator benchmark runs: the sizes, the buckets, the losses, in one place."""

import argparse
import dataclasses
from typing import Any

from htmtl_jax.decoding import DecodeConfig
from htmtl_jax.errors import UserError
from htmtl_jax.layout import Bucket, LayoutConfig, make_bucket, make_buckets
from htmtl_jax.losses import LossConfig
from htmtl_jax.models.config import REMATS, ModelConfig
from htmtl_jax.optimizer import OptimizerConfig

# One row a size: the model, token rows of a training batch, peak learning rate.
SIZES: dict[str, tuple[ModelConfig, int, float]] = {
  "small": (
    ModelConfig(
      width=256,
      num_heads=4,
      mlp_width=1024,
      token_layers=2,
      paragraph_layers=2,
      section_layers=1,
      document_layers=1,
      decoder_layers=2,
      dropout=0.1,
    ),
    1024,
    1e-3,
  ),
  "base": (  # the one of configs/base.py
    ModelConfig(
      width=512,
      num_heads=8,
      mlp_width=2048,
      token_layers=4,
      paragraph_layers=4,
      section_layers=2,
      document_layers=2,
      decoder_layers=4,
      dropout=0.1,
    ),
    1024,
    5e-4,
  ),
  "large": (
    ModelConfig(
      width=1024,
      num_heads=16,
      mlp_width=4096,
      token_layers=8,
      paragraph_layers=6,
      section_layers=3,
      document_layers=3,
      top_down_layers=2,
      decoder_layers=8,
      dropout=0.1,
    ),
    1024,
    3e-4,
  ),
  "tiny": (
    ModelConfig(
      width=32,
      num_heads=2,
      mlp_width=64,
      token_layers=1,
      paragraph_layers=1,
      section_layers=1,
      document_layers=1,
      decoder_layers=1,
      dropout=0.0,
    ),
    48,
    3e-3,
  ),
}
PAPER_BUCKETS = ((16, 640), (32, 768), (48, 960), (64, 1216), (96, 1216), (136, 1216))
SECTIONS = ("agreement", "ceiling", "train_step", "decoding", "training", "evaluation")


@dataclasses.dataclass(frozen=True)
class Settings:
  """Everything that decides a run, and nothing about the machine.

  Attributes:
    size: a key of `SIZES`.
    model: the model, with the chosen rematerialisation.
    buckets: from small to large.
    agreement_bucket: the small bucket of the comparison with the CPU.
    batch_token_rows: token rows of a training batch.
    decode_token_rows: token rows of a decoding batch.
    loss, optimizer: of training.
    decode: of the held-out papers.
    timed_tokens: output tokens by level when decoding is timed, exactly so many.
    max_steps: of training; 0 for no limit but the time.
    minutes: of training, compilation not counted.
    max_documents: held-out papers that are decoded.
    timed_buckets: how many of the fullest buckets the train step is timed in.
    repeats: timings of which the median is taken.
    matmul_size, copy_bytes: of the machine's ceiling.
    seed: of everything random.
    tiny: whether this only shows that everything runs.
  """

  size: str
  model: ModelConfig
  buckets: tuple[Bucket, ...]
  agreement_bucket: Bucket
  batch_token_rows: int
  decode_token_rows: int
  loss: LossConfig
  optimizer: OptimizerConfig
  decode: DecodeConfig
  timed_tokens: tuple[int, int, int]
  max_steps: int
  minutes: float
  max_documents: int
  timed_buckets: int
  repeats: int
  matmul_size: int
  copy_bytes: int
  seed: int
  tiny: bool


def make_settings(arguments: argparse.Namespace) -> Settings:
  """Settings from the arguments of `run`; an argument that was not given is None.

  Raises:
    UserError: for a value that cannot be, named by its argument.
  """
  tiny = arguments.tiny
  size = "tiny" if tiny else arguments.size
  model, rows, learning_rate = SIZES[size]
  # Unrolled: stacking what a scan keeps of each layer costs a fifth of the step on a GPU.
  model = dataclasses.replace(model, remat=arguments.remat, scan_layers=False)
  layout = (
    LayoutConfig(
      row_sentences=16, row_paragraphs=8, min_sections=8, paragraph_units=8, buckets=((16, 224),)
    )
    if tiny
    else LayoutConfig(min_sections=16, buckets=PAPER_BUCKETS)
  )
  if arguments.buckets:
    layout = dataclasses.replace(layout, buckets=parse_buckets(arguments.buckets))
  minutes = _given(arguments.minutes, 5.0)
  max_steps = _given(arguments.steps, 4 if tiny else 0)
  if minutes <= 0 or max_steps < 0:
    raise UserError(
      f"--minutes={minutes} --steps={max_steps}: neither may be negative, nor minutes 0"
    )
  # A cosine has to know its length; where only the time is known, the decay is open-ended.
  schedule = {"schedule": "rsqrt"}
  if max_steps:
    schedule = {"schedule": "cosine", "schedule_steps": max_steps}
  warmup = 2 if tiny else 200
  return Settings(
    size=size,
    model=model,
    buckets=make_buckets(layout),
    agreement_bucket=make_bucket(layout, token_rows=4, target_tokens=96),
    batch_token_rows=_positive(arguments.batch_token_rows, rows, "--batch_token_rows"),
    decode_token_rows=_positive(arguments.decode_token_rows, rows, "--decode_token_rows"),
    loss=LossConfig(
      importance=0.5, ramp_start=5 * warmup, ramp_steps=5 * warmup, importance_ramp_steps=warmup
    ),
    optimizer=OptimizerConfig(
      learning_rate=_given(arguments.learning_rate, learning_rate),
      warmup_steps=warmup,
      **schedule,
    ),
    decode=DecodeConfig(
      beam_size=_positive(arguments.beam_size, 2 if tiny else 4, "--beam_size"),
      min_tokens=(1, 1, 1) if tiny else (8, 32, 32),
      max_tokens=(8, 12, 16) if tiny else (64, 512, 640),
      no_repeat_ngram=(0, 0, 0) if tiny else (4, 4, 0),
    ),
    timed_tokens=(4, 8, 8) if tiny else (64, 256, 384),
    max_steps=max_steps,
    minutes=minutes,
    max_documents=_positive(arguments.max_documents, 8 if tiny else 256, "--max_documents"),
    timed_buckets=_positive(arguments.timed_buckets, 1, "--timed_buckets"),
    repeats=3 if tiny else 10,
    matmul_size=256 if tiny else 8192,
    copy_bytes=(1 << 22) if tiny else (1 << 31),
    seed=arguments.seed,
    tiny=tiny,
  )


def parse_buckets(text: str) -> tuple[tuple[int, int], ...]:
  """ "32x768,64x1216" -> ((32, 768), (64, 1216)), token rows by target tokens."""
  try:
    pairs = [tuple(int(n) for n in part.split("x")) for part in text.split(",")]
  except ValueError:
    pairs = [()]
  if any(len(pair) != 2 for pair in pairs):
    raise UserError(f"--buckets={text}: should be ROWSxTARGETS, several separated by commas")
  return tuple(pairs)


def parse_skip(text: str) -> frozenset[str]:
  """ "training,evaluation" -> the sections to leave out."""
  names = frozenset(name for name in text.split(",") if name)
  unknown = sorted(names - set(SECTIONS))
  if unknown:
    raise UserError(f"--skip={text}: {unknown[0]!r} is not one of {', '.join(SECTIONS)}")
  return names


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The arguments of `run` that decide what is run."""
  known = sorted(set(SIZES) - {"tiny"})
  parser.add_argument("--size", choices=known, default="base", help="the model")
  parser.add_argument("--tiny", action="store_true", help="seconds on a CPU: shows that all runs")
  parser.add_argument("--minutes", type=float, help="of training, without compilation (5)")
  parser.add_argument("--steps", type=int, help="of training at most; gives a cosine schedule")
  parser.add_argument("--remat", choices=REMATS, default="none", help="recompute activations")
  parser.add_argument("--buckets", default="", help="such as 32x768,64x1216: fewer compile sooner")
  parser.add_argument("--batch_token_rows", type=int, help="token rows of a training batch")
  parser.add_argument("--decode_token_rows", type=int, help="token rows of a decoding batch")
  parser.add_argument("--timed_buckets", type=int, help="fullest buckets to time (1)")
  parser.add_argument("--learning_rate", type=float, help="peak; by default the size's own")
  parser.add_argument("--beam_size", type=int, help="for the held-out papers (4)")
  parser.add_argument("--max_documents", type=int, help="held-out papers to decode (256)")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--skip", default="", help=f"sections to leave out, of {','.join(SECTIONS)}")


def describe_settings(settings: Settings) -> dict[str, Any]:
  """Plain values for the JSON file."""
  record = dataclasses.asdict(settings)
  record["buckets"] = [[b.token_rows, b.target_tokens] for b in settings.buckets]
  bucket = settings.agreement_bucket
  record["agreement_bucket"] = [bucket.token_rows, bucket.target_tokens]
  return record


def _given(value, default):
  return default if value is None else value


def _positive(value, default, name) -> int:
  value = _given(value, default)
  if value < 1:
    raise UserError(f"{name}={value}: must be at least 1")
  return value
