"""Kernels by time, from a trace that is written here in the profiler's format."""

import gzip
import json
import pathlib
import tempfile

from absl.testing import absltest

from benchmarks import kernels
from htmtl_jax.errors import UserError


def event(name, seconds, pid=1, tid=14):
  return {"ph": "X", "pid": pid, "tid": tid, "name": name, "ts": 0.0, "dur": seconds * 1e6}


def label(kind, name, pid, tid=None):
  return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": name}}


EVENTS = [
  label("process_name", "/device:GPU:0", 1),
  label("process_name", "/host:CPU", 2),
  label("thread_name", "Stream #14(Compute)", 1, 14),
  label("thread_name", "XLA Ops", 1, 15),
  event("loop_fusion_12", 1.0),
  event("loop_fusion_7", 2.0),
  event("row_backward", 5.0),
  event("row_backward", 9.0, tid=15),  # the same time a second time, by operation
  event("python", 100.0, pid=2),
]


class KernelsTest(absltest.TestCase):
  def test_kernels_are_summed_by_name_and_sorted(self):
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    (folder / "plugins").mkdir()
    with gzip.open(folder / "plugins" / "vm.trace.json.gz", "wt") as f:
      json.dump({"traceEvents": EVENTS}, f)
    first, second = kernels.kernels_by_time(str(folder))
    self.assertEqual(first, {"kernel": "row_backward", "calls": 1, "seconds": 5.0, "share": 0.625})
    self.assertEqual((second["kernel"], second["calls"]), ("loop_fusion", 2))
    self.assertAlmostEqual(second["seconds"], 3.0)
    self.assertIn("| `loop_fusion` | 2 | 3000.00 | 37.5% |", kernels.render([first, second]))

  def test_a_folder_without_a_trace_is_named(self):
    folder = self.enter_context(tempfile.TemporaryDirectory())
    with self.assertRaisesRegex(UserError, "no trace in it"):
      kernels.kernels_by_time(folder)


if __name__ == "__main__":
  absltest.main()
