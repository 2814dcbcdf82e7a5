"""What is in a prepared corpus, in numbers: for the loss of nothing and the choice of buckets."""

from collections.abc import Mapping, Sequence

import numpy as np

from htmtl_jax.data.placement import choose_buckets
from htmtl_jax.layout import Bucket
from htmtl_jax.levels import LEVELS

PERCENTILES = (5, 25, 50, 75, 95, 100)
MEASURES = ("words", "tokens", "sentences", "paragraphs", "sections")
_SILVER, _GOLD = 1, 2  # as the index numbers reference kinds


def compute_statistics(
  indexes: Mapping[str, Mapping[str, np.ndarray]], settings, buckets: Sequence[Bucket]
) -> dict:
  """The content of statistics.json, but for how it was made.

  Args:
    indexes: of each split, see `shards.COLUMNS`.
    settings: `prepared.PreparationSettings`.
    buckets: that the shares of real slots are told for.

  Returns:
    {"settings", "buckets", "documents", "tokens", "truncated_tokens",
    "real_token_share", "real_target_share", "splits": {split: ...}}.
  """
  splits = {split: _describe_split(index, buckets) for split, index in indexes.items()}
  whole = {
    name: np.concatenate([index[name] for index in indexes.values()])
    for name in next(iter(indexes.values()))
  }
  total = _describe_split(whole, buckets)
  return {
    "settings": settings.to_json(),
    "buckets": [[bucket.token_rows, bucket.target_tokens] for bucket in buckets],
    **{
      name: total[name]
      for name in (
        "documents",
        "tokens",
        "truncated_documents",
        "truncated_tokens",
        "cut_target_tokens",
        "real_token_share",
        "real_target_share",
      )
    },
    "splits": splits,
  }


def _describe_split(index: Mapping[str, np.ndarray], buckets: Sequence[Bucket]) -> dict:
  bucket_of, fits = choose_buckets(index["needs"], buckets)
  slots = np.array([bucket.tokens for bucket in buckets])[bucket_of]
  target_slots = np.array([bucket.target_tokens for bucket in buckets])[bucket_of]
  targets = index["target_tokens"].sum(-1)
  share = lambda part, whole: round(float(part.sum() / max(whole.sum(), 1)), 4)
  return {
    "documents": len(bucket_of),
    **{name: int(index[name].sum()) for name in ("tokens", "sentences", "paragraphs", "sections")},
    "truncated_tokens": int(index["truncated_tokens"].sum()),
    "truncated_documents": int((index["truncated_tokens"] > 0).sum()),
    "cut_target_tokens": int(index["cut_target_tokens"].sum()),
    "cut_target_documents": int((index["cut_target_tokens"] > 0).sum()),
    # More segments than the largest bucket has room for: cut when they are packed.
    "documents_beyond_buckets": int((~fits).sum()),
    # Of the slots of each document's bucket; those that are cut count as full at most.
    "real_token_share": share(np.minimum(index["tokens"], slots), slots),
    "real_target_share": share(np.minimum(targets, target_slots), target_slots),
    "documents_by_bucket": np.bincount(bucket_of, minlength=len(buckets)).tolist(),
    "percentiles": {
      "of": list(PERCENTILES),
      **{name: _percentiles(index[name]) for name in MEASURES},
    },
    "references": {level: _describe_references(index, i) for i, level in enumerate(LEVELS)},
  }


def _describe_references(index, level: int) -> dict:
  kind = index["reference_kind"][:, level]
  words = index["reference_words"][:, level][kind > 0]
  return {
    "gold": int((kind == _GOLD).sum()),
    "silver": int((kind == _SILVER).sum()),
    "fillers": int(index["fillers"][:, level].sum()),
    "tokens": int(index["target_tokens"][:, level].sum()),
    "mean_words": float(words.mean()) if len(words) else None,
    "words": _percentiles(words),
  }


def _percentiles(values: np.ndarray) -> list[int] | None:
  if not len(values):
    return None
  return [int(round(v)) for v in np.percentile(values, PERCENTILES)]


# ------------------------------------------------------------------------ for people


def render_statistics(statistics: Mapping) -> str:
  """Tables for a terminal and for statistics.md (Markdown)."""
  splits = statistics["splits"]
  rows = [("split", "documents", "tokens", "cut off", "real slots", "real target slots")]
  for split, s in splits.items():
    rows.append(
      (
        split,
        f"{s['documents']:,}",
        f"{s['tokens']:,}",
        _describe_cut(s),
        f"{100 * s['real_token_share']:.1f}%",
        f"{100 * s['real_target_share']:.1f}%",
      )
    )
  train = splits["train"]
  lengths = [("training documents", *(_name_percentile(p) for p in PERCENTILES))]
  for name in MEASURES:
    values = train["percentiles"][name] or []
    lengths.append((name, *(f"{v:,}" for v in values)))
  references = [
    ("training references", "gold", "silver", "fillers", "mean words", "95% have up to")
  ]
  for level, r in train["references"].items():
    has_any = r["mean_words"] is not None
    references.append(
      (
        level,
        f"{r['gold']:,}",
        f"{r['silver']:,}",
        f"{r['fillers']:,}",
        f"{r['mean_words']:.0f}" if has_any else "-",
        f"{r['words'][PERCENTILES.index(95)]:,}" if has_any else "-",
      )
    )
  notes = []
  if statistics["cut_target_tokens"]:
    notes.append(
      f"{statistics['cut_target_tokens']:,} tokens of references are beyond "
      f"data.max_target_tokens={tuple(statistics['settings']['max_target_tokens'])}; scores are "
      "against the whole references."
    )
  beyond = sum(s["documents_beyond_buckets"] for s in splits.values())
  if beyond:
    notes.append(
      f"{beyond:,} documents have more segments than the largest bucket holds; what does not fit "
      "is cut when they are packed (raise layout.*_per_token_row, or add a bucket)."
    )
  return "\n\n".join([*map(_render_table, (rows, lengths, references)), *notes])


def _describe_cut(split: Mapping) -> str:
  if not split["truncated_tokens"]:
    return "nothing"
  share = split["truncated_tokens"] / (split["tokens"] + split["truncated_tokens"])
  return f"{100 * share:.1f}%, in {split['truncated_documents']:,} documents"


def _name_percentile(percentile: int) -> str:
  return {50: "median", 100: "longest"}.get(percentile, f"{percentile}%")


def _render_table(rows: Sequence[Sequence[str]]) -> str:
  widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
  line = lambda row: (
    "| "
    + " | ".join(
      cell.ljust(width) if i == 0 else cell.rjust(width)
      for i, (cell, width) in enumerate(zip(row, widths))
    )
    + " |"
  )
  rule = "| " + " | ".join("-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths))
  return "\n".join([line(rows[0]), rule + " |", *map(line, rows[1:])])


def plot_statistics(index: Mapping[str, np.ndarray], statistics: Mapping, path: str) -> None:
  """Draws the training split as an SVG: lengths, buckets, references.

  Args:
    index: of the training split.
    statistics: the content of statistics.json.
    path: of the SVG.
  """
  import matplotlib

  matplotlib.use("svg")
  from matplotlib import pyplot

  # The same statistics, the same file: no date, no random ids.
  matplotlib.rcParams["svg.hashsalt"] = "htmtl_jax"
  figure, axes = pyplot.subplots(2, 3, figsize=(13, 7), layout="constrained")
  for axis, name in zip(axes.flat, ("words", "tokens", "sentences", "paragraphs", "sections")):
    values = index[name]
    high = max(float(np.percentile(values, 99)), 1.0)
    axis.hist(np.minimum(values, high), bins=40, color="#4477aa")
    axis.axvline(float(np.median(values)), color="#222222", linewidth=1)
    axis.set_title(f"{name} a document (median {np.median(values):,.0f})", fontsize=10)
    axis.set_ylabel("documents")
  limit = statistics["settings"]["max_input_tokens"]
  if index["tokens"].max() >= 0.5 * limit:
    axes.flat[1].axvline(limit, color="#cc3311", linestyle="--", linewidth=1)
  axis = axes.flat[5]
  for level, (name, color) in enumerate(zip(LEVELS, ("#4477aa", "#ee7733", "#228833"))):
    words = index["reference_words"][:, level][index["reference_kind"][:, level] > 0]
    if len(words):
      high = max(float(np.percentile(words, 99)), 1.0)
      axis.hist(np.minimum(words, high), bins=40, histtype="step", color=color, label=name)
  axis.set_title("words a reference", fontsize=10)
  axis.legend(frameon=False)
  figure.savefig(path, metadata={"Date": None, "Creator": None})
  pyplot.close(figure)
