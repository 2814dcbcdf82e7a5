"""Tiny documents, buckets and models that the tests of the model share.

All sizes are odd or prime on purpose: a transposed axis or a wrong stride then fails.
"""

import dataclasses

import flax.linen as nn
import jax
import numpy as np

from htmtl_jax.data.packing import pack_document, stack_documents
from htmtl_jax.data.tokenized import TokenizedDocument
from htmtl_jax.data.tokenizer import EOS_ID, NUM_STRUCTURE_IDS, SECTION_ID, SENTENCE_ID
from htmtl_jax.layout import Batch, Bucket
from htmtl_jax.models.config import ModelConfig
from htmtl_jax.models.htmtl import Htmtl

VOCABULARY = 53  # rounded up to 128 inside the model
BUCKET = Bucket(
  token_rows=7,
  row_tokens=11,
  row_sentence_slots=4,
  sentence_rows=6,
  row_sentences=5,
  row_paragraph_slots=3,
  paragraph_rows=4,
  row_paragraphs=3,
  row_section_slots=2,
  sections=6,
  target_tokens=37,
  paragraph_units=3,
)
LARGER_BUCKET = dataclasses.replace(
  BUCKET,
  token_rows=9,
  row_sentence_slots=5,
  sentence_rows=8,
  row_paragraph_slots=5,
  paragraph_rows=5,
  row_section_slots=3,
  sections=7,
  target_tokens=41,
)
CONFIG = ModelConfig(
  width=16,
  num_heads=2,
  mlp_width=24,
  token_layers=2,
  paragraph_layers=2,
  section_layers=2,
  document_layers=2,
  top_down_layers=2,
  top_down_mlps="all",
  decoder_layers=3,
  max_positions=3,
  dropout=0.0,
  dtype="float32",
)
# One layer wherever two add nothing to what is tested: these programs compile fast.
SMALL = dataclasses.replace(
  CONFIG,
  token_layers=1,
  paragraph_layers=1,
  section_layers=1,
  document_layers=1,
  top_down_layers=1,
  decoder_layers=2,
)

# A document is a list of sections (heading length or 0, paragraphs), a paragraph a list
# of sentence lengths. With BUCKET, these have a sentence longer than a row (24 > 11), a
# paragraph of more sentences than a row (7 > 5), a section of more paragraphs than a row
# (5 with its heading > 3), a section without heading, a sentence of one token.
SHAPES = (
  [(2, [[3, 24, 4]]), (0, [[1, 2, 1, 2, 3, 1, 2], [4]])],
  [(1, [[2, 5], [3], [4, 1], [2]]), (3, [[6, 2]]), (0, [[5]])],
  [(0, [[7]])],
)


def make_document(
  shape, seed: int, *, labels: bool = True, target_lengths=(5, 11, 13)
) -> TokenizedDocument:
  """A document of random tokens with the given tree and random targets of its form."""
  rng = np.random.default_rng(seed)
  lengths, sentence_paragraph, paragraph_section, is_heading = [], [], [], []
  for c, (heading, paragraphs) in enumerate(shape):
    for is_head, paragraph in [(True, [heading])] * bool(heading) + [
      (False, p) for p in paragraphs
    ]:
      for length in paragraph:
        lengths.append(length)
        sentence_paragraph.append(len(paragraph_section))
        is_heading.append(is_head)
      paragraph_section.append(c)
  words = lambda n: rng.integers(NUM_STRUCTURE_IDS, VOCABULARY, n)
  sentence, paragraph, digest = (words(n) for n in target_lengths)
  if len(paragraph) > 4:
    paragraph[[2, len(paragraph) // 2]] = SENTENCE_ID
  if len(digest) > 4:
    digest[[0, len(digest) // 2]] = SECTION_ID
  for ids in (sentence, paragraph, digest):
    ids[-1:] = EOS_ID
  before = lambda ids, marker: np.cumsum(ids == marker) - (ids == marker)
  units = (
    np.zeros(len(sentence), int),
    before(paragraph, SENTENCE_ID),
    np.maximum(np.cumsum(digest == SECTION_ID) - 1, 0),
  )
  weights = rng.random(len(lengths)) * ~np.array(is_heading, bool)
  as_int = lambda values: np.asarray(values, np.int32)
  return TokenizedDocument(
    id=f"tiny{seed}",
    token_ids=as_int(words(sum(lengths))),
    sentence_lengths=as_int(lengths),
    sentence_paragraph=as_int(sentence_paragraph),
    paragraph_section=as_int(paragraph_section),
    is_heading=np.array(is_heading, bool),
    target_ids=tuple(map(as_int, (sentence, paragraph, digest))),
    target_units=tuple(map(as_int, units)),
    num_pieces=2,
    importance_labels=(weights / weights.sum()).astype(np.float32) if labels else None,
  )


def random_shape(rng, *, sections=4, paragraphs=3, sentences=4, tokens=9):
  """A random tree with up to so many children at each level."""
  return [
    (
      int(rng.integers(0, 4)),
      [
        [int(n) for n in rng.integers(1, tokens + 1, rng.integers(1, sentences + 1))]
        for _ in range(rng.integers(1, paragraphs + 1))
      ],
    )
    for _ in range(rng.integers(1, sections + 1))
  ]


def make_documents() -> list[TokenizedDocument]:
  """One document of each of `SHAPES`, with targets of different lengths."""
  lengths = ((5, 11, 13), (4, 9, 17), (1, 6, 8))
  return [make_document(s, i, target_lengths=n) for i, (s, n) in enumerate(zip(SHAPES, lengths))]


def pack(documents, bucket: Bucket = BUCKET) -> Batch:
  """Packs and stacks; every document must fit."""
  packed = []
  for document in documents:
    arrays, _, dropped = pack_document(document, bucket)
    assert dropped == 0, f"{document.id} does not fit: {dropped} tokens dropped"
    packed.append(arrays)
  return stack_documents(packed)


def init_params(model: Htmtl, batch: Batch, num_units: int = BUCKET.units, seed: int = 0):
  """Random parameters without compiling anything, with every part of the model awake.

  Unlike the model's own initial values, norm scales differ from one and the importance
  scores are far from equal, so that a part left out shows.
  """
  initialise = lambda key: model.init(key, batch, num_units)
  shapes = nn.unbox(jax.eval_shape(initialise, jax.random.key(0)))["params"]
  rng = np.random.default_rng(seed)

  def draw(path, shape):
    name = jax.tree_util.keystr(path)
    noise = rng.normal(size=shape.shape).astype(np.float32)
    if "scale" in name:
      return 1 + np.float32(0.3) * noise
    if "kernel" in name:
      width = model.config.width
      fan_in = model.config.mlp_width if "narrow" in name else width
      return noise / np.float32(fan_in**0.5)
    if name == "['embedding']":
      return noise / np.float32(model.config.width**0.5)
    return np.float32(0.5) * noise

  return jax.tree_util.tree_map_with_path(draw, shapes)


def unstack_layers(params):
  """Parameters of scanned layers as those of a loop: "layers" becomes "layer_0", ..."""
  if not isinstance(params, dict):
    return params
  out = {}
  for name, value in params.items():
    if name != "layers":
      out[name] = unstack_layers(value)
      continue
    for i in range(len(jax.tree.leaves(value)[0])):
      out[f"layer_{i}"] = jax.tree.map(lambda x, i=i: x[i], value)
  return out


def unpack_tree(batch: Batch, b: int):
  """Slots of one packed document as a tree, in reading order, from the arrays alone.

  Returns:
    [(section slot, [(paragraph slot, [(sentence slot, [token slots])])])].
  """

  def children(rows, parent):
    width = rows.slot.shape[-1]
    slots = rows.place_mask.shape[-1] // rows.slot.shape[-2]
    row, slot = divmod(int(rows.up[b, parent]), slots)
    columns = np.flatnonzero(np.asarray(rows.slot[b, row]) == slot)
    order = np.argsort(np.asarray(rows.position[b, row])[columns])
    return [row * width + int(column) for column in columns[order]]

  return [
    (
      c,
      [
        (p, [(s, children(batch.tokens, s)) for s in children(batch.sentences, p)])
        for p in children(batch.paragraphs, int(c))
      ],
    )
    for c in np.flatnonzero(batch.section_mask[b])
  ]


def tree_slots(tree):
  """Flat slots of an unpacked tree: (tokens, sentences, paragraphs, sections)."""
  sections = [c for c, _ in tree]
  paragraphs = [p for _, ps in tree for p, _ in ps]
  sentences = [s for _, ps in tree for _, ss in ps for s, _ in ss]
  tokens = [t for _, ps in tree for _, ss in ps for _, ts in ss for t in ts]
  return tuple(np.array(x, int) for x in (tokens, sentences, paragraphs, sections))


def piece_tree(document: TokenizedDocument, bucket: Bucket = BUCKET):
  """The document as a ragged tree of pieces, by the definition: equal parts that fit a row.

  Returns:
    Sections of paragraphs of sentences (token ids, is_heading).
  """

  def parts(children, width):
    if not children:
      return []
    count = -(-len(children) // width)
    small, extra = divmod(len(children), count)
    sizes = [small + 1] * extra + [small] * (count - extra)
    ends = np.cumsum(sizes)
    return [children[end - size : end] for size, end in zip(sizes, ends)]

  starts = np.cumsum(document.sentence_lengths) - document.sentence_lengths
  num_sections = int(document.paragraph_section.max()) + 1
  sections = []
  for c in range(num_sections):
    paragraphs = []
    for p in np.flatnonzero(document.paragraph_section == c):
      sentences = []
      for s in np.flatnonzero(document.sentence_paragraph == p):
        ids = document.token_ids[starts[s] : starts[s] + document.sentence_lengths[s]].tolist()
        sentences += [
          (part, bool(document.is_heading[s])) for part in parts(ids, bucket.row_tokens)
        ]
      paragraphs += parts(sentences, bucket.row_sentences)
    sections += parts(paragraphs, bucket.row_paragraphs)
  return sections
