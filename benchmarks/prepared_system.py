"""What a system of the comparison hands to whoever measures it."""

from collections.abc import Callable
import dataclasses
from typing import Any

# Of a CPU: "keep" is `host_memory.keep_freed_memory`, "system" what the C library does by itself.
ALLOCATORS = ("keep", "system")


@dataclasses.dataclass(frozen=True)
class Request:
  """One measurement, as it travels to the process that makes it.

  Attributes:
    system: a name of `run.SYSTEMS`.
    task: "train" or "decode".
    length: source tokens of the document.
    size: a key of `SIZES`.
    dtype: "float32" or "bfloat16", of matmuls.
    target_tokens: of the paragraph summary that is trained.
    decode_tokens: of the summary that is written, exactly.
    beam_size: of decoding.
    repeats: timings after the warm-up.
    seed: of the document and the parameters.
    prepared: folder of a prepared corpus whose papers are joined; "" generates.
    threads: of PyTorch; 0 for one a core.
    profile: folder for a trace of one step; "" for none.
    allocator: a name of `ALLOCATORS`.
  """

  system: str
  task: str
  length: int
  size: str
  dtype: str
  target_tokens: int = 512
  decode_tokens: int = 512
  beam_size: int = 4
  repeats: int = 5
  seed: int = 0
  prepared: str = ""
  threads: int = 0
  profile: str = ""
  allocator: str = "keep"


@dataclasses.dataclass(frozen=True)
class PreparedSystem:
  """A model with its document, ready to run.

  Attributes:
    run: one train step, or one summary, waited for; returns what the row should show of
      it, such as the loss.
    warm_up: what comes before the timings: compiles, fills caches.
    facts: what the row says of the system.
    count_flops: () -> (FLOPs of the matmuls of one `run`, useful ones: three times those of
      the forward pass over a document without any padding, as training counts them);
      None where they are not counted.
    reset_peak, peak_bytes: of the device's memory; `peak_bytes` gives None where the
      memory is the process's own.
    trace: (folder) -> None, profiles one `run`; None where there is no profiler.
  """

  run: Callable[[], dict[str, Any]]
  warm_up: Callable[[], Any]
  facts: dict[str, Any]
  count_flops: Callable[[], tuple[int | None, int | None]]
  reset_peak: Callable[[], None]
  peak_bytes: Callable[[], int | None]
  trace: Callable[[str], None] | None = None
