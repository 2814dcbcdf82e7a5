"""What a benchmark ran on: machine and versions, for its record."""

import importlib.metadata
import os
import pathlib
import platform
import re
import subprocess

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch", "transformers")


def describe_machine() -> dict:
  """Processor, cores, memory, system, and the accelerators that `nvidia-smi` names."""
  return {
    "cpu": _cpu_model(),
    "cores": os.cpu_count(),
    "memory_bytes": _memory(),
    "os": platform.platform(),
    "accelerators": _accelerators(),
  }


def describe_versions() -> dict:
  """Of Python and of each of `PACKAGES`, None where it is not installed."""
  versions = {"python": platform.python_version()}
  for package in PACKAGES:
    try:
      versions[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      versions[package] = None
  return versions


def _cpu_model() -> str:
  try:
    found = re.search(r"model name\s*:\s*(.+)", pathlib.Path("/proc/cpuinfo").read_text())
  except OSError:
    found = None
  return found[1].strip() if found else platform.processor() or platform.machine()


def _memory() -> int | None:
  try:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  except (ValueError, OSError, AttributeError):
    return None


def _accelerators() -> list[str]:
  command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
  try:
    shown = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
  except (OSError, subprocess.SubprocessError):
    return []
  return [line.strip() for line in shown.splitlines() if line.strip()]
