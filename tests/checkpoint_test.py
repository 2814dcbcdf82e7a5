"""Checkpoints: what is kept, bitwise round trips, other meshes, kills and damage."""

import contextlib
import io
import json
import os
import pathlib
import shutil
import tempfile

try:
  import resource
except ImportError:  # not on every system
  resource = None

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

from absl.testing import absltest, parameterized
import flax.struct
import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import numpy as np

from htmtl_jax.checkpoint import CheckpointStore
from htmtl_jax.errors import UserError


@flax.struct.dataclass
class State:
  step: jax.Array
  params: dict
  opt_state: tuple
  dropout_key: jax.Array


def make_state(step: int) -> State:
  keys = jax.random.split(jax.random.PRNGKey(step), 3)
  return State(
    step=jnp.int32(step),
    params={
      "encoder": {
        "kernel": jax.random.normal(keys[0], (8, 3)),
        "scale": jax.random.normal(keys[1], (5,)).astype(jnp.bfloat16),
      }
    },
    opt_state=({"mu": jax.random.normal(keys[2], (8, 3))}, None, jnp.int32(step)),
    dropout_key=keys[0],
  )


def make_abstract(state, sharding=None):
  sharding = sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state)


def truncate_files(folder: pathlib.Path) -> None:
  """Cuts every file of a checkpoint's state in half, as a full disk would."""
  for path in folder.rglob("*"):
    if path.is_file():
      content = path.read_bytes()
      path.write_bytes(content[: len(content) // 2])


class CheckpointTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory())) / "checkpoints"

  def save_steps(self, metrics, **options):
    """Saves steps 1, 2, ... with these metrics and closes the store."""
    with CheckpointStore(self.folder, **options) as store:
      for step, metric in enumerate(metrics, 1):
        self.assertTrue(
          store.save(step, make_state(step), {"epoch": 0, "index": 10 * step}, metric)
        )

  def assert_same_bits(self, actual, expected):
    self.assertEqual(jax.tree.structure(actual), jax.tree.structure(expected))
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
      self.assertEqual(a.dtype, b.dtype)
      self.assertEqual(np.asarray(a).tobytes(), np.asarray(b).tobytes())

  # ------------------------------------------------------------------ retention

  @parameterized.parameters(
    # the best is old, in the middle, among the latest; a run without metrics
    dict(metrics=[0.1, 0.5, 0.3, 0.4], kept=[1, 3, 4], best=1),
    dict(metrics=[0.5, 0.1, 0.3, 0.2, 0.9], kept=[2, 4, 5], best=2),
    dict(metrics=[0.5, 0.4, 0.3, 0.2], kept=[3, 4], best=4),
    dict(metrics=[None, None, None, None], kept=[3, 4], best=None),
    # a step that was not evaluated is not the best, and is not kept for it
    dict(metrics=[0.5, None, None, None], kept=[1, 3, 4], best=1),
    dict(metrics=[0.5, float("nan"), 0.6, 0.7], kept=[1, 3, 4], best=1),
    dict(metrics=[0.5, float("-inf"), 0.6, 0.7], kept=[1, 3, 4], best=1),
  )
  def test_keeps_the_latest_two_and_the_best(self, metrics, kept, best):
    self.save_steps(metrics)
    with CheckpointStore(self.folder) as store:
      self.assertEqual(store.steps(), kept)
      self.assertEqual(store.best_step(), best)
      self.assertEqual(store.latest_step(), len(metrics))
    self.assertEqual(sorted(int(p.name) for p in self.folder.iterdir()), kept)

  def test_best_of_an_earlier_process_survives_later_saves(self):
    self.save_steps([0.1, 0.2])
    with CheckpointStore(self.folder) as store:
      for step in (3, 4, 5):
        store.save(step, make_state(step), {}, metric=0.5)
      store.wait()
      self.assertEqual(store.steps(), [1, 4, 5])
      self.assertEqual(store.best_step(), 1)

  @parameterized.parameters((3, 0, [3, 4, 5]), (1, 2, [1, 2, 5]))
  def test_numbers_to_keep_are_options(self, keep_latest, keep_best, kept):
    self.save_steps([0.1, 0.2, 0.3, 0.4, 0.5], keep_latest=keep_latest, keep_best=keep_best)
    with CheckpointStore(self.folder) as store:
      self.assertEqual(store.steps(), kept)

  def test_a_step_that_is_there_stays(self):
    self.save_steps([0.1, 0.2])
    with CheckpointStore(self.folder) as store:
      self.assertFalse(store.save(2, make_state(7), {"index": -1}, 0.0))
      self.assertFalse(store.save(1, make_state(7), {"index": -1}, 0.0))
      self.assertEqual(store.best_step(), 1)
      state, position = store.restore(2, make_abstract(make_state(2)))
    self.assert_same_bits(state, make_state(2))
    self.assertEqual(position, {"epoch": 0, "index": 20})

  # ----------------------------------------------------------------- round trip

  def test_round_trip_is_bitwise(self):
    position = {"epoch": 3, "index": 2**40, "name": "naïve", "nested": {"list": [1, 2.5, None]}}
    with CheckpointStore(self.folder) as store:
      store.save(7, make_state(7), position, 1.5)
      state, restored_position = store.restore(7, make_abstract(make_state(7)))
    self.assertIsInstance(state, State)
    self.assert_same_bits(state, make_state(7))
    self.assertEqual(restored_position, position)

  def test_saved_arrays_may_be_donated_at_once(self):
    update = jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state), donate_argnums=0)
    with CheckpointStore(self.folder) as store:
      state = make_state(1)
      store.save(1, state, {})
      jax.block_until_ready(update(state))
      restored, _ = store.restore(1, make_abstract(make_state(1)))
    self.assert_same_bits(restored, make_state(1))

  def test_one_device_to_eight_and_back(self):
    self.assertLen(jax.devices(), 8)
    mesh = jax.make_mesh((2, 4), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
    abstract = make_abstract(make_state(1), NamedSharding(mesh, PartitionSpec()))
    rows = NamedSharding(mesh, PartitionSpec("fsdp"))
    kernel = abstract.params["encoder"]["kernel"]
    abstract.params["encoder"]["kernel"] = jax.ShapeDtypeStruct(
      kernel.shape, kernel.dtype, sharding=rows
    )
    self.save_steps([0.5])

    with CheckpointStore(self.folder) as store:
      on_eight, _ = store.restore(1, abstract)
      restored = on_eight.params["encoder"]["kernel"]
      self.assertEqual(restored.sharding, rows)
      self.assertEqual(restored.addressable_shards[0].data.shape, (2, 3))
      self.assert_same_bits(on_eight, make_state(1))
      store.save(2, on_eight, {})
      store.wait()
      back, _ = store.restore(2, make_abstract(make_state(1)))
      self.assertLen(back.params["encoder"]["kernel"].sharding.device_set, 1)
      self.assert_same_bits(back, make_state(1))
      self.assert_same_bits(store.restore_params(2), make_state(1).params)

  def test_params_alone_need_no_abstract_state(self):
    self.save_steps([0.5, 0.4])
    with CheckpointStore(self.folder) as store:
      params = store.restore_params(2)
    self.assertIsInstance(params["encoder"]["kernel"], np.ndarray)
    self.assert_same_bits(params, make_state(2).params)

  def test_params_of_a_save_in_progress(self):
    with CheckpointStore(self.folder) as store:
      store.save(1, make_state(1), {})
      self.assert_same_bits(store.restore_params(1), make_state(1).params)

  def test_state_may_be_a_dict(self):
    state = {"params": {"w": jnp.arange(3.0)}, "step": jnp.int32(1)}
    with CheckpointStore(self.folder) as store:
      store.save(1, state, {})
      restored, _ = store.restore(1, make_abstract(state))
      self.assert_same_bits(restored, state)

  # ------------------------------------------------------------ kills and damage

  def test_a_half_written_checkpoint_is_removed(self):
    self.save_steps([0.5, 0.4])
    # what Orbax leaves when it is killed in the middle of saving step 3
    leftover = self.folder / "3.orbax-checkpoint-tmp"
    shutil.copytree(self.folder / "2", leftover)
    (leftover / "commit_success.txt").unlink(missing_ok=True)
    with CheckpointStore(self.folder) as store:
      self.assertEqual(store.steps(), [1, 2])
      self.assertTrue(store.save(3, make_state(3), {}))
      store.wait()
      self.assertFalse(leftover.exists())
      step, state, _ = store.restore_latest(make_abstract(make_state(3)))
    self.assertEqual(step, 3)
    self.assert_same_bits(state, make_state(3))

  @parameterized.named_parameters(
    ("truncated_state", lambda step: truncate_files(step / "state")),
    ("no_state", lambda step: shutil.rmtree(step / "state")),
    ("empty_metadata", lambda step: (step / "state" / "_METADATA").write_text("")),
    (
      "no_data",
      lambda step: (
        shutil.rmtree(step / "state" / "d"),
        shutil.rmtree(step / "state" / "ocdbt.process_0"),
      ),
    ),
    ("no_position", lambda step: shutil.rmtree(step / "position")),
  )
  def test_a_damaged_newest_falls_back_to_the_previous(self, damage):
    self.save_steps([0.4, 0.6, 0.5])
    damage(self.folder / "3")
    with CheckpointStore(self.folder) as store:
      said = io.StringIO()
      with contextlib.redirect_stderr(said):
        step, state, position = store.restore_latest(make_abstract(make_state(2)))
      self.assertRegex(
        said.getvalue(),
        r"^htmtl_jax: warning: the checkpoint at step 3 in \S+ cannot be read \(.*\)\n"
        r"htmtl_jax: warning: going on from the checkpoint at step 2; kept aside: 3\.unreadable\n$",
      )
      self.assertEqual((step, position), (2, {"epoch": 0, "index": 20}))
      self.assert_same_bits(state, make_state(2))
      # the run goes on and can save at step 3 again
      self.assertEqual(store.steps(), [1, 2])
      self.assertEqual(store.best_step(), 1)
      self.assertTrue(store.save(3, make_state(33), {"index": 30}, 0.1))
      store.wait()
      self.assertEqual(store.restore_latest(make_abstract(make_state(3)))[2], {"index": 30})
    self.assertTrue((self.folder / "3.unreadable").is_dir())

  def test_saved_is_said_once_and_only_of_what_is_whole(self):
    said = []
    with CheckpointStore(self.folder, keep_latest=1) as store:
      self.assertEqual(store.newly_saved(), [])
      for step in (1, 2, 3):
        store.save(step, make_state(step), {})
        for saved in store.newly_saved():
          self.assertTrue((self.folder / str(saved) / "state").is_dir())
          said.append(saved)
      store.wait()
      said += store.newly_saved()
      self.assertEqual(store.newly_saved(), [])
    self.assertEqual(said[-1], 3)
    self.assertEqual(said, sorted(set(said)))

  @absltest.skipIf(resource is None, "needs resource limits")
  def test_a_disk_that_takes_no_more_is_one_line_and_earlier_ones_stay(self):
    rng = np.random.default_rng(0)
    state = {"params": {"w": jnp.asarray(rng.normal(size=(300, 301)).astype(np.float32))}}
    with CheckpointStore(self.folder) as store:
      store.save(1, state, {})
      store.wait()
      self.assertEqual(store.newly_saved(), [1])
      soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
      resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # a file may be so large
      try:
        with self.assertRaisesRegex(
          UserError, r"could not be written to \S+ \(File too large\); those of steps 1 are whole;"
        ):
          store.save(2, state, {})
          store.wait()
        self.assertEqual(store.newly_saved(), [])
      finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with CheckpointStore(self.folder) as store:  # the same command again, with room
      self.assertEqual(store.steps(), [1])
      step, restored, _ = store.restore_latest(make_abstract(state))
      self.assertEqual(step, 1)
      self.assert_same_bits(restored, state)
      self.assertTrue(store.save(2, state, {}))
      store.wait()
      self.assertEqual(store.newly_saved(), [2])

  def test_all_damaged_is_a_clear_error_and_deletes_nothing(self):
    self.save_steps([0.5, 0.4])
    for step in ("1", "2"):
      truncate_files(self.folder / step / "state")
    with CheckpointStore(self.folder) as store:
      with self.assertRaisesRegex(UserError, r"none of the checkpoints .* \(steps 1, 2;"):
        store.restore_latest(make_abstract(make_state(1)))
      with self.assertRaisesRegex(UserError, "step 2 .*cannot be read.*steps 1, 2"):
        store.restore_params(2)
      self.assertEqual(store.steps(), [1, 2])

  def test_nothing_to_restore(self):
    with CheckpointStore(self.folder) as store:
      self.assertIsNone(store.restore_latest(make_abstract(make_state(1))))
      self.assertIsNone(store.latest_step())
      self.assertIsNone(store.best_step())
      with self.assertRaisesRegex(UserError, "no checkpoint in .*train first"):
        store.resolve("latest")

  @parameterized.named_parameters(
    (
      "shape",
      lambda s: s.replace(
        params={"encoder": {"kernel": jnp.zeros((8, 4)), "scale": jnp.zeros(5, jnp.bfloat16)}}
      ),
      r"params\.encoder\.kernel is float32\[8, 3\] there and float32\[8, 4\] now",
    ),
    (
      "dtype",
      lambda s: s.replace(step=jnp.float32(0)),
      r"step is int32\[\] there and float32\[\] now",
    ),
    (
      "missing",
      lambda s: s.replace(params={"encoder": {"kernel": jnp.zeros((8, 3))}}),
      r"params\.encoder\.scale is bfloat16\[5\] there and absent now",
    ),
  )
  def test_another_model_is_a_clear_error_not_a_fallback(self, change, message):
    self.save_steps([0.5, 0.4])
    with CheckpointStore(self.folder) as store:
      with self.assertRaisesRegex(UserError, message):
        store.restore_latest(make_abstract(change(make_state(1))))
      self.assertEqual(store.steps(), [1, 2])

  # -------------------------------------------------------------------- resolve

  def test_resolve(self):
    self.save_steps([0.5, 0.1, 0.3, 0.2])
    with CheckpointStore(self.folder) as store:
      self.assertEqual(store.resolve("best"), 2)
      self.assertEqual(store.resolve("latest"), 4)
      self.assertEqual(store.resolve("3"), 3)
      self.assertEqual(store.resolve(3), 3)
      for wrong, said in (("7", "at step 7"), ("-1", "named '-1'"), ("bset", "named 'bset'")):
        with self.assertRaisesRegex(UserError, f"{said} .*steps 2, 3, 4"):
          store.resolve(wrong)

  def test_best_without_metrics_is_the_latest(self):
    self.save_steps([None, None])
    with CheckpointStore(self.folder) as store:
      self.assertEqual(store.resolve("best"), 2)

  def test_metric_and_position_are_readable_json(self):
    self.save_steps([0.25])
    text = (self.folder / "1" / "position" / "metadata").read_text()
    self.assertEqual(json.loads(text), {"metric": 0.25, "position": {"epoch": 0, "index": 10}})


if __name__ == "__main__":
  absltest.main()
