"""From measurements to a comparison: rounds merged, ratios, linearity, a table."""

from collections.abc import Sequence
import statistics

EQUAL_WITHIN = 0.05
NOT_EQUAL = ("htmtl_deep",)  # has the peers' token layers, and its segment levels beside them
OURS = ("htmtl", "htmtl_deep")
_STEADY = "steady_matmul_flops_per_second"
_SHORTEST_IN_LINEARITY = 8192


def merge_rounds(rows: Sequence[dict]) -> list[dict]:
  """One row for each (task, length, system), in order of appearance.

  Times of all rounds together; the highest memory; what went wrong in any round stands.
  """
  grouped: dict[tuple, list[dict]] = {}
  for row in rows:
    grouped.setdefault((row["task"], row["length"], row["system"]), []).append(row)
  return [_merge(own) for own in grouped.values()]


def _merge(rows: list[dict]) -> dict:
  merged = dict(next((row for row in rows if row["status"] != "ok"), rows[-1]))
  timed = [row for row in rows if row.get("seconds")]
  if not timed:
    return merged
  seconds = [s for row in timed for s in row["seconds"]]
  merged |= {name: value for name, value in timed[-1].items() if name not in merged}
  merged |= {
    "rounds": len(rows),
    "repeats": len(seconds),
    "seconds": seconds,
    "ended": [t for row in timed for t in row.get("ended", [])],
    "median_seconds": statistics.median(seconds),
    "min_seconds": min(seconds),
  }
  for name in ("peak_memory_bytes", "peak_memory_with_compilation_bytes", "other_programs_share"):
    known = [row[name] for row in timed if row.get(name) is not None]
    merged[name] = max(known) if known else None
  rates = [row[_STEADY] for row in timed if row.get(_STEADY)]
  merged[_STEADY] = statistics.median(rates) if rates else None
  return merged


def add_rates(rows: Sequence[dict], matmul_rate: float | None) -> None:
  """Adds what follows from the median: tokens, documents and FLOPs a second, floor, shares."""
  for row in rows:
    seconds = row.get("median_seconds")
    if not seconds:
      continue
    row["real_tokens_per_second"] = row["length"] / seconds
    row["documents_per_second"] = 1.0 / seconds
    if row.get("written_tokens"):
      row["written_tokens_per_second"] = row["written_tokens"] / seconds
    if row.get("useful_flops"):
      row["flops_per_second"] = row["useful_flops"] / seconds
      if matmul_rate:
        row["floor_seconds"] = row["useful_flops"] / matmul_rate
        row["share_of_matmul_rate"] = row["flops_per_second"] / matmul_rate
      if steady := row.get(_STEADY):
        row["share_of_steady_rate"] = row["flops_per_second"] / steady


def make_ratios(rows: Sequence[dict]) -> list[dict]:
  """Seconds of every other system over ours: how many times faster ours is."""
  by_key = {(row["task"], row["length"], row["system"]): row for row in rows}
  ratios = []
  for (task, length, system), row in by_key.items():
    for ours in OURS:
      own = by_key.get((task, length, ours), {})
      if system == ours or not row.get("median_seconds") or not own.get("median_seconds"):
        continue
      ratios.append(
        {
          "task": task,
          "length": length,
          "system": system,
          "ours": ours,
          "ratio": row["median_seconds"] / own["median_seconds"],
        }
      )
  return ratios


def make_linearity(rows: Sequence[dict]) -> list[dict]:
  """Of each system, time and memory per token at its longest document over a short one.

  The short one is of 8,192 tokens or the next longer one: below, what does not depend on
  the length would make the ratio look better than it is. So would the short one's padding,
  which is why time per slot is beside time per token.
  """
  found = []
  keys = dict.fromkeys((row["task"], row["system"]) for row in rows)
  for task, system in keys:
    own = [
      row
      for row in rows
      if (row["task"], row["system"]) == (task, system) and row.get("median_seconds")
    ]
    own.sort(key=lambda row: row["length"])
    long_enough = [row for row in own if row["length"] >= _SHORTEST_IN_LINEARITY]
    if len(long_enough) < 2:
      continue
    short, long = long_enough[0], long_enough[-1]
    found.append(
      {
        "task": task,
        "system": system,
        "short": short["length"],
        "long": long["length"],
        "time_per_token_ratio": _per_token_ratio("median_seconds", long, short),
        "time_per_slot_ratio": _per_token_ratio("median_seconds", long, short, "token_slots"),
        "memory_per_token_ratio": _per_token_ratio("peak_memory_bytes", long, short),
      }
    )
  return found


def _per_token_ratio(name: str, long: dict, short: dict, tokens: str = "length") -> float:
  return (long[name] / long[tokens]) / (short[name] / short[tokens])


def check_parameters(rows: Sequence[dict]) -> list[str]:
  """A line for each system whose parameters are not within 5% of `htmtl`'s."""
  known = {row["system"]: row["non_embedding_parameters"] for row in rows if "parameters" in row}
  if "htmtl" not in known:
    return []
  lines = []
  for system, count in known.items():
    difference = count / known["htmtl"] - 1.0
    if abs(difference) > EQUAL_WITHIN and system not in NOT_EQUAL:
      lines.append(
        f"{system} has {difference:+.1%} of htmtl's parameters without embeddings: not comparable"
      )
  return lines


def render(rows: Sequence[dict], ratios: Sequence[dict], linearity: Sequence[dict]) -> str:
  """Markdown tables, one for each task and length; then linearity."""
  times = {(r["task"], r["length"], r["system"], r["ours"]): r["ratio"] for r in ratios}
  blocks = []
  for task, length in dict.fromkeys((row["task"], row["length"]) for row in rows):
    lines = [
      f"{task}, {length:,} tokens",
      "",
      "| system | M parameters (no embeddings) | median s | min s | tokens/s | peak GiB | padding "
      "| useful GFLOP | floor s | of matmul rate | of steady rate | x htmtl | x htmtl_deep |",
      "| --- |" + " ---: |" * 12,
    ]
    for row in rows:
      if (row["task"], row["length"]) == (task, length):
        lines.append(_render_row(row, times))
    blocks.append("\n".join(lines))
  if linearity:
    lines = [
      "| system | task | tokens | time per token, ratio | time per slot | memory per token |",
      "| --- | --- | --- | ---: | ---: | ---: |",
    ]
    lines += [
      f"| {r['system']} | {r['task']} | {r['long']:,} / {r['short']:,} "
      f"| {r['time_per_token_ratio']:.2f} | {r['time_per_slot_ratio']:.2f} "
      f"| {r['memory_per_token_ratio']:.2f} |"
      for r in linearity
    ]
    blocks.append("\n".join(lines))
  return "\n\n".join(blocks)


def _render_row(row: dict, times: dict) -> str:
  def show(name, form, scale=1.0):
    value = row.get(name)
    return "" if value is None else format(value * scale, form)

  cells = [
    row["system"],
    show("non_embedding_parameters", ".2f", 1e-6),
    show("median_seconds", ".3f") if row["status"] == "ok" else row["status"],
    show("min_seconds", ".3f"),
    show("real_tokens_per_second", ",.0f"),
    show("peak_memory_bytes", ".2f", 2**-30),
    show("padding_share", ".1%"),
    show("useful_flops", ",.1f", 1e-9),
    show("floor_seconds", ".3f"),
    show("share_of_matmul_rate", ".0%"),
    show("share_of_steady_rate", ".0%"),
  ]
  for ours in OURS:
    ratio = times.get((row["task"], row["length"], row["system"], ours))
    cells.append("" if ratio is None else f"{ratio:.2f}")
  return "| " + " | ".join(cells) + " |"
