"""What processes of one run say, wait for and save together, without a model: seconds to start.

    python -m tests.several_processes_program FOLDER --coordinator=HOST:PORT --num_processes=2 \
        --process_id=I

Two processes with two devices each. Prints one line of JSON; `several_processes_test.py` looks at it.
With `--dies=I` process I is gone all at once, while the other waits for it.
"""

import argparse
import json
import os
import pathlib
import sys
import time
from unittest import mock

import jax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from htmtl_jax import distributed, hosts, sharding
from htmtl_jax.checkpoint import CheckpointStore
from htmtl_jax.errors import UserError

LATE = 1.5  # seconds that the first is alone


def wait_for_the_first() -> dict:
  """The first comes late: the others do not wait for it in a collective operation."""
  entered = []
  allgather = multihost_utils.process_allgather

  def spy(value):
    entered.append(time.time())
    return allgather(value)

  arrived = time.time()
  with (
    mock.patch.object(hosts, "_QUIET_SECONDS", LATE / 10),
    mock.patch.object(multihost_utils, "process_allgather", spy),
  ):
    if hosts.is_first():
      time.sleep(LATE)
      arrived = time.time()
    told = hosts.gather(f"process {jax.process_index()}")
  return {"told": told, "arrived": arrived, "entered": entered[0]}


def save_and_restore(folder: pathlib.Path) -> dict:
  """Two checkpoints; what process 1 wrote into the second is cut in half."""
  mesh = sharding.make_mesh(sharding.MeshConfig(data=1, fsdp=-1))
  slices = NamedSharding(mesh, PartitionSpec("fsdp"))
  rows = lambda step: np.random.default_rng(step).normal(size=(64, 999)).astype(np.float32)
  state = lambda step: {"params": {"w": sharding.put_whole(rows(step), slices)}}
  with CheckpointStore(folder) as store:
    for step in (1, 2):
      store.save(step, state(step), {"batch": step}, metric=1 / step)
      store.wait()
  hosts.gather(None)
  if hosts.is_first():
    for path in (folder / "2" / "state" / "ocdbt.process_1").rglob("*"):
      if path.is_file() and path.stat().st_size > 50_000:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  hosts.gather(None)
  abstract = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state(1)
  )
  with CheckpointStore(folder) as store:
    try:
      store.restore(2, abstract)
      own_damage = False
    except UserError:
      raise
    except Exception:
      own_damage = True
    try:
      store.restore_params(2)
      refused = None
    except UserError as error:
      refused = str(error)
    step, restored, position = store.restore_latest(abstract)
    own = all(
      np.array_equal(shard.data, rows(step)[shard.index])
      for shard in restored["params"]["w"].addressable_shards
    )
    best = store.best_step()
    saves = store.save(2, state(3), {"batch": 2})
  return {
    "own_damage": own_damage,
    "refused": refused,
    "restored": [step, position["batch"], own],
    "best": best,
    "saves_again": saves,
  }


def put_documents() -> dict:
  """Each process gives its own parts of eight documents; every device gets its own of all."""
  documents = np.arange(8 * 3).reshape(8, 3)
  found = {}
  by_host = jax.devices()
  for name, order, sizes in (
    ("together", (0, 1, 2, 3), (4, 1, 1, 1)),
    ("a square of a torus", (0, 2, 1, 3), (2, 2, 1, 1)),
    ("one document on both", (0, 2, 1, 3), (2, 1, 1, 2)),
  ):
    mesh = Mesh(np.array([by_host[i] for i in order]).reshape(sizes), sharding.MESH_AXES)
    own, parts = sharding.host_part(mesh)
    placed = sharding.put_documents(sharding.take_part(documents, mesh), mesh)
    equal = all(
      np.array_equal(shard.data, documents[shard.index]) for shard in placed.addressable_shards
    )
    found[name] = [list(own), parts, placed.shape == documents.shape and equal]
  return found


def main() -> int:
  """The first meets an error when the others have come to their end, as of a full pipe."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("folder", type=pathlib.Path)
  for name in distributed.FLAGS:
    parser.add_argument(f"--{name}")
  parser.add_argument("--dies", type=int)
  arguments = parser.parse_args()
  try:
    with distributed.joined(vars(arguments)):
      if arguments.dies is not None:
        hosts.meet()
        if jax.process_index() == arguments.dies:
          # The other one's answer from the meeting is on its way; death would overtake it.
          while not arguments.folder.exists():
            time.sleep(0.01)
          os._exit(9)
        print("waits", flush=True)
        arguments.folder.touch()
        hosts.meet()
        return 0
      found = wait_for_the_first() | save_and_restore(arguments.folder) | put_documents()
      print(json.dumps(found), flush=True)
      if hosts.is_first():
        time.sleep(LATE)
        raise UserError("met at the end")
  except UserError:
    return distributed.leave(2)
  return distributed.leave(0)


if __name__ == "__main__":
  sys.exit(main())
