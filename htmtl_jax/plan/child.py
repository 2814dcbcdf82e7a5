"""The process that compiles; `compiler.compile_step` starts it.

    python -m htmtl_jax.plan.child FOLDER      with FOLDER/request.json in it

Leaves facts.json before the compiler starts, then memory.json and program.txt.
"""

import json
import math
import pathlib
import sys

import jax

from htmtl_jax.ahead_of_time import LoweredStep, lower_train_step, tpu_devices
from htmtl_jax.config import from_json, get_frozen
from htmtl_jax.errors import UserError
from htmtl_jax.layout import Bucket, LayoutConfig, make_bucket
from htmtl_jax.plan.compiler import FACTS, MEMORY, PROGRAM, REQUEST
from htmtl_jax.plan.topology import TPU, parse_topology
from htmtl_jax.sharding import MeshConfig, batch_multiple, make_mesh


def devices_of(topology: str) -> list:
  """The devices to compile for."""
  if parse_topology(topology).kind == TPU:
    return tpu_devices(topology)
  return jax.devices()


def facts_of(step: LoweredStep, bucket: Bucket, documents: int, mesh) -> dict:
  """What is known before the compiler starts; bytes are those that one device holds."""
  devices = mesh.devices.flatten()
  return {
    "device_kind": devices[0].device_kind,
    "devices": len(devices),
    "mesh": dict(mesh.shape),
    "documents": documents,
    "token_rows": bucket.token_rows,
    "tokens": documents * bucket.tokens,
    "target_tokens": documents * bucket.target_tokens,
    "parameters": step.parameters,
    "useful_flops": step.useful_flops,
    "parameter_bytes": bytes_on_a_device(step.state.params),
    "optimizer_bytes": bytes_on_a_device((step.state.step, step.state.opt_state)),
    "batch_bytes": bytes_on_a_device(step.batch),
    "jax": jax.__version__,
  }


def bytes_on_a_device(arrays) -> int:
  """Bytes that one device holds of a tree of shapes with shardings."""
  return sum(
    math.prod(array.sharding.shard_shape(array.shape)) * array.dtype.itemsize
    for array in jax.tree.leaves(arrays)
  )


def compile_request(folder: pathlib.Path) -> None:
  """Traces and compiles what folder/request.json asks for."""
  request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
  config = from_json(json.dumps(request["config"]))
  mesh_config = get_frozen(config.mesh, MeshConfig, "mesh")
  mesh = make_mesh(mesh_config, devices_of(request["topology"]))
  layout = get_frozen(config.layout, LayoutConfig, "layout")
  bucket = make_bucket(layout, request["token_rows"], request["target_tokens"])
  # As training makes its batches: as many documents as fit, filled with blanks (`data/pipeline.py`).
  wanted = request["documents"] or max(1, config.train.batch_token_rows // bucket.token_rows)
  multiple = batch_multiple(mesh) * config.train.accumulate
  documents = -(-wanted // multiple) * multiple
  step = lower_train_step(config, bucket, documents, mesh)
  write = lambda name, text: (folder / name).write_text(text, encoding="utf-8")
  facts = facts_of(step, bucket, documents, mesh) | {"documents_wanted": wanted}
  write(FACTS, json.dumps(facts))
  compiled = step.lowered.compile()
  memory = compiled.memory_analysis()
  if memory is not None:
    names = ("argument", "output", "alias", "temp", "generated_code")
    sizes = {name: getattr(memory, f"{name}_size_in_bytes") for name in names}
    write(MEMORY, json.dumps(sizes | {"peak": memory.peak_memory_in_bytes}))
  write(PROGRAM, compiled.as_text())


def main() -> int:
  try:
    compile_request(pathlib.Path(sys.argv[1]))
  except UserError as error:
    print(error, file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main())
