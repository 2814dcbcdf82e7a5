"""What is written does not depend on the mesh."""

import dataclasses

from absl.testing import absltest
import jax
import numpy as np

from htmtl_jax.decoding import DecodeConfig, make_decoder
from htmtl_jax.losses import LossConfig
from htmtl_jax.models.htmtl import Htmtl
from htmtl_jax.sharding import MeshConfig, make_mesh, put_batch
from tests import tiny

BUCKET = dataclasses.replace(tiny.BUCKET, token_rows=8)


class ShardedDecodingTest(absltest.TestCase):
  def test_token_rows_and_heads_over_devices_write_the_same(self):
    batch = tiny.pack(tiny.make_documents()[:2], BUCKET)
    model = Htmtl(tiny.SMALL, tiny.VOCABULARY)
    params = tiny.init_params(model, batch, BUCKET.units)
    config = DecodeConfig(beam_size=1, min_tokens=(2, 3, 3), max_tokens=(5, 8, 9))
    results = []
    for mesh in (
      make_mesh(MeshConfig(), jax.devices()[:1]),
      make_mesh(MeshConfig(data=2, tensor=2, sequence=2)),
    ):
      decode = make_decoder(model, config, LossConfig(), mesh)
      result = decode(params, np.int32(0), put_batch(batch, mesh), np.array([1, 2]), np.zeros(3))
      results.append(jax.device_get(result))
    one, many = results
    self.assertGreater(len(np.unique(one.ids)), 5)
    paths = jax.tree_util.tree_leaves_with_path(one)
    for (path, a), b in zip(paths, jax.tree.leaves(many), strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=str(path))


if __name__ == "__main__":
  absltest.main()
