"""Configs that change another one: the flat Transformer, and the ablations."""

import ast
import math
import types

from absl.testing import absltest, parameterized
import jax

from configs import ablation
from htmtl_jax import config as config_lib
from htmtl_jax.config_keys import flatten
from htmtl_jax.errors import UserError
from htmtl_jax.experiment import make_experiment
from tests import tiny_config

CONFIGS = tiny_config.REPOSITORY / "configs"
BASES = ("papers_base", "papers_tiny", "quickstart")


def load(name):
  config = config_lib.load_config(CONFIGS / name)
  config_lib.validate(config, config_lib.load_schema())
  return config


def count_parameters(config) -> int:
  tokenizer = types.SimpleNamespace(vocab_size=config.tokenizer.vocab_size)
  _, _, state = make_experiment(config, tokenizer).make_state()
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params))


def changed_keys(config, base) -> dict:
  base = flatten(base)
  return {key: value for key, value in flatten(config).items() if base[key] != value}


class FlatTransformerTest(parameterized.TestCase):
  @parameterized.product(base=BASES, variant=("flat_transformer.py:", "ablation.py:no_hierarchy,"))
  def test_has_as_many_parameters(self, base, variant):
    hierarchical = count_parameters(load(f"{base}.py"))
    flat = count_parameters(load(variant + base))
    self.assertLess(abs(flat / hierarchical - 1), 0.05)

  def test_differs_in_the_encoder_and_what_needs_segments(self):
    base = load("papers_tiny.py")
    differing = changed_keys(load("flat_transformer.py:papers_tiny"), base)
    encoder = ("token_attention", "token_layers", "paragraph_layers", "section_layers")
    encoder += ("document_layers", "top_down", "memory", "importance", "importance_gate")
    losses = ("importance", "coverage", "twice", "diversity")
    self.assertEqual(
      set(differing), {f"model.{key}" for key in encoder} | {f"loss.{key}" for key in losses}
    )

  def test_starts_from_the_base_size(self):
    self.assertEqual(
      flatten(load("flat_transformer.py")), flatten(load("flat_transformer.py:papers_base"))
    )


class SizesTest(parameterized.TestCase):
  @parameterized.parameters(("small", 30), ("base", 110), ("large", 400), ("xl", 1000))
  def test_parameters(self, size, millions):
    for corpus in ("arxiv", "pubmed"):
      config = load(f"{corpus}.py:{size}")
      self.assertEqual(config.data.name, corpus)
      self.assertEqual(config.model.mlp_width, 4 * config.model.width)
    self.assertBetween(count_parameters(config) / (millions * 1e6), 0.95, 1.05)

  def test_long_documents_fit_the_largest_bucket(self):
    short, long = load("arxiv.py:large"), load("arxiv.py:large,128k")
    self.assertEqual(
      set(changed_keys(long, short)),
      {"data.max_input_tokens", "layout.buckets", "train.batch_token_rows"},
    )
    rows, targets = long.layout.buckets[-1]
    self.assertEqual(long.data.max_input_tokens, 131072)
    self.assertGreaterEqual(rows * long.layout.row_tokens, 1.05 * long.data.max_input_tokens)
    self.assertGreaterEqual(targets, sum(long.data.max_target_tokens))
    self.assertGreaterEqual(long.train.batch_token_rows, rows)
    self.assertEqual(long.layout.buckets[: len(short.layout.buckets)], short.layout.buckets)

  @parameterized.parameters(
    ("arxiv.py:lage", "did you mean large?"), ("pubmed.py:xl,1m", "unknown variant '1m'")
  )
  def test_an_unknown_size_is_refused(self, name, message):
    with self.assertRaisesRegex(UserError, message.replace("?", r"\?")):
      config_lib.load_config(CONFIGS / name)


class AblationTest(parameterized.TestCase):
  @parameterized.parameters(*(name for name in ablation.CHANGES if name != "no_hierarchy"))
  def test_changes_what_it_says_and_builds(self, name):
    config = load(f"ablation.py:{name},papers_tiny")
    self.assertEqual(changed_keys(config, load("papers_tiny.py")), ablation.CHANGES[name])
    self.assertGreater(count_parameters(config), 500_000)

  @parameterized.parameters(
    ("ablation.py:no_covrage,papers_tiny", "did you mean no_coverage?"),
    ("ablation.py:no_coverage,paper_tiny", "did you mean papers_tiny?"),
    ("ablation.py", "known: no_hierarchy, no_top_down"),
    ("flat_transformer.py:base_of_mine", "no config to start from is called 'base_of_mine'"),
  )
  def test_an_unknown_name_is_refused_in_one_line(self, name, message):
    with self.assertRaises(UserError) as caught:
      config_lib.load_config(CONFIGS / name)
    self.assertIn(message, str(caught.exception))
    self.assertNotIn("\n", str(caught.exception))

  def test_an_argument_for_a_config_that_takes_none(self):
    with self.assertRaisesRegex(UserError, "quickstart.py.*takes 0 positional arguments"):
      config_lib.load_config(CONFIGS / "quickstart.py:fast")

  @parameterized.parameters("ablation.py", "flat_transformer.py")
  def test_its_header_says_how_to_run_it(self, name):
    docstring = ast.get_docstring(ast.parse((CONFIGS / name).read_text(encoding="utf-8")))
    self.assertIn(f"python -m htmtl_jax.main --config=configs/{name}:", docstring)


if __name__ == "__main__":
  absltest.main()
