"""Classic features of sentences: what extractive summarisation looked at before networks.

Position, length, centrality, words of the title and the headings, cue words, numbers, the
kind of section, likeness to the neighbours. One row a body sentence, for a learner that needs
no scaling (trees); each is cheap, and none looks at an abstract.

Sources: Edmundson 1969, "New methods in automatic extracting" (cue words, title, location);
Kupiec, Pedersen & Chen 1995, "A trainable document summarizer" (length, paragraph position,
capitals); Erkan & Radev 2004 (centrality). The lists of words are our own.
"""

from collections.abc import Sequence
import re

import numpy as np
from scipy import sparse

from htmtl_jax.documents.document import Document
from htmtl_jax.documents.references import get_roles
from htmtl_jax.evaluation.baselines import body_places
from htmtl_jax.evaluation.function_words import FUNCTION_WORDS
from htmtl_jax.evaluation.ranking import lexrank_of_vectors, tfidf_vectors, word_counts

ROLES = ("background", "methods", "results", "conclusion")

_CUES = {
  name: re.compile(pattern, re.IGNORECASE)
  for name, pattern in {
    "aim": r"\b(?:aim|aims|aimed|objective|goal|purpose|hypothesi[sz]ed?|here,? we"
    r"|(?:this|the present|our) (?:paper|study|work|article|review|trial)"
    r"|we (?:propose|present|introduce|investigate|describe|examine|develop|study)\w*)\b",
    "finding": r"\b(?:we (?:found|find|show|observe|demonstrate|identif|report|achieve)\w*"
    r"|(?:results?|findings|data|analysis|experiments?) (?:show|indicat|suggest|reveal|demonstrat)\w*"
    r"|significant(?:ly)?|increased?|decreased?|reduced?|higher|lower|improve[ds]?|outperform\w*"
    r"|compared (?:to|with)|associated with|respectively)\b",
    "conclusion": r"\b(?:conclu\w+|in summary|to sum up|overall|taken together|therefore|thus|hence"
    r"|suggest\w*|implications?|potential(?:ly)?|may|could|future)\b",
    "pointer": r"\b(?:fig|figs|figure|figures|table|tables|supplementary|appendix|equation|eq"
    r"|section|e\.g|i\.e|for example|for instance|see)\b",
    "citation": r"\[ref\]|\bet al\b|\[\d|\(\d{4}|\d{4}\)",
    "we": r"\b(?:we|our|us)\b",
    "contrast": r"\b(?:however|although|but|while|whereas|despite|nevertheless|in contrast)\b",
  }.items()
}
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_STATISTIC = re.compile(r"%|\bp ?[<=>]|\bCI\b|±", re.IGNORECASE)
_CAPITAL = re.compile(r"(?<=\s)[A-Z]\w*")
_SYMBOL = re.compile(r"[=<>+*/^_{}\\|~]|<formula>")

FEATURES = (
  # position
  "place_in_document",
  "sentences_before",
  "sentences_after",
  "place_in_section",
  "sentences_before_in_section",
  "sentences_after_in_section",
  "sentences_before_in_paragraph",
  "sentences_after_in_paragraph",
  "paragraphs_before_in_section",
  "section_index",
  "sections_after",
  # size
  "words",
  "words_to_mean",
  "content_share",
  "mean_word_length",
  "section_share",
  "document_sentences",
  # centrality
  "lexrank",
  "lexrank_rank",
  "centroid",
  "centroid_rank",
  "section_centroid",
  "mean_frequency",
  "frequency_rank",
  "mean_rarity",
  # neighbours
  "like_previous",
  "like_next",
  # title and headings
  "title_words_covered",
  "share_in_title",
  "heading_words_covered",
  "share_in_other_headings",
  # cue words and other signs
  *(f"cue_{name}" for name in _CUES),
  "numbers",
  "statistics",
  "capitals",
  "symbols",
  "parentheses",
  "ends_with_full_stop",
  # kind of section
  *(f"in_{role}" for role in ROLES),
)
VERSION = 1  # goes up whenever a feature of the same name changes its meaning


def sentence_features(document: Document) -> np.ndarray:
  """The features of every body sentence.

  Args:
    document: B body sentences, as `baselines.body_places` gives them.

  Returns:
    [B, len(FEATURES)] float32, finite.
  """
  places = body_places(document)
  if not places:
    return np.zeros((0, len(FEATURES)), np.float32)
  sentences = [place.text for place in places]
  sections = np.array([place.section for place in places])
  paragraphs = np.cumsum([0] + [_is_new(a, b) for a, b in zip(places, places[1:], strict=False)])
  columns: dict[str, np.ndarray] = {}
  columns |= _position(sections, paragraphs, len(document.sections))
  columns |= _centrality(sentences, sections)
  columns |= _words(document, sentences, sections)
  columns |= _signs(sentences)
  roles = [get_roles(section.heading) for section in document.sections]
  for role in ROLES:
    columns[f"in_{role}"] = np.array([role in own for own in roles])[sections]
  return np.stack([columns[name] for name in FEATURES], axis=1).astype(np.float32)


def _is_new(place, following) -> bool:
  """Whether a paragraph ends between two body sentences."""
  return (place.section, place.paragraph) != (following.section, following.paragraph)


def _within(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """How many of its group stand before and after each; groups are contiguous."""
  starts = np.flatnonzero(np.diff(groups, prepend=groups[0] - 1))
  sizes = np.diff(starts, append=len(groups))
  before = np.arange(len(groups)) - np.repeat(starts, sizes)
  return before, np.repeat(sizes, sizes) - 1 - before


def _ranks(values: np.ndarray) -> np.ndarray:
  """Share of the sentences with a smaller value, so that documents compare."""
  return np.searchsorted(np.sort(values), values) / len(values)


def _position(sections: np.ndarray, paragraphs: np.ndarray, num_sections: int):
  count = len(sections)
  index = np.arange(count)
  before, after = _within(sections)
  before_in_paragraph, after_in_paragraph = _within(paragraphs)
  first = np.flatnonzero(before == 0)  # sentence of each section
  first_paragraph = np.repeat(paragraphs[first], np.diff(first, append=count))
  return {
    "place_in_document": index / count,
    "sentences_before": index,
    "sentences_after": count - 1 - index,
    "place_in_section": before / (before + after + 1),
    "sentences_before_in_section": before,
    "sentences_after_in_section": after,
    "sentences_before_in_paragraph": before_in_paragraph,
    "sentences_after_in_paragraph": after_in_paragraph,
    "paragraphs_before_in_section": paragraphs - first_paragraph,
    "section_index": sections,
    "sections_after": num_sections - 1 - sections,
    "section_share": (before + after + 1) / count,
    "document_sentences": np.full(count, count),
  }


def _centrality(sentences: Sequence[str], sections: np.ndarray):
  count = len(sentences)
  vectors = tfidf_vectors(sentences, stem=True)  # [B, V] of unit length
  lexrank = lexrank_of_vectors(vectors) * count
  centroid = _likeness_to_mean(vectors)
  section_centroid = np.zeros(count)
  for section in np.unique(sections):
    own = np.flatnonzero(sections == section)
    section_centroid[own] = _likeness_to_mean(vectors[own])
  neighbours = np.asarray(vectors[:-1].multiply(vectors[1:]).sum(axis=1)).ravel()
  return {
    "lexrank": lexrank,
    "lexrank_rank": _ranks(lexrank),
    "centroid": centroid,
    "centroid_rank": _ranks(centroid),
    "section_centroid": section_centroid,
    "like_previous": np.concatenate([[0.0], neighbours]),
    "like_next": np.concatenate([neighbours, [0.0]]),
  }


def _likeness_to_mean(vectors: sparse.csr_array) -> np.ndarray:
  """Cosine of each row with the mean row."""
  mean = np.asarray(vectors.sum(axis=0)).ravel()
  return (vectors @ mean) / (np.linalg.norm(mean) or 1.0)


def _words(document: Document, sentences: Sequence[str], sections: np.ndarray):
  count = len(sentences)
  headings = [section.heading for section in document.sections]
  # Rows: the sentences, the title, the headings, all by the same columns.
  counts = word_counts([*sentences, document.title, *headings], left_out=FUNCTION_WORDS)
  held = counts.copy()
  held.data[:] = 1.0
  own, title, heads = held[:count], held[count].toarray().ravel(), held[count + 1 :]
  content = np.asarray(counts[:count].sum(axis=1)).ravel()
  distinct = np.maximum(np.diff(own.indptr), 1)
  frequency = np.asarray(counts[:count].sum(axis=0)).ravel()
  frequency /= max(frequency.sum(), 1.0)
  holders = np.asarray(own.sum(axis=0)).ravel()
  rarity = np.log((1 + count) / np.maximum(holders, 1.0))
  num_words = np.array([len(sentence.split()) for sentence in sentences], np.float64)
  characters = np.array([len(sentence) for sentence in sentences], np.float64)
  under_own = own.multiply(heads[sections]).tocsr()  # words that a sentence's own heading has
  heading_words = np.maximum(np.asarray(heads.sum(axis=1)).ravel(), 1.0)
  in_heads = np.asarray(heads.sum(axis=0)).ravel()  # headings that have a word
  in_head = np.asarray(under_own.sum(axis=1)).ravel()
  in_other_heads = own @ (in_heads > 0) - under_own @ (in_heads == 1)
  mean_frequency = (counts[:count] @ frequency) / np.maximum(content, 1.0)
  return {
    "words": num_words,
    "words_to_mean": num_words / max(num_words.mean(), 1.0),
    "content_share": content / np.maximum(num_words, 1.0),
    "mean_word_length": characters / np.maximum(num_words, 1.0),
    "mean_frequency": mean_frequency,
    "frequency_rank": _ranks(mean_frequency),
    "mean_rarity": (own @ rarity) / distinct,
    "title_words_covered": (own @ title) / max(title.sum(), 1.0),
    "share_in_title": (own @ title) / distinct,
    "heading_words_covered": in_head / heading_words[sections],
    "share_in_other_headings": in_other_heads / distinct,
  }


def _signs(sentences: Sequence[str]):
  number = lambda function: np.array([function(s) for s in sentences], np.float64)
  return {
    **{
      f"cue_{name}": number(lambda s, p=pattern: len(p.findall(s)))
      for name, pattern in _CUES.items()
    },
    "numbers": number(lambda s: len(_NUMBER.findall(s))),
    "statistics": number(lambda s: len(_STATISTIC.findall(s))),
    "capitals": number(lambda s: len(_CAPITAL.findall(s))),
    "symbols": number(lambda s: len(_SYMBOL.findall(s))),
    "parentheses": number(lambda s: s.count("(")),
    "ends_with_full_stop": number(lambda s: s.rstrip().endswith(".")),
  }
