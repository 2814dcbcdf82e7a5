"""From one tokenized document to the packed arrays of `htmtl_jax.layout`.

The only place where documents become arrays. Nothing is lost on the way short of
the configured maximum: a sentence longer than a row is split into pieces, a
paragraph with more sentences than a row into pieces, a section likewise, and
`PieceIndex` remembers which original segment each piece belongs to.

Which row a sentence goes into is decided in `placement.py`; ids keep the reading
order, so where a sentence lies in memory says nothing to the model.
"""

from collections.abc import Sequence
import dataclasses

import jax
import numpy as np

from htmtl_jax.data.placement import Placement, place_what_fits
from htmtl_jax.data.tokenized import TokenizedDocument
from htmtl_jax.data.tokenizer import BOS_ID, EOS_ID, PIECE_MARKERS
from htmtl_jax.layout import Batch, Bucket, Rows, Targets
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
  pieces, placements, num_sentences = place_what_fits(document, bucket)
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
  reading_order = np.full(bucket.tokens, bucket.tokens, np.int32)
  reading_order[token_destination] = np.arange(num_tokens)

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
    reading_order=reading_order.reshape(bucket.token_rows, bucket.row_tokens),
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
  ids, inputs, levels, positions, units, pieces, remaining = [], [], [], [], [], [], []
  for level, (level_ids, level_units) in enumerate(zip(target_ids, target_units)):
    level_ids = np.asarray(level_ids, np.int32)
    ids.append(level_ids)
    inputs.append(np.concatenate([[BOS_ID], level_ids])[: len(level_ids)])
    pieces.append(piece_of_input(inputs[-1], level))
    levels.append(np.full(len(level_ids), level))
    positions.append(np.arange(len(level_ids)))
    # A summary that was cut does not end where its tokens do.
    is_whole = len(level_ids) > 0 and level_ids[-1] == EOS_ID
    remaining.append(tokens_left(len(level_ids) if is_whole else 0, positions[-1]))
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
    remaining=row(remaining, 0),
  )


def piece_of_input(input_ids: np.ndarray, level: int) -> np.ndarray:
  """`Targets.piece` of one summary's inputs: [T] int32 to [T] int32."""
  markers = np.cumsum(input_ids == PIECE_MARKERS[level])
  # A digest opens with its marker, a paragraph has markers between its sentences.
  return np.maximum(markers - 1, 0) if level == SECTION else markers


def tokens_left(length, position):
  """`Targets.remaining`: at least 1 where the length is known (above 0), 0 where it is not.

  Args:
    length, position: int arrays of NumPy or JAX, or ints, that broadcast.
  """
  left = length - position
  return (left + (1 - left) * (left < 1)) * (length > 0)


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


# ------------------------------------------------------------------- rows of one layer


def _rank_among_siblings(parent: np.ndarray) -> np.ndarray:
  """[n] index of each child among its parent's children; `parent` is non-decreasing."""
  counts = np.bincount(parent) if len(parent) else np.zeros(0, np.int64)
  return np.arange(len(parent)) - np.repeat(np.cumsum(counts) - counts, counts)


def _child_destination(parent: np.ndarray, place: Placement, width: int) -> np.ndarray:
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
