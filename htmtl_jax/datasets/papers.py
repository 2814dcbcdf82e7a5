"""The TFDS dataset `htmtl_papers`: documents with their sections, in ArrayRecord files.

    from htmtl_jax.datasets import papers       # also registers it with TFDS
    builder = tfds.builder("htmtl_papers/pubmed", data_dir=DIR)
    builder.download_and_prepare()
    builder.as_data_source("test")[0]["document"]

TFDS writes most datasets through a shuffler that holds up to 1,000 MiB of a split and
then needs TensorFlow for its temporary files; in the order of the source it would next sort
the whole split in memory. So the dataset is one of shards, each streamed to its file.

This is the only module that imports tensorflow_datasets, which here works without
TensorFlow.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
import contextlib
import dataclasses
import functools
import glob
import io
import os
import shutil
import sys
from typing import Any

from absl import logging

from htmtl_jax.datasets import download, examples, raw_release, report
from htmtl_jax.datasets.repair import TEXT_SOURCES
from htmtl_jax.documents import jsonl, sources
from htmtl_jax.documents.document import Document
from htmtl_jax.documents.sources import SPLITS
from htmtl_jax.errors import UserError
from htmtl_jax.file_lock import lock_file
from htmtl_jax.progress import Progress

try:
  import tensorflow_datasets as tfds
except ImportError as error:
  raise UserError(
    f"tensorflow-datasets cannot be imported ({error}); install it: "
    "pip install tensorflow-datasets array-record importlib_resources"
  ) from error

# TFDS keeps the examples of the shard that it writes, so this bounds its memory.
_SHARD_BYTES = 64 << 20
_READ_AHEAD = 32  # documents that are asked for at a time
_GZIP_RATIO = 4  # of text, roughly; sizes only decide the number of shards

_DESCRIPTION = (
  "Long documents as sections, paragraphs and sentences, with their abstracts. The field"
  " `document` is JSON; htmtl_jax.datasets.examples.decode_document reads it."
)
_CITATION = """@inproceedings{cohan-etal-2018-discourse,
  title = "A Discourse-Aware Attention Model for Abstractive Summarization of Long Documents",
  author = "Cohan, Arman and Dernoncourt, Franck and Kim, Doo Soon and Bui, Trung and Kim, Seokhwan and Chang, Walter and Goharian, Nazli",
  booktitle = "Proceedings of NAACL-HLT 2018, Volume 2 (Short Papers)",
  year = "2018",
}"""  # noqa: E501


@dataclasses.dataclass(eq=False, kw_only=True)
class PapersConfig(tfds.core.BuilderConfig):
  """One corpus.

  Attributes:
    release: "arxiv" or "pubmed"; "" for a user's own.
    text_source: for a release, what the text is; see `repair.py`.
    jsonl: a user's own corpus.
  """

  release: str = ""
  text_source: str = "intersect"
  jsonl: examples.JsonlSource | None = None


def release_config_name(release: str, text_source: str) -> str:
  """ "arxiv", or "arxiv_sections" where the text is not the usual one."""
  return release if text_source == TEXT_SOURCES[0] else f"{release}_{text_source}"


def _make_release_configs() -> list[PapersConfig]:
  return [
    PapersConfig(
      name=release_config_name(name, text_source),
      description=f"{name}, raw release of Cohan et al. (2018); text_source={text_source}",
      release=name,
      text_source=text_source,
    )
    for name in raw_release.RELEASES
    for text_source in TEXT_SOURCES
  ]


def make_jsonl_config(source: examples.JsonlSource) -> PapersConfig:
  """The config of a user's own corpus.

  Its name has a hash of the files and the split, since TFDS goes by the name alone to see
  whether a dataset is there already.

  Raises:
    UserError: if there is nothing at the path.
  """
  fingerprint = sources.compute_fingerprint(
    "jsonl",
    [sources.summarize_file(file) for file in _list_jsonl_files(source)],
    [source.split_seed, source.validation_share, source.test_share],
  )
  return PapersConfig(
    name=f"jsonl-{fingerprint}",
    description=f"a corpus of JSON lines, {os.path.basename(source.path.rstrip(os.sep))}",
    jsonl=source,
  )


def _list_jsonl_files(source: examples.JsonlSource) -> list[str]:
  return jsonl.list_files(source.path, source.exclude)


class HtmtlPapers(tfds.core.ShardBasedBuilder):
  """Long documents with sections, paragraphs and sentences. See `PapersConfig`."""

  # Goes up whenever the same source would give other examples.
  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {"1.0.0": "First version."}
  BUILDER_CONFIGS = _make_release_configs()
  MANUAL_DOWNLOAD_INSTRUCTIONS = """\
  Optional. The zip of the raw release (arxiv-dataset.zip or pubmed-dataset.zip, from
  https://github.com/armancohan/long-summarization) or the folder that it unpacks to.
  Without it, it is downloaded.
  """

  def __init__(self, *, file_format: Any = "array_record", **kwargs: Any):
    super().__init__(file_format=file_format, **kwargs)
    self._reports: dict[str, examples.SplitReport] = {}
    self._facts: dict[str, str] = {}

  def _info(self) -> tfds.core.DatasetInfo:
    text = tfds.features.Text
    is_release = bool(self.builder_config.release)
    return self.dataset_info_from_configs(
      description=_DESCRIPTION,
      features=tfds.features.FeaturesDict(
        {"id": text(), "title": text(), "abstract": text(), "document": text()}
      ),
      supervised_keys=("document", "abstract"),
      homepage="https://github.com/armancohan/long-summarization" if is_release else None,
      citation=_CITATION if is_release else None,
      disable_shuffling=True,  # the order of the source is kept
    )

  def _shard_iterators_per_split(self, dl_manager: tfds.download.DownloadManager):
    config: PapersConfig = self.builder_config
    self._facts = {
      "schema_version": str(examples.SCHEMA_VERSION),
      "source": config.description,
    }
    make_shards = self._release_shards if config.release else self._jsonl_shards
    self._reports = {split: examples.SplitReport() for split in SPLITS}
    return make_shards(config, dl_manager)

  def _release_shards(self, config: PapersConfig, dl_manager) -> Mapping[str, list[Callable]]:
    release = raw_release.RELEASES[config.release]
    shards = {}
    for split, file in _get_raw_files(release, dl_manager).items():
      _say(f"counting the papers of {file}")
      num_records = num_bytes = 0
      for line in file.iterate_lines():
        num_records += 1
        num_bytes += len(line)
      if not num_records:
        raise UserError(f"{file}: no papers in it; get the file again")
      expected = release.split_sizes[split]
      if num_records != expected:
        _say(f"{file}: {num_records:,} papers; the release has {expected:,}")
      self._facts[f"{split}_of_the_release"] = f"{num_records:,} of {expected:,} papers"
      documents = examples.stream_raw(file, split, config.text_source, self._reports[split])
      shards[split] = _make_shards(documents, split, num_records, num_bytes)
    return shards

  def _jsonl_shards(self, config: PapersConfig, dl_manager) -> Mapping[str, list[Callable]]:
    del dl_manager  # nothing is downloaded
    source = config.jsonl
    num_bytes = sum(
      os.path.getsize(file) * (_GZIP_RATIO if file.endswith(".gz") else 1)
      for file in _list_jsonl_files(source)
    )
    counts = source.count()
    return {
      split: _make_shards(
        source.stream(split, self._reports[split]),
        split,
        count,
        num_bytes * count // sum(counts.values()),
      )
      for split, count in counts.items()
    }

  def _download_and_prepare(self, dl_manager, download_config=None) -> None:
    # Inside TFDS's temporary folder, so that no dataset is ever without its report.
    super()._download_and_prepare(dl_manager, download_config)
    for split, counts in self._reports.items():
      if not counts.documents:
        raise UserError(f"no document of the {split} split could be used")
    report.write_reports(os.fspath(self.data_path), self.info.full_name, self._facts, self._reports)


def _get_raw_files(release: raw_release.Release, dl_manager) -> dict[str, raw_release.RawFile]:
  """The user's files if there are any, else the downloaded zip."""
  wanted = download.Wanted(release.urls, release.zip_bytes, release.zip_sha256)
  try:
    manual = os.fspath(dl_manager.manual_dir)
  except AssertionError:  # TFDS says so of a folder that is missing or empty
    manual = None
  files = raw_release.find_raw_files(manual, release.name) if manual else None
  if files is None:
    path = download.download(wanted, dl_manager.download_dir / release.zip_name)
    return raw_release.find_raw_files(path, release.name)
  file = files["train"]
  if file.member:
    num_bytes = os.path.getsize(file.path)
    if num_bytes != wanted.num_bytes:
      _say(f"{file.path}: {num_bytes:,} bytes, not the release's zip of {wanted.num_bytes:,}")
    elif not download.matches(wanted, file.path):
      raise UserError(f"{file.path}: damaged (its checksum is wrong); get the file again")
  return files


# ------------------------------------------------------------- making and reading


class PreparedPapers:
  """A dataset on disk.

  Attributes:
    folder: where it is.
  """

  def __init__(self, folder: str):
    """Opens it.

    Raises:
      UserError: if it is not there or not whole.
    """
    self.folder = folder
    with self._damage_is_told():
      self._builder = tfds.builder_from_directory(folder)
      for split in SPLITS:
        self.num_documents(split)

  def num_documents(self, split: str) -> int:
    return self._builder.info.splits[split].num_examples

  def list_files(self) -> list[str]:
    """The paths of the shards of all splits."""
    return [
      os.fspath(path) for split in SPLITS for path in self._builder.info.splits[split].filepaths
    ]

  def iterate(self, split: str) -> Iterator[Document]:
    """The documents of a split in the order of their source, read as they are asked for."""
    for _, text in self.iterate_examples(split):
      with self._damage_is_told():
        yield examples.decode_document(text)

  def iterate_examples(self, split: str) -> Iterator[tuple[str, str]]:
    """The same, not decoded yet: (id, text for `examples.decode_document`)."""
    with self._damage_is_told():
      source = self._builder.as_data_source(split)
      for start in range(0, len(source), _READ_AHEAD):
        for example in source.__getitems__(range(start, min(start + _READ_AHEAD, len(source)))):
          if example["document"] is None:  # what the reader gives where a file is cut off
            raise ValueError(f"a record of the {split} split is missing")
          yield example["id"].decode(), example["document"].decode()

  @contextlib.contextmanager
  def _damage_is_told(self):
    try:
      yield
    except (OSError, ValueError, KeyError, TypeError, IndexError, RuntimeError) as error:
      what = " ".join(str(error).split())
      raise UserError(
        f"the dataset in {self.folder} cannot be read ({what}): delete the folder and make it again"
      ) from error


def prepare(config: str | PapersConfig, data_dir: str = "", manual_dir: str = "") -> PreparedPapers:
  """Opens a dataset, making it first where it is not there yet.

  Args:
    config: the name of a config of `HtmtlPapers`, the name of any dataset that is there
      already, or a config of `make_jsonl_config`.
    data_dir: where datasets are; "" for TFDS's own choice, ~/tensorflow_datasets.
    manual_dir: a folder with the raw release; "" to download it.

  Raises:
    UserError: for an unknown name, a folder without the release, a failed download, data
      that cannot be used or written.
  """
  data_dir = os.path.expanduser(data_dir) or tfds.core.constants.DATA_DIR
  name = config if isinstance(config, str) else config.name
  folder = os.path.join(data_dir, HtmtlPapers.name, name, str(HtmtlPapers.VERSION))
  if name and os.path.isdir(folder):
    return PreparedPapers(folder)
  known = {c.name: c for c in HtmtlPapers.BUILDER_CONFIGS}
  if isinstance(config, str):
    if name not in known:
      raise UserError(
        f"no dataset {name!r} in {data_dir}; those that are made on demand: {', '.join(known)}"
      )
    config = known[name]
  download_config = tfds.download.DownloadConfig(try_download_gcs=False)
  if manual_dir:
    manual_dir = os.path.expanduser(manual_dir)
    if not os.path.isdir(manual_dir):
      raise UserError(f"{manual_dir}: no such folder; name the one that the raw release is in")
    if config.release and raw_release.find_raw_files(manual_dir, config.release) is None:
      raise UserError(
        f"{manual_dir}: no {config.release}-dataset.zip, {config.release}-dataset/ or train.txt in"
        " it; put the raw release there, or leave the folder out to download it"
      )
    download_config = download_config.replace(manual_dir=manual_dir)
  try:
    common = os.path.dirname(os.path.dirname(folder))
    os.makedirs(common, exist_ok=True)
    lock = os.path.join(common, f"{name}.lock")
    with lock_file(lock, lambda: _say(f"waiting for another run that makes {folder}")):
      _build(config, data_dir, folder, download_config)
  except OSError as error:
    raise UserError(
      f"{folder} cannot be written ({error.strerror or error}): free the space or choose another"
      " folder"
    ) from error
  return PreparedPapers(folder)


def _build(config: PapersConfig, data_dir: str, folder: str, download_config) -> None:
  """Makes the dataset unless another run has made it meanwhile."""
  for left in glob.glob(os.path.join(glob.escape(os.path.dirname(folder)), "incomplete.*")):
    shutil.rmtree(left, ignore_errors=True)  # of a run that was killed; the lock is ours
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)  # it warns of every config made at run time
  try:
    builder = HtmtlPapers(config=config, data_dir=data_dir)
  finally:
    logging.set_verbosity(verbosity)
  with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints that it has begun and ended
    builder.download_and_prepare(download_config=download_config)


# ----------------------------------------------------------------------- shards


def _make_shards(
  documents: Iterable[Document | None], split: str, num_records: int, num_bytes: int
) -> list[Callable[[], Iterator[tuple[int, dict[str, str]]]]]:
  """Cuts a stream of documents into shards, to be called one after the other.

  Args:
    documents: one for each record, None for one that is left out.
    split: for the progress.
    num_records: how many there will be; the last shard takes more, or fewer.
    num_bytes: size of all, roughly.
  """
  num_shards = min(num_records, -(-num_bytes // _SHARD_BYTES) or 1)
  stream = _encode_all(documents, split, num_records)
  ends = [num_records * (i + 1) // num_shards for i in range(num_shards - 1)]
  return [functools.partial(_take, stream, end) for end in (*ends, None)]


def _take(stream: Iterator, end: int | None) -> Iterator[tuple[int, dict[str, str]]]:
  """The examples of a stream up to the record before number `end`, or to the end."""
  for number, example in stream:
    if example is not None:
      yield number, example
    if number + 1 == end:
      return


def _encode_all(documents, split: str, num_records: int) -> Iterator[tuple[int, dict | None]]:
  with Progress(num_records, f"writing {split}", unit="document") as progress:
    for number, document in enumerate(documents):
      yield number, None if document is None else examples.encode_example(document)
      progress.update(1)


def _say(text: str) -> None:
  print(text, file=sys.stderr, flush=True)
