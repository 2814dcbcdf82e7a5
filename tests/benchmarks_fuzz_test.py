"""The fuzzer of parsers: it is repeatable, it passes the parsers, and it sees planted faults."""

import contextlib
import io
import json
import os
import socket
import tempfile
import time
import zipfile

from absl.testing import absltest, parameterized

from benchmarks import fuzz_inputs, fuzz_parsers
from htmtl_jax.documents.document import Document, Section
from htmtl_jax.documents.parsers.files import KNOWN_SUFFIXES
from htmtl_jax.errors import UserError


def _is_seed(data: bytes) -> bool:
  """The parsers below do no harm to the seeds, which are parsed before anything is watched."""
  return data in fuzz_inputs.make_seeds("plain_text")


def give_nothing(data, id, path):
  return None


def raise_error(data, id, path):
  raise KeyError("planted")


def open_file(data, id, path):
  with contextlib.suppress(OSError):
    open("/etc/hostname").close()
  return Document(id, "", ())


def write_beside(data, id, path):
  with contextlib.suppress(OSError):
    open(path + ".out", "w").close()
  return Document(id, "", ())


def open_socket(data, id, path):
  with contextlib.suppress(OSError):
    socket.create_connection(("127.0.0.1", 9), timeout=0.1)
  return Document(id, "", ())


def wait(data, id, path):
  if not _is_seed(data):
    try:
      while time.process_time() < 60:  # busy: time spent waiting is not the parser's
        pass
    except Exception:  # a parser that swallows what it should not
      pass
  return Document(id, "", ())


def take_memory(data, id, path):
  return Document(id, "", () if _is_seed(data) else (Section("", ((bytes(3 << 30).hex(),),)),))


def end_process(data, id, path):
  if not _is_seed(data):
    os._exit(7)
  return Document(id, "", ())


def give_empty_sentence(data, id, path):
  return Document(id, "", (Section("", ((" ",),)),))


def give_surrogate(data, id, path):
  return Document(id, "\ud800", ())


def refuse_in_two_lines(data, id, path):
  raise UserError("one\ntwo")


def refuse(data, id, path):
  raise UserError("one")


class FuzzTest(parameterized.TestCase):
  @parameterized.parameters("jats", "html", "markdown", "plain_text")
  def test_parsers_stand_it(self, name):
    record = fuzz_parsers.fuzz(name, count=200, seed=1)
    self.assertEqual(record["failures"], [])
    self.assertEqual(record["documents"] + record["user_errors"], 200)
    self.assertGreater(record["documents"], 40)  # the mutations leave something to parse

  @parameterized.parameters(
    (give_nothing, "gave NoneType, not a Document"),
    (raise_error, "KeyError: 'planted'"),
    (open_file, "tried open /etc/hostname"),
    (write_beside, "tried open .*x.txt.out"),
    (open_socket, "tried socket"),
    (wait, "took more than 0.5 s"),
    (take_memory, "MemoryError"),
    (end_process, "process ended with 7"),
    (give_empty_sentence, "an empty paragraph or sentence"),
    (give_surrogate, "a lone surrogate"),
    (refuse_in_two_lines, "more than one line"),
  )
  def test_planted_fault_is_seen(self, parse, problem):
    record = fuzz_parsers.fuzz("plain_text", count=2, seed=0, seconds=0.5, parse=parse)
    self.assertEqual([f["index"] for f in record["failures"]], [0, 1])
    for failure in record["failures"]:
      self.assertRegex(failure["problem"], problem)

  def test_refusing_is_no_failure(self):
    record = fuzz_parsers.fuzz("plain_text", count=2, seed=0, parse=refuse)
    self.assertEqual((record["user_errors"], record["failures"]), (2, []))

  def test_an_input_depends_on_seed_and_index_only(self):
    for name in ("jats", "html", "latex", "pdf", "markdown", "plain_text"):
      seeds = fuzz_inputs.make_seeds(name)
      first, again, other, next_one = (
        fuzz_inputs.make_input(name, seeds, seed, index, "/canary")
        for seed, index in ((3, 5), (3, 5), (4, 5), (3, 6))
      )
      self.assertEqual(first, again)
      self.assertLen({first, other, next_one}, 3)
      self.assertNotIn(first, seeds)

  def test_docx_is_changed_inside_the_archive(self):
    try:
      seeds = fuzz_inputs.make_seeds("docx")
    except ImportError:
      self.skipTest("python-docx is not installed")
    num_whole = 0
    for index in range(20):
      data = fuzz_inputs.make_input("docx", seeds, 0, index, "/canary")
      with contextlib.suppress(zipfile.BadZipFile):
        num_whole += bool(zipfile.ZipFile(io.BytesIO(data)).namelist())
    self.assertGreater(num_whole, 10)

  def test_command(self):
    folder = self.enter_context(tempfile.TemporaryDirectory())
    out, saved = os.path.join(folder, "out.json"), os.path.join(folder, "input.txt")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
      status = fuzz_parsers.main(
        ["--format=plain_text", "--only=3", "--seed=2", f"--save={saved}", f"--out={out}"]
      )
    self.assertEqual(status, 0)
    self.assertIn(
      "plain_text: 1 inputs, 1 documents, 0 user errors, 0 failures", printed.getvalue()
    )
    with open(out) as handle:
      self.assertEqual([r["inputs"] for r in json.load(handle)], [1])
    self.assertTrue(os.path.exists(saved))

  def test_every_suffix_is_known_or_skipped(self):
    missing = [n for n, s in fuzz_inputs.SUFFIXES.items() if s not in KNOWN_SUFFIXES]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
      self.assertEqual(fuzz_parsers.main(["--format=all", "--count=1"]), 0)
    for name in fuzz_inputs.SUFFIXES:
      expected = f"{name}: no parser" if name in missing else f"{name}: 1 inputs"
      self.assertIn(expected, printed.getvalue())


if __name__ == "__main__":
  absltest.main()
