"""Collects the text of a LaTeX paper: words to pieces, pieces to paragraphs, and these to blocks."""

from htmtl_jax.documents.parsers.blocks import Block
from htmtl_jax.documents.parsers.latex_cleaning import clean_text
from htmtl_jax.documents.parsers.latex_math import FORMULA
from htmtl_jax.documents.sentences import split_sentences

_Pieces = list[str]  # a paragraph, each piece whole sentences: the items of a list


class TextCollector:
  """Where the words go.

  Attributes:
    title: the first one.
    is_started: false in a preamble, whose text is no text of the paper.
    list_depth: of the list being read; a whole list is one paragraph.
    heading_depth: how many headings are being read, one inside the other.
  """

  def __init__(self, is_started: bool):
    self.title = ""
    self.is_started = is_started
    self.list_depth = 0
    self.heading_depth = 0
    self._abstract: list[_Pieces] = []
    self._blocks: list[tuple[int, str, list[_Pieces]]] = [(0, "", [])]
    self._target = self._blocks[0][2] if is_started else []  # paragraphs go here
    self._outer_targets = []  # where they went before an abstract began
    self._words = []  # of the current piece
    self._pieces: _Pieces = []  # of the current paragraph

  def add(self, text: str) -> None:
    """Adds to the current piece, with no space before it."""
    self._words.append(text)

  def add_display(self, punctuation: str) -> None:
    """Adds a formula that stands on a line of its own; two in a row read like one."""
    if "".join(self._words[-2:]).rstrip().endswith(FORMULA):
      self._words.append(punctuation + " ")
    else:
      self._words.append(f" {FORMULA}{punctuation} ")

  def begin_heading(self) -> list[str]:
    """From here to `end_heading` words make a heading; gives what that needs."""
    self.heading_depth += 1
    words, self._words = self._words, []
    return words

  def end_heading(self, words: list[str]) -> str:
    text, self._words = clean_text("".join(self._words)), words
    self.heading_depth -= 1
    return text

  def end_piece(self) -> None:
    """Ends an item of a list."""
    if self.heading_depth:
      self._words.append(" ")
      return
    text = clean_text("".join(self._words))
    self._words.clear()
    if text:
      self._pieces.append(text)

  def end_paragraph(self, is_final: bool = False) -> None:
    """Ends a paragraph; inside a list an item (unless `is_final`), inside a heading nothing."""
    self.end_piece()
    if self.heading_depth or not self._pieces or (self.list_depth and not is_final):
      return
    pieces, self._pieces = self._pieces, []
    if self._target and len(self._target[-1]) == 1:
      # A formula between blank lines belongs to the sentence before it; what goes on
      # after a formula in lower case does too.
      last = self._target[-1][0]
      is_formula = pieces[0].rstrip(".,;") == FORMULA
      if is_formula or (last.rstrip(",").endswith(FORMULA) and pieces[0][0].islower()):
        pieces = [f"{last} {pieces[0]}", *pieces[1:]]
        self._target.pop()
    self._target.append(pieces)

  def start_document(self) -> None:
    """Forgets what the preamble printed."""
    self.end_paragraph(is_final=True)
    self._blocks.clear()
    self.is_started = True
    self.begin_block(0, "")

  def begin_abstract(self) -> None:
    self.end_paragraph(is_final=True)
    self._outer_targets.append(self._target)
    # One in a second language, or written twice, is not taken.
    self._target = [] if self._abstract else self._abstract

  def end_abstract(self) -> None:
    self.end_paragraph(is_final=True)
    if self._outer_targets:
      self._target = self._outer_targets.pop()

  def begin_block(self, level: int, heading: str) -> None:
    """Begins what is under a heading; a list or an abstract never closed ends here."""
    if self.heading_depth:
      return
    self.end_paragraph(is_final=True)
    self._outer_targets.clear()
    self.list_depth = 0
    if self._blocks and not self._blocks[-1][1] and not self._blocks[-1][2]:
      self._blocks.pop()  # neither a heading nor text
    self._blocks.append((level, heading, []))
    self._target = self._blocks[-1][2] if self.is_started else []

  def finish(self) -> tuple[list[Block], list[tuple[str, ...]]]:
    """The blocks, and the paragraphs of the abstract."""
    self.end_paragraph(is_final=True)
    blocks, abstract = self._blocks, self._abstract
    if abstract and not any(paragraphs for _, _, paragraphs in blocks):
      blocks, abstract = [(1, "Abstract", abstract)], []  # which is then all there is
    blocks = [Block(level, heading, _split(paragraphs)) for level, heading, paragraphs in blocks]
    return blocks, _split(abstract)


def _split(paragraphs: list[_Pieces]) -> list[tuple[str, ...]]:
  return [tuple(s for piece in pieces for s in split_sentences(piece)) for pieces in paragraphs]
