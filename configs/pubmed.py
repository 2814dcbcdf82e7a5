"""PubMed papers (Cohan et al. 2018; 119,924 for training), at one of five sizes.

    python -m htmtl_jax.datasets.build --name=pubmed [--manual_dir=FOLDER_OF_THE_RAW_RELEASE]
    python -m htmtl_jax.main --config=configs/pubmed.py --workdir=runs/pubmed --mode=train

The first command downloads the raw release unless it is given the folder; without it the
second does the same. Behind a colon may stand the size and, for documents of up to 131,072
tokens in place of 16,384, the length:

    --config=configs/pubmed.py:large     tiny, small, base (the default), large, xl
    --config=configs/pubmed.py:xl,128k

Not run yet: it needs the release and an accelerator. What each needs at least was planned by

    python -m htmtl_jax.main --mode=plan --config=configs/pubmed.py:SIZE --topology=TOPOLOGY

A step takes so many documents of so many token slots; TFLOPs are the useful ones of a step, hours
those of a whole run at the roofline; h100 and h200 are estimates. More in docs/scaling.md.
The rows were planned with configs/arxiv.py, which differs in the papers alone.

<!-- table: plans -->

    SIZE        TOPOLOGY   mesh           documents   GB a chip  TFLOPs      hours, steps
    tiny        v5e:1x1    one device    7 x 17,408    1.9 (16)       1   0.5 for 100,000
    small       v5e:2x2    data=4        8 x 17,408    2.7 (16)      10   0.5 for 100,000
    base        h100:8     data=8        8 x 17,408    3.3 (80)      31   0.6 for 100,000
    base        v5e:4x4    data=16      16 x 17,408    3.2 (16)      61   0.7 for 100,000
    base        v6e:2x4    data=8        8 x 17,408    3.2 (32)      31   0.3 for 100,000
    large       h100:8     fsdp=8        8 x 17,408    8.0 (80)     127   1.4 for 100,000
    large       v5p:2x2x4  fsdp=16      16 x 17,408    7.7 (95)     253   1.7 for 100,000
    large       v6e:4x4    fsdp=16      16 x 17,408    7.7 (32)     253   1.1 for 100,000
    xl          h200:16    fsdp=16      16 x 17,408  14.8 (141)     678   4.6 for 100,000
    xl          v5p:2x4x4  fsdp=32      32 x 17,408   14.3 (95)   1,356   2.9 for 100,000
    xl          v6e:4x8    fsdp=32      32 x 17,408   14.3 (32)   1,356   2.2 for 100,000
    small,128k  v5e:2x2    data=4       4 x 139,264    8.9 (16)      38   2.8 for 100,000
    base,128k   v5p:2x2x2  data=8       8 x 139,264   17.9 (95)     230   5.1 for 100,000
    large,128k  v5p:2x2x4  fsdp=16     16 x 139,264   50.6 (95)   1,923  11.7 for 100,000
    xl,128k     v5p:2x4x4  fsdp=32     32 x 139,264   60.0 (95)  10,295  20.9 for 100,000
    xl,128k v5p:2x4x4: with --config.model.remat=dots

<!-- end -->
"""

from configs import papers_base, sizes


def get_config(argument: str = ""):
  config = papers_base.get_config()
  config.data.source = "tfds"
  config.data.name = "pubmed"
  config.data.exclude = ()
  sizes.choose(config, argument)
  return config
