"""SIGTERM where work can be done again stops at once; where it would be lost, it waits."""

import os
import signal
import tempfile
from unittest import mock

from absl.testing import absltest

from htmtl_jax import train
from htmtl_jax.interruption import Interrupted, Interruption


def terminate():
  os.kill(os.getpid(), signal.SIGTERM)


class InterruptionTest(absltest.TestCase):
  def test_raises_at_once_but_waits_where_deferred(self):
    before = signal.getsignal(signal.SIGTERM)
    with Interruption() as interruption:
      with interruption.deferred():
        terminate()
        self.assertTrue(interruption.requested)
      with self.assertRaises(Interrupted):
        terminate()
    self.assertIs(signal.getsignal(signal.SIGTERM), before)

  def test_is_no_exception_that_somebody_may_swallow(self):
    with self.assertRaises(Interrupted):
      with Interruption():
        try:
          terminate()
        except Exception:  # the point of the test
          self.fail("swallowed")

  def test_training_that_is_still_preparing_is_interrupted(self):
    workdir = self.enter_context(tempfile.TemporaryDirectory())
    with mock.patch.object(train, "load_saved_config", lambda workdir: terminate()):
      self.assertEqual(train.run_train(None, workdir), "interrupted")
    self.assertEqual(os.listdir(workdir), [".lock"])


if __name__ == "__main__":
  absltest.main()
