"""PubMed papers (Cohan et al. 2018; 119,924 for training), the base size.

    python -m htmtl_jax.datasets.build --name=pubmed [--manual_dir=FOLDER_OF_THE_RAW_RELEASE]
    python -m htmtl_jax.main --config=configs/pubmed.py --workdir=runs/pubmed --mode=train

The first command downloads the raw release unless it is given the folder; without it the
second does the same. Not run yet: it needs the release and an accelerator.
"""

from configs import papers_base


def get_config():
  config = papers_base.get_config()
  config.data.source = "tfds"
  config.data.name = "pubmed"
  config.data.exclude = ()
  return config
