"""A config and a trained run so small that end-to-end tests take seconds.

The config is a file like those in `configs/`, so tests use it by the command line
too: `--config=tests/tiny_config.py`. It keeps every mechanism switched on (dropout,
accumulation, beams, copy gate) and makes only the sizes small; papers are cut to their
beginning.

Programs run on one device and are kept in a compilation cache, since tracing and compiling
is nearly all that they would otherwise do. It, the prepared arrays and the trained run are
shared by all test processes that `conftest.py` gives one folder.

    python -m tests.tiny_config FLAGS    # `python -m htmtl_jax.main FLAGS` in that setting
"""

import atexit
from collections.abc import Callable
import contextlib
import fcntl
import functools
import io
import json
import os
import pathlib
import shutil
import sys
import tempfile
from unittest import mock

import ml_collections

from configs import base

PATH = pathlib.Path(__file__).resolve()
REPOSITORY = PATH.parent.parent
NUM_STEPS = 12
FOLDER = "HTMTL_TESTS_FOLDER"  # in the environment: what the processes of these tests share
CHECKPOINT_STEPS = (2, 4, 6, 8, 10, 12)


def get_config() -> ml_collections.ConfigDict:
  config = base.get_config()
  config.data.num_train = 24
  config.data.num_validation = 3
  config.data.num_test = 4
  config.data.processes = 1
  config.data.max_input_tokens = 192
  config.data.max_target_tokens = (16, 24, 40)
  config.tokenizer.vocab_size = 600
  config.tokenizer.model_type = "bpe"

  config.layout.row_tokens = 32
  config.layout.row_sentence_slots = 8
  config.layout.row_sentences = 8
  config.layout.row_paragraphs = 4
  config.layout.min_sections = 6
  config.layout.paragraph_units = 4
  config.layout.buckets = ((8, 80),)

  config.model.width = 16
  config.model.num_heads = 2
  config.model.mlp_width = 32
  config.model.token_layers = 1
  config.model.paragraph_layers = 1
  config.model.section_layers = 1
  config.model.document_layers = 1
  config.model.decoder_layers = 2
  config.model.dropout = 0.1
  config.model.dtype = "float32"
  config.model.scan_layers = False  # nothing to gain at one layer, and it traces twice

  config.loss.coverage, config.loss.twice, config.loss.diversity = 0.1, 0.02, 0.01
  config.loss.ramp_start = 2
  config.loss.ramp_steps = 4
  config.loss.importance_ramp_steps = 4
  config.optimizer.learning_rate = 3e-3
  config.optimizer.warmup_steps = 3

  config.train.num_steps = NUM_STEPS
  config.train.batch_token_rows = 64
  config.train.accumulate = 2
  config.train.log_every = 1
  config.train.checkpoint_every = 2
  config.train.evaluate_every = 4
  config.train.keep_latest = 10

  config.decode.beam_size = 2
  config.decode.min_tokens = (2, 4, 4)
  config.decode.max_tokens = (16, 24, 40)
  config.evaluate.batch_token_rows = 64
  config.evaluate.bootstrap_samples = 50
  return config


@functools.cache
def _folder() -> pathlib.Path:
  """The one that `conftest.py` made for all processes of these tests, or one of this process."""
  if shared := os.environ.get(FOLDER):
    return pathlib.Path(shared)
  folder = pathlib.Path(tempfile.mkdtemp(prefix="htmtl_tiny_"))
  atexit.register(shutil.rmtree, folder, ignore_errors=True)
  return folder


def environment() -> dict[str, str]:
  """Of a child process: it shares the compilation cache, and starts JAX as this one did.

  Without the flag, that is, which `main` puts into XLA_FLAGS when it is called here, where
  it comes too late: only equal programs compute equal bits.
  """
  flags = [f for f in os.environ.get("XLA_FLAGS", "").split() if "_ynn_" not in f]
  return {**os.environ, "XLA_FLAGS": " ".join(flags), FOLDER: str(_folder())}


# The smallest model that has all that sharding and resuming can get wrong.
LITTLE_TO_COMPILE = (
  "--config.train.accumulate=1",
  "--config.model.decoder_layers=1",
  "--config.model.paragraph_layers=0",
  "--config.model.section_layers=0",
  "--config.model.document_layers=0",
)


@contextlib.contextmanager
def setting(devices: int = 1):
  """So many devices, and the compilation cache."""
  import jax
  from jax.experimental.compilation_cache import compilation_cache

  from htmtl_jax.sharding import make_mesh

  options = {
    "jax_compilation_cache_dir": str(_folder() / "cache"),
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
  }
  previous = {name: getattr(jax.config, name) for name in options}
  mesh_of_some = lambda config: make_mesh(config, jax.devices()[:devices])
  try:
    for name, value in options.items():
      jax.config.update(name, value)
    compilation_cache.reset_cache()  # JAX looks at the folder once
    with mock.patch("htmtl_jax.experiment.make_mesh", mesh_of_some):
      yield
  finally:
    for name, value in previous.items():
      jax.config.update(name, value)
    compilation_cache.reset_cache()


def run_main(*argv, devices: int = 1) -> tuple[int, str, str]:
  """Runs one command line in this process: (exit status, stdout, stderr)."""
  from htmtl_jax import main  # not at the top: a config file should load without it

  out, err = io.StringIO(), io.StringIO()
  with setting(devices), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    status = main.run([str(word) for word in argv])
  return status, out.getvalue(), err.getvalue()


def train_flags(workdir, *others) -> list[str]:
  """Of `--mode=train` with this config, on the arrays that all tests share."""
  return [
    f"--config={PATH}",
    f"--workdir={workdir}",
    "--mode=train",
    f"--config.data.prepared={prepared()}",
    *others,
  ]


def run_train(workdir, *flags, devices: int = 1) -> tuple[int, str, str]:
  """See `run_main` and `train_flags`."""
  return run_main(*train_flags(workdir, *flags), devices=devices)


def _made_once(name: str, make: Callable[[pathlib.Path], list[str]]):
  """(folder, what `make` returned when it filled the folder), by whichever process came first."""
  folder, returned = _folder() / name, _folder() / f"{name}.json"
  with open(_folder() / f"{name}.lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed, or the process ends
    if not returned.exists():
      shutil.rmtree(folder, ignore_errors=True)  # of one that failed
      result = make(folder)
      returned.write_text(json.dumps(result))
    return folder, json.loads(returned.read_text())


@functools.cache
def prepared() -> pathlib.Path:
  """The prepared arrays of the tiny corpus, made once."""
  from htmtl_jax.data.prepared import prepare_corpus

  def make(directory):
    with contextlib.redirect_stderr(io.StringIO()):
      prepare_corpus(get_config(), directory)
    return []

  return _made_once("prepared", make)[0]


@functools.cache
def trained() -> tuple[pathlib.Path, str, str]:
  """A finished run, made once: (workdir, stdout, stderr).

  Read it only, other processes do so at the same time; a test that writes works on a copy
  (`copy_trained`).
  """

  def make(workdir):
    status, out, err = run_train(workdir)
    assert status == 0, err
    return [out, err]

  workdir, (out, err) = _made_once("run", make)
  return workdir, out, err


def copy_trained(folder) -> pathlib.Path:
  """A copy of the finished run that a test may change."""
  return pathlib.Path(shutil.copytree(trained()[0], pathlib.Path(folder) / "copy"))


if __name__ == "__main__":
  # Compile as the tests do: only equal programs compute equal bits.
  import tests.conftest  # noqa: F401
  from htmtl_jax import main  # isort: skip

  with setting():
    sys.exit(main.run(sys.argv[1:]))
