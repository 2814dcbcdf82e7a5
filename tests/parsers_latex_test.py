"""LaTeX papers: text, citations, formulas, macros, and sources that mean harm."""

import random
import time
from unittest import mock

from absl.testing import absltest, parameterized

from htmtl_jax.documents.document import Section
from htmtl_jax.documents.parsers import latex_expander
from htmtl_jax.documents.parsers.latex import parse_latex
from htmtl_jax.errors import UserError

ARTICLE = r"""
\documentclass[11pt]{article}
\usepackage[utf8]{inputenc} % 100% of it
\newcommand{\R}{\mathbb{R}}
\newcommand{\model}[1][base]{\textsc{RiceNet}-#1\xspace}
\newcommand*{\pair}[2]{#1 and #2}
\def\be{\begin{equation}} \def\ee{\end{equation}}
\DeclareMathOperator*{\argmin}{arg\,min}
\newtheorem{theorem}{Theorem}[section]
\newenvironment{remark}[1]{\par\textbf{#1}\small}{\par}
\newif\ifdraft \draftfalse
\let\oldemph\emph
\renewcommand{\emph}[1]{\oldemph{#1}}
\title[Short]{Rust in Rice:\\ A Study\thanks{Funded by nobody.}}
\author{Ada Example\inst{1} \and Bob}
\date{\today}
\begin{document}
\maketitle
\begin{abstract}
Rust harms rice~\cite{a}. We show that $\alpha = 0.05$ is \emph{enough}.
\keywords{rice}
\end{abstract}

\section{Introduction}\label{sec:intro}
Rice\footnote{Oryza. See \cite{x}.} grows in water~\citep[see][p.~3]{x,y}. As in \cite{z}, we use \model.
The \model[large] has $x \in \R^{d}$, and Schr\"odinger said ``no'' --- \pair{twice}{thrice}.
% a comment with \begin{figure}
See Fig.~\ref{fig:a} and Eq.~\eqref{eq:b}: 100\% of fields, 5--10\,km away.
The loss is
\be L = \sum_i x_i^2. \label{eq:b} \ee
It is small.

Then
\begin{align*}
y &= \argmin_x f(x),
\end{align*}

where $f$ is smooth.

\ifdraft Hidden. \else Shown.\fi
\iffalse Never. \ifdraft Nor this. \fi \fi

\begin{figure}[t]\centering\includegraphics[width=3cm]{a}\caption{A cap.}\label{fig:a}\end{figure}
\begin{table}\begin{tabular}{ll}a & b\\\end{tabular}\end{table}

\paragraph{Contributions.} Our contributions are:
\begin{itemize}
\item We find \textbf{rust}. It is red;
\item[Data] We give data
  \begin{enumerate}\item nested one \item nested two\end{enumerate}
\end{itemize}
\subsection*{Details}
\begin{theorem}[Main] Let $n \to \infty$. Then it holds.
\end{theorem}
\begin{remark}{Note} It is so. \end{remark}
\begin{verbatim}
\section{Not a section}
\end{verbatim}
\begin{comment}
\section{Nor this}
\end{comment}
Use \verb|a_b%c| and \url{http://x.org/a_b%20c} or \href{http://y.z/#a%20b}{this page}.

\section*{Acknowledgements}
Thanks.
\section{Conclusion}
It ended.
\begin{thebibliography}{9}\bibitem{a} A.\end{thebibliography}
\end{document}
After.
"""


def parse_body(text: str) -> list[list[str]]:
  """The paragraphs of the only section of a text."""
  document = parse_latex(text, "x")
  assert len(document.sections) == 1, document
  return [list(paragraph) for paragraph in document.sections[0].paragraphs]


def parse_sentence(text: str) -> str:
  ((sentence,),) = parse_body(text)
  return sentence


class ArticleTest(parameterized.TestCase):
  def test_whole_article(self):
    document = parse_latex(ARTICLE, "x")
    self.assertEqual(document.id, "x")
    self.assertEqual(document.title, "Rust in Rice: A Study")
    self.assertEqual(document.abstract, (("Rust harms rice.", "We show that α = 0.05 is enough."),))
    self.assertEqual(
      document.sections,
      (
        Section(
          "Introduction",
          (
            (
              "Rice grows in water.",
              "As in [ref], we use RiceNet-base.",
              "The RiceNet-large has x ∈ R^d, and Schrödinger said “no” — twice and thrice.",
              "See Fig. [ref] and Eq. [ref]: 100% of fields, 5–10 km away.",
              "The loss is <formula>.",
              "It is small.",
            ),
            ("Then <formula>, where f is smooth.",),
            ("Shown.",),
            ("Our contributions are:",),
            (
              "We find rust.",
              "It is red;",
              "Data: We give data",
              "nested one",
              "nested two",
            ),
            ("Let n → ∞.", "Then it holds."),
            ("It is so.",),
            ("Use a_b%c and http://x.org/a_b%20c or this page.",),
          ),
        ),
        Section("Conclusion", (("It ended.",),)),
      ),
    )

  def test_windows_line_ends_change_nothing(self):
    self.assertEqual(parse_latex(ARTICLE.replace("\n", "\r\n"), "x"), parse_latex(ARTICLE, "x"))

  def test_body_alone(self):
    document = parse_latex("\\section{A}\nfoo\n\\section{B}\nbar\\subsection{C}baz", "x")
    self.assertEqual(
      document.sections, (Section("A", (("foo",),)), Section("B", (("bar",), ("baz",))))
    )

  def test_chapters_are_the_top_where_there_are_some(self):
    document = parse_latex("\\part{P}\\chapter{A}a\\section{B}b\\chapter{C}c", "x")
    self.assertEqual([s.heading for s in document.sections], ["A", "C"])

  @parameterized.parameters(
    r"\abstract{Rice is. So be it.}\section{A}Foo.",
    r"\section*{Abstract}Rice is. So be it.\section{A}Foo.",
    r"\newenvironment{abs}{\begin{abstract}}{\end{abstract}}\begin{abs}Rice is. So be it.\end{abs}"
    r"\section{A}Foo.",
    r"\begin{abstract}Rice is. So be it.\section{A}Foo.",
    r"\begin{abstract}Rice is. So be it.\end{abstract}\begin{abstract}Reis ist."
    r"\end{abstract}\section{A}Foo.",
  )
  def test_abstract(self, text):
    document = parse_latex(text, "x")
    self.assertEqual(document.abstract, (("Rice is.", "So be it."),))
    self.assertEqual(document.sections, (Section("A", (("Foo.",),)),))

  def test_abstract_of_several_arguments(self):
    document = parse_latex(r"\abstract{Context is.}{Aims are.} {Methods do.}\section{A}Foo.", "x")
    self.assertEqual(document.abstract, (("Context is.",), ("Aims are.",), ("Methods do.",)))

  def test_abstract_alone_is_the_text(self):
    document = parse_latex(r"\begin{abstract}Only this.\end{abstract}", "x")
    self.assertEqual(document.sections, (Section("Abstract", (("Only this.",),)),))

  def test_abstract_in_the_preamble(self):
    text = r"\documentclass{a}\abstract{One.}\def\x{y}Junk\begin{document}\section{A}Foo \x."
    document = parse_latex(text, "x")
    self.assertEqual(document.abstract, (("One.",),))
    self.assertEqual(document.sections, (Section("A", (("Foo y.",),)),))

  def test_preamble_without_document_is_read_all_the_same(self):
    self.assertEqual(parse_body("% \\documentclass\nIt is so."), [["It is so."]])
    self.assertEqual(parse_body("\\documentclass{a}It is so."), [["It is so."]])

  @parameterized.parameters(
    "", "% only\n", r"\documentclass{a}\begin{document}\end{document}", "$$"
  )
  def test_no_text(self, text):
    self.assertEmpty(parse_latex(text, "x").sections)


class SentenceTest(parameterized.TestCase):
  @parameterized.parameters(
    (
      r"Na\"{\i}ve \c{c}a, \o re stra\ss e, \v{S}koda, Erd\H{o}s.",
      "Naïve ça, øre straße, Škoda, Erdős.",
    ),
    (r"\'Ecole \`a \^{o} \~n \aa\ \AE.", "École à ô ñ å Æ."),
    (r"{\bf Bold} and {\it it} f\textbf{o}o.", "Bold and it foo."),
    (r"\textcolor{red}{Red} \emph{and} \foo[a=b]{kept} \LaTeX{} here.", "Red and kept LaTeX here."),
    (r"A \& B \$5 \#1 \_ \{x\} 5\,\% \textbackslash.", r"A & B $5 #1 _ {x} 5 % \."),
    ("It cost $5 in all.", "It cost $5 in all."),
    (r"\SI{5}{\kilo\metre} and \num{10} and \SI{3}{\percent}.", "5 km and 10 and 3 %."),
    (r"At $T=2.1\,$K and $ x $.", "At T = 2.1 K and x."),
    (r"CO$_2$ at 45$^\circ$ in m$^{-2}$ on the 5$^{th}$.", "CO2 at 45° in m^-2 on the 5th."),
    (r"So \hspace{1cm}\vskip 3pt plus 1pt it \parindent=0pt is.", "So it is."),
    (r"So \setlength\itemsep{0em}it \setlength{\parskip}{3pt plus 1pt}is.", "So it is."),
    (r"One \\[2pt] two \\* three.", "One two three."),
    (r"Word\index{w} next \label{x}.", "Word next."),
    (r"The \multicolumn{2}{c}{cell} \hyperref[sec:a]{Section 2}.", "The cell Section 2."),
    ("A line % comment\n  goes on.", "A line goes on."),
    (r"We \ensuremath{x^2} and $\ensuremath{y}$.", "We x^2 and y."),
    (r"A\ifmmode b\else c\fi$\ifmmode d\else e\fi$", "Acd"),
  )
  def test_text(self, source, expected):
    self.assertEqual(parse_sentence(source), expected)

  @parameterized.parameters(
    (r"Rice grows~\cite{a}.", "Rice grows."),
    (r"Rice grows \cite{a}, \cite{b} and \cite{c}, too.", "Rice grows, too."),
    (r"Rice grows (\cite{a}; see \cite{b}) well.", "Rice grows well."),
    (r"Rice grows (see e.g. \citep{a}).", "Rice grows."),
    (r"Rice grows [\cite{a}] well.", "Rice grows well."),
    (r"As in \cite{a}, it grows.", "As in [ref], it grows."),
    (r"As \cite[Theorem 3]{a} shows, it grows.", "As [ref] shows, it grows."),
    (r"\cite{a} show that it grows.", "[ref] show that it grows."),
    (r"\citet*[p.~1]{a} and \textcite{b} grow.", "[ref] and [ref] grow."),
    (r"It is by Ada~\cite{a} that.", "It is by Ada that."),
    (r"It is known (see \cite{a} for more).", "It is known (see [ref] for more)."),
    (r"In Sections~\ref{a} and \cref{b,c}.", "In Sections [ref] and [ref]."),
    (r"From \autocites[1]{a}[2]{b} on.", "From [ref] on."),
  )
  def test_citations(self, source, expected):
    self.assertEqual(parse_sentence(source), expected)

  def test_a_citation_after_the_full_stop_is_removed(self):
    self.assertEqual(parse_body(r"It ended. \cite{a} The next."), [["It ended.", "The next."]])

  @parameterized.parameters(
    (r"\alpha = 0.05", "α = 0.05"),
    (r"p<0.05", "p < 0.05"),
    (r"\frac{a}{b}", "a/b"),
    (r"\frac{a+b}{2}", "(a+b)/2"),
    (r"\frac12", "1/2"),
    (r"{a \over b}", "a/b"),
    (r"1 \over x+1", "1/(x+1)"),
    (r"e^{x+1}", "e^(x+1)"),
    (r"A^*", "A^*"),
    (r"x_{\text{max}}", "x_max"),
    (r"\text{ReLU}(x) \text{ if } y", "ReLU(x) if y"),
    (r"O(n\log n)", "O(n log n)"),
    (r"\hat{y}_i", "ŷ_i"),
    (r"\sqrt{2} \pm 1", "√2 ± 1"),
    (r"\sqrt[3]{x+1}", "√(x+1)"),
    (r"\left\{ a \right.", "{ a"),
    (r"5\,\mathrm{km}", "5 km"),
    (r"f^{\prime}(x) \not= 3", "f′(x) ≠ 3"),
    (r"\begin{matrix} 1 \end{matrix}", "<formula>"),
    (r"\commandofapackage", "<formula>"),
    ("a+" * 20 + "b", "<formula>"),
    ("a" * 40, "a" * 40),
  )
  def test_formulas(self, source, expected):
    self.assertEqual(parse_sentence(f"So ${source}$ is."), f"So {expected} is.")
    self.assertEqual(parse_sentence(rf"So \({source}\) is."), f"So {expected} is.")

  @parameterized.parameters(
    "$$a=b.$$",
    r"\[a=b.\]",
    r"\begin{equation}a=b.\label{x}\end{equation}",
    r"\be a=b. \ee",
    r"\begin{eq}a=b.\end{eq}",
    r"\begin{eqnarray*}a&=&b\nonumber\\&=&c.\end{eqnarray*}",
    r"\equation a=b.\endequation",
  )
  def test_displays(self, source):
    definitions = (
      r"\newcommand{\be}{\begin{equation}}\newcommand\ee{\end{equation}}"
      r"\newenvironment{eq}{\begin{equation}}{\end{equation}}"
    )
    self.assertEqual(
      parse_body(f"{definitions}We have {source} So"), [["We have <formula>.", "So"]]
    )
    # An empty line before it makes no paragraph of its own.
    self.assertEqual(
      parse_body(f"{definitions}We have\n\n{source}\n\nSo"), [["We have <formula>."], ["So"]]
    )


class MacroTest(parameterized.TestCase):
  @parameterized.parameters(
    (r"\newcommand{\x}{rice}\x\ grows and \x{} is.", "rice grows and rice is."),
    (r"\newcommand\x[2][red]{#1 #2}\x{rice}, \x[blue]{sky}.", "red rice, blue sky."),
    (r"\def\x#1#2{#2#1}\x ab\x{c}{d}", "badc"),
    (r"\providecommand{\x}{a}\providecommand{\x}{b}\renewcommand\x{\textbf{c}}\x", "c"),
    (r"\newcommand{\x}{a}\providecommand{\x}{b}\x", "a"),
    (r"\def\x{old}\let\y=\x\def\x{new}\y{} \x", "old new"),
    (r"\def\x#1{\def\y##1{#1 ##1}}\x{a}\y{b}", "a b"),
    (r"\newcommand{\figref}[1]{Fig.~\ref{#1}}See \figref{x}.", "See Fig. [ref]."),
    (r"\let\section\foo\renewcommand{\cite}[1]{[#1]}Rice \cite{a}.", "Rice."),
    (r"\DeclareMathOperator{\tr}{tr}So $\tr A$.", "So tr A."),
    (r"\newif\ifa \atrue \ifa yes\else no\fi", "yes"),
    (r"\let\ifa\iftrue \ifa yes\else no\fi", "yes"),
    (r"\iftrue a\iffalse b\else c\fi\else d\fi e", "ace"),
    (r"\ifx\a\b yes\else no\fi", "no"),
    (r"\makeatletter\def\a@b{rice}\a@b\makeatother a@b", "ricea@b"),
    (r"\def\x#1.{a}Delimited is \x left out.", "Delimited is left out."),
  )
  def test_expansion(self, source, expected):
    self.assertEqual(parse_sentence(source), expected)

  @parameterized.parameters(
    r"\def\a{\a\a}\a",
    r"\def\a{\b}\def\b{\a}\a",
    r"\def\a#1{\a{#1#1}}\a{xy}",
    r"\def\a#1{\a{#1}x}\a{b}",
    r"\newenvironment{a}{\begin{a}}{\end{a}}\begin{a}",
    "".join(rf"\def\{a}{{{f'{chr(92)}{b}' * 10}}}" for a, b in zip("abcdefgh", "bcdefghi"))
    + r"\def\i{lol }\a",
  )
  def test_macro_bomb(self, source):
    with (
      mock.patch.object(latex_expander, "MAX_EXPANDED_TOKENS", 50_000),
      self.assertRaisesRegex(UserError, r"^x: the macro \\.* expands without end[^\n]*$"),
    ):
      parse_latex(source, "x")


class HostileTest(parameterized.TestCase):
  @parameterized.parameters(
    *("{", "}", "$", "${", "${ $", "[", "\\", "#", "%\n", r"\("),
    *(r"\begin{a}", r"\begin{verbatim}", r"\begin{figure}", r"\begin{itemize}\item "),
    *(r"\cite{", r"\footnote{", r"\section{", r"\title{", r"\'{", r"\abstract{", r"\foo["),
    *(r"\iffalse ", r"\csname ", r"\def\a", r"\newcommand{\a}[", r"\ensuremath{", r"\pgf{"),
  )
  def test_endless_repetition_takes_little_time(self, piece):
    start = time.monotonic()
    parse_latex(piece * 20_000, "x")
    self.assertLess(time.monotonic() - start, 20)

  def test_deep_nesting_keeps_the_text(self):
    self.assertEqual(parse_sentence("{" * 100_000 + "deep" + "}" * 100_000), "deep")
    self.assertEqual(parse_sentence(r"\textbf{" * 50_000 + "deep"), "deep")

  def test_what_is_never_closed_loses_little(self):
    for broken in (r"\footnote{", r"\cite{", r"\textbf{", "$x", r"\foo[", r"\(x", "{"):
      text = f"One is. {broken} two is.\n\nThree is."
      words = " ".join(s for p in parse_body(text) for s in p)
      self.assertIn("two is.", words, broken)
      self.assertEndsWith(words, "Three is.", broken)
    for broken in (r"\begin{figure}", "$$", r"\[", r"\begin{equation}"):
      document = parse_latex(rf"\section{{A}}One. {broken} x \section{{B}}Two.", "x")
      self.assertEqual([s.heading for s in document.sections], ["A", "B"], broken)
      self.assertEqual(document.sections[1].paragraphs, (("Two.",),), broken)

  def test_control_characters(self):
    self.assertEqual(parse_sentence("So\x00 it\x01 i\x02s \x7f."), "So it is .")

  def test_mutated_input_makes_a_document_quickly(self):
    rng = random.Random(0)
    junk = (
      "{ } $ $$ [ ] % \\ & ~ ^ _ # \\begin{ \\end{ \\item \\cite{ \\section{ \\def\\a#1{ \\else \\fi "
      "\\iffalse \\[ \\] \\( \\) \\begin{figure} \\end{document} \\par \\verb| \\'{ \n\n 日 \\frac"
    ).split(" ")
    start = time.monotonic()
    for _ in range(300):
      source = list(ARTICLE)
      for _ in range(rng.randint(1, 20)):
        place = rng.randrange(len(source))
        source[place : place + rng.randint(0, 8)] = rng.choice(junk) * rng.randint(1, 3)
      try:
        document = parse_latex("".join(source), "x")
      except UserError:
        continue
      for section in document.sections:
        self.assertTrue(section.heading or section.paragraphs)
        for paragraph in section.paragraphs:
          self.assertTrue(paragraph and all(s.strip() for s in paragraph))
          self.assertNotRegex(" ".join(paragraph), "[\x00-\x1f]")
    self.assertLess(time.monotonic() - start, 60)


if __name__ == "__main__":
  absltest.main()
