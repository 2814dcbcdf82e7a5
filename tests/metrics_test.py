"""metrics.jsonl across kills and resumes; progress lines."""

import io
import json
import pathlib
import tempfile

from absl.testing import absltest, parameterized
import numpy as np

from htmtl_jax.metrics import MetricWriter, read_metrics
from htmtl_jax.progress import Progress, format_duration


class MetricWriterTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.workdir = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory())) / "run"

  def read_steps(self):
    return [(line["step"], line["kind"]) for line in read_metrics(self.workdir)]

  def write_steps(self, steps, **options):
    with MetricWriter(self.workdir, **options) as writer:
      for step in steps:
        writer.write(step, {"loss": 1 / step})

  def test_lines_are_strict_json_and_flushed(self):
    with MetricWriter(self.workdir) as writer:
      writer.write(1, {"loss": np.float32(0.5), "count": 3, "bad": float("nan"), "worse": -np.inf})
      writer.write(2, {"rouge2": 60.25}, kind="eval")
      # read while the writer is open: a kill now would lose nothing
      text = (self.workdir / "metrics.jsonl").read_text()

    def refuse(name):
      raise AssertionError(f"not strict JSON: {name}")

    lines = [json.loads(line, parse_constant=refuse) for line in text.splitlines()]
    self.assertLen(lines, 2)
    self.assertGreater(lines[0].pop("time"), 1.6e9)
    self.assertEqual(
      lines[0], {"step": 1, "kind": "train", "loss": 0.5, "count": 3.0, "bad": None, "worse": None}
    )
    self.assertEqual(lines[1]["rouge2"], 60.25)
    self.assertEqual(read_metrics(self.workdir, kind="eval")[0]["step"], 2)
    events = list((self.workdir / "tensorboard").iterdir())
    self.assertLen(events, 1)
    content = events[0].read_bytes()
    self.assertIn(b"train/loss", content)
    self.assertIn(b"eval/rouge2", content)

  def test_tensorboard_is_opened_once_when_asked_or_first_written_to(self):
    with MetricWriter(self.workdir) as writer:
      self.assertFalse((self.workdir / "tensorboard").exists())
      writer.open_tensorboard()
      self.assertLen(list((self.workdir / "tensorboard").iterdir()), 1)
      writer.write(1, {"loss": 1.0})
      self.assertLen(list((self.workdir / "tensorboard").iterdir()), 1)

  def test_resume_reads_as_one_run(self):
    self.write_steps(range(1, 8))
    self.write_steps(range(6, 10), resume_step=5)
    self.assertEqual([step for step, _ in self.read_steps()], list(range(1, 10)))

  def test_resume_from_the_start_clears(self):
    self.write_steps(range(1, 4))
    self.write_steps([], resume_step=0)
    self.assertEqual((self.workdir / "metrics.jsonl").read_bytes(), b"")

  @parameterized.parameters(
    b'{"step": 3, "time": 17', b'{"step": 3', b"\x00\xff", b"3", b'{"step": 3, "kind": "train"}'
  )
  def test_a_torn_last_line_is_dropped(self, torn):
    self.write_steps([1, 2])
    with (self.workdir / "metrics.jsonl").open("ab") as file:
      file.write(torn)  # no newline: killed in the middle of the write
    self.write_steps([3, 4])
    self.assertEqual([step for step, _ in self.read_steps()], [1, 2, 3, 4])
    self.assertLen((self.workdir / "metrics.jsonl").read_bytes().splitlines(), 4)

  def test_other_processes_write_nothing(self):
    self.write_steps([1, 2], enabled=False)
    self.assertFalse(self.workdir.exists())

  @parameterized.parameters(({"step": 1}, "train"), ({"loss": 1}, "test"))
  def test_wrong_calls(self, values, kind):
    with MetricWriter(self.workdir) as writer:
      with self.assertRaises(ValueError):
        writer.write(1, values, kind)


class FakeTerminal(io.StringIO):
  def isatty(self):
    return True


class ProgressTest(parameterized.TestCase):
  def test_log_lines_at_most_every_so_often(self):
    stream, now = io.StringIO(), [0.0]
    with Progress(400, "train", initial=20, stream=stream, clock=lambda: now[0]) as progress:
      for _ in range(100):
        now[0] += 0.5
        progress.update(loss=2.314)
      progress.say("saved")
      for _ in range(280):
        progress.update(loss=2.0)
    lines = stream.getvalue().splitlines()
    # 50 s at 2 step/s, a line every 10 s; done before does not count for the rate
    self.assertLen(lines, 5 + 1 + 1)
    self.assertEqual(lines[0], "train 40/400 (10%), 2 step/s, 3 min 00 s left, loss 2.31")
    self.assertEqual(lines[4], "train 120/400 (30%), 2 step/s, 2 min 20 s left, loss 2.31")
    self.assertEqual(lines[5], "saved")
    self.assertEqual(lines[6], "train 400/400 (100%), 7.66 step/s, took 50 s, loss 2")

  def test_slow_work_is_told_in_seconds_each(self):
    stream, now = io.StringIO(), [0.0]
    with Progress(3, "score", unit="document", stream=stream, clock=lambda: now[0]) as progress:
      now[0] = 30.0
      progress.update()
      # The first tells nothing, and does not count from the second on: it may have waited for a
      # compilation.
      now[0] = 42.0
      progress.update()
    lines = stream.getvalue().splitlines()
    self.assertEqual(lines[0], "score 1/3 (33%)")
    self.assertEqual(lines[1], "score 2/3 (66%), 12 s/document, 12 s left")

  def test_nothing_to_do_writes_nothing(self):
    stream = io.StringIO()
    with Progress(0, "train", stream=stream):
      pass
    self.assertEqual(stream.getvalue(), "")

  def test_a_bar_on_a_terminal(self):
    stream = FakeTerminal()
    with Progress(4, "train", stream=stream) as progress:
      progress.update(2, loss=1.5)
      progress.say("a line of its own")
      progress.update(2)
    text = stream.getvalue()
    self.assertIn("4/4", text)
    self.assertIn("loss 1.5", text)
    self.assertIn("a line of its own\n", text)
    self.assertIn("\r", text)

  @parameterized.parameters(
    (-1, "0 s"),
    (59.4, "59 s"),
    (59.6, "1 min 00 s"),
    (133, "2 min 13 s"),
    (3599.7, "1 h 00 min"),
    (11100, "3 h 05 min"),
  )
  def test_format_duration(self, seconds, expected):
    self.assertEqual(format_duration(seconds), expected)


if __name__ == "__main__":
  absltest.main()
