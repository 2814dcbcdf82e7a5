"""The three granularities, named and numbered once.

The same three words name the *segments* that the encoder scores (sentences,
paragraphs, sections) and the *summaries* that the decoder writes (one
sentence, one paragraph, section by section).
"""

LEVELS = ("sentence", "paragraph", "section")
NUM_LEVELS = len(LEVELS)
SENTENCE, PARAGRAPH, SECTION = range(NUM_LEVELS)
