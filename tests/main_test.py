"""The command line: flags, modes, exit statuses. The modes themselves are replaced by recorders."""

import contextlib
import importlib
import io
import os
import pathlib
import subprocess
import sys
import tempfile
import textwrap
import types
from unittest import mock

from absl.testing import absltest, parameterized
import ml_collections

from htmtl_jax import config as config_lib
from htmtl_jax import main
from htmtl_jax.errors import UserError

_REPOSITORY = pathlib.Path(__file__).resolve().parent.parent

CONFIG = {"seed": 0, "model": {"num_heads": 4}}


STOPPED = (
  "htmtl_jax: stopped from the keyboard; a training goes on from what it has saved, with the same "
  "command\n"
)


class MainTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    self.config = self.folder / "small.py"
    self.config.write_text(
      textwrap.dedent(f"""
        import ml_collections
        def get_config():
          return ml_collections.ConfigDict({CONFIG!r})
        """)
    )
    self.workdir = self.folder / "run"
    self.train = mock.Mock(return_value="finished")
    self.evaluate, self.summarize = mock.Mock(), mock.Mock()
    self.evaluate_untrained = mock.Mock()
    modules = {
      "train": types.SimpleNamespace(run_train=self.train),
      "evaluate": types.SimpleNamespace(run_evaluate=self.evaluate),
      "evaluate_untrained": types.SimpleNamespace(run_untrained=self.evaluate_untrained),
      "summarize": types.SimpleNamespace(run_summarize=self.summarize),
    }
    for name, module in modules.items():
      self.enter_context(mock.patch.dict(sys.modules, {f"htmtl_jax.{name}": module}))
      self.enter_context(mock.patch(f"htmtl_jax.{name}", module, create=True))
    # The schema is `configs/base.py`; here it is the little config above.
    self.enter_context(
      mock.patch.object(config_lib, "load_schema", return_value=ml_collections.ConfigDict(CONFIG))
    )

  def run_main(self, *argv):
    """Returns (exit status, stdout, stderr) of one command line."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      status = main.run([str(word) for word in argv])
    return status, out.getvalue(), err.getvalue()

  def run_train(self, *argv):
    return self.run_main(
      f"--config={self.config}", f"--workdir={self.workdir}", "--mode=train", *argv
    )

  def assert_refused(self, result, pattern):
    status, out, err = result
    self.assertEqual(status, 2)
    self.assertEqual(out, "")
    self.assertRegex(err, f"^htmtl_jax: error: .*{pattern}.*\n$")
    self.assertEqual(err.count("\n"), 1)
    for mode in (self.train, self.evaluate, self.summarize):
      mode.assert_not_called()

  # -------------------------------------------------------------------- dispatch

  def test_train_gets_the_config_with_overrides(self):
    status, _, err = self.run_train("--config.seed=3", "--config.model.num_heads", "8")
    self.assertEqual((status, err), (0, ""))
    config, workdir = self.train.call_args.args
    self.assertEqual(config.to_dict(), {"seed": 3, "model": {"num_heads": 8}})
    self.assertEqual(workdir, str(self.workdir))

  def test_a_negative_value_may_stand_apart(self):
    self.assertEqual(self.run_train("--config.seed", "-3")[0], 0)
    self.assertEqual(self.train.call_args.args[0].seed, -3)

  def test_two_commands_in_one_process_do_not_mix(self):
    self.run_train("--config.seed=3")
    self.run_train()
    self.assertEqual(self.train.call_args.args[0].seed, 0)

  def test_evaluate_uses_the_saved_config(self):
    config_lib.save_config({"seed": 5, "model": {"num_heads": 2}}, self.workdir)
    status, _, _ = self.run_main(
      "--mode=evaluate",
      f"--workdir={self.workdir}",
      "--split=test",
      "--checkpoint=20",
      "--config.model.num_heads=1",
    )
    self.assertEqual(status, 0)
    self.assertEqual(
      self.evaluate.call_args.args[0].to_dict(), {"seed": 5, "model": {"num_heads": 1}}
    )
    self.assertEqual(self.evaluate.call_args.kwargs, {"split": "test", "checkpoint": "20"})

  def test_evaluate_defaults(self):
    config_lib.save_config(CONFIG, self.workdir)
    self.run_main("--mode=evaluate", f"--workdir={self.workdir}")
    self.assertEqual(self.evaluate.call_args.kwargs, {"split": "validation", "checkpoint": "best"})

  def test_evaluate_with_systems_of_choice(self):
    config_lib.save_config(CONFIG, self.workdir)
    command = ("--mode=evaluate", f"--workdir={self.workdir}")
    self.run_main(*command, "--systems=lead, htmtl")
    self.assertEqual(
      self.evaluate.call_args.kwargs,
      {"split": "validation", "checkpoint": "best", "systems": ("lead", "htmtl")},
    )
    self.evaluate.reset_mock()
    # Without a trained one among them: any split, a config of one's own, a new workdir.
    self.run_main(
      "--mode=evaluate",
      f"--config={self.config}",
      f"--workdir={self.folder / 'new'}",
      "--systems=lead,lsa",
      "--split=all",
    )
    self.evaluate.assert_not_called()
    config, *others = self.evaluate_untrained.call_args.args
    self.assertEqual(config.to_dict(), CONFIG)
    self.assertEqual(others, [str(self.folder / "new"), ("lead", "lsa")])
    self.assertEqual(self.evaluate_untrained.call_args.kwargs, {"split": "all"})

  def test_summarize_without_a_run(self):
    status, _, err = self.run_main("--mode=summarize", f"--input={self.config}")
    self.assertEqual((status, err), (0, ""))
    self.assertEqual(self.summarize.call_args.args, (None, None, str(self.config), None))

  def test_summarize_with_a_run(self):
    config_lib.save_config(CONFIG, self.workdir)
    self.run_main(
      "--mode=summarize", f"--input={self.config}", f"--workdir={self.workdir}", "--output=out"
    )
    config, *others = self.summarize.call_args.args
    self.assertEqual(config.to_dict(), CONFIG)
    self.assertEqual(others, [str(self.workdir), str(self.config), "out"])
    self.assertEqual(self.summarize.call_args.kwargs, {"checkpoint": "best"})

  @parameterized.parameters(("1", 1), ("", 0))
  def test_several_hosts_find_each_other_before_training(self, value, calls):
    importlib.import_module("htmtl_jax.hosts")  # with the true JAX, not with the stand-in
    jax = mock.Mock()
    jax.distributed.initialize.side_effect = lambda *unused, **also: self.train.assert_not_called()
    jax.process_index.return_value = 0
    with mock.patch.dict(os.environ, {"HTMTL_MULTIHOST": value}):
      with mock.patch.dict(sys.modules, {"jax": jax}):
        self.assertEqual(self.run_train()[0], 0)
    self.assertEqual(jax.distributed.initialize.call_count, calls)
    self.assertEqual(jax.distributed.shutdown.call_count, calls)
    self.train.assert_called_once()

  # --------------------------------------------------------------- exit statuses

  def test_interrupted_training_asks_to_be_run_again(self):
    self.train.return_value = "interrupted"
    status, _, err = self.run_train()
    self.assertEqual(status, 75)
    self.assertIn("run the same command again", err)

  def test_user_error_in_a_mode_is_one_line(self):
    self.train.side_effect = UserError("no documents in DIR; put some there")
    self.assertEqual(
      self.run_train(), (2, "", "htmtl_jax: error: no documents in DIR; put some there\n")
    )

  def test_keyboard_interrupt_is_one_line(self):
    self.train.side_effect = KeyboardInterrupt
    self.assertEqual(self.run_train(), (130, "", STOPPED))

  def test_a_bug_keeps_its_traceback(self):
    self.train.side_effect = ZeroDivisionError
    with self.assertRaises(ZeroDivisionError):
      self.run_train()

  # ----------------------------------------------------------------- wrong input

  @parameterized.parameters(
    (["--config.model.num_head=3"], r"did you mean model\.num_heads\?"),
    (["--config.seed=x"], r"seed cannot be 'x'; it expects an integer"),
    (["--config.seed"], r"--config\.seed has no value"),
    (["--config.seed", "--split=test"], r"--config\.seed has no value"),
    (["--chekpoint=best"], r"chekpoint.*checkpoint"),
    (["--split=tset"], r"split.*validation\|test"),
    (["extra"], r"unexpected argument 'extra'"),
    (["--input=a.md"], r"--input has no meaning with --mode=train"),
    (["--systems=lead"], r"--systems has no meaning with --mode=train"),
    (
      ["--mode=trian"],
      r"--mode=trian is unknown; choose one of prepare, train, evaluate, summarize",
    ),
    (["--mode="], r"--mode is missing; choose one of"),
    (["--workdir="], r"--workdir is missing; --mode=train needs it"),
    (["--config=nothing.py"], r"nothing\.py not found"),
  )
  def test_wrong_flags_of_train(self, argv, pattern):
    self.assert_refused(self.run_train(*argv), pattern)

  def test_missing_config(self):
    self.assert_refused(
      self.run_main("--mode=train", f"--workdir={self.workdir}"),
      "--config is missing; --mode=train needs one",
    )
    self.assert_refused(self.run_main(), "--mode is missing")

  def test_config_with_a_key_that_the_schema_lacks(self):
    self.config.write_text(self.config.read_text().replace("num_heads", "num_haeds"))
    self.assert_refused(self.run_train(), r"model\.num_haeds; did you mean model\.num_heads")

  @parameterized.parameters(
    (["--systems=leed"], "unknown system 'leed' .* did you mean lead"),
    (["--systems="], "unknown system ''"),
    (["--split=train"], "--split=train is for systems that need no training"),
    (["--systems=lead", "--checkpoint=best"], "--checkpoint has no meaning with --systems=lead"),
    (["--systems=lead"], r"--config is missing, and --workdir=.* holds no config\.json"),
  )
  def test_wrong_flags_of_evaluate(self, argv, pattern):
    self.assert_refused(
      self.run_main("--mode=evaluate", f"--workdir={self.workdir}", *argv), pattern
    )
    self.evaluate_untrained.assert_not_called()

  def test_workdir_of_evaluate(self):
    command = ("--mode=evaluate", f"--workdir={self.workdir}")
    self.assert_refused(self.run_main(*command), "run not found; train first")
    self.workdir.mkdir()
    self.assert_refused(self.run_main(*command), r"holds no config\.json")
    self.assert_refused(
      self.run_main("--mode=evaluate", f"--workdir={self.config}"), "is a file; name a folder"
    )

  @parameterized.parameters(
    ([], "--input is missing; --mode=summarize needs it"),
    (["--input=nowhere.md"], r"--input=nowhere\.md not found"),
    (["--input=.", "--config.seed=1"], r"--config\.seed has nothing to change"),
    (["--input=.", "--split=test"], "--split has no meaning"),
  )
  def test_wrong_flags_of_summarize(self, argv, pattern):
    self.assert_refused(self.run_main("--mode=summarize", *argv), pattern)

  # ------------------------------------------------------------------------ help

  @parameterized.parameters("--help", "-h")
  def test_help_names_every_mode_and_flag(self, word):
    status, out, err = self.run_main(word)
    self.assertEqual((status, err), (0, ""))
    for name in (*main.MODES, "--config", "--workdir", "--split", "--checkpoint", "--input"):
      self.assertIn(name, out)

  def test_a_process_answers_without_importing_jax(self):
    code = (
      "import sys; from htmtl_jax import main; status = main.run(['--mode=trian']); "
      "sys.exit(99 if 'jax' in sys.modules else status)"
    )
    done = subprocess.run(
      [sys.executable, "-c", code],
      capture_output=True,
      text=True,
      timeout=60,
      check=False,
      cwd=_REPOSITORY,
    )
    self.assertEqual(done.returncode, 2, done.stderr)
    self.assertIn("--mode=trian is unknown", done.stderr)

  def test_as_a_program(self):
    done = subprocess.run(
      [sys.executable, "-m", "htmtl_jax.main", "--mode=evaluate"],
      capture_output=True,
      text=True,
      timeout=60,
      check=False,
      cwd=_REPOSITORY,
    )
    self.assertEqual(done.returncode, 2)
    self.assertEqual(
      done.stderr, "htmtl_jax: error: --workdir is missing; --mode=evaluate needs it\n"
    )


if __name__ == "__main__":
  absltest.main()
