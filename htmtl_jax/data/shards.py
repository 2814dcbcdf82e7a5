"""A split on disk: ArrayRecord shards of tokenized documents, and an index of their sizes.

    SPLIT/shard-00000.array_record     one `record_format.to_bytes` a document
    SPLIT/shard-00000.jsonl.gz         the documents' text, where it is kept
    SPLIT/shard-00000.json             written last: the shard is whole
    SPLIT/index.npz                    `COLUMNS` of every document, in order

ArrayRecord gives random access without reading a shard as a whole, so a split need not
fit in memory, and opening one costs nothing. Reading needs array_record, msgpack and
NumPy only.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import gzip
import json
import os

from array_record.python import array_record_module
from array_record.python.array_record_data_source import ArrayRecordDataSource
import numpy as np

from htmtl_jax.data import record_format
from htmtl_jax.data.tokenized import TokenizedDocument
from htmtl_jax.documents.document import Document
from htmtl_jax.documents.serialise import document_from_json, document_to_json
from htmtl_jax.layout import Geometry
from htmtl_jax.levels import LEVELS

INDEX_FILE = "index.npz"
# group_size 1: every record can be read alone, which shuffled access needs.
_WRITER_OPTIONS = "group_size:1,zstd:3"
# What the index knows of each document, one int32 a name; shapes behind the names.
COLUMNS = {
  "tokens": (),  # kept, of the source
  "truncated_tokens": (),  # cut off the source
  "sentences": (),  # kept, headings included
  "paragraphs": (),
  "sections": (),
  "words": (),  # of the whole body, headings not counted
  "target_tokens": (len(LEVELS),),  # kept
  "cut_target_tokens": (),  # cut off the references, all levels
  "reference_kind": (len(LEVELS),),  # 0 none, 1 silver, 2 gold
  "reference_words": (len(LEVELS),),  # of the whole reference
  "fillers": (len(LEVELS),),  # pieces that are fillers
  "needs": (5,),  # `placement.measure_document` under the preparation's geometry
}


def shard_path(directory: str, number: int, suffix: str) -> str:
  return os.path.join(directory, f"shard-{number:05d}{suffix}")


def is_whole(directory: str, number: int) -> bool:
  """Whether a shard was written to its end."""
  return os.path.exists(shard_path(directory, number, ".json"))


def write_shard(
  directory: str,
  number: int,
  documents: Sequence[TokenizedDocument],
  columns: dict[str, np.ndarray],
  texts: Sequence[Document] | None,
  report: dict,
) -> None:
  """Writes one shard; the same arguments give the same bytes. Killed, it leaves none.

  Args:
    directory: of the split; exists.
    number: of the shard.
    documents: what it holds.
    columns: its rows of the index.
    texts: the documents themselves, or None if the text is not kept.
    report: more about it, as JSON.
  """
  path = shard_path(directory, number, ".array_record")
  writer = array_record_module.ArrayRecordWriter(path, _WRITER_OPTIONS)
  for document in documents:
    writer.write(record_format.to_bytes(document))
  writer.close()
  if texts is not None:
    # No name and no time in the header, so that equal content is an equal file.
    with (
      open(shard_path(directory, number, ".jsonl.gz"), "wb") as raw,
      gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as text,
    ):
      for document in texts:
        text.write(document_to_json(document).encode("ascii") + b"\n")
  record = {
    "documents": len(documents),
    "columns": {name: values.tolist() for name, values in columns.items()},
    **report,
  }
  path = shard_path(directory, number, ".json")
  with open(f"{path}.partial", "w", encoding="utf-8") as f:
    json.dump(record, f)
    f.flush()
    os.fsync(f.fileno())
  os.replace(f"{path}.partial", path)


def write_index(directory: str, num_shards: int, geometry: Geometry) -> list[dict]:
  """Joins the shards' columns into the split's index; returns what each shard reported."""
  reports = []
  for number in range(num_shards):
    with open(shard_path(directory, number, ".json"), encoding="utf-8") as f:
      reports.append(json.load(f))
  arrays = {}
  for name, shape in COLUMNS.items():
    rows = [np.array(r["columns"][name], np.int32).reshape(-1, *shape) for r in reports]
    arrays[name] = np.concatenate([np.zeros((0, *shape), np.int32), *rows])
  arrays["geometry"] = np.array(dataclasses.astuple(geometry), np.int32)
  arrays["shard_documents"] = np.array([r["documents"] for r in reports], np.int32)
  np.savez(os.path.join(directory, INDEX_FILE), **arrays)
  return reports


class ShardedSplit(Sequence[TokenizedDocument]):
  """The documents of a split, read when asked for. Picklable, so workers can have it.

  Attributes:
    directory: where the shards are.
    index: by column name, [documents, ...] int32; see `COLUMNS`.
    geometry: of the rows that the column "needs" was measured for.
  """

  def __init__(self, directory: str):
    """Raises OSError, KeyError or ValueError if the files are missing or broken."""
    self.directory = directory
    with np.load(os.path.join(directory, INDEX_FILE)) as index:
      arrays = dict(index)
    self._shard_documents = arrays.pop("shard_documents")
    self.geometry = Geometry(*arrays.pop("geometry").tolist())
    self.index = {name: arrays[name] for name in COLUMNS}
    paths = [shard_path(directory, i, ".array_record") for i in range(len(self._shard_documents))]
    self._source = ArrayRecordDataSource(paths) if paths else ()
    if len(self._source) != len(self.index["tokens"]):
      raise ValueError(
        f"{directory} has {len(self._source)} records, {INDEX_FILE} {len(self.index['tokens'])}"
      )

  @property
  def num_tokens(self) -> np.ndarray:
    """[documents] int32."""
    return self.index["tokens"]

  def __len__(self) -> int:
    return len(self.index["tokens"])

  def __getitem__(self, index):
    """A document; a slice gives a list of them."""
    if isinstance(index, slice):
      return [self[i] for i in range(*index.indices(len(self)))]
    i = int(index)
    i += len(self) if i < 0 else 0
    if not 0 <= i < len(self):
      raise IndexError(f"document {index} of {len(self)}")
    return record_format.from_bytes(self._source[i])

  def __iter__(self) -> Iterator[TokenizedDocument]:
    return (self[i] for i in range(len(self)))

  def texts(self) -> Iterator[Document]:
    """The documents themselves, where the text was kept.

    Raises:
      OSError, ValueError, KeyError or TypeError: if a file is missing or broken.
    """
    for number in range(len(self._shard_documents)):
      with gzip.open(shard_path(self.directory, number, ".jsonl.gz"), "rt", encoding="ascii") as f:
        for line in f:
          yield document_from_json(line)
