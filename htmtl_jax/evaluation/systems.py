"""The systems that can be compared, by the names they have on the command line and in files.

    lead, random, textrank, lexrank, lsa, sumbasic   rank sentences, untrained
    learned                                          ranks them, as the training split taught it
    oracle                                           chooses them, knowing the reference
    htmtl, htmtl_extractive                          a trained run, writing and choosing

Knows the names and nothing else, so that a wrong one is told at once; `untrained.py`,
`learned.py` and `htmtl_jax/evaluate.py` do what they stand for.
"""

from collections.abc import Sequence
import difflib

from htmtl_jax.errors import UserError

TRAINED = ("htmtl", "htmtl_extractive")
LEARNED = "learned"  # learns within the evaluation, so it needs no run
WRITERS = ("htmtl",)  # all others choose sentences of the document
# Systems that have seen the reference: shown, but neither best nor tested.
CEILINGS = frozenset({"oracle"})
# What a trained run is compared with unless `--systems` says otherwise.
DEFAULT_SYSTEMS = (*TRAINED, "lead", "lexrank", "oracle")
SYSTEMS = (
  *("lead", "random", "textrank", "lexrank", "lsa", "sumbasic", LEARNED, "oracle"),
  *TRAINED,
)


def parse_systems(text: str | None) -> tuple[str, ...]:
  """Names separated by commas, in their order; None gives `DEFAULT_SYSTEMS`.

  Raises:
    UserError: for an unknown name, one that is there twice, or none at all.
  """
  if text is None:
    return DEFAULT_SYSTEMS
  names = [name.strip() for name in text.split(",")]
  for name in names:
    if name not in SYSTEMS:
      nearest = difflib.get_close_matches(name, SYSTEMS, n=1, cutoff=0.5)
      hint = f"did you mean {nearest[0]}? " if nearest else ""
      raise UserError(
        f"unknown system {name!r} in --systems={text}; {hint}there are {', '.join(SYSTEMS)}"
      )
  for name in names:
    if names.count(name) > 1:
      raise UserError(f"--systems={text} names {name} twice; name every system once")
  return tuple(names)


def needs_run(systems: Sequence[str]) -> bool:
  """Whether one of the systems is a trained run's."""
  return any(name in TRAINED for name in systems)
