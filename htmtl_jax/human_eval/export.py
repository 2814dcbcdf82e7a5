"""`--action=export`: from evaluated runs to packets that can be handed out."""

from collections.abc import Sequence
import json
import os
import pathlib

from htmtl_jax.errors import UserError
from htmtl_jax.evaluation.results import write_atomically
from htmtl_jax.human_eval import protocol
from htmtl_jax.human_eval.candidates import REFERENCE, Candidates, read_candidates
from htmtl_jax.human_eval.folder import KEY, PACKETS, PROTOCOL, check_output
from htmtl_jax.human_eval.form import render_form
from htmtl_jax.human_eval.packets import make_key, make_packet
from htmtl_jax.human_eval.papers import Papers, find_papers
from htmtl_jax.human_eval.plan import make_plan
from htmtl_jax.human_eval.sampling import draw, name_strata
from htmtl_jax.human_eval.settings import Design, Study
from htmtl_jax.human_eval.text import plural
from htmtl_jax.reports.page import write_page


def run_export(
  paths: Sequence[str],
  output: str,
  study: Study,
  split: str = "validation",
  systems: str | None = None,
  config=None,
) -> dict:
  """Draws a sample, writes the packets, the key and the protocol, and says what to do next.

  Args:
    paths: of evaluated runs.
    output: the study's folder, made here.
    study: its settings.
    split: that was evaluated.
    systems: see `candidates.read_candidates`.
    config: names the corpus that the documents are in; needed to show papers.

  Returns:
    What key.json holds.

  Raises:
    UserError: runs, documents or settings that make no study.
  """
  design = study.design
  check_output(output)
  candidates = read_candidates(paths, split, design.levels, systems)
  _check_reference(design, candidates)
  papers = _open_papers(design, candidates, config)
  sources = {i: papers.source_of(i) for i in candidates.documents} if papers else {}
  strata = name_strata(candidates.words, sources, design.strata, design.length_bins)
  drawn, sizes = draw(candidates.words, strata, design.documents, design.seed)
  plan = make_plan(design, candidates.systems, [d.id for d in drawn], candidates.texts)
  read = {d.id: papers.read(d.id) for d in drawn} if papers else {}
  packets = {
    rater: make_packet(design, rater, questions, candidates, read)
    for rater, questions in plan.raters.items()
  }
  key = make_key(study, plan, candidates, drawn, sizes, packets)

  folder = pathlib.Path(output)
  try:
    (folder / PACKETS).mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(
      f"--output={output} cannot be written ({error.strerror}); give another folder"
    ) from None
  for rater, packet in packets.items():
    html = render_form(packet, key["study"], key["raters"][rater]["packet"])
    write_page(str(folder / PACKETS / f"{rater}.html"), html)
  write_atomically(folder / PROTOCOL, [protocol.render_protocol(study, key)])
  # Last: where the key is, the packets are complete.
  write_atomically(folder / KEY, [json.dumps(key, ensure_ascii=False, indent=1)])
  print(_describe(key, output, bool(papers)))
  return key


def _check_reference(design: Design, candidates: Candidates) -> None:
  """A reference that stands beside the summaries cannot be hidden among them."""
  shown = [name for name in ("reference", "abstract") if name in design.show]
  if REFERENCE in candidates.systems and shown:
    raise UserError(
      f"--systems has the reference, but raters are shown it (study.design.show has {shown[0]}), so "
      "they would know it; leave one of the two out"
    )


def _open_papers(design: Design, candidates: Candidates, config) -> Papers | None:
  """The papers, if raters are shown any; also where only strata ask for their source."""
  needed = {"text", "abstract"} & set(design.show)
  if config is None and needed:
    raise UserError(
      f"raters are to be shown the paper's {' and '.join(sorted(needed))}, but no config names the "
      "corpus: give --config (or a first run that has a config.json), or set "
      "--study.design.show= to show nothing"
    )
  if config is None or not (needed or "source" in design.strata):
    return None
  try:
    return find_papers(config, candidates.documents, candidates.split)
  except UserError:
    if needed:
      raise
    return None  # the sources are nice to have


def _describe(key: dict, output: str, with_papers: bool) -> str:
  counts = protocol.count_questions(key)
  most = max(own["questions"] for own in counts.values())
  lines = [
    f"study {key['study']}: {plural(len(key['documents']), 'document')}, "
    f"{plural(len(key['systems']), 'system')}, {plural(len(counts), 'rater')}, "
    f"at most {plural(most, 'question')} a rater",
    f"  about {protocol.estimate_hours(key):.1f} hours of judging for the longest packet"
    + (", and the time to read the papers" if with_papers else ""),
    f"packets:  {os.path.join(output, PACKETS)}    one HTML file a rater; hand these out",
    f"key:      {os.path.join(output, KEY)}    who wrote what; keep it from raters",
    f"protocol: {os.path.join(output, PROTOCOL)}    the study in words; names the systems",
    "when the answers are back:",
    f"  python -m htmtl_jax.main --mode=human_eval --action=import --study={output} "
    "--input=FOLDER_OF_ANSWERS",
  ]
  return "\n".join(lines)
