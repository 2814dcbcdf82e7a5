"""An evaluation as plain text: the table of scores, and summaries to read.

Renders what `results.py` computed; computes nothing itself but widths.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
import shutil
import textwrap
from typing import Any

from htmtl_jax.evaluation.results import SummaryPair
from htmtl_jax.evaluation.rouge import METRICS
from htmtl_jax.levels import LEVELS

_TWO_COLUMNS_FROM = 100  # characters; two narrower columns are hard to read
_GUTTER = " | "
LEVEL_LABELS = {
  "sentence": "one sentence",
  "paragraph": "one paragraph",
  "section": "section by section",
  "section_without_fillers": "section by section, without fillers",
}


def _plural(count: int, noun: str) -> str:
  return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _render_block(systems: Mapping[str, Any], width: int) -> list[str]:
  """The rows of one level: a header, and the systems by falling rouge2."""
  lines = ["  " + "system".ljust(width) + "".join(m.rjust(15) for m in METRICS)]
  for name, scores in sorted(systems.items(), key=lambda item: (-item[1]["rouge2"]["f"], item[0])):
    cells = [
      f"{s['f']:.1f} ± {(s['high'] - s['low']) / 2.0:4.1f}"
      for s in (scores[metric] for metric in METRICS)
    ]
    lines.append("  " + name.ljust(width) + "".join(cell.rjust(15) for cell in cells))
  return lines


_RANKING_COLUMNS = {
  "auc": "AUC",
  "precision_at_k": "P@k",
  "precision_at_5": "P@5",
  "precision_at_10": "P@10",
  "spearman": "Spearman",
  "kendall": "Kendall",
}


def _render_rankings(rankings: Mapping[str, Any]) -> list[str]:
  """Importance beside other rankings of the same sentences, the run's first."""
  if not rankings:
    return []
  width = max(len(name) for name in [*rankings, "ranking"])
  lines = ["  " + "ranking".ljust(width) + "".join(c.rjust(16) for c in _RANKING_COLUMNS.values())]
  for name, measures in rankings.items():
    cells = [
      "-" if own is None else f"{own['mean']:.3f} ± {(own['high'] - own['low']) / 2.0:.3f}"
      for own in (measures[measure] for measure in _RANKING_COLUMNS)
    ]
    lines.append("  " + name.ljust(width) + "".join(cell.rjust(16) for cell in cells))
  lines.append("  P@k: share of the k best that matter, k as many as matter; the last two: rank")
  lines.append("  correlation with what each sentence shares with the abstract")
  return lines


def render_table(results: Mapping[str, Any]) -> str:
  """The scores as a table for a terminal: a block a level, a row a system.

  Args:
    results: of `results.compute_results`, or the content of a results.json.

  Returns:
    Lines without a final newline; systems by falling rouge2, numbers from 0 to 100
    with half the width of their 95% interval. A level with gold and silver references is
    followed by blocks of either kind alone.
  """
  systems = results["systems"]
  kinds = results["reference_kinds"]
  keys = [k for k in LEVEL_LABELS if any(k in levels for levels in systems.values())]
  width = max([len(name) for name in systems] + [len("system")])
  where = "all splits" if results["split"] == "all" else f"the {results['split']} split"
  step = "" if results["step"] is None else f", step {results['step']}"
  lines = [
    f"ROUGE F on {where}{step}, {_plural(results['documents'], 'document')};"
    " ± is half the 95% bootstrap interval"
  ]
  for key in keys:
    level = "section" if key.startswith("section") else key
    counts = ", ".join(f"{n} {kind}" for kind, n in kinds.get(level, {}).items())
    number = results["documents_per_level"][key]
    lines += ["", f"{LEVEL_LABELS[key]} ({_plural(number, 'document')}; references: {counts})"]
    own = {name: levels[key] for name, levels in systems.items() if key in levels}
    lines += _render_block(own, width)
    for kind, part in results.get("by_reference_kind", {}).get(key, {}).items():
      number = _plural(part["documents"], "document")
      lines += ["", f"{LEVEL_LABELS[key]}, {kind} references only ({number})"]
      lines += _render_block(part["systems"], width)
  importance = results.get("importance")
  if importance and importance.get("sentence_auc") is not None:
    truth = {"planted": "the planted sentences", "oracle": "the oracle's sentences"}
    labels = truth.get(importance["labels"], str(importance["labels"]))
    trained = "with" if importance["supervised"] else "without"
    lines += [
      "",
      (
        f"importance finds {labels} with AUC {importance['sentence_auc']:.3f},"
        f" trained {trained} importance labels"
      ),
      *_render_rankings(importance.get("rankings", {})),
    ]
  return "\n".join(lines)


def _printable(text: str) -> str:
  """No control characters: what a model wrote must not drive the terminal."""
  return "".join(c if c.isprintable() else " " for c in text)


def _wrap(text: str, width: int) -> list[str]:
  """A sentence a paragraph, marked by a dash where there are several."""
  sentences = [s for s in map(_printable, text.split("\n")) if s.strip()]
  if not sentences:
    return ["(empty)"]
  first, rest = ("- ", "  ") if len(sentences) > 1 else ("", "")
  return [
    line
    for sentence in sentences
    for line in textwrap.wrap(sentence, width, initial_indent=first, subsequent_indent=rest)
  ]


def _beside(blocks: Sequence[tuple[str, list[str]]], width: int) -> list[str]:
  """Titled blocks of lines in columns `width` wide."""
  columns = [[title, "-" * len(title), *lines] for title, lines in blocks]
  height = max(map(len, columns))
  rows = zip(*(column + [""] * (height - len(column)) for column in columns), strict=True)
  return [_GUTTER.join(cell.ljust(width) for cell in row).rstrip() for row in rows]


def _stacked(blocks: Sequence[tuple[str, list[str]]]) -> list[str]:
  lines: list[str] = []
  for title, block in blocks:
    lines += [f"{title}:", *("  " + line for line in block)]
  return lines


def choose_examples(pairs: Sequence[SummaryPair], count: int) -> list[str]:
  """The ids of the documents to show: those with the most levels first, then in order."""
  levels = Counter(pair.id for pair in pairs)
  return sorted(levels, key=lambda identifier: -levels[identifier])[:count]


def render_examples(
  pairs: Sequence[SummaryPair],
  systems: Sequence[str] = ("htmtl",),
  count: int = 1,
  width: int | None = None,
) -> str:
  """Summaries beside their references, for reading.

  Args:
    pairs: of one evaluation.
    systems: which to show; one that a pair lacks is left out there.
    count: documents to show, see `choose_examples`.
    width: characters of a line; None asks the terminal. From 100 on, the texts stand
      side by side, below that one under the other.

  Returns:
    Lines without a final newline, none longer than `width`; empty without pairs.
  """
  width = shutil.get_terminal_size((80, 24)).columns if width is None else width
  width = max(width, 40)
  documents: dict[str, dict[str, SummaryPair]] = {}
  for pair in pairs:
    documents.setdefault(pair.id, {})[pair.level] = pair
  lines: list[str] = []
  for identifier in choose_examples(pairs, count):
    by_level = documents[identifier]
    lines += textwrap.wrap(f"Document {_printable(identifier)}", width) + ["=" * width]
    for level in LEVELS:
      if level not in by_level:
        continue
      pair = by_level[level]
      texts = [(f"reference ({pair.reference_kind})", pair.reference)]
      texts += [(name, pair.systems[name]) for name in systems if name in pair.systems]
      column = (width - len(_GUTTER) * (len(texts) - 1)) // len(texts)
      side_by_side = width >= _TWO_COLUMNS_FROM and column >= 40
      lines += ["", LEVEL_LABELS[level].upper()]
      if side_by_side:
        lines += _beside([(title, _wrap(text, column)) for title, text in texts], column)
      else:
        lines += _stacked([(title, _wrap(text, width - 2)) for title, text in texts])
    lines.append("")
  return "\n".join(lines).rstrip("\n")
