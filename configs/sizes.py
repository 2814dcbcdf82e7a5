"""Sizes of the model, and of documents, for the configs of large corpora. Not an experiment.

    --config=configs/arxiv.py:large            a size
    --config=configs/pubmed.py:xl,128k         a size, and documents of up to 131,072 tokens
"""

import ml_collections

from configs import variants

# Layers: tokens, paragraphs, sections, document, decoder; from small on, half of the parameters lie in
# the first and the last (without embeddings). Heads are 64 wide, 128 at xl.
#          width heads layers            peak learning rate
SIZES = {
  "tiny": (128, 2, (2, 2, 1, 1, 2), 2e-3),
  "small": (256, 4, (6, 5, 2, 2, 6), 1e-3),
  "base": (512, 8, (6, 5, 3, 3, 6), 5e-4),
  "large": (1024, 16, (8, 6, 2, 2, 6), 3e-4),
  "xl": (1536, 12, (10, 6, 2, 2, 8), 2e-4),
}
# What takes more than a chip's memory in parameters and optimiser state is stored in slices.
_SLICED = ("large", "xl")
LONG = "128k"


def choose(config: ml_collections.ConfigDict, argument: str) -> None:
  """Sets the size named in front of the comma, and long documents if "128k" stands behind it."""
  name, comma, length = argument.partition(",")
  set_size(config, name or "base")
  if comma:
    variants.choose(length, {LONG: None})
    make_long(config)


def set_size(config: ml_collections.ConfigDict, name: str) -> None:
  """Sets width, layers, learning rate, and how the state is stored."""
  width, heads, layers, learning_rate = variants.choose(name, SIZES)
  model = config.model
  model.width, model.num_heads, model.mlp_width = width, heads, 4 * width
  model.token_layers, model.paragraph_layers, model.section_layers = layers[:3]
  model.document_layers, model.decoder_layers = layers[3:]
  config.optimizer.learning_rate = learning_rate
  if name in _SLICED:
    config.mesh.data, config.mesh.fsdp = 1, -1
    model.scan_unroll = 1  # so that one layer's slices at a time are brought together


def make_long(config: ml_collections.ConfigDict) -> None:
  """Documents of up to 131,072 tokens, and buckets for them."""
  config.data.max_input_tokens = 131072
  # Few papers are that long, so that few buckets do; 6% more slots than tokens, as below 16k.
  config.layout.buckets = (*config.layout.buckets, (272, 1216), (544, 1216), (1088, 1216))
  config.train.batch_token_rows = 1088
