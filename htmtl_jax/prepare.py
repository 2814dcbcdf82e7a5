"""Preparing a corpus by itself: everything that training needs of the text, done once.

Training prepares what it needs by itself; this mode does it ahead (on a machine without
an accelerator, or for several runs to share) and says what is in the corpus.
"""

import os

from htmtl_jax.data.prepared import prepare_corpus, prepared_directory
from htmtl_jax.data.statistics import plot_statistics, render_statistics
from htmtl_jax.experiment import check_config

TABLE_FILE = "statistics.md"
PLOT_FILE = "statistics.svg"


def run_prepare(config, workdir: str) -> dict:
  """Prepares the corpus, prints its tables, and writes them and the plots beside the shards.

  Args:
    config: an experiment's config; `config.data.prepared` says where, else
      WORKDIR/prepared.
    workdir: of the run.

  Returns:
    What statistics.json holds.

  Raises:
    UserError: see `prepared.prepare_corpus`.
  """
  check_config(config)
  directory = prepared_directory(config, workdir)
  corpus = prepare_corpus(config, directory)
  table = render_statistics(corpus.statistics)
  with open(os.path.join(directory, TABLE_FILE), "w", encoding="utf-8") as f:
    f.write(f"# {corpus.statistics['corpus']}\n\n{table}\n\n![lengths]({PLOT_FILE})\n")
  plot_statistics(
    corpus.split("train").index, corpus.statistics, os.path.join(directory, PLOT_FILE)
  )
  print(table)
  print(f"\nprepared: {directory}")
  return corpus.statistics
