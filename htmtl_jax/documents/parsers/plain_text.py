"""Plain text, its headings guessed, to `Document`."""

import re

from htmtl_jax.documents.document import Document
from htmtl_jax.documents.parsers.blocks import NUMBERING, Block, assemble, normalize_heading
from htmtl_jax.documents.sentences import split_sentences

KNOWN_HEADINGS = frozenset(
  (
    "abstract",
    "summary",
    "introduction",
    "background",
    "motivation",
    "related work",
    "methods",
    "method",
    "methodology",
    "materials and methods",
    "material and methods",
    "model",
    "approach",
    "experiments",
    "experimental setup",
    "results",
    "findings",
    "results and discussion",
    "evaluation",
    "discussion",
    "limitations",
    "conclusion",
    "conclusions",
    "discussion and conclusions",
    "future work",
    "references",
    "bibliography",
    "acknowledgments",
    "acknowledgements",
    "acknowledgment",
    "acknowledgement",
    "appendix",
  )
)
_MAX_HEADING_WORDS = 12
_MAX_TITLE_WORDS = 30


def _guess_heading_level(line: str, stands_alone: bool) -> int:
  """1 or more if a line looks like a heading, its numbering telling the depth; else 0."""
  line = line.strip()
  words = line.split()
  if not words or len(words) > _MAX_HEADING_WORDS or line[-1] in ".,;!?":
    return 0
  numbering = NUMBERING.match(line)
  level = numbering.group(1).count(".") + 1 if numbering and numbering.group(1) else 1
  if normalize_heading(line) in KNOWN_HEADINGS:
    return level
  letters = [c for c in line if c.isalpha()]
  if len(letters) > 3 and line.upper() == line and line.lower() != line:
    return level
  rest = line[numbering.end() :] if numbering else ""
  if stands_alone and numbering and numbering.group(1) and rest[:1].isupper():
    return level
  return 0


def parse_plain_text(text: str, id: str) -> Document:  # pylint: disable=redefined-builtin
  """Parses text whose paragraphs are separated by blank lines.

  A line counts as a heading if it is short, has no final full stop, and is
  numbered ("2 Methods", "3.1 Data"), in capitals, or a known name. A first line
  that is short and no heading is the title.

  Args:
    text: the file's content.
    id: of the document.

  Returns:
    The document; without sections if the text holds no words.
  """
  text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n")
  chunks = [c.strip("\n").split("\n") for c in re.split(r"\n[^\S\n]*\n", text) if c.strip()]
  title, blocks = "", [Block(0, "")]
  for position, lines in enumerate(chunks):
    # A numbered line before text is a heading if it ends well before the text does;
    # otherwise it is the first line of a wrapped paragraph, or of a list.
    stands_alone = len(lines) == 1 or (
      len(lines[0]) < 0.6 * len(lines[1]) and not NUMBERING.match(lines[1].strip())
    )
    level = _guess_heading_level(lines[0], stands_alone)
    line = " ".join(lines[0].split())
    if position == 0 and len(chunks) > 1 and len(lines) <= 2:
      whole = " ".join(" ".join(lines).split())
      is_known = normalize_heading(line) in KNOWN_HEADINGS or NUMBERING.match(line)
      if not is_known and len(whole.split()) <= _MAX_TITLE_WORDS and whole[-1] not in ".,;:":
        title = whole
        continue
    if level:
      blocks.append(Block(level, line))
      lines = lines[1:]
    sentences = split_sentences(" ".join(lines))
    if sentences:
      blocks[-1].paragraphs.append(tuple(sentences))
  blocks = blocks if blocks[0].paragraphs else blocks[1:]
  return assemble(blocks, title, id)
