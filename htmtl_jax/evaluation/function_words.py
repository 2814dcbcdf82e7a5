"""English words that say how a sentence is built rather than what it is about.

The closed classes, written down by class. Methods that count content words (`extractors.py`)
leave these out; LexRank gives them small weights by itself.
"""

_ARTICLES_AND_DETERMINERS = """
  a an the this that these those such each every either neither both all any some no none
  another other others several many much more most few fewer less least own same enough
"""
_PRONOUNS = """
  i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his
  himself she her hers herself it its itself they them their theirs themselves one ones who
  whom whose which what whatever whoever something anything nothing someone anyone everyone
"""
_PREPOSITIONS = """
  about above across after against along among amongst around as at before behind below
  beneath beside besides between beyond by despite down during except for from in inside into
  like near of off on onto out outside over past per since through throughout till to toward
  towards under until up upon versus via with within without
"""
_CONJUNCTIONS = """
  and or but nor so yet if because although though unless while whereas whether than when
  whenever where wherever how why once
"""
_AUXILIARIES = """
  am is are was were be been being have has had having do does did doing done can could may
  might must shall should will would cannot
"""
_ADVERBS = """
  not also only very too just then there here thus hence therefore however moreover furthermore
  nevertheless again further rather quite even still already almost ever never always often
  perhaps
"""
# What an apostrophe leaves behind where words are runs of letters: don't, it's, we've.
_REMAINS = "s t d ll m re ve don doesn didn isn aren wasn weren hasn haven hadn won wouldn couldn"

FUNCTION_WORDS = frozenset(
  " ".join(
    (
      _ARTICLES_AND_DETERMINERS,
      _PRONOUNS,
      _PREPOSITIONS,
      _CONJUNCTIONS,
      _AUXILIARIES,
      _ADVERBS,
      _REMAINS,
    )
  ).split()
)
