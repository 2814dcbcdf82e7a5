"""The papers behind the summaries: found in the corpus by their ids, read when needed."""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import os

from htmtl_jax.documents.document import Document
from htmtl_jax.documents.jsonl import SUFFIXES
from htmtl_jax.documents.sources import Corpus, Record, open_corpus
from htmtl_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Papers:
  """Some documents of a corpus.

  Attributes:
    corpus: that they are in.
    records: by id.
  """

  corpus: Corpus
  records: Mapping[str, Record]

  def source_of(self, identifier: str) -> str:
    """The file of the corpus that holds the document, without ending; "" if that says nothing."""
    name = os.path.basename(self.records[identifier].where.rpartition(", line ")[0])
    for suffix in SUFFIXES:
      if name.endswith(suffix):
        return name.removesuffix(suffix)
    return ""

  def read(self, identifier: str) -> Document:
    """Parses one.

    Raises:
      UserError: it is malformed, so it cannot be what was evaluated.
    """
    record = self.records[identifier]
    try:
      return self.corpus.parse(record)
    except ValueError as error:
      raise UserError(
        f"{record.where}: {identifier} cannot be read ({error}); the corpus has changed since the "
        "evaluation: put it back, or evaluate again"
      ) from None


def find_papers(config, identifiers: Sequence[str], split: str) -> Papers:
  """Looks up documents in the corpus that a config names.

  Args:
    config: of the experiment; reads `data`.
    identifiers: of an evaluation.
    split: that was evaluated, or "all".

  Raises:
    UserError: the corpus cannot be read, or lacks one of them.
  """
  corpus = open_corpus(config.data)
  wanted = set(identifiers)
  own = [record for record in corpus.records(tell=False) if split in ("all", record.split)]
  records = {}
  for record in own:
    # Where a paper may be in several splits, its record is called "SPLIT/ID".
    for name in (record.id, record.id.removeprefix(f"{record.split}/")):
      if name in wanted:
        records.setdefault(name, record)
  if len(records) < len(wanted):
    records |= _by_document_id(corpus, own, wanted - set(records))
  missing = sorted(wanted - set(records))
  if missing:
    raise UserError(
      f"{corpus.describe()}: {len(missing)} of {len(wanted)} evaluated documents are not in this "
      f"corpus, {missing[0]} for one; give --config, or config.data, of the corpus that was evaluated"
    )
  return Papers(corpus, records)


def _by_document_id(
  corpus: Corpus, records: Sequence[Record], wanted: set[str]
) -> dict[str, Record]:
  """Finds documents whose records are called otherwise, as generated papers' are."""
  found: dict[str, Record] = {}
  for record in records:
    try:
      name = corpus.parse(record).id
    except ValueError:
      continue
    if name == record.id:
      break  # in this corpus they are called alike, so there is nothing more to find
    if name in wanted:
      found[name] = record
  return found


def paragraphs_for_readers(paragraphs: Iterable[Sequence[str]]) -> list[str]:
  """Paragraphs of sentences as running text."""
  return [" ".join(paragraph) for paragraph in paragraphs]
