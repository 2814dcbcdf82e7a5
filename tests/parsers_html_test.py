"""Saved web pages: arXiv's HTML, PubMed Central old and new, any page, and pages that mean harm."""

import os
import tempfile
import time

from absl.testing import absltest, parameterized

from htmtl_jax.documents.document import Section
from htmtl_jax.documents.parsers import files
from htmtl_jax.documents.parsers.html import parse_html
from htmtl_jax.errors import UserError

LATEXML = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Page title</title>
<script>var SCRIPT = "<p>SCRIPT</p>";</script><style>.STYLE {}</style></head><body>
<nav class="ltx_page_navbar"><nav class="ltx_TOC"><ol><li>MENU</li></ol></nav></nav>
<div class="ltx_page_main"><div class="ltx_page_content"><article class="ltx_document">
<h1 class="ltx_title ltx_title_document">Shade <span class="ltx_text ltx_font_italic">and</span>
light</h1><div class="ltx_authors"><span>AUTHOR</span></div><div class="ltx_dates">DATE</div>
<div class="ltx_abstract"><h6 class="ltx_title ltx_title_abstract">Abstract</h6>
<p class="ltx_p" id="id1">We study shade. It is <math alttext="x^{2}" class="ltx_Math"><mi>WRONG</mi>
</math>.</p></div>
<section class="ltx_section" id="S1"><h2 class="ltx_title ltx_title_section"><span
class="ltx_tag ltx_tag_section">1 </span>Introduction</h2>
<div class="ltx_para" id="S1.p1"><p class="ltx_p">Shade was studied <cite class="ltx_cite
ltx_citemacro_cite">[<a class="ltx_ref" href="#bib.bib1">1</a>, <a class="ltx_ref"
href="#bib.bib2">2</a>]</cite>, as in <cite class="ltx_cite">[<a class="ltx_ref"
href="https://arxiv.org/html/1#bib.bib3">3</a>]</cite> and by <cite class="ltx_cite">Wu (<a
class="ltx_ref" href="#bib.bib4">1998</a>)</cite><span class="ltx_note ltx_role_footnote"><sup>1</sup>
<span>NOTE</span></span>. So</p>
<table class="ltx_equation ltx_eqn_table"><tbody><tr><td><math alttext="\\displaystyle y=\\frac{a}{b}"
display="block"><mi>y</mi></math></td><td><span class="ltx_tag">(1)</span></td></tr></tbody></table>
<p class="ltx_p">where <math><semantics><mi>W</mi><annotation encoding="application/x-tex">\\alpha_{i}
</annotation></semantics></math> is light, see Fig. <a class="ltx_ref" href="#S1.F1">2</a>.</p></div>
<figure class="ltx_figure"><figcaption>CAPTION</figcaption></figure>
<section class="ltx_subsection"><h3 class="ltx_title">Aims</h3><div class="ltx_para"><ul
class="ltx_itemize"><li class="ltx_item"><span class="ltx_tag ltx_tag_item">•</span><div
class="ltx_para"><p class="ltx_p">First aim</p></div></li><li class="ltx_item"><div
class="ltx_para"><p class="ltx_p">Second aim. Really</p></div></li></ul></div></section></section>
<section class="ltx_section"><h2 class="ltx_title"><span class="ltx_tag">2 </span>Results</h2>
<div class="ltx_para"><p class="ltx_p">It was dark.</p></div></section>
<section class="ltx_appendix"><h2>Proofs</h2><p>APPENDIX</p></section>
<section class="ltx_bibliography"><h2>References</h2><ul><li>SOMEONE</li></ul></section>
</article></div><footer class="ltx_page_footer">FOOTER</footer></div></body></html>"""

PMC_NEW = """<html><head><meta name="citation_title" content="Beans &amp; shade"><title>B - PMC</title>
</head><body><header>HEADER</header><main><article><section class="front-matter"><h1>Beans &amp;
shade</h1><div>AUTHOR</div></section><section aria-label="Article content"><section class="body
main-article-body"><section class="abstract" id="abstract1"><h2 class="pmc_sec_title">Abstract</h2>
<section id="sec1"><h3>Background</h3><p>Beans grow.</p></section><section id="sec2"><h3>Methods</h3>
<p>We grew 10<sup>3</sup> beans.</p><p>All did.</p></section><section class="kwd-group">
<p><strong>Keywords:</strong> KEY</p></section></section>
<section class="abstract" id="abstract2"><h2>Author Summary</h2><p>Beans are food.</p></section>
<section id="sec3"><h2 class="pmc_sec_title">Introduction</h2><p>Beans need light.<sup><a
href="#B1" class="usa-link">1</a>,<a href="#B2">2</a>–<a href="#B4">4</a></sup> They drink H<sub>2</sub>O
<a href="#B5">(<em>5</em>)</a>.</p><figure class="fig"><p>CAPTION</p></figure>
<section id="sec4"><h3>Funding</h3><p>MONEY</p></section><section><h3>Aim</h3><p>To know.</p></section>
</section><section class="ack"><h2>Acknowledgements</h2><p>THANKS</p></section>
<section class="ref-list"><h2>References</h2><ul><li>SOMEONE</li></ul></section></section></section>
</article></main><footer>FOOTER</footer></body></html>"""

PMC_OLD = """<html><head><title>Old beans</title></head><body><div class="header">Site menu</div>
<div id="mc"><div class="article"><div class="fm-sec"><h1 class="content-title">Old beans</h1></div>
<div class="jig"><div id="abstract-1" class="tsec sec"><h2 class="head">Abstract</h2><div>
<h3>Aim</h3><p class="p">To see beans.</p><h3>Result</h3><p class="p">We saw beans.</p></div></div>
<div class="tsec sec"><h2 class="head">Results</h2><p>Beans <a class=" bibr popnode" href="#B1"
rid="B1">[1]</a> are green.</p><div class="sec"><h3>More</h3><p>And round.</p></div>
<div class="fig iconblock"><div>CAPTION</div></div></div>
<div class="tsec sec" id="ref-list-sec"><h2>References</h2><div>SOMEONE.</div></div></div></div></div>
</body></html>"""

GENERIC = """<html><head><title>A page | A site</title></head><body><div class="menu">Home About</div>
<ul><li><a href="/">MENU</a></li></ul><h1>Rice and rust</h1><div>Posted in May</div>
<h2>Highlights</h2><ul><li>Rust harms</li></ul>
<h2>Abstract</h2><p>Rust harms rice.</p><h2>Introduction</h2><p>Rice grows
in <b>wa</b>ter.</p><div>This stands in no paragraph, yet it is a sentence.</div><h3>A detail</h3>
<blockquote>A quoted line</blockquote><pre>CODE</pre><dl><dt>Rust</dt><dd>a fungus</dd></dl>
<table><tr><td>CELL</td></tr></table><p hidden>HIDDEN</p><p style="display: none">HIDDEN</p>
<form>FORM<button>BUTTON</button></form><aside>ASIDE</aside><h3>Share</h3><h2>References</h2>
<p>SOMEONE.</p></body></html>"""


def get_paragraphs(body: str):
  document = parse_html(f"<html><body>{body}</body></html>".encode(), "x")
  return [p for section in document.sections for p in section.paragraphs]


class PagesTest(parameterized.TestCase):
  def test_latexml(self):
    document = parse_html(LATEXML.encode(), "x")
    self.assertEqual(document.title, "Shade and light")
    self.assertEqual(document.abstract, (("We study shade.", "It is x^2."),))
    self.assertEqual(
      document.sections,
      (
        Section(
          "Introduction",
          (
            (
              "Shade was studied, as in [ref] and by Wu (1998).",
              "So y = a/b where α_i is light, see Fig. 2.",
            ),
            ("First aim", "Second aim.", "Really"),
          ),
        ),
        Section("Results", (("It was dark.",),)),
      ),
    )

  def test_new_pages_of_pmc(self):
    document = parse_html(PMC_NEW.encode(), "x")
    self.assertEqual(document.title, "Beans & shade")
    self.assertEqual(document.abstract, (("Beans grow.",), ("We grew 10^3 beans.", "All did.")))
    self.assertEqual(document.abstract_labels, ("Background", "Methods"))
    self.assertEqual(document.summaries, {"author_summary": ("Beans are food.",)})
    self.assertEqual(
      document.sections,
      (Section("Introduction", (("Beans need light.", "They drink H2O."), ("To know.",))),),
    )

  def test_old_pages_of_pmc(self):
    document = parse_html(PMC_OLD.encode(), "x")
    self.assertEqual(document.title, "Old beans")
    self.assertEqual(document.abstract, (("To see beans.",), ("We saw beans.",)))
    self.assertEqual(document.abstract_labels, ("Aim", "Result"))
    self.assertEqual(
      document.sections, (Section("Results", (("Beans are green.",), ("And round.",))),)
    )

  def test_any_page(self):
    document = parse_html(GENERIC.encode(), "x")
    self.assertEqual(document.title, "Rice and rust")
    self.assertEqual(document.abstract, (("Rust harms rice.",),))
    self.assertEqual(document.summaries, {"highlights": ("Rust harms",)})
    self.assertEqual(
      document.sections,
      (
        Section(
          "Introduction",
          (
            ("Rice grows in water.",),
            ("This stands in no paragraph, yet it is a sentence.",),
            ("A quoted line",),
            ("Rust: a fungus",),
          ),
        ),
      ),
    )

  @parameterized.parameters(
    ("It is [<a href='#bib1'>1</a>, <a href='x.html#ref-CR2'>2</a>] so", "It is so"),
    ("It is<sup><a href='#cite_note-3'>[3]</a></sup> so", "It is so"),
    ("It is<a href='#R3'><sup>3</sup></a> so", "It is so"),
    ("as in [<a href='#pcbi.1.ref001'>1</a>] so", "as in [ref] so"),
    ("It is (<a href='#bib1'>Wu, 2010</a>) in <a href='#F2'>2</a>", "It is (Wu, 2010) in 2"),
    ("one <italic>unknown</italic> <x-y>ta</x-y>g", "one unknown tag"),
    ("x<sub>i</sub> is 10<sup>-3</sup>", "x_i is 10^-3"),
    ("<math><msup><mi>x</mi><mn>2</mn></msup><mo>≤</mo><mi>β</mi></math> is", "x^2 ≤ β is"),
    (
      "<span class='katex'><math><semantics><mi>W</mi><annotation encoding='application/x-tex'>"
      "\\frac12</annotation></semantics></math><span aria-hidden='true'>W</span></span>",
      "1/2",
    ),
    ("a<br>b<!-- c --><img src='d.png' alt='e'> <code>f</code>\ufdd0&nbsp;g&hellip;", "a b f g…"),
  )
  def test_inline(self, source, expected):
    self.assertEqual(" ".join(get_paragraphs(f"<p>{source}</p>")[0]), expected)

  def test_displayed_formula_goes_on_with_the_sentence(self):
    formula = '<div class="disp-formula"><math><mi>a</mi></math></div>'
    self.assertEqual(get_paragraphs(f"<p>It is</p>{formula}<p>So.</p>"), [("It is a",), ("So.",)])
    self.assertEqual(get_paragraphs(f"<p>It is.</p>{formula}"), [("It is.",)])

  def test_no_words_of_scripts(self):
    paragraphs = get_paragraphs(
      "<p>Text<script>SCRIPT()</script><svg><script>SCRIPT</script><text>SVG</text></svg>"
      "<noscript>NO</noscript><template><p>TEMPLATE</p></template> ends.</p>"
      "<style>p {}</style><script type='math/tex'>SCRIPT</script><iframe>FRAME</iframe>"
      "<p onclick='SCRIPT()'>More.</p><scr<script>ipt>alert(1)</scr</script>"
    )
    self.assertEqual(paragraphs[:2], [("Text ends.",), ("More.",)])
    self.assertNotIn("SCRIPT", str(paragraphs))
    self.assertNotIn("alert", str(paragraphs))

  @parameterized.parameters(
    ("<h1>Only</h1><p>Text.</p>", "Only", ["Text."]),
    ("<h2>A</h2><p>Text.</p><h2>B</h2><p>Text.</p>", "Page", ["Text.", "Text."]),
    ("<h1>A</h1><p>Text.</p><h1>B</h1><p>Text.</p>", "Page", ["Text.", "Text."]),
    ("<h1>Page</h1><h1>A</h1><p>One.</p><h1>B</h1><p>Two.</p>", "Page", ["One.", "Two."]),
    ("<h2>Menu</h2><h1>T</h1><h2>A</h2><p>One.</p><h2>B</h2><p>Two.</p>", "T", ["One.", "Two."]),
    ("word", "Page", ["word"]),
    ("<p>unclosed <b>para<p>another", "Page", ["unclosed para", "another"]),
  )
  def test_titles(self, body, title, texts):
    document = parse_html(f"<head><title>Page</title></head>{body}".encode(), "x")
    self.assertEqual(document.title, title)
    self.assertEqual([p[0] for s in document.sections for p in s.paragraphs], texts)

  def test_largest_article_unless_it_is_small(self):
    text = "<p>This is the text. " * 20
    for tag in ("article", "main", "div"):
      page = f"<div><p>Around it.</p></div><article><p>Small.</p></article><{tag}>{text}</{tag}>"
      words = str(get_paragraphs(page))
      self.assertIn("This is the text.", words)
      self.assertEqual("Around it." in words, tag == "div")

  @parameterized.parameters(
    ('<meta charset="iso-8859-1"><p>Größe – “it”.</p>', "cp1252"),
    (
      '<meta http-equiv="Content-Type" content="text/html; charset=windows-1251"><p>Größe.</p>',
      "utf-8",
    ),
    ("<p>Größe.</p>", "utf-16"),
    ("<p>Größe.</p>", "utf-8-sig"),
    ("<p>Größe.</p>", "utf-8"),
    ("<p>Größe.</p>", "latin-1"),
    ('<meta charset="punycode"><p>Größe.</p>', "utf-8"),
    ('<meta charset="ascii"><p>Größe.</p>', "cp1252"),
    ('<?xml version="1.0" encoding="utf-8"?><html><title/><p>Größe.</p></html>', "utf-8"),
  )
  def test_encodings(self, source, encoding):
    text = source.rpartition("<p>")[2].partition("</p>")[0]
    document = parse_html(source.encode(encoding), "x")
    if "1251" in source:  # a page that lies about itself is read as it says
      text = text.encode(encoding).decode("cp1251")
    self.assertEqual(document.sections[0].paragraphs, ((text,),))


class BadInputTest(parameterized.TestCase):
  @parameterized.parameters(
    "<div>",
    "<span>",
    "<span><div></span>",
    "<b>",
    "<ul><li>",
    "<table><tr><td>",
    "<div><table><tr><td></div>",
    "<blockquote>",
    "<svg>",
    "<svg><foreignObject><table></svg>",
    "<math><mrow>",
    "<noscript><div>",
    '<a x"y><div><div z">',
  )
  def test_depth_is_bounded(self, tags):
    start = time.monotonic()
    with self.assertRaisesRegex(UserError, "p.html: too many tags for a paper, or nested too deep"):
      parse_html(tags.encode() * 100_000 + b"x", "x", "p.html")
    self.assertLess(time.monotonic() - start, 5)

  @parameterized.parameters(
    "<p>word ",
    "<li>word ",
    "<br>",
    "<td>",
    "<a href='#B1'>1</a> ",
    "<p><b>word</p>",
    "<p><i id=@>word</p>",
    "<p><font color=@>word",
    "<a href=@></p>",
    "<div><b id=@></div>",
    "<div><span></div>",
    "<h2>",
    "</div>",
    "<sup>1</sup>",
    "<",
    "<!--",
    "<?",
    "&amp",
    '<a "',
    "<math><mi>x</mi></math>",
    "<hr/>",
    "<ul><li>a</ul>",
    "<div><p>word.</p></div>",
    "<h1>x</h1>",
    "<div id='abstract'>x</div>",
    "<script>",
    "<title>x</title>",
    "<style></style>",
  )
  def test_much_of_one_kind_is_read_quickly(self, tags):
    page = "<p>It is.</p>" + "".join(tags.replace("@", str(i)) for i in range(20_000))
    start = time.monotonic()
    self.assertEqual(parse_html(page.encode(), "x").sections[0].paragraphs[0][0][:5], "It is")
    self.assertLess(time.monotonic() - start, 20)

  def test_deepest_page_that_passes(self):
    document = parse_html(b"<div>" * 3900 + b"<p>deep" + b"</div>" * 3900, "x")
    self.assertEqual(document.sections, (Section("", (("deep",),)),))

  def test_long_line_and_nul(self):
    document = parse_html(b"<p>" + b"It is so. " * 50_000 + b"</p>", "x")
    self.assertLen(document.sections[0].paragraphs[0], 50_000)
    self.assertEqual(get_paragraphs("<p>a\0b</p>\0"), [("ab",)])

  @parameterized.parameters(b"", b"just words", b"%PDF-1.7", b"a < b and c > d")
  def test_no_html(self, data):
    with self.assertRaisesRegex(UserError, "p.html: no HTML tag in this file"):
      parse_html(data, "x", "p.html")

  @parameterized.parameters(
    b"<p></p>", b"<html><frameset><frame></frameset></html>", b"<img alt='x'>"
  )
  def test_no_words(self, data):
    self.assertEqual(parse_html(data, "x").sections, ())

  def test_suffixes_and_size(self):
    folder = self.enter_context(tempfile.TemporaryDirectory())
    for name in ("p.html", "q.HTM", "r.xhtml"):
      path = os.path.join(folder, name)
      with open(path, "w") as handle:
        handle.write(LATEXML)
      self.assertEqual(files.read_paper(path).title, "Shade and light")
    with open(path, "wb") as handle:
      handle.truncate(100 << 20)  # 100 MiB without writing them
    with self.assertRaisesRegex(UserError, "100 MiB is too large for a paper in HTML"):
      files.read_paper(path)


if __name__ == "__main__":
  absltest.main()
