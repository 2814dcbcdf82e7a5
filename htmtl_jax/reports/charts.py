"""The kinds of charts in reports: lines and points, rows of intervals, rows of histograms.

Each returns a whole figure, with a legend where needed and its numbers as a table for
who cannot see it. Series differ by colour, dash and marker, so colour is never needed.
"""

from collections.abc import Sequence
import dataclasses

from markupsafe import Markup
import numpy as np

from htmtl_jax.reports import svg
from htmtl_jax.reports.svg import Axis, Key, Scale, add, number

_PLOT_HEIGHT = 220
_ROW_HEIGHT = 40  # of a histogram
_INTERVAL_ROW_HEIGHT = 26
_NAME_WIDTH = 112  # for the names left of rows
_NAME_LETTERS = 16  # that fit into it
_TABLE_ROWS = 40  # of a series; more are thinned out
_TITLES = 60  # marks that can be read by hovering; more would be noise


@dataclasses.dataclass(frozen=True)
class Series:
  """Numbers of one kind.

  Attributes:
    name: in the legend.
    x, y: [n]; a y that is not finite is a gap.
    low, high: [n] bounds of intervals, or None.
    whiskers: whether intervals are drawn; they stand in the table in any case.
    style: of colour and marker.
    dashed: the line is, whatever the style's own dash.
    line: whether points are joined.
    markers: whether points are marked.
  """

  name: str
  x: np.ndarray
  y: np.ndarray
  low: np.ndarray | None = None
  high: np.ndarray | None = None
  style: int = 0
  dashed: bool = False
  line: bool = True
  markers: bool = True
  whiskers: bool = False


@dataclasses.dataclass(frozen=True)
class Guide:
  """A thin line that data are seen against: y = x, or a constant y or x."""

  kind: str  # "diagonal", "horizontal" or "vertical"
  at: float = 0.0
  label: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
  """One row of a chart of rows.

  Attributes:
    name: at its left.
    style: of the colour.
    value, low, high: of `interval_rows`; bounds may be None.
    heights: [bins] of `histogram_rows`.
    mark: a value marked on the row's axis, as the median; None for none.
    note: short, at its right.
  """

  name: str
  style: int
  value: float = 0.0
  low: float | None = None
  high: float | None = None
  heights: np.ndarray | None = None
  mark: float | None = None
  note: str = ""


# ---------------------------------------------------------------- lines and points


def line_chart(
  identifier: str,
  title: str,
  description: str,
  series: Sequence[Series],
  x: Axis,
  y: Axis,
  guides: Sequence[Guide] = (),
  caption: str = "",
  keep_legend: bool = False,
) -> Markup:
  """Lines, points or both, with intervals where a series has them.

  Args:
    identifier: unique in the page.
    title: above.
    description: for who cannot see it: what it shows.
    series: at least one, drawn in order.
    x, y: the axes.
    guides: drawn first.
    caption: below.
    keep_legend: even of a single series.
  """
  drawing = svg.start_drawing(identifier, title, description, _PLOT_HEIGHT)
  bottom = _PLOT_HEIGHT - svg.BOTTOM
  bounds = [s.y for s in series]
  bounds += [v for s in series if s.whiskers for v in (s.low, s.high) if v is not None]
  constant = [g.at for g in guides if g.kind == "horizontal"]
  to_y = svg.make_scale(y, np.concatenate([*bounds, constant]), bottom, svg.TOP, nice=True)
  left, right = svg.left_margin(y, to_y), svg.WIDTH - svg.RIGHT
  to_x = svg.make_scale(x, np.concatenate([s.x for s in series]), left, right, nice=False)
  svg.draw_y_axis(drawing, y, to_y, left, right)
  svg.draw_x_axis(drawing, x, to_x, svg.TOP, bottom)
  for guide in guides:
    _draw_guide(drawing, guide, to_x, to_y)
  for own in series:
    _draw_series(drawing, own, x, y, to_x, to_y)

  thinned = any(len(s.x) > _TABLE_ROWS for s in series)
  with_bounds = any(s.low is not None for s in series)
  rows = []
  for own in series:
    for i in _thin(len(own.x), _TABLE_ROWS):
      row = [own.name, svg.format_number(own.x[i]), _describe(own.y[i])]
      if with_bounds:
        row += ["" if b is None else _describe(b[i]) for b in (own.low, own.high)]
      rows.append(row)
  columns = ["series", x.label, y.label] + (["low", "high"] if with_bounds else [])
  keys = [Key(s.name, s.style, s.dashed, s.line, s.markers) for s in series]
  note = f"{_TABLE_ROWS} evenly spaced points of each longer series." if thinned else ""
  return svg.make_figure(
    identifier,
    title,
    drawing,
    columns,
    rows,
    keys=keys if keep_legend or len(series) > 1 else (),
    note=note,
    caption=caption,
  )


def _draw_guide(drawing, guide: Guide, to_x: Scale, to_y: Scale) -> None:
  if guide.kind == "diagonal":
    low, high = max(to_x.low, to_y.low), min(to_x.high, to_y.high)
    if low >= high:
      return
    ends = (to_x(low), to_y(low), to_x(high), to_y(high))
  elif guide.kind == "horizontal":
    ends = (to_x.start, to_y(guide.at), to_x.end, to_y(guide.at))
  else:
    ends = (to_x(guide.at), to_y.start, to_x(guide.at), to_y.end)
  add(drawing, "line", class_="guide", x1=ends[0], y1=ends[1], x2=ends[2], y2=ends[3])
  if guide.label:
    left = guide.kind == "vertical" and ends[0] < svg.WIDTH * 0.6
    x, y = (ends[0] + 4, to_y.end + 10) if left else (ends[2] - 4, ends[3] + 12)
    anchor = "start" if left else "end"
    add(drawing, "text", svg.shorten(guide.label, 30), class_="tick", x=x, y=y, text_anchor=anchor)


def _draw_series(drawing, own: Series, x: Axis, y: Axis, to_x: Scale, to_y: Scale) -> None:
  cloud = "" if own.line else " cloud"
  group = add(drawing, "g", class_=f"series{cloud} {svg.style_class(own.style, own.dashed)}")
  points = [
    (to_x(a), to_y(b)) if np.isfinite(b) else None for a, b in zip(own.x, own.y, strict=True)
  ]
  if own.whiskers and own.low is not None and own.high is not None:
    for point, low, high in zip(points, own.low, own.high, strict=True):
      if point is not None and np.isfinite(low) and np.isfinite(high):
        add(group, "path", class_="whisker", d=_vertical(point[0], to_y(low), to_y(high)))
  if own.line:
    add(group, "path", class_="line", d=_join(points))
  if not own.markers:
    return
  for i, point in enumerate(points):
    if point is None:
      continue
    text = None
    if len(points) <= _TITLES:
      text = f"{own.name}: {x.label} {x.format(own.x[i])}, {y.label} {_describe(own.y[i])}"
      if own.low is not None and own.high is not None:
        text += f" ({_describe(own.low[i])} to {_describe(own.high[i])})"
    svg.add_marker(group, *point, own.style, text)


def _join(points: Sequence[tuple[float, float] | None]) -> str:
  """A path through the points, broken at gaps; a point between gaps becomes a dot."""
  path, drawing = [], False
  for i, point in enumerate(points):
    if point is None:
      drawing = False
      continue
    path.append(f"{'L' if drawing else 'M'}{number(point[0])},{number(point[1])}")
    alone = not drawing and (i + 1 == len(points) or points[i + 1] is None)
    if alone:
      path.append("h0")
    drawing = True
  return "".join(path)


def _vertical(x: float, low: float, high: float) -> str:
  """A whisker with its two ends."""
  return (
    f"M{number(x)},{number(low)}V{number(high)}"
    f"M{number(x - 3)},{number(low)}h6M{number(x - 3)},{number(high)}h6"
  )


def _thin(count: int, limit: int) -> np.ndarray:
  """At most `limit` of so many indices, evenly spaced, the first and the last among them."""
  if count <= limit:
    return np.arange(count)
  return np.unique(np.linspace(0, count - 1, limit).round().astype(int))


def _describe(value: float) -> str:
  return f"{value:,.4g}" if np.isfinite(value) else "none"


# ---------------------------------------------------------------------------- rows


def interval_rows(
  identifier: str,
  title: str,
  description: str,
  rows: Sequence[Row],
  x: Axis,
  caption: str = "",
  baseline: float = 0.0,
) -> Markup:
  """A bar a row, from the baseline to its value, with its interval and the number beside it."""
  height = svg.TOP + len(rows) * _INTERVAL_ROW_HEIGHT + svg.BOTTOM - 16
  drawing = svg.start_drawing(identifier, title, description, height)
  values = [v for r in rows for v in (r.value, r.low, r.high, baseline) if v is not None]
  top, bottom = svg.TOP - 16, height - svg.BOTTOM
  to_x = svg.make_scale(x, values, _NAME_WIDTH, svg.WIDTH - 52, nice=True, num_ticks=4)
  svg.draw_x_axis(drawing, x, to_x, top, bottom)
  for i, row in enumerate(rows):
    y = top + (i + 0.5) * _INTERVAL_ROW_HEIGHT
    group = add(drawing, "g", class_=f"series {svg.style_class(row.style)}")
    _draw_name(group, row.name, y + 4)
    zero, end = to_x(baseline), to_x(row.value)
    bar = add(
      group, "rect", class_="bar", x=min(zero, end), y=y - 7, width=abs(end - zero), height=14
    )
    add(bar, "title", f"{row.name}: {_describe(row.value)}")
    if row.low is not None and row.high is not None:
      low, high = number(to_x(row.low)), number(to_x(row.high))
      ends = f"M{low},{number(y)}H{high}M{low},{number(y - 4)}v8M{high},{number(y - 4)}v8"
      add(group, "path", class_="whisker", d=ends)
    note = row.note or x.format(row.value)
    add(group, "text", note, class_="tick", x=svg.WIDTH - 4, y=y + 4, text_anchor="end")
  table = [
    [r.name, _describe(r.value)] + ["" if b is None else _describe(b) for b in (r.low, r.high)]
    for r in rows
  ]
  columns = ["", x.label, "low", "high"]
  return svg.make_figure(identifier, title, drawing, columns, table, caption=caption)


def histogram_rows(
  identifier: str,
  title: str,
  description: str,
  rows: Sequence[Row],
  edges: np.ndarray,
  x: Axis,
  caption: str = "",
  value_format=svg.format_percent,
) -> Markup:
  """A histogram a row, all over the same bins, each as high as its row.

  Args:
    identifier, title, description, caption: see `line_chart`.
    rows: with `heights` [bins].
    edges: [bins + 1] of the bins.
    x: the shared axis.
    value_format: of a height.
  """
  top = svg.TOP - 16
  height = top + len(rows) * _ROW_HEIGHT + svg.BOTTOM
  drawing = svg.start_drawing(identifier, title, description, height)
  bottom = height - svg.BOTTOM
  to_x = svg.make_scale(
    dataclasses.replace(x, low=float(edges[0]), high=float(edges[-1])),
    edges,
    _NAME_WIDTH,
    svg.WIDTH - 52,
    nice=False,
    num_ticks=4,
  )
  svg.draw_x_axis(drawing, x, to_x, top, bottom)
  spans = [f"{x.format(float(a))} to {x.format(float(b))}" for a, b in zip(edges, edges[1:])]
  for i, row in enumerate(rows):
    floor = top + (i + 1) * _ROW_HEIGHT
    group = add(drawing, "g", class_=f"series {svg.style_class(row.style)}")
    _draw_name(group, row.name, floor - 6)
    add(group, "line", class_="base", x1=to_x.start, y1=floor, x2=to_x.end, y2=floor)
    highest = float(np.max(row.heights))
    for k, (left, right, value) in enumerate(zip(edges, edges[1:], row.heights, strict=False)):
      if value <= 0:
        continue
      tall = float(value) / highest * (_ROW_HEIGHT - 5)
      x1, x2 = to_x(left), to_x(right)
      bar = add(
        group, "rect", class_="bar", x=x1 + 0.5, y=floor - tall, width=x2 - x1 - 1, height=tall
      )
      add(bar, "title", f"{row.name}, {spans[k]}: {value_format(float(value))}")
    if row.mark is not None:
      add(group, "path", class_="whisker", d=f"M{number(to_x(row.mark))},{number(floor)}v-35")
    if row.note:
      add(group, "text", row.note, class_="tick", x=svg.WIDTH - 4, y=floor - 6, text_anchor="end")
  table = [[row.name, *(value_format(float(v)) for v in row.heights)] for row in rows]
  return svg.make_figure(identifier, title, drawing, ["", *spans], table, caption=caption)


def _draw_name(group, name: str, y: float) -> None:
  shown = svg.shorten(name, _NAME_LETTERS)
  text = add(group, "text", shown, class_="name", x=_NAME_WIDTH - 8, y=y, text_anchor="end")
  if shown != name:
    add(text, "title", name)
