"""One command for whenever an accelerator is at hand: is it right, how fast, how good.

    python benchmarks/accelerator.py prepare --corpus=FOLDER --output=DIR [--max_documents=N]
    python benchmarks/accelerator.py run --prepared=DIR --output=OUT [--size=base] [--minutes=N]
    python benchmarks/accelerator.py score --output=OUT

`prepare` runs where everything is installed. `run` needs JAX, Flax, Optax, NumPy and
SentencePiece only. `score` needs rouge-score, where `run` had none. See README.md beside
this file. Exit status: 0 all is well, 1 a section failed (the others were still run), 2
something is wrong with the arguments or files.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import shlex
import sys
import tempfile
import time
import traceback

_ROOT = str(pathlib.Path(__file__).resolve().parent.parent)
if _ROOT not in sys.path:  # run as a script, perhaps where nothing is installed
  sys.path.insert(0, _ROOT)

from benchmarks import accelerator_corpus as corpus_lib  # noqa: E402
from benchmarks.accelerator_report import JSON_FILE, write_report  # noqa: E402
from htmtl_jax.errors import UserError  # noqa: E402

_MEGABYTE = 1 << 20


def main(argv: list[str] | None = None) -> int:
  """Runs one of the three commands; returns the exit status."""
  argv = sys.argv[1:] if argv is None else argv
  arguments = _make_parser().parse_args(argv)
  arguments.given = argv
  try:
    return arguments.command(arguments)
  except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2


def run_prepare(arguments: argparse.Namespace) -> int:
  """`prepare`: a corpus into arrays, vocabulary and baselines, and one archive of them."""
  sizes = corpus_lib.prepare(
    corpus=arguments.corpus,
    directory=arguments.output,
    max_documents=arguments.max_documents,
    exclude=tuple(name for name in arguments.exclude.split(",") if name),
    vocab_size=arguments.vocab_size,
    max_input_tokens=arguments.max_input_tokens,
    processes=arguments.processes,
    seed=arguments.seed,
    tiny=arguments.tiny,
  )
  each = sizes["archive"] / sizes["documents"]
  archive = f"{os.path.normpath(arguments.output)}.tar.xz"
  print(
    f"{sizes['documents']} documents:"
    f" {arguments.output} {sizes['directory'] / _MEGABYTE:.1f} MiB, {archive}"
    f" {sizes['archive'] / _MEGABYTE:.1f} MiB ({each / 1024:.1f} KiB a document,"
    f" {60 * _MEGABYTE / each:.0f} documents in 60 MiB)"
  )
  return 0


def run_benchmark(arguments: argparse.Namespace) -> int:
  """`run`: every section that is not skipped; what fails is reported and does not stop the rest."""
  from benchmarks.accelerator_settings import SECTIONS, make_settings, parse_skip

  settings = make_settings(arguments)
  skip = parse_skip(arguments.skip)
  os.makedirs(arguments.output, exist_ok=True)
  with _opened(arguments.prepared) as directory:
    sections = _Sections(arguments, settings, directory)
    for name in SECTIONS:
      sections.run(name, name in skip)
  print(f"results: {os.path.join(arguments.output, JSON_FILE)}")
  return sections.exit_status


def run_score(arguments: argparse.Namespace) -> int:
  """`score`: ROUGE of the predictions of an earlier `run`, into its report."""
  from benchmarks import accelerator_papers as papers

  path = os.path.join(arguments.output, JSON_FILE)
  try:
    with open(path, encoding="utf-8") as f:
      record = json.load(f)
    evaluation = record["evaluation"]
  except (OSError, ValueError, KeyError) as error:
    raise UserError(f"{path}: no evaluation in it ({error}); `run` comes first") from error
  evaluation["scores"] = papers.score(
    arguments.output, evaluation["step"], record["settings"]["seed"], arguments.processes
  )
  print(evaluation["scores"].pop("table"))
  write_report(arguments.output, record)
  return 0


class _Sections:
  """The sections of a run, in order, and the report that grows with them."""

  def __init__(self, arguments, settings, directory: str):
    import jax

    from benchmarks.accelerator_settings import describe_settings
    from benchmarks.accelerator_trainer import Trainer
    from htmtl_jax.data.prepared import load_prepared

    self.exit_status = 0
    self._output = arguments.output
    self._settings = settings
    self._corpus = load_prepared(directory)
    devices = jax.devices()
    if arguments.devices:
      devices = devices[: arguments.devices]
    self._device = devices[0]
    vocabulary_size = self._corpus.tokenizer.vocab_size
    self._log(f"{len(devices)} x {self._device.device_kind}; choosing buckets")
    self._trainer = Trainer(settings, self._corpus.split("train"), vocabulary_size, devices)
    self._state = None
    self._record = {
      "command": _command_line(arguments.given),
      "date": arguments.date or datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
      "size": settings.size,
      "parameters": self._trainer.num_parameters,
      "vocabulary_size": vocabulary_size,
      "documents": {s: len(self._corpus.split(s)) for s in ("train", "validation", "test")},
      "device": {
        "kind": self._device.device_kind,
        "platform": self._device.platform,
        "count": len(devices),
        "jax": jax.__version__,
        "python": platform.python_version(),
      },
      "settings": describe_settings(settings),
      "sections": {},
    }
    write_report(self._output, self._record)

  def run(self, name: str, is_skipped: bool) -> None:
    """Runs one section, whatever happens in it, and writes the report."""
    if is_skipped:
      self._record["sections"][name] = {"status": "skipped"}
    else:
      self._log(f"{name} ...")
      start = time.perf_counter()
      state = {"status": "done"}
      try:
        result = getattr(self, f"_run_{name}")()
        self._record[name] = result
        problem = _problem(name, result)
      except Exception as error:  # the rest is still worth running
        traceback.print_exc()
        first_line = (str(error).strip().splitlines() or [""])[0]
        problem = f"{type(error).__name__}: {first_line}"
      if problem:
        state = {"status": "failed", "error": problem}
        self.exit_status = 1
      state["seconds"] = time.perf_counter() - start
      self._record["sections"][name] = state
      self._log(f"{name}: {state['status']}, {state['seconds']:.0f} s {problem or ''}".rstrip())
    write_report(self._output, self._record)

  def _run_agreement(self):
    from benchmarks.accelerator_agreement import check_agreement

    settings = self._settings
    return check_agreement(
      settings.model,
      self._corpus.tokenizer.vocab_size,
      self._corpus.split("test"),
      settings.agreement_bucket,
      self._device,
      settings.seed,
    )

  def _run_ceiling(self):
    from benchmarks.accelerator_speed import measure_ceiling

    return measure_ceiling(self._settings, self._device)

  def _run_train_step(self):
    from benchmarks.accelerator_speed import time_train_steps

    ceiling = self._record.get("ceiling", {}).get("matmul_tflops")
    return time_train_steps(self._settings, self._trainer, ceiling)

  def _run_decoding(self):
    from benchmarks.accelerator_speed import time_decoding

    return time_decoding(self._settings, self._trainer, self._corpus.split("test"))

  def _run_training(self):
    from benchmarks.accelerator_trainer import train

    def save(record):
      self._record["training"] = record
      self._record["sections"]["training"] = {"status": "unfinished"}
      write_report(self._output, self._record)

    self._state, record = train(self._settings, self._trainer, self._log, save)
    return record

  def _run_evaluation(self):
    from benchmarks import accelerator_papers as papers

    state = self._trainer.init() if self._state is None else self._state
    record = papers.evaluate(
      self._settings, self._trainer, state, self._corpus, self._output, self._log
    )
    record["score_command"] = _command_line(["score", f"--output={self._output}"])
    self._record["evaluation"] = record
    write_report(self._output, self._record)  # scoring may take longer than is left
    if papers.can_score():
      record["scores"] = papers.score(self._output, record["step"], self._settings.seed)
      print(record["scores"].pop("table"))
    else:
      self._log(f"rouge-score is not installed; to score: {record['score_command']}")
    return record

  def _log(self, text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _problem(name: str, result) -> str | None:
  """What is wrong with a section that ran to its end; None if nothing is."""
  if name == "agreement" and not result["ok"]:
    wrong = [f"{row['dtype']} {row['quantity']}" for row in result["checks"] if not row["ok"]]
    if not wrong:
      return "a planted fault was not found"
    return f"differs from the CPU in {', '.join(wrong)}"
  if name == "training" and not result["finite"]:
    return f"the loss is not finite at step {result['steps']}"
  return None


@contextlib.contextmanager
def _opened(prepared: str):
  """The folder itself, or the content of an archive in a temporary folder."""
  if os.path.isdir(prepared):
    yield prepared
    return
  if not os.path.isfile(prepared):
    raise UserError(f"--prepared={prepared}: no such folder or archive; run `prepare` first")
  with tempfile.TemporaryDirectory() as directory:
    corpus_lib.unpack_archive(prepared, directory)
    yield directory


def _command_line(given: list[str]) -> str:
  """The command as it can be told: a path without the folders that lead to it."""
  tell = lambda word: word.rstrip("/").rsplit("/", 1)[-1]
  parts = [word.partition("=") for word in given]
  words = [f"{name}={tell(value)}" if equals else tell(name) for name, equals, value in parts]
  return shlex.join(["python", "benchmarks/accelerator.py", *words])


def _make_parser() -> argparse.ArgumentParser:
  from benchmarks.accelerator_settings import add_arguments

  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  commands = parser.add_subparsers(required=True)

  prepare = commands.add_parser("prepare", help="a corpus into a folder for `run`")
  prepare.set_defaults(command=run_prepare)
  prepare.add_argument("--corpus", required=True, help="JSON-lines file, or a folder of them")
  prepare.add_argument("--output", required=True, help="folder to make, and OUTPUT.tar.xz")
  prepare.add_argument("--max_documents", type=int, default=0, help="a sample; 0 for all")
  prepare.add_argument("--exclude", default="tech_docs", help="files to leave out, by name")
  prepare.add_argument("--vocab_size", type=int, default=16000)
  prepare.add_argument("--max_input_tokens", type=int, default=16384)
  prepare.add_argument("--processes", type=int, default=0, help="0 for one a core")
  prepare.add_argument("--seed", type=int, default=0, help="of the split")
  prepare.add_argument("--tiny", action="store_true", help="small vocabulary and limits, for tests")

  run = commands.add_parser("run", help="check, time, train and evaluate on this machine")
  run.set_defaults(command=run_benchmark)
  run.add_argument("--prepared", required=True, help="of `prepare`: the folder or its .tar.xz")
  run.add_argument("--output", required=True, help="folder for the results")
  run.add_argument("--date", default="", help="for the report; by default the clock's")
  run.add_argument("--devices", type=int, default=0, help="use so many; 0 for all")
  add_arguments(run)

  score = commands.add_parser("score", help="ROUGE of the predictions of `run`")
  score.set_defaults(command=run_score)
  score.add_argument("--output", required=True, help="of `run`")
  score.add_argument("--processes", type=int, default=1)
  return parser


if __name__ == "__main__":
  sys.exit(main())
