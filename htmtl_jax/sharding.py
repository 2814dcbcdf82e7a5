"""The one table from logical axes to mesh axes, and the mesh itself.

Model files name logical axes only. Mesh axes:

    data      documents of a batch
    fsdp      documents too, and parameters are stored in slices along it
    tensor    heads, MLP and vocabulary
    sequence  token rows: sentences never attend across rows, so a document longer
              than one device is split here at almost no cost

docs/sharding.md says what each of them sends.
"""

from collections.abc import Sequence
import dataclasses
import math

import flax.linen as nn
import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
import numpy as np

from htmtl_jax.data.batches import take_parts
from htmtl_jax.errors import UserError
from htmtl_jax.layout import Batch, Bucket

MESH_AXES = ("data", "fsdp", "tensor", "sequence")

LOGICAL_RULES = (
  # weights
  # vocab: on one dimension only, a gather from a table cut both ways is rematerialised
  ("vocab", ("tensor", "fsdp")),
  ("table", None),
  ("embed", "fsdp"),
  ("embed_out", None),
  ("heads", "tensor"),
  ("head_dim", None),
  ("qkv", None),
  ("mlp", "tensor"),
  ("layers", None),
  # activations
  ("act_batch", ("data", "fsdp")),
  ("act_row", "sequence"),
  ("act_token", None),
  ("act_target", None),
  ("act_embed", None),
  ("act_vocab", "tensor"),
)


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """Devices along each mesh axis; -1, in one place at most, takes all that are left."""

  data: int = -1
  fsdp: int = 1
  tensor: int = 1
  sequence: int = 1


def make_mesh(config: MeshConfig, devices=None) -> Mesh:
  """A named mesh over whatever devices there are; one device is a mesh of one.

  Raises:
    UserError: if the sizes do not multiply to the number of devices.
  """
  devices = jax.devices() if devices is None else devices
  sizes = [getattr(config, axis) for axis in MESH_AXES]
  if any(size == 0 or size < -1 for size in sizes) or sizes.count(-1) > 1:
    raise UserError(
      f"config.mesh: sizes {sizes} must be positive, with -1 (all that are left) at most once"
    )
  known = math.prod(size for size in sizes if size > 0)
  wanted = ", ".join(f"{axis}={size}" for axis, size in zip(MESH_AXES, sizes) if size > 1)
  if -1 in sizes:
    if len(devices) % known:
      raise UserError(
        f"config.mesh: {wanted} needs a multiple of {known} devices, but there are {len(devices)}; "
        "change config.mesh so that the product divides them"
      )
    sizes[sizes.index(-1)] = len(devices) // known
  if math.prod(sizes) != len(devices):
    raise UserError(
      f"config.mesh: {wanted or 'all axes 1'} needs {known} devices, but there are {len(devices)}; "
      "change config.mesh so that the product fits, with -1 at one axis for all that are left"
    )
  # Auto, written out: the default axis type is Explicit, which linen's constraints reject.
  axis_types = (AxisType.Auto,) * len(sizes)
  try:
    return jax.make_mesh(tuple(sizes), MESH_AXES, axis_types=axis_types, devices=devices)
  except NotImplementedError:  # two axes have to share one of the torus, as 2 x 2 of 4 on v6e:4x4
    grid = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    return Mesh(grid, MESH_AXES, axis_types=axis_types)


def batch_multiple(mesh: Mesh) -> int:
  """Documents must come in multiples of this; batches are filled with blanks to it."""
  return mesh.shape["data"] * mesh.shape["fsdp"]


def check_token_rows(mesh: Mesh, buckets: Sequence[Bucket]) -> None:
  """Refuses buckets whose token rows the devices along `sequence` cannot share.

  Raises:
    UserError: naming the first of them.
  """
  devices = mesh.shape["sequence"]
  for bucket in buckets:
    if bucket.token_rows % devices:
      raise UserError(
        f"config.mesh.sequence: {devices} devices cannot share the {bucket.token_rows} token rows of "
        "a bucket; choose a size that divides the token rows of every bucket in "
        "config.layout.buckets, or other buckets"
      )


def batch_shardings(mesh: Mesh, batch: Batch) -> Batch:
  """A sharding for every array of a batch: documents over data and fsdp, token rows over sequence."""
  documents = ("data", "fsdp")
  leading = NamedSharding(mesh, PartitionSpec(documents))
  shardings = jax.tree.map(lambda _: leading, batch)
  rows = NamedSharding(mesh, PartitionSpec(documents, "sequence"))
  if batch.token_ids.shape[-2] % mesh.shape["sequence"]:
    return shardings
  return shardings.replace(
    token_ids=rows,
    reading_order=rows,
    tokens=shardings.tokens.replace(slot=rows, position=rows),
  )


def state_shardings(mesh: Mesh, boxed_state):
  """NamedShardings for a state whose parameters carry logical axes.

  Args:
    mesh: the mesh.
    boxed_state: from `jax.eval_shape`, with linen's partitioning metadata.

  Raises:
    UserError: where a dimension is not divisible by its mesh axes.
  """
  specs = nn.get_partition_spec(boxed_state)
  shardings = nn.unbox(nn.logical_to_mesh_sharding(specs, mesh, LOGICAL_RULES))

  def place(array, spec, sharding):
    # Adafactor's factored moments carry the axes of parameters whose shape they do not have.
    return sharding if len(spec) == array.ndim and array.size > 1 else replicated(mesh)

  shardings = jax.tree.map(place, nn.unbox(boxed_state), specs, shardings)
  for path, (array, sharding) in _paired(nn.unbox(boxed_state), shardings):
    _check(path, array.shape, sharding, mesh)
  return shardings


def host_part(mesh: Mesh) -> tuple[tuple[int, ...], int]:
  """Which parts of a batch's documents this process packs: (own, parts), parts of equal size.

  A part is what one place along `data` and `fsdp` holds. Those of a host need not lie together:
  on a TPU slice a host's chips are a square of the torus. Hosts whose devices share documents (by
  `tensor` or `sequence`) have the same parts, and each device takes its slice of them.
  """
  parts = batch_multiple(mesh)
  documents = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
  places = documents.addressable_devices_indices_map((parts,)).values()
  return tuple(sorted({place[0].indices(parts)[0] for place in places})), parts


def put_batch(batch: Batch, mesh: Mesh) -> Batch:
  """Moves a batch of NumPy arrays to the devices, each to its own slice.

  With several hosts each gives its own documents, the parts that `host_part` names.
  """
  return jax.tree.map(
    lambda array, sharding: _put_part(array, sharding, mesh), batch, batch_shardings(mesh, batch)
  )


def put_documents(array: np.ndarray, mesh: Mesh) -> jax.Array:
  """Moves an array with a row for each document of a batch, as `put_batch` does."""
  return _put_part(array, NamedSharding(mesh, PartitionSpec(("data", "fsdp"))), mesh)


def take_part(array: np.ndarray, mesh: Mesh, axis: int = 0) -> np.ndarray:
  """This host's documents of an array that has all of a batch along `axis`."""
  return take_parts(array, *host_part(mesh), axis)


def put_by_host(mesh: Mesh, value: int) -> jax.Array:
  """[devices] int32, each process's own value at its devices."""
  sharding = NamedSharding(mesh, PartitionSpec(MESH_AXES))
  return jax.make_array_from_callback(
    (mesh.size,), sharding, lambda index: np.full(1, value, np.int32)
  )


def put_whole(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
  """Moves an array that every process holds whole; each of its devices gets its slice."""
  if jax.process_count() == 1:
    return jax.device_put(array, sharding)
  return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def _put_part(array, sharding: NamedSharding, mesh: Mesh) -> jax.Array:
  if jax.process_count() == 1:
    return jax.device_put(array, sharding)
  own, parts = host_part(mesh)
  size = len(array) // len(own)
  shape = (parts * size, *array.shape[1:])

  def slice_of(index):
    start = own.index(index[0].indices(shape[0])[0] // size) * size  # a device has one part
    return array[(slice(start, start + size), *index[1:])]

  return jax.make_array_from_callback(shape, sharding, slice_of)


def replicated(mesh: Mesh) -> NamedSharding:
  return NamedSharding(mesh, PartitionSpec())


def _paired(state, shardings):
  arrays = jax.tree_util.tree_leaves_with_path(state)
  leaves = jax.tree.leaves(shardings, is_leaf=lambda x: isinstance(x, NamedSharding))
  return [(jax.tree_util.keystr(path), (array, s)) for (path, array), s in zip(arrays, leaves)]


def _check(path, shape, sharding, mesh):
  for size, axes in zip(shape, sharding.spec):
    axes = (axes,) if isinstance(axes, str) else tuple(axes or ())
    parts = int(np.prod([mesh.shape[axis] for axis in axes]))
    if size % parts:
      raise UserError(
        f"config.mesh: {path} has {size} along a dimension that {'*'.join(axes)} = {parts} devices "
        "share; change the model's sizes or the mesh so that it divides"
      )
