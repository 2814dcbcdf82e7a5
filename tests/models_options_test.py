"""Choices that must not change the result: scan or loop, remat, chunks of queries."""

import dataclasses
import functools

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from htmtl_jax.errors import UserError
from htmtl_jax.models.config import ModelConfig, round_up_vocabulary
from htmtl_jax.models.htmtl import Htmtl
from tests import tiny

CONFIG = dataclasses.replace(tiny.SMALL, token_layers=2, decoder_layers=3)


def count_products(jaxpr) -> int:
  """Products of weights, those without a batch axis, in a program as it is traced."""
  count = 0
  for equation in jaxpr.eqns:
    if equation.primitive.name == "dot_general":
      count += not any(equation.params["dimension_numbers"][1])
    for inner in jax.tree.leaves(list(equation.params.values())):
      inner = getattr(inner, "jaxpr", inner)
      count += count_products(inner) if hasattr(inner, "eqns") else 0
  return count


class OptionsTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.batch = tiny.pack(tiny.make_documents())
    cls.params = tiny.init_params(Htmtl(CONFIG, tiny.VOCABULARY), cls.batch)
    cls.reference = cls.value_and_gradient(CONFIG, cls.params)

  @classmethod
  def value_and_gradient(cls, config, params):
    """Of `loss`, compiled."""
    run = jax.jit(jax.value_and_grad(cls.loss(config)))
    return jax.tree.map(np.asarray, run(params))

  @classmethod
  def loss(cls, config):
    """A loss that depends on everything the model gives, as a function of parameters."""
    model, batch = Htmtl(config, tiny.VOCABULARY), cls.batch

    def run(params):
      output = model.apply({"params": params}, batch, tiny.BUCKET.units, 0.6)
      loss = -jnp.where(batch.targets.mask, output.log_probs, 0.0).sum()
      loss += sum(jnp.square(scores).sum() for scores in output.unit_scores)
      return loss + sum(jnp.exp(2 * x).sum() for x in output.encoded.importance.levels())

    return run

  def assert_same(self, actual, expected):
    self.assertAlmostEqual(float(actual[0]), float(expected[0]), delta=1e-4 * float(expected[0]))
    actual_leaves = jax.tree_util.tree_leaves_with_path(actual[1])
    self.assertEqual(jax.tree.structure(actual[1]), jax.tree.structure(expected[1]))
    for (path, a), e in zip(actual_leaves, jax.tree.leaves(expected[1])):
      scale = max(float(np.abs(e).max()), 1e-3)
      np.testing.assert_allclose(a / scale, e / scale, atol=2e-4, err_msg=str(path))

  @parameterized.named_parameters(
    ("remat_full", {"remat": "full"}),
    ("remat_dots", {"remat": "dots"}),
    ("small_blocks", {"key_block": 16}),
    ("one_layer_a_turn", {"scan_unroll": 1}),
    ("one_layer_a_turn_remat", {"scan_unroll": 1, "remat": "full"}),
    ("one_layer_a_turn_dots", {"scan_unroll": 1, "remat": "dots"}),
  )
  def test_same_value_and_gradient(self, changes):
    config = dataclasses.replace(CONFIG, **changes)
    self.assert_same(self.value_and_gradient(config, self.params), self.reference)

  @parameterized.parameters(0, 1)
  def test_dots_computes_no_product_of_weights_again(self, unroll):
    base = dataclasses.replace(CONFIG, scan_unroll=unroll)
    products = {}
    for remat in ("none", "dots", "full"):
      gradient = jax.grad(self.loss(dataclasses.replace(base, remat=remat)))
      products[remat] = count_products(jax.make_jaxpr(gradient)(self.params).jaxpr)
    self.assertEqual(products["dots"], products["none"])
    self.assertGreater(products["full"], products["none"])

  def test_loop_with_remat_is_scan(self):
    config = dataclasses.replace(CONFIG, scan_layers=False, remat="full")
    value, gradient = self.value_and_gradient(config, tiny.unstack_layers(self.params))
    expected = self.reference[0], tiny.unstack_layers(self.reference[1])
    self.assert_same((value, gradient), expected)

  def test_every_parameter_has_a_gradient(self):
    for path, gradient in jax.tree_util.tree_leaves_with_path(self.reference[1]):
      self.assertGreater(np.abs(gradient).max(), 1e-7, path)

  def initial_values(self, **changes):
    """{path: array}, the model's own."""
    model = Htmtl(dataclasses.replace(CONFIG, **changes), tiny.VOCABULARY)
    initialise = jax.jit(functools.partial(model.init, num_units=tiny.BUCKET.units))
    params = tiny.nn.unbox(initialise(jax.random.key(0), self.batch))["params"]
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}

  def test_initial_values(self):
    unit, depth = self.initial_values(residual_init="unit"), self.initial_values()
    ends = "['out']['kernel']", "['narrow']['kernel']"
    smaller = {name for name in unit if name.endswith(ends) and "['pool']" not in name}
    self.assertLen([name for name in smaller if "cross_attention" in name], 2)  # scanned, and last
    for name, values in unit.items():
      depth_of_stack = 3 if name.startswith("['decoder']") else 2
      factor = (2 * depth_of_stack) ** -0.5 if name in smaller else 1
      np.testing.assert_allclose(depth[name], factor * values, rtol=1e-6, err_msg=name)
    with self.subTest("do not depend on how layers are scanned"):
      for name, values in self.initial_values(scan_unroll=1).items():
        np.testing.assert_array_equal(depth[name], values, err_msg=name)

  def test_loop_names_its_layers(self):
    model = Htmtl(dataclasses.replace(CONFIG, scan_layers=False), tiny.VOCABULARY)
    initialise = functools.partial(model.init, num_units=tiny.BUCKET.units)
    shapes = jax.eval_shape(initialise, jax.random.key(0), self.batch)["params"]
    expected = tiny.unstack_layers(self.params)
    stripped = jax.tree.map(lambda x: x.shape, tiny.nn.unbox(shapes))
    self.assertEqual(stripped, jax.tree.map(lambda x: x.shape, expected))


class ConfigTest(parameterized.TestCase):
  @parameterized.parameters(
    {"width": 18, "num_heads": 4},
    {"width": 12, "num_heads": 4},
    {"memory": "x"},
    {"decoder_stacks": "x"},
    {"remat": "x"},
    {"residual_init": "x"},
    {"scan_unroll": -1},
    {"dtype": "float16"},
    {"memory": "segments"},
  )
  def test_bad_choices_are_refused_in_one_line(self, **changes):
    with self.assertRaisesRegex(UserError, r"^config\.model[^\n]+$"):
      ModelConfig(**changes)

  def test_vocabulary_is_rounded_up(self):
    self.assertEqual([round_up_vocabulary(n) for n in (1, 128, 129)], [128, 128, 256])


if __name__ == "__main__":
  absltest.main()
