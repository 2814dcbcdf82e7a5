"""The flat Transformer: what HTMTL is compared with, everything else being equal.

    python -m htmtl_jax.main --config=configs/flat_transformer.py:papers_tiny \
        --config.data.path=FOLDER_OF_JSONL --workdir=runs/flat --mode=train

Behind the colon stands the config whose data, sizes and steps it takes; without one,
papers_base. Same tokens, batches, targets, decoder, copy gate and number of parameters.
Its encoder is one stack over the tokens in reading order, each attending to the text
around it (block-local, so that it reads documents of the same length at linear cost);
the decoder reads token states alone. It knows no segments, so there is no importance:
nothing gates the memory, no coverage, no term against covering twice; nor diversity, so
that it is trained by cross-entropy alone.
"""

from configs import variants


def get_config(base: str = "papers_base"):
  config = variants.start_from(base)
  change(config)
  return config


def change(config) -> None:
  """Turns an experiment with HTMTL into the same one with a flat Transformer, in place."""
  variants.make_flat(config)
  config.model.memory = "tokens"
  config.model.importance = "uniform"
  config.model.importance_gate = False
  config.loss.importance = 0.0
  config.loss.coverage = 0.0
  config.loss.twice = 0.0
  config.loss.diversity = 0.0
