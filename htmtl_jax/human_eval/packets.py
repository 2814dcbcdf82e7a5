"""Packets: what one rater gets, blinded, and the key that opens it.

Pure data; `form.py` makes the HTML. A packet holds texts, labels and questions. It holds
nothing of who wrote what: no name of a system or a run, no id of the corpus, no seed, no
mark on a repeated question, and its ids count places.
"""

from collections.abc import Mapping, Sequence
import json
from typing import Any

from htmtl_jax.documents.document import Document
from htmtl_jax.human_eval import wording
from htmtl_jax.human_eval.candidates import Candidates
from htmtl_jax.human_eval.folder import KEY_FORMAT, VERSION, digest, study_id
from htmtl_jax.human_eval.papers import paragraphs_for_readers
from htmtl_jax.human_eval.plan import LABELS, Plan, Question
from htmtl_jax.human_eval.sampling import Drawn, Stratum
from htmtl_jax.human_eval.settings import Design, Study, study_to_json

# Raters see these; they do not name this program, after which a system may be called.
PACKET_FORMAT = "human evaluation packet"
ANSWERS_FORMAT = "human evaluation answers"


def make_packet(
  design: Design,
  rater: str,
  questions: Sequence[Question],
  candidates: Candidates,
  papers: Mapping[str, Document],
) -> dict[str, Any]:
  """What the form of one rater holds, without the study's id, which depends on it.

  Args:
    design: of the study.
    rater: name.
    questions: in order.
    candidates: has the texts.
    papers: of the documents, as far as they are shown.
  """
  aliases = {d: f"d{k + 1:03d}" for k, d in enumerate(dict.fromkeys(q.document for q in questions))}
  return {
    "format": PACKET_FORMAT,
    "version": VERSION,
    "rater": rater,
    "title": design.title,
    "contact": design.contact,
    "consent": design.consent,
    "instructions": [*wording.instruct(design), *filter(None, design.instructions.split("\n"))],
    "levels": {
      level: {"name": wording.LEVEL_NAMES[level], "text": wording.LEVEL_TEXTS[level]}
      for level in design.levels
    },
    "scales": wording.scales(design.criteria) if "likert" in design.tasks else [],
    "compare_by": [{"name": name, **wording.compare_questions(name)} for name in design.compare_by],
    "documents": {alias: _show_paper(design, papers.get(d)) for d, alias in aliases.items()},
    "questions": [_show_question(q, aliases[q.document], design, candidates) for q in questions],
  }


def _show_paper(design: Design, paper: Document | None) -> dict[str, Any]:
  if paper is None:
    return {}
  shown: dict[str, Any] = {"title": paper.title}
  if "abstract" in design.show:
    shown["abstract"] = paragraphs_for_readers(paper.abstract)
  if "text" in design.show:
    shown["sections"] = [
      {"heading": section.heading, "paragraphs": paragraphs_for_readers(section.paragraphs)}
      for section in paper.sections
    ]
  return shown


def _show_question(
  question: Question, alias: str, design: Design, candidates: Candidates
) -> dict[str, Any]:
  written = candidates.texts[question.level][question.document]
  shown: dict[str, Any] = {
    "id": question.id,
    "document": alias,
    "level": question.level,
    "task": question.task,
    "texts": [written[systems[0]].split("\n") for systems in question.candidates],
  }
  if "reference" in design.show:
    shown["reference"] = candidates.references[question.level][question.document].split("\n")
  return shown


def make_key(
  study: Study,
  plan: Plan,
  candidates: Candidates,
  drawn: Sequence[Drawn],
  strata: Sequence[Stratum],
  packets: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
  """The content of key.json: everything that import needs, and that raters must not see.

  Args:
    study: its settings.
    plan: that the packets were made from.
    candidates: that were judged.
    drawn: the sample.
    strata: it was drawn from.
    packets: of `make_packet`, by rater.
  """
  key: dict[str, Any] = {
    "format": KEY_FORMAT,
    "version": VERSION,
    "settings": study_to_json(study),
    "split": candidates.split,
    "runs": list(candidates.runs),
    "systems": list(candidates.systems),
    "eligible_documents": len(candidates.documents),
    "words_are": candidates.words_are,
    "strata": [{"name": s.name, "size": s.size, "drawn": s.drawn} for s in strata],
    "documents": [
      {"id": d.id, "stratum": d.stratum, "words": d.words, "raters": list(plan.assigned[d.id])}
      for d in drawn
    ],
    "mean_words": {
      level: {
        system: sum(len(candidates.texts[level][d.id][system].split()) for d in drawn) / len(drawn)
        for system in candidates.systems
      }
      for level in study.design.levels
    },
    "scores": {
      level: {
        system: {metric: [round(own[d.id], 4) for d in drawn] for metric, own in by_metric.items()}
        for system, by_metric in by_system.items()
      }
      for level, by_system in candidates.scores.items()
    },
    "identical": [
      {"document": i.document, "level": i.level, "systems": list(i.systems)} for i in plan.identical
    ],
    "raters": {
      rater: {
        "packet": digest(packets[rater]),
        "questions": {
          q.id: {
            "document": q.document,
            "level": q.level,
            "task": q.task,
            "candidates": {label: list(own) for label, own in zip(LABELS, q.candidates)},
            "repeat_of": q.repeat_of,
          }
          for q in questions
        },
      }
      for rater, questions in plan.raters.items()
    },
  }
  key = json.loads(json.dumps(key))  # tuples become lists, as they will be when it is read
  return {**key, "study": study_id(key)}
