"""Real papers on a CPU: shows that everything works, not how well it can.

    python -m htmtl_jax.main --config=configs/papers_tiny.py --workdir=runs/papers_tiny --mode=train \
        --config.data.path=FOLDER_OF_JSONL

100 steps; preparing the corpus comes first, and takes minutes the first time.
"""

from configs import base


def get_config():
  config = base.get_config()
  config.data.source = "jsonl"
  config.data.exclude = ("tech_docs",)
  config.data.importance_labels = True
  config.data.max_input_tokens = 8192
  config.tokenizer.vocab_size = 8000

  # Two sizes compile fast; configs/base.py has those that waste less.
  config.layout.buckets = ((48, 1216), (72, 1216))
  config.layout.min_sections = 32
  config.layout.paragraphs_per_token_row = 3.5

  config.model.width = 64
  config.model.num_heads = 2
  config.model.mlp_width = 128
  config.model.token_layers = 1
  config.model.paragraph_layers = 1
  config.model.section_layers = 1
  config.model.document_layers = 1
  config.model.decoder_layers = 2
  config.model.residual_init = "unit"  # as when docs/results.md was measured; one or two layers
  config.model.top_down_mlps = "all"  # likewise
  config.model.dropout = 0.0
  config.model.dtype = "float32"

  config.loss.importance = 0.5
  config.loss.ramp_start = 50
  config.loss.ramp_steps = 50
  config.loss.importance_ramp_steps = 20

  config.optimizer.learning_rate = 2e-3
  config.optimizer.schedule = "cosine"
  config.optimizer.warmup_steps = 20
  config.optimizer.schedule_steps = 100

  config.train.num_steps = 100
  config.train.batch_token_rows = 72
  config.train.log_every = 5
  config.train.checkpoint_every = 20
  config.train.evaluate_every = 100
  config.train.validation_documents = 16

  config.decode.beam_size = 2
  config.evaluate.max_documents = 8
  config.evaluate.batch_token_rows = 128
  return config
