"""What a corpus is said to hold, against counts by hand; and the mode that says it."""

import json
import os
import pathlib
import tempfile
from xml.etree import ElementTree

from absl.testing import absltest
import numpy as np

from htmtl_jax.data.placement import choose_buckets
from htmtl_jax.data.prepared import load_prepared
from htmtl_jax.data.statistics import render_statistics
from htmtl_jax.layout import LayoutConfig, make_buckets
from tests import tiny_config


class StatisticsTest(absltest.TestCase):
  def test_the_mode_prepares_and_tells(self):
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    arguments = ["--mode=prepare", f"--config={tiny_config.PATH}", f"--workdir={folder}"]
    status, out, err = tiny_config.run_main(*arguments)
    self.assertEqual(status, 0, err)
    directory = folder / "prepared"
    statistics = json.loads((directory / "statistics.json").read_text())
    for key in ("documents", "real_token_share", "truncated_tokens", "documents_per_second"):
      self.assertGreaterEqual(statistics[key], 0, key)
    corpus = load_prepared(str(directory))
    splits = [corpus.split(name) for name in ("train", "validation", "test")]
    self.assertEqual(statistics["documents"], sum(map(len, splits)))
    self.assertEqual(
      statistics["tokens"], sum(len(document.token_ids) for split in splits for document in split)
    )
    buckets = make_buckets(LayoutConfig(**tiny_config.get_config().layout))
    train = corpus.split("train")
    bucket_of, _ = choose_buckets(train.index["needs"], buckets)
    slots = sum(buckets[b].tokens for b in bucket_of)
    self.assertAlmostEqual(
      statistics["splits"]["train"]["real_token_share"], train.num_tokens.sum() / slots, places=3
    )
    medians = statistics["splits"]["train"]["percentiles"]
    middle = medians["of"].index(50)
    self.assertEqual(medians["tokens"][middle], round(float(np.median(train.num_tokens))))

    table = render_statistics(statistics)
    self.assertIn(table, out)
    self.assertIn(table, (directory / "statistics.md").read_text())
    ElementTree.parse(directory / "statistics.svg")

    stamps = {
      n: os.stat(directory / n).st_mtime_ns for n in ("statistics.json", "vocabulary.model")
    }
    status, again, _ = tiny_config.run_main(*arguments)  # nothing is left to do but to tell
    self.assertEqual((status, again), (0, out))
    for name, stamp in stamps.items():
      self.assertEqual(os.stat(directory / name).st_mtime_ns, stamp)


if __name__ == "__main__":
  absltest.main()
