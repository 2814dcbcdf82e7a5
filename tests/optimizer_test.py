"""Schedules at their corners, decay on matrices only, clipping, unknown names."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from htmtl_jax.errors import UserError
from htmtl_jax.optimizer import OptimizerConfig, make_optimizer, make_schedule


class OptimizerTest(parameterized.TestCase):
  def test_cosine(self):
    schedule = make_schedule(
      OptimizerConfig(
        learning_rate=2.0,
        schedule="cosine",
        warmup_steps=10,
        schedule_steps=110,
        final_share=0.1,
      )
    )
    for step, expected in ((0, 0.0), (5, 1.0), (10, 2.0), (60, 1.1), (110, 0.2), (500, 0.2)):
      self.assertAlmostEqual(float(schedule(step)), expected, places=5, msg=step)

  def test_reciprocal_square_root(self):
    schedule = make_schedule(OptimizerConfig(learning_rate=2.0, warmup_steps=16, schedule="rsqrt"))
    for step, expected in ((0, 0.0), (8, 1.0), (16, 2.0), (64, 1.0), (256, 0.5)):
      self.assertAlmostEqual(float(schedule(step)), expected, places=5, msg=step)
      self.assertAlmostEqual(float(jax.jit(schedule)(step)), expected, places=5, msg=step)

  def test_constant(self):
    schedule = make_schedule(
      OptimizerConfig(learning_rate=2.0, warmup_steps=4, schedule="constant")
    )
    self.assertEqual([float(schedule(s)) for s in (0, 2, 4, 9999)], [0.0, 1.0, 2.0, 2.0])

  @parameterized.parameters("adamw", "adafactor")
  def test_decay_is_on_kernels_and_tables_only(self, name):
    optimizer = make_optimizer(
      OptimizerConfig(
        name=name, learning_rate=0.1, schedule="constant", warmup_steps=0, weight_decay=0.5
      )
    )
    # A scan over layers gives even a norm's scale two dimensions.
    params = {
      "layers": {"mlp": {"kernel": jnp.ones((3, 2))}, "norm": {"scale": jnp.ones((3, 2))}},
      "embedding": jnp.ones((4, 2)),
      "gate": {"bias": jnp.ones(3)},
      "section_score": jnp.ones(3),
    }
    updates, _ = optimizer.update(
      jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params
    )
    decayed = {
      jax.tree_util.keystr(path)
      for path, update in jax.tree_util.tree_leaves_with_path(updates)
      if np.any(update)
    }
    self.assertEqual(decayed, {"['layers']['mlp']['kernel']", "['embedding']"})
    self.assertLess(float(updates["embedding"].max()), -1e-3)

  def test_adamw_takes_steps_of_the_learning_rate_whatever_the_gradient(self):
    optimizer = make_optimizer(
      OptimizerConfig(
        learning_rate=0.1, schedule="constant", warmup_steps=0, weight_decay=0.0, clip_norm=1.0
      )
    )
    params = {"a": jnp.zeros(2)}
    updates, _ = optimizer.update({"a": jnp.array([300.0, -400.0])}, optimizer.init(params), params)
    np.testing.assert_allclose(updates["a"], [-0.1, 0.1], rtol=1e-4)

  def test_gradients_are_clipped_by_their_global_norm(self):
    config = OptimizerConfig(
      learning_rate=1.0,
      schedule="constant",
      warmup_steps=0,
      clip_norm=5.0,
      beta1=0.0,
      weight_decay=0.0,
    )
    params = {"a": jnp.zeros(1), "b": jnp.zeros((1, 1))}
    state = make_optimizer(config).init(params)
    _, state = make_optimizer(config).update(
      {"a": jnp.array([30.0]), "b": jnp.array([[40.0]])}, state, params
    )
    moments = [x for x in jax.tree.leaves(state) if x.ndim and float(jnp.abs(x).sum()) > 0]
    found = sorted({round(float(jnp.abs(x).max()), 5) for x in moments})
    # Clipped to 3 and 4; second moments are 0.02 times their squares.
    self.assertEqual(found, [0.18, 0.32, 3.0, 4.0])

  def test_unknown_names_are_refused_in_one_line(self):
    with self.assertRaisesRegex(UserError, r"^config\.optimizer\.name: 'sgd' [^\n]*adamw[^\n]*$"):
      OptimizerConfig(name="sgd")
    with self.assertRaisesRegex(
      UserError, r"^config\.optimizer\.schedule: 'x' [^\n]*cosine[^\n]*$"
    ):
      OptimizerConfig(schedule="x")


if __name__ == "__main__":
  absltest.main()
