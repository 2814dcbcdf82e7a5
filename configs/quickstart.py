"""The first five minutes: a small model on generated papers, on two CPU cores.

python -m htmtl_jax.main --config=configs/quickstart.py --workdir=runs/quickstart --mode=train
"""

from configs import base


def get_config():
  config = base.get_config()
  config.data.source = "synthetic"
  config.data.num_train = 3000
  config.data.max_input_tokens = 2048
  config.data.max_target_tokens = (32, 96, 128)
  config.tokenizer.vocab_size = 1200
  config.tokenizer.model_type = "bpe"  # generated text suits it better, see data/tokenizer.py

  config.layout.buckets = ((9, 256), (12, 288))
  config.layout.min_sections = 8
  config.layout.row_sentences = 16
  config.layout.row_paragraphs = 8
  config.layout.paragraph_units = 8

  config.model.width = 96
  config.model.num_heads = 2
  config.model.mlp_width = 192
  config.model.token_layers = 1
  config.model.paragraph_layers = 1
  config.model.section_layers = 1
  config.model.document_layers = 1
  config.model.decoder_layers = 2
  config.model.residual_init = "unit"  # as when its results were measured; one or two layers
  config.model.top_down_mlps = "all"  # likewise
  config.model.dropout = 0.0
  config.model.dtype = "float32"

  config.loss.ramp_start = 60
  config.loss.ramp_steps = 40
  config.loss.importance_ramp_steps = 50

  config.optimizer.learning_rate = 3e-3
  config.optimizer.schedule = "cosine"
  config.optimizer.warmup_steps = 40
  config.optimizer.schedule_steps = 280

  config.train.num_steps = 280
  config.train.batch_token_rows = 72
  config.train.log_every = 10
  config.train.checkpoint_every = 140
  config.train.evaluate_every = 140

  config.decode.beam_size = 1
  config.decode.min_tokens = (1, 1, 1)
  config.decode.max_tokens = (32, 96, 128)
  config.decode.no_repeat_ngram = (0, 0, 0)
  return config
