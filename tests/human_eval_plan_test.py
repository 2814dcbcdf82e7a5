"""Sample, plan and packets of a study: balance, determinism, blinding."""

from collections import Counter
import json
import pathlib
import re
import tempfile

from absl.testing import absltest, parameterized

from htmtl_jax.errors import UserError
from htmtl_jax.human_eval import plan as plan_lib
from htmtl_jax.human_eval import sampling
from htmtl_jax.human_eval.settings import Design, load_study
from htmtl_jax.reports.page import GENERATOR_MARK
from tests import human_study


def make_texts(systems, documents, levels, same=()):
  """{level: {document: {system: text}}}; pairs in `same` (level, document, a, b) are equal."""
  texts = {
    level: {d: {s: human_study.text_of(s, level, d) for s in systems} for d in documents}
    for level in levels
  }
  for level, d, a, b in same:
    texts[level][d][b] = texts[level][d][a] + " "  # white space makes no difference
  return texts


class SamplingTest(parameterized.TestCase):
  @parameterized.parameters(
    ({"a": 10, "b": 20, "c": 30}, 6, {"a": 1, "b": 2, "c": 3}),
    ({"a": 10, "b": 10, "c": 10}, 4, {"a": 2, "b": 1, "c": 1}),
    ({"a": 1, "b": 99}, 10, {"a": 0, "b": 10}),
    ({"a": 3, "b": 4}, 7, {"a": 3, "b": 4}),
    ({"a": 5, "b": 3, "c": 2}, 3, {"a": 1, "b": 1, "c": 1}),  # 1.5, 0.9, 0.6
  )
  def test_strata_give_in_proportion(self, sizes, count, expected):
    self.assertEqual(sampling.allot(sizes, count), expected)

  def test_strata_by_length_and_source(self):
    words = {f"d{k}": 100 * k for k in range(1, 13)}
    sources = {d: "x" if k % 2 else "y" for k, d in enumerate(words)}
    names = sampling.name_strata(words, sources, ("length", "source"), 3)
    sizes = Counter(names.values())
    self.assertLen(sizes, 6)
    self.assertEqual(set(sizes.values()), {2})
    self.assertEqual(names["d1"], f"{sources['d1']}, up to 400 words")
    self.assertEqual(names["d5"], f"{sources['d5']}, over 400 up to 800 words")
    self.assertEqual(names["d12"], f"{sources['d12']}, over 800 words")
    # All of one length: one stratum; sources that nobody knows: none.
    self.assertEqual(
      set(sampling.name_strata(dict.fromkeys("abc", 7), {}, ("length",), 3).values()),
      {"up to 7 words"},
    )
    self.assertEqual(set(sampling.name_strata(words, {}, ("source",), 3).values()), {""})

  def test_the_draw_is_stratified_and_depends_on_the_seed_alone(self):
    words = {f"d{k}": k for k in range(60)}
    strata = sampling.name_strata(words, {}, ("length",), 3)
    drawn, sizes = sampling.draw(words, strata, 12, seed=3)
    self.assertEqual([s.drawn for s in sizes], [4, 4, 4])
    self.assertEqual(len({d.id for d in drawn}), 12)
    self.assertEqual([strata[d.id] for d in drawn], sorted(strata[d.id] for d in drawn))
    turned = dict(reversed(words.items()))
    self.assertEqual(sampling.draw(turned, strata, 12, seed=3), (drawn, sizes))
    self.assertNotEqual(sampling.draw(words, strata, 12, seed=4)[0], drawn)
    with self.assertRaisesRegex(UserError, "documents is 61, but only 60"):
      sampling.draw(words, strata, 61, seed=0)


class PlanTest(parameterized.TestCase):
  def make(self, systems=("p", "q", "r"), documents=12, same=(), **design):
    ids = [f"doc{k}" for k in range(documents)]
    design = Design(**{"levels": ("paragraph",), "tasks": ("pairwise",), **design})
    texts = make_texts(systems, ids, design.levels, same)
    return plan_lib.make_plan(design, systems, ids, texts)

  def test_each_system_of_a_pair_is_first_in_half(self):
    made = self.make(documents=13, raters=4, repeats=0.0)
    for questions in made.raters.values():
      self.assertLen(questions, 13 * 3)
      for a, b in (("p", "q"), ("p", "r"), ("q", "r")):
        orders = Counter(q.candidates for q in questions if {c[0] for c in q.candidates} == {a, b})
        self.assertEqual(sorted(orders.values()), [6, 7])
    # Raters have orders of their own.
    self.assertLen({tuple(questions) for questions in made.raters.values()}, 4)

  @parameterized.parameters(("best_worst", 3), ("likert", 3), ("likert", 5), ("best_worst", 8))
  def test_each_system_stands_in_each_place_equally_often(self, task, size):
    systems = tuple("pqrstuvw"[:size])
    made = self.make(systems, documents=2 * size, tasks=(task,), repeats=0.0, raters=2)
    for questions in made.raters.values():
      places = Counter((k, c[0]) for q in questions for k, c in enumerate(q.candidates))
      self.assertEqual(set(places.values()), {2})
      self.assertLen(places, size * size)

  def test_a_paper_is_read_once_and_repeats_come_after_another(self):
    made = self.make(
      documents=9,
      raters=3,
      tasks=("pairwise", "best_worst", "likert"),
      repeats=0.2,
      levels=("sentence", "section"),
    )
    for questions in made.raters.values():
      own = {q.id: q for q in questions}
      first = [q for q in questions if q.repeat_of is None]
      repeats = [q for q in questions if q.repeat_of is not None]
      self.assertLen(first, 9 * 2 * 5)
      self.assertLen(repeats, 18)
      blocks = [
        d for k, d in enumerate(q.document for q in first) if k == 0 or first[k - 1].document != d
      ]
      self.assertLen(blocks, 9)  # every document's questions are together
      self.assertLen({q.repeat_of for q in repeats}, 18)
      for q in repeats:
        original = own[q.repeat_of]
        self.assertEqual(
          (q.document, q.level, q.task), (original.document, original.level, original.task)
        )
        self.assertCountEqual(q.candidates, original.candidates)
        for before, after in zip(original.candidates, q.candidates):
          self.assertNotEqual(before, after)  # nothing keeps its letter
        between = questions[questions.index(original) + 1 : questions.index(q)]
        self.assertTrue(any(x.document != q.document for x in between))
      self.assertEqual([q.id for q in questions], [f"q{k + 1:04d}" for k in range(len(questions))])

  def test_documents_are_dealt_evenly(self):
    made = self.make(documents=20, raters=5, raters_per_document=2, repeats=0.0)
    loads = Counter(r for raters in made.assigned.values() for r in raters)
    self.assertEqual(set(loads.values()), {8})
    self.assertTrue(all(len(set(raters)) == 2 for raters in made.assigned.values()))
    for rater, questions in made.raters.items():
      own = {q.document for q in questions}
      self.assertEqual(own, {d for d, raters in made.assigned.items() if rater in raters})

  def test_equal_texts_are_no_question(self):
    same = [("paragraph", f"doc{k}", "p", "q") for k in range(4)]
    made = self.make(same=same, tasks=("pairwise", "best_worst", "likert"), raters=1, repeats=0.0)
    questions = made.raters["rater-01"]
    asked = [q for q in questions if q.task == "pairwise"]
    self.assertLen(asked, 12 * 3 - 4)
    self.assertEqual(
      [(i.document, i.systems) for i in made.identical], [(f"doc{k}", ("p", "q")) for k in range(4)]
    )
    for q in questions:
      if q.task != "pairwise":
        merged = q.document in {"doc0", "doc1", "doc2", "doc3"}
        self.assertLen(q.candidates, 2 if merged else 3)
        self.assertEqual({s for c in q.candidates for s in c}, {"p", "q", "r"})
    everything = [("paragraph", f"doc{k}", "p", s) for k in range(12) for s in "qr"]
    with self.assertRaisesRegex(UserError, "wrote the same"):
      self.make(same=everything, raters=1)

  def test_one_summary_a_screen_and_pairs_with_the_first(self):
    made = self.make(tasks=("likert",), likert_together=False, raters=1, repeats=0.0)
    self.assertTrue(all(len(q.candidates) == 1 for q in made.raters["rater-01"]))
    self.assertLen(made.raters["rater-01"], 36)
    made = self.make(pairs="first", raters=1, repeats=0.0)
    self.assertEqual(
      {frozenset(c[0] for c in q.candidates) for q in made.raters["rater-01"]},
      {frozenset("pq"), frozenset("pr")},
    )

  def test_what_cannot_be_planned(self):
    with self.assertRaisesRegex(UserError, "9 systems cannot be judged beside each other"):
      self.make(tuple("pqrstuvwx"), tasks=("likert",))
    with self.assertRaisesRegex(UserError, "best_worst needs three"):
      self.make(("p", "q"), tasks=("best_worst",))
    with self.assertRaisesRegex(UserError, "would get nothing to judge"):
      self.make(documents=2, raters=3, raters_per_document=1)


class ExportTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

  def packets(self, study):
    return {p.stem: p.read_text("utf-8") for p in sorted((study / "packets").iterdir())}

  def test_packets_tell_nothing_of_who_wrote_what(self):
    config = human_study.write_papers(self.folder)
    study = human_study.export(
      self.folder,
      "--study.design.documents=9",
      "--study.design.seed=12345",
      "--study.design.tasks=pairwise,best_worst,likert",
      "--study.design.show=text,abstract",
      "--study.design.compare_by=overall,fluency",
      config=config,
    )
    key = human_study.read_key(study)
    self.assertEqual(
      sorted(p.name for p in study.iterdir()), ["key.json", "packets", "protocol.md"]
    )
    packets = self.packets(study)
    self.assertEqual(list(packets), ["rater-01", "rater-02", "rater-03"])
    for rater, html in packets.items():
      html = html.replace(GENERATOR_MARK, "")
      for secret in (
        *human_study.SYSTEMS,
        "corpusdoc",
        "biology",
        "physics",
        "12345",
        str(self.folder),
        "repeat",
        "stratum",
        "htmtl",
        "lead",
      ):
        # As a word or a part of one, anywhere in the file but in the scripts' own words.
        data = re.sub(r"<(script|style)>.*?</\1>", "", html, flags=re.DOTALL)
        self.assertFalse(secret in data, secret)
      for secret in (*human_study.SYSTEMS, "corpusdoc", str(self.folder), "htmtl"):
        self.assertFalse(secret in html.lower(), secret)
      packet = json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])
      own = key["raters"][rater]
      self.assertEqual((packet["study"], packet["packet"]), (key["study"], own["packet"]))
      self.assertEqual([q["id"] for q in packet["questions"]], list(own["questions"]))
      # A repeated question looks as any other.
      self.assertLen({tuple(q) for q in packet["questions"]}, 1)
      for shown, q in zip(packet["questions"], own["questions"].values()):
        for lines, systems in zip(shown["texts"], q["candidates"].values()):
          expected = human_study.text_of(systems[0], q["level"], q["document"])
          self.assertEqual("\n".join(lines), expected)
        self.assertEqual(
          packet["documents"][shown["document"]]["sections"][0]["heading"], "Introduction"
        )

  def test_equal_seeds_make_equal_files(self):
    files = []
    for k, seed in enumerate((7, 7, 8)):
      folder = self.folder / str(k)
      human_study.write_evaluation(self.folder / str(k) / "run")
      study = human_study.export(
        folder, "--study.design.documents=6", f"--study.design.seed={seed}"
      )
      key = human_study.read_key(study)
      files.append((self.packets(study), key["raters"], key["documents"]))
    # The key also names the folder of the run, so the study's id differs from run to run.
    strip = lambda packets: {r: re.sub(r'"study":"\w+"', "", html) for r, html in packets.items()}
    self.assertEqual(strip(files[0][0]), strip(files[1][0]))
    self.assertEqual(files[0][1:], files[1][1:])
    self.assertNotEqual(strip(files[0][0]), strip(files[2][0]))

  def test_the_protocol_says_what_will_be_done(self):
    config = human_study.write_papers(self.folder)
    study = human_study.export(
      self.folder,
      "--study.design.documents=8",
      "--study.design.raters=4",
      "--study.design.raters_per_document=2",
      config=config,
    )
    text = (study / "protocol.md").read_text("utf-8")
    for words in (
      "8 documents of 12",
      "seed 0",
      "4 raters; each document is judged by 2 of them",
      "`zebra`, `quokka`, `walrus`",
      "| biology, up to 400 words | 4 | 3 |",
      "| physics, over 800 words | 4 | 3 |",
      "Wilcoxon",
      "5 the paper supports everything",
      "No judgment has been made",
    ):
      self.assertIn(words, text)

  def test_two_runs(self):
    for name, systems in (("full", ("htmtl", "lead")), ("flat", ("htmtl", "lead"))):
      make_text = lambda system, level, d, run=name: human_study.text_of(
        system if system == "lead" else f"{run}:{system}", level, d
      )
      folder = self.folder / "runs" / name / "evaluation" / "400"
      shift = {"full": 5.0, "flat": 0.0}[name]
      human_study.write_evaluation(folder, systems, make_text=make_text, shift={"htmtl": shift})
    runs = ",".join(str(self.folder / "runs" / name) for name in ("full", "flat"))
    command = (
      "--action=export",
      f"--runs={runs}",
      "--split=test",
      "--study.design.show=",
      human_study.CRITERIA,
      "--study.design.documents=4",
    )
    status, _, err = human_study.run_main(*command, f"--output={self.folder / 'all'}")
    self.assertEqual((status, err), (0, ""))
    key = human_study.read_key(self.folder / "all")
    self.assertEqual(key["systems"], ["full:htmtl", "lead", "flat:htmtl"])  # lead is one
    self.assertEqual([run["name"] for run in key["runs"]], ["full", "flat"])
    status, _, err = human_study.run_main(
      *command, f"--output={self.folder / 'some'}", "--systems=flat:htmtl,full:htmtl"
    )
    self.assertEqual((status, err), (0, ""))
    key = human_study.read_key(self.folder / "some")
    self.assertEqual(key["systems"], ["flat:htmtl", "full:htmtl"])
    status, _, err = human_study.run_main(
      *command, f"--output={self.folder / 'none'}", "--systems=htmtl,lead"
    )
    self.assertEqual(status, 2)
    self.assertIn("htmtl is not among the systems; there are full:htmtl, lead, flat:htmtl", err)

  def test_lengths_of_references_where_the_papers_are_not_known(self):
    human_study.write_evaluation(self.folder / "run")
    path = self.folder / "run" / "predictions.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for line in lines:
      del line["source"]  # as older versions wrote it
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    study = human_study.export(self.folder, "--study.design.documents=4")
    self.assertEqual(human_study.read_key(study)["words_are"], "words of the reference")

  def test_the_reference_as_a_system_and_systems_by_name(self):
    study = human_study.export(
      self.folder, "--systems=walrus,reference,run:zebra", "--study.design.documents=4"
    )
    key = human_study.read_key(study)
    self.assertEqual(key["systems"], ["walrus", "reference", "zebra"])
    html = self.packets(study)["rater-01"]
    document = key["documents"][0]["id"]
    self.assertIn(human_study.text_of("author", "sentence", document), html)

  @parameterized.parameters(
    (["--systems=zebra"], "two systems or more, --systems leaves 1"),
    (["--systems=zebra,yak"], "yak is not among the systems; there are zebra, quokka, walrus, ref"),
    (["--systems=zebra,zebra"], "names zebra twice"),
    (["--study.design.documents=13"], "only 12 evaluated documents"),
    (["--study.design.tasks=pairwise,ranking"], "study.design.tasks has 'ranking'"),
    (["--study.design.documnets=3"], "did you mean study.design.documents"),
    (["--study.design.levels="], "study.design.levels is empty"),
    (["--study.design.repeats=0.9"], "study.design.repeats is 0.9; it must be between"),
    (["--study.design.criteria=fluency,faithfulness"], "faithfulness, which nobody can judge"),
    (["--study.design.show=text"], "no config names the corpus"),
    (["--study.design.show=reference", "--systems=zebra,reference"], "leave one of the two out"),
    (["--study=nowhere.toml"], r"--study=nowhere\.toml cannot be read"),
    (["--study=."], r"--study=\. is a folder; --action=export takes a TOML"),
    (["--workdir=x"], "--workdir has no meaning with --mode=human_eval --action=export"),
    (["--input=x"], "--input has no meaning with --mode=human_eval --action=export"),
  )
  def test_refused(self, argv, pattern):
    human_study.write_evaluation(self.folder / "run")
    output = self.folder / "study"
    status, out, err = human_study.run_main(
      "--action=export",
      f"--runs={self.folder / 'run'}",
      "--split=test",
      f"--output={output}",
      "--study.design.show=",
      human_study.CRITERIA,
      *argv,
    )
    self.assertEqual((status, out), (2, ""), err)
    self.assertRegex(err, f"^htmtl_jax: error: .*{pattern}.*\n$")
    self.assertFalse(output.exists())

  def test_another_corpus_is_refused(self):
    config = human_study.write_papers(self.folder / "other", count=6)
    human_study.write_evaluation(self.folder / "run")
    status, _, err = human_study.run_main(
      "--action=export",
      f"--runs={self.folder / 'run'}",
      "--split=test",
      f"--output={self.folder / 'study'}",
      f"--config={config}",
    )
    self.assertEqual(status, 2)
    self.assertIn("6 of 12 evaluated documents are not in this corpus, corpusdoc-", err)

  def test_a_study_is_not_written_over(self):
    study = human_study.export(self.folder, "--study.design.documents=4")
    before = (study / "key.json").read_bytes()
    status, _, err = human_study.run_main(
      "--action=export",
      f"--runs={self.folder / 'run'}",
      "--split=test",
      f"--output={study}",
      "--study.design.show=",
      human_study.CRITERIA,
      "--study.design.documents=4",
    )
    self.assertEqual(status, 2)
    self.assertIn("holds a study already", err)
    self.assertEqual((study / "key.json").read_bytes(), before)


class SettingsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

  def load(self, text, *overrides):
    path = self.folder / "study.toml"
    path.write_text(text)
    return load_study(str(path), overrides)

  def test_file_and_command_line(self):
    study = self.load(
      '[design]\ndocuments = 40\ntasks = ["likert"]\n'
      "[analysis]\nalpha = 0.01\npower_likert = [1, 0.5]\n",
      "study.design.documents=41",
      "study.simulation.qualities=1,0.5",
    )
    self.assertEqual((study.design.documents, study.design.tasks), (41, ("likert",)))
    self.assertEqual((study.analysis.alpha, study.analysis.power_likert), (0.01, (1.0, 0.5)))
    self.assertEqual(study.simulation.qualities, (1.0, 0.5))
    self.assertEqual(study.design.raters, 3)

  @parameterized.parameters(
    ("[desing]\n", "'desing' is no section; there are"),
    ("documents = 3\n", "'documents' is no section"),
    ("[design]\ndocs = 3\n", r"unknown key 'docs' in \[design\]; there are compare_by"),
    ('[design]\ndocuments = "3"\n', r"documents in \[design\] is '3'; write it as 30"),
    ('[design]\nshow = "text"\n', r'write it as a list, \["text", ...\]'),
    ("[design\n", "is not TOML"),
    ('[design]\npairs = "some"\n', "study.design.pairs='some' is unknown"),
    ("[design]\nraters_per_document = 9\n", "must be between 0 and 3"),
    ("[analysis]\npower_likert = [9.5]\n", r"power_likert\[0\] is 9.5"),
  )
  def test_wrong_files(self, text, pattern):
    with self.assertRaisesRegex(UserError, pattern):
      self.load(text)


if __name__ == "__main__":
  absltest.main()
