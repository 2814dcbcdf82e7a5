"""Tokens of a LaTeX paper with the author's own macros expanded and conditionals decided.

What TeX does before it sets type, as far as papers need it, and bounded: macros that
expand without end are refused, an argument that is never closed is given back as text.
"""

import collections
import dataclasses
import re

from htmtl_jax.documents.parsers import latex_commands as commands
from htmtl_jax.documents.parsers.latex_tokens import PARAGRAPH, Source
from htmtl_jax.errors import UserError

MAX_EXPANDED_TOKENS = 500_000  # of all macros of a paper together; a thesis has a tenth
_MAX_ARGUMENT_TOKENS = 50_000
_MAX_UNCLOSED = 20  # after so many unclosed arguments the rest may be a few tokens only
_FEW_TOKENS = 50


@dataclasses.dataclass(frozen=True)
class Macro:
  """A command of the author.

  Attributes:
    num_arguments: with the optional one.
    default: of the first argument if that is optional, else None.
    body: its tokens; "#1" stands for the first argument.
  """

  num_arguments: int
  default: tuple[str, ...] | None
  body: tuple[str, ...]


def join_tokens(tokens) -> str:
  """The source of simple tokens, for names of environments and files."""
  return "".join(tokens).strip()


class Expander:
  """Reads one token after the other, expanding macros; arguments on request.

  \\begin{name} and \\end{name} come as one token, "\\\\begin name" and "\\\\end name".

  Attributes:
    in_math: set by who reads, decides \\ifmmode.
    files: the files being read, the innermost last.
  """

  def __init__(self, source: Source, document_id: str):
    self.in_math = False
    self.files = [source]
    self._document_id = document_id
    self._pending = []  # tokens to read before the files go on, the next one last
    self._saved = [[]]  # for each file, the pending tokens that come after it
    self._walls = []  # (pending tokens, files) outside of `enter`
    self._macros = {}  # of commands; a string is another name of a built-in command
    self._environments = {}  # a name to the macros of its begin and its end
    self._switches = {}  # of \newif: its conditional to its truth
    self._budget = MAX_EXPANDED_TOKENS
    self._unclosed = 0

  # Tokens as they stand.

  def read_raw(self) -> str | None:
    """The next token, not expanded; None at the end."""
    while not self._pending:
      if not self.files:
        return None
      token = self.files[-1].next()
      if token is not None:
        return token
      self.files.pop()
      self._pending = self._saved.pop()
    return self._pending.pop()

  def push(self, tokens) -> None:
    """Puts tokens in front of what is read next."""
    self._pending.extend(reversed(tokens))

  def push_file(self, source: Source) -> None:
    """Reads a file before anything else."""
    self.files.append(source)
    self._saved.append(self._pending)
    self._pending = []

  def enter(self, tokens) -> None:
    """From here to `leave`, `tokens` are all there is."""
    self._walls.append((self._pending, self.files, self._saved))
    self._pending, self.files, self._saved = list(reversed(tokens)), [], []

  def leave(self) -> None:
    self._pending, self.files, self._saved = self._walls.pop()

  def stop(self) -> None:
    """The paper ends here."""
    self._pending.clear()
    self.files.clear()
    self._saved.clear()

  def skip_spaces(self) -> str | None:
    """The next raw token that is no space, which is read."""
    token = self.read_raw()
    while token == " ":
      token = self.read_raw()
    return token

  def peek(self, skip_spaces: bool = True) -> str | None:
    """The next raw token, which stays; spaces before it go if `skip_spaces`."""
    token = self.skip_spaces() if skip_spaces else self.read_raw()
    if token is not None:
      self._pending.append(token)
    return token

  # Arguments.

  def read_argument(self, is_short: bool = False) -> list[str] | None:
    """The tokens of a group, or the one token that stands for it.

    Args:
      is_short: whether the end of a paragraph shows that the group is not closed.

    Returns:
      None at the end of a group or of the text, and if the group is not closed.
    """
    token = self.skip_spaces()
    if token is None:
      return None
    if token == "{":
      return self._read_until("}", is_short)
    if token == "}" or token == PARAGRAPH:
      self._pending.append(token)
      return None
    if token[0] not in "\\#" and len(token) > 1:
      self._pending.append(token[1:])
      return [token[0]]
    return [token]

  def read_optional(self, skip_spaces: bool = True) -> list[str] | None:
    """The tokens between brackets, or None if there are none here."""
    if self.peek(skip_spaces) != "[":
      return None
    self.read_raw()
    return self._read_until("]", is_short=True)

  def read_star(self) -> bool:
    token = self.peek()
    if token is None or token[0] != "*":
      return False
    self._pending.pop()
    if token != "*":
      self._pending.append(token[1:])
    return True

  def _read_until(self, close: str, is_short: bool) -> list[str] | None:
    """Tokens up to `close` at the same depth of braces; given back if there is none."""
    limit = _MAX_ARGUMENT_TOKENS if self._unclosed < _MAX_UNCLOSED else _FEW_TOKENS
    tokens, depth = [], 0
    while True:
      token = self.read_raw()
      if token is None:
        break
      if token == close and not depth:
        return tokens
      if token == "{":
        depth += 1
      elif token == "}":
        depth -= 1
      tokens.append(token)
      if depth < 0 or len(tokens) >= limit or (is_short and token == PARAGRAPH):
        break
    self._unclosed += 1
    self.push(tokens)
    return None

  # Tokens expanded.

  def read(self) -> str | None:
    """The next token that is no macro of the author; None at the end."""
    while True:
      token = self.read_raw()
      if token is None or token[0] != "\\":
        return token
      macro = self._macros.get(token)
      if isinstance(macro, Macro):
        self._expand(token, macro)
        continue
      token = macro or token
      if token == "\\begin" or token == "\\end":
        token = self._read_environment(token)
        if token is not None:
          return token
      elif token in commands.DEFINERS:
        self._define(token)
      elif token in commands.IGNORED:
        continue
      elif token == "\\fi" or token in self._switches or token in commands.CONDITIONALS:
        self._decide(token)
      elif token == "\\else" or token == "\\or":
        self._skip_branch(stops_at_else=False)  # the end of a branch that was read
      elif token[-4:] == "true" and "\\if" + token[1:-4] in self._switches:
        self._switches["\\if" + token[1:-4]] = True
      elif token[-5:] == "false" and "\\if" + token[1:-5] in self._switches:
        self._switches["\\if" + token[1:-5]] = False
      elif token == "\\makeatletter" or token == "\\makeatother":
        if self.files:
          self.files[-1].at_is_letter = token == "\\makeatletter"
      elif token == "\\csname":
        while token is not None and token != "\\endcsname" and token != PARAGRAPH:
          token = self.read_raw()
      elif token == "\\ifthenelse" or token == "\\iftoggle":
        otherwise = [self.read_argument() for _ in range(3)][2]
        self.push(otherwise or ())
      else:
        return commands.COMMAND_FORMS.get(token, token)

  def _expand(self, name: str, macro: Macro) -> None:
    arguments = []
    for i in range(macro.num_arguments):
      if i == 0 and macro.default is not None:
        found = self.read_optional()
        arguments.append(macro.default if found is None else found)
      else:
        arguments.append(self.read_argument() or ())
    counts = collections.Counter(token for token in macro.body if token[0] == "#")
    size = len(macro.body) + sum(
      counts[f"#{i}"] * len(argument) for i, argument in enumerate(arguments, 1)
    )
    self._budget -= size + 1
    if self._budget < 0:
      raise UserError(
        f"{self._document_id}: the macro {name} (LaTeX) expands without end, beyond "
        f"{MAX_EXPANDED_TOKENS:,} tokens; correct its definition"
      )
    if not counts:
      self.push(macro.body)
      return
    tokens = []
    for token in macro.body:
      if token[0] != "#":
        tokens.append(token)
      elif token[:2] == "##":
        tokens.append(token[1:])  # the parameter of a macro defined inside this one
      elif token[1:] and 0 < int(token[1:]) <= len(arguments):
        tokens.extend(arguments[int(token[1:]) - 1])
    self.push(tokens)

  def _read_environment(self, command: str) -> str | None:
    """ "\\begin name"; None if the author's own environment was expanded."""
    if self.peek() != "{":
      return command + " "
    name = self.read_argument(is_short=True)
    name = join_tokens(name) if name is not None and len(name) < _FEW_TOKENS else ""
    found = self._environments.get(name)
    if found is None:
      return f"{command} {name}"
    begin, end = found
    macro = begin if command == "\\begin" else end
    self._expand(command + "{" + name + "}", macro)
    return None if begin.body else command + " "  # one without a meaning of its own

  # Definitions.

  def _read_name(self) -> str | None:
    """The command being defined: {\\name} or \\name."""
    tokens = self.read_argument(is_short=True)
    tokens = [token for token in tokens or () if token != " "]
    return tokens[0] if len(tokens) == 1 and tokens[0][0] == "\\" else None

  def _set_macro(self, name: str | None, macro: "Macro | str") -> None:
    if name is not None and not commands.KEPT.match(name):
      self._macros[name] = macro

  def _read_parameters(self) -> tuple[int, tuple[str, ...] | None]:
    """[2][default] of \\newcommand: the number of arguments, and the default or None."""
    count = self.read_optional()
    default = self.read_optional() if count is not None else None
    number = join_tokens(count or ())
    number = int(number) if re.fullmatch("[0-9]", number) else 0
    return number, None if default is None else tuple(default)

  def _define(self, definer: str) -> None:
    if definer == "\\let":
      self._define_by_let()
    elif definer in ("\\def", "\\gdef", "\\edef", "\\xdef"):
      self._define_by_def()
    elif definer == "\\newif":
      name = self._read_name()
      if name is not None and name[:3] == "\\if":
        self._switches[name] = False
    elif definer == "\\DeclareMathOperator":
      self.read_star()
      name, body = self._read_name(), self.read_argument()
      self._set_macro(name, Macro(0, None, ("\\operatorname", "{", *(body or ()), "}")))
    elif definer.endswith("environment"):
      self.read_star()
      name = join_tokens(self.read_argument(is_short=True) or ())
      number, default = self._read_parameters()
      begin, end = self.read_argument(), self.read_argument()
      if begin is None or end is None or commands.KEPT.match("\\" + name):
        return
      # Their layout says nothing, but they may stand for an equation or an abstract.
      is_wrapper = "\\begin" in begin or "$" in begin or "\\[" in begin
      begin, end = (begin, end) if is_wrapper else ((), ())
      self._environments[name] = (Macro(number, default, tuple(begin)), Macro(0, None, tuple(end)))
    else:
      self.read_star()
      name = self._read_name()
      number, default = self._read_parameters()
      body = self.read_argument()
      is_known = definer == "\\providecommand" and name in self._macros
      if body is not None and not is_known:
        self._set_macro(name, Macro(number, default, tuple(body)))

  def _define_by_let(self) -> None:
    """\\let\\name=\\other: what \\other means now, whatever it is made to mean later."""
    name, token = self._read_name(), self.skip_spaces()
    if token == "=":
      token = self.skip_spaces()
    if name is None or token is None:
      return
    meaning = self._macros.get(token, token)
    if name[:3] == "\\if" and meaning in ("\\iftrue", "\\iffalse"):
      self._switches[name] = meaning == "\\iftrue"
    elif isinstance(meaning, str) and meaning[0] != "\\":
      self._set_macro(name, Macro(0, None, (meaning,)))
    elif meaning != name:
      self._set_macro(name, meaning)

  def _define_by_def(self) -> None:
    """\\def\\name#1#2{body}; arguments with delimiters of their own are not understood."""
    name, parameters = self._read_name(), []
    while len(parameters) < _FEW_TOKENS:
      token = self.peek(skip_spaces=False)
      if token is None or token == PARAGRAPH:
        return
      if token == "{":
        break
      parameters.append(self.read_raw())
    body = self.read_argument()
    if body is None:
      return
    parameters = [token for token in parameters if token != " "]
    if all(token == f"#{i}" for i, token in enumerate(parameters, 1)):
      self._set_macro(name, Macro(len(parameters), None, tuple(body)))

  # Conditionals.

  def _decide(self, token: str) -> None:
    """Reads on in the branch that holds; a test that is not understood is false."""
    if token == "\\fi":
      return
    is_true = token == "\\iftrue" or (token == "\\ifmmode" and self.in_math)
    if not self._switches.get(token, is_true):
      self._skip_branch(stops_at_else=True)

  def _skip_branch(self, stops_at_else: bool) -> None:
    depth = 0
    while (token := self.read_raw()) is not None:
      if token in self._switches or token in commands.CONDITIONALS:
        depth += 1
      elif token == "\\fi":
        depth -= 1
        if depth < 0:
          return
      elif token == "\\else" and not depth and stops_at_else:
        return
