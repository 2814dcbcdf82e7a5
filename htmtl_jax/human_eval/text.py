"""Small words shared by terminal, Markdown and HTML."""

_MARKDOWN_SPECIAL = r"\`*_[]<>|#&"


def printable(text: str) -> str:
  """No control characters: names of files must not drive a terminal or break a row."""
  return "".join(c if c.isprintable() else "?" for c in text)


def escape_markdown(text: str) -> str:
  """Text that Markdown shows as it is, in one line."""
  return "".join("\\" + c if c in _MARKDOWN_SPECIAL else c for c in printable(text))


def plural(count: int, noun: str) -> str:
  """ "1 rater", "2 raters"."""
  return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
