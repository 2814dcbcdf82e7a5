"""What comes before the parser of HTML: scripts and comments go, hostile nesting is refused.

Parsers of HTML repair what is wrong as browsers do, and two of the repairs are quadratic.
An unclosed <b> is opened anew in every paragraph after it (3,000 of them, 30 kB of page,
took 1.8 GB): formatting elements are renamed <x-b>, which the parser knows no repair for.
And the open elements are searched again and again (100,000 nested <div> took 25 s): they
are counted beforehand, roughly, and pages that are nested too deep are refused.
"""

from collections.abc import Iterator
import re

from htmtl_jax.errors import UserError

RENAMED = "x-"  # before the names of formatting elements
MAX_DEPTH = 4000  # open elements; papers have some tens
MAX_TAGS = 2_000_000  # of a page; papers have at most some hundred thousand
_MAX_DEPTH_WORK = 400_000_000  # open elements, summed over the tags
_MAX_SEARCH = 64  # open elements that an end tag may close at once

_SPACE = r"[ \t\n\f\r]"
_TAG = re.compile(
  rf"<(/?)([a-zA-Z][^ \t\n\f\r/>]*+)"
  rf"((?:[ \t\n\f\r/]++|(?:=|[^ \t\n\f\r/>=])[^ \t\n\f\r/>=]*+"
  rf"(?:{_SPACE}*+={_SPACE}*+(?:\"[^\"]*+\"|'[^']*+'|(?=>)|[^ \t\n\f\r>\"'][^ \t\n\f\r>]*+)"
  rf"|(?!{_SPACE}*+=)))*+)>"
)
_TAG_START = re.compile(r"</?[a-zA-Z]")
_TAG_END = re.compile(">")
_COMMENT_END = re.compile(r"--!?>")
_DROPPED_WHOLE = {  # up to their own end tags; nothing of them is text of a paper
  name: re.compile(rf"</{name}(?=[\s/>])[^>]*>", re.IGNORECASE)
  for name in (
    "script style textarea xmp iframe noembed noframes select template plaintext".split()
  )
}
_TITLE_END = re.compile(r"</title(?=[\s/>])[^>]*>", re.IGNORECASE)
_LINK = RENAMED + "a"
_FORMATTING = frozenset("a b big code em font i nobr s small strike strong tt u".split())
_NO_DEPTH = frozenset(  # void, ignored outside their places, or one to a page
  "area base basefont bgsound br col embed hr img input link meta param source track wbr keygen "
  "frame image colgroup tbody thead tfoot tr td th html head body".split()
)
_HEADINGS = frozenset("h1 h2 h3 h4 h5 h6".split())
# An end tag of these reaches through other elements, though not out of a table or picture.
_REACHING = _HEADINGS | frozenset(
  "address article aside blockquote button center dd details dialog dir div dl dt fieldset "
  "figcaption figure footer header hgroup li listing main menu nav ol p pre search section summary "
  "table ul".split()
)
_CLOSES = {  # open element -> what ends it if only inline elements stand between
  "p": _REACHING - {"button"},
  "li": frozenset(("li",)),
  **dict.fromkeys(("dt", "dd"), frozenset(("dt", "dd"))),
  "option": frozenset(("option", "optgroup")),
  _LINK: frozenset((_LINK,)),
}
_BORDERS = frozenset(
  "table caption object marquee applet svg math foreignobject desc frameset noscript".split()
)
_PICTURES = frozenset(("svg", "math"))


def _open(stack: list[str], name: str, says_empty: bool) -> None:
  if stack and stack[-1] in _HEADINGS and name in _HEADINGS:
    stack.pop()
  for place in range(len(stack) - 1, max(-1, len(stack) - 1 - _MAX_SEARCH), -1):
    if name in _CLOSES.get(stack[place], ()):
      del stack[place:]
      break
    if stack[place] in _REACHING or stack[place] in _BORDERS:
      break
  # "/>" means what it says in pictures and formulas only.
  is_empty = says_empty and (name in _PICTURES or not _PICTURES.isdisjoint(stack[-_MAX_SEARCH:]))
  if name not in _NO_DEPTH and not is_empty:
    stack.append(name)


def _close(stack: list[str], name: str) -> None:
  for place in range(len(stack) - 1, max(-1, len(stack) - 1 - _MAX_SEARCH), -1):
    if stack[place] == name:
      del stack[place:]
      return
    if stack[place] in _BORDERS or (stack[place] in _REACHING and name not in _REACHING):
      return


def _iterate_pieces(text: str) -> Iterator[tuple[str, re.Match | None]]:
  """What is to be parsed: runs of text (None beside them), and tags.

  Ends at what has no end itself, a tag or comment that hides the rest of the page.
  """
  position = 0
  while True:
    start = text.find("<", position)
    if start < 0:
      yield text[position:], None
      return
    yield text[position:start], None
    following = text[start + 1 : start + 2]
    if text.startswith("<!--", start):
      end = _COMMENT_END.search(text, start + 2)  # "<!-->" is a comment too
    elif _TAG_START.match(text, start):
      end = tag = _TAG.match(text, start)
      name = tag[2].lower() if tag else ""
      if tag and not tag[1] and name in _DROPPED_WHOLE:
        end = _DROPPED_WHOLE[name].search(text, tag.end())
      elif tag and not tag[1] and name == "title":
        end = _TITLE_END.search(text, tag.end())
        if end:  # tags inside it are text
          inside = text[tag.end() : end.start()].replace("<", "&lt;")
          yield f"<title>{inside}</title>", None
      elif tag:
        yield tag[0], tag
    elif following and following in "!?/":
      end = _TAG_END.search(text, start)
    else:
      yield "&lt;", None
      position = start + 1
      continue
    if end is None:
      return
    position = end.end()


def prepare_page(text: str, where: str) -> str:
  """The page without comments, scripts and the like, formatting elements renamed.

  The count of open elements follows the parser's rules for what papers do wrong, not
  for all that can be made: a page made for it may still take the parser long.

  Raises:
    UserError: more tags than `MAX_TAGS`, or nested deeper than `MAX_DEPTH`.
  """
  pieces = ["<!DOCTYPE html>"]
  stack, num_tags, depth_work = [], 0, 0
  for piece, tag in _iterate_pieces(text.replace("\x00", "")):
    if tag is None:
      pieces.append(piece)
      continue
    is_end, name = tag[1], tag[2].lower()
    if name in _FORMATTING:
      name = RENAMED + name
      piece = f"<{is_end}{name}{tag[3]}>"
      if name == _LINK and not is_end:
        piece = f"</{_LINK}>{piece}"  # no link stands in a link; nothing if none is open
    pieces.append(piece)
    if is_end:
      _close(stack, name)
    else:
      _open(stack, name, tag[3].endswith("/"))
    num_tags += 1
    depth_work += len(stack)
    if len(stack) > MAX_DEPTH or num_tags > MAX_TAGS or depth_work > _MAX_DEPTH_WORK:
      raise UserError(
        f"{where}: too many tags for a paper, or nested too deep, or left open; save the page "
        "again from a browser"
      )
  return "".join(pieces)
