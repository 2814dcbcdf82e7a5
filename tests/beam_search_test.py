"""Beam search over a table, where every answer can be found by other means."""

import functools
import itertools

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from htmtl_jax.beam_search import NEVER, beam_search, length_penalty, repeated_ngram_mask

B, G, V, T = 2, 2, 5, 4
BOS, EOS = 0, 1
MAX_LENGTHS = (4, 3)
STATES = 97  # of the hidden state below


def advance(hidden, token, position):
  """A hidden state that depends on the whole prefix: wrong if the cache loses its beam."""
  return (hidden * 7 + token * 3 + position + 1) % STATES


class BeamSearchTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(B, G, STATES, V))
    self.table = (logits - np.log(np.exp(logits).sum(-1, keepdims=True))).astype(np.float32)

  def search(self, beam_size, alpha=0.0, constrain=None, table=None, max_lengths=MAX_LENGTHS):
    table = jnp.asarray(self.table if table is None else table)

    def step(groups, ids, previous, position, cache):
      hidden, last = cache
      # The search must hand over the same history that the cache has seen.
      agrees = jnp.where(position > 1, previous == last, True)
      hidden = advance(hidden, ids, position)
      log_probs = table[jnp.arange(B)[:, None, None], jnp.array(groups)[None, :, None], hidden]
      return jnp.where(agrees[..., None], log_probs, NEVER), (hidden, ids)

    def reorder(cache, parents):
      return jax.tree.map(lambda x: jnp.take_along_axis(x, parents, axis=2), cache)

    def resize(cache, kept, length):
      return jax.tree.map(lambda x: x[:, jnp.array(kept)], cache)

    zeros = jnp.zeros((B, len(max_lengths), beam_size), jnp.int32)
    run = jax.jit(
      functools.partial(
        beam_search,
        step,
        reorder,
        constrain or (lambda groups, log_probs, ids, position: log_probs),
        resize,
        batch_size=B,
        max_lengths=max_lengths,
        beam_size=beam_size,
        alpha=alpha,
        bos_id=BOS,
        eos_id=EOS,
      )
    )
    return jax.tree.map(np.asarray, run((zeros, zeros)))

  def log_prob_of(self, b, g, ids, table=None):
    table = self.table if table is None else table
    hidden, total = 0, 0.0
    for position, (before, token) in enumerate(zip((BOS, *ids), ids)):
      hidden = advance(hidden, before, position)
      total += float(table[b, g, hidden, token])
    return total

  def sequences(self, max_length):
    """Every sequence that ends with EOS within `max_length` tokens."""
    words = [v for v in range(V) if v != EOS]
    for length in range(max_length):
      for body in itertools.product(words, repeat=length):
        yield (*body, EOS)

  def assert_result(self, result, b, g, ids, score, alpha):
    length = len(ids)
    self.assertEqual(result.lengths[b, g], length)
    self.assertEqual(result.ids[b, g].tolist(), [*ids, *[0] * (T - length)])
    self.assertAlmostEqual(float(result.scores[b, g]), score, places=4)
    self.assertAlmostEqual(
      float(result.log_probs[b, g]), score * length_penalty(length, alpha), places=4
    )

  @parameterized.parameters(0.0, 0.8, 2.0)
  def test_a_beam_wide_enough_finds_the_optimum(self, alpha):
    result = self.search(320, alpha)
    for b in range(B):
      for g in range(G):
        score, ids = max(
          (self.log_prob_of(b, g, s) / ((5 + len(s)) / 6) ** alpha, s)
          for s in self.sequences(MAX_LENGTHS[g])
        )
        self.assert_result(result, b, g, ids, score, alpha)

  def test_length_penalty_decides_between_short_and_long(self):
    lengths = [self.search(320, alpha).lengths.sum() for alpha in (-4.0, 0.0, 8.0)]
    self.assertLess(lengths[0], lengths[2])
    self.assertEqual(sorted(lengths), lengths)

  def plain_beam(self, b, g, beam_size, alpha, max_length):
    """The documented rules with Python lists: [(score, ids)] best first."""
    live, finished = [(0.0, ())], []
    for _ in range(max_length):
      candidates = sorted(
        ((self.log_prob_of(b, g, (*ids, v)), (*ids, v)) for _, ids in live for v in range(V)),
        reverse=True,
      )
      for total, ids in candidates[:beam_size]:
        if ids[-1] == EOS:
          finished.append((total / ((5 + len(ids)) / 6) ** alpha, ids))
      finished = sorted(finished, reverse=True)[:beam_size]
      live = [c for c in candidates if c[1][-1] != EOS][:beam_size]
      if len(finished) == beam_size:
        break
    return finished or [(t / ((5 + len(ids)) / 6) ** alpha, ids) for t, ids in live]

  @parameterized.product(beam_size=(1, 2, 3, 5), alpha=(0.0, 0.8))
  def test_is_beam_search_with_lists(self, beam_size, alpha):
    result = self.search(beam_size, alpha)
    for b in range(B):
      for g in range(G):
        score, ids = self.plain_beam(b, g, beam_size, alpha, MAX_LENGTHS[g])[0]
        self.assert_result(result, b, g, ids, score, alpha)

  def test_one_beam_is_greedy(self):
    rng = np.random.default_rng(3)
    for _ in range(5):
      table = rng.normal(size=self.table.shape).astype(np.float32)
      result = self.search(1, 0.8, table=table)
      for b in range(B):
        for g in range(G):
          ids, hidden = [], 0
          while len(ids) < MAX_LENGTHS[g] and EOS not in ids:
            hidden = advance(hidden, ids[-1] if ids else BOS, len(ids))
            ids.append(int(table[b, g, hidden].argmax()))
          score = self.log_prob_of(b, g, ids, table) / ((5 + len(ids)) / 6) ** 0.8
          self.assert_result(result, b, g, ids, score, 0.8)

  def test_without_any_end_the_best_live_hypothesis_is_given(self):
    never_end = lambda groups, log_probs, ids, position: log_probs.at[..., EOS].set(NEVER)
    result = self.search(320, 0.8, never_end)
    words = [v for v in range(V) if v != EOS]
    for b in range(B):
      for g in range(G):
        length = MAX_LENGTHS[g]
        total, ids = max(
          (self.log_prob_of(b, g, s), s) for s in itertools.product(words, repeat=length)
        )
        self.assert_result(result, b, g, ids, total / ((5 + length) / 6) ** 0.8, 0.8)

  def test_no_end_before_the_minimum(self):
    def constrain(groups, log_probs, ids, position):
      end = jnp.where(position < 2, NEVER, log_probs[..., EOS])
      return log_probs.at[..., EOS].set(end)

    result = self.search(320, 0.0, constrain)
    self.assertTrue((self.search(320).lengths < 3).any())
    for b in range(B):
      for g in range(G):
        total, ids = max(
          (self.log_prob_of(b, g, s), s) for s in self.sequences(MAX_LENGTHS[g]) if len(s) >= 3
        )
        self.assert_result(result, b, g, ids, total, 0.0)

  def test_a_finished_group_does_not_wait_for_the_others_to_change_it(self):
    together = self.search(2, 0.8)
    alone = self.search(2, 0.8, max_lengths=MAX_LENGTHS[:1], table=self.table[:, :1])
    np.testing.assert_array_equal(together.ids[:, :1], alone.ids)
    np.testing.assert_allclose(together.scores[:, :1], alone.scores, rtol=1e-6)

  def test_length_penalty_by_hand(self):
    self.assertAlmostEqual(float(length_penalty(1, 0.8)), 1.0)
    self.assertAlmostEqual(float(length_penalty(7, 1.0)), 2.0)
    self.assertAlmostEqual(float(length_penalty(7, 0.0)), 1.0)


class NgramTest(parameterized.TestCase):
  @parameterized.parameters(2, 3, 4)
  def test_blocks_what_a_python_loop_blocks(self, size):
    rng = np.random.default_rng(size)
    ids = rng.integers(0, 3, (6, 5, 13)).astype(np.int32)
    mask = jax.jit(functools.partial(repeated_ngram_mask, size=size, vocabulary=4))
    num_blocked = 0
    for position in range(14):
      actual = np.asarray(mask(ids, position))
      expected = np.zeros((6, 5, 4), bool)
      for index in np.ndindex(6, 5):
        sequence = ids[index][:position].tolist()
        seen = {tuple(sequence[i : i + size]) for i in range(len(sequence) - size + 1)}
        for v in range(4):
          gram = tuple([*sequence, v][-size:])
          expected[(*index, v)] = len(gram) == size and gram in seen
      np.testing.assert_array_equal(actual, expected, err_msg=f"position {position}")
      num_blocked += expected.sum()
    self.assertGreater(num_blocked, 20)


if __name__ == "__main__":
  absltest.main()
