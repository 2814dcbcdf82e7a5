"""What raters are asked, in words: questions, scales with an anchor for each point, instructions.

The protocol quotes these texts, so that a paper can say what was asked. Changing them makes
another study: a packet's digest, and with it the study's id, depends on them.
"""

from collections.abc import Mapping, Sequence

from htmtl_jax.human_eval.settings import OVERALL, Design

LEVEL_NAMES = {
  "sentence": "one sentence",
  "paragraph": "one paragraph",
  "section": "section by section",
}
LEVEL_TEXTS = {
  "sentence": "Each summary should tell the gist of the paper in one sentence.",
  "paragraph": "Each summary should tell the paper in one paragraph, as an abstract does.",
  "section": (
    "Each summary should go through the paper section by section; a line is a sentence of it."
  ),
}

# The question; then what 1, 2, 3, 4 and 5 mean.
CRITERION_TEXTS: Mapping[str, tuple[str, tuple[str, str, str, str, str]]] = {
  "informativeness": (
    "How much of what matters in the paper does the summary tell?",
    (
      "nothing that matters",
      "little: most of the main points are missing",
      "about half of the main points",
      "most of the main points; something of weight is missing",
      "all main points, as far as the length allows",
    ),
  ),
  "conciseness": (
    "How well does the summary use its words?",
    (
      "nearly all of it is repetition, filler or detail",
      "much of it could go",
      "some of it could go",
      "a few words could go",
      "nothing could go without a loss",
    ),
  ),
  "fluency": (
    "How well does the summary read?",
    (
      "cannot be understood",
      "hard to follow: broken or disconnected sentences",
      "can be followed, with clear faults",
      "reads well, with a slip or two",
      "reads like the text of a careful author",
    ),
  ),
  "faithfulness": (
    "How true is the summary to the paper? Check every statement, also its numbers and names.",
    (
      "most of it is wrong, or not in the paper",
      "a main statement is wrong, or not in the paper",
      "several details are wrong or not in the paper, or one that matters",
      "one small detail is wrong, or not in the paper",
      "the paper supports everything",
    ),
  ),
}

# What a comparison asks: of two, for the best of several, for the worst.
_COMPARE = {
  OVERALL: (
    "Which summary is better, all things considered?",
    "Which summary is best, all things considered?",
    "Which is worst?",
  ),
  "informativeness": (
    "Which summary tells more of what matters in the paper?",
    "Which summary tells most of what matters in the paper?",
    "Which tells least of it?",
  ),
  "conciseness": (
    "Which summary uses its words better?",
    "Which summary uses its words best?",
    "Which uses them worst?",
  ),
  "fluency": (
    "Which summary reads better?",
    "Which summary reads best?",
    "Which reads worst?",
  ),
  "faithfulness": (
    "Which summary is truer to the paper, also in numbers and names?",
    "Which summary is truest to the paper, also in numbers and names?",
    "Which is least true to it?",
  ),
}

TASK_NAMES = {
  "pairwise": "comparisons of two",
  "best_worst": "best and worst",
  "likert": "ratings from 1 to 5",
}
_TASK_TEXTS = {
  "pairwise": (
    "You see two summaries of the same paper and say which is better. If you find no difference "
    "that matters, say so: a tie is an answer, not a way out."
  ),
  "best_worst": "You see several summaries of the same paper and choose the best and the worst.",
  "likert": (
    "You rate each summary from 1 to 5. Use the whole scale, and go by what the points mean, not "
    "by how the summaries compare with each other."
  ),
}


def compare_questions(criterion: str) -> dict[str, str]:
  """What is asked of two, and of several: {"better", "best", "worst"}."""
  return dict(zip(("better", "best", "worst"), _COMPARE[criterion]))


def instruct(design: Design) -> list[str]:
  """The instructions of a study, a paragraph each."""
  shown = {
    "text": "the text of the paper",
    "abstract": "the author's abstract",
    "reference": "a reference summary",
  }
  names = [shown[name] for name in design.show]
  paper = (
    f"Beside the summaries stands {_join(names)}. " if names else "You see the summaries only. "
  )
  lines = [
    "You will judge summaries of scientific papers. They were written by different systems, some "
    "of them perhaps by people; who wrote which is hidden, and their order changes from question "
    "to question.",
    paper + _reading(design.show),
    "Judge what you see on the screen. Do not look for the paper elsewhere, do not use other "
    "programs to judge, and do not talk with other raters about the summaries before you are "
    "done.",
    *(_TASK_TEXTS[task] for task in design.tasks),
    "Some questions come twice. Answer them as if they were new.",
    "If you cannot judge a question, say so and go on. You can go back and change answers, stop "
    "at any time, and go on later.",
  ]
  return lines


def _reading(show: Sequence[str]) -> str:
  if "text" in show:
    return (
      "Read as much of the paper as you need to judge; you need not read every word, but look up "
      "what a summary says before you call it true."
    )
  if show:
    return "Read it before you judge."
  return "Judge them by what they say and how they say it."


def _join(names: Sequence[str]) -> str:
  return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def scales(criteria: Sequence[str]) -> list[dict]:
  """Criteria with question and anchors, as packets hold them."""
  return [
    {"name": name, "question": CRITERION_TEXTS[name][0], "anchors": list(CRITERION_TEXTS[name][1])}
    for name in criteria
  ]
