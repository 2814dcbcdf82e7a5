"""A comparison as text: for a terminal, for Markdown, for LaTeX.

Renders what `comparison.compare_runs` computed; decides nothing. A table a level, a
row a system, by falling rouge2, systems that have seen the reference last.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from htmtl_jax.evaluation.terminal import LEVEL_LABELS

_BETTER, _WORSE = "↑", "↓"

_MARKDOWN_SPECIAL = r"\`*_[]<>|#&"
_LATEX_SPECIAL = {
  "\\": r"\textbackslash{}",
  "~": r"\textasciitilde{}",
  "^": r"\textasciicircum{}",
  **{c: "\\" + c for c in "&%$#_{}"},
}


def _sorted_systems(level: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
  order = lambda item: (item[1]["ceiling"], -item[1]["metrics"]["rouge2"]["f"], item[0])
  return sorted(level["systems"].items(), key=order)


def _mark(cell: Mapping[str, Any]) -> str:
  if not cell.get("significant"):
    return ""
  return _BETTER if cell["difference"] > 0.0 else _WORSE


def _half(cell: Mapping[str, Any]) -> float:
  return (cell["high"] - cell["low"]) / 2.0


def _printable(text: str) -> str:
  """No control characters: a file's names must not drive the terminal or break a row."""
  return "".join(c if c.isprintable() else "?" for c in text)


def _plural(count: int, noun: str) -> str:
  return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _title(key: str, level: Mapping[str, Any]) -> str:
  kinds = ", ".join(f"{n:,} {kind}" for kind, n in level["reference_kinds"].items())
  number = _plural(level["documents"], "document")
  return f"{LEVEL_LABELS.get(key, key)} ({number}; references: {kinds})"


def _test_note(comparison: Mapping[str, Any], level: Mapping[str, Any]) -> str:
  """What the arrows of one table mean; nothing was tested in some."""
  if not level["comparisons"]:
    return "nothing tested here"
  return (
    f"{_plural(level['comparisons'], 'comparison')} with {_printable(comparison['against'])}, "
    f"family-wise error {comparison['alpha']}"
  )


def _notes(comparison: Mapping[str, Any], best: str) -> list[str]:
  """What holds for all tables."""
  against = _printable(comparison["against"])
  notes = [
    f"ROUGE F on the {_printable(comparison['split'])} split, 0 to 100; ± is half the 95% "
    f"bootstrap interval; {best} is best",
    f"{_BETTER} better, {_WORSE} worse than {against}: paired {comparison['test']}, "
    f"{comparison['samples']:,} samples, p < {comparison['alpha']} after Holm's correction over "
    "the table",
  ]
  systems = [s for level in comparison["levels"].values() for s in level["systems"].values()]
  if any(system["ceiling"] for system in systems):
    notes.append("the oracle has seen the reference: a ceiling, neither best nor tested")
  if comparison["left_out"]:
    names = ", ".join(LEVEL_LABELS.get(key, key) for key in comparison["left_out"])
    notes.append(f"left out, not scored in every run: {names}")
  return notes


def _runs(comparison: Mapping[str, Any]) -> Iterator[str]:
  for run in comparison["runs"]:
    step = "untrained" if run["step"] is None else f"step {run['step']}"
    yield f"{_printable(run['name'])}: {step}, {_printable(run['directory'])}"


# --------------------------------------------------------------------- terminal


def render_terminal(comparison: Mapping[str, Any]) -> str:
  """The comparison for a terminal; lines without a final newline."""
  metrics = comparison["metrics"]
  labels = [label for level in comparison["levels"].values() for label in level["systems"]]
  width = max(len(_printable(label)) for label in [*labels, "system"])
  lines = [*_runs(comparison), "", *_notes(comparison, best="*")]
  for key, level in comparison["levels"].items():
    lines += ["", f"{_title(key, level)}; {_test_note(comparison, level)}"]
    lines.append("  " + "system".ljust(width) + "".join(m.rjust(14) + "  " for m in metrics))
    for label, system in _sorted_systems(level):
      cells = (system["metrics"][metric] for metric in metrics)
      texts = (
        f"{c['f']:.1f} ± {_half(c):4.1f}".rjust(14)
        + (_mark(c) or " ")
        + ("*" if c["best"] else " ")
        for c in cells
      )
      lines.append("  " + _printable(label).ljust(width) + "".join(texts))
  return "\n".join(line.rstrip() for line in lines)


# --------------------------------------------------------------------- Markdown


def _escape_markdown(text: str) -> str:
  return "".join("\\" + c if c in _MARKDOWN_SPECIAL else c for c in _printable(text))


def render_markdown(comparison: Mapping[str, Any]) -> str:
  """The comparison as a Markdown document, the best in bold."""
  metrics = comparison["metrics"]
  lines = ["# Comparison", ""]
  lines += [f"- {_escape_markdown(line)}" for line in _runs(comparison)]
  lines.append("")
  lines += [f"- {_escape_markdown(line)}" for line in _notes(comparison, best="bold")]
  for key, level in comparison["levels"].items():
    title = _title(key, level)
    lines += ["", f"## {title[0].upper()}{title[1:]}", ""]
    lines += [_escape_markdown(_test_note(comparison, level)) + ".", ""]
    lines.append("| system | " + " | ".join(metrics) + " |")
    lines.append("| --- |" + " ---: |" * len(metrics))
    for label, system in _sorted_systems(level):
      texts = []
      for cell in (system["metrics"][metric] for metric in metrics):
        number = f"**{cell['f']:.1f}**" if cell["best"] else f"{cell['f']:.1f}"
        texts.append(f"{number} ± {_half(cell):.1f}{_mark(cell)}")
      lines.append(f"| {_escape_markdown(label)} | " + " | ".join(texts) + " |")
  return "\n".join(lines)


# ------------------------------------------------------------------------ LaTeX


def _escape_latex(text: str) -> str:
  escaped = "".join(_LATEX_SPECIAL.get(c, c) for c in _printable(text))
  escaped = escaped.replace("±", r"$\pm$").replace("p < ", r"$p <$ ")
  return escaped.replace(_BETTER, r"$\uparrow$").replace(_WORSE, r"$\downarrow$")


def render_latex(comparison: Mapping[str, Any]) -> str:
  """A LaTeX `table` a level, to be pasted into a paper; needs the booktabs package.

  Where the arrows fall, and what they mean, stands in each caption.
  """
  metrics = comparison["metrics"]
  lines = [
    "% Needs \\usepackage{booktabs}.",
    # A directory can hold anything but a line break, and a comment ends at one.
    *(f"% {line}" for line in _runs(comparison)),
  ]
  notes = ". ".join(n[0].upper() + n[1:] for n in _notes(comparison, best="bold"))
  for key, level in comparison["levels"].items():
    title = _title(key, level)
    caption = f"{title[0].upper()}{title[1:]}; {_test_note(comparison, level)}. {notes}."
    lines += [
      "",
      r"\begin{table}",
      r"\centering",
      rf"\caption{{{_escape_latex(caption)}}}",
      rf"\begin{{tabular}}{{l{'r' * len(metrics)}}}",
      r"\toprule",
      " & ".join(["system", *map(_escape_latex, metrics)]) + r" \\",
      r"\midrule",
    ]
    ceiling_before = False
    for label, system in _sorted_systems(level):
      if system["ceiling"] and not ceiling_before:
        lines.append(r"\midrule")
      ceiling_before = system["ceiling"]
      texts = [_escape_latex(label)]
      for cell in (system["metrics"][metric] for metric in metrics):
        number = rf"\textbf{{{cell['f']:.1f}}}" if cell["best"] else f"{cell['f']:.1f}"
        mark = {"": "", _BETTER: r"$^\uparrow$", _WORSE: r"$^\downarrow$"}[_mark(cell)]
        texts.append(rf"{number}{mark} {{\scriptsize $\pm$ {_half(cell):.1f}}}")
      lines.append(" & ".join(texts) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
  return "\n".join(lines)
