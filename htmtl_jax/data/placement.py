"""Where a document's segments go: which rows they fill, and which bucket holds it.

Rows are filled first-fit decreasing, the classical bin-packing heuristic (Johnson
1974), layer by layer. A parent with more children than a row holds is split into
pieces first, so that every child lies in one row with its siblings. No arrays of a
batch are made here: that is `packing.py`'s business.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np

from htmtl_jax.data.tokenized import TokenizedDocument
from htmtl_jax.layout import Bucket, Geometry


@dataclasses.dataclass(frozen=True)
class Pieces:
  """The document as a tree in which every child fits a row of its parent's layer."""

  lengths: np.ndarray  # [sentence pieces] tokens
  sentence: np.ndarray  # [sentence pieces] original sentence
  sentence_parent: np.ndarray  # [sentence pieces] paragraph piece
  paragraph: np.ndarray  # [paragraph pieces] original paragraph
  paragraph_parent: np.ndarray  # [paragraph pieces] section piece
  section: np.ndarray  # [section pieces] original section


@dataclasses.dataclass(frozen=True)
class Placement:
  """Where each parent's children lie: [parents] row, offset in the row, slot."""

  row: np.ndarray
  offset: np.ndarray
  slot: np.ndarray
  num_rows: int


def fits(document: TokenizedDocument, bucket: Bucket) -> bool:
  """Whether the whole document and its targets fit the bucket."""
  if sum(map(len, document.target_ids)) > bucket.target_tokens:
    return False
  return _try_place(document, bucket, len(document.sentence_lengths)) is not None


def measure_document(document: TokenizedDocument, geometry: Geometry) -> np.ndarray:
  """What the document needs of a bucket whose rows have this geometry.

  First-fit never opens a row while an earlier one has room, so it fits a bucket exactly
  if the rows that it opens without a limit are no more than the bucket's.

  Args:
    document: any length.
    geometry: `Bucket.geometry`.

  Returns:
    [5] int32: token rows, sentence rows, paragraph rows, section slots, target tokens;
    compare with `bucket_capacity`.
  """
  pieces = _make_pieces(document, geometry, len(document.sentence_lengths))
  rows = [
    first_fit_decreasing(lengths, width, slots, max(len(lengths), 1)).num_rows
    for lengths, width, slots in _layers(pieces, geometry)
  ]
  num_target_tokens = sum(map(len, document.target_ids))
  return np.array([*reversed(rows), len(pieces.section), num_target_tokens], np.int32)


def bucket_capacity(bucket: Bucket) -> np.ndarray:
  """What a bucket has of what `measure_document` returns, [5] int32."""
  return np.array(
    [
      bucket.token_rows,
      bucket.sentence_rows,
      bucket.paragraph_rows,
      bucket.sections,
      bucket.target_tokens,
    ],
    np.int32,
  )


def choose_buckets(needs: np.ndarray, buckets: Sequence[Bucket]) -> tuple[np.ndarray, np.ndarray]:
  """The smallest bucket that each document fits, the largest where none does.

  Args:
    needs: [documents, 5] of `measure_document`.
    buckets: from small to large, of one geometry.

  Returns:
    (bucket_of [documents] int32, fits [documents] bool).
  """
  fits_in = np.stack([(needs <= bucket_capacity(b)).all(axis=-1) for b in buckets], axis=-1)
  fits_any = fits_in.any(axis=-1)
  bucket_of = np.where(fits_any, fits_in.argmax(axis=-1), len(buckets) - 1)
  return bucket_of.astype(np.int32), fits_any


def _split_lengths(lengths: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
  """Splits parents longer than `width` into equal-as-possible pieces.

  Args:
    lengths: [n] children of each parent.
    width: children a row holds.

  Returns:
    (piece_lengths, parent): [pieces] children of each piece, and whose piece it is.
  """
  counts = -(-lengths // width)
  parent = np.repeat(np.arange(len(lengths)), counts)
  rank = np.arange(len(parent)) - np.repeat(np.cumsum(counts) - counts, counts)
  base, extra = np.divmod(lengths[parent], counts[parent])
  return (base + (rank < extra)).astype(np.int64), parent


def _make_pieces(
  document: TokenizedDocument, geometry: Bucket | Geometry, num_sentences: int
) -> Pieces:
  lengths, sentence = _split_lengths(
    document.sentence_lengths[:num_sentences].astype(np.int64), geometry.row_tokens
  )
  paragraph_of_piece = document.sentence_paragraph[sentence]
  sizes, paragraph = (
    _split_lengths(np.bincount(paragraph_of_piece), geometry.row_sentences)
    if len(sentence)
    else (np.zeros(0, np.int64), np.zeros(0, np.int64))
  )
  sentence_parent = np.repeat(np.arange(len(sizes)), sizes)
  section_of_piece = document.paragraph_section[paragraph]
  sizes, section = (
    _split_lengths(np.bincount(section_of_piece), geometry.row_paragraphs)
    if len(paragraph)
    else (np.zeros(0, np.int64), np.zeros(0, np.int64))
  )
  paragraph_parent = np.repeat(np.arange(len(sizes)), sizes)
  return Pieces(lengths, sentence, sentence_parent, paragraph, paragraph_parent, section)


def first_fit_decreasing(
  lengths: np.ndarray, width: int, slots: int, max_rows: int
) -> Placement | None:
  """Places items into rows of `width` with at most `slots` items each; None if they overflow."""
  free: list[int] = []  # of each row opened so far; a row without a free slot has none
  used: list[int] = []
  row, offset, slot = (np.zeros(len(lengths), np.int64) for _ in range(3))
  sizes = lengths.tolist()
  first, smallest = 0, min(sizes, default=0)  # rows before `first` have no room for anything
  for i in np.argsort(-lengths, kind="stable").tolist():
    size = sizes[i]
    for r in range(first, len(free)):
      if free[r] >= size:
        break
    else:
      r = len(free)
      if r == max_rows:
        return None
      free.append(width)
      used.append(0)
    row[i], offset[i], slot[i] = r, width - free[r], used[r]
    used[r] += 1
    free[r] -= size
    if used[r] == slots:
      free[r] = -1
    while first < len(free) and free[first] < smallest:
      first += 1
  return Placement(row, offset, slot, len(free))


def _layers(pieces: Pieces, geometry: Bucket | Geometry):
  """From the top down: (children of each parent, children a row holds, parents a row holds)."""
  return (
    (
      np.bincount(pieces.paragraph_parent),
      geometry.row_paragraphs,
      geometry.row_section_slots,
    ),
    (
      np.bincount(pieces.sentence_parent),
      geometry.row_sentences,
      geometry.row_paragraph_slots,
    ),
    (pieces.lengths, geometry.row_tokens, geometry.row_sentence_slots),
  )


def _try_place(document, bucket, num_sentences):
  """Places the first `num_sentences` sentences: (pieces, placements), or None."""
  # Cheap necessary conditions first: most misfits are found here.
  if (
    document.sentence_lengths[:num_sentences].sum() > bucket.tokens
    or num_sentences > bucket.sentences
  ):
    return None
  pieces = _make_pieces(document, bucket, num_sentences)
  if len(pieces.section) > bucket.sections or len(pieces.paragraph) > bucket.paragraphs:
    return None
  max_rows = (bucket.paragraph_rows, bucket.sentence_rows, bucket.token_rows)
  placements = []
  for (lengths, width, slots), rows in zip(_layers(pieces, bucket), max_rows):
    placement = first_fit_decreasing(lengths, width, slots, rows)
    if placement is None:
      return None
    placements.append(placement)
  return pieces, tuple(reversed(placements))


def place_what_fits(
  document: TokenizedDocument, bucket: Bucket
) -> tuple[Pieces, tuple[Placement, Placement, Placement], int]:
  """Places as many leading sentences as fit.

  Returns:
    (pieces, placements of the sentences, paragraphs and sections in the rows of the
    layer below them, num_sentences that are placed).
  """
  num_sentences = len(document.sentence_lengths)
  placed = _try_place(document, bucket, num_sentences)
  if placed is None:
    low, high = 0, num_sentences  # `low` sentences fit, `high` do not
    while high - low > 1:
      middle = (low + high) // 2
      if _try_place(document, bucket, middle) is None:
        high = middle
      else:
        low = middle
    num_sentences = low
    placed = _try_place(document, bucket, num_sentences)
  return (*placed, num_sentences)
