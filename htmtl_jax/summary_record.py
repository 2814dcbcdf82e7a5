"""The record of one paper's summaries: what `summarize` returns, and ID.json holds.

    {id, title, method,
     summaries: {sentence: text, paragraph: text, section: [{id, heading, text}]},
     extractive: [{id, text}],
     importance: {sections: [{id, heading, importance}], paragraphs: [{id, importance}],
                  sentences: [{id, text, importance}]},
     provenance: [{level, sentence, text, segments: [{id, share}]}],
     left_out: [{id, heading, words, reason}],
     sentences_read, truncated_tokens}

Segment ids read "c1.p0.s2": section 1, its first body paragraph, its third sentence;
"c1.h.s0" is the heading. Importance sums to 1 over the sentences, and a paragraph's or
a section's is the sum of its sentences'. So the record holds the whole text and its
structure; reports need nothing else.
"""

from collections.abc import Mapping, Sequence
import hashlib
import json
import os
import re

import numpy as np

from htmtl_jax.documents.document import Document, SentencePlace, iterate_sentences
from htmtl_jax.evaluation.baselines import Pieces, body_places, find_sentences
from htmtl_jax.levels import LEVELS

MAX_SEGMENTS = 5  # sentences named as the source of a summary sentence
MIN_SHARE = 0.02  # of a summary sentence's attention, below which a segment is not named

# Why a section has no piece in the section-by-section digest.
SHORT = "short"  # too few words, see `references.eligible_sections`
NOT_READ = "not read"  # all of it was truncated
NOT_WRITTEN = "not written"  # the digest ended before it


def make_record(
  document: Document,
  method: str,
  pieces: Mapping[str, Pieces],
  eligible: Sequence[int],
  importance: np.ndarray,
  extractive: Pieces,
  shares: Sequence[Sequence[np.ndarray]] | None = None,
  num_truncated: int = 0,
) -> dict:
  """Puts together what is known of one paper.

  Args:
    document: the paper, S sentences (headings included).
    method: "htmtl", or the name of a system that needs no training.
    pieces: the summary at each level.
    eligible: sections that the section-level pieces are of, in order.
    importance: [K] of the first K <= S sentences, those that were read; sums to 1.
    extractive: chosen sentences of the paper.
    shares: by level, a [K] array summing to 1 for each sentence of the summary: what it
      drew on. None where the summaries are sentences of the paper, which have drawn on
      themselves.
    num_truncated: tokens that were not read.
  """
  places = list(iterate_sentences(document))
  return {
    "id": document.id,
    "title": document.title,
    "method": method,
    "summaries": {
      "sentence": _text(pieces["sentence"]),
      "paragraph": _text(pieces["paragraph"]),
      "section": _by_section(document, eligible, pieces["section"]),
    },
    "extractive": [
      {"id": place.sentence_id, "text": place.text} for place in _find_places(document, extractive)
    ],
    "importance": _describe_importance(places, importance),
    "provenance": _describe_own_sentences(document, pieces)
    if shares is None
    else _describe_provenance(places, pieces, shares),
    "left_out": _describe_left_out(document, eligible, len(pieces["section"]), len(importance)),
    "sentences_read": len(importance),
    "truncated_tokens": int(num_truncated),
  }


def make_file_name(document_id: str) -> str:
  """A name, without its ending, for the files of a document; different ids get different ones.

  An id that cannot be a file's name is cleaned, and a digest of it keeps the names apart.
  So is "index", which names the list of all papers.
  """
  name = re.sub(r"[^\w.-]+", "_", document_id).strip("._")
  name = name.encode()[:100].decode(errors="ignore")  # file systems count bytes
  if name != document_id or name.lower() == "index":
    # A lone surrogate, legal in JSON, has no UTF-8.
    digest = hashlib.sha256(document_id.encode("utf-8", "surrogatepass")).hexdigest()
    name = f"{name or 'document'}-{digest[:8]}"
  return name


def write_record(record: dict, directory: str) -> str:
  """Writes one record as DIRECTORY/ID.json, atomically; returns the path."""
  os.makedirs(directory, exist_ok=True)
  path = os.path.join(directory, f"{make_file_name(record['id'])}.json")
  temporary = f"{path}.partial"
  # A lone surrogate has no UTF-8 form; JSON has one for it: \ud800.
  with open(temporary, "w", encoding="utf-8", errors="backslashreplace") as f:
    json.dump(record, f, ensure_ascii=False, indent=2, allow_nan=False)
  os.replace(temporary, path)
  return path


def _text(pieces: Pieces) -> str:
  return "\n".join(sentence for piece in pieces for sentence in piece)


def _by_section(document: Document, eligible: Sequence[int], pieces: Pieces) -> list[dict]:
  """Piece j under the heading of eligible section j; pieces beyond them are of none."""
  described = []
  for j, piece in enumerate(pieces):
    c = eligible[j] if j < len(eligible) else None
    described.append(
      {
        "id": None if c is None else f"c{c}",
        "heading": "" if c is None else document.sections[c].heading,
        "text": "\n".join(piece),
      }
    )
  return described


def _describe_left_out(
  document: Document, eligible: Sequence[int], num_pieces: int, num_read: int
) -> list[dict]:
  """The sections that the digest does not speak of, and why."""
  places = list(iterate_sentences(document))[:num_read]
  read = {place.section for place in places if not place.is_heading}
  left_out = []
  for c, section in enumerate(document.sections):
    if c in eligible[:num_pieces]:
      continue
    if c in eligible:
      reason = NOT_WRITTEN
    else:
      reason = SHORT if c in read or not section.num_words else NOT_READ
    left_out.append(
      {"id": f"c{c}", "heading": section.heading, "words": section.num_words, "reason": reason}
    )
  return left_out


def _find_places(document: Document, pieces: Pieces) -> list[SentencePlace]:
  """Where extracted sentences stand; each place is used once, so repeated sentences differ."""
  body = body_places(document)
  return [body[i] for i in find_sentences(document, pieces)]


def _describe_importance(places: list[SentencePlace], sentences: np.ndarray) -> dict:
  """Importance of every segment; parents are the sums of their sentences'.

  Sentences that truncation cut have importance 0.
  """
  padded = np.zeros(len(places))
  padded[: len(sentences)] = sentences
  paragraphs: dict[str, float] = {}
  sections: dict[str, float] = {}
  headings: dict[str, str] = {}
  for place, value in zip(places, padded):
    paragraphs[place.paragraph_id] = paragraphs.get(place.paragraph_id, 0.0) + float(value)
    sections[place.section_id] = sections.get(place.section_id, 0.0) + float(value)
    headings.setdefault(place.section_id, place.text if place.is_heading else "")
  return {
    "sections": [{"id": i, "heading": headings[i], "importance": v} for i, v in sections.items()],
    "paragraphs": [{"id": i, "importance": v} for i, v in paragraphs.items()],
    "sentences": [
      {"id": place.sentence_id, "text": place.text, "importance": float(value)}
      for place, value in zip(places, padded)
    ],
  }


def _describe_provenance(
  places: list[SentencePlace],
  pieces: Mapping[str, Pieces],
  shares_by_level: Sequence[Sequence[np.ndarray]],
) -> list[dict]:
  """For each summary sentence the sentences of the paper it drew on, largest share first."""
  provenance = []
  for level, shares in zip(LEVELS, shares_by_level):
    sentences = [s for piece in pieces[level] for s in piece]
    for i, (text, share) in enumerate(zip(sentences, shares)):
      order = np.argsort(-share, kind="stable")[:MAX_SEGMENTS]
      segments = [
        {"id": places[j].sentence_id, "share": float(share[j])}
        for rank, j in enumerate(order)
        if rank == 0 or share[j] >= MIN_SHARE
      ]
      provenance.append({"level": level, "sentence": i, "text": text, "segments": segments})
  return provenance


def _describe_own_sentences(document: Document, pieces: Mapping[str, Pieces]) -> list[dict]:
  """The provenance of sentences that were taken from the paper as they are."""
  return [
    {
      "level": level,
      "sentence": i,
      "text": place.text,
      "segments": [{"id": place.sentence_id, "share": 1.0}],
    }
    for level in LEVELS
    for i, place in enumerate(_find_places(document, pieces[level]))
  ]
