"""A report as blocks of words: titles, sentences, tables. What terminal, Markdown and HTML share.

Says what `analysis.analyse` found, and computes nothing.
"""

from collections.abc import Iterator, Mapping
import dataclasses
from typing import Any

from htmtl_jax.human_eval.block import SIMULATED, Block, Grid, family_title
from htmtl_jax.human_eval.result_blocks import family_blocks, metric_blocks, power_blocks
from htmtl_jax.human_eval.text import bounds, p_value, percent, plural, score, signed
from htmtl_jax.human_eval.wording import TASK_NAMES

# ------------------------------------------------------------------------ blocks


def make_blocks(report: Mapping[str, Any]) -> list[Block]:
  """The whole report, in order."""
  blocks = [
    Block("study", "The study", 1, list(_study_lines(report))),
    _findings_block(report),
    _raters_block(report),
  ]
  for table in report["tables"]:
    blocks += family_blocks(table, report)
  blocks += metric_blocks(report)
  blocks += power_blocks(report)
  if report["comments"]:
    blocks.append(_comments_block(report))
  blocks.append(Block("notes", "How to read this", 1, list(_notes(report))))
  if report["simulated"]:
    blocks = [
      dataclasses.replace(block, title=f"{block.title} (simulated)") if block.grid else block
      for block in blocks
    ]
  return blocks


def _study_lines(report: Mapping[str, Any]) -> Iterator[str]:
  if report["simulated"]:
    yield SIMULATED
  design = report["settings"]["design"]
  returned, planned = len(report["raters_returned"]), report["raters_planned"]
  yield (
    f"Study {report['study']}: {plural(report['documents'], 'document')} of the {report['split']} "
    f"split, {returned} of {plural(planned, 'rater')} returned their answers."
  )
  yield "Systems: " + ", ".join(report["systems"]) + "."
  shown = {"text": "the paper's text", "abstract": "its abstract", "reference": "the reference"}
  yield (
    "Raters saw "
    + (", ".join(shown[name] for name in design["show"]) or "the summaries only")
    + "."
  )
  if report["excluded"]:
    yield f"Left out of everything below: {', '.join(report['excluded'])}."
  if report.get("changed"):
    yield f"Changed after the export, against the protocol: {', '.join(report['changed'])}."
  flagged = [name for name, own in report["raters"].items() if own["flags"]]
  kept = [name for name in flagged if name not in report["excluded"]]
  if kept:
    yield f"Flagged, and not left out: {', '.join(kept)}."


def _findings_block(report: Mapping[str, Any]) -> Block:
  """What is significant, and whether it is so without any one rater."""
  rows = [
    (family_title(table), own["criterion"], *_finding(row, table["task"]))
    for table in report["tables"]
    for own in table["criteria"]
    for row in own["comparisons"]
    if row["significant"]
  ]
  total = sum(table["conclusions"]["all"] for table in report["tables"])
  text = [f"{len(rows)} of {plural(total, 'comparison')} significant."]
  if len(rows) < total:
    text.append("The others show no difference, which is no proof that there is none: see Power.")
  header = ("judged", "by", "better", "worse", "difference", "p (Holm)", "without any one rater")
  return Block(
    "findings", "What was found", 1, text, Grid(header, rows, frozenset({1, 2, 3, 6})), None
  )


def _finding(row: Mapping[str, Any], task: str) -> tuple[str, str, str, str, str]:
  better, worse = (row["a"], row["b"]) if row["difference"] > 0 else (row["b"], row["a"])
  sign = 1.0 if row["difference"] > 0 else -1.0
  mean = sign * row["difference"]
  low, high = sorted((sign * row["low"], sign * row["high"]))
  show = signed
  if task == "pairwise":  # as the win rate of the better
    mean, low, high = ((value + 1.0) / 2.0 for value in (mean, low, high))
    show = lambda value: score(value, task)
  left_out = row.get("leave_one_out")
  robust = "-"
  if left_out:
    robust = "holds" if left_out["holds"] else f"not without {', '.join(left_out['changes'])}"
  return better, worse, show(mean) + bounds(low, high, show), p_value(row["p_holm"]), robust


def _raters_block(report: Mapping[str, Any]) -> Block:
  rows = []
  for name, own in report["raters"].items():
    seconds = "-" if own["seconds"] is None else f"{own['seconds']:.0f} s"
    rows.append(
      (
        name + (" (left out)" if own["excluded"] else ""),
        f"{own['answered']} of {own['questions']}",
        str(own["skipped"]),
        seconds,
        f"{percent(own['attention'])} of {own['checks']}",
        percent(own["chance"]),
        percent(own["first"]),
        "; ".join(own["flags"]) or "none",
      )
    )
  header = ("rater", "answered", "cannot judge", "median time", "alike", "chance", "first", "flags")
  text = [
    "alike: how far the questions that came twice were answered alike; chance: what this rater would "
    "reach without reading; first: how often the summary shown first won."
  ]
  return Block(
    "raters", "The raters", 1, text, Grid(header, rows, frozenset({7})), report["raters"]
  )


def _comments_block(report: Mapping[str, Any]) -> Block:
  rows = [
    (own["rater"], own["document"], own["level"], TASK_NAMES[own["task"]], own["comment"])
    for own in report["comments"]
  ]
  header = ("rater", "document", "level", "task", "comment")
  words = frozenset(range(1, len(header)))
  return Block("comments", "What raters wrote", 1, [], Grid(header, rows, words))


def _notes(report: Mapping[str, Any]) -> Iterator[str]:
  a = report["settings"]["analysis"]
  yield (
    f"Intervals are {a['confidence']:.0%} bootstrap intervals over documents "
    f"({a['samples']:,} resamples, seed {a['seed']}), with the raters as they "
    "are: they tell about other papers, not about other raters. Leaving raters out tells about "
    "those, as far as so few can."
  )
  yield (
    "A document counts once, as the mean over its raters. A tie is half a win. Strengths are of "
    "Davidson's model (Bradley-Terry with ties), in log odds, adding up to 0; best in is the share of "
    "resamples in which the system is the strongest."
  )
  yield (
    "Holm's correction keeps the chance of any false claim in one level and task at most at "
    f"{a['alpha']}. Whoever draws on several of them should count that in."
  )
  if report["simulated"]:
    yield SIMULATED
