"""A small study to test with: an evaluation on disk, the papers behind it, and settings.

Texts are made of numbered words, so that a text tells a test who wrote it and nobody else;
names of systems and documents occur in no text.
"""

import contextlib
import io
import json
import pathlib
import random

import numpy as np

from htmtl_jax import main
from htmtl_jax.evaluation import results, rouge

SYSTEMS = ("zebra", "quokka", "walrus")
LEVELS = ("sentence", "paragraph", "section")
DOCUMENTS = 12


def document_ids(count: int = DOCUMENTS) -> list[str]:
  return [f"corpusdoc-{k}" for k in range(count)]


def text_of(system: str, level: str, document: str) -> str:
  """What a system wrote: three sentences of words that occur in no other text."""
  words = random.Random(f"{system}/{level}/{document}")
  sentence = lambda: " ".join(f"w{words.randrange(10**9)}" for _ in range(5)).capitalize() + "."
  return "\n".join(sentence() for _ in range(1 if level == "sentence" else 3))


def write_evaluation(
  folder, systems=SYSTEMS, count=DOCUMENTS, make_text=text_of, split="test", shift=()
):
  """Writes what an evaluation writes; documents have 100, 200, ... words.

  Scores rise from system to system; `shift` adds to those of some.
  """
  rows, pairs = [], []
  summary = {name: {} for name in systems}
  ids = document_ids(count)
  for level in LEVELS:
    for name in systems:
      scores = (
        np.linspace(30.0, 40.0, count) + 2.0 * systems.index(name) + dict(shift).get(name, 0.0)
      )
      summary[name][level] = rouge.summarise({m: scores for m in rouge.METRICS}, samples=20)
      for k, i in enumerate(ids):
        row = {"id": i, "level": level, "system": name}
        rows.append(row | {m: float(scores[k]) for m in rouge.METRICS})
    for i in ids:
      texts = {name: make_text(name, level, i) for name in systems}
      source = {"title": "", "words": 100 * (ids.index(i) + 1), "sentences": 5}
      reference = text_of("author", level, i)
      pairs.append(results.SummaryPair(i, level, reference, "gold", texts, source=source))
  content = {
    "step": 400,
    "split": split,
    "documents": count,
    "systems": summary,
    "reference_kinds": {level: {"gold": count} for level in LEVELS},
    "scores": rows,
  }
  results.write_results(folder, content, pairs)


def write_papers(folder, count=DOCUMENTS):
  """The documents as JSON lines in two files, and a config that names them; returns its path."""
  folder = pathlib.Path(folder)
  data = folder / "papers"
  data.mkdir(parents=True)
  ids = document_ids(count)
  for name, own in (("biology", ids[: count // 2]), ("physics", ids[count // 2 :])):
    lines = [
      json.dumps(
        {
          "id": i,
          "title": f"Title {k} <b>bold</b>",
          "abstract": [["Abstract sentence.", "Another one."]],
          "sections": [
            {"heading": "Introduction", "paragraphs": [["Body one.", f"Body two {k}."], ["More."]]},
            {"heading": "Results", "paragraphs": [["<script>alert(1)</script> & so on."]]},
          ],
        }
      )
      for k, i in enumerate(own)
    ]
    (data / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
  config = folder / "papers.py"
  config.write_text(
    "from configs import base\n"
    "def get_config():\n"
    "  config = base.get_config()\n"
    "  config.data.source = 'jsonl'\n"
    f"  config.data.path = {str(data)!r}\n"
    "  config.data.validation_share = 0.0\n"
    "  config.data.test_share = 0.999999\n"
    "  return config\n"
  )
  return config


def run_main(*argv) -> tuple[int, str, str]:
  """Runs one command line: (exit status, stdout, stderr)."""
  out, err = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    status = main.run(["--mode=human_eval", *map(str, argv)])
  return status, out.getvalue(), err.getvalue()


def export(folder, *argv, config=None) -> pathlib.Path:
  """Exports a study from `folder`/run, made if it is not there; returns the study's folder."""
  folder = pathlib.Path(folder)
  run, study = folder / "run", folder / "study"
  if not run.exists():
    write_evaluation(run)
  source = [f"--config={config}"] if config else ["--study.design.show=", CRITERIA]
  status, _, err = run_main(
    "--action=export", f"--runs={run}", "--split=test", f"--output={study}", *source, *argv
  )
  assert status == 0, err
  return study


# Faithfulness cannot be judged without the paper.
CRITERIA = "--study.design.criteria=informativeness,fluency"


def read_key(study) -> dict:
  return json.loads((pathlib.Path(study) / "key.json").read_text("utf-8"))


def simulate(study, folder, *argv) -> pathlib.Path:
  status, _, err = run_main("--action=simulate", f"--study={study}", f"--output={folder}", *argv)
  assert status == 0, err
  return pathlib.Path(folder)


# Enough for a test of what is there, not of what it says.
QUICK = (
  "--study.analysis.samples=200",
  "--study.analysis.power_simulations=100",
  "--study.analysis.power_raters=3",
  "--study.analysis.power_likert=1.0",
  "--study.analysis.power_win_rates=0.8",
  "--study.analysis.power_best_worst=1.0",
)
