"""The raw release of arXiv and PubMed papers (Cohan et al. 2018): what it is and how it reads.

A zip, or a folder, of three files, one JSON object a line:

    arxiv-dataset/train.txt   val.txt   test.txt      (also .txt.gz; older: arxiv-release/)

    {"article_id": "...", "abstract_text": ["<S> a sentence . </S>", ...],
     "article_text": ["a sentence .", ...],
     "section_names": ["introduction", ...], "sections": [["a sentence .", ...], ...]}

Every item is a sentence, lower-cased and tokenised. Further keys are ignored. Files
are read line by line, also inside the zip, and never unpacked.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import gzip
import json
import os
import re
from typing import Any, BinaryIO
import zipfile
import zlib

from htmtl_jax.errors import UserError

# Split of the project -> name of its file, without ending.
FILE_OF_SPLIT = {"train": "train", "validation": "val", "test": "test"}
_ENDINGS = (".txt", ".txt.gz")
_MARK = re.compile(r"\s*</?S>\s*")
# Only then is a line's text searched for what no file of ours should hold.
_SUSPECT = re.compile(rb"\\u0000|\\u[dD][89a-fA-F]")


@dataclasses.dataclass(frozen=True)
class Release:
  """One of the two corpora.

  Attributes:
    name: "arxiv" or "pubmed".
    split_sizes: papers by split.
    zip_name: the file that is downloaded.
    zip_bytes: its size.
    zip_sha256: its checksum, in hexadecimal digits.
    urls: where it is, to be tried in this order.
  """

  name: str
  split_sizes: dict[str, int]
  zip_name: str
  zip_bytes: int
  zip_sha256: str
  urls: tuple[str, ...]

  @property
  def folders(self) -> tuple[str, ...]:
    """Names that the folder of the three files has had."""
    return f"{self.name}-dataset", f"{self.name}-release"


def _make_release(name, split_sizes, zip_bytes, zip_sha256, drive_id) -> Release:
  zip_name = f"{name}-dataset.zip"
  return Release(
    name=name,
    split_sizes=dict(zip(FILE_OF_SPLIT, split_sizes, strict=True)),
    zip_name=zip_name,
    zip_bytes=zip_bytes,
    zip_sha256=zip_sha256,
    urls=(
      # The mirror that the authors' README names. Not Google Drive first: it answers
      # with a page of its own when many people ask for a large file.
      f"https://archive.org/download/armancohan-long-summarization-paper-code/{zip_name}",
      f"https://s3.amazonaws.com/datasets.huggingface.co/scientific_papers/1.1.1/{zip_name}",
      f"https://drive.usercontent.google.com/download?id={drive_id}&export=download&confirm=t",
    ),
  )


# Split sizes as in the paper's release (TFDS and others count the same). Sizes, checksums
# and the ids of Google Drive: `checksums.tsv` of the dataset `scientific_papers` in
# tensorflow-datasets 4.9.10.
RELEASES = {
  "arxiv": _make_release(
    "arxiv",
    (203_037, 6_436, 6_440),
    3_624_420_843,
    "82ed30dd7c66a6497eeb3d7c3090c274e9e32c012438f8e0bb3cce3e6c1fcada",
    "1b3rmCSIoh6VhD4HKWjI4HOW-cSwcwbeC",
  ),
  "pubmed": _make_release(
    "pubmed",
    (119_924, 6_633, 6_658),
    880_225_504,
    "d424074726a5e29e20bf834055fe7efe90f8a37bce0a2b512e4ab7e487013c04",
    "1lvsqvsFi3W-pE1SqNZI0s8NR9rC1tsja",
  ),
}


# ------------------------------------------------------------------------ files


@dataclasses.dataclass(frozen=True)
class RawFile:
  """The papers of one split: a file, or a member of a zip.

  Attributes:
    path: of the file or of the zip.
    member: name inside the zip, or "".
  """

  path: str
  member: str = ""

  def __str__(self) -> str:
    return f"{self.path}:{self.member}" if self.member else self.path

  @contextlib.contextmanager
  def _open(self) -> Iterator[BinaryIO]:
    with contextlib.ExitStack() as stack:
      if self.member:
        archive = stack.enter_context(zipfile.ZipFile(self.path))
        yield stack.enter_context(archive.open(self.member))
      else:
        opener = gzip.open if self.path.endswith(".gz") else open
        yield stack.enter_context(opener(self.path, "rb"))

  def iterate_lines(self) -> Iterator[bytes]:
    """The lines that hold anything, one after the other.

    Raises:
      UserError: for a file that is missing, cut off or damaged, once that is noticed.
    """
    number = 0
    try:
      with self._open() as file:
        for line in file:
          number += 1
          if line.strip():
            yield line
    except (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile) as error:
      raise UserError(
        f"{self}: damaged or cut off after line {number} ({error}); get the file again"
      ) from error
    except OSError as error:
      raise UserError(
        f"{self}: cannot be read ({error.strerror or error}); check the file and its permissions"
      ) from error


def find_raw_files(path: str | os.PathLike, name: str) -> dict[str, RawFile] | None:
  """Looks for a release in a folder of the user's.

  In this order: `NAME-dataset/` or `NAME-release/` in the folder, the three files in
  the folder itself, `NAME-dataset.zip` or `NAME-release.zip` in the folder. The path of
  a zip is also taken. A zip of the release's size is not checked here; see `download.py`.

  Args:
    path: the folder or the zip.
    name: a key of `RELEASES`.

  Returns:
    The file of each split, or None if there is nothing of the release.

  Raises:
    UserError: if some of the three files are missing, or the zip is damaged.
  """
  path = os.path.expanduser(os.fspath(path))
  folders = RELEASES[name].folders
  if os.path.isfile(path):
    return _find_in_zip(path, folders)
  for folder in (*(os.path.join(path, f) for f in folders), path):
    found = {
      split: RawFile(os.path.join(folder, stem + ending))
      for split, stem in FILE_OF_SPLIT.items()
      for ending in reversed(_ENDINGS)  # the plain one is the last, so it wins
      if os.path.isfile(os.path.join(folder, stem + ending))
    }
    if found:
      _check_all_splits(found, folder)
      return {split: found[split] for split in FILE_OF_SPLIT}
  for folder in folders:
    if os.path.isfile(os.path.join(path, f"{folder}.zip")):
      return _find_in_zip(os.path.join(path, f"{folder}.zip"), folders)
  return None


def _find_in_zip(path: str, folders: tuple[str, ...]) -> dict[str, RawFile]:
  try:
    with zipfile.ZipFile(path) as archive:
      names = set(archive.namelist())
  except (OSError, zipfile.BadZipFile) as error:
    raise UserError(
      f"{path}: not a whole zip ({error}); it may be a partial download: get it again"
    ) from error
  for folder in (*(f"{f}/" for f in folders), ""):
    found = {
      split: RawFile(path, f"{folder}{stem}.txt")
      for split, stem in FILE_OF_SPLIT.items()
      if f"{folder}{stem}.txt" in names
    }
    if found:
      _check_all_splits(found, f"{path}:{folder}")
      return found
  raise UserError(f"{path}: no {folders[0]}/train.txt in it; is it the raw release?")


def _check_all_splits(found: dict[str, RawFile], where: str) -> None:
  missing = [f"{stem}.txt" for split, stem in FILE_OF_SPLIT.items() if split not in found]
  if missing:
    raise UserError(f"{where}: {' and '.join(missing)} missing; all three splits are needed")


# ----------------------------------------------------------------------- papers


@dataclasses.dataclass(frozen=True)
class RawPaper:
  """One line of the release. Sentences have single spaces; they may be empty.

  Attributes:
    id: of the article.
    abstract: sentences without their marks, none empty.
    article: sentences.
    section_names: as they stand, labels included.
    sections: sentences of each section.
  """

  id: str
  abstract: tuple[str, ...]
  article: tuple[str, ...]
  section_names: tuple[str, ...]
  sections: tuple[tuple[str, ...], ...]


def parse_paper(line: bytes) -> RawPaper:
  """Reads one line.

  Raises:
    ValueError: with a short reason, if the line is not of the release's form.
  """
  try:
    record = json.loads(line)
  except UnicodeDecodeError as error:
    raise ValueError(f"not UTF-8 ({error.reason} at byte {error.start})") from error
  except json.JSONDecodeError as error:
    raise ValueError(f"not JSON ({error.msg} at column {error.colno})") from error
  except RecursionError as error:
    raise ValueError("not usable JSON (nested too deeply)") from error
  if not isinstance(record, dict):
    raise ValueError(f"should be a JSON object, is a {type(record).__name__}")
  if _SUSPECT.search(line):
    record = _clean(record)
  paper_id = record.get("article_id")
  if not isinstance(paper_id, str) or not paper_id.strip():
    raise ValueError("'article_id' should be a non-empty string")
  marked = _get_strings(record.get("abstract_text"), "abstract_text")
  sections = record.get("sections")
  if not isinstance(sections, list):
    raise ValueError("'sections' should be a list of lists of strings")
  return RawPaper(
    id=paper_id.strip(),
    abstract=tuple(s for item in marked for s in _MARK.split(item) if s),
    article=_get_strings(record.get("article_text"), "article_text"),
    section_names=_get_strings(record.get("section_names"), "section_names"),
    sections=tuple(_get_strings(section, "sections") for section in sections),
  )


def _get_strings(value: Any, what: str) -> tuple[str, ...]:
  if not isinstance(value, list) or not all(isinstance(s, str) for s in value):
    raise ValueError(f"{what!r} should hold a list of strings")
  return tuple(" ".join(s.split()) for s in value)


def _clean(value: Any) -> Any:
  """Without NUL characters and lone surrogates, which no file of records can hold."""
  if isinstance(value, str):
    return value.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
  if isinstance(value, list):
    return [_clean(item) for item in value]
  if isinstance(value, dict):
    return {key: _clean(item) for key, item in value.items()}
  return value
