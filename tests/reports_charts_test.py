"""Charts: coordinates against data, scales, and text that stays text."""

import re

from absl.testing import absltest, parameterized
import numpy as np
import selectolax.lexbor

from htmtl_jax.reports import charts, svg
from htmtl_jax.reports.charts import Guide, Row, Series
from htmtl_jax.reports.svg import Axis
from tests import hostile


def parse(figure):
  return selectolax.lexbor.LexborHTMLParser(str(figure))


def points_of(path):
  """The corners of a line, as drawn."""
  return [tuple(map(float, pair)) for pair in re.findall(r"[ML](-?[\d.]+),(-?[\d.]+)", path)]


def place_of(mark):
  return tuple(map(float, re.findall(r"-?[\d.]+", mark.attributes["transform"])))


def cells_of(tree):
  return [[cell.text() for cell in row.css("th, td")] for row in tree.css("tbody tr")]


class ScaleTest(parameterized.TestCase):
  def test_ends_are_the_data_or_ticks_around_it(self):
    exact = svg.make_scale(Axis("x"), [3, 17], 100, 300, nice=False)
    self.assertEqual((exact(3), exact(17), exact(10)), (100, 300, 200))
    self.assertEqual(exact.ticks, (5, 10, 15))
    nice = svg.make_scale(Axis("x"), [3, 17], 200, 0, nice=True)
    self.assertEqual((nice.low, nice.high), (0, 20))
    self.assertEqual((nice(0), nice(20)), (200, 0))
    fixed = svg.make_scale(Axis("x", low=0, high=20), [3, 17], 0, 200, nice=True)
    self.assertEqual((fixed(0), fixed(20), fixed(5)), (0, 200, 50))

  def test_logarithmic(self):
    scale = svg.make_scale(Axis("x", low=1, high=1000, log=True), [5], 0, 300, nice=False)
    np.testing.assert_allclose([scale(1), scale(10), scale(100), scale(1000)], [0, 100, 200, 300])
    self.assertEqual(scale(0), 0)  # what has no logarithm stands at the low end
    self.assertEqual(scale.ticks, (1, 3, 10, 30, 100, 300, 1000))
    narrow = svg.make_scale(Axis("x", log=True), [634, 659], 0, 300, nice=False)
    self.assertGreater(len(narrow.ticks), 1)
    self.assertBetween(narrow(634), 0, 20)

  @parameterized.parameters(
    ([],), ([5, 5],), ([0],), ([np.nan, np.inf],), ([-1e-9, 1e-9],), ([1e12, 1e12],), ([-3],)
  )
  def test_any_data_has_a_scale(self, values):
    for log in (False, True):
      for low in (None, 0.0):
        if log and low is not None:
          continue
        scale = svg.make_scale(Axis("x", low=low, log=log), values, 0, 100, nice=True)
        self.assertLess(scale.low, scale.high)
        for value in (*values, 1.0, 0.0, -1.0):
          if np.isfinite(value):
            self.assertBetween(scale(value), 0, 100)
        self.assertTrue(all(scale.low <= t <= scale.high for t in scale.ticks))

  @parameterized.parameters(
    (0, "0"),
    (0.25, "0.25"),
    (1234, "1,234"),
    (12000, "12k"),
    (2.5e6, "2.5M"),
    (5e-4, "5e-4"),
    (-0.5, "-0.5"),
  )
  def test_numbers(self, value, text):
    self.assertEqual(svg.format_number(value), text)


class LineChartTest(absltest.TestCase):
  def test_lines_markers_and_intervals_stand_where_the_data_are(self):
    x, y = np.array([0.0, 5.0, 10.0]), np.array([0.0, 50.0, 100.0])
    figure = charts.line_chart(
      "c",
      "Title",
      "What it shows.",
      [Series("a", x, y, low=y - 10, high=y + 5, style=2, whiskers=True)],
      Axis("steps", low=0, high=10),
      Axis("loss", low=-20, high=120),
    )
    tree = parse(figure)
    left, right = svg.LEFT, svg.WIDTH - svg.RIGHT
    bottom = 220 - svg.BOTTOM
    to_x = lambda v: left + v / 10 * (right - left)
    to_y = lambda v: bottom + (v + 20) / 140 * (svg.TOP - bottom)
    expected = [(to_x(a), to_y(b)) for a, b in zip(x, y)]
    drawing = tree.css_first("svg.chart")
    (line,) = [own.attributes["d"] for own in drawing.css(".line")]
    np.testing.assert_allclose(points_of(line), expected, atol=0.051)
    marks = drawing.css(".mark")
    np.testing.assert_allclose([place_of(mark) for mark in marks], expected, atol=0.051)
    whisker = drawing.css(".whisker")[1].attributes["d"]
    low, high = map(float, re.match(r"M[\d.]+,([\d.]+)V([\d.]+)", whisker).groups())
    np.testing.assert_allclose((low, high), (to_y(40), to_y(55)), atol=0.051)
    self.assertEqual(marks[1].text(), "a: steps 5, loss 50 (40 to 55)")
    self.assertEqual(
      cells_of(tree),
      [["a", "0", "0", "-10", "5"], ["a", "5", "50", "40", "55"], ["a", "10", "100", "90", "105"]],
    )
    self.assertEmpty(tree.css(".legend"))  # one series needs none

  def test_announced_by_title_and_description(self):
    figure = charts.line_chart(
      "c", "Title", "What.", [Series("a", np.arange(2.0), np.arange(2.0))], Axis("x"), Axis("y")
    )
    drawing = parse(figure).css_first("svg.chart")
    self.assertEqual(drawing.attributes["role"], "img")
    named = [
      drawing.css_first(f"#{i}").text() for i in drawing.attributes["aria-labelledby"].split()
    ]
    self.assertEqual(named, ["Title", "What."])

  def test_gaps(self):
    y = np.array([1.0, np.nan, 3.0, 4.0, np.inf, 6.0])
    figure = charts.line_chart(
      "c", "T", "D", [Series("a", np.arange(6.0), y)], Axis("x"), Axis("y")
    )
    tree = parse(figure)
    path = tree.css_first("svg.chart .line").attributes["d"]
    self.assertEqual(re.sub(r"[-\d.,]", "", path), "MhMLMh")  # a dot, a line, a dot
    self.assertLen(tree.css("svg.chart .mark"), 4)
    self.assertEqual([row[2] for row in cells_of(tree)], ["1", "none", "3", "4", "none", "6"])

  def test_series_differ_by_more_than_colour(self):
    series = [
      Series(f"s{i}", np.arange(3.0), np.arange(3.0) + i, style=i) for i in range(svg.NUM_STYLES)
    ]
    tree = parse(charts.line_chart("c", "T", "D", series, Axis("x"), Axis("y")))
    groups = tree.css("svg.chart g.series")
    self.assertLen({group.attributes["class"] for group in groups}, svg.NUM_STYLES)
    self.assertLen({group.css_first(".mark").attributes["d"] for group in groups}, svg.NUM_STYLES)
    self.assertEqual([entry.text() for entry in tree.css(".legend li")], [s.name for s in series])

  def test_long_series_have_short_tables(self):
    x = np.arange(1000.0)
    tree = parse(charts.line_chart("c", "T", "D", [Series("a", x, x)], Axis("x"), Axis("y")))
    rows = cells_of(tree)
    self.assertLen(rows, 40)
    self.assertEqual((rows[0][1], rows[-1][1]), ("0", "999"))
    self.assertEmpty(tree.css("svg.chart .mark title"))  # too many to hover on

  def test_guides(self):
    series = [Series("a", np.array([0.0, 10.0]), np.array([5.0, 20.0]), line=False)]
    figure = charts.line_chart(
      "c",
      "T",
      "D",
      series,
      Axis("x", low=0, high=10),
      Axis("y", low=0, high=20),
      guides=[Guide("diagonal"), Guide("horizontal", 5.0, "five"), Guide("vertical", 2.0)],
    )
    tree = parse(figure)
    self.assertEmpty(tree.css("svg.chart .line"))
    ends = [
      tuple(float(own.attributes[name]) for name in ("x1", "y1", "x2", "y2"))
      for own in tree.css("svg.chart .guide")
    ]
    left, right, bottom, top = svg.LEFT, svg.WIDTH - svg.RIGHT, 220 - svg.BOTTOM, svg.TOP
    middle = (bottom + top) / 2
    np.testing.assert_allclose(ends[0], (left, bottom, right, middle), atol=0.051)
    np.testing.assert_allclose(ends[1][1::2], [bottom + 0.25 * (top - bottom)] * 2, atol=0.051)
    np.testing.assert_allclose(ends[2][::2], [left + 0.2 * (right - left)] * 2, atol=0.051)
    self.assertIn("five", tree.css_first("svg.chart").text())


class RowsTest(absltest.TestCase):
  def test_intervals(self):
    rows = [Row("htmtl", 0, value=40.0, low=30.0, high=45.0), Row("lead", 1, value=-20.0)]
    tree = parse(charts.interval_rows("c", "T", "D", rows, Axis("rouge2")))
    bars = [
      [float(bar.attributes[name]) for name in ("x", "width")] for bar in tree.css("svg .bar")
    ]
    unit = bars[0][1] / 40.0
    self.assertAlmostEqual(bars[1][1], 20 * unit, delta=0.11)
    self.assertAlmostEqual(bars[1][0] + bars[1][1], bars[0][0], delta=0.11)  # both begin at 0
    (whisker,) = [own.attributes["d"] for own in tree.css("svg .whisker")]
    low, high = map(float, re.match(r"M([\d.]+),[\d.]+H([\d.]+)", whisker).groups())
    self.assertAlmostEqual(low, bars[0][0] + 30 * unit, delta=0.11)
    self.assertAlmostEqual(high, bars[0][0] + 45 * unit, delta=0.11)
    self.assertEqual(cells_of(tree), [["htmtl", "40", "30", "45"], ["lead", "-20", "", ""]])

  def test_histograms(self):
    edges = np.array([0.0, 5.0, 10.0, 20.0])
    rows = [
      Row("a", 0, heights=np.array([0.5, 0.0, 0.25]), mark=10.0, note="m"),
      Row("b", 1, heights=np.array([0.0, 0.0, 0.0])),
    ]
    tree = parse(charts.histogram_rows("c", "T", "D", rows, edges, Axis("rouge2")))
    bars = tree.css("svg .bar")
    self.assertLen(bars, 2)
    tall, short = (float(bar.attributes["height"]) for bar in bars)
    self.assertAlmostEqual(tall, 2 * short, delta=0.11)
    widths = [float(bar.attributes["width"]) + 1 for bar in bars]
    self.assertAlmostEqual(2 * widths[0], widths[1], delta=0.21)
    self.assertEqual(bars[1].text(), "a, 10 to 20: 25%")
    mark = float(re.match(r"M([\d.]+)", tree.css_first("svg .whisker").attributes["d"])[1])
    left = float(bars[0].attributes["x"]) - 0.5
    self.assertAlmostEqual(mark, left + 2 * widths[0], delta=0.21)
    self.assertEqual(cells_of(tree), [["a", "50%", "0%", "25%"], ["b", "0%", "0%", "0%"]])


class HostileTest(parameterized.TestCase):
  @parameterized.parameters(*hostile.TEXTS)
  def test_text_stays_text(self, text):
    series = [Series(text, np.arange(2.0), np.arange(2.0)), Series("b", np.ones(1), np.ones(1))]
    axis = Axis(text)
    rows = [Row(text, 0, value=1.0, heights=np.ones(2), note=text)]
    for figure in (
      charts.line_chart("c", text, text, series, axis, axis, [Guide("vertical", 1, text)], text),
      charts.interval_rows("c", text, text, rows, axis, text),
      charts.histogram_rows("c", text, text, rows, np.arange(3.0), axis, text),
    ):
      str(figure).encode()
      tree = parse(figure)
      self.assertEqual(tree.css_first("figcaption").text(), svg.clean_text(text))
      self.assertEqual(tree.css_first("svg.chart > desc").text(), svg.clean_text(text))
      self.assertEmpty(
        tree.css("script, img, iframe, base, link, form, a, meta, style, [style], [onload]")
      )


if __name__ == "__main__":
  absltest.main()
