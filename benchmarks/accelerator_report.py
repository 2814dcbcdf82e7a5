"""accelerator.json and accelerator.md, written after every section: a timeout leaves the rest."""

from collections.abc import Iterable, Mapping
import json
import math
import os
from typing import Any

JSON_FILE = "accelerator.json"
MARKDOWN_FILE = "accelerator.md"


def write_report(output: str, record: Mapping[str, Any]) -> None:
  """Writes both files, each atomically; readers see the old or the new one."""
  _write(os.path.join(output, JSON_FILE), json.dumps(to_json(record), indent=2, allow_nan=False))
  _write(os.path.join(output, MARKDOWN_FILE), render_markdown(record))


def to_json(value: Any) -> Any:
  """Plain values; a number that is not finite becomes null, as JSON has none."""
  if isinstance(value, Mapping):
    return {str(key): to_json(v) for key, v in value.items()}
  if isinstance(value, (list, tuple)):
    return [to_json(v) for v in value]
  if hasattr(value, "tolist"):
    return to_json(value.tolist())
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def render_markdown(record: Mapping[str, Any]) -> str:
  """The record as Markdown, a table a section; every number with its unit."""
  device, settings, documents = record["device"], record["settings"], record["documents"]
  lines = [
    "# HTMTL on an accelerator",
    "",
    *_table(
      ("what", "value"),
      [
        ("device", f"{device['count']} x {device['kind']} ({device['platform']})"),
        ("software", f"JAX {device['jax']}, Python {device['python']}"),
        ("date", record["date"]),
        ("command", f"`{record['command']}`"),
        ("seed", settings["seed"]),
        ("model", f"{record['size']}, {_number(record['parameters'] / 1e6)} million parameters"),
        ("papers", f"{documents['train']} training, {documents['test']} test"),
      ],
    ),
  ]
  if settings["tiny"]:
    lines += ["", "A tiny run: it shows that everything works; its speeds and scores mean nothing."]
  sections = record["sections"]
  for name, render in _RENDERERS.items():
    state = sections.get(name)
    if state is None:
      continue
    lines += ["", f"## {name.replace('_', ' ').capitalize()}", ""]
    if state["status"] in ("done", "failed") and record.get(name):
      lines += render(record[name])
    if state["status"] != "done":
      gap = [""] if lines[-1] else []
      lines += [*gap, state["status"] + (f": {state['error']}" if state.get("error") else "")]
  return "\n".join(lines) + "\n"


def _agreement(value) -> list[str]:
  rows = [
    (
      row["dtype"],
      row["quantity"],
      _number(row["error"], 2),
      _number(row["tolerance"], 2),
      "yes" if row["ok"] else "**no**",
    )
    for row in value["checks"]
  ]
  lead = (
    f"Against {value['reference']}: {value['documents']} documents,"
    f" {value['output_tokens']} output tokens. Errors are relative, without unit."
  )
  found = ", ".join(value["planted_fault_found_in"]) or "**nothing**"
  control = f"Control: one weight matrix 1% too large, in float32, is noticed in {found}."
  table = _table(("dtype", "quantity", "error", "allowed", "holds"), rows)
  return [lead, "", *table, "", control]


def _ceiling(value) -> list[str]:
  n = value["matmul_size"]
  rows = [
    (f"bfloat16 matmul, {n} x {n} x {n}", f"{_number(value['matmul_tflops'])} TFLOP/s"),
    ("bytes read and written, elementwise", f"{_number(value['copy_gb_per_second'])} GB/s"),
  ]
  if value["data_sheet_tflops"]:
    rows.append(("data sheet, dense bfloat16", f"{_number(value['data_sheet_tflops'])} TFLOP/s"))
  return _table(("what", "value"), rows)


def _train_step(rows) -> list[str]:
  columns = {
    "token rows": lambda r: r["bucket_token_rows"],
    "documents a step": lambda r: r["documents"],
    "step, s": lambda r: _number(r["seconds_per_step"]),
    "source tokens/s": lambda r: _number(r["source_tokens_per_second"]),
    "documents/s": lambda r: _number(r["documents_per_second"]),
    "padding, %": lambda r: _percent(r["padding_share"]),
    "matmul TFLOP a step": lambda r: _number(r["matmul_tflop_per_step"]),
    "6 N TFLOP": lambda r: _number(r["six_n_tflop_per_step"]),
    "XLA's TFLOP": lambda r: _number(r["xla_tflop_per_step"]),
    "TFLOP/s a device": lambda r: _number(r["tflops_per_device"]),
    "MFU of the ceiling, %": lambda r: _percent(r["mfu_of_ceiling"]),
    "program, GB": lambda r: _giga(r["program_bytes"]),
    "peak so far, GB": lambda r: _giga(r["peak_bytes"]),
    "compile, s": lambda r: _number(r["compile_seconds"]),
  }
  note = (
    "Matmul TFLOP: counted in the traced program, loops as often as they run, padding included,"
    " nothing recomputed. XLA's own count takes the body of a loop once."
  )
  return [*_columns(columns, rows), "", note]


def _decoding(rows) -> list[str]:
  return _columns(
    {
      "beam": lambda r: r["beam_size"],
      "token rows": lambda r: r["bucket_token_rows"],
      "documents a batch": lambda r: r["documents"],
      "tokens a document": lambda r: _number(r["tokens_per_document"]),
      "batch, s": lambda r: _number(r["seconds_per_batch"]),
      "documents/s": lambda r: _number(r["documents_per_second"]),
      "output tokens/s": lambda r: _number(r["tokens_per_second"]),
      "peak so far, GB": lambda r: _giga(r["peak_bytes"]),
      "compile, s": lambda r: _number(r["compile_seconds"]),
    },
    rows,
  )


def _training(value) -> list[str]:
  lines = _table(
    ("what", "value"),
    [
      ("steps", value["steps"]),
      ("time without compilation", f"{_number(value['seconds'])} s"),
      ("compilation", f"{_number(value['compile_seconds'])} s"),
      ("passes over the papers", _number(value["epochs"])),
      ("source tokens", f"{_number(value['source_tokens_per_second'])} tokens/s"),
      ("padding", f"{_percent(value['padding_share'])} %"),
      ("finite", "yes" if value["finite"] else "**no**"),
    ],
  )
  curve = value["curve"]
  shown = curve[:: max(1, len(curve) // 10)]
  if curve and shown[-1] is not curve[-1]:
    shown = [*shown, curve[-1]]
  names = [name for name in (shown[0] if shown else {}) if name not in ("step", "seconds")]
  rows = [
    (point["step"], _number(point["seconds"]), *(_number(point[name]) for name in names))
    for point in shown
  ]
  units = [name if name == "gradient_norm" else f"{name}, nats" for name in names]
  return [*lines, "", *_table(("step", "s", *units), rows)]


def _evaluation(value) -> list[str]:
  rows = [
    ("papers", value["documents"]),
    ("speed, compilation included", f"{_number(value['documents_per_second'])} documents/s"),
    ("importance, AUC against the oracle's sentences", _number(value["importance_auc"])),
    ("held-out loss", f"{_number(value['losses']['loss'])} nats"),
  ]
  for level, words in value["mean_words"].items():
    rows += [
      (f"cross-entropy, {level}", f"{_number(value['losses'][f'ce/{level}'])} nats a token"),
      (f"length, {level}", f"{_number(words)} words"),
      (f"repeated trigrams, {level}", f"{_percent(value['repeated_trigram_share'][level])} %"),
    ]
  lines = _table(("what", "value"), rows)
  scores = value.get("scores")
  if not scores:
    return [*lines, "", f"Not scored here. To score: `{value['score_command']}`"]
  rows = [
    (
      level,
      system,
      *(f"{s['f']:.1f} ({s['low']:.1f} to {s['high']:.1f})" for s in levels[level].values()),
    )
    for level in scores["documents_per_level"]
    for system, levels in scores["systems"].items()
    if level in levels
  ]
  metrics = list(next(iter(next(iter(scores["systems"].values())).values())))
  lead = "ROUGE F, 0 to 100, mean and 95% bootstrap interval over papers."
  return [*lines, "", lead, "", *_table(("level", "system", *metrics), rows)]


_RENDERERS = {
  "agreement": _agreement,
  "ceiling": _ceiling,
  "train_step": _train_step,
  "decoding": _decoding,
  "training": _training,
  "evaluation": _evaluation,
}


def _columns(columns: Mapping[str, Any], rows) -> list[str]:
  return _table(tuple(columns), [tuple(get(row) for get in columns.values()) for row in rows])


def _table(header: Iterable[Any], rows: Iterable[Iterable[Any]]) -> list[str]:
  header = list(header)
  line = lambda cells: "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
  return [line(header), line(["---"] * len(header)), *map(line, rows)]


def _number(value, digits: int = 4) -> str:
  if value is None:
    return "–"
  return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def _percent(share) -> str:
  return "–" if share is None else f"{100.0 * share:.1f}"


def _giga(count) -> str:
  return "–" if count is None else f"{count / 1e9:.2f}"


def _write(path: str, text: str) -> None:
  temporary = f"{path}.partial"
  with open(temporary, "w", encoding="utf-8") as f:
    f.write(text)
  os.replace(temporary, path)
