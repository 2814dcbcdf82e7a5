"""Documents of an exact number of tokens with the structure of a paper.

Speed depends on how many tokens there are and on how they fall into sentences, paragraphs
and sections, not on what they say. Lengths are drawn from log-normal distributions whose
mean and deviation are those of real papers (open-access articles under a vocabulary of
8,000; a section then has about 1,200 tokens). Or papers of a prepared corpus are joined.
Either way the document is cut at the very token asked for, and every system of the
comparison reads the same ids.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np

from htmtl_jax.data.tokenized import TokenizedDocument
from htmtl_jax.data.tokenizer import EOS_ID, NUM_STRUCTURE_IDS, SECTION_ID, SENTENCE_ID
from htmtl_jax.errors import UserError
from htmtl_jax.levels import PARAGRAPH, SECTION

# (mean, standard deviation) of the logarithm, and the largest.
SENTENCE_TOKENS = (3.46, 0.60, 400)
HEADING_TOKENS = (0.78, 0.95, 30)
PARAGRAPH_SENTENCES = (1.36, 0.62, 50)
SECTION_PARAGRAPHS = (1.53, 0.86, 90)
TARGET_SENTENCE_TOKENS = 30


@dataclasses.dataclass(frozen=True)
class _Structure:
  """Lengths of a document's sentences, and where each belongs; see `TokenizedDocument`."""

  sentence_lengths: np.ndarray
  sentence_paragraph: np.ndarray
  paragraph_section: np.ndarray
  is_heading: np.ndarray


def make_document(
  length: int,
  vocabulary: int,
  target_tokens: tuple[int, int, int],
  seed: int,
  prepared: str = "",
) -> TokenizedDocument:
  """One document with its three summaries, the same for the same arguments.

  Args:
    length: source tokens, exactly.
    vocabulary: ids are below it.
    target_tokens: of each level's summary, exactly; 0 for none.
    seed: of everything random.
    prepared: folder of a prepared corpus whose papers are joined; "" generates.

  Raises:
    UserError: if there is no such corpus, or it has more ids than `vocabulary`.
  """
  rng = np.random.default_rng((seed, length))
  if not prepared:
    structure = _cut(_generate(rng, length), length)
    # Words of a text follow Zipf's law, about: few are frequent.
    ranks = (vocabulary - NUM_STRUCTURE_IDS) ** rng.random(length)
    token_ids = NUM_STRUCTURE_IDS + ranks.astype(np.int32) - 1
  else:
    structure, token_ids = _join_papers(rng, length, _load_papers(prepared, vocabulary))
    structure = _cut(structure, length)
    token_ids = token_ids[:length]
  targets = [_make_target(rng, token_ids, level, n) for level, n in enumerate(target_tokens)]
  weights = rng.random(len(structure.sentence_lengths)) * ~structure.is_heading
  weights = weights if weights.any() else np.ones_like(weights)
  return TokenizedDocument(
    id=f"benchmark-{length}-{seed}",
    token_ids=token_ids.astype(np.int32),
    **{field.name: getattr(structure, field.name) for field in dataclasses.fields(structure)},
    target_ids=tuple(targets),
    target_units=tuple(_units(ids, level) for level, ids in enumerate(targets)),
    num_pieces=1,
    importance_labels=(weights / weights.sum()).astype(np.float32),
  )


def _draw(rng, distribution: tuple[float, float, int]) -> int:
  mean, deviation, largest = distribution
  return int(np.clip(round(rng.lognormal(mean, deviation)), 1, largest))


def _generate(rng, length: int) -> _Structure:
  """Section after section until there are `length` tokens or more."""
  lengths, paragraph_of, section_of, is_heading = [], [], [], []
  total = section = 0
  while total < length:
    heading = [[_draw(rng, HEADING_TOKENS)]]
    body = [
      [_draw(rng, SENTENCE_TOKENS) for _ in range(_draw(rng, PARAGRAPH_SENTENCES))]
      for _ in range(_draw(rng, SECTION_PARAGRAPHS))
    ]
    for i, paragraph in enumerate(heading + body):
      lengths += paragraph
      paragraph_of += [len(section_of)] * len(paragraph)
      is_heading += [i == 0] * len(paragraph)
      section_of.append(section)
      total += sum(paragraph)
    section += 1
  as_ints = lambda values: np.array(values, np.int32)
  return _Structure(
    as_ints(lengths), as_ints(paragraph_of), as_ints(section_of), np.array(is_heading, bool)
  )


def _load_papers(prepared: str, vocabulary: int) -> Sequence[TokenizedDocument]:
  """The training split of a prepared corpus."""
  from htmtl_jax.data.prepared import load_prepared  # here: it imports JAX

  corpus = load_prepared(prepared)
  size = corpus.tokenizer.vocab_size
  if size > vocabulary:
    raise UserError(
      f"--prepared={prepared} has a vocabulary of {size} ids, the systems of this --size have "
      f"{vocabulary}; prepare it with --config.tokenizer.vocab_size={vocabulary}"
    )
  return corpus.split("train")


def _join_papers(
  rng, length: int, split: Sequence[TokenizedDocument]
) -> tuple[_Structure, np.ndarray]:
  """Papers in a random order, one after the other, as one document."""
  parts, ids, total, paragraphs, sections = [], [], 0, 0, 0
  while total < length:
    for index in rng.permutation(len(split)):
      paper = split[int(index)]
      if not len(paper.token_ids):
        continue
      parts.append(
        (
          paper.sentence_lengths,
          paper.sentence_paragraph + paragraphs,
          paper.paragraph_section + sections,
          np.asarray(paper.is_heading, bool),
        )
      )
      ids.append(paper.token_ids)
      paragraphs += len(paper.paragraph_section)
      sections += int(paper.paragraph_section[-1]) + 1
      total += len(paper.token_ids)
      if total >= length:
        break
  return _Structure(*(np.concatenate(own) for own in zip(*parts))), np.concatenate(ids)


def _cut(structure: _Structure, length: int) -> _Structure:
  """The first `length` tokens; the last sentence may lose its end."""
  ends = np.cumsum(structure.sentence_lengths)
  count = int(np.searchsorted(ends, length)) + 1
  lengths = structure.sentence_lengths[:count].astype(np.int32)
  lengths[-1] -= ends[count - 1] - length
  paragraph = structure.sentence_paragraph[:count].astype(np.int32)
  return _Structure(
    lengths,
    paragraph,
    structure.paragraph_section[: paragraph[-1] + 1].astype(np.int32),
    structure.is_heading[:count],
  )


def _make_target(rng, token_ids: np.ndarray, level: int, length: int) -> np.ndarray:
  """A summary of `length` tokens drawn from the document's, with its level's markers and end."""
  ids = rng.choice(token_ids, length).astype(np.int32)
  if level == PARAGRAPH:
    ids[TARGET_SENTENCE_TOKENS :: TARGET_SENTENCE_TOKENS + 1] = SENTENCE_ID
  elif level == SECTION:
    ids[:: 4 * TARGET_SENTENCE_TOKENS] = SECTION_ID
  ids[-1:] = EOS_ID
  return ids


def _units(ids: np.ndarray, level: int) -> np.ndarray:
  """Which sentence of a paragraph, or piece of a digest, each target token belongs to."""
  if level == PARAGRAPH:
    marks = ids == SENTENCE_ID
    return (np.cumsum(marks) - marks).astype(np.int32)
  if level == SECTION:
    return np.maximum(np.cumsum(ids == SECTION_ID) - 1, 0).astype(np.int32)
  return np.zeros(len(ids), np.int32)
