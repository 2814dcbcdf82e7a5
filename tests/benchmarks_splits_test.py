"""The benchmark of splits: what it trains, and that its table says what was measured."""

import json
import pathlib
import tempfile

from absl.testing import absltest

from benchmarks import splits
from benchmarks.sizes import HTMTL_SPLITS
from htmtl_jax.config import load_config
from htmtl_jax.levels import LEVELS

_FLAT = ["flat, 4 token", "shipped depth: flat, 18 token"]


class SplitsTest(absltest.TestCase):
  def config(self, name):
    return load_config(splits.SPLITS[name][0], splits.overrides_of(name, 200, 3))

  def test_the_first_is_what_is_timed_and_one_is_flat(self):
    names = list(splits.SPLITS)
    timed = self.config(names[0]).model
    for key in ("token_layers", "paragraph_layers", "section_layers", "document_layers",
                "top_down_layers", "top_down_mlps", "decoder_layers"):  # fmt: skip
      self.assertEqual(timed[key], HTMTL_SPLITS["small"][key], key)
    flat = [name for name in names if self.config(name).model.token_attention == "blocks"]
    self.assertEqual(flat, _FLAT)

  def test_one_is_as_deep_as_the_small_size_of_configs(self):
    (name,) = (name for name in splits.SPLITS if name.startswith("shipped: "))
    model, shipped = self.config(name).model, load_config("configs/arxiv.py:small", []).model
    for key in shipped:
      if key.endswith("_layers") or key in ("top_down_mlps", "residual_init"):
        self.assertEqual(model[key], shipped[key], key)

  def test_all_differ_in_their_layers_and_in_nothing_else(self):
    seen, others = set(), []
    for name in splits.SPLITS:
      config = self.config(name).to_dict()
      is_split = lambda key: key.endswith("_layers") or key in ("top_down_mlps", "residual_init")
      own = {key: config["model"].pop(key) for key in list(config["model"]) if is_split(key)}
      deep = name.startswith("shipped")
      self.assertEqual(own.pop("residual_init"), "depth" if deep else "unit", name)
      seen.add(tuple(sorted(own.items())))
      if name not in _FLAT:  # knows no importance and no segments: another loss and memory
        others.append(config)
    self.assertLen(seen, len(splits.SPLITS))
    self.assertEqual(others, others[:1] * len(others))
    self.assertEqual((others[0]["train"]["num_steps"], others[0]["seed"]), (200, 3))

  def test_the_table(self):
    out = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    name = "2 token"
    folder = splits.workdir_of(out, name)
    folder.mkdir()
    losses = dict(zip((f"eval/ce/{level}" for level in LEVELS), (5.0, 4.0, 4.5), strict=True))
    rows = [
      {"step": 20, "kind": "train", "train/loss": 1.0},
      {"step": 50, "kind": "eval", **losses},
    ]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    timing = {"step_seconds": 2.0, "non_embedding_parameters": 1_500_000}
    with self.subTest("validations alone"):
      splits.write(out, {})
      self.assertIn("| 2 token |  |  | 50 |  | 5.000 | 4.000 | 4.500 | 4.500 |", self.table(out))
    with self.subTest("and times, added later"):
      splits.write(out, {name: timing})
      row = "| 2 token | 1.50 | 2.00 | 50 | 100 | 5.000 | 4.000 | 4.500 | 4.500 |"
      self.assertIn(row, self.table(out))
      self.assertIn("2 token", (out / "splits.html").read_text())

  def table(self, out):
    return splits.render_table(json.loads((out / "splits.json").read_text()))


if __name__ == "__main__":
  absltest.main()
