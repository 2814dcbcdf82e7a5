"""The modes of the command line: what each needs, takes, and runs.

Modes are rows of `MODES`. JAX is imported by the modes, not here, so that
`--help` and a wrong flag answer at once.
"""

from collections.abc import Callable, Mapping
import dataclasses
import os
import pathlib
import sys
from typing import Any

from absl import flags

from htmtl_jax import distributed
from htmtl_jax.config import CONFIG_FILE
from htmtl_jax.errors import UserError
from htmtl_jax.evaluation.systems import needs_run, parse_systems
from htmtl_jax.interruption import Interruption

EXIT_OK = 0
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: run me again


def _prepare(config: Any, arguments: flags.FlagValues) -> int:
  from htmtl_jax import prepare

  with Interruption():
    prepare.run_prepare(config, arguments.workdir)
  return EXIT_OK


def _train(config: Any, arguments: flags.FlagValues) -> int:
  with distributed.joined(_cluster_flags(arguments)):
    from htmtl_jax import train

    status = train.run_train(config, arguments.workdir)
  if status == "interrupted":
    print("htmtl_jax: interrupted and saved; run the same command again to go on", file=sys.stderr)
    return EXIT_INTERRUPTED
  return EXIT_OK


def _cluster_flags(arguments: flags.FlagValues) -> dict[str, str | None]:
  return {name: arguments[name].value for name in distributed.FLAGS}


def _evaluate(config: Any, arguments: flags.FlagValues) -> int:
  systems = parse_systems(arguments.systems)
  if needs_run(systems):
    chosen = {} if arguments.systems is None else {"systems": systems}
    with distributed.joined(_cluster_flags(arguments)):
      from htmtl_jax import evaluate

      evaluate.run_evaluate(
        config, arguments.workdir, split=arguments.split, checkpoint=arguments.checkpoint, **chosen
      )
    return EXIT_OK
  cluster = distributed.detect(_cluster_flags(arguments), os.environ)
  if cluster is not None and cluster.process_id:  # nothing is computed on devices
    print("htmtl_jax: systems that need no training are left to process 0", file=sys.stderr)
    return EXIT_OK
  if config is None:
    raise UserError(
      f"--config is missing, and --workdir={arguments.workdir} holds no {CONFIG_FILE}; "
      "one of them has to name the corpus"
    )
  from htmtl_jax import evaluate_untrained

  evaluate_untrained.run_untrained(config, arguments.workdir, systems, split=arguments.split)
  return EXIT_OK


def _plan(config: Any, arguments: flags.FlagValues) -> int:
  if config is None:
    raise UserError(
      f"--config is missing, and --workdir={arguments.workdir} holds no {CONFIG_FILE}; "
      "for example --config=configs/papers_base.py"
    )
  from htmtl_jax.plan import run

  run.run_plan(
    config,
    topology=arguments.topology or "",
    bucket=arguments.bucket or "",
    full_compile=arguments.full_compile,
    sweep_meshes=arguments.sweep,
    output=arguments.output or arguments.workdir,
  )
  return EXIT_OK


def _summarize(config: Any, arguments: flags.FlagValues) -> int:
  from htmtl_jax import summarize

  if not pathlib.Path(arguments.input).exists():
    raise UserError(f"--input={arguments.input} not found; give a file or a folder")
  summarize.run_summarize(
    config, arguments.workdir, arguments.input, arguments.output, checkpoint=arguments.checkpoint
  )
  return EXIT_OK


def _compare(config: Any, arguments: flags.FlagValues) -> int:
  del config  # refused by `_load_config`
  from htmtl_jax import compare

  compare.run_compare(
    split_paths(arguments.runs),
    split=arguments.split,
    output=arguments.output,
    against=arguments.against,
  )
  return EXIT_OK


def _report(config: Any, arguments: flags.FlagValues) -> int:
  del config  # refused by `_load_config`
  from htmtl_jax import report

  report.run_report(arguments.workdir)
  return EXIT_OK


def _export_study(config: Any, arguments: flags.FlagValues) -> int:
  from htmtl_jax.human_eval import actions

  actions.run_export(
    split_paths(arguments.runs),
    arguments.output,
    settings=arguments.study,
    overrides=arguments.study_keys,
    split=arguments.split,
    systems=arguments.systems,
    config=config,
  )
  return EXIT_OK


def _simulate_raters(config: Any, arguments: flags.FlagValues) -> int:
  del config  # refused by `_load_config`
  from htmtl_jax.human_eval import actions

  actions.run_simulate(arguments.study, arguments.output, overrides=arguments.study_keys)
  return EXIT_OK


def _import_answers(config: Any, arguments: flags.FlagValues) -> int:
  del config  # refused by `_load_config`
  from htmtl_jax.human_eval import actions

  actions.run_import(
    arguments.study, arguments.input, arguments.output, overrides=arguments.study_keys
  )
  return EXIT_OK


def split_paths(text: str) -> list[str]:
  """The paths of a flag, separated by commas; ~ is somebody's home."""
  paths = [os.path.expanduser(word.strip()) for word in text.split(",")]
  return [path for path in paths if path]


@dataclasses.dataclass(frozen=True)
class Mode:
  """One row of the table of modes.

  Attributes:
    run: takes (config or None, flags), returns the exit status.
    help: one line for `--help`.
    required: flags that must be given.
    optional: flags that may be given; all others are refused, lest somebody
      believes that they do something.
    needs_config: whether `--config` must be given, even if the workdir has one.
    needs_run: whether the workdir has to hold a run already.
    takes_config: whether a config has any meaning to it.
    uses_devices: whether JAX computes something in it.
    actions: the modes that `--action` chooses from; with these, it does nothing itself.
  """

  run: Callable[[Any, flags.FlagValues], int] | None
  help: str
  required: tuple[str, ...] = ()
  optional: tuple[str, ...] = ()
  needs_config: bool = False
  needs_run: bool = False
  takes_config: bool = True
  uses_devices: bool = False
  actions: "Mapping[str, Mode]" = dataclasses.field(default_factory=dict)


MODES = {
  "prepare": Mode(
    _prepare,
    "parse, split and tokenise the corpus, and say what is in it (train does it, too)",
    required=("workdir",),
    needs_config=True,
  ),
  "train": Mode(
    _train,
    "train, going on where the workdir's run stopped; evaluate at the end",
    required=("workdir",),
    optional=distributed.FLAGS,
    needs_config=True,
    uses_devices=True,
  ),
  "evaluate": Mode(
    _evaluate,
    "score a trained workdir beside the baselines; with --systems, baselines alone, untrained",
    required=("workdir",),
    optional=("split", "checkpoint", "systems", *distributed.FLAGS),
    needs_run=True,
    uses_devices=True,
  ),
  "summarize": Mode(
    _summarize,
    "summarise your own papers (without --workdir: a LexRank extract)",
    required=("input",),
    optional=("workdir", "checkpoint", "output"),
    uses_devices=True,
  ),
  "compare": Mode(
    _compare,
    "put evaluated runs into one table, and test which differences are more than luck",
    required=("runs",),
    optional=("against", "split", "output"),
    takes_config=False,
  ),
  "plan": Mode(
    _plan,
    "say what a train step needs on devices that need not be there: memory, FLOPs, bytes, time",
    optional=("workdir", "topology", "bucket", "sweep", "full_compile", "output"),
  ),
  "report": Mode(
    _report,
    "write the HTML reports of a workdir again: of its training, also while it goes on, and of its "
    "evaluations",
    required=("workdir",),
    takes_config=False,
  ),
  "human_eval": Mode(
    None,
    "let people judge summaries: --action=export makes forms, import reads what comes back",
    required=("action",),
    actions={
      "export": Mode(
        _export_study,
        "draw a sample of evaluated documents, and write a blinded form for each rater",
        required=("runs", "output"),
        optional=("study", "split", "systems"),
      ),
      "import": Mode(
        _import_answers,
        "check the answers that raters sent back, and report",
        required=("study", "input"),
        optional=("output",),
        takes_config=False,
      ),
      "simulate": Mode(
        _simulate_raters,
        "answer the forms by programs, to try out what follows",
        required=("study", "output"),
        takes_config=False,
      ),
    },
  ),
}
