"""What `--mode=human_eval` does, action by action."""

from collections.abc import Sequence
import json
import os
import pathlib

from htmtl_jax.errors import UserError
from htmtl_jax.evaluation.results import write_atomically
from htmtl_jax.human_eval import export, report_html, tables
from htmtl_jax.human_eval.analysis import analyse
from htmtl_jax.human_eval.answers import list_files, read_answers
from htmtl_jax.human_eval.folder import read_key
from htmtl_jax.human_eval.judgments import collect
from htmtl_jax.human_eval.settings import Study, load_study, settings_file
from htmtl_jax.human_eval.simulate import simulate_answers, true_qualities
from htmtl_jax.human_eval.text import plural
from htmtl_jax.reports.page import check_writable, write_page

SIMULATED_NOTE = "SIMULATED: these answers come from a program; they are no judgment of anybody's"


def run_export(
  paths: Sequence[str],
  output: str,
  settings: str | None = None,
  overrides: Sequence[str] = (),
  split: str = "validation",
  systems: str | None = None,
  config=None,
) -> dict:
  """Makes a study; see `export.run_export`.

  Args:
    paths: of evaluated runs.
    output: the study's folder.
    settings: a TOML file, or None.
    overrides: `study.SECTION.KEY=VALUE`.
    split: that was evaluated.
    systems: names separated by commas, or None.
    config: names the corpus, or None.
  """
  study = load_study(settings_file(settings), overrides)
  return export.run_export(paths, output, study, split, systems, config)


def run_simulate(study: str, output: str, overrides: Sequence[str] = ()) -> dict:
  """Answers the packets of a study by programs, and writes the files that forms would save.

  Args:
    study: the folder of the study.
    output: folder for the answers.
    overrides: `study.simulation.KEY=VALUE`.

  Returns:
    {rater: answers}.

  Raises:
    UserError: no study, settings of another section, files that people saved in `output`.
  """
  key = read_key(study)
  settings = _load_settings(key, overrides, "simulation")
  folder = pathlib.Path(output)
  if folder.exists() and not folder.is_dir():
    raise UserError(f"--output={output} is a file; name a folder")
  files = simulate_answers(key, settings.simulation)
  for rater in files:
    _check_simulated(folder / _simulated_name(rater))
  _make_folder(folder, output)
  for rater, answers in files.items():
    text = json.dumps(answers, ensure_ascii=False, indent=1)
    write_atomically(folder / _simulated_name(rater), [text])
  qualities = true_qualities(settings.simulation, list(key["systems"]))
  listed = ", ".join(f"{name} {quality:+.2f}" for name, quality in qualities.items())
  print(SIMULATED_NOTE)
  print(
    f"{plural(len(files), 'rater')}, {settings.simulation.careless} careless; qualities {listed}"
  )
  print(f"answers: {output}")
  return files


def _simulated_name(rater: str) -> str:
  return f"{rater}.simulated.json"


def _check_simulated(path: pathlib.Path) -> None:
  """A file in the way has to be simulated, too."""
  if not path.exists():
    return
  try:
    simulated = json.loads(path.read_text(encoding="utf-8"))["simulated"] is True
  except (OSError, ValueError, KeyError, TypeError):
    simulated = False
  if not simulated:
    raise UserError(f"{path} is there and not simulated; give another folder with --output")


def run_import(
  study: str, answers: str, output: str | None = None, overrides: Sequence[str] = ()
) -> dict:
  """Checks the raters' files, analyses them, prints the tables and writes the report.

  Args:
    study: the folder of the study.
    answers: files or folders, separated by commas.
    output: folder for report.json, report.md, report.html and judgments.csv; None only prints.
    overrides: `study.analysis.KEY=VALUE`; what differs from the protocol is reported.

  Returns:
    What report.json holds.

  Raises:
    UserError: a file that does not belong to the study, before anything is written.
  """
  key = read_key(study)
  settings = _load_settings(key, overrides, "analysis")
  if output and os.path.exists(output) and not os.path.isdir(output):
    raise UserError(f"--output={output} is a file; name a folder")
  if output:
    check_writable(os.path.join(output, "report.html"))
  returned = read_answers(list_files(answers), key, settings.analysis.incomplete)
  judgments = collect(key, returned, settings.analysis.exclude)
  report = analyse(key, returned, judgments, settings.analysis)
  report["changed"] = [override.removeprefix("study.") for override in overrides]
  print(tables.render_terminal(report))
  if output:
    folder = pathlib.Path(output)
    _make_folder(folder, output)
    write_page(str(folder / "report.html"), report_html.render_report(report))
    write_atomically(folder / "report.md", [tables.render_markdown(report)])
    text = json.dumps(report, ensure_ascii=False, allow_nan=False, indent=1)
    write_atomically(folder / "report.json", [text])
    write_atomically(folder / "judgments.csv", tables.render_csv(key, judgments))
    print(f"report: {output}")
  return report


def _load_settings(key: dict, overrides: Sequence[str], section: str) -> Study:
  """The study's settings, of which one section may be changed after the export.

  Raises:
    UserError: another section is to be changed.
  """
  for override in overrides:
    if not override.startswith(f"study.{section}."):
      name = override.partition("=")[0]
      raise UserError(
        f"--{name} cannot be changed here, only --study.{section}.KEY; what raters are asked is fixed "
        "by --action=export"
      )
  return load_study(None, overrides, saved=key["settings"])


def _make_folder(folder: pathlib.Path, output: str) -> None:
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(
      f"--output={output} cannot be written ({error.strerror}); give another folder"
    ) from None
