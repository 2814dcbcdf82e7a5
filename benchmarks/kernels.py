"""Where a step's time goes on a GPU: kernels by time, from a trace of `jax.profiler`."""

import collections
import gzip
import json
import pathlib
import re

from htmtl_jax.errors import UserError


def kernels_by_time(folder: str, most: int = 30) -> list[dict]:
  """The kernels that took longest, those of one name (numbers at its end left out) together.

  Args:
    folder: where `jax.profiler.trace` wrote; its newest trace is read.
    most: so many at most.

  Returns:
    {"kernel", "calls", "seconds", "share" of all kernels' time} each; none without a GPU.

  Raises:
    UserError: there is no trace.
  """
  traces = sorted(pathlib.Path(folder).rglob("*.trace.json.gz"))
  if not traces:
    raise UserError(f"{folder}: no trace in it; --profile has to be given to a run first")
  with gzip.open(traces[-1], "rt") as f:
    events = json.load(f)["traceEvents"]
  named = lambda what: {
    (e["pid"], e.get("tid") if what == "thread_name" else None): e["args"]["name"]
    for e in events
    if e.get("ph") == "M" and e["name"] == what
  }
  processes, threads = named("process_name"), named("thread_name")
  is_gpu = lambda e: processes.get((e["pid"], None), "").startswith("/device:GPU")
  is_stream = lambda e: threads.get((e["pid"], e.get("tid")), "").startswith("Stream")
  seconds, calls = collections.Counter(), collections.Counter()
  for event in events:
    if event.get("ph") == "X" and is_gpu(event) and is_stream(event):
      name = re.sub(r"[_\d]+$", "", event["name"])
      seconds[name] += event["dur"] / 1e6
      calls[name] += 1
  total = sum(seconds.values())
  return [
    {"kernel": name, "calls": calls[name], "seconds": s, "share": s / total}
    for name, s in seconds.most_common(most)
  ]


def render(kernels: list[dict]) -> str:
  """A table of them, in Markdown."""
  lines = ["| kernel | calls | ms | share |", "| --- | ---: | ---: | ---: |"]
  lines += [
    f"| `{k['kernel']}` | {k['calls']} | {k['seconds'] * 1e3:.2f} | {k['share']:.1%} |"
    for k in kernels
  ]
  return "\n".join(lines)
