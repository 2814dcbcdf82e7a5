"""Decoding: the form of what is written, its score read back, and learning by heart."""

import dataclasses
import functools

from absl.testing import absltest, parameterized
import jax
import numpy as np
import optax

from htmtl_jax.data.packing import pack_targets, tokens_left
from htmtl_jax.data.tokenizer import EOS_ID, NUM_STRUCTURE_IDS, SECTION_ID, SENTENCE_ID
from htmtl_jax.decoding import DecodeConfig, make_decoder
from htmtl_jax.errors import UserError
from htmtl_jax.levels import LEVELS
from htmtl_jax.losses import LossConfig
from htmtl_jax.models.htmtl import Htmtl
from htmtl_jax.sharding import MeshConfig, make_mesh, put_batch
from htmtl_jax.train_state import TrainState, make_state
from htmtl_jax.train_step import make_train_step
from tests import tiny

NUM_DOCUMENTS = 8
MAX_TOKENS = (7, 12, 16)
STEPS = 200
BUCKET = dataclasses.replace(tiny.BUCKET, target_tokens=sum(MAX_TOKENS))
LOSS = LossConfig(
  label_smoothing=0.0, coverage=0.0, twice=0.0, diversity=0.0, importance_ramp_steps=0
)
CONFIG = dataclasses.replace(tiny.SMALL, width=32, mlp_width=64)


@functools.cache
def setting():
  """(documents, batch, model, mesh, random params)."""
  rng = np.random.default_rng(1)
  documents = [
    tiny.make_document(
      tiny.random_shape(rng, sections=2, paragraphs=2, sentences=2, tokens=7),
      i,
      target_lengths=(5, 9, 12),
    )
    for i in range(NUM_DOCUMENTS)
  ]
  model = Htmtl(CONFIG, tiny.VOCABULARY)
  batch = tiny.pack(documents, BUCKET)
  mesh = make_mesh(MeshConfig(), jax.devices()[:1])
  return documents, batch, model, mesh, tiny.init_params(model, batch, BUCKET.units)


TOLD = (4, 0, 9)  # tokens that the decoder is told to write, where it is told


@functools.cache
def decode_randomly(beam_size, lengths=(0, 0, 0), **settings):
  """What an untrained model writes when asked for 1, 2, 3, 1, ... pieces."""
  _, batch, model, mesh, params = setting()
  config = DecodeConfig(
    beam_size=beam_size,
    min_tokens=(2, 4, 3),
    max_tokens=MAX_TOKENS,
    no_repeat_ngram=(0, 2, 0),
    **settings,
  )
  decode = make_decoder(model, config, LOSS, mesh)
  num_pieces = np.arange(NUM_DOCUMENTS) % 3 + 1
  result = decode(params, np.int32(0), put_batch(batch, mesh), num_pieces, np.array(lengths))
  return jax.device_get(result), num_pieces


def _soften(path, array):
  """Of random parameters with every part awake, those of a model that learns fast."""
  name = jax.tree_util.keystr(path)
  if "scale" in name:
    return np.ones_like(array)
  return array if "kernel" in name or name == "['embedding']" else np.float32(0.1) * array


@functools.cache
def compiled():
  """(new state, train step, greedy decoder), compiled once for all tests."""
  _, batch, model, mesh, params = setting()
  optimizer = optax.adam(5e-3)
  _, shardings, _ = make_state(model, optimizer, batch, BUCKET.units, mesh, 0)
  params = jax.tree_util.tree_map_with_path(_soften, params)
  state = TrainState(np.zeros((), np.int32), params, optimizer.init(params))
  state = jax.tree.map(np.array, state)  # not on a device, where a step would take it away
  init = lambda: jax.device_put(state, shardings)  # compiles nothing
  step = make_train_step(model, optimizer, LOSS, BUCKET, mesh, shardings, seed=0, hide_length=0.5)
  config = DecodeConfig(
    beam_size=1,
    length_penalty=0.0,
    min_tokens=(1, 1, 1),
    max_tokens=MAX_TOKENS,
    no_repeat_ngram=(0, 0, 0),
  )
  return init, step, make_decoder(model, config, LOSS, mesh)


def train(batch):
  """`STEPS` steps on one batch: (params, metrics of the last step)."""
  init, step, _ = compiled()
  state, on_device = init(), put_batch(batch, setting()[3])
  for _ in range(STEPS):
    state, metrics = step(state, on_device)
  return state.params, metrics


def decode_greedily(params, documents, lengths):
  """What trained params write of documents, told `lengths` [B, 3] tokens."""
  _, _, decode = compiled()
  num_pieces = np.array([int((d.target_ids[2] == SECTION_ID).sum()) for d in documents])
  on_device = put_batch(tiny.pack(documents, BUCKET), setting()[3])
  return jax.device_get(decode(params, np.int32(STEPS), on_device, num_pieces, lengths))


class DecodingTest(parameterized.TestCase):
  @parameterized.parameters(1, 3)
  def test_everything_written_has_its_levels_form(self, beam_size):
    result, num_pieces = decode_randomly(beam_size)
    for b in range(NUM_DOCUMENTS):
      for level in range(3):
        length = int(result.lengths[b, level])
        ids = [int(i) for i in result.ids[b, level]]
        self.assertBetween(length, (2, 4, 3)[level], MAX_TOKENS[level])
        self.assertEqual(ids[length:], [0] * (len(ids) - length))
        ids = ids[:length]
        ended = ids[-1] == EOS_ID
        self.assertTrue(ended or length == MAX_TOKENS[level])
        self.assertNotIn(EOS_ID, ids[:-1])
        markers = [i for i in ids if i < NUM_STRUCTURE_IDS and i != EOS_ID]
        self.assertContainsSubset(markers, ((), (SENTENCE_ID,), (SENTENCE_ID, SECTION_ID))[level])
        if level == 2:
          self.assertEqual(ids[0], SECTION_ID)
          self.assertLessEqual(markers.count(SECTION_ID), num_pieces[b])
          if ended:
            self.assertEqual(markers.count(SECTION_ID), num_pieces[b])
        else:
          self.assertGreaterEqual(ids[0], NUM_STRUCTURE_IDS)
        for first, second in zip(ids, ids[1:]):  # a marker is followed by text
          if first in (SENTENCE_ID, SECTION_ID):
            self.assertGreaterEqual(second, NUM_STRUCTURE_IDS)
        if level == 1:  # no pair of words twice
          pairs = [p for p in zip(ids, ids[1:]) if p[1] >= NUM_STRUCTURE_IDS]
          self.assertLen(set(pairs), len(pairs))

  @parameterized.parameters((1, (0, 0, 0)), (3, (0, 0, 0)), (3, TOLD))
  def test_log_probability_is_that_of_reading_it_back(self, beam_size, told):
    """The cached search and one teacher-forced pass over its output agree."""
    _, batch, model, _, params = setting()
    result, _ = decode_randomly(beam_size, told)
    targets = []
    for ids, lengths in zip(result.ids, result.lengths):
      by_level = [ids[level, : lengths[level]] for level in range(3)]
      targets.append(pack_targets(by_level, [np.zeros(len(i), int) for i in by_level], BUCKET))
    targets = jax.tree.map(lambda *x: np.stack(x), *targets)
    length = np.where(targets.level >= 0, np.array(told)[targets.level], 0)
    targets = targets.replace(remaining=tokens_left(length, targets.position))
    output = jax.jit(
      lambda p, b: model.apply({"params": p}, b, BUCKET.units, LOSS.importance_ramp(0))
    )(params, batch.replace(targets=targets))
    for level in range(3):
      read = np.where(targets.level == level, np.asarray(output.log_probs), 0.0).sum(-1)
      np.testing.assert_allclose(result.log_probs[:, level], read, rtol=1e-4, atol=1e-4)

  @parameterized.parameters(("sentence",), ("paragraph",), ("section", "sentence"))
  def test_a_level_alone_is_written_as_beside_the_others(self, *levels):
    alone, _ = decode_randomly(3, TOLD, levels=levels)
    together, _ = decode_randomly(3, TOLD)
    for i, level in enumerate(LEVELS):
      if level in levels:
        length = MAX_TOKENS[i]
        np.testing.assert_array_equal(alone.ids[:, i], together.ids[:, i, : alone.ids.shape[-1]])
        np.testing.assert_array_equal(together.ids[:, i, length:], 0)
        np.testing.assert_array_equal(alone.lengths[:, i], together.lengths[:, i])
        np.testing.assert_allclose(alone.scores[:, i], together.scores[:, i], rtol=1e-5)
      else:
        np.testing.assert_array_equal(alone.lengths[:, i], 0)
        np.testing.assert_array_equal(alone.ids[:, i], 0)

  def test_room_for_all_tokens_changes_nothing_and_less_does(self):
    together, _ = decode_randomly(3, TOLD)
    all_tokens, _ = decode_randomly(3, TOLD, memory_tokens=BUCKET.tokens)
    few_tokens, _ = decode_randomly(3, TOLD, memory_tokens=4)
    np.testing.assert_array_equal(all_tokens.ids, together.ids)
    self.assertGreater(np.abs(few_tokens.log_probs - together.log_probs).max(), 1e-3)

  def test_learns_eight_documents_by_heart(self):
    """Near-zero loss at every level, and greedy decoding gives the references back."""
    documents, batch, *_ = setting()
    params, metrics = train(batch)
    for level in ("sentence", "paragraph", "section"):
      self.assertLess(float(metrics[f"ce/{level}"]), 0.02)
    true_lengths = np.array([[len(ids) for ids in d.target_ids] for d in documents])
    for lengths in (np.zeros((NUM_DOCUMENTS, 3), np.int32), true_lengths):
      result = decode_greedily(params, documents, lengths)
      for b, document in enumerate(documents):
        for level in range(3):
          written = result.ids[b, level, : result.lengths[b, level]]
          np.testing.assert_array_equal(written, document.target_ids[level])

  def test_writes_as_many_tokens_as_it_is_told(self):
    """Eight times the same document, with references of eight lengths: only the telling differs."""
    document = setting()[0][0]
    # References that decoding may write: no two markers in a row, a digest with its pieces.
    paragraphs = (3, 4, 5, 8, 9, 10, 11, 12)
    lengths = np.array([[2 + b % 4, paragraphs[b], 5 + (5 * b) % 8] for b in range(NUM_DOCUMENTS)])
    documents = [
      tiny.make_document([(0, [[7, 3]])], 5, target_lengths=tuple(lengths[b]))
      for b in range(NUM_DOCUMENTS)
    ]
    documents = [dataclasses.replace(d, token_ids=document.token_ids[:10]) for d in documents]
    params, _ = train(tiny.pack(documents, BUCKET))
    written = decode_greedily(params, documents, lengths).lengths
    self.assertLess(np.abs(written - lengths).mean(), 0.25)  # of lengths that differ by 10

  @parameterized.parameters(
    dict(beam_size=0),
    dict(min_tokens=(9, 1, 1), max_tokens=(8, 8, 8)),
    dict(no_repeat_ngram=(1, 0, 0)),
    dict(levels=()),
    dict(levels=("paragraph", "chapter")),
    dict(memory_tokens=-1),
  )
  def test_bad_settings_are_refused(self, **changes):
    with self.assertRaises(UserError):
      DecodeConfig(**changes)


if __name__ == "__main__":
  absltest.main()
