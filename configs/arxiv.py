"""arXiv papers (Cohan et al. 2018; 203,037 for training), at one of four sizes.

    python -m htmtl_jax.datasets.build --name=arxiv [--manual_dir=FOLDER_OF_THE_RAW_RELEASE]
    python -m htmtl_jax.main --config=configs/arxiv.py --workdir=runs/arxiv --mode=train

The first command downloads the raw release unless it is given the folder; without it the
second does the same. Behind a colon may stand the size and, for documents of up to 131,072
tokens in place of 16,384, the length:

    --config=configs/arxiv.py:large     small, base (the default), large, xl
    --config=configs/arxiv.py:xl,128k

What each needs stands in docs/scaling.md. Not run yet: it needs the release and an accelerator.
"""

from configs import papers_base, sizes


def get_config(argument: str = ""):
  config = papers_base.get_config()
  config.data.source = "tfds"
  config.data.name = "arxiv"
  config.data.exclude = ()
  sizes.choose(config, argument)
  return config
