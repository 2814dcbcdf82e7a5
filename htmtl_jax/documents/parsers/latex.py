"""LaTeX to `Document`.

    latex_tokens.py    source to tokens; comments and verbatim text go
    latex_expander.py  the author's macros, \\if...; latex_includes.py: other files
    latex.py           what a command means to a reader; latex_math.py: formulas
    latex_text.py      sentences and paragraphs; latex_cleaning.py: what citations leave

Commands that are not known are left out and their arguments in braces stay as text, so
that a class file that is not at hand costs no sentence.
"""

from htmtl_jax.documents.document import Document
from htmtl_jax.documents.parsers import latex_commands as commands
from htmtl_jax.documents.parsers.blocks import assemble
from htmtl_jax.documents.parsers.latex_cleaning import (
  CITED,
  REFERENCE,
  REMOVED,
  convert_quotes_and_dashes,
)
from htmtl_jax.documents.parsers.latex_expander import Expander
from htmtl_jax.documents.parsers.latex_includes import COMMANDS as INCLUDES
from htmtl_jax.documents.parsers.latex_includes import Includer, ReadInput
from htmtl_jax.documents.parsers.latex_math import format_formula
from htmtl_jax.documents.parsers.latex_symbols import ACCENTS, SYMBOLS, add_accent
from htmtl_jax.documents.parsers.latex_text import TextCollector
from htmtl_jax.documents.parsers.latex_tokens import (
  PARAGRAPH,
  Source,
  clean_source,
  has_document,
)

_MAX_NESTED_HEADINGS = 10
_MAX_FORMULA_TOKENS = 2_000  # of a "$" whose partner is searched for
_MAX_UNCLOSED_FORMULAS = 50  # after so many without partner it must be near
_NEAR_TOKENS = 40


class _Reader:
  """Reads one paper from its tokens into blocks of paragraphs."""

  def __init__(self, text: str, document_id: str, read_input: ReadInput | None, is_body: bool):
    self._text = TextCollector(is_started=is_body)
    self._expander = Expander(Source(text), document_id)
    self._includer = Includer(self._expander, read_input, document_id)
    self._is_in_abstract_argument = False
    self._num_unclosed_formulas = 0

  def read(self) -> TextCollector:
    """Reads the whole paper."""
    self._run()
    return self._text

  def _run(self) -> None:
    """Reads everything that the expander has."""
    read = self._expander.read
    while (token := read()) is not None:
      if token[0] != "\\" or len(token) == 1:
        self._add_character(token)
      elif token == PARAGRAPH:
        self._text.end_paragraph()
      elif token in SYMBOLS:
        self._text.add(SYMBOLS[token])
        if token == "\\\\":  # may be followed by a star and a distance
          self._expander.read_star()
          self._expander.read_optional(skip_spaces=False)
      elif token in ACCENTS:
        letter = self._render(self._expander.read_argument() or ())
        self._text.add(add_accent(letter, ACCENTS[token]))
      elif token.startswith("\\begin "):
        self._begin(token[7:])
      elif token.startswith("\\end "):
        self._end(token[5:])
      else:
        self._do_command(token[1:])

  # Text.

  def _add_character(self, token: str) -> None:
    if token == "$":
      self._read_formula("$")
    elif token in ("~", "&"):
      self._text.add(" ")
    elif token not in ("{", "}"):
      self._text.add(convert_quotes_and_dashes(token))

  def _render(self, tokens) -> str:
    """The text of an argument, in one line."""
    if len(tokens) == 1 and tokens[0].isalnum():
      return tokens[0]
    if self._text.heading_depth >= _MAX_NESTED_HEADINGS:
      return ""
    outer_words = self._text.begin_heading()
    self._expander.enter(tokens)
    self._run()
    self._expander.leave()
    return self._text.end_heading(outer_words)

  # Formulas.

  def _read_formula(self, close: str) -> None:
    """A formula inside a sentence up to `close`, a command or a dollar."""
    if close == "$" and self._expander.peek(skip_spaces=False) == "$":
      self._expander.read_raw()
      self._skip_display("$")
      return
    is_hopeless = self._num_unclosed_formulas >= _MAX_UNCLOSED_FORMULAS
    limit = _NEAR_TOKENS if is_hopeless else _MAX_FORMULA_TOKENS
    tokens, depth, is_closed = [], 0, False
    self._expander.in_math = True
    while len(tokens) < limit and (token := self._expander.read()) is not None:
      is_closed = token == close and depth <= 0
      if is_closed:
        break
      if token == PARAGRAPH or token in commands.PART_BEGINS:
        self._expander.push([token])
        break
      depth += (token == "{") - (token == "}")
      tokens.append(token)
    self._expander.in_math = False
    if is_closed:
      self._text.add(format_formula(tokens))
    else:
      self._num_unclosed_formulas += 1
      is_price = close == "$" and tokens and tokens[0][0].isdigit()
      self._text.add("$" if is_price else "")
      self._expander.push(tokens)

  def _skip_display(self, close: str) -> None:
    """A formula of its own up to `close`; its final full stop ends the sentence."""
    self._expander.in_math = True
    last, depth = "", 0
    while (token := self._expander.read()) is not None:
      if token == close and (depth <= 0 or close != "$"):
        if close == "$" and self._expander.peek() == "$":
          self._expander.read_raw()
        break
      if token == PARAGRAPH or token in commands.PART_BEGINS:
        self._expander.push([token])  # it was never closed
        break
      depth += (token == "{") - (token == "}")
      if token in ("\\label", "\\tag"):
        self._expander.read_argument(is_short=True)
      elif token.startswith("\\end "):
        pass  # of a part of the formula
      elif not token.isspace() and token not in commands.INVISIBLE_IN_MATH:
        last = token
    self._expander.in_math = False
    mark = last[-1:] if last[:1] != "\\" and last[-1:] in (".", ",", ";") else ""
    if last:
      self._text.add_display(mark)

  # Environments.

  def _begin(self, name: str) -> None:
    plain = name.rstrip("*")
    if name == "document":
      self._text.start_document()
    elif plain == "math":
      self._read_formula("\\end " + name)
    elif plain in commands.DISPLAYS:
      if plain == "alignat":
        self._expander.read_argument(is_short=True)
      self._skip_display("\\end " + name)
    elif plain in commands.DROPPED_ENVIRONMENTS:
      self._text.add(REMOVED)
      self._skip_environment(name)
    elif plain in commands.LISTS:
      if not self._text.list_depth:
        self._text.end_paragraph()
      self._text.end_piece()
      self._text.list_depth += 1
      self._expander.read_optional()
    elif plain == "abstract":
      self._expander.read_optional()
      self._text.begin_abstract()
    elif plain not in commands.INLINE_ENVIRONMENTS:
      self._text.end_paragraph()
      self._expander.read_optional()
      for _ in range(commands.ENVIRONMENT_ARGUMENTS.get(plain, 0)):
        self._expander.read_argument()

  def _end(self, name: str) -> None:
    plain = name.rstrip("*")
    if name == "document":
      self._expander.stop()
    elif plain in commands.LISTS:
      self._text.list_depth = max(0, self._text.list_depth - 1)
      self._text.end_paragraph()
    elif plain == "abstract":
      self._text.end_abstract()
    elif plain not in commands.INLINE_ENVIRONMENTS and plain not in commands.DISPLAYS:
      self._text.end_paragraph()

  def _skip_environment(self, name: str) -> None:
    depth = 0
    while (token := self._expander.read()) is not None:
      if token == "\\begin " + name:
        depth += 1
      elif token == "\\end " + name:
        if not depth:
          return
        depth -= 1
      elif token in commands.PART_BEGINS:
        self._expander.push([token])  # it was never closed
        return

  # Commands.

  def _do_command(self, name: str) -> None:
    expander = self._expander
    if name == "(":
      self._read_formula("\\)")
    elif name == "[":
      self._skip_display("\\]")
    elif name in commands.HEADING_LEVELS:
      self._begin_block(commands.HEADING_LEVELS[name])
    elif name in commands.TITLES:
      expander.read_optional()
      title = self._render(expander.read_argument() or ())
      self._text.title = self._text.title or title
    elif name == "item":
      self._begin_item()
    elif name == "abstract":
      self._read_abstract()
    elif name in commands.ACKNOWLEDGMENTS:
      if expander.peek() == "{":
        expander.read_argument()
      else:
        self._text.begin_block(2, "Acknowledgments")
    elif name in INCLUDES:
      self._includer.include(name)
    elif name == "endinput":
      if expander.files:
        expander.files[-1].stop()
    elif name in commands.NOUN_CITATIONS or name in commands.CITATIONS:
      self._skip_arguments(commands.CITATION_ARGUMENTS, repeats=name.endswith("s"))
      self._text.add(REFERENCE if name in commands.NOUN_CITATIONS else CITED)
    elif name in commands.REFERENCES:
      self._skip_arguments("sm")
      self._text.add(REFERENCE)
    elif name == "ensuremath":
      expander.push(["$", *(expander.read_argument() or ()), "$"])
    elif name == "xspace":
      following = expander.peek(skip_spaces=False) or ""
      if following != PARAGRAPH and (following[:1].isalnum() or following[:1] in "\\$("):
        self._text.add(" ")
    elif name in commands.QUANTITIES:
      self._add_quantity(name)
    elif name in commands.DROPPED_COMMANDS:
      self._skip_arguments(commands.DROPPED_COMMANDS[name])
      self._text.add(REMOVED)
    elif name.startswith(commands.DROPPED_PREFIXES):
      while expander.peek() in ("{", "["):
        self._skip_arguments("om")
      self._text.add(REMOVED)
    elif name.isalpha():
      self._skip_layout(name)

  def _begin_block(self, level: int) -> None:
    self._expander.read_star()
    self._expander.read_optional()
    heading = self._render(self._expander.read_argument() or ())
    if level:
      self._text.begin_block(level, heading)

  def _begin_item(self) -> None:
    self._text.end_piece()
    label = self._render(self._expander.read_optional() or ())
    if sum(map(str.isalpha, label)) > 2:  # a word, and no number or bullet
      self._text.add(label + (" " if label[-1] in ".:;,?!–—" else ": "))

  def _read_abstract(self) -> None:
    """\\abstract{...}, also with five arguments; without one, what follows is the abstract."""
    if self._text.heading_depth or self._is_in_abstract_argument:
      return
    if self._expander.peek() != "{":
      self._text.begin_block(2, "Abstract")
      return
    self._text.begin_abstract()
    self._is_in_abstract_argument = True
    while self._expander.peek() == "{" and (tokens := self._expander.read_argument()) is not None:
      self._expander.enter(tokens)
      self._run()
      self._expander.leave()
      self._text.end_paragraph(is_final=True)
    self._is_in_abstract_argument = False
    self._text.end_abstract()

  def _skip_arguments(self, signature: str, repeats: bool = False) -> None:
    """Reads over a star (s), what is in brackets (o), arguments (m, t without braces)."""
    for kind in signature:
      if kind == "s":
        self._expander.read_star()
      elif kind == "o":
        self._expander.read_optional()
      elif kind == "t" or self._expander.peek() == "{":
        self._expander.read_argument()
    while repeats and self._expander.peek(skip_spaces=False) in ("{", "["):
      self._skip_arguments(commands.CITATION_ARGUMENTS)

  def _add_quantity(self, name: str) -> None:
    """A number and its unit."""
    self._expander.read_optional()
    tokens = []
    for _ in range(commands.QUANTITIES[name]):
      tokens += [*(self._expander.read_argument() or ()), "~"]
    self._expander.push(tokens[:-1])

  def _skip_layout(self, name: str) -> None:
    """A command that is not known, or prints nothing: its brackets, its length."""
    following = self._expander.peek(skip_spaces=False) or ""
    if following == "[" and name != "twocolumn":
      self._expander.read_optional()
    elif name in commands.LENGTHS or commands.ASSIGNED.match(following):
      if following == "=":
        self._expander.read_raw()
      while commands.LENGTH.match(self._expander.peek() or ""):
        self._expander.read_raw()


def parse_latex(
  text: str,
  id: str,  # pylint: disable=redefined-builtin
  read_input: ReadInput | None = None,
) -> Document:
  """Parses a LaTeX paper; one without \\begin{document} is all body.

  Macros of the author are expanded. Sections (chapters, in a book) are the top level,
  deeper headings and \\paragraph headings go, their text stays. Figures, tables,
  algorithms, listings, footnotes and references are left out, citations where the
  sentence reads without them; long formulas read "<formula>".

  Args:
    text: the main file's content.
    id: of the document.
    read_input: the content of a file that the paper includes, by its name relative to
      the paper's folder, or None if there is no such file; it must guard the folder.
      Without it nothing is included.

  Returns:
    The document; without sections if the text holds no words.

  Raises:
    UserError: macros that expand without end.
  """
  text = clean_source(text)
  has_preamble = has_document(text) or "\\documentclass" in text
  collector = _Reader(text, id, read_input, is_body=not has_preamble).read()
  if not collector.is_started:  # a preamble and nothing after it
    collector = _Reader(text, id, read_input, is_body=True).read()
  blocks, abstract = collector.finish()
  return assemble(blocks, collector.title, id, abstract=abstract)
