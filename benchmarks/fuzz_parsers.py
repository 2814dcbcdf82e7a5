"""Feeds broken papers to the parsers: each must give a Document or a UserError, soon.

    python -m benchmarks.fuzz_parsers --format=jats --count=10000 --seed=0 [--out=FILE.json]

A parser runs in a process of its own with a limit of time for each input and of memory,
in which opening files and sockets is refused. Exit status: 0 all is well, 1 something
failed (it is listed, and can be had again from seed and index: --only=INDEX), 2 wrong
arguments. See README.md beside this file.
"""

import argparse
import collections
from collections.abc import Callable
import contextlib
import json
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
from typing import Any

from benchmarks import fuzz_inputs
from htmtl_jax.documents.document import Document
from htmtl_jax.documents.parsers.files import FORMATS
from htmtl_jax.errors import UserError

_CANARY = "This text stands in a file that no parser was given."
_PARSERS = {suffix: format for format in FORMATS for suffix in format.suffixes}
_FORBIDDEN = (
  *("socket.", "subprocess.", "shutil.", "urllib.", "ctypes.dlopen", "os.system", "os.exec"),
  *("os.spawn", "os.posix_spawn", "os.fork", "os.remove", "os.rename", "os.mkdir", "os.rmdir"),
)
# Limits are in seconds of the processor, so that other programs do not count. A process
# that does not end by itself, whatever it waits for, is killed by the clock.
_CLOCK_PER_SECOND = 6.0
_GRACE = 10.0
_MAX_LISTED = 20


class _TimeUp(BaseException):
  """Not an Exception, so that no parser catches it by accident."""


class _Watch:
  """Refuses, and remembers, opening files and sockets while a parser runs."""

  def __init__(self, folder: str):
    self.is_on, self.events = False, []
    self._folder = folder
    installed = (sys.prefix, sys.base_prefix, os.path.dirname(os.__file__))
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    self._readable = tuple(os.path.realpath(p) + os.sep for p in (*installed, root, folder))
    sys.addaudithook(self._hook)

  def _hook(self, event: str, arguments: tuple) -> None:
    if not self.is_on:
      return
    if event == "open":
      path, mode = arguments[0], arguments[1] or "r"
      is_read = not set(str(mode)) & set("wax+")
      if isinstance(path, int) or (is_read and self._is_readable(os.fsdecode(path))):
        return  # modules that are imported late, and what lies beside the paper
    elif not event.startswith(_FORBIDDEN):
      return
    self.events.append(f"{event} {arguments[0] if arguments else ''}")
    raise PermissionError(f"not while parsing: {event}")

  def _is_readable(self, path: str) -> bool:
    self.is_on = False  # realpath may open
    try:
      return os.path.realpath(path).startswith(self._readable)
    finally:
      self.is_on = True


def _check(result: object) -> str:
  """What is wrong with a parser's result, or ""."""
  if not isinstance(result, Document):
    return f"gave {type(result).__name__}, not a Document"
  sentences = [s for c in result.sections for p in c.paragraphs for s in p]
  paragraphs = [p for c in result.sections for p in c.paragraphs] + list(result.abstract)
  sentences += [*result.abstract_sentences, *(s for p in result.summaries.values() for s in p)]
  words = [*sentences, result.title, *(c.heading for c in result.sections), *result.abstract_labels]
  if not all(isinstance(word, str) for word in words):
    return "holds something that is no string"
  if not all(paragraphs) or not all(s.strip() for s in sentences):
    return "holds an empty paragraph or sentence"
  if any(not c.heading and not c.paragraphs for c in result.sections):
    return "holds a section without heading and paragraphs"
  if result.abstract_labels and len(result.abstract_labels) != len(result.abstract):
    return "has labels for some paragraphs of the abstract only"
  text = "\n".join(words)
  if "\x00" in text:
    return "holds NUL"
  if _CANARY in text:
    return "read a file that it was not given"
  try:
    text.encode()
  except UnicodeEncodeError:
    return "holds a lone surrogate"
  return ""


def _run_one(parse, data: bytes, path: str, watch: _Watch, seconds: float) -> tuple[str, str]:
  """("document" or "user error" or "failure", what is wrong)."""
  watch.events.clear()
  outcome, problem = "document", ""
  signal.setitimer(signal.ITIMER_PROF, seconds)
  watch.is_on = True
  try:
    problem = _check(parse(data, "x", path))
  except UserError as error:
    outcome = "user error"
    problem = "UserError of more than one line" if "\n" in str(error) else ""
  except _TimeUp:
    problem = f"took more than {seconds:g} s"
  except BaseException as error:  # whatever it is, it is what this program looks for
    problem = f"{type(error).__name__}: {str(error)[:300]}"
  finally:
    watch.is_on = False
    signal.setitimer(signal.ITIMER_PROF, 0)
  if watch.events:
    problem = f"tried {watch.events[0]}"
  return ("failure", problem) if problem else (outcome, "")


def _work(connection, name: str, options: dict, first: int, stop: int) -> None:
  """The child: sends (index, outcome, problem, seconds) for each input."""
  folder, canary = options["folder"], options["canary"]
  suffix = fuzz_inputs.SUFFIXES[name]
  parse, seeds = options["parse"], fuzz_inputs.make_seeds(name)
  path = os.path.join(folder, f"x{suffix}")
  _silence()
  for seed in seeds:  # what is imported late is imported before memory is bounded
    with contextlib.suppress(Exception):
      parse(seed, "x", path)

  def stop_parsing(number, frame):
    raise _TimeUp

  signal.signal(signal.SIGPROF, stop_parsing)
  limit = _get_address_space() + options["memory"]
  resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
  watch = _Watch(folder)
  for index in range(first, stop):
    connection.send((index, "begins", "", 0.0))
    data = fuzz_inputs.make_input(name, seeds, options["seed"], index, canary)
    start = time.process_time()
    outcome, problem = _run_one(parse, data, path, watch, options["seconds"])
    connection.send((index, outcome, problem, time.process_time() - start))
  connection.close()


def _silence() -> None:
  """Warnings of parsers (an encoding guessed, a macro unknown) are no findings here."""
  import logging
  import warnings

  from absl import logging as absl_logging

  logging.disable(logging.CRITICAL)
  absl_logging.set_verbosity(absl_logging.FATAL)
  warnings.simplefilter("ignore")


def _get_address_space() -> int:
  with open("/proc/self/statm") as handle:
    return int(handle.read().split()[0]) * resource.getpagesize()


def fuzz(
  name: str,
  count: int,
  seed: int,
  seconds: float = 5.0,
  memory: int = 2 << 30,
  first: int = 0,
  parse: Callable[[bytes, str, str], Document] | None = None,
) -> dict[str, Any]:
  """Runs `count` inputs of one format from index `first` on.

  Args:
    name: a key of `fuzz_inputs.SUFFIXES`.
    count: of inputs.
    seed: of the run; an input depends on name, seed and index only.
    seconds: of the processor, limit for one input.
    memory: bytes that the parser's process may ask for beyond what it has at first.
    first: index of the first input.
    parse: the parser, a function of a module; by default that of the format.

  Returns:
    A record: counts of outcomes, failures with their indices, rate, the slowest inputs.
  """
  context = multiprocessing.get_context("spawn")
  counts, failures, times = collections.Counter(), [], []
  start, next_index, stop = time.perf_counter(), first, first + count
  with (
    tempfile.TemporaryDirectory() as folder,
    tempfile.NamedTemporaryFile("w", suffix=".tex") as canary,
  ):
    canary.write(_CANARY)
    canary.flush()
    options = {
      "folder": folder,
      "canary": canary.name,
      "seed": seed,
      "seconds": seconds,
      "memory": memory,
      "parse": parse or _PARSERS[fuzz_inputs.SUFFIXES[name]].parse,
    }
    while next_index < stop:
      receiver, sender = context.Pipe(duplex=False)
      process = context.Process(target=_work, args=(sender, name, options, next_index, stop))
      process.start()
      sender.close()
      current = None
      while True:
        try:
          patience = _CLOCK_PER_SECOND * seconds + _GRACE
          is_alive = receiver.poll(patience if current is not None else 60.0)
          message = receiver.recv() if is_alive else None
        except EOFError:
          process.join()
          message = None
        if message is None:
          break
        index, outcome, problem, elapsed = message
        if outcome == "begins":
          current = index
          continue
        counts[outcome] += 1
        times.append((elapsed, index))
        next_index, current = index + 1, None
        if problem:
          failures.append({"index": index, "problem": problem})
      if process.is_alive():
        process.kill()
        process.join()
      if next_index < stop:  # the process ended, or was ended, in the middle of an input
        if current is None:
          raise RuntimeError(
            f"{name}: the parser's process did not start (status {process.exitcode})"
          )
        counts["failure"] += 1
        failures.append({"index": current, "problem": f"process ended with {process.exitcode}"})
        next_index = current + 1
  elapsed = time.perf_counter() - start
  return {
    "format": name,
    "seed": seed,
    "first": first,
    "inputs": count,
    "documents": counts["document"],
    "user_errors": counts["user error"],
    "failures": failures,
    "seconds": round(elapsed, 2),
    "inputs_per_second": round(count / elapsed, 1),
    "slowest": [{"index": i, "seconds": round(s, 3)} for s, i in sorted(times, reverse=True)[:5]],
  }


def _print(record: dict) -> None:
  slowest = ", ".join(f"{s['index']}: {s['seconds']:.2f} s" for s in record["slowest"][:3])
  print(
    f"{record['format']}: {record['inputs']} inputs, {record['documents']} documents,"
    f" {record['user_errors']} user errors, {len(record['failures'])} failures;"
    f" {record['inputs_per_second']:,.0f}/s; slowest {slowest}",
    flush=True,
  )
  for failure in record["failures"][:_MAX_LISTED]:
    print(f"  seed {record['seed']} index {failure['index']}: {failure['problem']}")
  if len(record["failures"]) > _MAX_LISTED:
    print(f"  and {len(record['failures']) - _MAX_LISTED} more")


def main(argv: list[str] | None = None) -> int:
  """Runs what the command line asks for; returns the exit status."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--format", required=True, choices=[*fuzz_inputs.SUFFIXES, "all"])
  parser.add_argument("--count", type=int, default=10_000, help="inputs a format")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--seconds", type=float, default=5.0, help="limit for one input")
  parser.add_argument("--memory", type=int, default=2048, help="MiB the parser may ask for")
  parser.add_argument("--only", type=int, help="run the input of this index alone")
  parser.add_argument("--save", metavar="FILE", help="with --only: write that input to a file")
  parser.add_argument("--out", metavar="FILE.json", help="write the records there")
  arguments = parser.parse_args(argv)
  if arguments.save and (arguments.only is None or arguments.format == "all"):
    parser.error("--save needs --only=INDEX and one --format")
  names = [arguments.format]
  if arguments.format == "all":
    names = list(fuzz_inputs.SUFFIXES)
  records = []
  for name in names:
    if fuzz_inputs.SUFFIXES[name] not in _PARSERS:
      print(f"{name}: no parser for {fuzz_inputs.SUFFIXES[name]} here; skipped")
      continue
    first, count = (0, arguments.count) if arguments.only is None else (arguments.only, 1)
    if arguments.save:
      seeds = fuzz_inputs.make_seeds(name)
      with open(arguments.save, "wb") as handle:
        handle.write(fuzz_inputs.make_input(name, seeds, arguments.seed, first, "/canary.tex"))
    record = fuzz(name, count, arguments.seed, arguments.seconds, arguments.memory << 20, first)
    records.append(record)
    _print(record)
  if arguments.out:
    with open(arguments.out, "w", encoding="utf-8") as handle:
      json.dump(records, handle, indent=2)
  return int(any(record["failures"] for record in records))


if __name__ == "__main__":
  sys.exit(main())
