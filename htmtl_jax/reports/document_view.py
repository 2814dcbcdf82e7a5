"""What a document report shows, worked out from a record: numbers, labels and links.

The template only lays it out. Segments keep their ids as addresses within the page;
summary sentences have a *code* as address and name: "S" the one sentence, "P2" the second
of the paragraph, "D3" of the section-by-section digest, "E1" of the extract.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from htmtl_jax.levels import LEVELS
from htmtl_jax.reports.paper_view import (
  Mark,
  Section,
  Sentence,
  build_profile,
  build_sections,
  count_positive,
  sentences_of,
  shorten,
)
from htmtl_jax.reports.percentages import apportion, compute_percentages
from htmtl_jax.summary_record import SHORT

CODES = {"sentence": "S", "paragraph": "P", "section": "D", "extract": "E"}
_PREVIEW_CHARACTERS = 160


@dataclasses.dataclass(frozen=True)
class Source:
  """A sentence of the paper that a summary sentence drew on."""

  id: str
  share: str  # "34%"
  section: str
  place: str  # "¶ 2.3": second paragraph, third sentence; "heading"
  preview: str


@dataclasses.dataclass
class SummarySentence:
  code: str
  text: str
  sources: Sequence[Source]
  rest: str  # what all other sentences together contributed, "" if nothing
  importance: str  # of the sentence of the paper that this one is, "" if it is none


@dataclasses.dataclass
class SummaryPiece:
  """Some sentences of a summary; in the digest those of one section."""

  heading: str
  section_id: str | None
  sentences: list[SummarySentence]


def build_view(record: Mapping[str, Any]) -> dict[str, Any]:
  """What the template names, from a record (see `summary_record.py`)."""
  percentages = compute_percentages(record["importance"])
  sections = build_sections(record, percentages)
  sentences = {s.id: s for section in sections for s in sentences_of(section)}
  find = _Places(sections, sentences)

  provenance = {level: [e for e in record["provenance"] if e["level"] == level] for level in LEVELS}
  texts = {level: [(record["summaries"][level], "", None)] for level in ("sentence", "paragraph")}
  texts["section"] = [
    (piece["text"], piece["heading"] or _name_of(piece["id"], sections), piece["id"])
    for piece in record["summaries"]["section"]
  ]
  summaries = {
    level: _build_pieces(level, texts[level], provenance[level], find) for level in LEVELS
  }
  summaries["extract"] = [
    SummaryPiece(
      "",
      None,
      [
        find.make_sentence("extract", i, e["text"], [{"id": e["id"], "share": 1.0}])
        for i, e in enumerate(record["extractive"])
      ],
    )
  ]
  num_read = record["sentences_read"]
  values = [s["importance"] for s in record["importance"]["sentences"]]
  body = [s for section in sections for p in section.paragraphs for s in p.sentences]
  return {
    "record": record,
    "sections": sections,
    "summaries": summaries,
    "sizes": {level: _describe_size(pieces) for level, pieces in summaries.items()},
    "left_out": _describe_left_out(record, sections),
    "profile": build_profile(record, sentences),
    "num_sentences": len(body),
    "num_paragraphs": sum(len(section.paragraphs) for section in sections),
    "num_words": sum(len(s.text.split()) for s in body),
    "first_unread": None
    if num_read >= len(sentences)
    else record["importance"]["sentences"][num_read]["id"],
    "num_unread": len(sentences) - num_read,
    "mean_percent": f"{100 / max(count_positive(values), 1):.{percentages.decimals}f}%",
    "same_as_extract": [s["text"] for s in record["extractive"]]
    == record["summaries"]["paragraph"].split("\n"),
  }


class _Places:
  """Finds the sentences of the paper, and notes at each who drew on it."""

  def __init__(self, sections: list[Section], sentences: Mapping[str, Sentence]):
    self._sentences = sentences
    self._where = {}
    for section in sections:
      if section.heading:
        self._where[section.heading.id] = (section.name, "heading")
      for paragraph in section.paragraphs:
        for i, sentence in enumerate(paragraph.sentences):
          self._where[sentence.id] = (section.name, f"¶\u202f{paragraph.number}.{i + 1}")

  def make_sentence(self, level: str, index: int, text: str, segments) -> SummarySentence:
    code = CODES[level] + ("" if level == "sentence" and index == 0 else str(index + 1))
    # What is not among the segments is shown as one more, so that it all adds up to 100.
    known = [segment["share"] for segment in segments]
    rest = max(0.0, 1.0 - sum(known)) if segments else 0.0
    *percents, percent_of_rest = apportion([*known, rest if rest > 1e-6 else 0.0], 100)
    sources = []
    for segment, percent in zip(segments, percents):
      sentence = self._sentences[segment["id"]]
      sentence.marks.append(Mark(code, f"{percent}%"))
      name, place = self._where[sentence.id]
      preview = shorten(sentence.text, _PREVIEW_CHARACTERS)
      sources.append(Source(sentence.id, f"{percent}%", name, place, preview))
    quoted = None
    if len(segments) == 1 and not percent_of_rest:
      quoted = self._sentences[segments[0]["id"]]
    return SummarySentence(
      code,
      text,
      sources,
      rest=f"{percent_of_rest}%" if percent_of_rest else "",
      importance=quoted.percent if quoted and quoted.text == text else "",
    )


def _build_pieces(level, texts, entries, find: _Places) -> list[SummaryPiece]:
  """The sentences of a summary with their provenance, piece by piece.

  A piece takes as many entries as make up its text. Where they do not (a record of another
  origin), its lines are sentences without known sources.
  """
  pieces, at, count = [], 0, 0
  for text, heading, section_id in texts:
    end = at
    while end < len(entries) and len(_join(entries[at:end])) < len(text):
      end += 1
    if _join(entries[at:end]) == text:
      taken = [(e["text"], e["segments"]) for e in entries[at:end]]
      at = end
    else:
      taken = [(line, []) for line in text.split("\n")]
    sentences = []
    for sentence, segments in taken:
      if sentence:
        sentences.append(find.make_sentence(level, count, sentence, segments))
        count += 1
    pieces.append(SummaryPiece(heading, section_id, sentences))
  return pieces


def _join(entries: Sequence[Mapping[str, Any]]) -> str:
  return "\n".join(e["text"] for e in entries)


def _describe_size(pieces: list[SummaryPiece]) -> str:
  sentences = [s.text for piece in pieces for s in piece.sentences]
  words = sum(len(text.split()) for text in sentences)
  return f"{count(len(sentences), 'sentence')}, {count(words, 'word')}"


def _describe_left_out(record, sections: list[Section]) -> list[dict[str, Any]]:
  return [
    {
      "id": section["id"],
      "name": section["heading"] or _name_of(section["id"], sections),
      "why": count(section["words"], "word") if section["reason"] == SHORT else section["reason"],
    }
    for section in record["left_out"]
  ]


def _name_of(section_id: str | None, sections: list[Section]) -> str:
  return next((s.name for s in sections if s.id == section_id), "")


def count(number: int, noun: str) -> str:
  """ "1 word", "2 words", "1,200 words"."""
  return f"{number:,} {noun}{'' if number == 1 else 's'}"
