"""Real papers, the base size: for one accelerator or a few.

    python -m htmtl_jax.main --config=configs/papers_base.py --workdir=runs/papers --mode=train \
        --config.data.path=FOLDER_OF_JSONL

Not run yet: it needs an accelerator.
"""

from configs import base


def get_config():
  config = base.get_config()
  config.data.source = "jsonl"
  config.data.exclude = ("tech_docs",)
  config.data.importance_labels = True
  config.loss.importance = 0.5
  return config
