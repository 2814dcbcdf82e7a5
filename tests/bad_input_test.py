"""What is wrong in the input is said in one line, and the exit status is 2."""

import itertools
import json
import pathlib
import tempfile
from unittest import mock

from absl.testing import absltest, parameterized
import jax
import numpy as np

from htmtl_jax import config as config_lib
from htmtl_jax.checkpoint import CheckpointStore
from htmtl_jax.compiled_steps import CompiledSteps
from tests import tiny_config

PAPERS = tiny_config.REPOSITORY / "configs" / "papers_tiny.py"
SMALL_CORPUS = (
  "--config.tokenizer.vocab_size=320",
  "--config.data.processes=1",
  "--config.data.importance_labels=false",
  "--config.loss.importance=0",
)


def paper(number: int) -> str:
  text = f"Soil {number} held {number} percent of the rain. The rest ran off within 4 hours."
  return json.dumps(
    {
      "id": f"p{number}",
      "abstract": [f"We measured soil {number}. It was wet."],
      "sections": [
        {"heading": "Methods", "paragraphs": [text]},
        {"heading": "Results", "paragraphs": [text]},
      ],
    }
  )


class BadInputTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    self.workdir = self.folder / "run"

  def assert_refused(self, result, pattern):
    status, _, err = result
    # Progress may come first (a corpus is read before a line of it can be wrong).
    lines = [line for line in err.splitlines() if not line.startswith("preparing the corpus")]
    self.assertLen(lines, 1, err)
    self.assertRegex(lines[0], f"^htmtl_jax: error: .*{pattern}")
    self.assertNotIn("Traceback", err)
    self.assertEqual(status, 2)

  def train_on(self, path, *flags):
    return tiny_config.run_main(
      f"--config={PAPERS}",
      f"--workdir={self.workdir}",
      "--mode=train",
      f"--config.data.path={path}",
      *SMALL_CORPUS,
      *flags,
    )

  # ---------------------------------------------------------------------- corpora

  def test_missing_path(self):
    missing = self.folder / "papers"
    self.assert_refused(
      self.train_on(missing), f"{missing}: no such file or folder; set config.data.path"
    )
    self.assert_refused(self.train_on(""), "config.data.path is empty; set config.data.path to")

  def test_empty_corpora(self):
    papers = self.folder / "papers"
    papers.mkdir()
    self.assert_refused(self.train_on(papers), f"{papers}: no .jsonl .* files in this folder")
    (papers / "tech_docs.jsonl").write_text(paper(0))
    self.assert_refused(self.train_on(papers), "1 files are excluded; shorten config.data.exclude")
    (papers / "a.jsonl").write_text("\n\n")
    self.assert_refused(self.train_on(papers), f"{papers}: .*: no documents")
    (papers / "a.jsonl").write_text(paper(0))
    self.assert_refused(
      self.train_on(papers), "none of the documents fell into the (train|validation|test) split"
    )

  def _write_corpus_with_bad_lines(self):
    lines = [paper(i) for i in range(60)]
    lines[2] = lines[2][:40]
    lines[10] = '{"id": "x", "sections": []}'
    path = self.folder / "papers.jsonl"
    path.write_text("\n".join(lines))
    return path

  def test_malformed_line_stops(self):
    path = self._write_corpus_with_bad_lines()
    self.assert_refused(
      self.train_on(path, "--config.data.on_bad_line=stop"),
      rf"{path}, line 3: not JSON .*; correct the line, or set config\.data\.on_bad_line to 'skip'",
    )
    self.assert_refused(
      self.train_on(path, "--config.data.on_bad_line=ask"),
      "'ask' is unknown; known: skip, stop",
    )

  def test_malformed_lines_are_skipped_and_counted(self):
    path = self._write_corpus_with_bad_lines()
    with self.assertLogs("absl", "WARNING") as logs:
      result = self.train_on(
        path,
        "--mode=prepare",
        "--config.data.test_share=0.2",
        "--config.data.validation_share=0.2",
      )
    self.assertEqual(result[0], 0)
    self.assertIn("2 malformed lines were skipped", result[2])
    text = "\n".join(logs.output)
    for line in (3, 11):
      self.assertIn(f"{path}, line {line}: ", text)
    statistics = json.loads((self.workdir / "prepared" / "statistics.json").read_text())
    self.assertEqual(statistics["malformed_lines"], 2)
    self.assertEqual(sum(split["documents"] for split in statistics["splits"].values()), 58)

  # ---------------------------------------------------------------------- configs

  @parameterized.parameters(
    (
      "--config.model.num_head=3",
      r"unknown config key model\.num_head; did you mean model\.num_heads\?",
    ),
    ("--config.train.learning_rate=1", r"did you mean optimizer\.learning_rate\?"),
    (
      "--config.model.num_heads=3",
      "config.model: width 16 must be num_heads 3 times an even number",
    ),
    (
      "--config.model.memory=none",
      "config.model.memory: 'none' is not one of all, tokens, segments",
    ),
    ("--config.loss.coverage_direction=up", "config.loss.coverage_direction: 'up' is not one of"),
    ("--config.optimizer.name=sgd", "config.optimizer.name: 'sgd' is not one of adamw, adafactor"),
    ("--config.decode.beam_size=0", "config.decode.beam_size: 0 must be at least 1"),
    ("--config.train.log_every=0", "config.train.log_every: 0 must be at least 1"),
    ("--config.mesh.tensor=3", "config.mesh: tensor=3 needs a multiple of 3 devices, but there are 1;"),
    (
      "--config.data.num_test=0",
      "the test split has no documents; set config.data.num_test above 0",
    ),
  )
  def test_config_values(self, flag, pattern):
    # Another corpus is prepared elsewhere, so that the shared arrays stay.
    elsewhere = f"--config.data.prepared={self.folder / 'prepared'}" if "num_test" in flag else flag
    self.assert_refused(tiny_config.run_train(self.workdir, flag, elsewhere), pattern)

  def test_a_mesh_that_cannot_be_is_refused_before_anything_is_prepared(self):
    elsewhere = self.folder / "prepared"
    flags = (f"--config.data.prepared={elsewhere}", "--config.mesh.fsdp=5")
    self.assert_refused(tiny_config.run_train(self.workdir, *flags), "config.mesh: fsdp=5 needs")
    self.assertFalse(elsewhere.exists())

  def test_workdir_of_another_run(self):
    config = tiny_config.get_config()
    config.data.prepared = str(tiny_config.prepared())
    config.model.width = 32
    config.loss.twice = 0.5
    config_lib.save_config(config, self.workdir)
    self.assert_refused(
      tiny_config.run_train(self.workdir),
      r"the workdir holds a run with another config \(2 keys differ, .*loss\.twice: 0\.5 -> 0\.02; "
      r"model\.width: 32 -> 16; use a new --workdir, or set them back",
    )

  def test_damaged_config_json(self):
    self.workdir.mkdir()
    (self.workdir / "config.json").write_text("{")
    self.assert_refused(tiny_config.run_train(self.workdir), "config.json: config.json is not JSON")

  # ------------------------------------------------------------- runs that are not there

  def test_workdir_without_a_run(self):
    self.workdir.mkdir()
    self.assert_refused(
      tiny_config.run_main("--mode=evaluate", f"--workdir={self.workdir}"), "holds no config.json"
    )

  def test_evaluation_before_the_first_checkpoint(self):
    config_lib.save_config(tiny_config.get_config(), self.workdir)
    self.assert_refused(
      tiny_config.run_main("--mode=evaluate", f"--workdir={self.workdir}"),
      f"no trained run in {self.workdir}; train one first with --mode=train",
    )

  def test_missing_checkpoint(self):
    workdir, _, _ = tiny_config.trained()
    note = self.folder / "note.md"
    note.write_text("A sentence.")
    self.assert_refused(
      tiny_config.run_main(
        "--mode=summarize", f"--workdir={workdir}", f"--input={note}", "--checkpoint=5"
      ),
      "no checkpoint at step 5 in .*; there are steps 2, 4, 6, 8, 10, 12; choose one",
    )

  def test_checkpoint_of_another_model(self):
    workdir, _, _ = tiny_config.trained()
    self.assert_refused(
      tiny_config.run_main("--mode=evaluate", f"--workdir={workdir}", "--config.model.width=32"),
      "is of another model than its config describes; leave out",
    )

  def test_vocabulary_of_another_corpus(self):
    workdir = tiny_config.copy_trained(self.folder)
    path = workdir / "vocabulary.model"
    path.write_bytes(b"damaged")
    self.assert_refused(tiny_config.run_main("--mode=evaluate", f"--workdir={workdir}"), str(path))

  # --------------------------------------------------------------------- documents

  def test_input_is_missing_or_holds_nothing(self):
    summarize = lambda path: tiny_config.run_main("--mode=summarize", f"--input={path}")
    missing = self.folder / "paper.md"
    self.assert_refused(summarize(missing), f"--input={missing} not found")
    missing.write_text(" \n")
    self.assert_refused(summarize(missing), f"{missing}: no text in this file")
    picture = self.folder / "paper.png"
    picture.write_bytes(b"\x89PNG")
    self.assert_refused(
      summarize(picture), r"unknown suffix '\.png'; known: \.xml, .*\.md, \.markdown, \.txt, "
    )
    folder = self.folder / "papers"
    folder.mkdir()
    self.assert_refused(summarize(folder), f"{folder}: no papers in this folder")
    (folder / "a.md").write_text("")
    self.assert_refused(summarize(folder), f"{folder}: none of 1 files could be read; the first: ")

  # ---------------------------------------------------------------- a loss that is no number

  @parameterized.parameters(
    (4, "the last good checkpoint is step 2"), (1, "there is no checkpoint yet")
  )
  def test_a_loss_that_is_not_finite(self, step, checkpoint):
    count = itertools.count(1)

    def with_poison(steps, bucket, state, batch):
      if next(count) == step:  # as if the update before had overflowed
        state = state.replace(params=jax.tree.map(lambda x: x * np.nan, state.params))
      return original(steps, bucket, state, batch)

    original = CompiledSteps.__call__
    with mock.patch.object(CompiledSteps, "__call__", with_poison):
      status, _, err = tiny_config.run_train(self.workdir)
    self.assertEqual(status, 2, err)
    ids = r"synthetic-train-\S+(, synthetic-train-\S+){7}"
    self.assertRegex(
      err.splitlines()[-1],
      rf"^htmtl_jax: error: the loss is nan at step {step}, in the batch of {ids}; {checkpoint}; "
      r"lower config\.optimizer\.learning_rate ",
    )
    self.assertNotIn("Traceback", err)
    with CheckpointStore(self.workdir / "checkpoints") as store:
      self.assertEqual(store.latest_step(), 2 if step == 4 else None)

  def test_parameters_that_overflow_are_never_saved(self):
    # The loss of the step that spoils the parameters is still finite: it came before.
    status, _, err = tiny_config.run_train(
      self.workdir, "--config.optimizer.learning_rate=1e38", "--config.train.checkpoint_every=1"
    )
    self.assertEqual(status, 2, err)
    self.assertRegex(
      err.splitlines()[-1], r"^htmtl_jax: error: the loss is (nan|inf) at step \d+, "
    )
    with CheckpointStore(self.workdir / "checkpoints", read_only=True) as store:
      latest = store.latest_step()
      if latest is not None:
        for leaf in jax.tree.leaves(store.restore_params(latest)):
          self.assertTrue(np.isfinite(leaf).all())


if __name__ == "__main__":
  absltest.main()
