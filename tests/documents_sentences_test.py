"""Sentence splitting: traps of scientific prose, true boundaries, nothing lost."""

import random
import time

from absl.testing import absltest, parameterized

from htmtl_jax.documents.sentences import split_sentences


def remove_white_space(text):
  return "".join(text.split())


class SplitSentencesTest(parameterized.TestCase):
  @parameterized.parameters(
    "Yields rose as reported by Okafor et al. (2014) for maize.",
    "The shift described by Lind et al. in the spring was small.",
    "The peak in Fig. 3 is narrow, and those in Figs. 4a and 4b are wide.",
    "Suppl. Fig. S2 lists the primers used here.",
    "Inserting Eq. (1) into Eqs. (2) and (3) gives the bound.",
    "As Tab. 2 and Sec. IV of Ref. [7] show, it holds.",
    "See Ref. [3] for the proof of this lemma.",
    "Rodents (e.g. Voles) were kept apart, i.e. In single cages.",
    "We used approx. 30 plants, ca. 20 seeds and cf. Table 2 for the rest.",
    "Treated vs. Untreated plots differed.",
    "The passage on pp. 14-19 of vol. 2, no. 4 says the opposite.",
    "The effect was significant (p < 0.05) at both sites.",
    "The dose was 3.75 mg and the odds ratio was 1.02.",
    "A talk by J. R. Whitfield started the debate.",
    "Growth of E. coli and S. aureus stopped.",
    "Larvae of Ae. aegypti were fed daily.",
    "The mixed C. albicans-S. aureus film was thick.",
    "Strains of Salmonella spp. were found in the water.",
    "as we see in fig . 2 and in eq . ( 4 ) , it decays .",
    "1. Wash the leaves.",
  )
  def test_is_one_sentence(self, text):
    self.assertEqual(split_sentences(text), [text])

  @parameterized.parameters(
    ("We washed the cells.", "The medium was changed."),
    ("This follows the rule of Okafor et al.", "The rule is old."),
    ("The rats were shaken for 30 sec.", "Then they rested."),
    ("The answer is no.", "It was never yes."),
    ("We saw it in panel A.", "The rest is unclear."),
    ("All were kept at 4 °C.", "After a day they were weighed."),
    ("The value was 0.5.", "3 plants died."),
    ("The mice received vitamin C.", "The controls did not."),
    ("Did it grow?", "yes, it did!", "Good."),
    ("The gap closed (p < 0.05).", "mRNA levels rose."),
    ("the model is simple .", "we fit it to data ."),
    ("Growth stopped in S. aureus.", "B. subtilis went on."),
  )
  def test_keeps_true_boundaries(self, *sentences):
    self.assertEqual(split_sentences(" ".join(sentences)), list(sentences))

  def test_blank_lines_end_sentences_and_line_breaks_do_not(self):
    self.assertEqual(
      split_sentences("One line\nand its rest\n \nanother paragraph"),
      ["One line and its rest", "another paragraph"],
    )

  @parameterized.parameters("", " ", "\n\n\t\n", "\x1f")
  def test_blank_text_has_no_sentences(self, text):
    self.assertEqual(split_sentences(text), [])

  def test_loses_nothing_on_odd_input(self):
    rng = random.Random(0)
    parts = [
      "et al. ",
      "Fig. ",
      "e.g. ",
      "p < 0.",
      "05",
      "No. ",
      "J. ",
      "A. ",
      "[3] ",
      ".",
      ". ",
      "? ",
      "\n\n",
      "\n",
      " ",
      "\x00",
      "\x07",
      "\x85",
      "\u2028",
      "é",
      "日本。",
      "\ud800",
      "😀",
      "word ",
      "(",
      ")",
      '"',
      "“",
      "1. ",
      "…",
      "mRNA ",
      "sp. ",
      "al. ",
      "] ",
      "\u200b",
      "\xa0",
    ]
    for _ in range(1500):
      text = "".join(rng.choices(parts, k=rng.randint(1, 30)))
      sentences = split_sentences(text)
      self.assertEqual(remove_white_space("".join(sentences)), remove_white_space(text), repr(text))
      self.assertTrue(all(s and s == " ".join(s.split()) for s in sentences), repr(text))

  @parameterized.parameters(
    "word " * 100_000, "a. b? " * 50_000, "1. " * 50_000, '"(' * 100_000, "Fig. " * 50_000
  )
  def test_long_input_takes_linear_time(self, text):
    start = time.monotonic()
    sentences = split_sentences(text)
    self.assertLess(time.monotonic() - start, 10)
    self.assertEqual(remove_white_space("".join(sentences)), remove_white_space(text))


if __name__ == "__main__":
  absltest.main()
