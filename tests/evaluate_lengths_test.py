"""Lengths that are asked for: the same summaries whichever way they are asked, and what is refused."""

import dataclasses
import pathlib
import tempfile

from absl.testing import absltest, parameterized
import numpy as np

from htmtl_jax.errors import UserError
from htmtl_jax.evaluate_lengths import check_length_factors, target_words
from htmtl_jax.evaluation.saved import read_json
from htmtl_jax.experiment import open_run
from htmtl_jax.inference import lengths_in_tokens
from htmtl_jax.levels import LEVELS
from tests import pages, tiny_config

FACTOR = 0.4


class LengthsTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.trained = open_run(str(tiny_config.trained()[0]))

  def test_words_become_tokens_as_in_the_training_references(self):
    statistics = read_json(tiny_config.trained()[0] / "statistics.json")
    words = target_words(self.trained, FACTOR)
    tokens = lengths_in_tokens(self.trained, words)
    for level, n_words, n_tokens in zip(LEVELS, words, tokens, strict=True):
      reference = statistics["splits"]["train"]["references"][level]
      count = reference["gold"] + reference["silver"]
      self.assertEqual(n_words, round(FACTOR * round(reference["mean_words"])))
      self.assertEqual(
        n_tokens, round(n_words * reference["tokens"] / count / reference["mean_words"])
      )
    self.assertEqual(lengths_in_tokens(self.trained, (0, 0, 0)), (0, 0, 0))

  def test_two_ways_of_asking_write_the_same(self):
    """`length_factors` in one evaluation, `target_words` in another."""
    folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    workdir = tiny_config.copy_trained(folder)
    flags = ("--mode=evaluate", f"--workdir={workdir}", "--config.evaluate.reports=0")
    words = target_words(self.trained, FACTOR)
    status, _, err = tiny_config.run_main(*flags, f"--config.evaluate.length_factors={FACTOR},")
    self.assertEqual(status, 0, err)
    path = workdir / "evaluation" / str(self.trained.step)
    (row,) = read_json(path / "results.json")["by_target_length"]
    page = (path / "report.html").read_text()
    status, _, err = tiny_config.run_main(
      *flags, f"--config.decode.target_words={','.join(map(str, words))}"
    )
    self.assertEqual(status, 0, err)
    other = read_json(path / "results.json")
    self.assertNotIn("by_target_length", other)
    self.assertEqual(row["factor"], FACTOR)
    for level, target in zip(LEVELS, words, strict=True):
      own = dict(row["levels"][level])
      self.assertEqual(own.pop("target_words"), target)
      self.assertAlmostEqual(own.pop("words"), other["measures"]["htmtl"][level]["words"])
      self.assertGreaterEqual(own.pop("length_error"), 0)
      self.assertEqual(own, other["systems"]["htmtl"][level])
    # The report shows them.
    self.assertIn("Lengths asked for", pages.parse(page).body.text())
    self.assertIn("Words asked for and written", pages.parse(page).body.text())

  @parameterized.parameters(
    ((99.0,), r"length_factors: 99\.0: .* words at level \w+ are about .* raise decode.max_tokens"),
    ((0.5, 0.0), r"length_factors: 0\.0 must be a number above 0"),
    ((float("inf"),), r"length_factors: inf must be"),
    (("half",), r"length_factors: 'half' must be"),
  )
  def test_lengths_that_cannot_be(self, factors, message):
    with self.assertRaisesRegex(UserError, message):
      check_length_factors(self.trained, factors)

  def test_a_model_that_is_not_told(self):
    experiment = self.trained.experiment
    deaf = dataclasses.replace(
      self.trained,
      experiment=dataclasses.replace(
        experiment,
        model_config=dataclasses.replace(experiment.model_config, length_condition=False),
      ),
    )
    self.assertEqual(lengths_in_tokens(deaf, (0, 0, 0)), (0, 0, 0))
    with self.assertRaisesRegex(UserError, "trained without lengths"):
      lengths_in_tokens(deaf, (0, 20, 0))
    np.testing.assert_array_less(0, lengths_in_tokens(self.trained, (0, 20, 0))[1])


if __name__ == "__main__":
  absltest.main()
