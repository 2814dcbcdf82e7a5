"""The mesh, the table of shardings as it comes out, and sizes that do not divide."""

import dataclasses
from unittest import mock

from absl.testing import absltest, parameterized
import jax
from jax.experimental import mesh_utils
from jax.sharding import PartitionSpec as P
import numpy as np
import optax

from htmtl_jax.errors import UserError
from htmtl_jax.models.htmtl import Htmtl
from htmtl_jax.optimizer import OptimizerConfig, make_optimizer
from htmtl_jax.sharding import (
  MeshConfig,
  batch_multiple,
  batch_shardings,
  check_token_rows,
  make_mesh,
  put_batch,
  replicated,
)
from htmtl_jax.train_state import make_state
from tests import tiny

ROW_LAYER = "encoder/sentence_transformer/stack/layers"
DOCUMENTS = ("data", "fsdp")
EXPECTED = {
  "embedding": P(("tensor", "fsdp")),
  f"{ROW_LAYER}/attention/qkv/kernel": P(None, "fsdp", None, "tensor"),
  f"{ROW_LAYER}/attention/out/kernel": P(None, "tensor", None, "fsdp"),
  f"{ROW_LAYER}/attention/norm/scale": P(None, "fsdp"),
  f"{ROW_LAYER}/mlp/wide/kernel": P(None, "fsdp", "tensor"),
  f"{ROW_LAYER}/mlp/narrow/kernel": P(None, "tensor", "fsdp"),
  "encoder/sentence_transformer/pool/query/kernel": P("fsdp", "tensor"),
  "encoder/token_shift/mix/kernel": P("fsdp"),
  "encoder/heading_embedding": P(None, "fsdp"),
  "encoder/sentence_position/embedding": P(),
  "encoder/document_to_sentence/layers/attention/key/kernel": P(None, "fsdp", "tensor"),
  "encoder/importance/section_score": P("fsdp"),
  "decoder/stack_0/memory_projection/kernel": P("fsdp", None, None, "tensor"),
  "decoder/stack_0/layers/cross_attention/query/kernel": P(None, "fsdp", "tensor"),
  "decoder/stack_0/last_layer/self_attention/out/kernel": P("tensor", None, "fsdp"),
  "decoder/level_embedding": P(None, "fsdp"),
  "generator/gate/kernel": P("fsdp"),
  "generator/gate/bias": P(),
}


def trimmed(spec):
  """Without the Nones at the end, which mean the same."""
  parts = list(spec)
  while parts and parts[-1] is None:
    parts.pop()
  return P(*parts)


def find(tree, path):
  for name in path.split("/"):
    tree = tree[name]
  return tree


class MeshTest(parameterized.TestCase):
  def test_minus_one_takes_what_is_left(self):
    mesh = make_mesh(MeshConfig(tensor=2))
    self.assertEqual(dict(mesh.shape), {"data": 4, "fsdp": 1, "tensor": 2, "sequence": 1})
    mesh = make_mesh(MeshConfig(data=2, fsdp=-1))
    self.assertEqual(batch_multiple(mesh), 8)
    self.assertEqual(make_mesh(MeshConfig(), jax.devices()[:1]).size, 1)

  def test_a_torus_whose_axes_have_to_be_shared(self):
    config = MeshConfig(tensor=2, sequence=2)
    with (
      mock.patch.object(jax, "make_mesh", side_effect=NotImplementedError),
      mock.patch.object(
        mesh_utils, "create_device_mesh", wraps=mesh_utils.create_device_mesh
      ) as create,
    ):
      mesh = make_mesh(config)
    self.assertEqual(mesh, make_mesh(config))
    self.assertTrue(create.call_args.kwargs["allow_split_physical_axes"])

  @parameterized.parameters(
    {"data": 3},
    {"data": 16},
    {"data": -1, "tensor": 3},
    {"data": -1, "fsdp": -1},
    {"data": 0},
    {"data": -2},
    {"data": -1, "tensor": 16},
  )
  def test_sizes_that_do_not_fit_are_refused_in_one_line(self, **sizes):
    with self.assertRaisesRegex(UserError, r"^config\.mesh: [^\n]+$"):
      make_mesh(MeshConfig(**sizes))

  def test_buckets_whose_rows_cannot_be_shared_are_refused_in_one_line(self):
    mesh = make_mesh(MeshConfig(data=2, sequence=4))
    buckets = [dataclasses.replace(tiny.BUCKET, token_rows=rows) for rows in (8, 16, 12)]
    check_token_rows(mesh, buckets)
    with self.assertRaisesRegex(
      UserError, r"^config\.mesh\.sequence: 4 [^\n]* 7 token rows [^\n]+$"
    ):
      check_token_rows(mesh, [*buckets, tiny.BUCKET])


class ShardingTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    bucket = dataclasses.replace(tiny.BUCKET, token_rows=8)
    cls.batch = jax.tree.map(
      lambda x: np.concatenate([x, x[:1]]), tiny.pack(tiny.make_documents(), bucket)
    )

  def state_of(self, mesh, **changes):
    model = Htmtl(dataclasses.replace(tiny.SMALL, **changes), tiny.VOCABULARY)
    return make_state(model, optax.adam(1e-3), self.batch, tiny.BUCKET.units, mesh, 0)

  def test_parameters_and_optimiser_lie_as_the_table_says(self):
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    _, shardings, abstract = self.state_of(mesh)
    moments = shardings.opt_state[0]
    for path, spec in EXPECTED.items():
      for tree in (shardings.params, moments.mu, moments.nu):
        self.assertEqual(trimmed(find(tree, path).spec), spec, path)
    self.assertEqual(trimmed(shardings.step.spec), P())
    table = find(abstract.params, "embedding")
    self.assertEqual(table.shape, (128, 16))
    self.assertEqual(table.sharding.shard_shape(table.shape), (32, 16))

  def test_every_parameter_but_the_position_tables_is_stored_in_slices(self):
    mesh = make_mesh(MeshConfig(data=2, fsdp=4))
    _, _, abstract = self.state_of(mesh)
    for path, array in jax.tree_util.tree_leaves_with_path(abstract.params):
      part = np.prod(array.sharding.shard_shape(array.shape))
      whole = any(table in str(path) for table in ("position", "length")) or array.size == 1
      self.assertEqual(part * (1 if whole else 4), array.size, path)

  def test_factored_moments_find_a_place_too(self):
    # Adafactor keeps a vector, or a single number, where the parameter is a matrix.
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    model = Htmtl(dataclasses.replace(tiny.SMALL, mlp_width=256, width=128), tiny.VOCABULARY)
    optimizer = make_optimizer(OptimizerConfig(name="adafactor"))
    _, _, abstract = make_state(model, optimizer, self.batch, tiny.BUCKET.units, mesh, 0)
    path = f"{ROW_LAYER}/mlp/wide/kernel"
    self.assertEqual(trimmed(find(abstract.params, path).sharding.spec), EXPECTED[path])
    ranks = {array.ndim for array in jax.tree.leaves(abstract.opt_state)}
    self.assertContainsSubset({1, 2}, ranks)
    for array in jax.tree.leaves(abstract):
      array.sharding.shard_shape(array.shape)  # raises where it does not divide

  @parameterized.parameters(
    ({"tensor": 4, "data": 2}, {}, r"attention\S+ has 2 .* tensor = 4"),
    ({"tensor": 2, "data": 4}, {"mlp_width": 21}, r"mlp\S+ has 21 .* tensor = 2"),
    ({"fsdp": 8, "data": 1}, {"width": 12, "num_heads": 2}, r"embed\S+ has 12 .* fsdp = 8"),
  )
  def test_sizes_that_do_not_divide_are_refused_in_one_line(self, mesh, changes, what):
    with self.assertRaisesRegex(UserError, rf"^config\.mesh: \S+{what} devices [^\n]+$"):
      self.state_of(make_mesh(MeshConfig(**mesh)), **changes)

  def test_documents_go_over_data_and_fsdp_and_token_rows_over_sequence(self):
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, sequence=2))
    shardings = batch_shardings(mesh, self.batch)
    for sharding in (shardings.token_ids, shardings.tokens.slot, shardings.tokens.position):
      self.assertEqual(sharding.spec, P(DOCUMENTS, "sequence"))
    for sharding in (
      shardings.tokens.up,
      shardings.sentences.slot,
      shardings.targets.ids,
      shardings.document_mask,
    ):
      self.assertEqual(trimmed(sharding.spec), P(DOCUMENTS))
    placed = put_batch(self.batch, mesh)
    self.assertEqual(placed.token_ids.sharding.shard_shape(placed.token_ids.shape), (1, 4, 11))
    self.assertLen(placed.token_ids.sharding.device_set, 8)
    for array, expected in zip(jax.tree.leaves(placed), jax.tree.leaves(self.batch)):
      np.testing.assert_array_equal(array, expected)

  def test_rows_that_do_not_divide_stay_whole(self):
    mesh = make_mesh(MeshConfig(data=4, sequence=2))
    batch = self.batch.replace(token_ids=self.batch.token_ids[:, :7])
    self.assertEqual(trimmed(batch_shardings(mesh, batch).token_ids.spec), P(DOCUMENTS))
    self.assertEqual(trimmed(replicated(mesh).spec), P())


if __name__ == "__main__":
  absltest.main()
