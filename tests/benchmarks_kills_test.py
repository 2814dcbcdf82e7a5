"""`benchmarks/kills.py` with few kills: nothing called saved is lost, and the run is the same."""

import contextlib
import io
import os
import pathlib
import random
import subprocess
import tempfile
from unittest import mock

from absl.testing import absltest

from benchmarks import kills
from tests import tiny_config
from tests.conftest import fast_compilation


class KillsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

  def test_three_kills(self):
    out = io.StringIO()
    with mock.patch.dict(os.environ, XLA_FLAGS=fast_compilation()), contextlib.redirect_stdout(out):
      children = kills.run(3, 1, str(tiny_config.PATH), self.folder)
    self.assertLen(children, 3)
    self.assertIsNotNone(children[0].until_saving)  # it was seen to save, and killed then
    self.assertIn("3 kills", out.getvalue())
    self.assertIn("bit for bit", out.getvalue())

  def run_with(self, *children):
    """What `kills.run` ends with, of children with (resumed, trained, saved)."""

    def kill_one(*unused):
      resumed, trained, saved = next(left)
      return kills.Child("anywhere", resumed, trained, saved, False, 1.0, None)

    left = iter(children)
    with (
      mock.patch.object(kills.Run, "kill_one", kill_one),
      contextlib.redirect_stdout(io.StringIO()),
    ):
      kills.run(len(children), 0, str(tiny_config.PATH), self.folder)

  def test_a_lost_checkpoint_is_found_out(self):
    with self.assertRaisesRegex(SystemExit, "step 8 was called saved, but the run resumed at 6"):
      self.run_with((None, True, 8), (6, True, 8))

  def test_a_start_from_scratch_is_found_out(self):
    with self.assertRaisesRegex(SystemExit, "step 8 was called saved, .* started from scratch"):
      # The second is killed before it comes to train: of it nothing can be said.
      self.run_with((None, True, 8), (None, False, None), (None, True, 2))

  def test_a_child_that_hangs_is_found_out(self):
    hangs = lambda *unused: subprocess.Popen(["sleep", "100"])
    (self.folder / "run.log").write_text("its last words")
    run = kills.Run(self.folder / "run", "", self.folder, patience=0.1)
    with mock.patch.object(kills.Run, "start", hangs):
      for start in (lambda: run.kill_one(random.Random(0), True, 60.0), lambda: run.finish(3)):
        with self.assertRaisesRegex(
          SystemExit, r"hangs, it saved nothing for 0\.1 s:\nits last words"
        ):
          start()


if __name__ == "__main__":
  absltest.main()
