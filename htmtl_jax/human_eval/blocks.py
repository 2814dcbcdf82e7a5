"""A report as blocks of words: titles, sentences, tables. What terminal, Markdown and HTML share.

Says what `analysis.analyse` found, and computes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
from typing import Any

from htmtl_jax.human_eval.text import bounds, interval, p_value, percent, plural, score, signed
from htmtl_jax.human_eval.wording import LEVEL_NAMES, TASK_NAMES

SIMULATED = (
  "SIMULATED. These answers come from a program, to try out the pipeline. They are no judgment of "
  "anybody's and say nothing about the systems."
)
SCORE_NAMES = {"pairwise": "win rate", "best_worst": "best - worst", "likert": "mean rating"}


@dataclasses.dataclass(frozen=True)
class Grid:
  """A table; the first column is text, the others are numbers unless `words` names them.

  Attributes:
    header: of the columns.
    rows: of cells.
    words: places of further columns with text.
  """

  header: tuple[str, ...]
  rows: Sequence[tuple[str, ...]]
  words: frozenset[int] = frozenset()


@dataclasses.dataclass(frozen=True)
class Block:
  """A part of the report.

  Attributes:
    kind: what it is, for those who add to it.
    title: of the part.
    depth: 1 for parts, 2 for parts of parts.
    text: sentences.
    grid: a table, or None.
    source: the piece of the report that it is of.
  """

  kind: str
  title: str
  depth: int
  text: Sequence[str] = ()
  grid: Grid | None = None
  source: Any = None


# ------------------------------------------------------------------------ blocks


def make_blocks(report: Mapping[str, Any]) -> list[Block]:
  """The whole report, in order."""
  blocks = [
    Block("study", "The study", 1, list(_study_lines(report))),
    _findings_block(report),
    _raters_block(report),
  ]
  for table in report["tables"]:
    blocks += _family_blocks(table, report)
  blocks += _power_blocks(report)
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
  if flagged:
    yield f"Flagged, and not left out: {', '.join(n for n in flagged if n not in report['excluded'])}."


def _family_title(table: Mapping[str, Any]) -> str:
  title = f"{LEVEL_NAMES[table['level']]}: {TASK_NAMES[table['task']]}"
  return title[0].upper() + title[1:]


def _findings_block(report: Mapping[str, Any]) -> Block:
  """What is significant, and whether it is so without any one rater."""
  rows = [
    (_family_title(table), own["criterion"], *_finding(row, table["task"]))
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


def _family_blocks(table: Mapping[str, Any], report: Mapping[str, Any]) -> list[Block]:
  task = table["task"]
  title = _family_title(table)
  conclusions = table["conclusions"]
  alpha = report["settings"]["analysis"]["alpha"]
  text = [
    f"{conclusions['significant']} of {plural(conclusions['all'], 'comparison')} significant "
    f"(Wilcoxon by document, Holm's correction over these, alpha {alpha})"
    + (
      ""
      if conclusions["hold"] is None
      else f"; {conclusions['hold']} of {conclusions['all']} conclusions hold without any one rater"
    )
    + "."
  ]
  blocks = [Block("family", title, 1, text, None, table)]
  for own in table["criteria"]:
    agreement = _agreement(own["agreement"])
    blocks.append(
      Block("scores", own["criterion"], 2, [agreement], _scores_grid(own, task), (own, task))
    )
    blocks.append(
      Block(
        "comparisons",
        f"{own['criterion']}: which differ",
        2,
        list(_changes(own["comparisons"])),
        _comparison_grid(own, task),
        (own, task),
      )
    )
  return blocks


def _agreement(own: Mapping[str, Any]) -> str:
  equal = "" if own["equal"] is None else f"; equal judgments {own['equal']:.0%}"
  if own["alpha"] is None:
    why = "no text has two judgments" if not own["units"] else "all judgments are equal"
    return f"Agreement: alpha is not defined, {why}{equal}."
  around = bounds(own["low"], own["high"], lambda value: f"{value:.2f}")
  return (
    f"Agreement: Krippendorff's alpha ({own['scale']}) {own['alpha']:.2f}{around} on "
    f"{own['units']} units{equal}."
  )


def _scores_grid(own: Mapping[str, Any], task: str) -> Grid:
  order = sorted(own["scores"].items(), key=lambda item: -(item[1]["mean"] or 0.0))
  name = SCORE_NAMES[task]
  if task == "likert":
    header = ("system", name, "1", "2", "3", "4", "5")
    rows = [
      (system, interval(own_score, task), *map(str, own_score["counts"]))
      for system, own_score in order
    ]
  elif task == "best_worst":
    header = ("system", name, "best", "worst", "shown")
    rows = [
      (
        system,
        interval(own_score, task),
        *(str(own_score[name]) for name in ("best", "worst", "shown")),
      )
      for system, own_score in order
    ]
  else:
    header = ("system", name, "strength", "best in")
    strengths = own["strengths"]["systems"]
    rows = [
      (
        system,
        interval(own_score, task),
        signed(strengths[system]["mean"])
        + bounds(strengths[system]["low"], strengths[system]["high"], signed),
        percent(strengths[system]["first"]),
      )
      for system, own_score in order
    ]
  return Grid(header, rows)


def _comparison_grid(own: Mapping[str, Any], task: str) -> Grid:
  by_pair = {(pair["a"], pair["b"]): pair for pair in own.get("pairs", ())}
  robust = any("leave_one_out" in row for row in own["comparisons"])
  outcomes = ("win / tie / loss", "win rate") if by_pair else ()
  header = (
    "first, second",
    *outcomes,
    *(() if by_pair else ("difference",)),
    "p",
    "p (Holm)",
    "verdict",
    *(("without a rater",) if robust else ()),
  )
  rows = []
  for row in own["comparisons"]:
    cells = [f"{row['a']}, {row['b']}"]
    if by_pair:
      pair = by_pair[row["a"], row["b"]]
      cells += [
        f"{pair['wins']} / {pair['ties']} / {pair['losses']}",
        interval(pair["win_rate"], task),
      ]
    else:
      cells.append(signed(row["difference"]) + bounds(row["low"], row["high"], signed))
    cells += [p_value(row["p"]), p_value(row["p_holm"]), _verdict(row)]
    if robust:
      left = row["leave_one_out"]
      cells.append("holds" if left["holds"] else "changes")
    rows.append(tuple(cells))
  return Grid(header, rows, frozenset({header.index("verdict"), len(header) - 1}))


def _verdict(row: Mapping[str, Any]) -> str:
  if row["difference"] is None:
    return "not judged"
  if not row["significant"]:
    return "no difference shown"
  return f"{row['a'] if row['difference'] > 0 else row['b']} is better"


def _changes(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
  for row in rows:
    for name, change in row.get("leave_one_out", {"changes": {}})["changes"].items():
      yield f"Without {name}, {row['a']} and {row['b']}: {change}."
  for pair in rows:
    if pair["documents"] and pair["documents"] < 10:
      yield "Fewer than 10 documents: no test can tell much."
      return


def _power_blocks(report: Mapping[str, Any]) -> Iterator[Block]:
  tables = [table for table in report["tables"] if table["power"] and table["power"]["rows"]]
  if tables:
    yield Block(
      "power",
      "Power",
      1,
      [
        "Documents that a study needs to find a difference with 80% power, in one comparison that "
        "was planned, by the number of raters who judge each document; and the power of this study. "
        "Simulated from the spread of the answers above."
      ],
    )
  for table in tables:
    power, task = table["power"], table["task"]
    spread = (
      f"Variance of a difference between documents {power['between']:.2f}, between judgments of "
      f"the same document {power['within']:.2f}"
    )
    if task == "pairwise":
      spread += f"; ties {power['ties']:.0%}"
    counts = power["rows"][0]["needed"]
    header = (
      "win rate" if task == "pairwise" else "difference",
      f"power here ({plural(power['documents'], 'document')}, {plural(power['raters'], 'rater')})",
      *(f"documents for {plural(int(count), 'rater')}" for count in counts),
    )
    rows = [
      (
        f"{row['effect']:.0%}" if task == "pairwise" else f"{row['effect']:g}",
        f"{row['power']:.0%}",
        *("over 1,000" if n is None else f"{n:,}" for n in row["needed"].values()),
      )
      for row in power["rows"]
    ]
    yield Block("needed", _family_title(table), 2, [spread + "."], Grid(header, rows), table)


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
