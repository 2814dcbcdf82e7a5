"""What the author's short text about the paper is, by its heading."""

import re

from htmtl_jax.documents.parsers.blocks import normalize_heading

IGNORED = "ignored"
_KIND_OF_TITLE = (
  (re.compile(r"author['’]?s?['’]? summary"), "author_summary"),
  (re.compile(r".*\bdigest"), "digest"),
  (re.compile(r"(?:plain[- ]language|lay) (?:summary|abstract)"), "digest"),
  (re.compile(r"significance(?: statement)?"), "significance"),
  (re.compile(r"(?:research |article )?highlights|key ?points|key messages"), "highlights"),
  (re.compile(r"one[- ]sentence summary|in brief|teaser|précis|precis"), "one_sentence"),
  (re.compile(r"(?:graphical|visual|video) abstract"), IGNORED),
)


def get_kind_of_title(title: str) -> str | None:
  """The kind of `Document.summaries`, `IGNORED` for pictures, None for any other heading."""
  title = normalize_heading(title)
  return next((kind for pattern, kind in _KIND_OF_TITLE if pattern.fullmatch(title)), None)
