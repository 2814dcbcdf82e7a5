"""A document as flat integer arrays, before it is packed.

This is what the shards of a prepared corpus hold and what `packing.py` reads.
Shapes use N tokens, S sentences, P paragraphs, C sections of one document, all
in reading order; a heading is a sentence in a one-sentence paragraph of its own.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class TokenizedDocument:
  """One document without any padding.

  Attributes:
    id: the document's id.
    token_ids: [N] int32, the sentences' tokens one after the other.
    sentence_lengths: [S] int32, tokens of each sentence, at least 1; sums to N.
    sentence_paragraph: [S] int32, non-decreasing, from 0 to P - 1.
    paragraph_section: [P] int32, non-decreasing, from 0 to C - 1.
    is_heading: [S] bool.
    target_ids: per level, [T_l] int32: the reference's tokens with its markers,
      ended by EOS unless it was cut at the level's maximum; empty where there is
      no reference.
    target_units: per level, [T_l] int32, the unit of the summary (sentence of the
      paragraph, section piece of the digest, always 0 for the one sentence) that
      each target token belongs to, counted from 0.
    num_pieces: section pieces that the section-level summary should have.
    planted: [S] bool, the generator's truth, or None.
    importance_labels: [S] float32 summing to 1, soft ROUGE-gain labels (zero at
      headings), or None where the labels are off or there is no reference.
    num_truncated: tokens of the source that the configured maximum cut off.
    num_cut_target_tokens: tokens of the references that their maxima cut off, all levels.
  """

  id: str
  token_ids: np.ndarray
  sentence_lengths: np.ndarray
  sentence_paragraph: np.ndarray
  paragraph_section: np.ndarray
  is_heading: np.ndarray
  target_ids: tuple[np.ndarray, np.ndarray, np.ndarray]
  target_units: tuple[np.ndarray, np.ndarray, np.ndarray]
  num_pieces: int
  planted: np.ndarray | None = None
  importance_labels: np.ndarray | None = None
  num_truncated: int = 0
  num_cut_target_tokens: int = 0
