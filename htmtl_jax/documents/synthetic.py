"""Generated papers: the embedded corpus, made from a seed, no files needed.

A paper has four or five sections, each with a *role* (background, methods, ...)
told by its heading. Every sentence states one *fact*: two invented names, a
quantity, a value, a condition. Each role has its own family of *cue* phrases,
and every section holds cue sentences of every family in the paper, at random
places, but the family of the section's own role exactly once. That one sentence
is *planted*: it is what the summaries say. So neither the words of a sentence
nor its place tells that it matters; the heading above it does.

Names and values are drawn so that no two splits share one (by a stable hash of
the word), while the syllables and digits they are spelled with are common to
all: a model can score well on held-out papers only by copying.
"""

import dataclasses
import random
import zlib

from htmtl_jax.documents.document import Document, Section

SPLITS = ("train", "validation", "test")

CORE_ROLES = ("background", "method", "result", "discussion")
OPTIONAL_ROLES = ("related", "limitation")
_OPTIONAL_SHARE = 0.6  # of papers that have one of the optional sections
_ABSTRACT_ORDER = ("background", "related", "method", "result", "limitation", "discussion")

HEADINGS = {
  "background": ("Introduction", "Background", "Motivation", "Aims and context"),
  "method": ("Methods", "Materials and methods", "Experimental design", "Approach"),
  "result": ("Results", "Findings", "Outcomes", "Measurements"),
  "discussion": ("Discussion", "Interpretation", "Implications"),
  "related": ("Related work", "Prior studies"),
  "limitation": ("Limitations", "Threats to validity"),
}
CUES = {
  "background": ("To this day,", "As is widely held,", "Historically,"),
  "method": ("By protocol,", "In our setup,", "Following the plan,"),
  "result": ("Strikingly,", "Notably,", "Above all,"),
  "discussion": ("Taken together,", "In essence,", "All things considered,"),
  "related": ("According to others,", "In prior reports,", "As others noted,"),
  "limitation": ("Admittedly,", "With some caution,", "As a caveat,"),
}
NEUTRAL_OPENERS = (
  "",
  "",
  "In this case,",
  "For comparison,",
  "On average,",
  "Over time,",
  "At the same time,",
  "In most runs,",
)

# The order of the four core sections varies, so that position does not name the role.
_CORE_ORDERS = (
  ("background", "method", "result", "discussion"),
  ("background", "result", "discussion", "method"),
  ("result", "discussion", "background", "method"),
  ("method", "background", "result", "discussion"),
)
# Sentences of each paragraph, by number of sections: 44 or 45 sentences a paper, so that
# papers are of nearly equal length and one bucket holds them with little padding.
_PARAGRAPH_SIZES = {
  4: ((4, 4, 3), (3, 4, 4), (5, 3, 3), (3, 5, 3)),
  5: ((5, 4), (4, 5), (3, 3, 3)),
}
_DECOYS = (5, 6)  # cue sentences of other families, per section

_SYLLABLES = tuple(
  "ba bel bi bron bu da del dor du dra fa fen fi fos ga gel gor gu ha hel hin jo ka kel kor "
  "kra ku la lem lin lo lus ma mel mi mor na nel nok nu pa pel pir po ra rel ro rus sa sel "
  "sim so ta tel tir tu va vel vor wen xi ya zan zel".split()
)
_NOUNS = (
  "density",
  "growth",
  "signal",
  "yield",
  "mass",
  "width",
  "uptake",
  "drift",
  "noise",
  "strength",
  "decay",
  "output",
)
_UNITS = ("percent", "grams", "hours", "volts", "points", "units", "meters", "degrees")
_ADJECTIVES = ("cold", "dry", "bright", "mild", "heavy", "steady", "low", "rapid")
_CONDITIONS = ("light", "stress", "soil", "flow", "pressure", "heat", "load", "shade")

# One source wording, one short wording and one gist per variant of a fact.
_SOURCE = (
  "{a} raised the {noun} of {b} by {value} {unit} under {adjective} {condition}",
  "with {adjective} {condition} the {noun} of {b} fell by {value} {unit} after {a}",
  "the {noun} of {b} reached {value} {unit} once {a} met {adjective} {condition}",
  "in {adjective} {condition} {a} kept the {noun} of {b} at {value} {unit}",
)
_SHORT = (
  "{a} raises {b} {noun} by {value} {unit}",
  "{a} lowers {b} {noun} by {value} {unit}",
  "{a} brings {b} {noun} to {value} {unit}",
  "{a} holds {b} {noun} at {value} {unit}",
)
_GIST = (
  "In short, {value} {unit} more {noun} for {b} through {a}.",
  "In short, {value} {unit} less {noun} for {b} through {a}.",
  "In short, {value} {unit} of {noun} for {b} through {a}.",
  "In short, a stable {value} {unit} of {noun} for {b} through {a}.",
)
_SUMMARY_FRAMES = {
  "background": "It was unclear whether {}.",
  "method": "We tested if {}.",
  "result": "We found that {}.",
  "discussion": "This suggests that {}.",
  "related": "Earlier work says {}.",
  "limitation": "It is uncertain that {}.",
}


@dataclasses.dataclass(frozen=True)
class _Fact:
  """What one sentence states; `variant` picks its wording everywhere."""

  variant: int
  a: str
  b: str
  noun: str
  value: str
  unit: str
  adjective: str
  condition: str

  def fill(self, template: str) -> str:
    return template.format(**vars(self))

  def source_sentence(self, opener: str) -> str:
    clause = self.fill(_SOURCE[self.variant])
    return f"{opener} {clause}." if opener else f"{clause[0].upper()}{clause[1:]}."

  def summary_sentence(self, role: str) -> str:
    return _SUMMARY_FRAMES[role].format(self.fill(_SHORT[self.variant]))

  def gist_sentence(self) -> str:
    return self.fill(_GIST[self.variant])


def get_word_split(word: str) -> str:
  """The only split in which this name or value may occur: 8 in 10 words are train's."""
  bucket = zlib.crc32(word.encode()) % 10
  return SPLITS[max(0, bucket - 7)]


class _Words:
  """Draws names and values of one split, never the same one twice in a paper."""

  def __init__(self, rng: random.Random, split: str):
    self._rng = rng
    self._split = split
    self._used = set()

  def _draw_new(self, make) -> str:
    while True:
      word = make()
      if word not in self._used and get_word_split(word) == self._split:
        self._used.add(word)
        return word

  def _make_name(self) -> str:
    num_syllables = self._rng.choice((2, 3, 3))
    return "".join(self._rng.choices(_SYLLABLES, k=num_syllables)).capitalize()

  def _make_value(self) -> str:
    number = self._rng.randint(100, 999)
    return str(number) if self._rng.random() < 0.5 else f"{number / 10:.1f}"

  def draw_fact(self) -> _Fact:
    choice = self._rng.choice
    return _Fact(
      variant=self._rng.randrange(len(_SOURCE)),
      a=self._draw_new(self._make_name),
      b=self._draw_new(self._make_name),
      noun=choice(_NOUNS),
      value=self._draw_new(self._make_value),
      unit=choice(_UNITS),
      adjective=choice(_ADJECTIVES),
      condition=choice(_CONDITIONS),
    )


def _draw_roles(rng: random.Random) -> list[str]:
  """The roles of the sections in reading order; an optional one falls anywhere."""
  roles = list(rng.choice(_CORE_ORDERS))
  if rng.random() < _OPTIONAL_SHARE:
    roles.insert(rng.randint(0, len(roles)), rng.choice(OPTIONAL_ROLES))
  return roles


def _draw_families(rng: random.Random, role: str, roles: list[str], length: int) -> list[str]:
  """The cue family of each sentence of a section, "" for none: `role` exactly once."""
  others = [r for r in roles if r != role]
  num_decoys = max(rng.choice(_DECOYS), len(others))
  families = [role] + others + rng.choices(others, k=num_decoys - len(others))
  families += [""] * (length - len(families))
  rng.shuffle(families)
  return families


def generate_document(index: int, split: str, seed: int) -> Document:
  """Generates one paper; the same arguments give the same paper on every machine.

  Args:
    index: number of the paper in its split, from 0.
    split: "train", "validation" or "test"; no two splits share a name or a value.
    seed: of the corpus.

  Returns:
    A document of 4 or 5 sections, 44 or 45 body sentences and at least 500 words,
    with gold summaries at every level and `planted` filled in.

  Raises:
    ValueError: if `split` is not one of `SPLITS`.
  """
  if split not in SPLITS:
    raise ValueError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
  rng = random.Random(f"{seed}/{split}/{index}")
  words = _Words(rng, split)
  roles = _draw_roles(rng)

  sections, planted, facts = [], set(), {}
  for c, role in enumerate(roles):
    sizes = rng.choice(_PARAGRAPH_SIZES[len(roles)])
    families = iter(_draw_families(rng, role, roles, sum(sizes)))
    paragraphs = []
    for p, size in enumerate(sizes):
      sentences = []
      for s in range(size):
        family, fact = next(families), words.draw_fact()
        opener = rng.choice(CUES[family] if family else NEUTRAL_OPENERS)
        sentences.append(fact.source_sentence(opener))
        if family == role:
          planted.add((c, p, s))
          facts[role] = fact
      paragraphs.append(tuple(sentences))
    sections.append(Section(rng.choice(HEADINGS[role]), tuple(paragraphs)))

  result = facts["result"]
  return Document(
    id=f"synthetic-{split}-{seed}-{index:06d}",
    title=result.fill("The {noun} of {b} under {adjective} {condition}"),
    sections=tuple(sections),
    abstract=(
      tuple(facts[role].summary_sentence(role) for role in _ABSTRACT_ORDER if role in facts),
    ),
    summaries={"one_sentence": (result.gist_sentence(),)},
    section_summaries=tuple((facts[role].summary_sentence(role),) for role in roles),
    planted=frozenset(planted),
  )


def generate_corpus(split: str, count: int, seed: int) -> list[Document]:
  """The first `count` papers of a split, in order of their index."""
  return [generate_document(index, split, seed) for index in range(count)]
