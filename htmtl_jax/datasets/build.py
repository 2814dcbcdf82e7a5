"""Makes a dataset, or tells where it is.

  python -m htmtl_jax.datasets.build --name=arxiv|pubmed [--manual_dir=DIR] [--data_dir=DIR]
  python -m htmtl_jax.datasets.build --name=jsonl --path=FOLDER [--data_dir=DIR]

Exit status: 0 done, 2 the input is wrong (one line says how), 130 stopped from the keyboard.
"""

from collections.abc import Sequence
import os
import sys

from absl import flags, logging

from htmtl_jax.datasets.examples import JsonlSource
from htmtl_jax.datasets.raw_release import RELEASES
from htmtl_jax.datasets.repair import TEXT_SOURCES
from htmtl_jax.datasets.report import MARKDOWN_FILE
from htmtl_jax.errors import UserError

EXIT_OK = 0
EXIT_USER_ERROR = 2
EXIT_KEYBOARD = 130  # 128 + SIGINT

_PROGRAM = "htmtl_jax.datasets.build"
_JSONL = "jsonl"
_RELEASE_FLAGS = ("manual_dir", "text_source")
_JSONL_FLAGS = ("path", "exclude", "validation_share", "test_share", "split_seed")


def _make_flags() -> flags.FlagValues:
  """Returns fresh flags, so that `run` can be called many times in a process."""
  values = flags.FlagValues()
  own = {"flag_values": values}
  flags.DEFINE_string("name", None, " | ".join((*RELEASES, _JSONL)), **own)
  flags.DEFINE_string(
    "data_dir", "", "where datasets are kept (default: ~/tensorflow_datasets)", **own
  )
  flags.DEFINE_string("manual_dir", "", "folder with the raw release (default: download it)", **own)
  flags.DEFINE_enum(
    "text_source", TEXT_SOURCES[0], TEXT_SOURCES, "what the text of a release is", **own
  )
  flags.DEFINE_string("path", "", "jsonl: a file or a folder", **own)
  flags.DEFINE_list("exclude", [], "jsonl: names of files in the folder to leave out", **own)
  flags.DEFINE_float("validation_share", 0.05, "jsonl: share of the documents", **own)
  flags.DEFINE_float("test_share", 0.05, "jsonl: share of the documents", **own)
  flags.DEFINE_integer("split_seed", 0, "jsonl: of the hash that splits the documents", **own)
  flags.DEFINE_boolean("help", False, "show this", short_name="h", **own)
  return values


def _parse_flags(argv: Sequence[str]) -> flags.FlagValues:
  values = _make_flags()
  try:
    unparsed = values([_PROGRAM, *argv])[1:]
  except flags.Error as error:
    raise UserError(f"{' '.join(str(error).split())}; see --help") from None
  if values.help:
    return values
  if unparsed:
    raise UserError(
      f"unexpected argument {unparsed[0]!r}; flags are written --name=value, see --help"
    )
  known = (*RELEASES, _JSONL)
  if values.name not in known:
    problem = f"--name={values.name} is unknown" if values.name else "--name is missing"
    raise UserError(f"{problem}; choose one of {', '.join(known)}")
  is_jsonl = values.name == _JSONL
  for name in _RELEASE_FLAGS if is_jsonl else _JSONL_FLAGS:
    if values[name].present:
      raise UserError(f"--{name} has no meaning with --name={values.name}; leave it out")
  if is_jsonl:
    if not values.path:
      raise UserError("--path is missing; name the file or the folder of the corpus")
    shares = (values.validation_share, values.test_share)
    if min(shares) <= 0 or sum(shares) >= 1:
      raise UserError(
        "--validation_share and --test_share should be above 0 and add up to less than 1, "
        f"got {shares[0]:g} and {shares[1]:g}"
      )
  return values


def _format_help(values: flags.FlagValues) -> str:
  names = ("name", "data_dir", *_RELEASE_FLAGS, *_JSONL_FLAGS, "help")
  return "\n".join([__doc__, *(f"  --{name:<18}{values[name].help}" for name in names)])


def _build(values: flags.FlagValues) -> None:
  from htmtl_jax.datasets import papers  # here, so that --help and a wrong flag answer at once

  if values.name == _JSONL:
    config = papers.make_jsonl_config(
      JsonlSource(
        path=values.path,
        exclude=tuple(values.exclude),
        validation_share=values.validation_share,
        test_share=values.test_share,
        split_seed=values.split_seed,
      )
    )
  else:
    config = papers.release_config_name(values.name, values.text_source)
  dataset = papers.prepare(config, values.data_dir, values.manual_dir)
  for split in papers.SPLITS:
    print(f"{split}: {dataset.num_documents(split):,} documents")
  print(f"dataset: {dataset.folder}")
  print(f"report: {os.path.join(dataset.folder, MARKDOWN_FILE)}")


def run(argv: Sequence[str]) -> int:
  """Runs one command line, given without the program's name; returns the exit status."""
  try:
    values = _parse_flags(argv)
    if values.help:
      print(_format_help(values))
      return EXIT_OK
    # Libraries underneath read absl's global flags, which nobody else parses here.
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()
    logging.set_verbosity(logging.WARNING)
    _build(values)
    return EXIT_OK
  except UserError as error:
    print(f"{_PROGRAM}: error: {str(error).replace('config.data.', '--')}", file=sys.stderr)
    return EXIT_USER_ERROR
  except KeyboardInterrupt:
    print(f"{_PROGRAM}: stopped from the keyboard", file=sys.stderr)
    return EXIT_KEYBOARD


if __name__ == "__main__":
  sys.exit(run(sys.argv[1:]))
