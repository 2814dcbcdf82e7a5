"""How much memory and time it takes to make a dataset of a raw release, and to read it.

    python benchmarks/datasets_memory.py --megabytes=250 [--form=zip] [--folder=DIR]

Writes a release of generated papers of the real size (35 kB, a seventh of the sections copies, as
parents that repeat their children make them), makes the dataset in one child process and
reads it in another, and prints their peak resident memory and documents a second. What it
wrote is deleted at the end. To go beyond the 1,000 MiB of records that TFDS itself would
keep in memory, say --megabytes=2500: the text is about half of the release's bytes.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zipfile

_REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_NUM_SECTIONS = 6
_SENTENCES = 32  # of a section
_HELD_OUT = 100  # papers of each of the other splits

_READ = """
import sys
from htmtl_jax.datasets import papers
dataset = papers.prepare("arxiv", sys.argv[1])
ids = [document.id for document in dataset.iterate("train")]
assert ids == [f"train-{i}" for i in range(len(ids))] and len(ids) == int(sys.argv[2])
"""


def make_paper(paper_id: str, pool: list[str], random_source: random.Random) -> dict:
  """A paper whose first section repeats the second."""
  sentences = random_source.sample(pool, _NUM_SECTIONS * _SENTENCES)
  sections = [sentences[i * _SENTENCES : (i + 1) * _SENTENCES] for i in range(_NUM_SECTIONS)]
  sections[0] = sections[0] + sections[1]
  return {
    "article_id": paper_id,
    "article_text": sentences,
    "abstract_text": [f"<S> {s} </S>" for s in sentences[::20]],
    "labels": None,
    "section_names": [f"[sec:{i}]section {i}" for i in range(_NUM_SECTIONS)],
    "sections": sections,
  }


def write_release(folder: str, num_bytes: int, form: str) -> tuple[int, int]:
  """Returns (training papers, bytes of train.txt)."""
  random_source = random.Random(0)
  letters = "abcdefghijklmnopqrstuvwxyz"
  words = [
    "".join(random_source.choices(letters, k=random_source.randint(2, 8))) for _ in range(9999)
  ]
  pool = [" ".join([*random_source.choices(words, k=13), "."]) for _ in range(20_000)]
  path = os.path.join(folder, "arxiv-dataset")
  os.makedirs(path)
  count = written = 0
  for file in ("val", "test", "train"):
    count = written = 0
    with open(os.path.join(path, f"{file}.txt"), "w", encoding="utf-8") as handle:
      while written < num_bytes if file == "train" else count < _HELD_OUT:
        line = json.dumps(make_paper(f"{file}-{count}", pool, random_source))
        written += handle.write(line + "\n")
        count += 1
  if form == "zip":
    with zipfile.ZipFile(f"{path}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
      for file in ("train", "val", "test"):
        text = os.path.join(path, f"{file}.txt")
        archive.write(text, f"arxiv-dataset/{file}.txt")
        os.remove(text)
    os.rmdir(path)
  return count, written


def run_child(command: list[str]) -> tuple[float, float]:
  """Returns (seconds, peak resident MiB) of a program that has to succeed."""
  started = time.perf_counter()
  process = subprocess.Popen([sys.executable, *command], cwd=_REPOSITORY, stdout=subprocess.DEVNULL)
  _, status, usage = os.wait4(process.pid, 0)
  if status:
    raise SystemExit(f"failed: {' '.join(command)}")
  scale = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
  return time.perf_counter() - started, usage.ru_maxrss * scale / 2**20


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--megabytes", type=float, default=250, help="size of train.txt")
  parser.add_argument("--form", choices=("txt", "zip"), default="txt")
  parser.add_argument("--folder", help="where to write it (default: a temporary folder)")
  arguments = parser.parse_args()
  with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
    count, written = write_release(folder, int(arguments.megabytes * 1e6), arguments.form)
    data_dir = os.path.join(folder, "data")
    print(f"train.txt: {count} papers, {written / 1e6:.0f} MB, {written / count / 1e3:.1f} kB each")
    seconds, peak = run_child(
      ["-m", "htmtl_jax.datasets.build", "--name=arxiv", f"--manual_dir={folder}"]
      + [f"--data_dir={data_dir}"]
    )
    print(f"make: {seconds:.1f} s, {count / seconds:.0f} documents/s, peak {peak:.0f} MiB")
    size = sum(
      os.path.getsize(os.path.join(root, name))
      for root, _, names in os.walk(data_dir)
      for name in names
    )
    seconds, peak = run_child(["-c", _READ, data_dir, str(count)])
    print(
      f"read: {seconds:.1f} s, {count / seconds:.0f} documents/s, peak {peak:.0f} MiB,"
      f" {size / 1e6:.0f} MB on disk"
    )


if __name__ == "__main__":
  main()
