"""What `fuzz_parsers.py` feeds to parsers: small papers of every format, and ways to break them.

An input is a function of (format, seed, index) alone, so that a failure can be had again.
"""

from collections.abc import Callable, Mapping, Sequence
import copy
import io
import random
import zipfile

SUFFIXES = {
  "jats": ".xml",
  "html": ".html",
  "latex": ".tex",
  "docx": ".docx",
  "pdf": ".pdf",
  "markdown": ".md",
  "plain_text": ".txt",
}
MAX_BYTES = 1_000_000  # of one input; what is larger is cut
# markdown-it-py reads some 20 kB of brackets a second: slow, though linear.
_MAX_BYTES_OF = {"markdown": 50_000}

_JATS = (
  """<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE article PUBLIC "-//NLM//DTD" "a.dtd">
<article xmlns:mml="http://www.w3.org/1998/Math/MathML" xml:lang="en"><front><article-meta>
<title-group><article-title>Shade <italic>and</italic> beans</article-title></title-group>
<abstract><title>Abstract</title><sec><title>Background</title><p>Beans grow.</p></sec><sec><title>
Methods</title><p>We grew 10<sup>3</sup>.</p></sec></abstract><abstract abstract-type="summary">
<title>Author Summary</title><p>Beans are food.</p></abstract></article-meta></front><body><sec>
<label>1</label><title>Introduction</title><p>Light [<xref ref-type="bibr" rid="B1">1</xref>,
<xref ref-type="bibr" rid="B2">2</xref>] is H<sub>2</sub>O &thinsp; <xref ref-type="fig">Fig. 2</xref>
<inline-formula><alternatives><mml:math><mml:mfrac><mml:mi>a</mml:mi><mml:msup><mml:mi>b</mml:mi>
<mml:mn>2</mml:mn></mml:msup></mml:mfrac></mml:math></alternatives></inline-formula>.</p><sec><title>
Aim</title><list><list-item><p>One</p></list-item></list></sec></sec><sec><title>Results</title>
<disp-formula><tex-math>\\frac{a}{b}</tex-math></disp-formula><p>Rust.<sup><xref ref-type="bibr">3
</xref></sup></p><table-wrap><caption><p>C</p></caption></table-wrap></sec></body><back><ref-list/>
</back><sub-article/></article>""",
  """<article><front><article-meta><abstract><p><bold>Aim:</bold> To see.</p></abstract></article-meta>
</front><body><p>Only text (<xref ref-type="bibr" rid="bib1">Wu, 2010</xref>).</p></body></article>""",
)
_HTML = (
  """<!DOCTYPE html><html><head><meta charset="utf-8"><title>T</title><meta name="citation_title"
content="T"><script>var a = "<p>";</script></head><body><nav><ul><li><a href="/">Home</a></ul></nav>
<article class="ltx_document"><h1 class="ltx_title_document">T</h1><div class="ltx_abstract"><h6>
Abstract</h6><p class="ltx_p">We see <math alttext="x^{2}"><mi>x</mi></math>.</p></div><section><h2>
<span class="ltx_tag">1 </span>Introduction</h2><div class="ltx_para"><p class="ltx_p">Light <cite>[<a
href="#bib.bib1">1</a>]</cite> so</p><table class="ltx_equation"><tr><td><math display="block">
<mfrac><mi>a</mi><mi>b</mi></mfrac></math></td></tr></table><p class="ltx_p">it is.</p></div><ul><li>
One</li><li>Two</ul></section><section class="ltx_bibliography"><h2>References</h2></section></article>
<footer>F</footer></body></html>""",
  """<h1>T</h1><h2>Abstract</h2><p>A<h2>Methods</h2><p>Some <b>bold<sup>2</sup> text.<br>More<table>
<tr><td>c</table><blockquote>q</blockquote><dl><dt>a<dd>b</dl><pre>code</pre><!-- c --><p hidden>h""",
)
_LATEX = (
  r"""\documentclass{article}\newcommand{\R}{\mathbb{R}}\title{Shade \& beans}\begin{document}
\maketitle\begin{abstract}We grow beans.\end{abstract}\section{Introduction}\label{s}Light \cite{a,b}
is $x^{2} < \frac{a}{b}$, see Fig.~\ref{f}. % comment
\begin{equation}y = \R\end{equation}\subsection*{Aims}\begin{itemize}\item One\item Two\end{itemize}
\input{other}\begin{figure}\caption{C}\end{figure}\section{Results}\textbf{Rust} --- ``wins''.
\begin{thebibliography}{9}\bibitem{a} Someone.\end{thebibliography}\end{document}""",
  r"""\section{One} Text \emph{here} \def\x#1{#1#1}\x{y} \verb|a_b| \[z\]
\begin{theorem}T.\end{theorem}""",
)
_MARKDOWN = (
  """---\ntitle: T\n---\n# Rice and rust\n\n## Abstract\n\nRust *harms* [rice](a).\n\n## Introduction\n
Rice. See Fig. 3.\n\n- One\n- Two\n    - Nested\n\n```\ncode\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n
Methods\n---\n\n> Quoted.\n\n<b>x</b> ![i](p.png) `c`\n\n## References\n\n1. Someone.\n""",
)
_PLAIN = (
  "Rice and rust\n\nABSTRACT\n\nRust harms.\n\n1 Introduction\n\nRice grows\nin water.\n\n2.1 Sub\n\n"
  "Text here.\n\nREFERENCES\n\nSomeone.\n",
)
_JUNK = (
  "\x00",
  "\ufeff",
  "\ud7ff",
  "\u2028",
  "\x1b[2J",
  "日本",
  "é",
  "\r",
  "\f",
  "\ufdd0",
  " " * 99,
  "a" * 999,
)
_TEXTS = (
  "", " ", "Text", "It is. ", "[1], ", "(", ")]", "\ufdd0", "\ufdd2", "1998", "12", "-", "e.g. ", "1–3",
  "Abstract",
  "References", "Author summary", "<formula>", "^", "{\\frac", "\n\n", "日本", "\u0300", "α",
)  # fmt: skip
_TOKENS = {
  "jats": (
    "<sec>", "</sec>", "<p>", "</p>", "<![CDATA[", "]]>", "<!--", "-->", "&amp;", "&x;", "&#0;",
    "&#55296;",
    "<sup>", "</sup>", "<xref ref-type='bibr'>9</xref>", "<title/>", "<body>", "</body>",
    "<abstract>", "<?p",
    "<mml:msup>", "<math><mfrac/></math>", "<tex-math>{{{\\frac{", "xmlns:a='b'", "<a:b/>", "[",
    "]", "(", ")",
    "<!DOCTYPE a [<!ENTITY e SYSTEM 'file://CANARY'>]>", "&e;",
    "<xi:include xmlns:xi='http://www.w3.org/2001/XInclude' href='CANARY' parse='text'/>",
  ),
  "html": (
    "<div>", "</div>", "<p>", "<b>", "<table>", "<td>", "<h1>", "</h2>", "<script>", "</script>",
    "<!--", "-->",
    "<svg>", "<math>", "<mi>", "</math>", "<template>", "<select>", "<frameset>",
    "<a href='#B1'>1</a>", "&lt",
    "&#x110000;", "<sup>", "<li>", "</ul>", "<form>", "<plaintext>", "<title>", "<body>",
    "<article>", "<main>",
    "<iframe src='file://CANARY'>", "<meta charset='utf-7'>", "<base href='file:///'>",
    "<object data='CANARY'>",
  ),
  "latex": (
    "{", "}", "\\", "$", "$$", "\\[", "\\begin{a}", "\\end{document}", "\\begin{document}", "%",
    "&", "#1", "~",
    "\\def\\a{\\a\\a}\\a", "\\newcommand{\\b}[9]{\\b}\\b", "\\input{CANARY}", "\\include{x}",
    "\\section{",
    "\\verb|", "\\cite{", "\\item", "\\begin{verbatim}", "^^M", "\\catcode`\\{=12", "\\iffalse",
    "\\fi", "\\input{x}",
    "\\openin1=CANARY", "\\frac{{{", "\\left(", "\\\\",
  ),
  "markdown": (
    "#", "```", "~~~", "- ", "> ", "|", "[", "](", "![", "<!--", "<script>", "1. ", "*", "**_",
    "\\", "---\n", "    ",
    "&#0;", "<a@b.c>", "[a]: CANARY\n", "\t",
  ),
  "plain_text": (
    "\n", "\n\n", "1 ", "2.1.1 X", "ABSTRACT\n", "et al. ", "Fig. ", "[", ".", "References\n",
  ),
  "docx": (
    "<w:p>", "</w:p>", "<w:tbl>", "<w:r/>", "&e;",
    "<!DOCTYPE a [<!ENTITY e SYSTEM 'file://CANARY'>]>", "<w:t>x</w:t>",
    "<w:pStyle w:val='Heading9'/>", "<w:pStyle w:val='Title'/>", "Target='CANARY'", "<w:numPr/>",
    "<m:oMath/>",
  ),
  "pdf": (
    "obj", "endobj", "stream", "endstream", "xref", "trailer", "<<", ">>", "[", "]", "(", ")",
    "1 0 R", "99999 0 R",
    "/Length 999999999", "/Kids [1 0 R]", "/Type /Pages", "/Filter /FlateDecode", "-1",
    "/F (CANARY)", "%%EOF",
  ),
}  # fmt: skip
_NESTED = {  # opened again and again
  "jats": (("<sec>", "</sec>"), ("<italic>", "</italic>"), ("<p>", ""), ("<mml:mrow>", "</mml:mrow>")),
  "html": (("<div>", "</div>"), ("<b>", ""), ("<ul><li>", ""), ("<table><tr><td>", ""), ("<svg>", "")),
  "latex": (("{", "}"), ("\\begin{a}", "\\end{a}"), ("\\textbf{", "}"), ("$", ""), ("\\frac{", "}")),
  "markdown": (("> ", ""), ("- ", ""), ("[", "]"), ("*", "*"), ("<b>", "")),
  "plain_text": (("(", ")"), ("1. ", "")),
  "docx": (("<w:tbl><w:tr><w:tc>", ""), ("<w:p>", "</w:p>")),
  "pdf": (("[", "]"), ("<<", ">>"), ("(", "")),
}  # fmt: skip


def make_seeds(name: str) -> list[bytes]:
  """Small sound papers in one format."""
  if name == "docx":
    return [_make_docx(headings=True), _make_docx(headings=False)]
  if name == "pdf":
    return [
      make_pdf(("Rice and rust", "Introduction", "Rice grows in water. Rust harms it.")),
      make_pdf(()),
    ]
  texts = {
    "jats": _JATS, "html": _HTML, "latex": _LATEX, "markdown": _MARKDOWN, "plain_text": _PLAIN
  }[name]  # fmt: skip
  return [text.encode() for text in texts]


def _make_docx(headings: bool) -> bytes:
  import docx

  document = docx.Document()
  if headings:
    document.add_heading("Rice and rust", 0)
    document.add_heading("Introduction", 1)
  paragraph = document.add_paragraph("Rice grows in ")
  paragraph.add_run("water").bold = True
  document.add_paragraph("One", style="List Bullet")
  document.add_table(rows=1, cols=2).cell(0, 0).text = "Cell"
  buffer = io.BytesIO()
  document.save(buffer)
  return buffer.getvalue()


def make_pdf(lines: Sequence[str]) -> bytes:
  """A PDF of one page, written by hand: five objects and the table of their places."""
  shown = "".join(f"({line}) Tj 0 -20 Td " for line in lines)
  content = f"BT /F1 12 Tf 72 720 Td {shown}ET"
  objects = (
    "<< /Type /Catalog /Pages 2 0 R >>",
    "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
    "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
    " /Resources << /Font << /F1 5 0 R >> >> >>",
    f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
    "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
  )
  out, places = "%PDF-1.4\n", []
  for number, text in enumerate(objects, 1):
    places.append(len(out))
    out += f"{number} 0 obj\n{text}\nendobj\n"
  table = "".join(f"{place:010d} 00000 n \n" for place in places)
  trailer = f"trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
  return (out + f"xref\n0 6\n0000000000 65535 f \n{table}{trailer}").encode()


def make_input(name: str, seeds: Sequence[bytes], seed: int, index: int, canary: str) -> bytes:
  """The input of that index: a seed with one to twelve mutations.

  Args:
    name: of the format.
    seeds: `make_seeds(name)`.
    seed: of the run.
    index: of the input.
    canary: the path of a file that no parser may read; some mutations name it.
  """
  rng = random.Random(f"{name}/{seed}/{index}")
  data = rng.choice(seeds)
  if name == "docx" and rng.random() < 0.8:
    return _mutate_members(rng, data, seeds, canary)
  if name == "jats" and rng.random() < 0.6:
    return _mutate_tree(rng, data, seeds)
  return _mutate(rng, name, data, seeds, canary)


def _mutate(
  rng: random.Random, name: str, data: bytes, seeds: Sequence[bytes], canary: str
) -> bytes:
  for _ in range(rng.choice((1, 1, 2, 3, 5, 12))):
    data = rng.choice(_MUTATIONS)(rng, name, data, seeds)[: _MAX_BYTES_OF.get(name, MAX_BYTES)]
  return data.replace(b"CANARY", canary.encode())


def _mutate_members(rng: random.Random, data: bytes, seeds: Sequence[bytes], canary: str) -> bytes:
  """Mutates inside the files of a zip archive, which a flipped byte of the archive never reaches."""
  with zipfile.ZipFile(io.BytesIO(data)) as archive:
    members = {name: archive.read(name) for name in archive.namelist()}
  for _ in range(rng.randint(1, 2)):
    chosen = rng.choice(("word/document.xml", rng.choice(sorted(members))))
    if rng.random() < 0.1:
      members.pop(chosen, None)
    elif rng.random() < 0.02:
      members[chosen] = b" " * 50_000_000 + members.get(chosen, b"")  # 50 kB when compressed
    else:
      others = [members.get(chosen, b"")] + [m for n, m in members.items() if n.endswith(".xml")]
      is_tree = chosen.endswith((".xml", ".rels")) and rng.random() < 0.6
      members[chosen] = (
        _mutate_tree(rng, others[0], others[:1])
        if is_tree
        else _mutate(rng, "docx", others[0], others, canary)
      )
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, content in members.items():
      archive.writestr(name, content)
  return buffer.getvalue()


def _mutate_tree(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
  """Mutates elements, so that XML stays well-formed and the parser's own code is reached."""
  from lxml import etree

  parser = etree.XMLParser(resolve_entities=False, no_network=True)
  try:
    root, other = etree.fromstring(data, parser), etree.fromstring(rng.choice(seeds), parser)
  except etree.XMLSyntaxError:
    return data  # damaged by an earlier mutation
  for _ in range(rng.choice((1, 2, 5, 20))):
    elements = list(root.iter(etree.Element))
    chosen, target = rng.choice(elements), rng.choice(elements)
    change = rng.randrange(7)
    if change == 0 and chosen.getparent() is not None:
      chosen.getparent().remove(chosen)
    elif change == 1:
      chosen.tag = rng.choice(elements).tag
    elif change == 2:
      target.insert(rng.randint(0, len(target)), copy.deepcopy(chosen))
    elif change == 3:
      target.append(copy.deepcopy(rng.choice(list(other.iter(etree.Element)))))
    elif change == 4:
      text = rng.choice(_TEXTS) * rng.choice((1, 1, 1, 50, 5000))
      if rng.random() < 0.5:
        chosen.text = text
      else:
        target.tail = text
    elif change == 5:
      for _ in range(rng.choice((1, 10, 100))):  # what is deeper than 256 is refused
        inner = etree.SubElement(chosen, chosen.tag)
        chosen = inner
    else:
      names = ("ref-type", "rid", "sec-type", "abstract-type", "display", *chosen.attrib)
      words = ("bibr", "", "fn", "B1", "toc", "block", "0", "supplementary-material")
      chosen.set(rng.choice(names), rng.choice(words))
    if sum(len(e.text or "") + 9 for e in root.iter(etree.Element)) > MAX_BYTES:
      break
  return etree.tostring(root.getroottree(), encoding=rng.choice(("utf-8", "utf-16", "us-ascii")))


def _choose_span(rng: random.Random, data: bytes) -> tuple[int, int]:
  start = rng.randrange(len(data) + 1)
  length = rng.choice((1, 2, 5, 20, 100, len(data)))
  return start, min(len(data), start + rng.randint(0, length))


def _flip(rng, name, data, seeds):
  changed = bytearray(data)
  for _ in range(rng.randint(1, 8)):
    if changed:
      changed[rng.randrange(len(changed))] = rng.randrange(256)
  return bytes(changed)


def _delete(rng, name, data, seeds):
  start, end = _choose_span(rng, data)
  return data[:start] + data[end:]


def _duplicate(rng, name, data, seeds):
  start, end = _choose_span(rng, data)
  return data[:end] + data[start:end] * rng.choice((1, 2, 10, 200)) + data[end:]


def _move(rng, name, data, seeds):
  start, end = _choose_span(rng, data)
  place, rest = rng.randrange(len(data) + 1), data[:start] + data[end:]
  return rest[:place] + data[start:end] + rest[place:]


def _splice(rng, name, data, seeds):
  start, end = _choose_span(rng, other := rng.choice(seeds))
  place, _ = _choose_span(rng, data)
  return data[:place] + other[start:end] + data[place:]


def _insert(rng, name, data, seeds):
  token = rng.choice(_TOKENS[name] if rng.random() < 0.8 else _JUNK)
  place, _ = _choose_span(rng, data)
  return data[:place] + token.encode() * rng.choice((1, 1, 1, 2, 30)) + data[place:]


def _nest(rng, name, data, seeds):
  opening, closing = rng.choice(_NESTED[name])
  depth = rng.choice((3, 50, 300, 3000, 20_000))
  start, end = _choose_span(rng, data)
  inside = data[start:end]
  return data[:start] + opening.encode() * depth + inside + closing.encode() * depth + data[end:]


def _lengthen(rng, name, data, seeds):
  place, _ = _choose_span(rng, data)
  words = rng.choice((b"word ", b"x", b"It is. ", b"\n", b" ", b"[1], ", b"e.g. ", b"A."))
  return data[:place] + words * rng.choice((100, 5000, 50_000)) + data[place:]


def _cut(rng, name, data, seeds):
  return data[: rng.randrange(len(data) + 1)]


def _encode(rng, name, data, seeds):
  encoding = rng.choice(("utf-16", "utf-16-be", "latin-1", "utf-8-sig", "utf-32", "cp037"))
  return data.decode("utf-8", "replace").encode(encoding, "replace")


_MUTATIONS: tuple[Callable[..., bytes], ...] = (
  (_flip, _delete, _duplicate, _move, _splice, _nest, _lengthen) * 2
  + (_insert,) * 6
  + (_cut, _encode)
)


def get_format_names(registered: Mapping[str, object]) -> list[str]:
  """The formats of this file for which there is a parser, by suffix."""
  return [name for name, suffix in SUFFIXES.items() if suffix in registered]
