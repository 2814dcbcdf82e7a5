"""The decoder against its definition, step by step against all at once, and its scores."""

import dataclasses
import functools

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from htmtl_jax.data.tokenizer import (
  BOS_ID,
  EOS_ID,
  NUM_STRUCTURE_IDS,
  PAD_ID,
  PIECE_MARKERS,
  SECTION_ID,
  UNK_ID,
)
from htmtl_jax.decoding import piece_of_count
from htmtl_jax.models.htmtl import Htmtl
from htmtl_jax.models.memory import make_memory, segment_scores
from tests import numpy_reference, tiny

RAMP = 0.7
LENGTHS = (5, 11, 17)  # the longest target of each level in `tiny.make_documents`
VARIANTS = {
  "shared_copy_scan": {"decoder_layers": 3},
  "shared_no_copy_loop": {"copy": False, "scan_layers": False, "decoder_layers": 3},
  "separate_copy_loop": {"decoder_stacks": "separate", "scan_layers": False},
  "separate_no_copy_scan": {"decoder_stacks": "separate", "copy": False},
  "segments_only": {"memory": "segments", "copy": False, "decoder_layers": 1},
}


@functools.partial(jax.jit, static_argnums=(0, 3))
def run(model, params, batch, num_units, step_ids, step_pieces, step_remaining):
  """Both ways of decoding the targets.

  Args:
    step_ids: [T, B, 3] int32, input ids of each level, step by step.
    step_pieces, step_remaining: [T, B, 3] int32, `Targets.piece` and `remaining` of each.

  Returns:
    (ModelOutput of the teacher-forced pass, log_probs [T, B, 3, V] of the cached
    steps, scores over segments [T, B, 3, n] at each level, the memory's token ids).
  """
  variables = {"params": params}
  full = model.apply(variables, batch, num_units, RAMP)
  length = step_ids.shape[0]
  encoded, cache = model.apply(
    variables, batch, (0, 1, 2), 1, length, RAMP, method=Htmtl.start_decoding
  )
  # The cache rounds the number of keys up.
  num_keys = make_memory(encoded, batch, model.config, RAMP).states.shape[1]
  before = jnp.concatenate([jnp.full_like(step_ids[:1], 7), step_ids[:-1]])  # 7 must not count

  def body(cache, inputs):
    position, *inputs = inputs
    ids, previous, pieces, remaining = (x[..., None] for x in inputs)  # one beam a level
    log_probs, attention, cache = model.apply(
      variables, ids, previous, position, pieces, remaining, cache, method=Htmtl.decode_step
    )
    attention = attention[:, :, 0, :num_keys]
    return cache, (log_probs[:, :, 0], segment_scores(attention, encoded, batch))

  _, (log_probs, scores) = jax.lax.scan(
    body, cache, (jnp.arange(length), step_ids, before, step_pieces, step_remaining)
  )
  return full, log_probs, scores, cache.token_ids


def step_inputs(documents):
  """What decoding counts: ids (BOS, then the targets, zeros behind), pieces, tokens left; [T, B, 3]."""
  ids = np.zeros((max(LENGTHS), len(documents), 3), np.int32)
  for b, document in enumerate(documents):
    for level, target in enumerate(document.target_ids):
      ids[: len(target), b, level] = [BOS_ID, *target[:-1]]
  markers = np.cumsum(ids == np.array(PIECE_MARKERS), axis=0, dtype=np.int32)
  lengths = np.array([[len(target) for target in d.target_ids] for d in documents])
  remaining = np.maximum(lengths - np.arange(len(ids))[:, None, None], 1).astype(np.int32)
  return ids, np.asarray(piece_of_count(markers[..., None]))[..., 0], remaining


class DecoderTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.documents = tiny.make_documents()
    cls.batch = tiny.pack(cls.documents)
    cls.results = {}

  def run_variant(self, name):
    """(config, scanned params, model, params as the model wants them, results), made once."""
    if name not in self.results:
      config = dataclasses.replace(tiny.SMALL, **VARIANTS[name])
      scanned_model = Htmtl(dataclasses.replace(config, scan_layers=True), tiny.VOCABULARY)
      scanned = tiny.init_params(scanned_model, self.batch)
      params = scanned if config.scan_layers else tiny.unstack_layers(scanned)
      model = Htmtl(config, tiny.VOCABULARY)
      out = run(model, params, self.batch, tiny.BUCKET.units, *step_inputs(self.documents))
      self.results[name] = (config, scanned, model, params, jax.tree.map(np.asarray, out))
    return self.results[name]

  @parameterized.named_parameters((name, name) for name in VARIANTS)
  def test_cached_steps_are_the_teacher_forced_pass(self, name):
    _, _, _, _, (full, step_log_probs, *_) = self.run_variant(name)
    for b, document in enumerate(self.documents):
      for level, target in enumerate(document.target_ids):
        with self.subTest(document=b, level=level):
          at_once = full.log_probs[b][self.batch.targets.level[b] == level]
          one_by_one = step_log_probs[np.arange(len(target)), b, level, target]
          self.assertLen(at_once, len(target))
          np.testing.assert_allclose(one_by_one, at_once, atol=2e-5, rtol=1e-5)

  @parameterized.named_parameters((name, name) for name in VARIANTS)
  def test_is_the_definition_on_ragged_documents(self, name):
    config, scanned, _, _, (full, step_log_probs, step_scores, _) = self.run_variant(name)
    for b, document in enumerate(self.documents):
      tree = tiny.piece_tree(document)
      slots = tiny.tree_slots(tiny.unpack_tree(self.batch, b))[1:]
      encoded = numpy_reference.encode(scanned, config, tree)
      for level, target in enumerate(document.target_ids):
        probabilities, states, scores = numpy_reference.decode(
          scanned, config, tree, encoded, target, level, tiny.VOCABULARY, RAMP
        )
        time = np.arange(len(target))
        at_level = self.batch.targets.level[b] == level
        with self.subTest(document=b, level=level):
          np.testing.assert_allclose(
            np.exp(step_log_probs[time, b, level]), probabilities, atol=2e-5
          )
          np.testing.assert_allclose(
            full.log_probs[b, at_level], np.log(probabilities[time, target]), atol=2e-4
          )
          np.testing.assert_allclose(full.states[b, at_level], states, atol=2e-4)
          for kind in range(3):
            np.testing.assert_allclose(
              step_scores[kind][time, b, level][:, slots[kind]], scores[kind], atol=1e-5
            )
            units = self.batch.targets.unit[b, at_level]
            for unit in range(tiny.BUCKET.units):
              if (
                tiny.BUCKET.first_unit(level)
                <= unit
                < (tiny.BUCKET.first_unit(level) + tiny.BUCKET.num_units(level))
              ):
                np.testing.assert_allclose(
                  full.unit_scores[kind][b, unit, slots[kind]],
                  scores[kind][units == unit].sum(0),
                  atol=3e-5,
                )

  @parameterized.named_parameters((name, name) for name in VARIANTS)
  def test_scores_add_up_at_every_step(self, name):
    _, _, _, _, (_, log_probs, scores, _) = self.run_variant(name)
    np.testing.assert_allclose(np.exp(log_probs.astype(np.float64)).sum(-1), 1.0, atol=1e-5)
    for level_scores in scores:
      np.testing.assert_allclose(level_scores.sum(-1), 1.0, atol=1e-5)
      self.assertGreaterEqual(level_scores.min(), 0.0)
    for b in range(len(self.documents)):
      for c, paragraphs in tiny.unpack_tree(self.batch, b):
        of_section = scores[1][:, b][..., [p for p, _ in paragraphs]].sum(-1)
        np.testing.assert_allclose(of_section, scores[2][:, b, :, c], atol=1e-5)
        for p, sentences in paragraphs:
          of_paragraph = scores[0][:, b][..., [s for s, _ in sentences]].sum(-1)
          np.testing.assert_allclose(of_paragraph, scores[1][:, b, :, p], atol=1e-5)

  def test_a_larger_bucket_and_no_neighbours_change_nothing(self):
    _, _, model, params, (full, log_probs, scores, _) = self.run_variant("shared_copy_scan")
    documents = self.documents[1:2]
    batch = tiny.pack(documents, tiny.LARGER_BUCKET)
    units = tiny.LARGER_BUCKET.units
    alone, alone_log_probs, alone_scores, _ = run(
      model, params, batch, units, *step_inputs(documents)
    )
    count = sum(map(len, documents[0].target_ids))
    np.testing.assert_allclose(alone.log_probs[0, :count], full.log_probs[1, :count], atol=1e-5)
    np.testing.assert_allclose(alone.gate[0, :count], full.gate[1, :count], atol=1e-5)
    np.testing.assert_allclose(np.exp(alone_log_probs[:, 0]), np.exp(log_probs[:, 1]), atol=1e-5)
    small = tiny.tree_slots(tiny.unpack_tree(self.batch, 1))[1:]
    large = tiny.tree_slots(tiny.unpack_tree(batch, 0))[1:]
    for kind in range(3):
      np.testing.assert_allclose(
        alone_scores[kind][:, 0][..., large[kind]],
        scores[kind][:, 1][..., small[kind]],
        atol=1e-5,
      )

  def test_garbage_in_padding_changes_nothing(self):
    _, _, model, params, (full, *_) = self.run_variant("shared_copy_scan")
    rng = np.random.default_rng(0)
    garbage = lambda x: rng.integers(22, tiny.VOCABULARY, x.shape).astype(np.int32)
    batch, targets = self.batch, self.batch.targets
    spoiled = batch.replace(
      token_ids=np.where(batch.tokens.mask, batch.token_ids, garbage(batch.token_ids)),
      targets=targets.replace(
        ids=np.where(targets.mask, targets.ids, garbage(targets.ids)),
        input_ids=np.where(targets.mask, targets.input_ids, garbage(targets.ids)),
      ),
    )
    other, *_ = run(model, params, spoiled, tiny.BUCKET.units, *step_inputs(self.documents))
    mask = targets.mask
    np.testing.assert_array_equal(np.asarray(other.log_probs)[mask], full.log_probs[mask])
    for kind in range(3):
      np.testing.assert_array_equal(other.unit_scores[kind], full.unit_scores[kind])

  def test_no_target_sees_a_later_one_or_another_level(self):
    _, _, model, params, (full, *_) = self.run_variant("shared_copy_scan")
    targets = self.batch.targets
    for level, position in ((0, 2), (1, 4), (2, 5)):
      input_ids = targets.input_ids.copy()
      here = (targets.level == level) & (targets.position == position)
      self.assertEqual(here.sum(), 3 if level else 2)
      input_ids[here] = 22 + (input_ids[here] + 3) % 29
      batch = self.batch.replace(targets=targets.replace(input_ids=input_ids))
      other, *_ = run(model, params, batch, tiny.BUCKET.units, *step_inputs(self.documents))
      moved = np.asarray(other.log_probs) != full.log_probs
      may_move = (targets.level == level) & (targets.position >= position)
      may_move &= (here.any(1))[:, None]
      with self.subTest(level=level):
        self.assertFalse(moved[~may_move & targets.mask].any())
        self.assertTrue(moved[may_move].all())

  def test_gradient_of_a_log_prob_reaches_no_later_embedding(self):
    config, _, _, params, _ = self.run_variant("shared_copy_scan")
    model = Htmtl(config, tiny.VOCABULARY)
    batch = jax.tree.map(lambda x: x[1:2], self.batch)
    targets = batch.targets
    t = int(np.flatnonzero((targets.level[0] == 1) & (targets.position[0] == 3))[0])

    def states(module, embeddings):
      encoded = module.encode(batch)
      memory = make_memory(encoded, batch, config, RAMP)
      return module.decoder(embeddings, targets, memory, tiny.BUCKET.units, True).states[0, t].sum()

    embeddings = np.random.default_rng(0).normal(size=(1, tiny.BUCKET.target_tokens, 16))
    gradient = jax.jit(jax.grad(lambda x: model.apply({"params": params}, x, method=states)))(
      jnp.asarray(embeddings, jnp.float32)
    )
    reached = np.abs(np.asarray(gradient))[0].max(-1) > 0
    np.testing.assert_array_equal(reached, (targets.level[0] == 1) & (targets.position[0] <= 3))

  def test_structure_ids_in_a_document_cannot_be_copied(self):
    _, _, model, params, _ = self.run_variant("shared_copy_scan")
    token_ids = self.batch.token_ids.copy()
    tokens = tiny.tree_slots(tiny.unpack_tree(self.batch, 0))[0]
    for slot, structure_id in zip(tokens[4:], (UNK_ID, EOS_ID, SECTION_ID, PAD_ID)):
      token_ids[0].reshape(-1)[slot] = structure_id
    batch = self.batch.replace(token_ids=token_ids)
    *_, ids = run(model, params, batch, tiny.BUCKET.units, *step_inputs(self.documents))
    ids = np.asarray(ids)
    words = batch.tokens.mask & (token_ids >= NUM_STRUCTURE_IDS)
    self.assertEqual(words.sum(), batch.tokens.mask.sum() - 4)
    np.testing.assert_array_equal(
      ids[:, : tiny.BUCKET.tokens], np.where(words, token_ids, -1).reshape(3, -1)
    )
    self.assertTrue((ids[:, tiny.BUCKET.tokens :] == -1).all())


if __name__ == "__main__":
  absltest.main()
