"""The one vocabulary that encoder, decoder and all three levels share.

SentencePiece pieces with byte fallback, so that nothing is unknown.
The first `NUM_STRUCTURE_IDS` ids say what text cannot: end, padding, the marks
between sentences and sections. They are SentencePiece *control* symbols, which
the encoder never produces, whatever the text says: a document that contains the
characters "<section>" gets ordinary pieces. Only our own code inserts these ids.

Knows no documents and no levels; `tokenize.py` builds sources and targets.
"""

from collections.abc import Iterable, Sequence
import io
import os
import random
import re
import uuid

from absl import logging
import sentencepiece

from htmtl_jax.errors import UserError

PAD_ID = 0
EOS_ID = 1
UNK_ID = 2  # only stands in for a sentence that has no visible character at all
BOS_ID = 3
SENTENCE_ID = 4  # between two sentences of one piece of a summary
SECTION_ID = 5  # opens a section's piece
# By level, the marker that a summary's pieces are counted by; one sentence has none.
PIECE_MARKERS = (-1, SENTENCE_ID, SECTION_ID)
FIRST_LENGTH_ID = 6  # reserved, unused: <len0> ... <len15>; see docs/design.md, section 11
NUM_LENGTH_IDS = 16
NUM_STRUCTURE_IDS = FIRST_LENGTH_ID + NUM_LENGTH_IDS
NUM_BYTE_IDS = 256
MODEL_TYPES = ("unigram", "bpe")

_STRUCTURE_PIECES = ("<pad>", "</s>", "<unk>", "<s>", "<sentence>", "<section>") + tuple(
  f"<len{i}>" for i in range(NUM_LENGTH_IDS)
)
# SentencePiece skips training lines over `max_sentence_length` bytes. A character
# is at most 4 bytes in UTF-8, so cut lines always fit.
_MAX_LINE_CHARACTERS = 4000
_MAX_LINE_BYTES = 4 * _MAX_LINE_CHARACTERS + 64
# Characters beyond this share of the training text are spelled in bytes.
_CHARACTER_COVERAGE = 0.9995
_REQUIRED_CHARACTERS = "▁0123456789"  # U+2581 is how SentencePiece writes a blank
_NEED_PATTERN = re.compile(r"required_chars\. \d+ vs (\d+)")


class Tokenizer:
  """A trained vocabulary: text to ids and back. Picklable, so workers can have it."""

  def __init__(self, model: bytes):
    """Wraps a serialised SentencePiece model made by `train_tokenizer`.

    Raises:
      ValueError: if the bytes are no such model, or one with other structure ids.
    """
    self._model = model
    self._processor = sentencepiece.SentencePieceProcessor()
    try:
      parsed = bool(model) and self._processor.LoadFromSerializedProto(model)
    except RuntimeError:
      parsed = False
    if not parsed:
      raise ValueError("not a SentencePiece model")
    size = self._processor.get_piece_size()
    pieces = tuple(self._processor.id_to_piece(i) for i in range(min(size, NUM_STRUCTURE_IDS)))
    if pieces != _STRUCTURE_PIECES:
      raise ValueError("its structure symbols are not the ones of this program")

  @property
  def vocab_size(self) -> int:
    """Ids in use, structure ids included; every id is below it."""
    return self._processor.get_piece_size()

  def encode(self, text: str) -> list[int]:
    """Ids of one text, never a structure id; empty for blank text."""
    return self._processor.encode(_clean(text))

  def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
    """`encode` for many texts at once (one thread: workers are processes)."""
    if not texts:
      return []
    return self._processor.encode([_clean(text) for text in texts], num_threads=1)

  def decode(self, ids: Iterable[int]) -> str:
    """Text of ids; structure ids and ids beyond the vocabulary say nothing."""
    size = self.vocab_size
    return self._processor.decode([int(i) for i in ids if NUM_STRUCTURE_IDS <= int(i) < size])

  def to_bytes(self) -> bytes:
    return self._model

  @classmethod
  def from_bytes(cls, model: bytes) -> "Tokenizer":
    return cls(model)

  def save(self, path: str | os.PathLike) -> None:
    """Writes the model file; a reader sees the old file or the new one, never half."""
    path = os.fspath(path)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
    with open(temporary, "wb") as f:
      f.write(self._model)
    os.replace(temporary, path)

  @classmethod
  def load(cls, path: str | os.PathLike) -> "Tokenizer":
    """Reads a file written by `save`.

    Raises:
      UserError: if the file is missing, unreadable or not such a model.
    """
    path = os.fspath(path)
    try:
      with open(path, "rb") as f:
        model = f.read()
    except OSError as e:
      raise UserError(
        f"cannot read the vocabulary {path} ({e.strerror}): train first, or give the"
        " directory that holds it"
      ) from e
    try:
      return cls(model)
    except ValueError as e:
      raise UserError(
        f"the vocabulary {path} cannot be used ({e}): delete it and prepare the corpus again"
      ) from e

  def __reduce__(self):
    return (Tokenizer, (self._model,))


def train_tokenizer(
  texts: Iterable[str],
  vocab_size: int,
  path: str | os.PathLike | None = None,
  seed: int = 0,
  num_threads: int = 2,
  max_lines: int = 200_000,
  model_type: str = "unigram",
) -> Tokenizer:
  """Trains a vocabulary; the same arguments give the same model, byte for byte.

  Args:
    texts: sentences (or any lines) of the training split. They are streamed; at
      most `max_lines` are kept, a uniform sample drawn with `seed`.
    vocab_size: ids wanted, structure and byte ids included. Little text gives
      fewer (logged).
    path: where the model is saved, or None.
    seed: of the sample; without effect while there are at most `max_lines` lines.
    num_threads: a fixed number, not the machine's: the partial sums of the EM
      algorithm are per thread, so each number of threads has its own result.
    max_lines: lines kept.
    model_type: "unigram" or "bpe". On text made from few templates the unigram model
      keeps long strings and spells the rest letter by letter (1,919 pieces a generated
      paper where byte-pair encoding has 1,081, both with 1,200 ids).

  Returns:
    The tokenizer.

  Raises:
    UserError: if there is no text, or `vocab_size` cannot even hold the structure
      ids, the bytes and the text's characters.

  Source: unigram language model of Kudo (2018), byte-pair encoding of Sennrich et al. (2016).
  """
  if model_type not in MODEL_TYPES:
    raise UserError(
      f"config.tokenizer.model_type: {model_type!r} is not one of {', '.join(MODEL_TYPES)}"
    )
  lines = _sample_lines(texts, max_lines, random.Random(seed))
  if not lines:
    raise UserError("no text to train the vocabulary on: the training split has no sentences")
  model = io.BytesIO()
  try:
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(lines),
      model_writer=model,
      model_type=model_type,
      vocab_size=vocab_size,
      hard_vocab_limit=False,  # a small corpus gets what its text supports
      byte_fallback=True,
      character_coverage=_CHARACTER_COVERAGE,
      # However rare: a blank spelled in bytes would come back as the sign itself.
      required_chars=_REQUIRED_CHARACTERS,
      split_digits=True,  # numbers are copied digit by digit, unseen ones included
      # Not NFKC: it rewrites facts ("10³" becomes "103"). White space is ours.
      normalization_rule_name="identity",
      pad_id=PAD_ID,
      eos_id=EOS_ID,
      unk_id=UNK_ID,
      bos_id=BOS_ID,
      control_symbols=list(_STRUCTURE_PIECES[SENTENCE_ID:]),
      # The sample is ours, seeded, so the library must neither draw nor shuffle.
      input_sentence_size=0,
      shuffle_input_sentence=False,
      max_sentence_length=_MAX_LINE_BYTES,
      num_threads=num_threads,
      minloglevel=2,
    )
  except (RuntimeError, OSError) as e:
    need = _NEED_PATTERN.search(str(e))
    if need:
      raise UserError(
        f"tokenizer.vocab_size={vocab_size} is too small: this text needs at least"
        f" {need.group(1)} (structure ids, bytes and characters)"
      ) from e
    raise UserError(f"the vocabulary could not be trained: {' '.join(str(e).split())}") from e
  tokenizer = Tokenizer(model.getvalue())
  if tokenizer.vocab_size < vocab_size:
    logging.info(
      "the training text supports a vocabulary of %d pieces (asked for %d)",
      tokenizer.vocab_size,
      vocab_size,
    )
  if path is not None:
    tokenizer.save(path)
  return tokenizer


def _clean(text: str) -> str:
  """Any white space (no-break, tabs, newlines) as single spaces; valid UTF-8."""
  text = " ".join(text.split())
  if text.isascii():
    return text
  # A lone surrogate (JSON allows "\ud83d") has no UTF-8 form: it becomes "?".
  return text.encode("utf-8", "replace").decode("utf-8")


def _sample_lines(texts: Iterable[str], max_lines: int, rng: random.Random) -> list[str]:
  """A uniform sample of the non-blank lines (reservoir, algorithm R), cut to fit."""
  sample = []
  seen = 0
  for text in texts:
    line = _clean(text)
    for start in range(0, len(line), _MAX_LINE_CHARACTERS):
      piece = line[start : start + _MAX_LINE_CHARACTERS]
      seen += 1
      if len(sample) < max_lines:
        sample.append(piece)
      else:
        slot = rng.randrange(seen)
        if slot < max_lines:
          sample[slot] = piece
  return sample
