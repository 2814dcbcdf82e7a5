"""Freed memory is kept for the next step: shown by the page faults of processes of their own."""

import os
import subprocess
import sys
from unittest import mock

from absl.testing import absltest, parameterized

from htmtl_jax import host_memory

_PROGRAM = """
import ctypes, json, resource, sys
from htmtl_jax.startup import prepare_jax
prepare_jax("")
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
library.free.argtypes = (ctypes.c_void_p,)
library.memset.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
for turn in range(6):
  if turn == 1:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  blocks = [library.malloc(2**27) for _ in range(2)]
  for block in blocks:
    library.memset(block, 1, 2**27)
    library.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_faults(**environment) -> int:
  """Page faults of five turns of 256 MB, after a first one."""
  clean = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
  done = subprocess.run(
    [sys.executable, "-c", _PROGRAM],
    env={**clean, **environment},
    capture_output=True,
    text=True,
    check=True,
  )
  return int(done.stdout)


class HostMemoryTest(parameterized.TestCase):
  def test_a_block_that_was_freed_costs_no_page_faults_again(self):
    # In pages of 4 kB 327,680, in pages of 2 MB 640, if none is kept.
    self.assertLess(count_faults(JAX_PLATFORMS="cpu"), 100)
    with self.subTest("what the user says of malloc wins"):
      self.assertGreater(count_faults(JAX_PLATFORMS="cpu", GLIBC_TUNABLES=""), 500)
    with self.subTest("with an accelerator it is left alone"):
      self.assertGreater(count_faults(JAX_PLATFORMS="cuda"), 500)

  @parameterized.parameters(
    ({"JAX_PLATFORMS": "cpu"}, ["/dev/nvidia0"], True),
    ({"JAX_PLATFORMS": "cpu,cuda"}, [], True),
    ({"JAX_PLATFORMS": "tpu,cpu"}, [], False),
    ({"JAX_PLATFORMS": ""}, [], True),
    ({}, ["/dev/nvidia0"], False),
    ({}, [], True),
  )
  def test_where_cpus_compute(self, environment, devices, expected):
    with mock.patch.object(host_memory.glob, "glob", lambda pattern: devices):
      self.assertEqual(host_memory.computes_on_cpu(environment), expected)

  @parameterized.parameters("GLIBC_TUNABLES", "LD_PRELOAD", "MALLOC_ARENA_MAX")
  def test_what_the_user_chose_is_left(self, name):
    self.assertFalse(host_memory.keep_freed_memory({name: ""}))


if __name__ == "__main__":
  absltest.main()
