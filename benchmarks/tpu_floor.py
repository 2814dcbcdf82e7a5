"""The least that each part of the train step has to compute and to move, by formula.

Letters as in htmtl_jax/layout.py: N token slots, S, P, C segments, M = N + S + P + C keys of
the decoder, T target tokens, D width, F width of an MLP, V vocabulary; all of one document.

FLOPs are those of the forward pass times three. Bytes suppose that everything between two
matrix products stays in the core's own memory, and that nothing is computed twice:

- a weight is read forward and backward and its gradient written, in float32: 12 bytes;
- a value that the backward pass needs is written and read once, in bfloat16: 4 bytes; of a
  layer these are its input, query, key, value, what attention read, the MLP's input, and the
  MLP's hidden layer before its nonlinearity: 6 D + F values a position. Attention's weights,
  norms and dropout are made again on the way;
- the decoder's keys and values travel five times: written, read forward and backward, their
  gradient written and read;
- logits and scores are never written;
- the optimiser reads parameter, gradient and two moments, writes three of them, and reads the
  gradient once more for its norm: 32 bytes a parameter.
"""

from collections.abc import Sequence
import dataclasses

from htmtl_jax.layout import Bucket
from htmtl_jax.models.config import ModelConfig, round_up_vocabulary

_SAVED = 4  # bytes of a value written and read once in bfloat16
_WEIGHT = 12  # of a weight: read twice, its gradient written, in float32
_OPTIMIZER = 32
OTHERS = "others"


@dataclasses.dataclass(frozen=True)
class Floor:
  """One part's floor for a whole batch.

  Attributes:
    name: of the part.
    prefixes: of the names that `parts.part_of` gives what belongs to it.
    flops, bytes: the least.
    formula: of the bytes without weights, for one document.
  """

  name: str
  prefixes: tuple[str, ...]
  flops: int
  bytes: int
  formula: str


def floors(
  model: ModelConfig, bucket: Bucket, documents: int, vocabulary: int, parameters: int
) -> list[Floor]:
  """The floor of each part; a name goes to the first part that has a prefix of it."""
  D, F, H = model.width, model.mlp_width, model.num_heads
  V = round_up_vocabulary(vocabulary)
  N, S, P, C = bucket.tokens, bucket.sentences, bucket.paragraphs, bucket.sections
  M, T, U = N + S + P + C, bucket.target_tokens, bucket.units
  layers = model.decoder_layers

  def transformer(positions, depth, keys):
    """(FLOPs, values saved, weights) of a stack in which each position looks at `keys`."""
    flops = positions * (8 * D * D + 4 * D * F + 4 * keys * D)
    return depth * flops, depth * positions * (6 * D + F), depth * (4 * D * D + 2 * D * F)

  def pool(children, slots, parents):
    flops = children * (2 * D * H + 2 * D * D + 2 * slots * D) + parents * 2 * D * D
    return flops, children * D, 2 * D * D + D * H

  # Which states get an MLP after their parent's state, where the config can choose.
  mlps = getattr(model, "top_down_mlps", "all")

  def from_parent(children, slots, parents, mlp):
    flops = parents * 2 * D * D + children * (2 * slots * D + mlp * 4 * D * F)
    return flops, children * (D + mlp * (D + F)), D * D + mlp * 2 * D * F

  def reading(positions, keys, depth):
    flops = (positions + keys) * 4 * D * D + 4 * positions * keys * D + positions * 4 * D * F
    return depth * flops, depth * positions * (4 * D + F), depth * (4 * D * D + 2 * D * F)

  add = lambda *parts: tuple(map(sum, zip(*parts)))
  segments = add(
    transformer(S, model.paragraph_layers, bucket.row_sentences),
    pool(S, bucket.row_paragraph_slots, P),
    transformer(P, model.section_layers, bucket.row_paragraphs),
    pool(P, bucket.row_section_slots, C),
    transformer(C, model.document_layers, C),
    from_parent(P, bucket.row_section_slots, C, mlps != "none"),
    from_parent(S, bucket.row_paragraph_slots, P, mlps != "none"),
    reading(S, P + C, model.top_down_layers),
  )
  tokens = add(
    transformer(N, model.token_layers, bucket.row_tokens),
    pool(N, bucket.row_sentence_slots, bucket.token_rows * bucket.row_sentence_slots),
  )
  shift = lambda positions: (2 * positions * D * D, 0, D * D)
  down = from_parent(N, bucket.row_sentence_slots, S, mlps == "all")
  attention = (layers * T * (4 * D * D + 4 * M * D) + 2 * T * U * M, layers * T * 3 * D)

  def floor(name, prefixes, flops, saved, weights, formula, extra=0):
    return Floor(
      name,
      prefixes,
      3 * documents * flops,
      documents * (_SAVED * saved + extra) + _WEIGHT * weights,
      formula,
    )

  return [
    floor(
      "token layers", ("encoder/sentence_transformer",), *tokens,
      "4 N (layers (6 D + F) + D)",
    ),
    floor("sentence to token", ("encoder/sentence_to_token", "encoder/token_norm"), *down,
          "4 N (2 D + F)"),
    floor("token shift", ("encoder/token_shift",), *shift(N), "0"),
    floor("segment levels", ("encoder",), *segments, "4 (layers (6 D + F) + D) for S, P, C"),
    floor(
      "memory projection", ("decoder/memory_projection", "decoder/memory_norm"),
      layers * M * 4 * D * D, 0, layers * 2 * D * D, "8 M D layers",
      extra=layers * M * 8 * D,
    ),
    floor(
      "cross-attention",
      ("decoder/cross_attention", "decoder/last_layer/cross_attention", "cross_attention"),
      *attention, layers * 2 * D * D, "12 M D layers + 12 T D layers",
      extra=layers * M * 12 * D,
    ),
    floor(
      "self-attention of the decoder",
      ("decoder/self_attention", "decoder/last_layer/self_attention", "self_attention"),
      layers * T * (8 * D * D + 4 * T * D), layers * T * 5 * D, layers * 4 * D * D,
      "20 T D layers",
    ),
    floor(
      "MLPs of the decoder", ("decoder/mlp", "decoder/last_layer/mlp"),
      layers * T * 4 * D * F, layers * T * (D + F), layers * 2 * D * F, "4 T (D + F) layers",
    ),
    floor("generator", ("generator",), T * 2 * D * V, 2 * T * D, V * D, "8 T D"),
    floor("the rest of the decoder", ("decoder",), *shift(T), "0"),
    floor("embedding", ("embed", "drop"), 0, 0, 0, "6 (N + T) D", extra=6 * (N + T) * D),
    floor("losses", ("losses", "score_targets"), 0, 0, 0, "0"),
    Floor("optimiser", ("optimizer",), 0, _OPTIMIZER * parameters, "32 parameters"),
  ]  # fmt: skip


def part_with_floor(parts: Sequence[Floor], name: str) -> str:
  """The name of the floor that a part of the program belongs to, or `OTHERS`."""
  for part in parts:
    if any(name == prefix or name.startswith(prefix + "/") for prefix in part.prefixes):
      return part.name
  return OTHERS
