"""Our LexRank and TextRank beside those of sumy, a public implementation, on the same papers.

    pip install sumy
    python -m benchmarks.public_baselines --corpus=$PAPERS [--words=0] [--bare] [--output=FILE]

Both rank the same sentences, and `baselines.select_within_budget` takes as many words from
either ranking; only the ranking differs. sumy runs as its command line has it, with its
English stop words and stemmer; `--bare` adds its default from Python, without them. Its own
word tokeniser wants data that NLTK downloads; a regular expression for sumy's own notion of
a word, letters with apostrophes and hyphens in between, stands in for it.

sumy's TextRank multiplies how often a word occurs in the one sentence and in the other, where
the paper counts the words that both have. "words once" is sumy with that one function by
the paper, which shows how much of the difference it makes.

sumy is no dependency of this project, here it is only measured against.
"""

import argparse
from collections.abc import Sequence
import json
import math
import os
import re
import time

import numpy as np

from configs import papers_base
from htmtl_jax.data.corpus_builder import count_cores
from htmtl_jax.data.shard_worker import in_order, workers
from htmtl_jax.documents.references import make_references
from htmtl_jax.documents.sources import open_corpus
from htmtl_jax.errors import UserError
from htmtl_jax.evaluation import significance
from htmtl_jax.evaluation.baselines import body_places, select_within_budget
from htmtl_jax.evaluation.extractors import textrank_scores
from htmtl_jax.evaluation.ranking import lexrank_scores, rank_order
from htmtl_jax.evaluation.rouge import METRICS, join_sentences, score_pair
from htmtl_jax.progress import Progress

_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|['-])*")
_CHUNK = 4
OURS = {"lexrank": lexrank_scores, "textrank": textrank_scores}


class _Tokenizer:
  """What sumy asks of a tokeniser, without downloaded data."""

  def to_words(self, sentence: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(sentence))


class PublicRankings:
  """sumy's summarisers as functions from sentences to a ranking."""

  def __init__(self, bare: bool):
    from sumy.models.dom import ObjectDocumentModel, Paragraph, Sentence
    from sumy.nlp.stemmers import Stemmer
    from sumy.summarizers.lex_rank import LexRankSummarizer
    from sumy.summarizers.text_rank import TextRankSummarizer
    from sumy.utils import get_stop_words

    self._make_document = lambda sentences: ObjectDocumentModel(
      [Paragraph([Sentence(sentence, _Tokenizer()) for sentence in sentences])]
    )

    class WordsOnce(TextRankSummarizer):
      @staticmethod
      def _rate_sentences_edge(words1, words2):
        shared = len(set(words1) & set(words2))
        scale = math.log(max(len(words1), 1)) + math.log(max(len(words2), 1))
        return shared / scale if scale > 0 else 0.0

    self.summarizers = {}
    kinds = {
      "lexrank, sumy": LexRankSummarizer,
      "textrank, sumy": TextRankSummarizer,
      "textrank, sumy, words once": WordsOnce,
    }
    for name, kind in kinds.items():
      self.summarizers[name] = kind(Stemmer("english"))
      self.summarizers[name].stop_words = get_stop_words("english")
      if bare and kind is not WordsOnce:
        self.summarizers[f"{name}, bare"] = kind()

  def rank(self, name: str, sentences: Sequence[str]) -> list[int]:
    """Indices of the sentences, best first, as sumy sorts them."""
    found: list[int] = []

    def keep(infos):
      found.extend(info.order for info in infos)
      return infos

    self.summarizers[name](self._make_document(sentences), keep)
    return found


class Comparison:
  """What worker processes do: records to scores."""

  def __init__(self, corpus, words: int, bare: bool):
    self.corpus = corpus
    self.words = words
    self.bare = bare

  def compare(self, records) -> list[dict[str, dict[str, float]]]:
    """{ranking: {metric: F, "words": n, "seconds": s}} of each paper with an abstract."""
    public = PublicRankings(self.bare)
    compared = []
    for record in records:
      try:
        document = self.corpus.parse(record)
      except ValueError:
        continue
      reference = make_references(document).get("paragraph")
      sentences = [place.text for place in body_places(document)]
      if reference is None or not sentences:
        continue
      rankers = {name: lambda s, f=f: rank_order(f(s)) for name, f in OURS.items()}
      rankers |= {name: lambda s, name=name: public.rank(name, s) for name in public.summarizers}
      budget = self.words or len(reference.text.split())
      lengths = [len(sentence.split()) for sentence in sentences]
      row = {}
      for name, ranker in rankers.items():
        start = time.process_time()
        order = ranker(sentences)
        seconds = time.process_time() - start
        chosen = select_within_budget(order, lengths, budget)
        text = join_sentences([[sentences[i] for i in chosen]])
        row[name] = score_pair(reference.text, text) | {
          "words": float(len(text.split())),
          "seconds": seconds,
        }
      compared.append(row)
    return compared


def compare(
  config, split: str, words: int, documents: int, bare: bool, processes: int
) -> list[dict]:
  """Rows of `Comparison.compare` for the documents of a split."""
  corpus = open_corpus(config.data)
  records = [record for record in corpus.records() if record.split == split]
  records = records[: documents or len(records)]
  chunks = [records[i : i + _CHUNK] for i in range(0, len(records), _CHUNK)]
  rows: list[dict] = []
  with (
    workers(Comparison(corpus, words, bare), processes) as executor,
    Progress(len(records), "compare", unit="document") as progress,
  ):

    def done(result):
      rows.extend(result)
      progress.update(min(_CHUNK, len(records) - progress.count))

    calls = ((Comparison.compare, chunk) for chunk in chunks)
    in_order(executor, calls, 2 * processes, done)
  return rows


def summarise(rows: Sequence[dict], samples: int = 10_000) -> dict[str, dict]:
  """Means, and for sumy's rankings how far ours is ahead in rouge1, with its interval."""
  summary = {}
  for name in rows[0]:
    own = {
      key: float(np.mean([row[name][key] for row in rows]))
      for key in (*METRICS, "words", "seconds")
    }
    base = name.split(",")[0]
    if name != base:
      d = np.array([row[base]["rouge1"] - row[name]["rouge1"] for row in rows])
      found = significance.compare(d[:, None], samples, 0)
      own["ahead"] = float(d.mean())
      own["low"], own["high"] = float(found.low[0]), float(found.high[0])
    summary[name] = own
  return dict(sorted(summary.items()))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--corpus", required=True, help="folder of JSON lines")
  parser.add_argument("--split", default="test")
  parser.add_argument("--words", type=int, default=0, help="budget; 0: as many as the abstract")
  parser.add_argument("--documents", type=int, default=0, help="the first so many; 0: all")
  parser.add_argument("--bare", action="store_true", help="also without stop words and stemmer")
  parser.add_argument("--processes", type=int, default=0, help="0 for one a core")
  parser.add_argument("--output", default="", help="a JSON file")
  arguments = parser.parse_args()
  try:
    import sumy
  except ImportError:
    raise SystemExit("sumy is not installed; pip install sumy") from None
  config = papers_base.get_config()
  config.data.path = arguments.corpus
  try:
    rows = compare(
      config,
      arguments.split,
      arguments.words,
      arguments.documents,
      arguments.bare,
      arguments.processes or count_cores(),
    )
  except UserError as error:
    raise SystemExit(str(error)) from None
  if not rows:
    raise SystemExit(f"no paper of the {arguments.split} split has an abstract and a body")
  summary = summarise(rows)
  print(f"{len(rows)} papers of the {arguments.split} split; sumy {sumy.__version__}")
  print(
    f"{'ranking':<28}" + "".join(m.rjust(11) for m in METRICS) + "   words  ms a paper   ours ahead"
  )
  for name, own in summary.items():
    cells = "".join(f"{own[metric]:11.2f}" for metric in METRICS)
    ahead = (
      f"   {own['ahead']:+.2f} [{own['low']:+.2f}, {own['high']:+.2f}]" if "ahead" in own else ""
    )
    print(f"{name:<28}{cells}{own['words']:8.1f}{1e3 * own['seconds']:12.1f}{ahead}")
  if arguments.output:
    os.makedirs(os.path.dirname(os.path.abspath(arguments.output)), exist_ok=True)
    record = {
      "papers": len(rows),
      "sumy": sumy.__version__,
      "words": arguments.words,
      "means": summary,
    }
    with open(arguments.output, "w", encoding="utf-8") as file:
      json.dump(record, file, indent=2)
      file.write("\n")


if __name__ == "__main__":
  main()
