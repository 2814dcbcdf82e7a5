"""The prepared corpus: what training and evaluation read instead of text.

    DIRECTORY/vocabulary.model             the shared vocabulary
    DIRECTORY/{train,validation,test}/     shards and an index, see `shards.py`
    DIRECTORY/statistics.json              counts and settings, written last

A directory whose `statistics.json` names the same corpus and settings is used as
it is: the second run does no text work. `corpus_builder.py` makes one. Reading
needs array_record, msgpack, NumPy and SentencePiece only, so a directory can be taken
to a bare machine.
"""

from collections.abc import Mapping
import dataclasses
import functools
import json
import os
from typing import Any

from htmtl_jax.data.shards import ShardedSplit
from htmtl_jax.data.tokenizer import Tokenizer
from htmtl_jax.documents.document import Document
from htmtl_jax.errors import UserError
from htmtl_jax.layout import LayoutConfig, make_buckets
from htmtl_jax.levels import LEVELS

SPLITS = ("train", "validation", "test")
DOCUMENT_SPLITS = ("validation", "test")  # the splits whose text is kept
VOCABULARY_FILE = "vocabulary.model"
STATISTICS_FILE = "statistics.json"
# Goes up whenever the same corpus and settings would give other files.
SCHEMA_VERSION = 2
# Words a summary gets where the training split has no reference of the level.
DEFAULT_WORD_BUDGETS = {"sentence": 25, "paragraph": 200, "section": 200}


class PreparedCorpus:
  """A prepared directory, opened. Arrays are mapped, documents read when asked for.

  Attributes:
    directory: where it is.
    statistics: the content of `statistics.json`.
    tokenizer: the shared vocabulary.
  """

  def __init__(self, directory: str, statistics: Mapping[str, Any]):
    self.directory = directory
    self.statistics = statistics
    self.tokenizer = Tokenizer.load(os.path.join(directory, VOCABULARY_FILE))
    try:
      self._splits = {split: ShardedSplit(os.path.join(directory, split)) for split in SPLITS}
    except (OSError, KeyError, ValueError, EOFError) as e:
      raise UserError(
        f"the prepared corpus in {directory} is damaged ({e}): delete the directory and run again"
      ) from e

  def split(self, name: str) -> ShardedSplit:
    """The split's documents as a sequence of `TokenizedDocument`.

    Raises:
      ValueError: if there is no such split.
    """
    if name not in self._splits:
      raise ValueError(f"unknown split {name!r}; known: {', '.join(SPLITS)}")
    return self._splits[name]

  def documents(self, split: str) -> list[Document]:
    """The split's documents as text, parallel to `self.split(split)`.

    Raises:
      ValueError: for a split whose text is not kept (train).
      UserError: if the file is missing or damaged.
    """
    if split not in DOCUMENT_SPLITS:
      raise ValueError(f"text is kept for {' and '.join(DOCUMENT_SPLITS)} only, not for {split!r}")
    try:
      documents = list(self._splits[split].texts())
      if len(documents) != len(self._splits[split]):
        raise ValueError(f"{len(documents)} documents, {len(self._splits[split])} expected")
    except (OSError, EOFError, ValueError, KeyError, TypeError) as e:
      raise UserError(
        f"the text of the {split} split in {self.directory} is missing or damaged ({e}): delete the "
        "directory and run again"
      ) from e
    return documents

  @functools.cached_property
  def word_budgets(self) -> dict[str, int]:
    """See `word_budgets_of`."""
    return word_budgets_of(self.statistics)


def word_budgets_of(statistics: Mapping[str, Any]) -> dict[str, int]:
  """Mean words of the training split's references by level, at least 1.

  What systems with a length to choose (the baselines, the extract) are given.
  """
  references = statistics["splits"]["train"]["references"]
  return word_budgets_from_means({level: references[level]["mean_words"] for level in LEVELS})


def tokens_per_word_of(statistics: Mapping[str, Any]) -> dict[str, float]:
  """Mean tokens, marks included, of a word of the training split's references by level.

  A target length in words becomes one in tokens by it.
  """
  by_level = {}
  for level, counts in statistics["splits"]["train"]["references"].items():
    words = (counts["mean_words"] or 0) * (counts["gold"] + counts["silver"])
    by_level[level] = counts["tokens"] / words if words else 1.0
  return by_level


def word_budgets_from_means(means: Mapping[str, float | None]) -> dict[str, int]:
  """Whole words, at least 1, from the mean words by level; None where nothing is known."""
  return {
    level: max(1, round(DEFAULT_WORD_BUDGETS[level] if mean is None else mean))
    for level, mean in means.items()
  }


@dataclasses.dataclass(frozen=True)
class PreparationSettings:
  """Everything that decides the files' content; equal settings, equal files.

  Attributes:
    corpus: fingerprint of the source and its splits.
    vocab_size: pieces asked for.
    tokenizer_type: "unigram" or "bpe".
    max_input_tokens: source tokens of a document.
    max_target_tokens: by level.
    importance_labels: whether soft ROUGE-gain labels are computed.
    schema_version: of this program's files.
  """

  corpus: str
  vocab_size: int
  tokenizer_type: str
  max_input_tokens: int
  max_target_tokens: tuple[int, int, int]
  importance_labels: bool
  schema_version: int = SCHEMA_VERSION

  def to_json(self) -> dict[str, Any]:
    record = dataclasses.asdict(self)
    record["max_target_tokens"] = list(self.max_target_tokens)
    return record


def prepare_corpus(
  config, directory: str | os.PathLike, processes: int | None = None
) -> PreparedCorpus:
  """Opens the prepared corpus in `directory`, making it first where need be.

  Args:
    config: an experiment's config; reads `config.data` and `config.tokenizer`.
    directory: where the files are or will be; `prepared_directory` gives the usual
      one. Files of another corpus or other settings in it are replaced.
    processes: worker processes; None for `config.data.processes`; 0 for one a core.

  Returns:
    The opened corpus. The same settings give the same files, whatever `processes`.

  Raises:
    UserError: for a corpus that cannot be read, an empty split, no text to train the
      vocabulary on, a directory that cannot be written.
  """
  # Here, because a machine that only reads needs no parsers.
  from htmtl_jax.config import get_frozen
  from htmtl_jax.data import corpus_builder
  from htmtl_jax.documents import sources

  directory = os.fspath(directory)
  corpus = sources.open_corpus(config.data)
  settings = PreparationSettings(
    corpus=corpus.fingerprint,
    vocab_size=config.tokenizer.vocab_size,
    tokenizer_type=config.tokenizer.model_type,
    max_input_tokens=config.data.max_input_tokens,
    max_target_tokens=tuple(config.data.max_target_tokens),
    importance_labels=config.data.importance_labels,
  )
  if processes is None:
    processes = config.data.processes
  if _read_settings(directory) != settings.to_json():
    corpus_builder.build(
      corpus,
      settings,
      make_buckets(
        get_frozen(config.layout, LayoutConfig, "layout"), config.data.max_input_tokens
      ),
      directory,
      processes,
      is_done=lambda: _read_settings(directory) == settings.to_json(),
    )
  return load_prepared(directory)


def load_prepared(directory: str | os.PathLike) -> PreparedCorpus:
  """Opens a prepared directory without looking at the corpus it was made from.

  Raises:
    UserError: if there is no complete prepared corpus.
  """
  directory = os.fspath(directory)
  path = os.path.join(directory, STATISTICS_FILE)
  try:
    with open(path, encoding="utf-8") as f:
      statistics = json.load(f)
    version = statistics["settings"]["schema_version"]
  except (OSError, ValueError, KeyError, TypeError) as e:
    raise UserError(
      f"no prepared corpus in {directory} ({STATISTICS_FILE} missing or unreadable): train once"
      " with this data, or set data.prepared to the directory that has it"
    ) from e
  if version != SCHEMA_VERSION:
    raise UserError(
      f"the prepared corpus in {directory} has format {version}, this program reads"
      f" {SCHEMA_VERSION}: prepare it again"
    )
  return PreparedCorpus(directory, statistics)


def prepared_directory(config, workdir: str | os.PathLike) -> str:
  """`config.data.prepared`, or WORKDIR/prepared where that is empty."""
  return os.path.expanduser(config.data.prepared) or os.path.join(os.fspath(workdir), "prepared")


def _read_settings(directory: str) -> dict[str, Any] | None:
  """Settings of the finished files in `directory`, or None."""
  try:
    with open(os.path.join(directory, STATISTICS_FILE), encoding="utf-8") as f:
      return json.load(f)["settings"]
  except (OSError, ValueError, KeyError, TypeError):
    return None
