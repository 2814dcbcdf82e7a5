"""What a JATS article says of itself in short: its abstract and the author's other summaries."""

import dataclasses
import re

from lxml import etree

from htmtl_jax.documents.document import Paragraph
from htmtl_jax.documents.parsers.blocks import is_left_out, normalize_heading
from htmtl_jax.documents.parsers.citations import tidy
from htmtl_jax.documents.parsers.jats_inline import read_line, read_text
from htmtl_jax.documents.parsers.summary_kinds import IGNORED, get_kind_of_title
from htmtl_jax.documents.sentences import split_sentences

_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_MAIN = "abstract"
# The title is asked before the type: PNAS gives "Significance" the type of a digest.
_KIND_OF_TYPE = {
  **dict.fromkeys(("short", "toc", "one-sentence", "precis", "teaser"), "one_sentence"),
  **dict.fromkeys(("summary", "author-summary"), "author_summary"),
  **dict.fromkeys(("executive-summary", "plain-language-summary", "lay-summary"), "digest"),
  **dict.fromkeys(("key-points", "highlights", "author-highlights"), "highlights"),
  "significance": "significance",
  **dict.fromkeys(("graphical", "video", "audio", "key-image", "web-image"), IGNORED),
  **dict.fromkeys(("", "abstract", "normal", "main", "structured", "full", "section"), _MAIN),
}
_OWN_DOI = re.compile(
  r"(?:doi:?\s*)?(?:https?://(?:dx\.)?doi\.org/)?10\.\d{4,9}/\S+", re.IGNORECASE
)
_REGISTRATION = re.compile(r"(?:\w+ ){0,3}registration(?: .*)?")
_MAX_LABEL_WORDS = 6


@dataclasses.dataclass
class Abstracts:
  """The abstract, one label a paragraph or none, and the other summaries by kind."""

  paragraphs: list[Paragraph] = dataclasses.field(default_factory=list)
  labels: list[str] = dataclasses.field(default_factory=list)
  summaries: dict[str, Paragraph] = dataclasses.field(default_factory=dict)


def read_abstracts(article: etree._Element) -> Abstracts:
  """Reads every `abstract`; translations and graphical ones are ignored.

  Where none has the type of a main abstract, the first of a type not known here is it.
  """
  found, unknown = Abstracts(), []
  meta = article.find("front/article-meta")
  if meta is None:
    return found
  for abstract in meta.iterfind("abstract"):
    language = abstract.get(_LANGUAGE) or ""
    if language and language[:2].lower() != (article.get(_LANGUAGE) or language)[:2].lower():
      continue
    kind = _get_kind(abstract)
    if kind is None:
      unknown.append(abstract)
    elif kind == _MAIN and not found.paragraphs:
      found.paragraphs, found.labels = _read_labelled(abstract)
    elif kind not in (_MAIN, IGNORED) and kind not in found.summaries:
      summary = tuple(s for text in _read_texts(abstract) for s in split_sentences(text))
      if summary:
        found.summaries[kind] = summary
  for abstract in unknown:
    if not found.paragraphs:
      found.paragraphs, found.labels = _read_labelled(abstract)
  statement = _read_impact_statement(meta)
  if statement:
    found.summaries.setdefault("one_sentence", statement)
  return found


def _get_kind(abstract: etree._Element) -> str | None:
  kind = get_kind_of_title(read_line(abstract.find("title")))
  return kind or _KIND_OF_TYPE.get((abstract.get("abstract-type") or "").lower())


def _read_impact_statement(meta: etree._Element) -> Paragraph:
  """eLife's sentence about the paper is a custom field."""
  for field in meta.iterfind("custom-meta-group/custom-meta"):
    if read_line(field.find("meta-name")).lower() == "author impact statement":
      return tuple(split_sentences(read_line(field.find("meta-value"))))
  return ()


def _read_texts(element: etree._Element) -> list[str]:
  """The readable texts under an element, in order."""
  texts = []
  for child in element:
    if child.tag in ("p", "list", "def-list"):
      text = tidy(read_text(child))
      if text and not _OWN_DOI.fullmatch(text):
        texts.append(text)
    elif child.tag in ("sec", "disp-quote"):
      texts += _read_texts(child)
  return texts


def _read_labelled(abstract: etree._Element) -> tuple[list[Paragraph], list[str]]:
  """One paragraph for each labelled section, or the paragraphs as they are."""
  if abstract.find("sec") is None:
    return _read_unsectioned(abstract)
  paragraphs, labels = [], []
  for child in abstract:
    if child.tag == "sec":
      label = read_line(child.find("title")).rstrip(" :.")
      if is_left_out(label) or _REGISTRATION.fullmatch(normalize_heading(label)):
        continue
      texts = _read_texts(child)
    elif child.tag in ("p", "list"):
      label, text = "", tidy(read_text(child))
      texts = [text] if text and not _OWN_DOI.fullmatch(text) else []
    else:
      continue
    sentences = tuple(s for text in texts for s in split_sentences(text))
    if sentences:
      paragraphs.append(sentences)
      labels.append(label)
  return paragraphs, labels if any(labels) else []


def _read_unsectioned(abstract: etree._Element) -> tuple[list[Paragraph], list[str]]:
  """Paragraphs; where each begins with a bold or italic label, the labels are taken off."""
  texts = _read_texts(abstract)
  labels = [_get_run_in_label(p) for p in abstract.iterfind("p")]
  if len(labels) < 2 or len(labels) != len(texts) or not all(labels):
    labels = []
  if all(text.startswith(label) for text, label in zip(texts, labels)):
    texts = [text[len(label) :].lstrip(" :.") for text, label in zip(texts, labels)] or texts
  else:
    labels = []
  paragraphs = [tuple(split_sentences(text)) for text in texts]
  if not all(paragraphs):  # a label without text
    return [tuple(split_sentences(text)) for text in _read_texts(abstract)], []
  return paragraphs, [label.rstrip(" :.") for label in labels]


def _get_run_in_label(paragraph: etree._Element) -> str:
  if not len(paragraph) or (paragraph.text or "").strip():
    return ""
  first = paragraph[0]
  if first.tag not in ("bold", "italic", "underline", "sc"):
    return ""
  label = read_line(first)
  ends = label.endswith((":", ".")) or (first.tail or "").lstrip().startswith((":", "."))
  return label if ends and 0 < len(label.split()) <= _MAX_LABEL_WORDS else ""
