"""Markdown (CommonMark with tables) to `Document`."""

import re

from markdown_it import MarkdownIt

from htmtl_jax.documents.document import Document
from htmtl_jax.documents.parsers.blocks import Block, assemble
from htmtl_jax.documents.sentences import split_sentences

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)?(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:[ \t]*(.+)$", re.MULTILINE)


def _get_inline_text(token) -> str:
  """The readable text of an inline token: no images, no HTML; links keep their words."""
  parts = []
  for child in token.children or ():
    if child.type in ("text", "text_special", "code_inline"):
      parts.append(child.content)
    elif child.type in ("softbreak", "hardbreak"):
      parts.append(" ")
  return " ".join("".join(parts).split())


def _read_markdown_blocks(text: str) -> list[Block]:
  blocks = [Block(0, "")]
  heading_level, table_depth, list_depth, items = 0, 0, 0, []
  for token in MarkdownIt("commonmark").enable("table").parse(text):
    if token.type == "heading_open" and not list_depth:
      heading_level = int(token.tag[1:])
    elif token.type == "heading_close":
      heading_level = 0
    elif token.type in ("table_open", "table_close"):
      table_depth += token.nesting
    elif token.type in (
      "bullet_list_open",
      "ordered_list_open",
      "bullet_list_close",
      "ordered_list_close",
    ):
      list_depth += token.nesting
      if not list_depth and items:  # a whole list, its items one after the other
        blocks[-1].paragraphs.append(tuple(items))
        items = []
    elif token.type == "inline" and not table_depth:
      words = _get_inline_text(token)
      if heading_level:
        if words:
          blocks.append(Block(heading_level, words))
        continue
      sentences = split_sentences(words)
      if list_depth:
        items.extend(sentences)
      elif sentences:
        blocks[-1].paragraphs.append(tuple(sentences))
  return blocks if blocks[0].paragraphs else blocks[1:]


def parse_markdown(text: str, id: str) -> Document:  # pylint: disable=redefined-builtin
  """Parses CommonMark with tables.

  The only level-1 heading, if it is the first heading and others follow, is the
  title; the highest level among the rest makes the sections, deeper ones are folded
  into them. A list becomes one paragraph; code blocks, tables, images, HTML and
  front matter are left out.

  Args:
    text: the file's content.
    id: of the document.

  Returns:
    The document; without sections if the text holds no words.
  """
  title, text = "", text.replace("\r\n", "\n").replace("\r", "\n")
  front = _FRONT_MATTER.match(text)
  if front:
    text = text[front.end() :]
    found = _FRONT_TITLE.search(front.group(1) or "")
    title = found.group(1).strip().strip("'\"") if found else ""
  blocks = _read_markdown_blocks(text)
  headed = [i for i, b in enumerate(blocks) if b.level]
  if len(headed) > 1 and [blocks[i].level for i in headed].count(1) == 1:
    first = blocks[headed[0]]
    if first.level == 1:
      title = first.heading
      blocks[headed[0]] = Block(0, "", first.paragraphs)
  return assemble(blocks, title if blocks else "", id)
