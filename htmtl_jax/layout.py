"""The arrays of a packed batch: every shape the model sees, written down once.

One legend of dimension letters for the whole package:

    B  documents in a batch
    R, L   token rows of a document, token slots in a row       (N = R * L tokens)
    K      sentence slots of a token row
    S      sentence slots of a document  = sentence rows  * sentences a row
    P      paragraph slots of a document = paragraph rows * paragraphs a row
    C      section slots of a document
    M      memory slots the decoder reads = N + S + P + C
    T      target tokens of a document, its three summaries one after the other
    U      units of the three summaries (1 sentence, then the paragraph's sentences,
           then the digest's section pieces)
    Q      decoder queries of one document (target tokens, or levels times beams)
    D, H, E, F, V   model width, heads, width of a head, MLP width, vocabulary

Why rows. A dense [sections, paragraphs, sentences, tokens] grid of a paper is over
90% padding. Instead whole sentences are bin-packed into rows of L tokens, whole
paragraphs into rows of sentences, whole sections into rows of paragraphs. Attention
among siblings is then dense attention inside a row under a same-parent mask, pooling
is a small matmul inside a row, and every array is linear in the length of the
document. A parent longer than a row is split into *pieces*; a piece is a parent like
any other, and reports merge pieces again, which is exact because importance is a
distribution that adds up.

Between two layers of the tree there are two indices and no scatter: `up` says for
each parent slot where its children's pooled vector lies, `down` is its inverse.
"""

import dataclasses
import math

import flax.struct
import jax

from htmtl_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Geometry:
  """What a row of each layer holds; the buckets of a config differ in how many rows only.

  Attributes:
    row_tokens, row_sentence_slots: L, K of the token rows.
    row_sentences, row_paragraph_slots: the same for sentences.
    row_paragraphs, row_section_slots: the same for paragraphs.
  """

  row_tokens: int
  row_sentence_slots: int
  row_sentences: int
  row_paragraph_slots: int
  row_paragraphs: int
  row_section_slots: int


@dataclasses.dataclass(frozen=True)
class Bucket:
  """The static sizes of one compiled program. Documents go into the smallest that fits.

  Attributes:
    token_rows, row_tokens, row_sentence_slots: R, L, K of the token rows.
    sentence_rows, row_sentences, row_paragraph_slots: the same for sentences.
    paragraph_rows, row_paragraphs, row_section_slots: the same for paragraphs.
    sections: C.
    target_tokens: T.
    paragraph_units: sentences that a paragraph summary can tell apart for coverage
      and diversity; later ones share the last unit.
  """

  token_rows: int
  row_tokens: int
  row_sentence_slots: int
  sentence_rows: int
  row_sentences: int
  row_paragraph_slots: int
  paragraph_rows: int
  row_paragraphs: int
  row_section_slots: int
  sections: int
  target_tokens: int
  paragraph_units: int

  @property
  def geometry(self) -> Geometry:
    return Geometry(*(getattr(self, field.name) for field in dataclasses.fields(Geometry)))

  @property
  def tokens(self) -> int:
    return self.token_rows * self.row_tokens

  @property
  def sentences(self) -> int:
    return self.sentence_rows * self.row_sentences

  @property
  def paragraphs(self) -> int:
    return self.paragraph_rows * self.row_paragraphs

  @property
  def units(self) -> int:
    """U: the one sentence, the paragraph's sentences, one piece a section."""
    return 1 + self.paragraph_units + self.sections

  def first_unit(self, level: int) -> int:
    """Where the units of a level (0 sentence, 1 paragraph, 2 section) begin."""
    return (0, 1, 1 + self.paragraph_units)[level]

  def num_units(self, level: int) -> int:
    return (1, self.paragraph_units, self.sections)[level]


@dataclasses.dataclass(frozen=True)
class LayoutConfig:
  """What decides the buckets; see `configs/base.py` for each field's meaning."""

  row_tokens: int = 128
  row_sentence_slots: int = 16
  row_sentences: int = 32
  row_paragraphs: int = 16
  sentences_per_token_row: float = 8.0
  paragraphs_per_token_row: float = 2.5
  sections_per_token_row: float = 0.25
  min_sections: int = 16
  paragraph_units: int = 32
  buckets: tuple[tuple[int, int], ...] = (
    (16, 768),
    (24, 1024),
    (32, 1216),
    (40, 1216),
    (48, 1216),
    (56, 1216),
    (64, 1216),
    (80, 1216),
    (96, 1216),
    (112, 1216),
    (136, 1216),
  )


# Sentences stay whole, so rows are not filled to the last token. Of 470 papers cut at 4,096 tokens
# 99% fit into 33 rows of 128, all into 34 (docs/experiments.md).
_ROWS_TO_SPARE = 17 / 16
_WORTH_COMPILING = 4  # rows that another bucket must save a document


def make_bucket(config: LayoutConfig, token_rows: int, target_tokens: int) -> Bucket:
  """Sizes the upper levels in proportion to the token rows."""
  row_paragraph_slots = max(2, config.row_sentences // 2)
  row_section_slots = max(2, config.row_paragraphs // 2)
  sentences = config.sentences_per_token_row * token_rows
  paragraphs = config.paragraphs_per_token_row * token_rows
  sections = max(config.min_sections, config.sections_per_token_row * token_rows)
  return Bucket(
    token_rows=token_rows,
    row_tokens=config.row_tokens,
    row_sentence_slots=config.row_sentence_slots,
    sentence_rows=max(2, math.ceil(sentences / config.row_sentences)),
    row_sentences=config.row_sentences,
    row_paragraph_slots=row_paragraph_slots,
    paragraph_rows=max(2, math.ceil(paragraphs / config.row_paragraphs)),
    row_paragraphs=config.row_paragraphs,
    row_section_slots=row_section_slots,
    sections=math.ceil(sections),
    target_tokens=target_tokens,
    paragraph_units=config.paragraph_units,
  )


def make_buckets(
  config: LayoutConfig, max_input_tokens: int | None = None, multiple: int = 1
) -> tuple[Bucket, ...]:
  """Buckets from small to large.

  Args:
    config: has their sizes.
    max_input_tokens: where documents are cut. Many are that long, hence they get a bucket of
      their own where the next of the config would be a tenth, and four rows, larger than they need.
    multiple: of token rows, for that bucket; the devices that share a document.

  Raises:
    UserError: if they are not strictly ordered, so that a document that fits one
      would not fit the next.
  """
  pairs = [tuple(pair) for pair in config.buckets]
  if (
    min(config.row_tokens, config.row_sentence_slots, config.min_sections, config.paragraph_units)
    < 1
    or min(config.row_sentences, config.row_paragraphs) < 2
  ):
    raise UserError("config.layout: rows need at least 1 token, and 2 sentences or paragraphs")
  for small, large in zip(pairs, pairs[1:]):
    if not (small[0] < large[0] and small[1] <= large[1]):
      raise UserError(
        f"config.layout.buckets: {small} then {large}: token rows must grow and target tokens "
        "must not shrink from one bucket to the next"
      )
  if not pairs or min(min(pair) for pair in pairs) < 1:
    raise UserError(
      "config.layout.buckets: give at least one (token_rows, target_tokens) pair, all positive"
    )
  if max_input_tokens:
    full_rows = -(-max_input_tokens // config.row_tokens)
    rows = math.ceil(full_rows * _ROWS_TO_SPARE / multiple) * multiple
    place, next_pair = next(
      ((i, pair) for i, pair in enumerate(pairs) if pair[0] >= rows), (None, None)
    )
    if next_pair and rows < 0.9 * next_pair[0] and rows + _WORTH_COMPILING <= next_pair[0]:
      pairs.insert(place, (rows, next_pair[1]))
  return tuple(make_bucket(config, rows, targets) for rows, targets in pairs)


@flax.struct.dataclass
class Rows:
  """Children in rows, each row holding the children of whole parents.

  Attributes ([rows, width] and k slots a row differ by layer of the tree):
    slot: [B, rows, width] int32, the child's parent as a slot of its row, -1 at padding.
    position: [B, rows, width] int32, the child's index among its siblings.
    up: [B, parents] int32, for each parent slot of the layer above, the flat
      (row * k + slot) place of its children here; 0 where the parent is padding.
    down: [B, rows * k] int32, the inverse: for each flat place here, the parent slot
      of the layer above; 0 where the place is empty.
    parent_mask: [B, parents] bool, real parents.
    place_mask: [B, rows * k] bool, places in use.
  """

  slot: jax.Array
  position: jax.Array
  up: jax.Array
  down: jax.Array
  parent_mask: jax.Array
  place_mask: jax.Array

  @property
  def mask(self):
    """[B, rows, width] bool, True at real children."""
    return self.slot >= 0


@flax.struct.dataclass
class Targets:
  """The three summaries of a document in one row of T tokens.

  Attributes:
    ids: [B, T] int32, what is to be predicted; 0 at padding.
    input_ids: [B, T] int32, `ids` shifted right inside each summary, BOS first.
    level: [B, T] int32, 0 sentence, 1 paragraph, 2 section; -1 at padding.
    position: [B, T] int32, index inside the summary.
    unit: [B, T] int32, index into the U units; -1 at padding.
    piece: [B, T] int32, where in its summary the input stands: at the section level the
      section's piece (from 0), at the paragraph level the sentence, else 0. Known from
      the input ids alone, unlike `unit`, which belongs to what is to be predicted.
    remaining: [B, T] int32, tokens that are still to be written, this one included; 0
      where the decoder is not told.
  """

  ids: jax.Array
  input_ids: jax.Array
  level: jax.Array
  position: jax.Array
  unit: jax.Array
  piece: jax.Array
  remaining: jax.Array

  @property
  def mask(self):
    """[B, T] bool, True at real target tokens."""
    return self.level >= 0


@flax.struct.dataclass
class Batch:
  """B packed documents of one bucket.

  Attributes:
    token_ids: [B, R, L] int32, 0 at padding.
    reading_order: [B, R, L] int32, the token's index in the document; N at padding.
    tokens: token rows; parents are sentences.
    sentences: sentence rows; parents are paragraphs.
    paragraphs: paragraph rows; parents are sections.
    is_heading: [B, S] bool, sentence slots that hold a heading.
    targets: the reference summaries.
    importance_labels: [B, S] float32, soft ROUGE-gain labels summing to 1 over a
      document, all zero where there are none.
    document_mask: [B] bool, False for the blank documents that fill a batch.
  """

  token_ids: jax.Array
  reading_order: jax.Array
  tokens: Rows
  sentences: Rows
  paragraphs: Rows
  is_heading: jax.Array
  targets: Targets
  importance_labels: jax.Array
  document_mask: jax.Array

  @property
  def section_mask(self):
    """[B, C] bool."""
    return self.paragraphs.parent_mask
