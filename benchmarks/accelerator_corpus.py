"""Makes the folder that a bare machine trains from: arrays, vocabulary, baselines' summaries.

Runs where everything is installed. What needs parsers, sentence splitting or ROUGE is
done here, so that the accelerator's machine needs none of them.
"""

import gzip
import json
import os
import tarfile

from htmtl_jax.data.prepared import (
  STATISTICS_FILE,
  VOCABULARY_FILE,
  PreparedCorpus,
  prepare_corpus,
)
from htmtl_jax.documents.document import Document
from htmtl_jax.documents.references import eligible_sections, make_references
from htmtl_jax.errors import UserError

BASELINES_FILE = "baselines.jsonl.gz"
_SAMPLE_FILE = "sample.jsonl.gz"
_ARCHIVED = ("train", "validation", "test", VOCABULARY_FILE, STATISTICS_FILE, BASELINES_FILE)


def prepare(
  corpus: str,
  directory: str,
  max_documents: int,
  exclude: tuple[str, ...],
  vocab_size: int,
  max_input_tokens: int,
  processes: int,
  seed: int,
  tiny: bool,
) -> dict[str, int]:
  """Prepares a JSON-lines corpus and packs it into one file beside the folder.

  Args:
    corpus: a file, or a folder of JSON-lines files.
    directory: where the arrays go; `directory`.tar.xz is the same, compressed.
    max_documents: sampled over all files in proportion to their lengths; 0 for all.
    exclude: names of files to leave out.
    vocab_size: pieces.
    max_input_tokens: source tokens of a document.
    processes: worker processes, 0 for one a core.
    seed: of the split.
    tiny: small limits, larger shares of held-out documents.

  Returns:
    Bytes of "directory" and "archive", and "documents".

  Raises:
    UserError: for a corpus that cannot be read or a folder that cannot be written.
  """
  from htmtl_jax import config as config_lib

  root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
  config = config_lib.load_config(os.path.join(root, "configs", "papers_base.py"))
  os.makedirs(directory, exist_ok=True)
  path = sample_corpus(corpus, directory, max_documents, exclude) if max_documents else corpus
  config.data.path = path
  config.data.exclude = exclude
  config.data.split_seed = seed
  config.data.processes = processes
  config.data.importance_labels = True
  config.data.max_input_tokens = max_input_tokens
  config.tokenizer.vocab_size = vocab_size
  if tiny:
    config.data.max_input_tokens = 2048
    config.data.max_target_tokens = (32, 96, 96)
    config.data.validation_share = config.data.test_share = 0.2
    config.tokenizer.vocab_size = 500
    config.tokenizer.model_type = "bpe"
  prepared = prepare_corpus(config, directory)
  if max_documents:
    os.remove(path)
  write_baselines(prepared, os.path.join(directory, BASELINES_FILE))
  return {
    "documents": sum(len(prepared.split(split)) for split in ("train", "validation", "test")),
    "directory": _folder_bytes(directory),
    "archive": write_archive(directory),
  }


def sample_corpus(corpus: str, directory: str, max_documents: int, exclude: tuple[str, ...]) -> str:
  """Writes the first lines of every file, in proportion, to one file; returns its path.

  The lines are taken as they are, so a corpus whose files are each in random order
  gives a random sample of all of them.
  """
  from htmtl_jax.documents.jsonl import list_files

  files = list_files(corpus, exclude)
  counts = [sum(1 for line in _read_lines(file) if line.strip()) for file in files]
  share = min(1.0, max_documents / max(sum(counts), 1))
  path = os.path.join(directory, _SAMPLE_FILE)
  with open(path, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as out:
    for file, count in zip(files, counts, strict=True):
      wanted = round(count * share)
      for line in _read_lines(file):
        if not wanted:
          break
        if line.strip():
          out.write(line.rstrip(b"\n") + b"\n")
          wanted -= 1
  return path


def write_baselines(prepared: PreparedCorpus, path: str) -> None:
  """References and the untrained systems' summaries of every held-out test document.

  A line a document: {"id", "eligible": [section], "important": [sentence index],
  "levels": {level: {"reference", "reference_kind", "fillers": [bool] or null,
  "reference_without_fillers": text or null, "systems": {name: [[sentence]]}}}}. Pieces
  are kept apart, so that those of filler sections can be left out of any system alike.
  """
  from htmtl_jax.evaluation.baselines import UNTRAINED, extract, oracle_summary
  from htmtl_jax.evaluation.importance import oracle_labels

  with open(path, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as out:
    for document in prepared.documents("test"):
      references = make_references(document)
      eligible = eligible_sections(document)
      levels = {}
      for level, reference in references.items():
        budget = prepared.word_budgets[level]
        systems = {
          name: extract(scorer, document, level, budget, eligible)
          for name, scorer in UNTRAINED.items()
        }
        systems["oracle"] = oracle_summary(document, references, level, eligible)
        fillers = [piece.filler for piece in reference.pieces]
        levels[level] = {
          "reference": reference.text,
          "reference_kind": reference.kind,
          "fillers": fillers if any(fillers) else None,
          "reference_without_fillers": reference.text_without_fillers if any(fillers) else None,
          "systems": systems,
        }
      important = []
      if "paragraph" in references:
        labels = oracle_labels(document, references["paragraph"].text)
        important = [int(i) for i in labels.nonzero()[0]]
      line = {
        "id": document.id,
        "eligible": list(eligible),
        "important": important,
        "levels": levels,
      }
      out.write(json.dumps(line).encode("ascii") + b"\n")


def read_baselines(directory: str) -> list[dict]:
  """The lines that `write_baselines` wrote, parallel to the test documents.

  Raises:
    UserError: if the file is missing or damaged.
  """
  path = os.path.join(directory, BASELINES_FILE)
  try:
    with gzip.open(path, "rt", encoding="ascii") as f:
      return [json.loads(line) for line in f]
  except (OSError, EOFError, ValueError) as error:
    raise UserError(f"{path}: missing or damaged ({error}); run `prepare` again") from error


def pair_systems(
  document: Document, baseline: dict, level: str, systems: dict[str, list[list[str]]]
) -> dict:
  """A line of predictions.jsonl: the reference beside every system's text.

  Args:
    document: whose id it has.
    baseline: its line of `write_baselines`.
    level: one of its levels.
    systems: pieces of further systems.
  """
  entry = baseline["levels"][level]
  pieces = {**systems, **entry["systems"]}
  fillers = entry["fillers"]
  record = {
    "id": document.id,
    "level": level,
    "reference": entry["reference"],
    "reference_kind": entry["reference_kind"],
    "systems": {name: join_sentences(p) for name, p in pieces.items()},
  }
  if fillers:
    # Piece j of a system belongs to eligible section j; a piece beyond them to none.
    keep = lambda p: [piece for j, piece in enumerate(p) if j >= len(fillers) or not fillers[j]]
    record["reference_without_fillers"] = entry["reference_without_fillers"]
    record["systems_without_fillers"] = {n: join_sentences(keep(p)) for n, p in pieces.items()}
  return record


def join_sentences(pieces) -> str:
  """A sentence a line, as `evaluation.rouge` joins them; that module needs rouge-score."""
  lines = (" ".join(sentence.split()) for piece in pieces for sentence in piece)
  return "\n".join(line for line in lines if line)


def write_archive(directory: str) -> int:
  """`directory`.tar.xz with what `run` needs, the same bytes for the same files; its size."""
  directory = os.path.normpath(directory)
  path = f"{directory}.tar.xz"

  def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if member.name.startswith("validation/") and member.name.endswith(".jsonl.gz"):
      return None  # the text of the validation split, which nothing here reads
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member

  with tarfile.open(path, "w:xz") as archive:
    for name in _ARCHIVED:
      archive.add(os.path.join(directory, name), arcname=name, filter=anonymous)
  return os.path.getsize(path)


def unpack_archive(path: str, directory: str) -> None:
  """Unpacks what `write_archive` wrote.

  Raises:
    UserError: if it is no such archive.
  """
  try:
    with tarfile.open(path, "r:xz") as archive:
      archive.extractall(directory, filter="data")
  except (OSError, EOFError, tarfile.TarError) as error:
    raise UserError(f"{path}: cannot be unpacked ({error}); run `prepare` again") from error


def _read_lines(file: str):
  with (gzip.open if file.endswith(".gz") else open)(file, "rb") as f:
    yield from f


def _folder_bytes(directory: str) -> int:
  return sum(
    os.path.getsize(os.path.join(folder, name))
    for folder, _, names in os.walk(directory)
    for name in names
  )
