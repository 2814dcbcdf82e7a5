"""The results of a report as blocks: scores, comparisons, automatic scores, power."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from htmtl_jax.human_eval.block import SCORE_NAMES, Block, Grid, family_title
from htmtl_jax.human_eval.text import bounds, interval, p_value, percent, plural, signed


def family_blocks(table: Mapping[str, Any], report: Mapping[str, Any]) -> list[Block]:
  task = table["task"]
  title = family_title(table)
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


def metric_blocks(report: Mapping[str, Any]) -> Iterator[Block]:
  rows = [
    (
      family_title(table),
      own["criterion"],
      str(next(iter(own["metrics"].values()))["choices"]),
      *(interval(accuracy, "pairwise") for accuracy in own["metrics"].values()),
    )
    for table in report["tables"]
    for own in table["criteria"]
    if own["metrics"]
  ]
  if not rows:
    return
  names = next(own["metrics"] for t in report["tables"] for own in t["criteria"] if own["metrics"])
  text = (
    "How often the summary with the higher score is the one that raters prefer, of all pairs on "
    "a document where they prefer one; 50% is chance."
  )
  header = ("judged", "by", "choices", *names)
  yield Block(
    "metrics", "Automatic scores and raters", 1, [text], Grid(header, rows, frozenset({1}))
  )


def power_blocks(report: Mapping[str, Any]) -> Iterator[Block]:
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
    yield Block("needed", family_title(table), 2, [spread + "."], Grid(header, rows), table)
