"""The command line.

  python -m htmtl_jax.main --config=configs/NAME.py --workdir=DIR \\
      --mode=prepare|train|evaluate|summarize|plan|compare|report|human_eval [--config.a.b=v ...]

Reads flags and config, calls the mode, and turns what happened into an exit
status: 0 done, 2 the input is wrong (one line says how), 75 interrupted and
saved (run the same command again), 130 stopped from the keyboard.

What a mode needs and runs stands in `modes.py`.
"""

from collections.abc import Sequence
import dataclasses
import os
import pathlib
import sys
from typing import Any

from absl import flags, logging

from htmtl_jax import config as config_lib
from htmtl_jax import distributed
from htmtl_jax.config_keys import apply_overrides
from htmtl_jax.errors import DISK_ERRORS, UserError
from htmtl_jax.evaluation.systems import SYSTEMS, needs_run, parse_systems
from htmtl_jax.interruption import Interrupted
from htmtl_jax.modes import EXIT_INTERRUPTED, EXIT_OK, MODES, Mode, split_paths
from htmtl_jax.startup import prepare_jax

EXIT_USER_ERROR = 2
EXIT_KEYBOARD = 130  # 128 + SIGINT

_PROGRAM = "htmtl_jax"
_USAGE = """\
usage: python -m htmtl_jax.main --config=configs/NAME.py --workdir=DIR --mode=MODE
           [--config.SECTION.KEY=VALUE ...] [flags]

modes:
{modes}

flags:
{flags}
exit status: 0 done, 2 wrong input, 75 interrupted and saved (run it again)"""


# ------------------------------------------------------------------------ flags

# Flags that a mode takes or refuses; `config` and `mode` belong to all.
_MODE_FLAGS = (
  "workdir",
  "split",
  "checkpoint",
  "systems",
  "input",
  "output",
  "runs",
  "against",
  "action",
  "study",
  *distributed.FLAGS,
  "topology",
  "bucket",
  "sweep",
  "full_compile",
)


def _make_flags() -> flags.FlagValues:
  """Returns fresh flags, so that `run` can be called many times in a process."""
  values = flags.FlagValues()
  define = lambda name, default, text: flags.DEFINE_string(
    name, default, text, flag_values=values, required=False
  )
  define(
    "config",
    None,
    "config file, configs/NAME.py; one key: --config.SECTION.KEY=VALUE; "
    "evaluate and summarize take the workdir's own by default",
  )
  define("workdir", None, "folder of the run: config, checkpoints, metrics, evaluations")
  define("mode", None, " | ".join(MODES))
  flags.DEFINE_enum(
    "split",
    "validation",
    ["train", "validation", "test", "all"],
    "documents to evaluate on: validation | test; of untrained systems also train | all",
    flag_values=values,
  )
  define("checkpoint", "best", "best | latest | a step")
  define(
    "systems",
    None,
    f"what to compare, separated by commas: {', '.join(SYSTEMS)}; of human_eval RUN:SYSTEM, "
    "or reference",
  )
  define("input", None, "file or folder to summarise; of human_eval the answers of raters")
  define(
    "output",
    None,
    "folder: of summarize for a report and a JSON a document, of compare for its tables "
    "(default: print only), of plan for plan.json or a file that ends so, of human_eval for what its "
    "action makes",
  )
  define("runs", None, "workdirs, or folders of evaluations, separated by commas")
  define("against", None, "RUN:SYSTEM to compare with (default: the first run's htmtl)")
  define(
    "topology",
    None,
    "of plan: v5e:16x16 (v4, v5e, v5p, v6e, tpu7x), h100:8 (a100, h100, h200), cpu:8 "
    "(default: the devices present)",
  )
  define(
    "bucket", None, "of plan: token rows by target tokens, as 136x1216 (default: the largest)"
  )
  define_switch = lambda name, text: flags.DEFINE_boolean(name, False, text, flag_values=values)
  define_switch("sweep", "of plan: try meshes and rematerialisation, and name the best")
  define_switch("full_compile", "of plan: make machine code too, for the compiler's own memory")
  define("action", None, f"of human_eval: {' | '.join(MODES['human_eval'].actions)}")
  define(
    "study",
    None,
    "of human_eval: a TOML file with settings for export, the folder that export wrote for the "
    "other actions; one key: --study.SECTION.KEY=VALUE",
  )
  define(
    "compilation_cache",
    None,
    "folder where compiled programs are kept for the next start, '' for none (default: "
    "JAX_COMPILATION_CACHE_DIR, else ~/.cache/htmtl_jax/compilations)",
  )
  define(
    "coordinator",
    None,
    "HOST:PORT of process 0, where several processes train or evaluate together; Slurm and TPU "
    "slices need none of these three",
  )
  define("num_processes", None, "how many processes there are")
  define("process_id", None, "which of them this is, from 0")
  flags.DEFINE_multi_string("study_keys", [], "filled by --study.SECTION.KEY", flag_values=values)
  flags.DEFINE_boolean("help", False, "show this", short_name="h", flag_values=values)
  return values


def _split_overrides(argv: Sequence[str], section: str = "config") -> tuple[list[str], list[str]]:
  """Separates `--config.a.b=v` and `--config.a.b v` from the other arguments.

  Done before absl parses, since absl knows flags only, not the keys of a config.
  `section` is what stands in the place of `config`.

  Returns:
    (overrides as `a.b=v`, the other arguments).
  """
  overrides, others = [], []
  words = iter(argv)
  for word in words:
    if word == "--":
      others += [word, *words]
      break
    name = word.lstrip("-")
    if not (word.startswith("-") and name.startswith(f"{section}.")):
      others.append(word)
      continue
    name = name.removeprefix(f"{section}.")
    if "=" not in name:
      value = next(words, None)
      if value is None or value.startswith("--"):
        raise UserError(f"{word} has no value; write {word}=VALUE")
      name = f"{name}={value}"
    overrides.append(name)
  return overrides, others


def _parse_flags(argv: Sequence[str]) -> flags.FlagValues:
  values = _make_flags()
  try:
    unparsed = values([_PROGRAM, *argv])[1:]
  except flags.Error as error:
    raise UserError(f"{' '.join(str(error).split())}; see --help") from None
  if unparsed and not values.help:
    raise UserError(
      f"unexpected argument {unparsed[0]!r}; flags are written --name=value, see --help"
    )
  return values


def _check_flags(values: flags.FlagValues) -> Mode:
  if not values.mode:
    raise UserError(f"--mode is missing; choose one of {', '.join(MODES)}")
  if values.mode not in MODES:
    raise UserError(f"--mode={values.mode} is unknown; choose one of {', '.join(MODES)}")
  mode = MODES[values.mode]
  chosen, known = f"--mode={values.mode}", mode.required + mode.optional
  if mode.actions:
    actions = ", ".join(mode.actions)
    if not values.action:
      raise UserError(f"--action is missing; {chosen} needs one of {actions}")
    if values.action not in mode.actions:
      raise UserError(f"--action={values.action} is unknown; {chosen} has {actions}")
    mode = mode.actions[values.action]
    chosen = f"{chosen} --action={values.action}"
    known += mode.required + mode.optional
  for name in mode.required:
    if not values[name].value:
      raise UserError(f"--{name} is missing; {chosen} needs it")
  for name in ("workdir", "input", "output", "study"):
    if values[name].value:  # the shell leaves --name=~/x as it is
      values[name].value = os.path.expanduser(values[name].value)
  for name in _MODE_FLAGS:
    if values[name].present and name not in known:
      raise UserError(f"--{name} has no meaning with {chosen}; leave it out")
  if values.study_keys and "study" not in known:
    name = values.study_keys[0].partition("=")[0]
    raise UserError(f"--{name} has no meaning with {chosen}; leave it out")
  if values.mode != "human_eval":  # which has systems of its own: RUN:SYSTEM
    mode = _check_systems(values, mode)
  if mode.needs_config and not values.config:
    raise UserError(
      f"--config is missing; --mode={values.mode} needs one, "
      "for example --config=configs/quickstart.py"
    )
  workdir = pathlib.Path(values.workdir) if values.workdir else None
  if workdir is not None and workdir.exists() and not workdir.is_dir():
    raise UserError(f"--workdir={workdir} is a file; name a folder")
  if workdir is not None and mode.needs_run and not workdir.is_dir():
    raise UserError(f"--workdir={workdir} not found; train first with --mode=train")
  return mode


def _check_systems(values: flags.FlagValues, mode: Mode) -> Mode:
  """Returns the mode as it is with these systems: without a trained one, no run is needed."""
  trained = needs_run(parse_systems(values.systems))
  if trained and values.split not in ("validation", "test"):
    raise UserError(
      f"--split={values.split} is for systems that need no training; leave it out, or give "
      "--systems without htmtl and htmtl_extractive"
    )
  if trained:
    return mode
  if values["checkpoint"].present:
    raise UserError(
      f"--checkpoint has no meaning with --systems={values.systems}, none of which is trained; "
      "leave it out"
    )
  return dataclasses.replace(mode, needs_run=False)


# ----------------------------------------------------------------------- config


def _load_config(values: flags.FlagValues, overrides: Sequence[str], mode: Mode) -> Any:
  """Returns the config of `--config`, else the workdir's own, else None.

  Raises:
    UserError: a config that is wrong, or overrides of no config.
  """
  if not mode.takes_config:
    if values.config or overrides:
      raise UserError(f"--config has no meaning with --mode={values.mode}; leave it out")
    return None
  if values.config:
    config = config_lib.load_config(values.config, overrides)
  else:
    # A study of several runs is about documents that all of them have.
    workdir = values.workdir or next(iter(split_paths(values.runs or "")), None)
    config = config_lib.load_saved_config(workdir) if workdir else None
    if config is None and values.workdir and mode.needs_run:
      raise UserError(
        f"--workdir={values.workdir} holds no {config_lib.CONFIG_FILE}; "
        "give --config, or a workdir that was trained"
      )
    if config is None and overrides:
      raise UserError(
        f"--config.{overrides[0].partition('=')[0]} has nothing to change; "
        f"give --config or a trained {'--runs' if values.runs else '--workdir'}"
      )
    if config is not None:
      apply_overrides(config, overrides)
  if config is not None:
    schema = config_lib.load_schema(near=values.config)
    if schema is not None:
      config_lib.validate(config, schema)
  return config


def _format_help() -> str:
  values = _make_flags()
  modes = "\n".join(f"  {name:<11}{mode.help}" for name, mode in MODES.items())
  lines = []
  for name in ("config", "mode", *_MODE_FLAGS, "compilation_cache", "help"):
    default = values[name].default
    lines.append(
      f"  --{name:<10} {values[name].help}" + (f" (default: {default})" if default else "")
    )
  return _USAGE.format(modes=modes, flags="\n".join(lines) + "\n")


# -------------------------------------------------------------------------- run


def run(argv: Sequence[str]) -> int:
  """Runs one command line, given without the program's name; returns the exit status.

  Errors of the user and the keyboard's interrupt become one line on stderr;
  any other exception is a bug and passes through.
  """
  try:
    overrides, others = _split_overrides(argv)
    study_keys, others = _split_overrides(others, "study")
    values = _parse_flags(others)
    values.study_keys = [f"study.{key}" for key in study_keys]
    if values.help:
      print(_format_help())
      return EXIT_OK
    mode = _check_flags(values)
    config = _load_config(values, overrides, mode)
    # Libraries underneath read absl's global flags, which nobody else parses here.
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()
    logging.set_verbosity(logging.WARNING)
    if mode.uses_devices:
      prepare_jax(values.compilation_cache)
    return mode.run(config, values)
  except Interrupted:
    print(f"{_PROGRAM}: interrupted; run the same command again to go on", file=sys.stderr)
    return EXIT_INTERRUPTED
  except UserError as error:
    print(f"{_PROGRAM}: error: {error}", file=sys.stderr)
    return EXIT_USER_ERROR
  except BrokenPipeError:
    # Whoever read our output (head, less) has gone; nothing is wrong. Python would
    # complain once more when it flushes standard output at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_OK
  except OSError as error:
    if error.errno not in DISK_ERRORS:
      raise
    place = f" ({error.filename})" if error.filename else ""
    print(
      f"{_PROGRAM}: error: {os.strerror(error.errno)}{place}; make room there, and run "
      "the same command again: what was saved before is whole",
      file=sys.stderr,
    )
    return EXIT_USER_ERROR
  except KeyboardInterrupt:
    print(
      f"{_PROGRAM}: stopped from the keyboard; a training goes on from what it has saved, with the "
      "same command",
      file=sys.stderr,
    )
    return EXIT_KEYBOARD


if __name__ == "__main__":
  sys.exit(distributed.leave(run(sys.argv[1:])))
