"""The train step: the same on any mesh and in any number of pieces; and it learns."""

import dataclasses
import functools

from absl.testing import absltest, parameterized
import jax
import numpy as np
import optax

from htmtl_jax.data.packing import blank_document, stack_documents
from htmtl_jax.losses import LossConfig, normalise_terms, total_loss
from htmtl_jax.models.htmtl import Htmtl
from htmtl_jax.sharding import MeshConfig, make_mesh, put_batch
from htmtl_jax.train_state import TrainState, count_parameters, make_state
from htmtl_jax.train_step import make_eval_step, make_train_step
from tests import tiny

BUCKET = dataclasses.replace(tiny.BUCKET, token_rows=8)
NUM_DOCUMENTS = 8
LOSS = LossConfig(
  label_smoothing=0.0,
  importance=0.3,
  coverage=0.2,
  twice=0.2,
  diversity=0.2,
  ramp_start=0,
  ramp_steps=2,
  importance_ramp_steps=2,
)
# Adam divides by a gradient's own size, so rounding in a gradient near zero would move a
# parameter by a whole step. Plain descent is a smooth function of the gradient. The trace is
# the last gradient.
OPTIMIZER = optax.chain(optax.trace(decay=0.0), optax.clip_by_global_norm(1.0), optax.sgd(0.1))
MESHES = {
  "data8": MeshConfig(data=8),
  "data4_fsdp2": MeshConfig(data=4, fsdp=2),
  "data2_fsdp2_tensor2": MeshConfig(data=2, fsdp=2, tensor=2),
  "data2_fsdp2_sequence2": MeshConfig(data=2, fsdp=2, sequence=2),
  "tensor2_sequence4": MeshConfig(data=1, tensor=2, sequence=4),
}


@functools.cache
def batches():
  """Three batches of documents of different shapes and target lengths, one of them blank."""
  rng = np.random.default_rng(0)
  result = []
  for k in range(3):
    arrays = []
    for i in range(NUM_DOCUMENTS - 1):
      lengths = tuple(int(n) for n in rng.integers(1, 12, 3))
      shape = tiny.random_shape(rng, sections=2, paragraphs=2, sentences=2, tokens=7)
      document = tiny.make_document(shape, 100 * k + i, target_lengths=lengths, labels=bool(i % 2))
      arrays.append(jax.tree.map(lambda x: x[0], tiny.pack([document], BUCKET)))
    result.append(stack_documents([*arrays, blank_document(BUCKET)]))
  return result


def build(mesh_name="one", dropout=0.0, accumulate=1, **changes):
  """(mesh, init, step) for a mesh by name, made once; `changes` are of the model's config."""
  return _build(mesh_name, dropout, accumulate, tuple(changes.items()))


@functools.cache
def _build(mesh_name, dropout, accumulate, changes):
  mesh = (
    make_mesh(MeshConfig(), jax.devices()[:1])
    if mesh_name == "one"
    else make_mesh(MESHES[mesh_name])
  )
  config = dataclasses.replace(tiny.SMALL, dropout=dropout, **dict(changes))
  model = Htmtl(config, tiny.VOCABULARY)
  _, shardings, _ = make_state(model, OPTIMIZER, batches()[0], BUCKET.units, mesh, 3)
  params = tiny.init_params(model, batches()[0], BUCKET.units)
  state = TrainState(np.zeros((), np.int32), params, OPTIMIZER.init(params))
  state = jax.tree.map(np.array, state)  # not on a device, where a step would take it away
  init = lambda: jax.device_put(state, shardings)  # compiles nothing
  step = make_train_step(
    model, OPTIMIZER, LOSS, BUCKET, mesh, shardings, seed=5, accumulate=accumulate
  )
  return mesh, init, step


def train(mesh_name="one", dropout=0.0, accumulate=1, **changes):
  """Three steps, as NumPy, made once: (initial state, final state, metrics of each step, gradient
  of the first)."""
  return _train(mesh_name, dropout, accumulate, tuple(changes.items()))


@functools.cache
def _train(mesh_name, dropout, accumulate, changes):
  mesh, init, step = build(mesh_name, dropout, accumulate, **dict(changes))
  state = init()
  first = jax.tree.map(np.asarray, state)
  metrics, gradient = [], None
  for batch in batches():
    state, step_metrics = step(state, put_batch(batch, mesh))
    metrics.append(jax.tree.map(np.asarray, step_metrics))
    gradient = gradient or jax.tree.map(np.asarray, state.opt_state[0].trace)
  return first, jax.tree.map(np.asarray, state), metrics, gradient


class TrainStepTest(parameterized.TestCase):
  def assert_same_run(self, actual, expected):
    for a, e in zip(jax.tree.leaves(actual[0]), jax.tree.leaves(expected[0])):
      np.testing.assert_array_equal(a, e)
    for a, e in zip(actual[2], expected[2]):
      for name, value in e.items():
        np.testing.assert_allclose(a[name], value, rtol=2e-4, atol=2e-5, err_msg=name)
    self.assert_close(actual[3], expected[3], 1e-5)
    self.assert_close(actual[1].params, expected[1].params, 1e-4)
    first, last = (jax.tree.leaves(x.params) for x in expected[:2])
    self.assertGreater(max(float(np.abs(b - a).max()) for a, b in zip(first, last)), 0.01)

  def assert_close(self, actual, expected, tolerance):
    """Every array's greatest difference, relative to its greatest element."""
    worst = {}
    paths = jax.tree_util.tree_leaves_with_path(actual)
    for (path, a), e in zip(paths, jax.tree.leaves(expected), strict=True):
      largest = max(float(np.abs(e).max()), 1e-9)
      worst[jax.tree_util.keystr(path)] = float(np.abs(a - e).max()) / largest
    self.assertEmpty({path: error for path, error in worst.items() if not error <= tolerance})

  @parameterized.named_parameters((name, name) for name in MESHES)
  def test_any_mesh_gives_the_state_of_one_device_dropout_included(self, mesh_name):
    # Random bits depend on the seed and the position in the array, not on the mesh.
    self.assert_same_run(train(mesh_name, dropout=0.2), train("one", dropout=0.2))

  def test_layers_in_one_turn_of_the_scan_on_a_mesh_are_a_layer_a_turn_on_one_device(self):
    layers = {"dropout": 0.2, "token_layers": 2, "decoder_layers": 3}
    self.assert_same_run(
      train("data2_fsdp2_tensor2", scan_unroll=0, **layers),
      train("one", scan_unroll=1, **layers),
    )

  def test_dropout_changes_the_run(self):
    with_dropout, without = train("one", dropout=0.2), train("one")
    self.assertNotAlmostEqual(
      float(with_dropout[2][0]["loss"]), float(without[2][0]["loss"]), places=2
    )

  def test_four_pieces_are_one_batch(self):
    weights = [len(set(b.targets.mask.sum(1).tolist())) for b in batches()]
    self.assertGreater(min(weights), 3)  # uneven, or averaging means would do as well
    self.assert_same_run(train("one", accumulate=4), train("one"))

  def test_compiles_once_for_all_batches_of_a_bucket(self):
    train("one")
    _, _, step = build("one")
    self.assertEqual(step.__wrapped__._cache_size(), 1)
    train("data2_fsdp2_tensor2", dropout=0.2)
    _, _, step = build("data2_fsdp2_tensor2", dropout=0.2)
    self.assertEqual(step.__wrapped__._cache_size(), 1)

  def test_same_seed_same_bits(self):
    mesh, init, step = build("one", dropout=0.2)
    state = init()
    for batch in batches():
      state, _ = step(state, put_batch(batch, mesh))
    for a, e in zip(jax.tree.leaves(state), jax.tree.leaves(train("one", dropout=0.2)[1])):
      np.testing.assert_array_equal(a, e)

  def test_blank_documents_change_nothing(self):
    mesh, init, step = build("one")
    blank = stack_documents([blank_document(BUCKET)] * NUM_DOCUMENTS)
    state, metrics = step(init(), put_batch(blank, mesh))
    for a, e in zip(jax.tree.leaves(state.params), jax.tree.leaves(init().params)):
      np.testing.assert_array_equal(a, e)
    for name, value in metrics.items():
      if name != "parameter_norm":
        self.assertEqual(float(value), 0.0, name)

  def test_the_seed_alone_decides_the_initial_state(self):
    config = dataclasses.replace(
      tiny.SMALL,
      decoder_layers=1,
      top_down=False,
      copy=False,
      token_shift=False,
      document_layers=0,
      section_layers=0,
    )
    states = []
    for mesh in (
      make_mesh(MeshConfig(), jax.devices()[:1]),
      make_mesh(MESHES["data2_fsdp2_tensor2"]),
    ):
      model = Htmtl(config, tiny.VOCABULARY)
      init, shardings, abstract = make_state(model, OPTIMIZER, batches()[0], BUCKET.units, mesh, 3)
      state = init()
      for array, sharding, shape in zip(*map(jax.tree.leaves, (state, shardings, abstract))):
        self.assertTrue(array.sharding.is_equivalent_to(sharding, array.ndim))
        self.assertEqual((array.shape, array.dtype), (shape.shape, shape.dtype))
      states.append(jax.tree.map(np.asarray, state))
    for a, b in zip(*map(jax.tree.leaves, states)):
      np.testing.assert_array_equal(a, b)
    wide = states[0].params["encoder"]["sentence_transformer"]["stack"]["layers"]["mlp"]["wide"]
    self.assertAlmostEqual(float(wide["kernel"].std()), 16**-0.5, delta=0.04)

  def test_order_of_documents_changes_nothing(self):
    mesh, init, step = build("one")
    order = np.random.default_rng(0).permutation(NUM_DOCUMENTS)
    batch = jax.tree.map(lambda x: x[order], batches()[0])
    _, metrics = step(init(), put_batch(batch, mesh))
    for name, value in train("one")[2][0].items():
      np.testing.assert_allclose(metrics[name], value, rtol=1e-4, atol=1e-5, err_msg=name)

  def test_metrics_are_what_they_say(self):
    _, final, metrics, _ = train("one")
    batch = batches()[2]
    self.assertEqual(metrics[2]["input_tokens"], (batch.tokens.slot >= 0).sum())
    self.assertEqual(metrics[2]["target_tokens"], (batch.targets.level >= 0).sum())
    norm = np.sqrt(sum(np.square(x, dtype=np.float64).sum() for x in jax.tree.leaves(final.params)))
    self.assertAlmostEqual(float(metrics[2]["parameter_norm"]), norm, places=3)
    self.assertGreater(float(metrics[2]["update_norm"]), 0)
    self.assertEqual(int(final.step), 3)
    terms = {k: v for k, v in metrics[1].items() if "/" in k or k == "importance"}
    self.assertAlmostEqual(float(metrics[1]["loss"]), float(total_loss(terms, LOSS, 1)), places=4)
    self.assertEqual(count_parameters({"a": np.zeros((3, 4)), "b": np.zeros(2)}), 14)

  def test_eval_step_sums_to_the_loss_of_the_train_step(self):
    mesh, init, train_step = build("one")
    model = Htmtl(tiny.SMALL, tiny.VOCABULARY)
    step = make_eval_step(model, LOSS, BUCKET, mesh)
    batch = batches()[0]
    sums, weights, importance = step(init().params, 0, put_batch(batch, mesh))
    terms = normalise_terms(sums, weights)
    # Validation does not tell how long the references are.
    targets = batch.targets.replace(remaining=np.zeros_like(batch.targets.remaining))
    _, expected = train_step(init(), put_batch(batch.replace(targets=targets), mesh))
    for name, value in terms.items():
      np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
    self.assertEqual(importance.shape, (NUM_DOCUMENTS, BUCKET.sentences))


if __name__ == "__main__":
  absltest.main()
