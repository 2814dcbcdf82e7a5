"""Keeps what one step on a CPU frees for the next one.

XLA's CPU backend takes the arrays of a step from malloc and frees them at its end. glibc returns
blocks of that size to the system at once, and the system hands every page out anew, zeroed, when
it is touched again: over a million page faults in a step of 5 GB. Kept, in pages of 2 MB, they
took a fifth off a step of size base (docs/performance.md). The price: this process never gets
smaller than it has once been, which a training run that repeats its steps does not notice.
"""

from collections.abc import Mapping
import ctypes
import glob
import os

# `mallopt`, from malloc.h of glibc.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_NEVER = -1  # as size_t the greatest of all
_MADV_HUGEPAGE = 14  # from sys/mman.h; Python's `mmap` can advise on its own mappings alone
_HUGE_PAGE = 2**21
# What a driver leaves where a GPU (NVIDIA, AMD) or a TPU is attached.
_ACCELERATORS = ("/dev/nvidia[0-9]*", "/dev/kfd", "/dev/accel*", "/dev/vfio/[0-9]*")
_OF_THE_USER = ("GLIBC_TUNABLES", "LD_PRELOAD")


def computes_on_cpu(environment: Mapping[str, str] = os.environ) -> bool:
  """Whether JAX will find nothing but CPUs here; must not start JAX to know."""
  chosen = environment.get("JAX_PLATFORMS", "")
  if chosen:
    return chosen.split(",")[0] == "cpu"
  return not any(glob.glob(pattern) for pattern in _ACCELERATORS)


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
  """Makes malloc keep what is freed, in huge pages where the system has them.

  Call it before threads start, since each would get a heap of its own, which cannot hold large
  blocks. Does nothing where the C library is not glibc, or where the user has chosen himself how
  memory is allocated (GLIBC_TUNABLES, be it empty, LD_PRELOAD, MALLOC_*).

  Returns:
    Whether it did.
  """
  if any(name in _OF_THE_USER or name.startswith("MALLOC_") for name in environment):
    return False
  try:
    library = ctypes.CDLL(None)
    mallopt = library.mallopt
    library.gnu_get_libc_version  # noqa: B018, others have a mallopt that does nothing
  except (OSError, AttributeError, TypeError):
    return False
  settings = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: _NEVER, _TOP_PAD: 2**28}
  kept = all([mallopt(name, value) for name, value in settings.items()])
  _advise_huge_pages(library)
  return kept


def _advise_huge_pages(library: ctypes.CDLL) -> None:
  """Asks for huge pages on as much of the heap's future as there is memory; takes none of it."""
  library.malloc.restype = ctypes.c_void_p
  library.malloc.argtypes = (ctypes.c_size_t,)
  library.free.argtypes = (ctypes.c_void_p,)
  library.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
  size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4
  block = library.malloc(size)  # not touched, so no page of it exists yet
  if not block:
    return  # a limit on addresses, or no overcommitment: pages stay small
  start = -(-block // _HUGE_PAGE) * _HUGE_PAGE
  library.madvise(start, block + size - start, _MADV_HUGEPAGE)
  library.free(block)  # stays at the top of the heap: it is never trimmed
