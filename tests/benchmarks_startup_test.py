"""The benchmark of starts: that it reads what JAX and training say."""

import pathlib
import sys
import tempfile

from absl.testing import absltest

from benchmarks import startup

# Says what training says, with JAX's own lines in between.
_PROGRAM = """
import json, sys, time
import jax
def init_state(x): return x + 1
def step(x): return x * 2
print("8 parameters on 1 cpu device(s)", file=sys.stderr, flush=True)
x = jax.jit(init_state)(1.0)
time.sleep(0.3)
jax.jit(step)(x).block_until_ready()
print("compiled the step for 1 documents", file=sys.stderr, flush=True)
time.sleep(0.3)
with open(sys.argv[1], "w") as f:
  f.write(json.dumps({"step": 1, "time": time.time()}) + "\\n")
time.sleep(60)
"""


class StartupTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

  def command(self, program):
    return [sys.executable, "-c", program, str(self.folder / "metrics.jsonl")]

  def test_reads_when_programs_were_compiled_and_the_first_step_done(self):
    start = startup.start_once(self.command(_PROGRAM), self.folder)
    self.assertContainsSubset(("init_state", "step"), start.compiling)
    self.assertGreater(start.described, 0)
    # No closer: on a busy machine lines are read long after they were written.
    self.assertGreaterEqual(start.ready, start.described)
    self.assertGreater(start.first_step, 0.6)  # by the program's own clock
    self.assertGreater(start.processor, 0.1)
    self.assertIn(f"ready after {start.ready:.1f} s", startup.describe("cold", start))

  def test_a_training_that_ends_early_is_shown(self):
    with self.assertRaisesRegex(RuntimeError, "no such corpus"):
      startup.start_once(self.command("import sys; sys.exit('no such corpus')"), self.folder)


if __name__ == "__main__":
  absltest.main()
