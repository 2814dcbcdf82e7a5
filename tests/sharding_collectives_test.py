"""What devices send each other, counted in compiled programs.

Two documents are compared that differ in the tokens of a row and in targets, and in nothing
else: what does not grow with them holds neither.
"""

import dataclasses
import functools

from absl.testing import absltest
import flax.linen as nn
import jax
import optax

from htmtl_jax.compiled.costs import program_costs
from htmtl_jax.data.packing import blank_document, stack_documents
from htmtl_jax.losses import LossConfig, count_weights, loss_terms, normalise_terms, total_loss
from htmtl_jax.models.htmtl import Htmtl
from htmtl_jax.sharding import LOGICAL_RULES, MeshConfig, batch_shardings, make_mesh
from htmtl_jax.train_state import make_state
from tests import tiny

# Without scans the same is computed, and it compiles faster.
CONFIG = dataclasses.replace(
  tiny.SMALL,
  width=32,
  mlp_width=48,
  section_layers=0,
  document_layers=0,
  dropout=0.1,
  scan_layers=False,
)
BUCKET = dataclasses.replace(tiny.BUCKET, token_rows=8, sentence_rows=8)
MORE_TARGETS = 40
LARGER = dataclasses.replace(
  BUCKET, row_tokens=3 * BUCKET.row_tokens, target_tokens=BUCKET.target_tokens + MORE_TARGETS
)
FLOAT = 4  # bytes


@dataclasses.dataclass(frozen=True)
class Exchange:
  """Bytes. Attributes: sent by one device; of whole arrays, by kind; of the parameters."""

  sent: int
  payload: dict[str, int]
  parameters: int


@functools.cache
def exchange(mesh_config: MeshConfig, documents: int, bucket) -> Exchange:
  """Of the loss and its gradients, compiled for the first devices."""
  count = mesh_config.data * mesh_config.fsdp * mesh_config.tensor * mesh_config.sequence
  mesh = make_mesh(mesh_config, jax.devices()[:count])
  model = Htmtl(CONFIG, tiny.VOCABULARY)
  blank = stack_documents([blank_document(bucket)] * documents)
  place = lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
  batch = jax.tree.map(place, blank, batch_shardings(mesh, blank))
  _, shardings, state = make_state(model, optax.sgd(1.0), blank, bucket.units, mesh, 0)

  def loss(params, batch):
    rngs = {"dropout": jax.random.key(0)}
    output = model.apply({"params": params}, batch, bucket.units, 1.0, False, rngs=rngs)
    terms = loss_terms(output, batch, bucket, LossConfig(), CONFIG.copy)
    return total_loss(normalise_terms(terms, count_weights(batch)), LossConfig(), 2000)

  with jax.set_mesh(mesh), nn.logical_axis_rules(LOGICAL_RULES):
    step = jax.jit(jax.grad(loss), out_shardings=shardings.params)
    costs = program_costs(step.lower(state.params, batch).compile().as_text())
  return Exchange(
    costs.sent_bytes(),
    costs.collective_bytes(),
    sum(x.size * 4 for x in jax.tree.leaves(state.params)),
  )


class CollectivesTest(absltest.TestCase):
  def test_over_sequence_go_sentences_and_targets_but_no_tokens(self):
    mesh, devices = MeshConfig(data=1, sequence=4), 4
    small, large = (exchange(mesh, 1, bucket) for bucket in (BUCKET, LARGER))
    # A layer's output and the gradient of its queries; the softmax's maximum and denominator.
    by_layer = 2 * CONFIG.width + 2 * CONFIG.num_heads
    # Of the last layer also what meets in the scores' gradient, and both copy masses.
    by_target = CONFIG.decoder_layers * by_layer + CONFIG.num_heads + 2
    all_reduce = 2 * (devices - 1) / devices  # every byte goes round twice
    self.assertEqual(large.sent - small.sent, all_reduce * FLOAT * by_target * MORE_TARGETS)
    self.assertLess(small.payload["all-gather"], small.parameters / 10)

  def test_over_fsdp_go_parameters_and_their_gradients_but_no_activations(self):
    mesh = MeshConfig(data=1, fsdp=8)
    small, large = (exchange(mesh, 8, bucket) for bucket in (BUCKET, LARGER))
    self.assertEqual(large, small)
    # Forward and backward; XLA for CPUs writes the reduce-scatter as an all-reduce.
    self.assertBetween(small.payload["all-gather"] / small.parameters, 0.9, 2.0)
    self.assertBetween(small.payload["all-reduce"] / small.parameters, 0.9, 1.2)
    self.assertEqual(set(small.payload), {"all-gather", "all-reduce"})


if __name__ == "__main__":
  absltest.main()
