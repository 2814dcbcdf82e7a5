"""A trained model at work: summaries, importance and provenance of packed documents.

Everything here returns NumPy and lists of sentences in terms of the *document's*
segments; pieces, slots and padding stay inside.
"""

from collections.abc import Sequence
import dataclasses

import jax
import numpy as np

from htmtl_jax import hosts
from htmtl_jax.data.packing import (
  PieceIndex,
  blank_document,
  merge_pieces,
  pack_document,
  piece_of_input,
  stack_documents,
  tokens_left,
)
from htmtl_jax.data.placement import fits
from htmtl_jax.data.tokenize import decode_summary
from htmtl_jax.data.tokenized import TokenizedDocument
from htmtl_jax.data.tokenizer import BOS_ID, NUM_STRUCTURE_IDS, Tokenizer
from htmtl_jax.decoding import make_decoder
from htmtl_jax.errors import UserError
from htmtl_jax.experiment import TrainedRun
from htmtl_jax.layout import Batch, Bucket, Targets
from htmtl_jax.levels import LEVELS, NUM_LEVELS
from htmtl_jax.models.htmtl import Htmtl
from htmtl_jax.sharding import put_batch, put_documents, replicated, take_part
from htmtl_jax.train_step import under_mesh

Pieces = list[list[str]]  # a summary: pieces of sentences, see `decode_summary`


@dataclasses.dataclass(frozen=True)
class Written:
  """What the model wrote of one document.

  Attributes:
    ids: by level, [T_l] int32 without padding.
    pieces: by level, the text.
    lengths: tokens that each summary was to have, by level; 0 where the model chose.
  """

  ids: tuple[np.ndarray, ...]
  pieces: dict[str, Pieces]
  lengths: tuple[int, ...] = (0,) * NUM_LEVELS


@dataclasses.dataclass(frozen=True)
class Importances:
  """Importance of a document's segments in reading order; each sums to 1.

  Attributes:
    sentences, paragraphs, sections: [S], [P], [C] float64.
  """

  sentences: np.ndarray
  paragraphs: np.ndarray
  sections: np.ndarray


class Inference:
  """Compiled decoding and explaining for the buckets that come up."""

  def __init__(self, run: TrainedRun):
    self.run = run
    self.experiment = run.experiment
    self._step = np.asarray(run.step)
    experiment = self.experiment
    model = experiment.scanned_model
    # One jitted function each; it compiles anew for each bucket's shapes.
    self._decode = make_decoder(
      model, experiment.decode_config, experiment.loss_config, experiment.mesh
    )

    def importance(params, batch):
      encoded = model.apply({"params": params}, batch, method=Htmtl.encode)
      return encoded.importance.levels()

    def explain(params, step, batch, num_units):
      ramp = experiment.loss_config.importance_ramp(step)
      output = model.apply({"params": params}, batch, num_units, ramp)
      return output.encoded.importance.levels(), output.unit_scores[0]

    # Replicated, so that on several hosts each can read the rows of its own documents.
    whole = replicated(experiment.mesh)
    self._importance = under_mesh(jax.jit(importance, out_shardings=whole), experiment.mesh)
    self._explain = under_mesh(
      jax.jit(explain, static_argnums=3, out_shardings=whole), experiment.mesh
    )

  def write(
    self,
    batch: Batch,
    num_pieces: Sequence[int],
    target_words: Sequence[int] | None = None,
  ) -> list[Written]:
    """Writes the three summaries of every document of a batch; empty ones where there is no text.

    Args:
      batch: NumPy arrays of B documents, B a multiple of `experiment.multiple`.
      num_pieces: [B] section pieces of each document's digest.
      target_words: by level, in place of `decode.target_words`.

    Raises:
      UserError: see `lengths_in_tokens`.
    """
    told = lengths_in_tokens(self.run, target_words)
    mesh = self.experiment.mesh
    on_device, pieces = put_batch(batch, mesh), put_documents(np.asarray(num_pieces), mesh)
    result = self._own(
      self._decode(self.run.params, self._step, on_device, pieces, np.asarray(told))
    )
    # A paper without text has an empty summary: what the model would write is invented.
    has_text = np.asarray(batch.tokens.mask).any(axis=(1, 2))
    written = []
    for ids, lengths in zip(result.ids, result.lengths * has_text[:, None]):
      by_level = tuple(ids[level, : lengths[level]] for level in range(NUM_LEVELS))
      pieces = {
        name: decode_summary(by_level[level], name, self.experiment.tokenizer, keep_empty=True)
        for level, name in enumerate(LEVELS)
      }
      written.append(Written(by_level, pieces, told))
    return written

  def importance(
    self,
    batch: Batch,
    index: Sequence[PieceIndex | None],
    documents: Sequence[TokenizedDocument | None],
  ) -> list[Importances | None]:
    """Importance of every segment of every document; None for blanks."""
    levels = self._importance(self.run.params, put_batch(batch, self.experiment.mesh))
    levels = [np.exp(level) for level in self._own(levels)]
    return [
      None
      if document is None
      else _importances([level[row] for level in levels], index[row], document)
      for row, document in enumerate(documents)
    ]

  def _own(self, tree):
    """NumPy arrays with the rows of this host's documents, the first axis."""
    return jax.tree.map(lambda x: take_part(x, self.experiment.mesh), jax.device_get(tree))

  def pack_one(self, document: TokenizedDocument) -> tuple[Bucket, Batch, PieceIndex]:
    """Packs one document of any length: into the smallest bucket, or one made larger."""
    bucket = grow_bucket(document, self.experiment.buckets)
    arrays, index, _ = pack_document(document, bucket)
    blanks = [blank_document(bucket)] * (self.experiment.multiple - 1)
    return bucket, stack_documents([arrays, *blanks]), index

  def explain(
    self, document: TokenizedDocument, batch: Batch, index: PieceIndex, written: Written
  ) -> tuple[Importances, list[list[np.ndarray]]]:
    """`explain_batch` of a batch with the one document first, see `pack_one`."""
    blanks = [None] * (len(batch.document_mask) - 1)
    return self.explain_batch([document, *blanks], batch, [index, *blanks], [written, *blanks])[0]

  def explain_batch(
    self,
    documents: Sequence[TokenizedDocument | None],
    batch: Batch,
    index: Sequence[PieceIndex | None],
    written: Sequence[Written | None],
  ) -> list[tuple[Importances, list[list[np.ndarray]]] | None]:
    """Importance, and what each written sentence drew on.

    The summaries are read back teacher-forced, every sentence a unit of its own, so
    the scores are those of the very attention that training shapes.

    Args:
      documents: the sources; None for blanks.
      batch: of them.
      index: their maps back.
      written: their summaries.

    Returns:
      For each document (importances, shares): by level, one [S] array summing to 1 for each
      sentence of `written.pieces`, in order. None for blanks.
    """
    nothing = Written((np.zeros(0, np.int32),) * NUM_LEVELS, {level: [] for level in LEVELS})
    targets, counts = zip(
      *(_targets_by_sentence(own or nothing, self.experiment) for own in written), strict=True
    )
    num_units = 16
    most = max(hosts.gather(max(map(sum, counts))))  # one program for all hosts
    while num_units < most:
      num_units *= 2  # few sizes, few compilations
    explained = batch.replace(targets=jax.tree.map(lambda *rows: np.stack(rows), *targets))
    levels, scores = self._own(
      self._explain(
        self.run.params, self._step, put_batch(explained, self.experiment.mesh), num_units
      )
    )
    results = []
    for row, document in enumerate(documents):
      if document is None:
        results.append(None)
        continue
      importances = _importances([np.exp(level[row]) for level in levels], index[row], document)
      shares = merge_pieces(scores[row], index[row].sentence, len(document.sentence_lengths))
      shares = shares / np.maximum(shares.sum(-1, keepdims=True), 1e-9)  # [U, S]
      by_level, start = [], 0
      for count in counts[row]:
        by_level.append(list(shares[start : start + count]))
        start += count
      results.append((importances, by_level))
    return results


def lengths_in_tokens(
  run: TrainedRun, target_words: Sequence[int] | None = None
) -> tuple[int, ...]:
  """Tokens by level that make so many words (or `decode.target_words`); 0 is left to the model.

  Raises:
    UserError: if a length is beyond `decode.max_tokens`, or the model is told none.
  """
  experiment = run.experiment
  if target_words is None:
    target_words = experiment.decode_config.target_words
  if any(target_words) and not experiment.model_config.length_condition:
    raise UserError(
      f"{tuple(target_words)} target words: this model was trained without lengths "
      "(model.length_condition=False) and cannot be told one; leave them out"
    )
  lengths = tuple(
    max(1, round(words * run.tokens_per_word[level])) if words else 0
    for level, words in zip(LEVELS, target_words, strict=True)
  )
  limits = experiment.decode_config.max_tokens
  for level, words, length, most in zip(LEVELS, target_words, lengths, limits, strict=True):
    if length > most:
      raise UserError(
        f"{words} target words at level {level} are about {length} tokens, more than "
        f"decode.max_tokens={most} there; ask for fewer words, or raise decode.max_tokens"
      )
  return lengths


def grow_bucket(document: TokenizedDocument, buckets: Sequence[Bucket]) -> Bucket:
  """The smallest bucket that holds all of the document; made larger where none does."""
  for bucket in buckets:
    if fits(document, bucket):
      return bucket
  bucket = buckets[-1]
  while not fits(document, bucket):
    bucket = dataclasses.replace(
      bucket,
      token_rows=2 * bucket.token_rows,
      sentence_rows=2 * bucket.sentence_rows,
      paragraph_rows=2 * bucket.paragraph_rows,
      sections=2 * bucket.sections,
      target_tokens=2 * bucket.target_tokens,
    )
  return bucket


def _importances(levels, index: PieceIndex, document: TokenizedDocument) -> Importances:
  counts = (
    len(document.sentence_lengths),
    len(document.paragraph_section),
    _num_sections(document),
  )
  parts = (index.sentence, index.paragraph, index.section)
  return Importances(
    *(merge_pieces(level, part, n) for level, part, n in zip(levels, parts, counts))
  )


def _num_sections(document: TokenizedDocument) -> int:
  return int(document.paragraph_section[-1]) + 1 if len(document.paragraph_section) else 0


def _targets_by_sentence(written: Written, experiment) -> tuple[Targets, list[int]]:
  """The summaries as targets, every sentence a unit: (targets without B, sentences by level).

  Sentences are counted as `decode_summary` counts them; markers belong to none.
  """
  length = sum(experiment.decode_config.max_tokens)
  names = ("ids", "input_ids", "level", "position", "unit", "piece", "remaining")
  columns = {name: [] for name in names}
  counts, first = [], 0
  for level, ids in enumerate(written.ids):
    units = _sentence_of_token(ids, experiment.tokenizer)
    count = sum(map(len, written.pieces[LEVELS[level]]))
    columns["ids"].append(ids)
    columns["input_ids"].append(np.concatenate([[BOS_ID], ids])[: len(ids)])
    columns["piece"].append(piece_of_input(columns["input_ids"][-1], level))
    columns["level"].append(np.full(len(ids), level))
    columns["position"].append(np.arange(len(ids)))
    columns["remaining"].append(tokens_left(written.lengths[level], columns["position"][-1]))
    columns["unit"].append(np.where(units >= 0, units + first, -1))
    counts.append(count)
    first += count
  fill = dict.fromkeys(names, 0) | {"level": -1, "unit": -1}
  rows = {}
  for name, parts in columns.items():
    flat = np.concatenate(parts)[:length]
    rows[name] = np.concatenate([flat, np.full(length - len(flat), fill[name])]).astype(np.int32)
  return Targets(**rows), counts


def _sentence_of_token(ids: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
  """[T] the sentence of `decode_summary` that each token belongs to, -1 for markers."""
  units = np.full(len(ids), -1)
  sentence, start = 0, 0
  for end in range(len(ids) + 1):
    if end < len(ids) and ids[end] >= NUM_STRUCTURE_IDS:
      continue
    # A run of tokens between markers is a sentence if anything of it can be read.
    if end > start and tokenizer.decode(ids[start:end]).strip():
      units[start:end] = sentence
      sentence += 1
    start = end + 1
  return units
