"""Which documents are judged: a stratified random sample, the same for the same seed.

Each stratum gives documents in proportion to its size, so that the sample has as many
long papers, and as many of each source, as the evaluated documents have.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import random

import numpy as np

from htmtl_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Drawn:
  """One document of the sample.

  Attributes:
    id: the document's.
    stratum: in words, "" where there is one stratum only.
    words: the length that strata were made by.
  """

  id: str
  stratum: str
  words: int


@dataclasses.dataclass(frozen=True)
class Stratum:
  """What the protocol says of one.

  Attributes:
    name: in words.
    size: documents that it holds.
    drawn: of these, in the sample.
  """

  name: str
  size: int
  drawn: int


def name_strata(
  words: Mapping[str, int], sources: Mapping[str, str], by: Sequence[str], length_bins: int
) -> dict[str, str]:
  """The stratum of each document, in words.

  Args:
    words: by document.
    sources: by document; "" or absent where not known, which is no stratum.
    by: of `settings.STRATA`.
    length_bins: of equal numbers of documents; fewer where many have the same length.

  Returns:
    {document: name}.
  """
  names: dict[str, list[str]] = {i: [] for i in words}
  if "source" in by and len({sources.get(i, "") for i in words}) > 1:
    for i in words:
      names[i].append(sources.get(i, "") or "source unknown")
  if "length" in by and length_bins > 1:
    shares = np.arange(1, length_bins) / length_bins
    edges = np.unique(np.quantile(list(words.values()), shares, method="inverted_cdf"))
    for i, count in words.items():
      k = int(np.searchsorted(edges, count))  # edges[k - 1] < count <= edges[k]
      low = f"over {edges[k - 1]:,}" if k else ""
      high = f"up to {edges[k]:,}" if k < len(edges) else ""
      names[i].append(" ".join(filter(None, (low, high))) + " words")
  return {i: ", ".join(own) for i, own in names.items()}


def allot(sizes: Mapping[str, int], count: int) -> dict[str, int]:
  """How many of `count` each stratum gives: in proportion, by the largest remainders.

  Ties go to the larger stratum, then to the first by name.
  """
  total = sum(sizes.values())
  exact = {name: count * size / total for name, size in sizes.items()}
  given = {name: int(share) for name, share in exact.items()}
  order = sorted(sizes, key=lambda name: (given[name] - exact[name], -sizes[name], name))
  for name in order[: count - sum(given.values())]:
    given[name] += 1
  return given


def draw(
  words: Mapping[str, int], strata: Mapping[str, str], count: int, seed: int
) -> tuple[list[Drawn], list[Stratum]]:
  """Draws documents.

  Args:
    words: by document.
    strata: by document, see `name_strata`.
    count: documents to draw.
    seed: of the draw; the order of the mappings does not matter.

  Returns:
    The sample, ordered by stratum (so that documents dealt out in turn give every rater
    some of each) and at random in it; the strata, sorted by name.

  Raises:
    UserError: if there are fewer documents.
  """
  if count > len(words):
    raise UserError(
      f"study.design.documents is {count}, but only {len(words)} evaluated documents have every "
      "level that is asked for; lower it, or evaluate more"
    )
  members: dict[str, list[str]] = {}
  for identifier in sorted(words):
    members.setdefault(strata[identifier], []).append(identifier)
  given = allot({name: len(ids) for name, ids in members.items()}, count)
  drawn = []
  for name in sorted(members):
    rng = random.Random(f"{seed}/sample/{name}")
    chosen = rng.sample(members[name], given[name])
    drawn += [Drawn(i, name, words[i]) for i in chosen]
  return drawn, [Stratum(name, len(members[name]), given[name]) for name in sorted(members)]
