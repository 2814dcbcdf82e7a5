"""Downloads one large file: resumed where it stopped, from the next mirror if one fails.

What has arrived is kept in PATH.part. It becomes PATH only when it has the right size and
checksum, so whoever finds PATH finds the whole file.
"""

from collections.abc import Callable
import contextlib
import dataclasses
import hashlib
import http.client
import os
import re
import sys
import time
import urllib.error
import urllib.request

from htmtl_jax.errors import UserError
from htmtl_jax.file_lock import lock_file
from htmtl_jax.progress import Progress

PART_SUFFIX = ".part"
_MEBI = 1 << 20
_BLOCK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 60.0
# Answers that may be different next time; other 4xx mean that the file is not there.
_TRANSIENT_STATUSES = (408, 425, 429)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


@dataclasses.dataclass(frozen=True)
class Wanted:
  """A file to download.

  Attributes:
    urls: where it is, in the order to try.
    num_bytes: its size.
    sha256: its checksum, in hexadecimal digits.
  """

  urls: tuple[str, ...]
  num_bytes: int
  sha256: str


class _MirrorFailed(Exception):
  """This mirror will not do; the reason is for the user."""


class _ConnectionFailed(Exception):
  """This try brought no more; another one may."""


def download(
  wanted: Wanted,
  path: str | os.PathLike,
  *,
  max_tries: int = 5,
  first_pause_seconds: float = 1.0,
  sleep: Callable[[float], None] = time.sleep,
) -> str:
  """Downloads a file, or finds that it is there already.

  A connection that breaks is taken up again at the byte where it broke. Each mirror is
  tried until `max_tries` tries in a row have brought nothing, with pauses that double.

  Args:
    wanted: what and from where.
    path: where to; its folder is made.
    max_tries: fruitless tries in a row for each mirror.
    first_pause_seconds: before the second try.
    sleep: for tests.

  Returns:
    The path, of a file with the right size and checksum.

  Raises:
    UserError: if no mirror gave the file, or it cannot be written. What has arrived stays
      in PATH.part, and the next call goes on from there.
  """
  path = os.path.abspath(os.path.expanduser(os.fspath(path)))
  part = path + PART_SUFFIX
  reasons = []
  try:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with lock_file(f"{path}.lock", lambda: _say(f"waiting for another run that downloads {path}")):
      if os.path.exists(path):
        if matches(wanted, path):
          return path
        _say(f"{path} is not the file that was asked for; downloading it again")
        os.remove(path)
      for url in wanted.urls:
        _say(f"downloading {url} ({wanted.num_bytes / _MEBI:,.0f} MiB)")
        try:
          _fetch(url, wanted, part, max_tries, first_pause_seconds, sleep)
        except _MirrorFailed as error:
          reasons.append(f"{url}: {error}")
          _say(reasons[-1])
          continue
        os.replace(part, path)
        return path
  except OSError as error:
    raise UserError(
      f"{path} cannot be written ({error.strerror or error}): free the space or choose another "
      "folder; what has arrived is kept"
    ) from error
  arrived = _size(part)
  kept = (
    f"{arrived / _MEBI:,.1f} of {wanted.num_bytes / _MEBI:,.1f} MiB are kept in {part}, "
    "run the same command to go on"
    if arrived
    else "run the same command to try again"
  )
  raise UserError(f"{path} could not be downloaded ({'; '.join(reasons)}): {kept}")


def matches(wanted: Wanted, path: str) -> bool:
  """Whether a file has the right size and checksum."""
  if os.path.getsize(path) != wanted.num_bytes:
    return False
  digest = hashlib.sha256()
  label = f"checking {os.path.basename(path)}"
  with (
    open(path, "rb") as file,
    Progress(wanted.num_bytes // _MEBI, label, unit="MiB") as progress,
  ):
    while block := file.read(_BLOCK_BYTES):
      digest.update(block)
      if len(block) == _BLOCK_BYTES:
        progress.update(1)
  return digest.hexdigest() == wanted.sha256.lower()


def _fetch(
  url: str,
  wanted: Wanted,
  part: str,
  max_tries: int,
  first_pause: float,
  sleep: Callable[[float], None],
) -> None:
  """Completes `part` from one mirror, or raises `_MirrorFailed`."""
  num_tries, pause = 0, first_pause
  is_all_its_own = _size(part) == 0  # nothing of an earlier run or of another mirror in it
  while True:
    size = _size(part)
    if size >= wanted.num_bytes:
      if matches(wanted, part):
        return
      os.remove(part)
      if is_all_its_own:
        raise _MirrorFailed("all of it arrived, with another checksum; deleted")
      _say(f"{part} has another checksum than the file; deleted, starting again")
      is_all_its_own = True
      continue
    try:
      _append(url, wanted, part, size)
      problem = "the connection ended early"
    except _ConnectionFailed as error:
      problem = str(error)
    arrived = _size(part)
    if arrived >= wanted.num_bytes:
      continue
    if arrived > size:
      num_tries, pause = 0, first_pause
    num_tries += 1
    if num_tries >= max_tries:
      raise _MirrorFailed(f"{problem}; gave up after {num_tries} tries")
    _say(f"{problem}, {arrived / _MEBI:,.1f} MiB are here; going on in {pause:g} s")
    sleep(pause)
    pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _append(url: str, wanted: Wanted, part: str, offset: int) -> None:
  """Appends to `part`, which holds `offset` bytes, what one connection brings.

  Of a server that knows nothing of ranges and sends the file from its beginning, the
  first `offset` bytes are passed over, so that nothing is lost if it breaks off again.

  Raises:
    _MirrorFailed: if it has nothing, or something of another size.
    _ConnectionFailed: if another try may do.
  """
  request = urllib.request.Request(url, headers={"User-Agent": "htmtl_jax"})
  if offset:
    request.add_header("Range", f"bytes={offset}-")
  with _network_errors():
    response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
  with contextlib.closing(response):
    to_skip = offset - _check_headers(response, wanted, offset)
    with (
      open(part, "ab") as file,
      Progress(
        wanted.num_bytes // _MEBI, "download", initial=offset // _MEBI, unit="MiB"
      ) as progress,
    ):
      while offset < wanted.num_bytes:
        with _network_errors():
          # What is there at once, so that nothing of it is lost if the connection breaks.
          block = response.read1(min(to_skip or _BLOCK_BYTES, _BLOCK_BYTES))
        if not block:
          return
        if to_skip:
          to_skip -= len(block)
          continue
        file.write(block)
        progress.update((offset + len(block)) // _MEBI - offset // _MEBI)
        offset += len(block)


def _check_headers(response: http.client.HTTPResponse, wanted: Wanted, offset: int) -> int:
  """The place in the file of the first byte that will come; refuses another file."""
  start, total = 0, response.headers.get("Content-Length", "")
  if response.status == 206:
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if not match or int(match[1]) != offset:
      raise _MirrorFailed(f"was asked for the bytes from {offset} on and sent others")
    start, total = offset, match[2]
  # A page that says "too many downloads" comes with status 200 too, but with another length.
  if total != str(wanted.num_bytes):
    raise _MirrorFailed(f"offers {total or 'an unknown number of'} bytes, not {wanted.num_bytes}")
  return start


@contextlib.contextmanager
def _network_errors():
  """Turns what the network may raise into our two exceptions; errors of the disk pass."""
  try:
    yield
  except urllib.error.HTTPError as error:
    answer = f"answered {error.code} {error.reason}"
    if 400 <= error.code < 500 and error.code not in _TRANSIENT_STATUSES:
      raise _MirrorFailed(answer) from error
    raise _ConnectionFailed(answer) from error
  except (OSError, http.client.HTTPException) as error:
    reason = getattr(error, "reason", error)
    raise _ConnectionFailed(str(reason) or type(reason).__name__) from error


def _size(path: str) -> int:
  return os.path.getsize(path) if os.path.exists(path) else 0


def _say(text: str) -> None:
  print(text, file=sys.stderr, flush=True)
