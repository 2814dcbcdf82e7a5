"""From one tokenized document to the packed arrays of `htmtl_jax.layout`.

The only place where documents become arrays. Nothing is lost on the way short of
the configured maximum: a sentence longer than a row is split into pieces, a
paragraph with more sentences than a row into pieces, a section likewise, and
`PieceIndex` remembers which original segment each piece belongs to.

Rows are filled first-fit decreasing, the classical bin-packing heuristic (Johnson
1974); ids keep the reading order, so where a sentence lies in memory says nothing
to the model.
"""

from collections.abc import Sequence
import dataclasses

import jax
import numpy as np

from htmtl_jax.data.tokenized import TokenizedDocument
from htmtl_jax.data.tokenizer import BOS_ID, PIECE_MARKERS
from htmtl_jax.layout import Batch, Bucket, Geometry, Rows, Targets
from htmtl_jax.levels import SECTION


@dataclasses.dataclass(frozen=True)
class PieceIndex:
  """Which segment of the document each slot of the arrays holds, -1 at padding.

  Attributes:
    sentence: [S] int32 index of the sentence in reading order, headings included.
    paragraph: [P] int32 index of the paragraph in reading order.
    section: [C] int32 index of the section.
  """

  sentence: np.ndarray
  paragraph: np.ndarray
  section: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Pieces:
  """The document as a tree in which every child fits a row of its parent's layer."""

  lengths: np.ndarray  # [sentence pieces] tokens
  sentence: np.ndarray  # [sentence pieces] original sentence
  sentence_parent: np.ndarray  # [sentence pieces] paragraph piece
  paragraph: np.ndarray  # [paragraph pieces] original paragraph
  paragraph_parent: np.ndarray  # [paragraph pieces] section piece
  section: np.ndarray  # [section pieces] original section


@dataclasses.dataclass(frozen=True)
class _Placement:
  """Where each parent's children lie: [parents] row, offset in the row, slot."""

  row: np.ndarray
  offset: np.ndarray
  slot: np.ndarray
  num_rows: int


def pack_document(document: TokenizedDocument, bucket: Bucket) -> tuple[Batch, PieceIndex, int]:
  """Packs one document into a bucket.

  Args:
    document: any length; `fits(document, bucket)` tells whether all of it fits.
    bucket: the sizes.

  Returns:
    (arrays, index, num_dropped): a `Batch` of NumPy arrays without the leading B,
    the map back to the document, and how many source tokens had to be dropped from
    the end (0 whenever the document fits). Targets that do not fit are cut too.
  """
  pieces, placements, num_sentences = _place_what_fits(document, bucket)
  num_dropped = int(document.sentence_lengths[num_sentences:].sum())
  token_place, sentence_place, paragraph_place = placements

  num_tokens = int(pieces.lengths.sum())
  starts = np.cumsum(pieces.lengths) - pieces.lengths
  offset_in_sentence = np.arange(num_tokens) - np.repeat(starts, pieces.lengths)
  token_destination = (
    np.repeat(token_place.row * bucket.row_tokens + token_place.offset, pieces.lengths)
    + offset_in_sentence
  )
  token_ids = np.zeros(bucket.tokens, np.int32)
  token_ids[token_destination] = document.token_ids[:num_tokens]

  # Flat slot of every segment in its own layer: where the layer below points to.
  sentence_slot = _child_destination(pieces.sentence_parent, sentence_place, bucket.row_sentences)
  paragraph_slot = _child_destination(
    pieces.paragraph_parent, paragraph_place, bucket.row_paragraphs
  )
  section_slot = np.arange(len(pieces.section))

  tokens = _make_rows(
    token_destination,
    np.repeat(token_place.slot, pieces.lengths),
    offset_in_sentence,
    token_place,
    sentence_slot,
    bucket.token_rows,
    bucket.row_tokens,
    bucket.row_sentence_slots,
    bucket.sentences,
  )
  sentences = _make_rows(
    sentence_slot,
    sentence_place.slot[pieces.sentence_parent],
    _rank_among_siblings(pieces.sentence_parent),
    sentence_place,
    paragraph_slot,
    bucket.sentence_rows,
    bucket.row_sentences,
    bucket.row_paragraph_slots,
    bucket.paragraphs,
  )
  paragraphs = _make_rows(
    paragraph_slot,
    paragraph_place.slot[pieces.paragraph_parent],
    _rank_among_siblings(pieces.paragraph_parent),
    paragraph_place,
    section_slot,
    bucket.paragraph_rows,
    bucket.row_paragraphs,
    bucket.row_section_slots,
    bucket.sections,
  )

  is_heading = np.zeros(bucket.sentences, bool)
  is_heading[sentence_slot] = document.is_heading[pieces.sentence]
  labels = np.zeros(bucket.sentences, np.float32)
  if document.importance_labels is not None and len(pieces.sentence):
    # A sentence in pieces shares its label among them by their tokens.
    share = pieces.lengths / document.sentence_lengths[pieces.sentence]
    kept = document.importance_labels[pieces.sentence] * share
    labels[sentence_slot] = kept / max(float(kept.sum()), 1e-9)

  index = PieceIndex(
    sentence=_scatter(pieces.sentence, sentence_slot, bucket.sentences),
    paragraph=_scatter(pieces.paragraph, paragraph_slot, bucket.paragraphs),
    section=_scatter(pieces.section, section_slot, bucket.sections),
  )
  arrays = Batch(
    token_ids=token_ids.reshape(bucket.token_rows, bucket.row_tokens),
    tokens=tokens,
    sentences=sentences,
    paragraphs=paragraphs,
    is_heading=is_heading,
    targets=pack_targets(document.target_ids, document.target_units, bucket),
    importance_labels=labels,
    document_mask=np.ones((), bool),
  )
  return arrays, index, num_dropped


def pack_targets(
  target_ids: Sequence[np.ndarray], target_units: Sequence[np.ndarray], bucket: Bucket
) -> Targets:
  """Lays the three summaries one after the other in T slots.

  Args:
    target_ids: per level, [T_l] int32.
    target_units: per level, [T_l] int32 from 0; units beyond what the bucket can
      tell apart share the last one.
    bucket: gives T and the units; what does not fit in T is cut.

  Returns:
    `Targets` of NumPy arrays without the leading B.
  """
  ids, inputs, levels, positions, units, pieces = [], [], [], [], [], []
  for level, (level_ids, level_units) in enumerate(zip(target_ids, target_units)):
    level_ids = np.asarray(level_ids, np.int32)
    ids.append(level_ids)
    inputs.append(np.concatenate([[BOS_ID], level_ids])[: len(level_ids)])
    pieces.append(piece_of_input(inputs[-1], level))
    levels.append(np.full(len(level_ids), level))
    positions.append(np.arange(len(level_ids)))
    units.append(
      np.minimum(np.asarray(level_units), bucket.num_units(level) - 1) + bucket.first_unit(level)
    )

  def row(parts, fill):
    flat = np.concatenate(parts)[: bucket.target_tokens]
    return np.concatenate([flat, np.full(bucket.target_tokens - len(flat), fill)]).astype(np.int32)

  return Targets(
    ids=row(ids, 0),
    input_ids=row(inputs, 0),
    level=row(levels, -1),
    position=row(positions, 0),
    unit=row(units, -1),
    piece=row(pieces, 0),
  )


def piece_of_input(input_ids: np.ndarray, level: int) -> np.ndarray:
  """`Targets.piece` of one summary's inputs: [T] int32 to [T] int32."""
  markers = np.cumsum(input_ids == PIECE_MARKERS[level])
  # A digest opens with its marker, a paragraph has markers between its sentences.
  return np.maximum(markers - 1, 0) if level == SECTION else markers


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
    _first_fit_decreasing(lengths, width, slots, max(len(lengths), 1)).num_rows
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


def blank_document(bucket: Bucket) -> Batch:
  """An empty document, which fills a batch and carries no weight."""
  empty = np.zeros(0, np.int32)
  nothing = TokenizedDocument(
    id="",
    token_ids=empty,
    sentence_lengths=empty,
    sentence_paragraph=empty,
    paragraph_section=empty,
    is_heading=empty.astype(bool),
    target_ids=(empty,) * 3,
    target_units=(empty,) * 3,
    num_pieces=0,
  )
  arrays, _, _ = pack_document(nothing, bucket)
  return arrays.replace(document_mask=np.zeros((), bool))


def stack_documents(documents: Sequence[Batch]) -> Batch:
  """Stacks documents of one bucket along a new leading axis B."""
  return jax.tree.map(lambda *leaves: np.stack(leaves), *documents)


def real_token_share(batch: Batch) -> float:
  """Share of token slots that hold a token, blank documents counted as padding."""
  return float(np.mean(np.asarray(batch.tokens.slot) >= 0))


def merge_pieces(values: np.ndarray, index: np.ndarray, count: int) -> np.ndarray:
  """Adds up what the pieces of each segment have.

  Args:
    values: [..., n] by slot.
    index: [n] the segment each slot belongs to, -1 at padding (see `PieceIndex`).
    count: segments of the document.

  Returns:
    [..., count] float64.
  """
  merged = np.zeros((*values.shape[:-1], count))
  real = index >= 0
  np.add.at(merged, (..., index[real]), values[..., real])
  return merged


# ---------------------------------------------------------------- the tree of pieces


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
) -> _Pieces:
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
  return _Pieces(lengths, sentence, sentence_parent, paragraph, paragraph_parent, section)


def _first_fit_decreasing(
  lengths: np.ndarray, width: int, slots: int, max_rows: int
) -> _Placement | None:
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
  return _Placement(row, offset, slot, len(free))


def _layers(pieces: _Pieces, geometry: Bucket | Geometry):
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
    placement = _first_fit_decreasing(lengths, width, slots, rows)
    if placement is None:
      return None
    placements.append(placement)
  return pieces, tuple(reversed(placements))


def _place_what_fits(document, bucket):
  """Places as many leading sentences as fit: (pieces, placements, num_sentences)."""
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


# ------------------------------------------------------------------- rows of one layer


def _rank_among_siblings(parent: np.ndarray) -> np.ndarray:
  """[n] index of each child among its parent's children; `parent` is non-decreasing."""
  counts = np.bincount(parent) if len(parent) else np.zeros(0, np.int64)
  return np.arange(len(parent)) - np.repeat(np.cumsum(counts) - counts, counts)


def _child_destination(parent: np.ndarray, place: _Placement, width: int) -> np.ndarray:
  """[n] flat slot (row * width + column) of each child."""
  return (place.row * width + place.offset)[parent] + _rank_among_siblings(parent)


def _scatter(values: np.ndarray, slots: np.ndarray, size: int) -> np.ndarray:
  out = np.full(size, -1, np.int32)
  out[slots] = values
  return out


def _make_rows(
  child_slot, child_parent_slot, child_position, place, parent_slot, rows, width, slots, parents
) -> Rows:
  """Builds `Rows` from flat child slots [n] and flat parent slots [m]; see `Rows`."""
  slot = np.full(rows * width, -1, np.int32)
  slot[child_slot] = child_parent_slot
  position = np.zeros(rows * width, np.int32)
  position[child_slot] = child_position
  place_of_parent = place.row * slots + place.slot
  up = np.zeros(parents, np.int32)
  up[parent_slot] = place_of_parent
  down = np.zeros(rows * slots, np.int32)
  down[place_of_parent] = parent_slot
  parent_mask = np.zeros(parents, bool)
  parent_mask[parent_slot] = True
  place_mask = np.zeros(rows * slots, bool)
  place_mask[place_of_parent] = True
  return Rows(
    slot.reshape(rows, width), position.reshape(rows, width), up, down, parent_mask, place_mask
  )
