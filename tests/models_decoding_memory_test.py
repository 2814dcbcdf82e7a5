"""Which keys decoding reads: those of its levels, and those of important sentences."""

import functools

from absl.testing import absltest, parameterized
import jax
import numpy as np

from htmtl_jax.models.decoding_memory import of_important_tokens, of_levels, round_up
from htmtl_jax.models.htmtl import Htmtl
from htmtl_jax.models.memory import make_memory
from htmtl_jax.models.rows import NEGATIVE
from tests import tiny

TOKENS = tiny.BUCKET.tokens
SIZES = (tiny.BUCKET.sentences, tiny.BUCKET.paragraphs, tiny.BUCKET.sections)


@functools.cache
def setting():
  """(batch, encoded, memory) of the tiny documents."""
  batch = tiny.pack(tiny.make_documents())
  model = Htmtl(tiny.SMALL, tiny.VOCABULARY)
  params = tiny.init_params(model, batch)
  encoded = jax.jit(lambda p, b: model.apply({"params": p}, b, method=Htmtl.encode))(params, batch)
  return batch, encoded, make_memory(encoded, batch, tiny.SMALL, 0.7)


class DecodingMemoryTest(parameterized.TestCase):
  @parameterized.parameters((0,), (1,), (2,), (0, 2))
  def test_leaves_out_what_no_level_may_see(self, *levels):
    batch, _, memory = setting()
    kept = of_levels(memory, batch, levels)
    self.assertEqual(kept.states.shape[1], TOKENS + sum(SIZES[level] for level in levels))
    seen = np.asarray(memory.bias)[:, levels].max(axis=1) > NEGATIVE / 2  # [B, M]
    seen_of_kept = np.asarray(kept.bias).max(axis=1) > NEGATIVE / 2
    for b in range(len(seen)):
      for name in ("states", "token_ids"):
        before, after = np.asarray(getattr(memory, name)), np.asarray(getattr(kept, name))
        np.testing.assert_array_equal(after[b][seen_of_kept[b]], before[b][seen[b]])
      np.testing.assert_array_equal(
        np.asarray(kept.bias)[b][:, seen_of_kept[b]],
        np.asarray(memory.bias)[b][list(levels)][:, seen[b]],
      )

  @parameterized.parameters(1, 7, 20, TOKENS, TOKENS + 5)
  def test_keeps_the_tokens_of_the_most_important_sentences(self, count):
    batch, encoded, memory = setting()
    memory = of_levels(memory, batch, (0, 1, 2))  # without the padding for blocks
    kept = of_important_tokens(memory, encoded.importance, batch, count)
    count = min(count, TOKENS)
    self.assertEqual(kept.states.shape[1], count + sum(SIZES))
    np.testing.assert_array_equal(kept.states[:, count:], memory.states[:, TOKENS:])
    for b in range(len(memory.states)):
      importance, tokens = [], []
      for _, paragraphs in tiny.unpack_tree(batch, b):
        for _, sentences in paragraphs:
          for sentence, slots in sentences:
            importance.append(float(encoded.importance.sentences[b, sentence]))
            tokens.append(slots)
      expected = [slot for i in np.argsort(importance)[::-1] for slot in tokens[i]]
      states = np.asarray(memory.states)[b]
      real = np.asarray(kept.bias)[b, 0, :count] > NEGATIVE / 2
      self.assertEqual(real.sum(), min(count, len(expected)))
      as_set = lambda rows: {row.tobytes() for row in rows}
      chosen = as_set(np.asarray(kept.states)[b, :count][real])
      self.assertLessEqual(chosen, as_set(states[expected]))
      # All sentences but the last that found room are there whole.
      lengths = np.cumsum([len(tokens[i]) for i in np.argsort(importance)[::-1]])
      fits = int(max([n for n in lengths if n <= count], default=0))
      self.assertLessEqual(as_set(states[expected[:fits]]), chosen)

  def test_rounding_up_adds_keys_that_nobody_sees(self):
    batch, _, memory = setting()
    memory = of_levels(memory, batch, (0, 1, 2))
    rounded = round_up(memory, 64)
    size = memory.states.shape[1]
    self.assertEqual(rounded.states.shape[1], -(-size // 64) * 64)
    self.assertGreater(rounded.states.shape[1], size)
    np.testing.assert_array_equal(rounded.bias[..., :size], memory.bias)
    self.assertLessEqual(float(rounded.bias[..., size:].max()), NEGATIVE)
    np.testing.assert_array_equal(rounded.token_ids[:, size:], -1)
    self.assertEqual(round_up(memory, 1).states.shape[1], size)


if __name__ == "__main__":
  absltest.main()
