"""Papers in the form of the raw release, with every known defect, and what should become of them."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import tempfile
import zipfile

from absl.testing import parameterized

from htmtl_jax.datasets import papers

LONG = "the {} was measured in all of the samples ."  # long enough to count as a copy
ARXIV_FOLDER = os.path.join("htmtl_papers", "arxiv", "1.0.0")
FILES = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}


def make_record(paper_id, article=None, sections=None, names=None, abstract=None):
  """One record; without more, a sound one of two sections."""
  if article is None:
    sections = [[LONG.format(f"{paper_id} mass"), "it was high ."], ["we stop ."]]
    article = [s for section in sections for s in section]
  if abstract is None:
    abstract = [f"<S> we measured {paper_id} . </S>"]
  if names is None:
    names = [f"part {i}" for i in range(len(sections))]
  return {
    "article_id": paper_id,
    "article_text": article,
    "abstract_text": abstract,
    "labels": None,
    "section_names": names,
    "sections": sections,
  }


def make_defective_records():
  """Records that hold every defect of the release, by id."""
  a, b, c, d = (LONG.format(x) for x in ("length", "width", "height", "depth"))
  return {
    # ['']/[] with their names; a label; two sentences in one item of the abstract.
    "empty_sections": make_record(
      "empty_sections",
      [a, b],
      [[""], [a], [], [b]],
      ["[sec:none]none", "[sec:intro]introduction", "nothing", "the end [sec:end]"],
      ["<S> one . </S> <S> two . </S>", "<S>  </S>", "<S> three . </S>"],
    ),
    "foreign": make_record("foreign", [a, b], [[a, "not in the article ."], [b], ["nor this ."]]),
    # The parent repeats its children.
    "copies": make_record("copies", [a, b, c, d], [[a], [b, c, d], [b], [c, d]]),
    # The article itself repeats a long sentence, and a short one, which stays.
    "repeats": make_record("repeats", [a, "yes .", b, a, "yes ."], [[a, "yes ."], [b, a, "yes ."]]),
    "names": make_record("names", [a, b], [[a], [b]], ["introduction", "methods", "results"]),
    "homeless": make_record("homeless", [c, a, d, b], [[a], [b]]),
    "moved": make_record("moved", [a, b, c], [[b, a], [c]]),
    "no_sections": make_record("no_sections", [a, b], [], []),
    "no_abstract": make_record("no_abstract", [a], [[a]], abstract=[]),
  }


def make_empty_record(paper_id):
  return make_record(paper_id, [], [[""], []], ["introduction", "methods"])


def make_defective_release():
  """(records by split); the train split is the one that also holds unusable lines."""
  sound = lambda *ids: [make_record(i) for i in ids]
  return {
    "train": [
      *sound("z", "y"),
      *make_defective_records().values(),
      make_empty_record("train_empty"),
      make_record("y"),
      "{not json",
      *sound("a"),
    ],
    "validation": [*sound("v2"), make_empty_record("v_empty"), *sound("v1")],
    "test": [*sound("t9"), make_empty_record("t_empty"), *sound("t1", "t1", "t5")],
  }


def write_release(folder, records_of_split, form="txt", name="arxiv-dataset"):
  """Writes a release as a folder of .txt or .txt.gz files or as a zip; returns the path."""
  path = os.path.join(folder, name)
  texts = {
    FILES[split]: "".join(
      (record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records
    ).encode()
    for split, records in records_of_split.items()
  }
  if form == "zip":
    with zipfile.ZipFile(path + ".zip", "w", zipfile.ZIP_DEFLATED) as archive:
      for file, text in texts.items():
        archive.writestr(f"__MACOSX/{name}/._{file}", b"resource fork")
        archive.writestr(f"{name}/{file}", text)
    return path + ".zip"
  os.makedirs(path)
  for file, text in texts.items():
    ending = ".gz" if form == "gz" else ""
    with (gzip.open if ending else open)(os.path.join(path, file + ending), "wb") as handle:
      handle.write(text)
  return path


class PapersTestCase(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.enter_context(tempfile.TemporaryDirectory())
    self.raw = self.make_folder("raw")
    self.data_dir = os.path.join(self.folder, "data")
    self.stderr = self.enter_context(contextlib.redirect_stderr(io.StringIO()))

  def make_folder(self, name):
    path = os.path.join(self.folder, name)
    os.makedirs(path)
    return path

  def prepare(self, config="arxiv", data_dir=None, raw=None):
    raw = self.raw if raw is None else raw
    return papers.prepare(config, data_dir or self.data_dir, raw)

  def read_report(self, dataset):
    with open(os.path.join(dataset.folder, "repairs.json"), encoding="utf-8") as handle:
      return json.load(handle)

  def write_many(self, num_documents, **kwargs):
    ids = [f"{hashlib.md5(str(i).encode()).hexdigest()[:6]}" for i in range(num_documents)]
    records = {
      "train": [make_record(i) for i in ids],
      "validation": [make_record(f"v{i}") for i in range(3)],
      "test": [make_record(f"t{i}") for i in range(3)],
    }
    write_release(self.raw, records, **kwargs)
    return ids
