"""The command line of `benchmarks.run`, checked, and the order that follows from it."""

import argparse
from collections.abc import Sequence
import difflib
import importlib.util
import os

from benchmarks.peer_names import PEERS
from benchmarks.prepared_system import ALLOCATORS
from benchmarks.sizes import SIZES
from htmtl_jax.errors import UserError

OURS = ("htmtl", "htmtl_deep", "htmtl_three", "flat")
SYSTEMS = OURS + PEERS
# What `htmtl_three` trains beside the paragraph makes no difference to writing a paragraph.
DECODING_SYSTEMS = ("htmtl", "htmtl_deep", "flat") + PEERS
TASKS = ("train", "decode")
DTYPES = ("float32", "bfloat16")


class _Parser(argparse.ArgumentParser):
  def error(self, message):
    raise UserError(message)


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
  """The command line, checked.

  Raises:
    UserError: for what cannot be measured, named by its argument.
  """
  parser = _Parser(prog="python -m benchmarks.run", description="HTMTL beside its peers")
  parser.add_argument("--out", required=True, help="JSON file; the charts go beside it, as .html")
  parser.add_argument("--lengths", default="4096,8192,16384", help="source tokens")
  parser.add_argument("--decode_lengths", default="", help="of decoding (the longest of --lengths)")
  parser.add_argument("--systems", default="", help=f"of {', '.join(SYSTEMS)} (all installed ones)")
  parser.add_argument("--tasks", default="train,decode")
  parser.add_argument("--size", choices=list(SIZES), default="small")
  parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of matmuls")
  parser.add_argument("--rounds", type=int, default=1, help="how often everything is measured")
  parser.add_argument("--repeats", type=int, default=5, help="timings of a train step in a round")
  parser.add_argument(
    "--decode_repeats", type=int, default=1, help="timings of decoding in a round"
  )
  parser.add_argument(
    "--turns", action="store_true",
    help="all systems of a task and length in memory together, timed in turns",
  )  # fmt: skip
  parser.add_argument("--target_tokens", type=int, default=512, help="of the trained paragraph")
  parser.add_argument("--decode_tokens", type=int, default=512, help="that are written, exactly")
  parser.add_argument("--beam_size", type=int, default=4)
  parser.add_argument("--limit", type=float, default=900.0, help="seconds for one measurement")
  parser.add_argument("--prepared", default="", help="prepared corpus whose papers are joined")
  parser.add_argument("--profile", default="", help="folder for a JAX trace of one step of ours")
  parser.add_argument(
    "--allocator", choices=ALLOCATORS, default="keep",
    help="on CPUs: keep freed memory as our start-up does, for all systems alike; or the system's",
  )  # fmt: skip
  parser.add_argument("--threads", type=int, default=0, help="of PyTorch (one a core)")
  parser.add_argument("--seed", type=int, default=0)
  arguments = parser.parse_args(argv)
  arguments.lengths = _parse_lengths("lengths", arguments.lengths)
  arguments.decode_lengths = (
    _parse_lengths("decode_lengths", arguments.decode_lengths)
    if arguments.decode_lengths
    else [max(arguments.lengths)]
  )
  arguments.tasks = _parse_names("tasks", arguments.tasks, TASKS)
  asked = bool(arguments.systems)
  arguments.systems = _parse_names("systems", arguments.systems or ",".join(SYSTEMS), SYSTEMS)
  if not _peers_installed():
    if asked and (missing := [name for name in arguments.systems if name in PEERS]):
      raise UserError(
        f"--systems: {missing[0]} needs PyTorch and transformers; HTMTL_EXTRAS=peers launch/env.sh"
      )
    arguments.systems = [name for name in arguments.systems if name not in PEERS]
  for name, least in (
    ("rounds", 1), ("repeats", 1), ("decode_repeats", 1), ("target_tokens", 2),
    ("decode_tokens", 1), ("beam_size", 1), ("threads", 0), ("seed", 0),
  ):  # fmt: skip
    if getattr(arguments, name) < least:
      raise UserError(f"--{name}={getattr(arguments, name)}: must be at least {least}")
  if not arguments.limit > 0:
    raise UserError(f"--limit={arguments.limit}: must be above 0")
  return arguments


def _parse_lengths(name: str, text: str) -> list[int]:
  try:
    lengths = [int(part) for part in text.split(",")]
  except ValueError:
    raise UserError(f"--{name}={text}: should be whole numbers separated by commas") from None
  if min(lengths) < 64 or len(set(lengths)) < len(lengths):
    raise UserError(f"--{name}={text}: each at least 64, none twice")
  return sorted(lengths)


def _parse_names(name: str, text: str, known: Sequence[str]) -> list[str]:
  names = text.split(",")
  for own in names:
    if own not in known:
      near = difflib.get_close_matches(own, known, n=1)
      hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
      raise UserError(f"--{name}={text}: {own!r} is unknown; {hint}")
  return list(dict.fromkeys(names))


def _peers_installed() -> bool:
  return all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


def plan(arguments: argparse.Namespace) -> list[list[dict]]:
  """The requests in the order they are measured in: by round, task, length; and in each by system."""
  shared = {
    name: getattr(arguments, name)
    for name in (
      "size", "dtype", "target_tokens", "decode_tokens", "beam_size", "seed", "threads", "allocator",
    )
  }  # fmt: skip
  # The processes that measure may have another working directory.
  absolute = lambda path: os.path.abspath(os.path.expanduser(path)) if path else ""
  shared["prepared"] = absolute(arguments.prepared)
  by_task = {
    "train": (arguments.lengths, arguments.repeats, SYSTEMS),
    "decode": (arguments.decode_lengths, arguments.decode_repeats, DECODING_SYSTEMS),
  }
  groups = []
  for _ in range(arguments.rounds):
    for task in arguments.tasks:
      lengths, repeats, systems = by_task[task]
      for length in lengths:
        groups.append(requests := [])
        for system in arguments.systems:
          if system not in systems:
            continue
          name = f"{task}-{length}-{system}"
          profile = os.path.join(absolute(arguments.profile), name) if arguments.profile else ""
          own = {"system": system, "task": task, "length": length, "repeats": repeats}
          requests.append({**own, "profile": profile, **shared})
  return [requests for requests in groups if requests]
