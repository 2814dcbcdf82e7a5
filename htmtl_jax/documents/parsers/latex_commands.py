"""What the commands and environments of LaTeX mean to a reader of the text: the tables."""

import re

HEADING_LEVELS = {
  "part": 0,  # its heading is left out: one level above chapters would hide these
  "chapter": 1,
  "section": 2,
  "subsection": 3,
  "subsubsection": 4,
  "paragraph": 5,
  "subparagraph": 6,
}
PART_BEGINS = frozenset("\\" + name for name in (*HEADING_LEVELS, "begin document", "end document"))
TITLES = frozenset(("title", "Title", "icmltitle", "mlsystitle"))
ACKNOWLEDGMENTS = frozenset(
  ("acknowledgments", "acknowledgements", "acknowledgment", "acknowledgement", "acks", "ack")
)
CITATIONS = frozenset(
  (
    "cite citep Citep citealp citeyearpar citeyear citenum parencite parencites autocite autocites "
    "footcite supercite upcite smartcite nocite citeauthoryear shortcite cites textsupercite"
  ).split()
)
NOUN_CITATIONS = frozenset(
  (
    "citet Citet citealt citeauthor Citeauthor citefullauthor textcite Textcite textcites onlinecite "
    "newcite citeasnoun citeN fullcite"
  ).split()
)
CITATION_ARGUMENTS = "soom"
REFERENCES = frozenset(
  "ref eqref cref Cref autoref pageref nameref vref Vref labelcref cpageref subref".split()
)
QUANTITIES = {"SI": 2, "qty": 2, "num": 1, "si": 1, "unit": 1, "ang": 1}

# Commands that print nothing of the text, to their arguments: s a star, o one in
# brackets that may be missing, m one in braces, t one that may stand without braces.
DROPPED_COMMANDS: dict[str, str] = {
  **dict.fromkeys(
    ("label", "index", "glossary", "pagestyle", "thispagestyle", "pagenumbering"), "m"
  ),
  **dict.fromkeys(
    ("bibliography", "bibliographystyle", "addbibresource", "printbibliography"), "om"
  ),
  **dict.fromkeys(
    ("footnote", "footnotetext", "thanks", "marginpar", "todo", "caption", "note"), "om"
  ),
  **dict.fromkeys(("tnotetext", "fntext", "cortext", "ead", "corref", "fnref", "tnoteref"), "om"),
  **dict.fromkeys(("author", "address", "affil", "affiliation", "institute", "institution"), "om"),
  **dict.fromkeys(("date", "email", "emailAdd", "keywords", "keyword", "pacs", "subtitle"), "om"),
  **dict.fromkeys(("titlerunning", "authorrunning", "subjclass", "dedicatory", "curraddr"), "om"),
  **dict.fromkeys(("orcid", "orcidID", "inst", "thankstext", "altaffiliation", "homepage"), "om"),
  **dict.fromkeys(("collaboration", "preprint", "received", "accepted", "published", "doi"), "m"),
  **dict.fromkeys(("setcopyright", "copyrightyear", "terms", "acmDOI"), "om"),
  **dict.fromkeys(
    ("runningtitle", "runningauthor", "shorttitle", "shortauthors", "offprints"), "m"
  ),
  **dict.fromkeys(("Author", "AuthorNames", "corres", "firstnote", "conference", "corresp"), "om"),
  **dict.fromkeys(("documentclass", "documentstyle", "usepackage", "RequirePackage"), "omo"),
  **dict.fromkeys(("includegraphics", "includesvg", "includepdf", "captionof"), "som"),
  **dict.fromkeys(("hypersetup", "graphicspath", "includeonly", "hyphenation", "sisetup"), "m"),
  **dict.fromkeys(("allowdisplaybreaks", "captionsetup", "lstset", "geometry", "tikzset"), "om"),
  **dict.fromkeys(("vspace", "hspace", "vphantom", "hphantom", "phantom", "pdfbookmark"), "som"),
  **dict.fromkeys(("setlength", "addtolength", "settowidth"), "tm"),
  **dict.fromkeys(("setcounter", "addtocounter", "markboth"), "mm"),
  **dict.fromkeys(("pgfplotsset", "fontsize", "definecolor", "colorlet"), "mm"),
  **dict.fromkeys(("newcounter", "newlength", "stepcounter", "refstepcounter", "newsavebox"), "m"),
  **dict.fromkeys(("color", "textcolor", "colorbox", "pagecolor", "raisebox", "scalebox"), "om"),
  **dict.fromkeys(("parbox", "rowcolor", "cellcolor", "twemoji"), "om"),
  **dict.fromkeys(("resizebox", "multicolumn", "multirow", "fcolorbox"), "smm"),
  "rule": "omm",
  "addcontentsline": "mmm",
  "addtocontents": "mm",
  "newtheorem": "smomo",
  "theoremstyle": "m",
  "DeclareUnicodeCharacter": "mm",
  "newcolumntype": "mom",
  "titleformat": "smommmm",
  "titlespacing": "smmmm",
  "bibitem": "om",
  "tag": "sm",
  "icmlauthor": "mm",
  "icmlaffiliation": "mm",
  "icmlcorrespondingauthor": "mm",
  "icmlkeywords": "m",
  "icmlsetsymbol": "mm",
  "icmltitlerunning": "m",
  "printAffiliationsAndNotice": "m",
  "lstinputlisting": "om",
  "verbatiminput": "m",
  "plotone": "m",
  "plottwo": "mm",
  "epsfig": "m",
  "DeclareGraphicsExtensions": "m",
  "footnotemark": "o",
  "hyperref": "o",
  "category": "mmm",
  "ccsdesc": "om",
  **dict.fromkeys(("selectlanguage", "foreignlanguage", "hypertarget", "hyperlink"), "om"),
}
DROPPED_PREFIXES = (
  "acm",
  "authornote",
  "IEEEauthor",
  "IEEEmembership",
  "IEEEcompsoc",
  "pgf",
  "tikz",
)

DISPLAYS = frozenset(
  "equation align gather multline eqnarray displaymath flalign alignat dmath xalignat".split()
)
DROPPED_ENVIRONMENTS = frozenset(
  (
    "figure wrapfigure SCfigure subfigure sidewaysfigure teaserfigure floatingfigure table "
    "wraptable sidewaystable deluxetable longtable longtblr tblr tabular tabularx tabulary tabbing "
    "tikzpicture picture pspicture algorithm algorithmic algorithm2e algorithmicx pseudocode "
    "listing lstlisting verbatim Verbatim minted thebibliography references acknowledgments "
    "acknowledgements acknowledgment acknowledgement acks ack CCSXML keyword keywords IEEEkeywords "
    "IEEEbiography IEEEbiographynophoto icmlauthorlist authorlist comment overpic asy forest "
    "thenomenclature highlights graphicalabstract"
  ).split()
)
LISTS = frozenset(
  (
    "itemize enumerate description compactitem compactenum compactdesc inparaenum inparaitem "
    "asparaenum asparaitem easylist tasks trivlist list"
  ).split()
)
# Their begin and end do not break a paragraph.
INLINE_ENVIRONMENTS = frozenset(
  ("subequations split aligned small footnotesize large normalsize color sloppypar math").split()
)
ENVIRONMENT_ARGUMENTS = {
  "minipage": 1,
  "multicols": 1,
  "spacing": 1,
  "adjustwidth": 2,
  "otherlanguage": 1,
  "list": 2,
  "adjustbox": 1,
  "addmargin": 1,
  "labeling": 1,
  "figwindow": 1,
}
INVISIBLE_IN_MATH = frozenset(
  ("{", "}", "&", "\\\\", "\\nonumber", "\\notag", "\\right", "\\,", "\\;", "\\:", "\\quad", "\\ ")
)

# Old commands that are followed by a bare length: \vskip 3pt plus 1pt.
LENGTHS = frozenset(
  (
    "vskip hskip kern mskip mkern parskip parindent baselineskip textwidth textheight topmargin "
    "oddsidemargin evensidemargin hoffset voffset tabcolsep itemsep leftskip rightskip hsize vsize "
    "columnsep headheight headsep footskip penalty tolerance hbadness vbadness topskip parsep "
    "topsep partopsep leftmargin rightmargin labelwidth labelsep itemindent listparindent "
    "baselinestretch abovedisplayskip belowdisplayskip interlinepenalty clubpenalty widowpenalty "
    "linewidth columnwidth raise lower"
  ).split()
)
LENGTH = re.compile(
  r"=?[-+]?(?:\d+\.?\d*|\.\d+)(?:true)?(?:pt|em|ex|in|cm|mm|pc|bp|sp|mu|fil+)?$|(?:plus|minus)$"
)
ASSIGNED = re.compile(r"=[-+]?[.\d]")

# A control word of these names has a meaning here that a redefinition must not replace.
KEPT = re.compile(
  r"\\(?:begin|end|par|item|section|sub(?:sub)?section|chapter|(?:sub)?paragraph|part|appendix"
  r"|title|author|abstract|maketitle|label|(?:text|paren|auto|foot)?cite[pt]?|citeal[pt]"
  r"|citeauthor|citeyear|ref|eqref|cref|Cref|autoref|footnote|caption|thanks|input|include"
  r"|documentclass|usepackage|bibliography|url|href|if|else|fi|def|let|newcommand"
  r"|acknowledge?ments?)$"
)
CONDITIONALS = frozenset(
  "\\if" + name
  for name in (
    " x num dim case cat odd mmode vmode hmode inner defined csname pdf pdftex xetex luatex eof "
    "hbox vbox void true false fontchar twocolumn @twocolumn @twoside @filesw"
  ).split(" ")
)
IGNORED = frozenset(
  "\\" + name
  for name in (
    "relax protect global long outer expandafter noexpand unexpanded begingroup endgroup bgroup "
    "egroup leavevmode unskip ignorespaces"
  ).split()
)
# Environments that old papers begin and end by a command of the same name.
COMMAND_FORMS = {
  "\\" + prefix + name: f"\\{word} {name}"
  for name in ("equation", "eqnarray", "align", "gather", "multline", "displaymath")
  for prefix, word in (("", "begin"), ("end", "end"))
}
DEFINERS = frozenset(
  "\\" + name
  for name in (
    "newcommand renewcommand providecommand DeclareRobustCommand newenvironment "
    "renewenvironment provideenvironment def gdef edef xdef let DeclareMathOperator newif"
  ).split()
)
