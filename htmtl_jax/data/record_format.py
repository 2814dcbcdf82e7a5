"""A `TokenizedDocument` as bytes and back, losing nothing: what a shard's records hold."""

import msgpack
import numpy as np

from htmtl_jax.data.tokenized import TokenizedDocument

# Narrow where the values allow it: half the bytes to read.
_DTYPES = {
  "sentence_lengths": "<i4",
  "sentence_paragraph": "<i4",
  "paragraph_section": "<i4",
  "is_heading": "|b1",
  "planted": "|b1",
  "importance_labels": "<f4",
}
_PLAIN = ("sentence_lengths", "sentence_paragraph", "paragraph_section", "is_heading")
_OPTIONAL = ("planted", "importance_labels")
_NUMBERS = ("num_pieces", "num_truncated", "num_cut_target_tokens")


def to_bytes(document: TokenizedDocument) -> bytes:
  """MessagePack of the fields, arrays as their little-endian bytes."""
  ids = [document.token_ids, *document.target_ids]
  wide = any(len(array) and array.max() >= 1 << 16 for array in ids)
  id_type = "<i4" if wide else "<u2"
  pack = lambda array, dtype: np.ascontiguousarray(array, np.dtype(dtype)).tobytes()
  record = {
    "id": document.id.encode("utf-8", "surrogatepass"),
    "id_type": id_type,
    "token_ids": pack(document.token_ids, id_type),
    "target_ids": [pack(array, id_type) for array in document.target_ids],
    "target_units": [pack(array, "<i4") for array in document.target_units],
  }
  for name in _PLAIN:
    record[name] = pack(getattr(document, name), _DTYPES[name])
  for name in _OPTIONAL:
    value = getattr(document, name)
    record[name] = None if value is None else pack(value, _DTYPES[name])
  for name in _NUMBERS:
    record[name] = int(getattr(document, name))
  return msgpack.packb(record)


def from_bytes(data: bytes) -> TokenizedDocument:
  """The document that `to_bytes` wrote.

  Raises:
    ValueError or KeyError: if the bytes are not of that form.
  """
  record = msgpack.unpackb(data)
  id_type = record["id_type"]
  ids = lambda raw: np.frombuffer(raw, id_type).astype(np.int32)
  plain = lambda name: np.frombuffer(record[name], _DTYPES[name])
  return TokenizedDocument(
    id=record["id"].decode("utf-8", "surrogatepass"),
    token_ids=ids(record["token_ids"]),
    target_ids=tuple(ids(raw) for raw in record["target_ids"]),
    target_units=tuple(np.frombuffer(raw, "<i4") for raw in record["target_units"]),
    **{name: plain(name) for name in _PLAIN},
    **{name: None if record[name] is None else plain(name) for name in _OPTIONAL},
    **{name: record[name] for name in _NUMBERS},
  )
