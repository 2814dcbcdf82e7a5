"""What a summary is like beside its source, whatever its words score against a reference.

Repetition, novelty, extractive fragments, length, and what the source does not have: pure
functions of texts whose sentences stand on lines of their own (`rouge.join_sentences`).

There are two units. Lengths are in white-space separated words, as word budgets are. All
else is in tokens: lower-cased runs of letters and digits; a number is a token of its own,
whole with its points and commas ("5mg" is 5 and mg; "CO2" is one token and no number).

A share of nothing is undefined: None, never 0.
"""

from collections.abc import Iterator, Sequence
import functools
import re

from htmtl_jax.documents.document import Document, iterate_sentences

REPETITION_ORDERS = (2, 3, 4)
NOVELTY_ORDERS = (1, 2, 3, 4)
# In the order of `measure`.
MEASURES = (
  "words",
  "length_error",
  "compression",
  "coverage",
  "density",
  *(f"repetition_{n}" for n in REPETITION_ORDERS),
  *(f"novelty_{n}" for n in NOVELTY_ORDERS),
  "new_numbers",
  "new_names",
)

_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|\w+")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")

Ngram = tuple[str, ...]


def _split_tokens(sentence: str) -> list[str]:
  """Tokens as they are written, but for the commas between thousands: 1,200 is 1200."""
  return [
    token.replace(",", "") if _THOUSANDS.fullmatch(token) else token
    for token in _TOKEN.findall(sentence)
  ]


def tokenize(text: str) -> list[list[str]]:
  """The lower-cased tokens of each line of a text, lines without any left out."""
  lines = (_split_tokens(line.lower()) for line in text.split("\n"))
  return [tokens for tokens in lines if tokens]


def iterate_ngrams(sentences: Sequence[Sequence[str]], n: int) -> Iterator[Ngram]:
  """Every run of n tokens within a sentence, in order."""
  for tokens in sentences:
    yield from zip(*(tokens[k:] for k in range(n)), strict=False)


def repetition(sentences: Sequence[Sequence[str]], n: int) -> float | None:
  """1 - distinct n-grams / n-grams: the share that says again what the summary said.

  Source: See, Liu & Manning 2017, "Get to the point", figure 4 (duplicate n-grams).
  """
  ngrams = list(iterate_ngrams(sentences, n))
  return 1.0 - len(set(ngrams)) / len(ngrams) if ngrams else None


class Source:
  """A source text, indexed once for all the summaries that are measured against it."""

  def __init__(self, text: str):
    """Indexes a text whose sentences stand on lines of their own."""
    self.num_words = len(text.split())
    self.sentences = tokenize(text)
    self.tokens = [token for tokens in self.sentences for token in tokens]
    self.vocabulary = frozenset(self.tokens)

  @classmethod
  def of_document(cls, document: Document) -> "Source":
    """The source as the model is given it: headings and body, no title, no abstract."""
    return cls("\n".join(" ".join(p.text.split()) for p in iterate_sentences(document)))

  @functools.cached_property
  def ngrams(self) -> dict[int, frozenset[Ngram]]:
    """Distinct n-grams by n."""
    return {n: frozenset(iterate_ngrams(self.sentences, n)) for n in NOVELTY_ORDERS}

  @functools.cached_property
  def _places_of_pairs(self) -> dict[tuple[str, str], list[int]]:
    """Where in `tokens` each pair of neighbours begins."""
    places: dict[tuple[str, str], list[int]] = {}
    for i, pair in enumerate(zip(self.tokens, self.tokens[1:], strict=False)):
      places.setdefault(pair, []).append(i)
    return places

  def longest_match(self, tokens: Sequence[str], start: int) -> int:
    """Length of the longest run of tokens from `start` on that the source has, too."""
    if tokens[start] not in self.vocabulary:
      return 0
    places = self._places_of_pairs.get(tuple(tokens[start : start + 2]), ())
    length = 1
    while places:
      length += 1
      if start + length >= len(tokens):
        break
      following = tokens[start + length]
      places = [
        i for i in places if i + length < len(self.tokens) and self.tokens[i + length] == following
      ]
    return length


def fragments(source: Source, tokens: Sequence[str]) -> list[int]:
  """Lengths of the extractive fragments of a summary.

  From left to right, the longest run of tokens that the source has, too, is a fragment,
  and the search goes on behind it; a token that the source lacks is in none. Fragments
  may cross sentences, on both sides.

  Source: Grusky, Naaman & Artzi 2018, "Newsroom", figure 3. Where a source repeats
  itself within a match, the procedure there can miss the longest run; this does not.
  """
  lengths = []
  position = 0
  while position < len(tokens):
    length = source.longest_match(tokens, position)
    if length:
      lengths.append(length)
    position += max(length, 1)
  return lengths


def novelty(source: Source, sentences: Sequence[Sequence[str]], n: int) -> float | None:
  """Share of the summary's n-grams, repeated ones included, that the source lacks.

  Source: See, Liu & Manning 2017, "Get to the point", figure 6.
  """
  ngrams = list(iterate_ngrams(sentences, n))
  return sum(g not in source.ngrams[n] for g in ngrams) / len(ngrams) if ngrams else None


def find_numbers(text: str) -> list[str]:
  """The numbers of a text written in digits, each as often as it occurs."""
  return [token for tokens in tokenize(text) for token in tokens if token[0].isdigit()]


def find_names(text: str) -> list[str]:
  """Capitalised words of two letters or more that do not begin a line; lower-cased.

  A rule for English: names, but also acronyms and, in German, every noun. The first
  word of a sentence is left out since it is capitalised whatever it is.
  """
  lines = (_split_tokens(line) for line in text.split("\n"))
  return [t.lower() for tokens in lines for t in tokens[1:] if len(t) > 1 and t[0].isupper()]


def _share_not_in(source: Source, found: Sequence[str]) -> float | None:
  return sum(token not in source.vocabulary for token in found) / len(found) if found else None


def measure(source: Source, summary: str, reference: str) -> dict[str, float | None]:
  """All measures of one summary.

  Args:
    source: what was summarised.
    summary: newline-separated sentences; an empty one has 0 words and is else undefined.
    reference: the same, for the length alone.

  Returns:
    In the order of `MEASURES`, None where undefined:

      words         of the summary
      length_error  |words - words of the reference| / words of the reference
      compression   words of the source / words of the summary
      coverage      sum of fragment lengths / tokens of the summary
      density       sum of squared fragment lengths / tokens of the summary
      repetition_n  share of n-grams that occurred in the summary before
      novelty_n     share of n-grams that the source lacks
      new_numbers   share of the numbers that the source lacks
      new_names     share of the capitalised words that the source lacks

  Source: Grusky, Naaman & Artzi 2018, "Newsroom", section 4, for compression, coverage
  and density; the others are explained at their functions.
  """
  sentences = tokenize(summary)
  tokens = [token for own in sentences for token in own]
  lengths = fragments(source, tokens)
  num_words, num_reference_words = len(summary.split()), len(reference.split())
  length_error = abs(num_words - num_reference_words) / max(num_reference_words, 1)
  values: dict[str, float | None] = {
    "words": float(num_words),
    "length_error": length_error if num_reference_words else None,
    "compression": source.num_words / num_words if num_words else None,
    "coverage": sum(lengths) / len(tokens) if tokens else None,
    "density": sum(length**2 for length in lengths) / len(tokens) if tokens else None,
  }
  for n in REPETITION_ORDERS:
    values[f"repetition_{n}"] = repetition(sentences, n)
  for n in NOVELTY_ORDERS:
    values[f"novelty_{n}"] = novelty(source, sentences, n)
  values["new_numbers"] = _share_not_in(source, find_numbers(summary))
  values["new_names"] = _share_not_in(source, find_names(summary))
  return values
