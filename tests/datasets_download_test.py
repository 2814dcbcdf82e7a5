"""Downloads from a server on this machine that cuts, stalls, lies and ignores ranges."""

import contextlib
import hashlib
import http.server
import io
import os
import random
import tempfile
import threading
from unittest import mock

from absl.testing import absltest, parameterized

from htmtl_jax.datasets import download as download_lib
from htmtl_jax.datasets.download import Wanted, download
from htmtl_jax.errors import UserError

CONTENT = random.Random(0).randbytes(300_001)


class _Handler(http.server.BaseHTTPRequestHandler):
  """Each path is a temper; `requests` of the server remembers (path, Range)."""

  def log_message(self, *arguments):
    pass

  def do_GET(self):
    temper = self.path.strip("/")
    asked = self.headers.get("Range")
    self.server.requests.append((temper, asked))
    content = CONTENT
    if temper == "corrupt":
      content = b"x" + CONTENT[1:]
    if temper == "short":
      content = CONTENT[:-1]
    if temper == "page":
      content = b"<html>Too many people have downloaded this file.</html>"
    if temper in ("missing", "busy", "limited") or (
      temper == "busy_once" and len(self.server.requests) == 1
    ):
      self.send_error({"missing": 404, "limited": 429}.get(temper, 503))
      return
    start = 0
    if asked and temper not in ("no_ranges", "unknown_length"):
      start = int(asked.removeprefix("bytes=").removesuffix("-"))
    if temper == "elsewhere" and asked:
      start += 1
    self.send_response(206 if start else 200)
    if start:
      self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    if temper != "unknown_length":
      self.send_header("Content-Length", str(len(content) - start))
    self.end_headers()
    body = content[start:]
    if temper in ("cut", "no_ranges"):
      body = body[: 100_000 * len(self.server.requests)]
    if temper == "cut_at_once":
      body = b""
    with contextlib.suppress(ConnectionError):
      self.wfile.write(body)


class DownloadTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    self.server.requests = []
    thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    self.addCleanup(thread.join)
    self.addCleanup(self.server.server_close)
    self.addCleanup(self.server.shutdown)
    self.folder = self.enter_context(tempfile.TemporaryDirectory())
    self.path = os.path.join(self.folder, "new", "file.zip")
    self.part = self.path + ".part"
    self.pauses = []

  def download(self, *tempers, content=CONTENT, **kwargs):
    """Returns what was printed."""
    port = self.server.server_address[1]
    wanted = Wanted(
      tuple(f"http://127.0.0.1:{port}/{temper}" for temper in tempers),
      len(content),
      hashlib.sha256(content).hexdigest(),
    )
    with contextlib.redirect_stderr(io.StringIO()) as printed:
      self.assertEqual(download(wanted, self.path, sleep=self.pauses.append, **kwargs), self.path)
    return printed.getvalue()

  def assert_whole(self):
    with open(self.path, "rb") as handle:
      self.assertEqual(handle.read(), CONTENT)
    self.assertFalse(os.path.exists(self.part))

  def write_part(self, content):
    os.makedirs(os.path.dirname(self.path))
    with open(self.part, "wb") as handle:
      handle.write(content)

  def test_at_once(self):
    self.download("good")
    self.assert_whole()
    self.assertEqual((self.server.requests, self.pauses), ([("good", None)], []))
    self.download("good")  # it is there: nobody is asked
    self.assertLen(self.server.requests, 1)

  def test_takes_up_a_broken_connection_at_the_byte(self):
    self.download("cut")
    self.assert_whole()
    self.assertEqual(
      self.server.requests, [("cut", None), ("cut", "bytes=100000-"), ("cut", "bytes=300000-")]
    )
    self.assertEqual(self.pauses, [1.0, 1.0])  # each try brought something

  def test_passes_over_what_is_there_if_ranges_are_ignored(self):
    self.download("no_ranges")
    self.assert_whole()
    self.assertLen(self.server.requests, 4)

  def test_goes_on_with_an_earlier_run(self):
    self.write_part(CONTENT[:123_456])
    self.download("good")
    self.assert_whole()
    self.assertEqual(self.server.requests, [("good", "bytes=123456-")])

  def test_goes_on_from_the_next_mirror(self):
    printed = self.download("missing", "cut_at_once", "good", max_tries=3)
    self.assert_whole()
    self.assertRegex(printed, "missing: answered 404 Not Found")
    self.assertRegex(printed, "cut_at_once: the connection ended early; gave up after 3 tries")
    self.assertEqual(self.pauses, [1.0, 2.0])

  def test_busy_servers_are_asked_again(self):
    self.download("busy_once")
    self.assert_whole()
    self.assertEqual(self.pauses, [1.0])

  @parameterized.parameters("busy", "limited")
  def test_pauses_double(self, temper):
    with self.assertRaisesRegex(UserError, "answered .*; gave up after 5 tries"):
      self.download(temper)
    self.assertEqual(self.pauses, [1.0, 2.0, 4.0, 8.0])

  def test_corrupt_data_are_never_used(self):
    with self.assertRaisesRegex(UserError, "corrupt: all of it arrived, with another checksum"):
      self.download("corrupt")
    self.assertEqual(os.listdir(os.path.dirname(self.path)), ["file.zip.lock"])
    self.assertLen(self.server.requests, 1)
    self.download("corrupt", "good")
    self.assert_whole()

  def test_a_corrupt_beginning_is_fetched_anew(self):
    self.write_part(b"y" * 1000)
    printed = self.download("good")
    self.assert_whole()
    self.assertIn("has another checksum than the file; deleted, starting again", printed)
    self.assertEqual(self.server.requests, [("good", "bytes=1000-"), ("good", None)])

  @parameterized.parameters(0, 1000)
  def test_a_part_that_is_too_long(self, extra):
    self.write_part(b"y" * (len(CONTENT) + extra))
    self.download("good")
    self.assert_whole()

  @parameterized.parameters(
    ("page", "page: offers 55 bytes, not 300001"),
    ("short", "short: offers 300000 bytes"),
    ("unknown_length", "unknown_length: offers an unknown number of bytes"),
    ("elsewhere", "elsewhere: was asked for the bytes from 1000 on and sent others"),
  )
  def test_another_file_is_refused_and_the_part_is_kept(self, temper, message):
    self.write_part(CONTENT[:1000])
    with self.assertRaisesRegex(UserError, message):
      self.download(temper)
    with open(self.part, "rb") as handle:
      self.assertEqual(handle.read(), CONTENT[:1000])

  def test_what_has_arrived_is_named(self):
    self.write_part(CONTENT[:200_000])
    with self.assertRaisesRegex(UserError, "0.2 of 0.3 MiB are kept in .*file.zip.part, run the"):
      self.download("cut_at_once")
    self.assertFalse(os.path.exists(self.path))

  def test_another_file_in_its_place(self):
    os.makedirs(os.path.dirname(self.path))
    with open(self.path, "wb") as handle:
      handle.write(b"half of it")
    self.assertIn("is not the file that was asked for", self.download("good"))
    self.assert_whole()

  def test_a_server_that_hangs(self):
    def hang(*arguments, **kwargs):
      raise TimeoutError("timed out")

    with (
      mock.patch.object(download_lib.urllib.request, "urlopen", hang),
      self.assertRaisesRegex(UserError, "good: timed out; gave up after 2 tries"),
    ):
      self.download("good", max_tries=2)

  def test_nobody_there(self):
    self.server.shutdown()
    self.server.server_close()
    with self.assertRaisesRegex(UserError, "refused; gave up after 2 tries.*run the same command"):
      self.download("good", max_tries=2)

  def test_a_folder_that_cannot_be_written(self):
    with open(os.path.join(self.folder, "new"), "w", encoding="utf-8"):
      pass  # a file where the folder should be
    with self.assertRaisesRegex(UserError, "file.zip cannot be written"):
      self.download("good")


if __name__ == "__main__":
  absltest.main()
