"""The one place that makes an HTML page.

A page is one file: styles, scripts and data stand in it, and it needs nothing else. What
comes from documents is text and stays text, by three walls, each enough alone:

- Templates escape every value (`autoescape`); nothing in them is marked as safe.
- The page's Content-Security-Policy allows the very styles and scripts that this module
  put in, by their SHA-256, and nothing else: no other script, no event handler or `style`
  attribute, no address to load from, no form to send, no base to resolve links by.
- Trusted Types forbid scripts of ours to turn text into markup (`innerHTML` throws).

Templates are in `templates/`, extend `page.html` and fill its blocks; styles and scripts
are in `static/`. See docs/reports.md for what a template may use.
"""

import base64
from collections.abc import Mapping, Sequence
import functools
import hashlib
import importlib.resources
import json
import os
import re
from typing import Any

import jinja2
from markupsafe import Markup

import htmtl_jax
from htmtl_jax.errors import UserError

GENERATOR = "htmtl_jax"
# By this a page of ours is known: such files are overwritten, and not read as papers.
GENERATOR_MARK = f'<meta name="generator" content="{GENERATOR}">'
_MARK_WITHIN = 1024  # bytes of the beginning of a page

# Neither HTML nor a screen can show these; NUL even vanishes while the page is parsed.
_UNSHOWABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
# Marks that turn the direction of what follows; isolated by `dir="auto"`, but in <title>.
_BIDI_CONTROLS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# "<", ">" and "&" could end the element or begin another; JavaScript of before 2019 took
# U+2028 and U+2029 for ends of lines; lone surrogates have no UTF-8.
_UNSAFE_IN_JSON = re.compile("[<>&\u2028\u2029\x7f-\x9f\ud800-\udfff]")


def render_page(
  template: str,
  title: str,
  data: Any = None,
  context: Mapping[str, Any] | None = None,
  styles: Sequence[str] = (),
  scripts: Sequence[str] = (),
  images: bool = False,
) -> str:
  """Renders one self-contained page.

  Args:
    template: a file of `templates/` that extends `page.html`.
    title: of the page.
    data: anything that JSON can hold; scripts read it from the element `#data`. None: no
      such element.
    context: what the template's expressions may name, besides `title`.
    styles: files of `static/` after `page.css`, which every page has.
    scripts: files of `static/`, in order; they run when the page has been parsed.
    images: allow `data:` images (a plot that is an `<img>`).

  Returns:
    The page. Encode it as UTF-8.

  Raises:
    ValueError: for data with NaN or infinity, which JSON does not have.
  """
  sheets = [_read_static(name) for name in ("page.css", *styles)]
  programs = [_read_static(name) for name in scripts]
  names = {
    **(context or {}),
    "title": title,
    "generator": GENERATOR,
    "version": htmtl_jax.__version__,
    "policy": make_policy(sheets, programs, images),
    "sheets": [Markup(sheet) for sheet in sheets],
    "programs": [Markup(program) for program in programs],
    "data_json": None if data is None else Markup(dump_json(data)),
  }
  return _environment().get_template(template).render(names) + "\n"


def make_policy(sheets: Sequence[str], programs: Sequence[str], images: bool = False) -> str:
  """The Content-Security-Policy of a page with these very styles and scripts in it."""
  directives = [
    "default-src 'none'",
    "style-src " + (" ".join(map(_hash_source, sheets)) or "'none'"),
    "script-src " + (" ".join(map(_hash_source, programs)) or "'none'"),
    "base-uri 'none'",
    "form-action 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ]
  if images:
    directives.insert(1, "img-src data:")
  return "; ".join(directives)


def dump_json(data: Any) -> str:
  """JSON that can stand inside a `<script>` element, whatever the strings in it."""
  text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
  return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def clean_text(text: str) -> str:
  """The text as a page shows it: line ends as "\\n", U+FFFD for what cannot be shown."""
  return _UNSHOWABLE.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def strip_bidi(text: str) -> str:
  """Without marks of direction, for where markup cannot contain them: `<title>`, tooltips."""
  return _BIDI_CONTROLS.sub("", text)


def check_writable(path: str) -> None:
  """Makes sure that a page may be written: there is no file that somebody else made.

  Raises:
    UserError: there is one.
  """
  try:
    with open(path, "rb") as f:
      start = f.read(_MARK_WITHIN)
  except FileNotFoundError:
    return
  except OSError as error:
    raise UserError(
      f"{path}: a report cannot be written there ({error.strerror}); give another folder"
    ) from error
  if not is_own_page(start):
    raise UserError(
      f"{path}: is there already and no report of {GENERATOR}, so it is not overwritten; "
      "move it, or give another folder"
    )


def is_own_page(data: bytes) -> bool:
  """Whether a file's content begins as pages of this module do."""
  return GENERATOR_MARK.encode() in data[:_MARK_WITHIN]


def write_page(path: str, html: str) -> str:
  """Writes a page, whole or not at all; makes its folder; returns the path.

  Raises:
    UserError: there is a file that is no page of ours, or the folder cannot be written.
  """
  check_writable(path)
  temporary = f"{path}.partial"
  try:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(temporary, "w", encoding="utf-8", newline="\n") as f:
      f.write(html)
    os.replace(temporary, path)
  except OSError as error:
    raise UserError(
      f"{path}: the report cannot be written ({error.strerror}); give another folder"
    ) from error
  return path


def _hash_source(content: str) -> str:
  digest = hashlib.sha256(content.encode()).digest()
  return f"'sha256-{base64.b64encode(digest).decode()}'"


@functools.cache
def _read_static(name: str) -> str:
  content = importlib.resources.files(__package__).joinpath("static", name).read_text("utf-8")
  # Browsers hash what they parsed; "\r" would have become "\n", "</" might have ended it.
  if re.search(r"\r|</(script|style)|<!--", content, re.IGNORECASE):
    raise ValueError(f"{name}: cannot stand inside an element")
  return content


@functools.cache
def _environment() -> jinja2.Environment:
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader(__package__),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    finalize=_finalize,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  environment.filters["strip_bidi"] = strip_bidi
  return environment


def _finalize(value: Any) -> Any:
  """What every expression of a template passes before it is escaped."""
  return clean_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value
