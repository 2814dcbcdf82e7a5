"""Many `TokenizedDocument`s on disk: flat arrays end to end, mapped when read.

A directory holds one `.npy` file a field, the documents' values one after the
other, and `index.npz` with where each document begins. Writing streams, reading
maps: neither needs the corpus in memory, and opening a split takes no time. It
needs NumPy only.
"""

from collections.abc import Iterator, Sequence
import os

import numpy as np

from htmtl_jax.data.tokenized import TokenizedDocument
from htmtl_jax.levels import LEVELS

_PLAIN_FIELDS = {
  "sentence_lengths": np.int32,
  "sentence_paragraph": np.int32,
  "paragraph_section": np.int32,
  "is_heading": np.bool_,
}
# Absent for a document where the field is None, which is stored as no values.
_OPTIONAL_FIELDS = {"planted": np.bool_, "importance_labels": np.float32}
_SCALARS = ("num_pieces", "num_truncated")
_INDEX = "index.npz"


class ArrayStoreWriter:
  """Writes documents one at a time; a context manager. Not atomic: see `prepared.py`."""

  def __init__(self, directory: str, vocab_size: int):
    """Args:
    directory: made if missing; files in it are overwritten.
    vocab_size: every id is below it; decides how many bytes an id takes.
    """
    os.makedirs(directory, exist_ok=True)
    self._directory = directory
    id_dtype = np.uint16 if vocab_size <= 1 << 16 else np.int32
    dtypes = {"token_ids": id_dtype, **_PLAIN_FIELDS, **_OPTIONAL_FIELDS}
    for level in LEVELS:
      dtypes[f"target_ids_{level}"] = id_dtype
      dtypes[f"target_units_{level}"] = np.int32
    self._files = {
      name: _FlatFile(os.path.join(directory, f"{name}.npy"), np.dtype(dtype))
      for name, dtype in dtypes.items()
    }
    self._ends = {name: [] for name in dtypes}
    self._scalars = {name: [] for name in _SCALARS}
    self._ids = []

  def append(self, document: TokenizedDocument) -> None:
    values = {"token_ids": document.token_ids}
    for name in _PLAIN_FIELDS:
      values[name] = getattr(document, name)
    for name in _OPTIONAL_FIELDS:
      value = getattr(document, name)
      values[name] = np.empty(0, _OPTIONAL_FIELDS[name]) if value is None else value
    for level, ids, units in zip(LEVELS, document.target_ids, document.target_units, strict=True):
      values[f"target_ids_{level}"] = ids
      values[f"target_units_{level}"] = units
    for name, value in values.items():
      self._ends[name].append(self._files[name].append(value))
    for name in _SCALARS:
      self._scalars[name].append(getattr(document, name))
    self._ids.append(document.id)

  def close(self) -> None:
    """Completes the files; without it they cannot be read."""
    for file in self._files.values():
      file.close()
    arrays = {f"{name}_end": np.array(ends, np.int64) for name, ends in self._ends.items()}
    arrays |= {name: np.array(values, np.int64) for name, values in self._scalars.items()}
    # The ids as one block of UTF-8: an array of fixed-width strings wastes memory.
    encoded = [i.encode("utf-8", "surrogatepass") for i in self._ids]
    arrays["ids"] = np.frombuffer(b"".join(encoded), np.uint8)
    arrays["ids_end"] = np.cumsum([len(i) for i in encoded], dtype=np.int64)
    np.savez(os.path.join(self._directory, _INDEX), **arrays)

  def __enter__(self) -> "ArrayStoreWriter":
    return self

  def __exit__(self, exc_type, *unused) -> None:
    if exc_type is None:
      self.close()
    else:
      for file in self._files.values():
        file.abandon()


class ArrayStore(Sequence[TokenizedDocument]):
  """The documents of a directory that `ArrayStoreWriter` wrote, read when asked for.

  Attributes:
    num_tokens: [documents] int64, source tokens of each document.
    num_sentences: [documents] int64.
  """

  def __init__(self, directory: str):
    """Raises OSError, KeyError or ValueError if the files are missing or broken."""
    with np.load(os.path.join(directory, _INDEX)) as index:
      index = dict(index)
    ends = {name[: -len("_end")]: index[name] for name in index if name.endswith("_end")}
    self._starts = {name: np.concatenate([[0], end]) for name, end in ends.items()}
    self._scalars = {name: index[name] for name in _SCALARS}
    self._flat = {"ids": index["ids"]}
    for name in ends:
      if name != "ids":
        self._flat[name] = _map_file(os.path.join(directory, f"{name}.npy"))
      if len(self._flat[name]) != self._starts[name][-1]:
        raise ValueError(f"{directory}: {name} has not the length that {_INDEX} says")
    self.num_tokens = np.diff(self._starts["token_ids"])
    self.num_sentences = np.diff(self._starts["sentence_lengths"])

  def __len__(self) -> int:
    return len(self.num_tokens)

  def __getitem__(self, index):
    """A document, its arrays copied into memory; a slice gives a list of them."""
    if isinstance(index, slice):
      return [self[i] for i in range(*index.indices(len(self)))]
    i = int(index)
    i += len(self) if i < 0 else 0
    if not 0 <= i < len(self):
      raise IndexError(f"document {index} of {len(self)}")
    optional = {name: self._read(name, i) for name in _OPTIONAL_FIELDS}
    return TokenizedDocument(
      id=self._read("ids", i).tobytes().decode("utf-8", "surrogatepass"),
      token_ids=self._read("token_ids", i).astype(np.int32),
      **{name: self._read(name, i) for name in _PLAIN_FIELDS},
      target_ids=tuple(self._read(f"target_ids_{level}", i).astype(np.int32) for level in LEVELS),
      target_units=tuple(self._read(f"target_units_{level}", i) for level in LEVELS),
      **{name: value if len(value) else None for name, value in optional.items()},
      **{name: int(self._scalars[name][i]) for name in _SCALARS},
    )

  def __iter__(self) -> Iterator[TokenizedDocument]:
    return (self[i] for i in range(len(self)))

  def _read(self, name: str, i: int) -> np.ndarray:
    starts = self._starts[name]
    return np.array(self._flat[name][starts[i] : starts[i + 1]])


class _FlatFile:
  """A one-dimensional .npy file that grows. Its header is written again at the end."""

  def __init__(self, path: str, dtype: np.dtype):
    self._dtype = dtype
    self._count = 0
    self._file = open(path, "wb")
    self._write_header()
    self._data_start = self._file.tell()

  def append(self, values: np.ndarray) -> int:
    """Adds `values` ([n], converted without wrapping round); returns the new length."""
    values = np.asarray(values)
    converted = values.astype(self._dtype)
    if not np.array_equal(values, converted):
      raise ValueError(f"values do not fit {self._dtype} in {self._file.name}")
    self._file.write(converted.tobytes())
    self._count += len(converted)
    return self._count

  def close(self) -> None:
    self._file.seek(0)
    self._write_header()
    if self._file.tell() != self._data_start:  # NumPy leaves room for 21 digits
      raise RuntimeError(f"the header of {self._file.name} has grown")
    self._file.close()

  def abandon(self) -> None:
    self._file.close()

  def _write_header(self) -> None:
    np.lib.format.write_array_header_1_0(
      self._file,
      {
        "descr": np.lib.format.dtype_to_descr(self._dtype),
        "fortran_order": False,
        "shape": (self._count,),
      },
    )


def _map_file(path: str) -> np.ndarray:
  array = np.load(path, mmap_mode="r", allow_pickle=False)
  return array.view(np.ndarray)  # the memmap subclass makes every slice slower
