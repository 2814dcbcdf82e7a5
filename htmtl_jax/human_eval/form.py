"""A packet as a form: one HTML file that a rater opens, fills in, and saves answers from.

The file needs no network and sends nothing (`reports/page.py`); what it saves is read by
`answers.py`.
"""

from collections.abc import Mapping
from typing import Any

from htmtl_jax.human_eval.packets import ANSWERS_FORMAT
from htmtl_jax.reports.page import clean_text, render_page


def render_form(packet: Mapping[str, Any], study: str, packet_digest: str) -> str:
  """The form of one rater.

  Args:
    packet: of `packets.make_packet`.
    study: the study's id.
    packet_digest: that the answers have to name.
  """
  data = {
    **_clean(packet),
    "study": study,
    "packet": packet_digest,
    "answers_format": ANSWERS_FORMAT,
  }
  return render_page(
    "study_form.html",
    packet["title"],
    data,
    styles=("study_form.css",),
    scripts=("study_state.js", "study_form.js"),
  )


def _clean(value: Any) -> Any:
  """Texts as a page shows them, at every depth."""
  if isinstance(value, str):
    return clean_text(value)
  if isinstance(value, Mapping):
    return {name: _clean(own) for name, own in value.items()}
  return [_clean(own) for own in value] if isinstance(value, list) else value
