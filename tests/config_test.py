"""Config files, overrides, comparison of runs, dataclasses from sections."""

import dataclasses
import pathlib
import tempfile
import textwrap

from absl.testing import absltest, parameterized
import ml_collections

from htmtl_jax import config as config_lib
from htmtl_jax.config_keys import apply_overrides
from htmtl_jax.errors import UserError


def make_config() -> ml_collections.ConfigDict:
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.name = "base"
  config.limit = None
  config.length = ml_collections.config_dict.placeholder(int)
  config.model = ml_collections.ConfigDict(
    {
      "num_heads": 4,
      "dropout_rate": 0.1,
      "copy_gate": True,
      "widths": (1, 2),
      "rows": ((1, 2), (3, 4)),
      "rates": (0.5, 1.0),
      "names": ("a", "b"),
      "empty": (),
    }
  )
  config.train = ml_collections.ConfigDict({"steps": 100, "log_every_steps": 10})
  return config


class ConfigTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

  def write(self, name: str, text: str) -> pathlib.Path:
    path = self.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path

  def write_pair(self) -> pathlib.Path:
    """Writes configs/base.py and a config that starts from it; returns the latter."""
    self.write(
      "configs/base.py",
      """
        import ml_collections
        def get_config():
          return ml_collections.ConfigDict({"model": {"num_heads": 4}, "seed": 0})
        """,
    )
    return self.write(
      "configs/small.py",
      """
        import importlib.util, pathlib
        def get_config():
          path = pathlib.Path(__file__).with_name("base.py")
          spec = importlib.util.spec_from_file_location("base", path)
          base = importlib.util.module_from_spec(spec)
          spec.loader.exec_module(base)
          config = base.get_config()
          config.model.num_heads = 2
          return config
        """,
    )

  # --------------------------------------------------------------- config files

  def test_load_applies_overrides_and_locks(self):
    config = config_lib.load_config(self.write_pair(), ["seed=7", "model.num_heads=8"])
    self.assertEqual(config.to_dict(), {"model": {"num_heads": 8}, "seed": 7})
    with self.assertRaises((AttributeError, KeyError)):
      config.model.num_head = 3

  def test_a_config_may_import_its_neighbours(self):
    self.write("settings_abc/other.py", "VALUE = 5\n")
    path = self.write(
      "settings_abc/mine.py",
      """
        import ml_collections
        from settings_abc import other
        def get_config():
          return ml_collections.ConfigDict({"seed": other.VALUE})
        """,
    )
    self.assertEqual(config_lib.load_config(path).seed, 5)

  @parameterized.named_parameters(
    ("typo", "configs/smal.py", r"configs/smal\.py not found; in that folder: small\.py"),
    ("no_suffix", "configs/small", r"not found; in that folder: small\.py"),
    ("nothing_near", "configs/zzzzzz.py", r"in that folder: base\.py, small\.py$"),
    ("no_folder", "config/small.py", r"there is no folder .*config$"),
    ("a_folder", "configs", r"is a folder; name a file in it: base\.py, small\.py"),
  )
  def test_missing_file_names_what_is_near(self, path, message):
    self.write_pair()
    # None of these is a config: a module, an editor's lock, a folder.
    self.write("configs/sizes.py", "SIZES = 3")
    (self.folder / "configs" / ".#base.py").symlink_to("someone@somewhere.123")
    (self.folder / "configs" / "folder.py").mkdir()
    with self.assertRaisesRegex(UserError, message):
      config_lib.load_config(self.folder / path)

  @parameterized.named_parameters(
    ("no_function", "x = 1\n", r"has no function get_config"),
    ("not_a_config", "def get_config():\n  return {}\n", r"returned dict"),
    ("syntax", "x = 1\ndef get_config(:\n", r"line 2 failed: SyntaxError"),
    ("import", "import no_such_module_abc\n", r"line 1 failed: ModuleNotFoundError"),
    (
      "raises",
      "def get_config():\n  x = 0\n  return 1 / x\n",
      r"line 3 failed: ZeroDivisionError: division by zero",
    ),
  )
  def test_broken_file_is_one_line(self, text, message):
    with self.assertRaisesRegex(UserError, message) as caught:
      config_lib.load_config(self.write("broken.py", text))
    self.assertNotIn("\n", str(caught.exception))

  # ------------------------------------------------------------------ overrides

  @parameterized.parameters(
    ("seed=-3", "seed", -3),
    ("seed=1e5", "seed", 100000),
    ("seed=1_000", "seed", 1000),
    ("name=a=b c", "name", "a=b c"),
    ("name=", "name", ""),
    ("name=5", "name", "5"),
    ("model.dropout_rate=1", "model.dropout_rate", 1.0),
    ("model.dropout_rate=1e-3", "model.dropout_rate", 0.001),
    ("model.copy_gate=False", "model.copy_gate", False),
    ("model.copy_gate=1", "model.copy_gate", True),
    ("model.widths=3,4,5", "model.widths", (3, 4, 5)),
    ("model.widths=(3, 4)", "model.widths", (3, 4)),
    ("model.widths=[7]", "model.widths", (7,)),
    ("model.widths=7,", "model.widths", (7,)),
    ("model.widths=", "model.widths", ()),
    ("model.rates=1,2.5", "model.rates", (1.0, 2.5)),
    ("model.names=('x', y)", "model.names", ("x", "y")),
    ("model.empty=1,2.5,c", "model.empty", (1, 2.5, "c")),
    ("model.rows=((9, 2), [8, 1])", "model.rows", ((9, 2), (8, 1))),
    ("model.rows=(9, 2),", "model.rows", ((9, 2),)),
    ("limit=5", "limit", 5),
    ("limit=None", "limit", None),
    ("limit=abc", "limit", "abc"),
    ("length=9", "length", 9),
    ("length=none", "length", None),
  )
  def test_override_keeps_the_type(self, override, name, expected):
    config = make_config().lock()
    apply_overrides(config, [override])
    value = config_lib.flatten(config)[name]
    self.assertEqual(value, expected)
    self.assertIs(type(value), type(expected))

  @parameterized.parameters(
    ("seed=abc", r"seed cannot be 'abc'; it expects an integer"),
    ("seed=1.5", r"seed cannot be '1\.5'; it expects an integer"),
    ("seed=inf", r"seed cannot be 'inf'; it expects an integer"),
    ("seed=", r"seed cannot be ''; it expects an integer"),
    ("model.dropout_rate=high", r"it expects a number"),
    ("model.dropout_rate=nan", r"it expects a number"),
    ("model.copy_gate=maybe", r"model\.copy_gate cannot be 'maybe'; it expects true or false"),
    ("model.widths=1,x", r"it expects values separated by commas, like 1,2"),
    ("model.rows=9,2", r"it expects values separated by commas, like \(1, 2\)"),
    ("model.rows=((9, 2, 3),)", r"it expects values separated by commas, like \(1, 2\)"),
    ("model.rows=((9, 'x'),)", r"it expects values separated by commas, like \(1, 2\)"),
    ("model.rows=((9", r"it expects values separated by commas, like \(1, 2\)"),
    ("length=abc", r"length cannot be 'abc'; it expects an integer"),
    ("model=3", r"model is a section with the keys copy_gate, dropout_rate"),
    ("seed", r"'seed' has no value; write --config\.seed=VALUE"),
    ("model.num_head=3", r"unknown config key model\.num_head; did you mean model\.num_heads\?"),
    ("modle.num_heads=3", r"did you mean model\.num_heads\?"),
    ("num_heads=3", r"did you mean model\.num_heads\?"),
    ("optimizer.steps=3", r"did you mean train\.steps\?"),
    ("seed.x=3", r"unknown config key seed\.x; did you mean seed\?"),
    ("qqq=3", r"unknown config key qqq; did you mean "),
  )
  def test_bad_override_says_what_to_do(self, override, message):
    config = make_config()
    with self.assertRaisesRegex(UserError, message):
      apply_overrides(config, [override])
    self.assertEqual(config.to_dict(), make_config().to_dict())

  # ------------------------------------------------------------------- validate

  def test_validate_accepts_other_values_of_the_same_types(self):
    config = make_config()
    config.model.num_heads = 16
    config.limit = 3
    config.length = 4
    config_lib.validate(config, make_config())

  @parameterized.named_parameters(
    ("unknown", {"model": {"num_haeds": 4}}, r"model\.num_haeds; did you mean model\.num_heads"),
    ("text_for_int", {"seed": "0"}, r"seed is '0'; it expects an integer"),
    ("bool_for_int", {"seed": True}, r"seed is True; it expects an integer"),
    ("float_for_int", {"seed": 1.0}, r"seed is 1\.0; it expects an integer"),
    ("int_for_bool", {"model": {"copy_gate": 1}}, r"it expects true or false"),
  )
  def test_validate_refuses(self, change, message):
    values = make_config().to_dict()
    for key, value in change.items():
      if isinstance(value, dict):
        values[key].update(value)
      else:
        values[key] = value
    with self.assertRaisesRegex(UserError, message):
      config_lib.validate(ml_collections.ConfigDict(values), make_config())

  def test_validate_lets_an_int_stand_for_a_float(self):
    values = make_config().to_dict()
    values["model"]["dropout_rate"] = 0
    config_lib.validate(ml_collections.ConfigDict(values), make_config())

  def test_validate_names_a_missing_key(self):
    config = make_config()
    del config.model.num_heads
    with self.assertRaisesRegex(UserError, r"model\.num_heads is missing.*default 4"):
      config_lib.validate(config, make_config())

  # ---------------------------------------------------------------- config.json

  def test_json_round_trip(self):
    config = make_config()
    restored = config_lib.from_json(config_lib.to_json(config))
    self.assertEqual(config_lib.flatten(restored), config_lib.flatten(config))
    self.assertEqual(config_lib.to_json(restored), config_lib.to_json(config))
    self.assertTrue(restored.is_locked)

  def test_json_order_is_stable(self):
    a = ml_collections.ConfigDict({"b": 1, "a": {"d": 2, "c": 3}})
    b = ml_collections.ConfigDict({"a": {"c": 3, "d": 2}, "b": 1})
    self.assertEqual(config_lib.to_json(a), config_lib.to_json(b))

  def test_saved_config_of_a_workdir(self):
    workdir = self.folder / "runs" / "a"
    self.assertIsNone(config_lib.load_saved_config(workdir))
    config_lib.save_config(make_config(), workdir)
    self.assertEqual(
      config_lib.flatten(config_lib.load_saved_config(workdir)), config_lib.flatten(make_config())
    )
    self.assertEqual([p.name for p in workdir.iterdir()], ["config.json"])

  @parameterized.parameters(
    ({}, 1, "unit"),
    ({"residual_init": "depth"}, 1, "depth"),
    ({"scan_unroll": 0, "top_down_mlps": "none"}, 0, "unit"),
  )
  def test_keys_younger_than_a_run(self, given, scan_unroll, residual_init):
    elder = {"scan_layers": True, "top_down": False}
    config_lib.save_config(ml_collections.ConfigDict({"model": elder | given}), self.folder)
    model = config_lib.load_saved_config(self.folder).model
    self.assertEqual((model.scan_unroll, model.residual_init), (scan_unroll, residual_init))
    self.assertEqual(model.top_down_mlps, given.get("top_down_mlps", "all"))

  @parameterized.parameters(("{", "is not JSON"), ("[1]", "holds a list"))
  def test_damaged_saved_config_names_the_file(self, text, message):
    path = self.write("config.json", text)
    with self.assertRaisesRegex(UserError, f"{path}: .*{message}"):
      config_lib.load_saved_config(self.folder)

  def test_flatten_of_flat_is_the_same(self):
    flat = config_lib.flatten(make_config())
    self.assertEqual(config_lib.flatten(flat), flat)
    self.assertEqual(list(flat), sorted(flat))
    self.assertEqual(flat["model.widths"], (1, 2))

  # --------------------------------------------------------------- check_resume

  def test_same_config_may_resume_also_from_json(self):
    saved = config_lib.from_json(config_lib.to_json(make_config()))
    config_lib.check_resume(saved, make_config())
    config_lib.check_resume(config_lib.flatten(saved), make_config())

  def test_resume_names_keys_and_values(self):
    now = make_config()
    now.model.num_heads = 8
    now.seed = 1
    with self.assertRaisesRegex(
      UserError,
      r"2 keys differ, saved -> now\): model\.num_heads: 4 -> 8; seed: 0 -> 1; "
      "use a new --workdir, or set them back",
    ):
      config_lib.check_resume(make_config(), now)

  @parameterized.parameters((("train.steps", "model"),), (("train", "model."),))
  def test_keys_that_may_differ(self, may_differ):
    now = make_config()
    now.model.num_heads = 8
    now.train.steps = 1
    config_lib.check_resume(make_config(), now, may_differ)

  def test_a_name_is_not_a_prefix_of_another(self):
    now = make_config()
    now.train.log_every_steps = 1
    with self.assertRaisesRegex(UserError, r"1 key differs.*train\.log_every_steps: 10 -> 1"):
      config_lib.check_resume(make_config(), now, ("train.log", "mod"))

  def test_absent_keys_and_a_long_list(self):
    saved = {f"k{i}": i for i in range(9)}
    with self.assertRaisesRegex(UserError, r"9 keys differ.*k4: 4 -> absent; and 4 more;"):
      config_lib.check_resume(saved, {})
    with self.assertRaisesRegex(UserError, r"a: absent -> None"):
      config_lib.check_resume({}, {"a": None})

  # ----------------------------------------------------------------- dataclasses

  def test_get_frozen(self):
    @dataclasses.dataclass(frozen=True)
    class Model:
      num_heads: int
      dropout_rate: float
      copy_gate: bool
      widths: tuple[int, ...] = ()
      extra: str = "x"

    section = ml_collections.ConfigDict(
      {"num_heads": 4, "dropout_rate": 0, "copy_gate": True, "widths": [1, 2]}
    )
    model = config_lib.get_frozen(section, Model)
    self.assertEqual(model, Model(4, 0.0, True, (1, 2), "x"))
    self.assertIsInstance(model.dropout_rate, float)
    hash(model)

    for change, message in (
      ({"num_haeds": 4}, r"model\.num_haeds; did you mean model\.num_heads"),
      ({"num_heads": "4"}, r"model\.num_heads is '4'; it expects an integer"),
      ({"num_heads": True}, r"it expects an integer"),
    ):
      with self.assertRaisesRegex(UserError, message):
        config_lib.get_frozen({**section.to_dict(), **change}, Model, "model")
    with self.assertRaisesRegex(UserError, r"Model\.copy_gate is missing"):
      config_lib.get_frozen({"num_heads": 1, "dropout_rate": 0.1}, Model)

  def test_get_frozen_nests(self):
    @dataclasses.dataclass(frozen=True)
    class Inner:
      size: int

    # get_type_hints needs to see the class, so the annotation is the class itself.
    Outer = dataclasses.make_dataclass("Outer", [("inner", Inner), ("n", int, 1)], frozen=True)
    section = ml_collections.ConfigDict({"inner": {"size": 3}})
    self.assertEqual(config_lib.get_frozen(section, Outer), Outer(Inner(3), 1))
    with self.assertRaisesRegex(UserError, r"Outer\.inner\.sise; did you mean Outer\.inner\.size"):
      config_lib.get_frozen({"inner": {"sise": 3}}, Outer)


if __name__ == "__main__":
  absltest.main()
