"""Records as a trained model would make them, without one: for tests of reports.

The summaries are the references of a generated paper. Importance and shares are drawn from
a seed: high where the generator planted what matters, and where words are shared.
"""

import numpy as np

from htmtl_jax.documents import synthetic
from htmtl_jax.documents.document import Document, Section, iterate_sentences
from htmtl_jax.documents.references import eligible_sections, make_references
from htmtl_jax.evaluation.baselines import body_scores, extract
from htmtl_jax.levels import LEVELS
from htmtl_jax.summary_record import make_record
from tests import hostile


def generated_paper(index: int = 0) -> Document:
  return synthetic.generate_document(index, "test", seed=0)


def fake_record(document: Document, num_read: int | None = None, seed: int = 0) -> dict:
  """The record of a made-up model.

  Args:
    document: with references at all levels, as generated papers have.
    num_read: sentences read, headings included; None: all.
    seed: of importance and shares.
  """
  rng = np.random.default_rng(seed)
  places = list(iterate_sentences(document))[:num_read]
  planted = document.planted or ()
  matters = np.array([(p.section, p.paragraph, p.sentence) in planted for p in places])
  logits = rng.normal(0.0, 0.8, len(places)) + 2.0 * matters
  importance = np.exp(logits) / np.exp(logits).sum()
  eligible = eligible_sections(document)
  references = make_references(document)
  pieces = {level: [list(p.sentences) for p in references[level].pieces] for level in LEVELS}
  words = [set(place.text.lower().split()) for place in places]
  shares = []
  for level in LEVELS:
    sentences = [s for piece in pieces[level] for s in piece]
    common = np.array([[len(w & set(s.lower().split())) for w in words] for s in sentences])
    logits = 0.8 * common + rng.normal(0.0, 0.5, common.shape)
    shares.append(list(np.exp(logits) / np.exp(logits).sum(1, keepdims=True)))
  return make_record(
    document,
    "htmtl",
    pieces,
    eligible,
    importance,
    extract(body_scores(document, importance), document, "paragraph", 90, eligible),
    shares,
    num_truncated=0
    if num_read is None
    else 7 * (len(list(iterate_sentences(document))) - num_read),
  )


def hostile_document() -> Document:
  """Everything of it tries to be more than text: id, title, headings, sentences, abstract."""
  texts = hostile.TEXTS
  sections = tuple(
    Section(texts[i % len(texts)], (texts[i::2] + ("It rained on the soil. " * 12,), texts[i::3]))
    for i in range(5)
  )
  return Document(
    id=texts[0] + "/../" + texts[16],
    title=" ".join(texts[:19]),
    sections=(*sections, Section("", (texts,)), Section(texts[3], ())),
    abstract=(texts,),
    summaries={"one_sentence": (texts[1] + texts[16],)},
  )
