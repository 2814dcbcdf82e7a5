"""`benchmarks/kills.py` with few kills: nothing called saved is lost, and the run is the same."""

import contextlib
import io
import os
import pathlib
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

  def test_a_lost_checkpoint_is_found_out(self):
    def kill_one(*unused):
      return kills.Child("anywhere", resumed=next(resumed), saved=8, in_save=False, seconds=1.0,
                         until_saving=None)  # fmt: skip

    resumed = iter([None, 6])
    with (
      mock.patch.object(kills.Run, "kill_one", kill_one),
      contextlib.redirect_stdout(io.StringIO()),
      self.assertRaisesRegex(SystemExit, "step 8 was called saved, but the run resumed at 6"),
    ):
      kills.run(2, 0, str(tiny_config.PATH), self.folder)


if __name__ == "__main__":
  absltest.main()
