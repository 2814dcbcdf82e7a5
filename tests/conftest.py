"""Runs before any test module: eight fake CPU devices, set up before JAX is imported."""

import os
import pathlib
import sys

_FLAGS = os.environ.get("XLA_FLAGS", "")
if "xla_force_host_platform_device_count" not in _FLAGS:
  _FLAGS += " --xla_force_host_platform_device_count=8"
os.environ["XLA_FLAGS"] = _FLAGS.strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# So that `from tests import tiny` works however pytest is started.
_ROOT = str(pathlib.Path(__file__).resolve().parent.parent)
if _ROOT not in sys.path:
  sys.path.insert(0, _ROOT)
