"""The paper as its report shows it: a tree of text with percentages, shades and marks."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
from typing import Any

from htmtl_jax.reports.percentages import Percentages

NUM_SHADES = 10
_LABEL_CHARACTERS = 60
_PROFILE_WIDTH, _PROFILE_HEIGHT = 1000, 100


@dataclasses.dataclass
class Mark:
  """At a sentence of the paper: who drew on it."""

  code: str
  share: str


@dataclasses.dataclass
class Sentence:
  id: str
  text: str
  percent: str
  shade: int
  is_read: bool
  middle: float  # on the profile, 0 to 1000
  marks: list[Mark]


@dataclasses.dataclass
class Paragraph:
  id: str
  number: int
  percent: str
  shade: int
  label: str  # how it begins
  sentences: list[Sentence]


@dataclasses.dataclass
class Section:
  id: str
  name: str
  heading: Sentence | None
  percent: str
  width: float  # of its bar, 0 to 100
  shade: int
  paragraphs: list[Paragraph]
  start: float  # on the profile
  end: float
  is_read: bool  # any of it


@dataclasses.dataclass
class Profile:
  """Importance along the paper as the path of a bar chart, 1000 wide and 100 high."""

  path: str
  unread_from: float | None
  top: str  # the highest percentage


def build_sections(record: Mapping[str, Any], percentages: Percentages) -> list[Section]:
  """The tree of the paper, from the ids of its sentences in reading order."""
  importance = record["importance"]
  shades = {}
  for level in ("sections", "paragraphs", "sentences"):
    values = [segment["importance"] for segment in importance[level]]
    mean, highest = sum(values) / max(count_positive(values), 1), max(values, default=0.0)
    for segment, value in zip(importance[level], values):
      shades[segment["id"]] = _choose_shade(value, mean, highest)
  headings = {section["id"]: section["heading"] for section in importance["sections"]}
  lengths = [max(len(s["text"].split()), 1) for s in importance["sentences"]]
  scale = _PROFILE_WIDTH / max(sum(lengths), 1)

  sections: list[Section] = []
  before = 0
  for i, (sentence, length) in enumerate(zip(importance["sentences"], lengths)):
    section_id, part, _ = sentence["id"].split(".")
    if not sections or sections[-1].id != section_id:
      sections.append(
        Section(
          id=section_id,
          name=headings[section_id] or f"Section {len(sections) + 1}",
          heading=None,
          percent=percentages.show(section_id),
          width=percentages.units[section_id] / 10**percentages.decimals,
          shade=shades[section_id],
          paragraphs=[],
          start=round(before * scale, 1),
          end=0.0,
          is_read=False,
        )
      )
    section = sections[-1]
    shown = Sentence(
      id=sentence["id"],
      text=sentence["text"],
      percent=percentages.show(sentence["id"]),
      shade=shades[sentence["id"]],
      is_read=i < record["sentences_read"],
      middle=round((before + length / 2) * scale, 1),
      marks=[],
    )
    before += length
    section.end = round(before * scale, 1)
    section.is_read |= shown.is_read
    if part == "h":
      section.heading = shown
      continue
    paragraph_id = f"{section_id}.{part}"
    if not section.paragraphs or section.paragraphs[-1].id != paragraph_id:
      section.paragraphs.append(
        Paragraph(
          id=paragraph_id,
          number=len(section.paragraphs) + 1,
          percent=percentages.show(paragraph_id),
          shade=shades[paragraph_id],
          label=shorten(sentence["text"], _LABEL_CHARACTERS),
          sentences=[],
        )
      )
    section.paragraphs[-1].sentences.append(shown)
  return sections


def sentences_of(section: Section) -> Iterator[Sentence]:
  """In reading order, the heading first."""
  if section.heading:
    yield section.heading
  for paragraph in section.paragraphs:
    yield from paragraph.sentences


def _choose_shade(value: float, mean: float, highest: float) -> int:
  """0 up to the mean of the segments, from there in proportion up to NUM_SHADES at the highest.

  So what is shaded stands out: a wash over everything would say nothing.
  """
  if not value > mean * (1 + 1e-9):
    return 0
  return max(1, round(NUM_SHADES * (value - mean) / (highest - mean)))


def count_positive(values: Sequence[float]) -> int:
  """How many count: what was not read has no part in a mean, nor have unscored headings."""
  return sum(value > 0 for value in values)


def build_profile(record: Mapping[str, Any], sentences: Mapping[str, Sentence]) -> Profile:
  """The profile of all sentences, by their ids in reading order."""
  values = {s["id"]: s["importance"] for s in record["importance"]["sentences"]}
  highest = max(values.values(), default=0.0)
  parts, start, unread_from = [], 0.0, None
  for sentence in sentences.values():
    end = 2 * sentence.middle - start
    if not sentence.is_read and unread_from is None:
      unread_from = round(start, 1)
    height = _PROFILE_HEIGHT * values[sentence.id] / highest if highest > 0 else 0.0
    parts.append(f"V{_PROFILE_HEIGHT - height:.1f}H{end:.1f}")
    start = end
  top = max(sentences.values(), key=lambda s: values[s.id], default=None)
  return Profile(
    f"M0 {_PROFILE_HEIGHT}{''.join(parts)}V{_PROFILE_HEIGHT}Z",
    unread_from,
    top.percent if top else "",
  )


def shorten(text: str, length: int) -> str:
  """The beginning of a text, whole words where there are any, and "…" if there is more."""
  text = " ".join(text.split())
  if len(text) <= length:
    return text
  return (text[:length].rsplit(" ", 1)[0] or text[:length]).rstrip(" ,;:.") + "…"
