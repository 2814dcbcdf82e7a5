"""The learned extractor: gradient-boosted trees over classic features of sentences.

Cheap to train and hard to beat among extractors without a network, so that an honest table
has it. It learns from training documents which sentences the greedy oracle takes, and
ranks those of other documents by how likely they would be taken.

It never ranks a document that it was trained on. Documents of the validation and test
splits are ranked by trees fitted on the training split, without the papers that are in
both (as data sets with given splits have some). Documents of the training split itself
are ranked by cross-fitting: they fall into folds by a hash of their id, and those of one
fold are ranked by trees fitted on the others.
"""

from collections.abc import Iterable, Sequence
import contextlib
import dataclasses
import hashlib
import heapq
import os
import pathlib
from typing import Any
import uuid
import zipfile

from absl import logging
import numpy as np
from scipy import special

from htmtl_jax.data.corpus_builder import count_cores
from htmtl_jax.documents.document import Document
from htmtl_jax.documents.sources import Corpus, Record, compute_fingerprint
from htmtl_jax.errors import UserError
from htmtl_jax.evaluation import boosted_trees, features, parallel
from htmtl_jax.evaluation.baselines import body_places
from htmtl_jax.evaluation.boosted_trees import BoostedTrees
from htmtl_jax.evaluation.oracle import greedy_oracle
from htmtl_jax.evaluation.saved import EVALUATION
from htmtl_jax.evaluation.systems import LEARNED

FOLDER = "learned"  # in WORKDIR/evaluation
_TRAIN = "train"
_HELD_OUT, _FOLDS = "held_out", "folds"  # what a file of the cache is for


@dataclasses.dataclass(frozen=True)
class LearnedSettings:
  """What decides the trees, beside the corpus.

  Attributes:
    seed: of the choice of documents, of the folds and of the fit.
    documents: that are learnt from, at most: some 350,000 sentences of papers.
    folds: of the training split, where it is ranked itself.
    trees, learning_rate, leaves, least_rows: of `boosted_trees.fit`.
  """

  seed: int = 0
  documents: int = 2000
  folds: int = 5
  trees: int = 200
  learning_rate: float = 0.08
  leaves: int = 31
  least_rows: int = 40


@dataclasses.dataclass(frozen=True)
class LearnedExtractor:
  """Trees, and which of them may rank which document. Picklable.

  Attributes:
    settings: that they were made with.
    held_out: for documents of other splits than the training split; None if not wanted.
    folds: the k-th is for training documents of fold k; empty if not wanted.
    facts: for results.json: documents and sentences learnt from, the library's version.
  """

  settings: LearnedSettings
  held_out: BoostedTrees | None
  folds: tuple[BoostedTrees, ...]
  facts: dict[str, Any]

  def score(self, document: Document, record: Record | None = None) -> np.ndarray:
    """[B] float64, from 0 to 1: how likely the oracle would take each body sentence.

    Args:
      document: what to rank.
      record: that it came from; None for a document of a held-out split.
    """
    trees = self.held_out
    if record is not None and record.split == _TRAIN:
      trees = self.folds[assign_fold(make_key(record), self.settings)]
    return special.expit(trees.score(features.sentence_features(document)))


def make_key(record: Record) -> str:
  """The document's own id; where splits are given, a record's has the split before it."""
  return record.id.removeprefix(f"{record.split}/")


def _draw(purpose: str, key: str, seed: int) -> int:
  digest = hashlib.sha256(f"{purpose}/{seed}/{key}".encode(errors="backslashreplace")).digest()
  return int.from_bytes(digest[:8], "big")


def assign_fold(key: str, settings: LearnedSettings) -> int:
  """The fold of a training document, by a hash of the seed and its id."""
  return _draw("fold", key, settings.seed) % settings.folds


# ------------------------------------------------------------------------- learning


def learn(
  corpus: Corpus,
  directory: str | os.PathLike,
  splits: Sequence[str],
  settings: LearnedSettings | None = None,
  processes: int = 0,
) -> LearnedExtractor:
  """The extractor for some splits of a corpus, from its cache or learnt now.

  Args:
    corpus: its training split is learnt from.
    directory: WORKDIR/evaluation; the cache is a folder in it.
    splits: that will be ranked.
    settings: what to learn with.
    processes: worker processes; 0 for one a core. The trees do not depend on it.

  Raises:
    UserError: without scikit-learn (unless it is in the cache), or nothing to learn from.
  """
  settings = settings or LearnedSettings()
  wanted = [_FOLDS] if _TRAIN in splits else []
  wanted += [_HELD_OUT] if set(splits) - {_TRAIN} else []
  folder = pathlib.Path(directory) / FOLDER
  key = compute_fingerprint(
    corpus.fingerprint, dataclasses.asdict(settings), features.FEATURES, features.VERSION
  )
  paths = {part: folder / f"{key}_{part}.npz" for part in wanted}
  found = {part: _read(path) for part, path in paths.items()}
  missing = [part for part in wanted if found[part] is None]
  if missing:
    boosted_trees.require()
    examples = _read_examples(corpus, settings, processes or count_cores())
    for part in missing:
      found[part] = _fit_part(part, examples, settings)
      _write(paths[part], *found[part])
  trees = {part: own for part, (own, _) in found.items()}
  return LearnedExtractor(
    settings,
    held_out=trees[_HELD_OUT][0] if _HELD_OUT in trees else None,
    folds=tuple(trees.get(_FOLDS, ())),
    facts={"seed": settings.seed} | found[wanted[0]][1],
  )


def learn_if_asked(
  config, corpus: Corpus, workdir: str, systems: Sequence[str], splits: Sequence[str]
) -> LearnedExtractor | None:
  """`learn` with a config's seed and processes; None if `learned` is not among the systems."""
  if LEARNED not in systems:
    return None
  settings = LearnedSettings(seed=config.seed)
  directory = os.path.join(workdir, EVALUATION)
  return learn(corpus, directory, splits, settings, config.data.processes)


@dataclasses.dataclass(frozen=True)
class _Examples:
  """What is learnt from: the sentences of several documents, one after the other.

  Attributes:
    keys: of the documents.
    features: [R, F] float32.
    labels: [R] bool, whether the oracle takes the sentence.
    document: [R] index of its document.
  """

  keys: list[str]
  features: np.ndarray
  labels: np.ndarray
  document: np.ndarray


def make_examples(
  corpus: Corpus, records: Sequence[Record]
) -> list[tuple[str, np.ndarray, np.ndarray]]:
  """(key, features, labels) of every record that is well-formed and has an abstract."""
  examples = []
  for record in records:
    try:
      document = corpus.parse(record)
    except ValueError:
      continue  # told where documents are compared or prepared
    sentences = [place.text for place in body_places(document)]
    if not sentences or not document.abstract_sentences:
      continue
    labels = np.zeros(len(sentences), bool)
    labels[greedy_oracle(sentences, "\n".join(document.abstract_sentences))] = True
    examples.append((make_key(record), features.sentence_features(document), labels))
  return examples


def _read_examples(corpus: Corpus, settings: LearnedSettings, processes: int) -> _Examples:
  held_out, candidates = set(), []
  for record in corpus.records(tell=False):
    key = make_key(record)
    if record.split == _TRAIN:
      candidates.append((_draw("choose", key, settings.seed), key))
    else:
      held_out.add(key)
  kept = (item for item in candidates if item[1] not in held_out)
  chosen = {key for _, key in heapq.nsmallest(settings.documents, kept)}
  logging.info("the learned extractor reads %d training documents", len(chosen))
  records = (
    record
    for record in corpus.records(tell=False)
    if record.split == _TRAIN and make_key(record) in chosen
  )
  found: list[tuple[str, np.ndarray, np.ndarray]] = []
  parallel.work(
    corpus,
    make_examples,
    parallel.split_into_chunks(records),
    found.extend,
    len(chosen),
    "learn",
    1 if len(chosen) < parallel.MIN_DOCUMENTS_FOR_WORKERS else processes,
  )
  if not any(labels.any() for _, _, labels in found):
    raise UserError(
      f"{corpus.describe()}: the system learned has nothing to learn from: none of the "
      f"{len(chosen)} training documents has an abstract that shares words with its text; leave "
      "learned out of --systems"
    )
  return _Examples(
    [key for key, _, _ in found],
    np.concatenate([own for _, own, _ in found]),
    np.concatenate([own for _, _, own in found]),
    np.repeat(np.arange(len(found)), [len(own) for _, _, own in found]),
  )


def _fit_part(
  part: str, examples: _Examples, settings: LearnedSettings
) -> tuple[list[BoostedTrees], dict[str, Any]]:
  """The trees of one part of the cache, and what to tell of them."""
  if part == _HELD_OUT:
    chosen = [np.ones(len(examples.labels), bool)]
  else:
    fold = np.array([assign_fold(key, settings) for key in examples.keys])
    chosen = [fold[examples.document] != k for k in range(settings.folds)]
  trees = []
  for own in chosen:
    labels = examples.labels[own]
    if labels.all() or not labels.any():
      raise UserError(
        f"the system learned has too few training documents ({len(examples.keys)}) for "
        f"{settings.folds} folds; evaluate another split than train, or leave learned out"
      )
    fitted, version = boosted_trees.fit(
      examples.features[own],
      labels,
      settings.seed,
      settings.trees,
      settings.learning_rate,
      settings.leaves,
      settings.least_rows,
    )
    trees.append(fitted)
  facts = {
    "documents": len(examples.keys),
    "sentences": len(examples.labels),
    "taken": int(examples.labels.sum()),
    "scikit_learn": version,
  }
  return trees, facts


# ---------------------------------------------------------------------------- cache


def _write(path: pathlib.Path, trees: Iterable[BoostedTrees], facts: dict[str, Any]) -> None:
  """One file, whole or not at all."""
  arrays = {
    f"{number}/{name}": own
    for number, tree in enumerate(trees)
    for name, own in tree.to_arrays().items()
  }
  temporary = path.with_name(f".{uuid.uuid4().hex}.npz")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(temporary, **arrays, **{f"facts/{k}": v for k, v in facts.items()})
    os.replace(temporary, path)
  except OSError as error:
    with contextlib.suppress(OSError):
      temporary.unlink()
    raise UserError(
      f"{path} cannot be written ({error.strerror or error}); give another --workdir"
    ) from error


def _read(path: pathlib.Path) -> tuple[list[BoostedTrees], dict[str, Any]] | None:
  """What `_write` wrote; None if it is not there or not whole, and is to be made again."""
  try:
    with np.load(path, allow_pickle=False) as file:
      arrays = {name: file[name] for name in file.files}
    groups: dict[str, dict[str, np.ndarray]] = {}
    for name, own in arrays.items():
      group, _, field = name.partition("/")
      groups.setdefault(group, {})[field] = own
    facts = {name: own.item() for name, own in groups.pop("facts").items()}
    return [BoostedTrees.from_arrays(groups[str(n)]) for n in range(len(groups))], facts
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
    return None
