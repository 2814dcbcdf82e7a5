"""Inline SVG: scales, axes, marks, and the figure around them.

What `charts.py` draws with. Colours, dashes and fonts are classes (`CHART_CSS`), so one
drawing serves light, dark and print, and no element needs a style attribute, which the
pages' Content-Security-Policy forbids. Everything is built as a tree, never as a string:
text from data cannot become markup.

Matplotlib, which plots a corpus elsewhere, was not taken for this: its SVG is full of
style attributes, so it would have to go into the page as an image, which knows nothing of
the page's colours, cannot be read by a screen reader, and scales its letters away on a
phone. Its tick locator is used.
"""

from collections.abc import Callable, Iterable, Sequence
import dataclasses
import math
from xml.etree import ElementTree

from markupsafe import Markup
import numpy as np

from htmtl_jax.reports.page import clean_text

WIDTH = 340  # of every drawing, in its own units: a phone's width, so letters stay readable
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 26, 42  # margins of a plot
NUM_STYLES = 10  # series told apart by colour, dash and marker

_LABEL_LETTERS = 40  # of an axis
_LETTER = 7.4  # width of a digit, about; a browser test looks whether letters fit

_MARKERS = (
  "M-3.2,0a3.2,3.2 0 1,0 6.4,0a3.2,3.2 0 1,0 -6.4,0z",  # circle
  "M-3,-3h6v6h-6z",  # square
  "M0,-4L3.8,3h-7.6z",  # triangle
  "M0,-4.2L4.2,0L0,4.2L-4.2,0z",  # diamond
  "M0,4L3.8,-3h-7.6z",  # triangle, point down
  "M-1.3,-4h2.6v2.7h2.7v2.6h-2.7v2.7h-2.6v-2.7h-2.7v-2.6h2.7z",  # plus
  "M-4,-2.2h8v4.4h-8z",  # lying bar
  "M-2.2,-4h4.4v8h-4.4z",  # standing bar
  "M-3.6,-1.4L0,-4.2L3.6,-1.4L2.2,3.2h-4.4z",  # pentagon
  "M0,-4.4L1.4,-1.4L4.4,0L1.4,1.4L0,4.4L-1.4,1.4L-4.4,0L-1.4,-1.4z",  # star
)


def format_number(value: float) -> str:
  """Short, for an axis: 12,000 is 12k, 0.00050 is 5e-4."""
  size = abs(value)
  if size >= 1e6:
    return f"{value / 1e6:.3g}M"
  if size >= 1e4:
    return f"{value / 1e3:.4g}k"
  if size and size < 1e-3:
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"
  return f"{value:,.6g}"


def format_percent(value: float) -> str:
  """A share as a percentage."""
  return f"{100.0 * value:.3g}%"


@dataclasses.dataclass(frozen=True)
class Axis:
  """What an axis shows.

  Attributes:
    label: with its unit.
    low, high: fixed ends; None takes the data's.
    log: logarithmic; what is not above 0 is then drawn at the low end.
    format: of the numbers at its ticks.
  """

  label: str
  low: float | None = None
  high: float | None = None
  log: bool = False
  format: Callable[[float], str] = format_number


@dataclasses.dataclass(frozen=True)
class Scale:
  """From data to the drawing: `low` is drawn at `start`, `high` at `end`."""

  low: float
  high: float
  start: float
  end: float
  log: bool
  ticks: tuple[float, ...]

  def __call__(self, value: float) -> float:
    low, high, value = self.low, self.high, min(max(value, self.low), self.high)
    if self.log:
      low, high, value = math.log(low), math.log(high), math.log(value)
    return self.start + (value - low) / (high - low) * (self.end - self.start)


def make_scale(
  axis: Axis, values: Iterable[float], start: float, end: float, nice: bool, num_ticks: int = 5
) -> Scale:
  """A scale that holds all finite values.

  Args:
    axis: says what is fixed.
    values: of the data; on a logarithmic axis only those above 0 count.
    start, end: in the drawing.
    nice: extend the ends that are not fixed to ticks.
    num_ticks: about so many.
  """
  values = np.asarray(list(values), np.float64)
  values = values[np.isfinite(values) & ((values > 0) if axis.log else True)]
  low = axis.low if axis.low is not None else float(values.min()) if values.size else 0.0
  high = axis.high if axis.high is not None else float(values.max()) if values.size else 1.0
  if axis.log:
    low = low if low > 0 else high / 10 if high > 0 else 1.0
    if high <= low * 1.001:
      low, high = low / 2, low * 2
    margin = (high / low) ** 0.04  # marks at the ends are not cut
    low, high = (
      low if axis.low is not None else low / margin,
      high if axis.high is not None else high * margin,
    )
    return Scale(low, high, start, end, True, _log_ticks(low, high, num_ticks))
  if high - low <= 1e-12 * max(abs(low), abs(high), 1.0):
    margin = abs(low) / 2 or 1.0
    low, high = (low, low + 2 * margin) if axis.low is not None else (low - margin, high + margin)
  ticks = _locate_ticks(low, high, num_ticks)
  if nice:
    low = low if axis.low is not None else float(ticks[0])
    high = high if axis.high is not None else float(ticks[-1])
  slack = 1e-9 * (high - low)
  inside = (float(t) for t in ticks if low - slack <= t <= high + slack)
  return Scale(low, high, start, end, False, tuple(inside))


def _locate_ticks(low: float, high: float, num_ticks: int) -> np.ndarray:
  """Round numbers from below `low` to above `high`."""
  from matplotlib.ticker import MaxNLocator  # here: a third of a second

  return MaxNLocator(nbins=num_ticks, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)


def _log_ticks(low: float, high: float, num_ticks: int) -> tuple[float, ...]:
  """1, 2, 5, 10, ... as far as they fit, else powers of ten; evenly spaced ones below a decade."""
  if high < 5 * low:
    return tuple(t for t in _locate_ticks(low, high, num_ticks) if low <= t <= high)
  powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
  for steps in ((1, 2, 5), (1, 3), (1,)):
    ticks = [s * 10.0**p for p in powers for s in steps]
    ticks = [t for t in ticks if low * 0.999 <= t <= high * 1.001]
    if len(ticks) <= num_ticks + 2:
      return tuple(ticks)
  return tuple(ticks[:: -(-len(ticks) // num_ticks)])


def number(value: float) -> str:
  """A coordinate: a tenth of a unit is finer than any screen shows."""
  text = f"{value:.1f}"
  return text[:-2] if text.endswith(".0") else text


def add(parent, tag: str, text: str | None = None, **attributes):
  """Appends an element; `class_` is its class, numbers are coordinates, None is left out."""
  element = ElementTree.SubElement(parent, tag)
  for name, value in attributes.items():
    if value is not None:
      value = number(value) if isinstance(value, (int, float)) else clean_text(value)
      element.set(name.rstrip("_").replace("_", "-"), value)
  element.text = None if text is None else clean_text(text)
  return element


def style_class(style: int, dashed: bool = False) -> str:
  """The class of a series; styles beyond `NUM_STYLES` begin again, dashed otherwise."""
  return f"c{style % NUM_STYLES}" + (" dashed" if dashed else "")


def add_marker(parent, x: float, y: float, style: int, title: str | None = None) -> None:
  """A mark in the shape of the series, with a title to be read on hover."""
  mark = add(
    parent,
    "path",
    class_="mark",
    d=_MARKERS[style % NUM_STYLES],
    transform=f"translate({number(x)},{number(y)})",
  )
  if title is not None:
    add(mark, "title", title)


def start_drawing(identifier: str, title: str, description: str, height: float):
  """An <svg> that a screen reader announces by its title and description."""
  svg = ElementTree.Element("svg")
  svg.set("xmlns", "http://www.w3.org/2000/svg")
  svg.set("viewBox", f"0 0 {WIDTH} {number(height)}")
  svg.set("role", "img")
  svg.set("class", "chart")
  svg.set("aria-labelledby", f"{identifier}-t {identifier}-d")
  add(svg, "title", title, id=f"{identifier}-t")
  add(svg, "desc", description, id=f"{identifier}-d")
  return svg


def draw_x_axis(svg, axis: Axis, scale: Scale, top: float, bottom: float) -> None:
  """Grid lines, numbers and the label below."""
  group = add(svg, "g", class_="axis", aria_hidden="true")
  for tick in scale.ticks:
    x, text = scale(tick), axis.format(tick)
    add(group, "line", class_="grid", x1=x, y1=top, x2=x, y2=bottom)
    middle = min(x, WIDTH - text_width(text) / 2)
    add(group, "text", text, class_="tick", x=middle, y=bottom + 15, text_anchor="middle")
  add(group, "line", class_="base", x1=scale.start, y1=bottom, x2=scale.end, y2=bottom)
  middle = (scale.start + scale.end) / 2
  label = shorten(axis.label, _LABEL_LETTERS)
  add(group, "text", label, class_="label", x=middle, y=bottom + 34, text_anchor="middle")


def draw_y_axis(svg, axis: Axis, scale: Scale, left: float, right: float) -> None:
  """Grid lines, numbers, and the label above, where it is read without turning the head."""
  group = add(svg, "g", class_="axis", aria_hidden="true")
  for tick in scale.ticks:
    y = scale(tick)
    add(group, "line", class_="grid", x1=left, y1=y, x2=right, y2=y)
    add(group, "text", axis.format(tick), class_="tick", x=left - 6, y=y + 4, text_anchor="end")
  add(group, "text", shorten(axis.label, _LABEL_LETTERS), class_="label", x=2, y=13)


def shorten(text: str, letters: int) -> str:
  """With an ellipsis for what is too much."""
  return text if len(text) <= letters else text[: letters - 1] + "…"


def text_width(text: str) -> float:
  """Of a number at a tick, about; what is measured exactly only the browser knows."""
  return _LETTER * len(text)


def left_margin(axis: Axis, scale: Scale) -> float:
  """Room for the numbers of a y axis."""
  return max([LEFT, *(text_width(axis.format(tick)) + 8 for tick in scale.ticks)])


@dataclasses.dataclass(frozen=True)
class Key:
  """One entry of a legend."""

  name: str
  style: int
  dashed: bool = False
  line: bool = True
  marker: bool = True


def _legend(figure, keys: Sequence[Key]) -> None:
  legend = add(figure, "ul", class_="legend")
  for key in keys:
    entry = add(legend, "li")
    swatch = add(
      entry,
      "svg",
      class_=f"swatch {style_class(key.style, key.dashed)}",
      viewBox="0 0 30 12",
      aria_hidden="true",
    )
    if key.line:
      add(swatch, "path", class_="line", d="M1,6H29")
    if key.marker:
      add_marker(swatch, 15, 6, key.style)
    add(entry, "span", key.name)


def _table(figure, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], note: str):
  details = add(figure, "details", class_="numbers")
  add(details, "summary", "Numbers")
  if note:
    add(details, "p", note)
  region = add(details, "div", class_="scroll", tabindex="0", role="region", aria_label=title)
  table = add(region, "table")
  head = add(add(table, "thead"), "tr")
  for column in columns:
    add(head, "th", column, scope="col")
  body = add(table, "tbody")
  for row in rows:
    line = add(body, "tr")
    for i, cell in enumerate(row):
      add(line, "th" if i == 0 else "td", cell, **({"scope": "row"} if i == 0 else {}))


def make_figure(
  identifier: str,
  title: str,
  drawing,
  columns: Sequence[str],
  rows: Sequence[Sequence[str]],
  keys: Sequence[Key] = (),
  note: str = "",
  caption: str = "",
) -> Markup:
  """The drawing with its title, its legend, a caption, and its numbers as a table.

  Args:
    identifier: unique in the page.
    title: above the drawing.
    drawing: of `start_drawing`.
    columns, rows: of the table.
    keys: of the legend; none leaves it out.
    note: above the table.
    caption: below the drawing.
  """
  figure = ElementTree.Element("figure")
  figure.set("class", "chart-figure")
  figure.set("id", identifier)
  add(figure, "figcaption", title)
  if keys:
    _legend(figure, keys)
  figure.append(drawing)
  if caption:
    add(figure, "p", caption, class_="caption")
  _table(figure, title, columns, rows, note)
  # HTML rules: no element but the void ones may close itself.
  return Markup(ElementTree.tostring(figure, encoding="unicode", method="html"))
