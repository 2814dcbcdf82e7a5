"""The study in words, for the person who runs it and for the paper that cites it.

Names the systems, so it is not for raters. It says what the files of this export say, and
nothing about people: who the raters were is for the person who asked them.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from htmtl_jax.human_eval import wording
from htmtl_jax.human_eval.settings import Study
from htmtl_jax.human_eval.text import escape_markdown, plural

# Reading the paper is not in it; see docs/human_evaluation.md.
_SECONDS = {"pairwise": 40, "best_worst": 60, "likert": 25}  # likert: a text and criterion


def count_questions(key: Mapping[str, Any]) -> dict[str, dict[str, int]]:
  """{rater: {"questions", "repeats", "documents"}} of a key."""
  counts = {}
  for rater, own in key["raters"].items():
    questions = own["questions"].values()
    counts[rater] = {
      "questions": len(questions),
      "repeats": sum(q["repeat_of"] is not None for q in questions),
      "documents": len({q["document"] for q in questions}),
    }
  return counts


def render_protocol(study: Study, key: Mapping[str, Any]) -> str:
  """protocol.md.

  Args:
    study: its settings.
    key: of `packets.make_key`.
  """
  design = study.design
  lines = [
    f"# Protocol: {escape_markdown(design.title)}",
    "",
    f"Study `{key['study']}`. Names the systems: not for raters. No judgment has been made when this "
    "file is written; it describes what raters will be asked.",
    "",
    "## What is judged",
    "",
    f"- Systems: {', '.join(f'`{name}`' for name in key['systems'])}.",
    *(
      f"- Run `{run['name']}`: "
      + ("no trained system" if run["step"] is None else f"checkpoint {run['step']}")
      + "."
      for run in key["runs"]
    ),
    f"- Split: {key['split']}. Levels: "
    + ", ".join(f"{wording.LEVEL_NAMES[level]} (`{level}`)" for level in design.levels)
    + ".",
    "- Mean words of the summaries drawn: "
    + "; ".join(
      f"{level}: " + ", ".join(f"`{name}` {words:.0f}" for name, words in own.items())
      for level, own in key["mean_words"].items()
    )
    + ".",
    *_identical(key),
    "",
    "## Documents",
    "",
    f"{plural(len(key['documents']), 'document')} of {key['eligible_documents']} that have every "
    f"level, drawn at random with seed {design.seed}, stratified by "
    f"{' and '.join(design.strata) or 'nothing'} (length: {key['words_are']}), from each stratum in "
    "proportion to its size.",
    "",
    "| stratum | documents | drawn |",
    "| --- | ---: | ---: |",
    *(
      f"| {escape_markdown(s['name']) or 'all'} | {s['size']} | {s['drawn']} |"
      for s in key["strata"]
    ),
    "",
    "## Raters and questions",
    "",
    _who(study, key),
    "",
    "| rater | documents | questions | of these repeated |",
    "| --- | ---: | ---: | ---: |",
    *(
      f"| {rater} | {own['documents']} | {own['questions']} | {own['repeats']} |"
      for rater, own in count_questions(key).items()
    ),
    "",
    _orders(study),
    "",
    "Raters see " + (", ".join(_SHOWN[name] for name in design.show) or "the summaries only") + ".",
    "",
    "## What is asked",
    "",
    *_asked(study),
    "",
    "Instructions, as shown:",
    "",
    *(f"> {escape_markdown(line)}\n>" for line in wording.instruct(design)),
    *(f"> {escape_markdown(line)}\n>" for line in design.instructions.split("\n") if line),
    "",
    "## Analysis, fixed before the answers",
    "",
    *_analysis(study),
    "",
    "## For the person who runs the study to complete",
    "",
    "These are not known to the program: who the raters are and how they were found, their languages "
    "and their knowledge of the subject, what they were paid and for how long, the approval of an "
    "ethics board or the reason why none was needed, when the answers were given, and who had access "
    "to the key meanwhile.",
  ]
  return "\n".join(lines)


_SHOWN = {
  "text": "the paper's text",
  "abstract": "the author's abstract",
  "reference": "the reference at the level",
}


def _identical(key: Mapping[str, Any]) -> list[str]:
  counts = Counter((i["level"], *i["systems"]) for i in key["identical"])
  return [
    f"- At the {level} level `{a}` and `{b}` wrote the same for "
    f"{plural(count, 'document')}: a tie, not asked."
    for (level, a, b), count in counts.items()
  ]


def _who(study: Study, key: Mapping[str, Any]) -> str:
  design = study.design
  each = design.raters_per_document or design.raters
  return (
    f"{plural(design.raters, 'rater')}; each document is judged by "
    + ("all of them" if each == design.raters else f"{each} of them")
    + f", with all its questions. About {estimate_hours(key):.1f} hours of judging for the rater with "
    "most questions, without the time to read the papers: an estimate, not a measurement."
  )


def estimate_hours(key: Mapping[str, Any]) -> float:
  """A rough guess of the longest rater's time for the questions alone."""
  criteria = len(key["settings"]["design"]["criteria"])
  compared = len(key["settings"]["design"]["compare_by"])
  seconds = []
  for own in key["raters"].values():
    total = 0
    for question in own["questions"].values():
      unit = _SECONDS[question["task"]]
      many = len(question["candidates"]) * criteria if question["task"] == "likert" else compared
      total += unit * many
    seconds.append(total)
  return max(seconds) / 3600


def _orders(study: Study) -> str:
  one_a_screen = "likert" in study.design.tasks and not study.design.likert_together
  alone = " (a summary that is rated by itself has no place: it just comes again)"
  return (
    "Order of papers, of levels in a paper, of tasks and of summaries: random for each rater, drawn "
    f"from seed {study.design.seed}. In comparisons of two, each system is first in half of a rater's "
    "questions (to within one); of several, each stands equally often in each place (to within one). "
    f"{study.design.repeats:.0%} of the questions come again, after another paper where there is one, "
    f"with no summary in the place it had{alone if one_a_screen else ''}, as a check of attention."
  )


def _asked(study: Study) -> list[str]:
  design = study.design
  lines = []
  for task in design.tasks:
    if task == "pairwise":
      pairs = (
        "all pairs of systems" if design.pairs == "all" else "the first system with each other one"
      )
      lines.append(f"- Comparisons of two, {pairs}: A is better, no difference, or B is better.")
    elif task == "best_worst":
      lines.append("- Best and worst of all systems' summaries.")
    else:
      how = "all beside each other" if design.likert_together else "one a screen"
      lines.append(f"- Ratings from 1 to 5 of each summary, {how}.")
  for name in design.compare_by:
    asked = wording.compare_questions(name)
    if "pairwise" in design.tasks:
      lines.append(f"- Of two ({name}): {asked['better']}")
    if "best_worst" in design.tasks:
      lines.append(f"- Of several ({name}): {asked['best']} {asked['worst']}")
  if "likert" in design.tasks:
    for scale in wording.scales(design.criteria):
      points = "; ".join(f"{k + 1} {text}" for k, text in enumerate(scale["anchors"]))
      lines.append(f"- {scale['name'].capitalize()}: {scale['question']} {points}.")
  return lines


def _analysis(study: Study) -> list[str]:
  a = study.analysis
  return [
    f"- Intervals: {a.confidence:.0%} percentile bootstrap over documents, {a.samples:,} resamples, "
    f"seed {a.seed}; the raters are taken as given.",
    "- Each document counts once: the mean over its raters. Repeated questions serve the attention "
    "check only; their first answer counts.",
    f"- Tests: Wilcoxon signed-rank by document, two-sided, alpha {a.alpha}, Holm's correction over all "
    "comparisons of a level and task.",
    "- Agreement: Krippendorff's alpha, ordinal for ratings, nominal for comparisons.",
    f"- Attention: raters who answer less than {a.attention:.0%} of the repeated questions alike, or "
    "not more than chance would, are flagged; none is dropped for it.",
    "- Left out from the start: " + (", ".join(a.exclude) if a.exclude else "nobody") + ".",
  ]
