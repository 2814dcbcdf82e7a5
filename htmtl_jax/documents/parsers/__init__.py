"""Files of papers to `Document`: one module a format, `files.py` chooses among them.

    jats.py  html.py  latex.py  docx.py  pdf.py  markdown.py  plain_text.py
         \\      \\       |         |      /        /          /
          blocks.py: headings and paragraphs to one Document

A parser knows no tokenizer and opens no file but the one it was given (a LaTeX
paper's own \\input files excepted). What each format loses is in docs/formats.md.
"""
