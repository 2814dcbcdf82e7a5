"""What is set before JAX starts: shown in processes of their own."""

import json
import os
import subprocess
import sys
import tempfile

from absl.testing import absltest

_PROGRAM = """
import gc, json, os, sys
from htmtl_jax.startup import prepare_jax
prepare_jax(json.loads(sys.argv[1]))
import jax, jax.numpy as jnp
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
x = jax.jit(lambda x: jnp.tanh(x @ x).sum())(jnp.arange(64.0).reshape(8, 8) / 64)
told = {"flags": os.environ.get("XLA_FLAGS", ""), "value": float(x).hex()}
print(json.dumps(told | {"garbage": gc.get_threshold()}))
"""


def start(folder, **environment):
  """Runs a small program after `prepare_jax(folder)`: (what it printed, its stderr)."""
  clean = {
    k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")
  }
  done = subprocess.run(
    [sys.executable, "-c", _PROGRAM, json.dumps(folder)],
    env={**clean, "JAX_PLATFORMS": "cpu", **environment},
    capture_output=True,
    text=True,
    check=True,
  )
  return json.loads(done.stdout), done.stderr


class StartupTest(absltest.TestCase):
  def setUp(self):
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = folder.name

  def test_programs_are_kept_and_give_the_same_from_the_cache(self):
    cache = os.path.join(self.folder, "programs")
    first, _ = start(cache)
    kept = sorted(os.listdir(cache))
    self.assertNotEmpty(kept)
    second, _ = start(cache)
    self.assertEqual(first["value"], second["value"])
    self.assertGreater(first["garbage"][0], 10_000)  # tracing makes millions of objects
    self.assertEqual(
      [f for f in kept if f.endswith("-cache")],
      [f for f in sorted(os.listdir(cache)) if f.endswith("-cache")],
    )

  def test_default_folder_is_in_the_users_cache_and_the_environment_wins(self):
    start(None, XDG_CACHE_HOME=self.folder)
    self.assertNotEmpty(os.listdir(os.path.join(self.folder, "htmtl_jax", "compilations")))
    elsewhere = os.path.join(self.folder, "elsewhere")
    start(None, XDG_CACHE_HOME=os.path.join(self.folder, "x"), JAX_COMPILATION_CACHE_DIR=elsewhere)
    self.assertNotEmpty(os.listdir(elsewhere))
    self.assertFalse(os.path.exists(os.path.join(self.folder, "x")))

  def test_empty_switches_it_off(self):
    start("", XDG_CACHE_HOME=self.folder)
    self.assertEmpty(os.listdir(self.folder))

  def test_a_folder_that_cannot_be_made_is_a_warning(self):
    file = os.path.join(self.folder, "file")
    open(file, "w").close()
    _, errors = start(os.path.join(file, "programs"))
    self.assertIn("compiled programs are not kept", errors)
    self.assertIn("--compilation_cache", errors)

  def test_flags_of_the_user_stay(self):
    told, _ = start("", XLA_FLAGS="--xla_cpu_experimental_ynn_fusion_type=reduce")
    self.assertEqual(told["flags"], "--xla_cpu_experimental_ynn_fusion_type=reduce")
    told, _ = start("", XLA_FLAGS="--xla_force_host_platform_device_count=2")
    self.assertIn("device_count=2", told["flags"])
    self.assertIn("ynn_fusion_type=dot", told["flags"])


if __name__ == "__main__":
  absltest.main()
