"""How long scoring a whole test split takes: ROUGE of every summary, with intervals.

    python -m benchmarks.scoring [--summaries=6440] [--processes=0] [--check=200] [--output=FILE]

Texts are generated, of the lengths of arXiv's test split (Cohan et al. 2018): 6,440 references
and summaries of some 220 words in nine sentences. Words are drawn by Zipf's law from a
vocabulary that all papers share, two in five from the few dozen words of the paper's topic,
so that summary and reference overlap as real ones do. The numbers are compared with the
rouge-score package called directly, on the first `--check` pairs.
"""

import argparse
import json
import os
import platform
import random
import time

import numpy as np

from htmtl_jax.data.corpus_builder import count_cores
from htmtl_jax.evaluation import results, rouge

_ONSETS = "b c d f g h l m n p r s t v st tr pl gr ch".split()
_VOWELS = "a e i o u ea io".split()
_ENDINGS = ("", "s", "ed", "ing", "ation", "al", "ive", "ment", "er", "ly")


def make_vocabulary(rng: random.Random, size: int) -> list[str]:
  """Distinct words, short ones first, with the endings that a stemmer cuts."""
  words: dict[str, None] = {}
  while len(words) < size:
    syllables = 1 + (len(words) > 100) + (len(words) > 3000)
    stem = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(syllables))
    words[stem + (rng.choice(_ENDINGS) if len(words) > 100 else "")] = None
  return list(words)


class TextMaker:
  """Makes pairs of reference and summary of one paper after the other."""

  def __init__(self, seed: int, vocabulary_size: int = 20_000):
    self._rng = np.random.default_rng(seed)
    self._words = np.array(make_vocabulary(random.Random(seed), vocabulary_size))
    weights = 1.0 / np.arange(1, vocabulary_size + 1)
    self._shares = np.cumsum(weights / weights.sum())

  def _draw(self, count: int) -> np.ndarray:
    return self._words[np.searchsorted(self._shares, self._rng.random(count))]

  def _make_text(self, topic: np.ndarray) -> str:
    """Nine sentences of 25 words, give or take."""
    lines = []
    for length in np.maximum(self._rng.normal(24.4, 9.0, self._rng.integers(6, 13)), 4).astype(int):
      own = self._rng.random(length) < 0.4
      words = np.where(own, self._rng.choice(topic, length), self._draw(length))
      lines.append(" ".join(words).capitalize() + ".")
    return "\n".join(lines)

  def make_pair(self) -> tuple[str, str]:
    """(reference, summary)."""
    topic = self._words[self._rng.integers(100, len(self._words), 60)]
    return self._make_text(topic), self._make_text(topic)


def make_pairs(count: int, seed: int) -> list[results.SummaryPair]:
  """What an evaluation of one system at the paragraph level hands to scoring."""
  maker = TextMaker(seed)
  pairs = []
  for number in range(count):
    reference, summary = maker.make_pair()
    pairs.append(
      results.SummaryPair(str(number), "paragraph", reference, "gold", {"system": summary})
    )
  return pairs


def check(pairs, scores) -> int:
  """Compares with the package; returns how many numbers differ in any digit."""
  from rouge_score import rouge_scorer

  package = rouge_scorer.RougeScorer(list(rouge.METRICS), use_stemmer=True)
  differing = 0
  for pair, row in zip(pairs, scores, strict=False):
    expected = package.score(pair.reference, pair.systems["system"])
    differing += sum(100.0 * expected[m].fmeasure != row[m] for m in rouge.METRICS)
  return differing


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--summaries", type=int, default=6440, help="arXiv's test split has 6,440")
  parser.add_argument("--processes", type=int, default=0, help="0 for one a core")
  parser.add_argument("--check", type=int, default=200, help="pairs compared with rouge-score")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--output", default="", help="a JSON file")
  arguments = parser.parse_args()
  processes = arguments.processes or count_cores()
  pairs = make_pairs(arguments.summaries, arguments.seed)
  words = [len(pair.systems["system"].split()) for pair in pairs]
  print(
    f"{len(pairs)} summaries of {np.mean(words):.0f} words, "
    f"{np.mean([len(p.systems['system'].splitlines()) for p in pairs]):.1f} sentences; "
    f"{processes} processes on {count_cores()} cores"
  )
  start, cpu = time.perf_counter(), os.times()
  found = results.compute_results(pairs, None, "test", processes=processes)
  seconds = time.perf_counter() - start
  used = sum(os.times()[:4]) - sum(cpu[:4])
  f = {metric: own["f"] for metric, own in found["systems"]["system"]["paragraph"].items()}
  print("  ".join(f"{metric} {value:.2f}" for metric, value in f.items()))
  print(f"{seconds:.1f} s, of which processors were busy {used:.1f} s")
  count = min(arguments.check, len(pairs))
  start = time.perf_counter()
  differing = check(pairs[:count], found["scores"])
  rate = (time.perf_counter() - start) / max(count, 1)
  print(
    f"{differing} of {count * len(rouge.METRICS)} numbers differ from rouge-score's own, "
    f"which takes {1e3 * rate:.1f} ms a summary on one core"
  )
  if arguments.output:
    record = {
      "summaries": len(pairs),
      "processes": processes,
      "seconds": seconds,
      "cpu_seconds": used,
      "load": os.getloadavg()[0],
      "machine": platform.machine(),
      "python": platform.python_version(),
      "package_seconds_per_summary": rate,
      "differing": differing,
      "f": f,
    }
    with open(arguments.output, "w", encoding="utf-8") as file:
      json.dump(record, file, indent=2)
      file.write("\n")


if __name__ == "__main__":
  main()
