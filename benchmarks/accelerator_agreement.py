"""Does the accelerator compute what the CPU computes? One small batch, both ways.

The reference is the CPU in float32. Against it stand the accelerator in float32 at the
highest matmul precision, where only the order of sums may differ, and in bfloat16, as
training runs. Compared: target log-probabilities, importance, every loss term,
gradients, and a greedy decode, whose text the *CPU's* full forward pass scores again, so
that cached steps on the accelerator are held against whole passes on the CPU.
"""

import dataclasses
import math

import flax.linen as nn
import jax
import numpy as np

from htmtl_jax.data.packing import blank_document, pack_document, pack_targets, stack_documents
from htmtl_jax.data.tokenized import TokenizedDocument
from htmtl_jax.decoding import DecodeConfig, make_decoder
from htmtl_jax.layout import Batch, Bucket
from htmtl_jax.levels import NUM_LEVELS
from htmtl_jax.losses import LossConfig, count_weights, loss_terms, normalise_terms, total_loss
from htmtl_jax.models.config import ModelConfig
from htmtl_jax.models.htmtl import Htmtl
from htmtl_jax.sharding import MeshConfig, make_mesh, put_batch
from htmtl_jax.train_step import under_mesh

NUM_DOCUMENTS = 4
MAX_TARGET_TOKENS = (16, 32, 40)  # by level: all three have tokens in the small bucket
MAX_OUTPUT_TOKENS = (8, 20, 24)
ALL_ON = 1_000_000  # a step at which every ramp is over

# Largest error by quantity. Errors are ||a - b|| / ||b||, for losses |a - b| / max(|b|, 0.1);
# "decode_ids" is the share of output tokens that differ. bfloat16 keeps 8 bits, so each
# operation is off by up to 0.4%, and a greedy decode may rightly take another way.
TOLERANCES = {
  "float32": {
    "log_probs": 1e-3,
    "importance": 1e-3,
    "losses": 1e-3,
    "gradients": 1e-3,
    "worst_gradient": 1e-2,
    "decode_scores": 1e-3,
    "decode_ids": 0.05,
  },
  "bfloat16": {
    "log_probs": 3e-2,
    "importance": 5e-2,
    "losses": 5e-2,
    "gradients": 0.1,
    "worst_gradient": 0.5,
    "decode_scores": 5e-2,
  },
}


@dataclasses.dataclass(frozen=True)
class Outputs:
  """What one device computed, as NumPy arrays.

  Attributes:
    log_probs: [targets] of the real target tokens.
    importance: [segments] log importance of the real segments of the three levels.
    losses: by name, the total among them.
    gradients: by parameter.
    ids: [B, 3, T] greedy output; lengths: [B, 3]; scores: [B, 3] its log-probability.
  """

  log_probs: np.ndarray
  importance: np.ndarray
  losses: dict[str, float]
  gradients: dict[str, np.ndarray]
  ids: np.ndarray
  lengths: np.ndarray
  scores: np.ndarray


def make_fixed_batch(documents, bucket: Bucket) -> tuple[Batch, np.ndarray]:
  """The first documents, source and targets cut to a small bucket; and pieces of each [B]."""
  chosen = [_shorten(documents[i]) for i in range(min(NUM_DOCUMENTS, len(documents)))]
  packed = [pack_document(document, bucket)[0] for document in chosen]
  packed += [blank_document(bucket)] * (NUM_DOCUMENTS - len(packed))
  num_pieces = [min(document.num_pieces, 3) for document in chosen]
  num_pieces += [0] * (NUM_DOCUMENTS - len(chosen))
  return stack_documents(packed), np.array(num_pieces, np.int32)


def _shorten(document: TokenizedDocument) -> TokenizedDocument:
  cut = lambda arrays: tuple(a[:n] for a, n in zip(arrays, MAX_TARGET_TOKENS, strict=True))
  return dataclasses.replace(
    document, target_ids=cut(document.target_ids), target_units=cut(document.target_units)
  )


def make_fixed_parameters(model: Htmtl, batch: Batch, num_units: int, seed: int):
  """Parameters drawn by NumPy, so that no device has a hand in them.

  Scales and biases are moved away from one and zero, and scores from near zero: an
  importance that is uniform, say, would agree whatever the code that computes it.
  """
  init = lambda key: nn.unbox(model.init(key, batch, num_units))["params"]
  shapes = jax.eval_shape(init, jax.random.key(seed))
  rng = np.random.default_rng(seed)

  def draw(path, leaf):
    name = jax.tree_util.keystr(path[-1:])
    noise = rng.standard_normal(leaf.shape, np.float32)
    if "scale" in name:
      return 1.0 + 0.2 * noise
    if "kernel" in name:
      # An "out" kernel reads heads times their width, any other its widest axis but the last.
      reads_heads = path[-2].key == "out"
      fan_in = math.prod(leaf.shape[-3:-1]) if reads_heads else max(leaf.shape[:-1])
      return noise * fan_in**-0.5
    return noise * (model.config.width**-0.5 if "embedding" in name else 0.2)

  return jax.tree_util.tree_map_with_path(draw, shapes)


def plant_fault(params):
  """The same parameters but for one: the tokens' query, key and value weights, 1% too large."""

  def change(path, value):
    names = [entry.key for entry in path]
    is_chosen = "sentence_transformer" in names and names[-2:] == ["qkv", "kernel"]
    return value * np.float32(1.01) if is_chosen else value

  return jax.tree_util.tree_map_with_path(change, params)


class Computer:
  """The model on one device in one dtype."""

  def __init__(self, config: ModelConfig, vocabulary_size: int, bucket: Bucket, device, dtype: str):
    self._config = dataclasses.replace(config, dtype=dtype, dropout=0.0)
    self.model = Htmtl(self._config, vocabulary_size)
    self._mesh = make_mesh(MeshConfig(), [device])
    self._bucket = bucket
    self._device = device
    # Every ramp over and every term on, so that every part has a gradient.
    self._loss = LossConfig(importance=0.5, ramp_start=0, ramp_steps=0, importance_ramp_steps=0)
    self._gradient = under_mesh(
      jax.jit(jax.value_and_grad(self._compute_loss, has_aux=True)), self._mesh
    )
    self._decode = make_decoder(
      self.model,
      DecodeConfig(beam_size=1, min_tokens=(1, 1, 1), max_tokens=MAX_OUTPUT_TOKENS),
      self._loss,
      self._mesh,
    )

  def _compute_loss(self, params, batch: Batch):
    ramp = self._loss.importance_ramp(ALL_ON)
    output = self.model.apply({"params": params}, batch, self._bucket.units, ramp)
    terms = loss_terms(output, batch, self._bucket, self._loss, self._config.copy)
    terms = normalise_terms(terms, count_weights(batch))
    loss = total_loss(terms, self._loss, ALL_ON)
    return loss, (dict(terms, loss=loss), output.log_probs, output.encoded.importance.levels())

  def compute(self, params, batch: Batch, num_pieces: np.ndarray) -> Outputs:
    """Forward, gradients and a greedy decode."""
    placed, on_device = self._place(params, batch)
    value, gradients = jax.device_get(self._gradient(placed, on_device))
    losses, log_probs, importance = value[1]
    result = jax.device_get(self._decode(placed, np.int32(ALL_ON), on_device, num_pieces))
    masks = (batch.tokens.parent_mask, batch.sentences.parent_mask, batch.section_mask)
    leaves = jax.tree_util.tree_leaves_with_path(gradients)
    return Outputs(
      log_probs=log_probs[batch.targets.mask],
      importance=np.concatenate([x[mask] for x, mask in zip(importance, masks, strict=True)]),
      losses={name: float(value) for name, value in losses.items()},
      gradients={jax.tree_util.keystr(path): np.asarray(g, np.float32) for path, g in leaves},
      ids=result.ids,
      lengths=result.lengths,
      scores=result.log_probs,
    )

  def rescore(self, params, batch: Batch, outputs: Outputs) -> np.ndarray:
    """[B, 3] log-probability of another device's output texts, by one full pass."""
    rows = []
    for ids, lengths in zip(outputs.ids, outputs.lengths, strict=True):
      texts = [ids[level, : lengths[level]] for level in range(NUM_LEVELS)]
      rows.append(pack_targets(texts, [np.zeros(len(t), np.int32) for t in texts], self._bucket))
    targets = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
    placed, on_device = self._place(params, batch.replace(targets=targets))
    (_, (_, log_probs, _)), _ = jax.device_get(self._gradient(placed, on_device))
    at_level = lambda level: np.where(targets.level == level, log_probs, 0.0).sum(-1)
    return np.stack([at_level(level) for level in range(NUM_LEVELS)], axis=-1)

  def _place(self, params, batch):
    return jax.device_put(params, self._device), put_batch(batch, self._mesh)


def relative_error(value: np.ndarray, reference: np.ndarray) -> float:
  """||value - reference|| / ||reference||; infinite where anything is not finite."""
  value, reference = np.asarray(value, np.float64), np.asarray(reference, np.float64)
  if value.shape != reference.shape or not np.isfinite(value).all():
    return float("inf")
  return float(np.linalg.norm(value - reference) / max(np.linalg.norm(reference), 1e-12))


def measure_errors(outputs: Outputs, reference: Outputs, rescored: np.ndarray) -> dict[str, float]:
  """Errors of one device by quantity, see `TOLERANCES`.

  Args:
    outputs: of the device.
    reference: of the CPU in float32.
    rescored: [B, 3] the CPU's log-probability of `outputs.ids`.
  """
  norms = {name: float(np.linalg.norm(g)) for name, g in reference.gradients.items()}
  names = sorted(norms)
  flat = lambda gradients: np.concatenate([gradients[name].ravel() for name in names])
  total = float(np.linalg.norm(list(norms.values())))
  # A parameter whose gradient is all rounding has no meaningful direction to compare.
  counted = [name for name in names if norms[name] > 1e-3 * total]
  losses = [
    abs(outputs.losses[name] - value) / max(abs(value), 0.1)
    if np.isfinite(outputs.losses[name])
    else float("inf")
    for name, value in reference.losses.items()
  ]
  longest = np.maximum(reference.lengths, outputs.lengths)
  used = np.arange(reference.ids.shape[-1]) < longest[..., None]
  return {
    "log_probs": relative_error(outputs.log_probs, reference.log_probs),
    "importance": relative_error(outputs.importance, reference.importance),
    "losses": max(losses),
    "gradients": relative_error(flat(outputs.gradients), flat(reference.gradients)),
    "worst_gradient": max(
      relative_error(outputs.gradients[name], reference.gradients[name]) for name in counted
    ),
    "decode_scores": relative_error(outputs.scores, rescored),
    "decode_ids": float((outputs.ids != reference.ids)[used].mean()),
  }


def judge(errors: dict[str, float], tolerances: dict[str, float]) -> list[dict]:
  """A row a quantity: its error, what is allowed (None: only reported), whether that holds."""
  return [
    {
      "quantity": name,
      "error": error,
      "tolerance": tolerances.get(name),
      "ok": name not in tolerances or bool(error <= tolerances[name]),
    }
    for name, error in errors.items()
  ]


def check_agreement(
  config: ModelConfig, vocabulary_size: int, documents, bucket: Bucket, device, seed: int
) -> dict:
  """Runs the whole comparison.

  Returns:
    {"ok", "planted_fault_found_in": [quantity], "reference", "documents",
     "output_tokens", "checks": [{"dtype", "quantity", "error", "tolerance", "ok"}]}.

  Raises:
    RuntimeError: where JAX was started without its CPU backend.
  """
  cpu = jax.devices("cpu")[0]
  batch, num_pieces = make_fixed_batch(documents, bucket)
  with jax.default_matmul_precision("highest"):
    computer = Computer(config, vocabulary_size, bucket, cpu, "float32")
    params = make_fixed_parameters(computer.model, batch, bucket.units, seed)
    reference = computer.compute(params, batch, num_pieces)
    checks = []
    for dtype, tolerances in TOLERANCES.items():
      if device == cpu and dtype == "float32":
        outputs = reference  # what is left to check is its decode
      else:
        precision = "highest" if dtype == "float32" else "default"
        with jax.default_matmul_precision(precision):
          other = Computer(config, vocabulary_size, bucket, device, dtype)
          outputs = other.compute(params, batch, num_pieces)
      errors = measure_errors(outputs, reference, computer.rescore(params, batch, outputs))
      checks += [{"dtype": dtype, **row} for row in judge(errors, tolerances)]
    # A comparison that accepts anything shows nothing: a small planted fault must fail it.
    faulty = computer.compute(plant_fault(params), batch, num_pieces)
    errors = measure_errors(faulty, reference, computer.rescore(params, batch, faulty))
    found = [row["quantity"] for row in judge(errors, TOLERANCES["float32"]) if not row["ok"]]
  return {
    "ok": all(row["ok"] for row in checks) and bool(found),
    "planted_fault_found_in": found,
    "reference": "CPU, float32, highest matmul precision",
    "documents": int(batch.document_mask.sum()),
    "output_tokens": int(reference.lengths.sum()),
    "checks": checks,
  }
