"""One part of HTMTL left out, or made otherwise, at a time.

    python -m htmtl_jax.main --config=configs/ablation.py:no_coverage,papers_tiny \
        --config.data.path=FOLDER_OF_JSONL --workdir=runs/no_coverage --mode=train

Behind the colon stands what to change, and the config to start from (papers_base if none
is given). `--mode=compare` puts the runs into one table. What changes nothing about the
corpus can share one: --config.data.prepared=FOLDER.
"""

from configs import variants

# What is ablated: keys and their values.
CHANGES = {
  # The encoder is flat and of equal parameters, but segments are pooled from its tokens,
  # scored for importance, read by the decoder and covered as ever.
  "no_hierarchy": {},
  # No context flows back: the literal method of the description.
  "no_top_down": {"model.top_down": False},
  # Importance is learnt and covered, but does not decide what the decoder reads.
  "no_importance_gate": {"model.importance_gate": False},
  # Importance is not learnt: all siblings have the same, or each its own by lot.
  "uniform_importance": {"model.importance": "uniform", "loss.importance": 0.0},
  "random_importance": {"model.importance": "random", "loss.importance": 0.0},
  # Importance is learnt from the summaries alone, without labels.
  "no_importance_labels": {"loss.importance": 0.0},
  "no_coverage": {"loss.coverage": 0.0, "loss.twice": 0.0},
  "no_diversity": {"loss.diversity": 0.0},
  "no_copy": {"model.copy": False},
  # The description's own pseudo-code: one decoder a level.
  "separate_stacks": {"model.decoder_stacks": "separate"},
  # The decoder reads segments only; nothing can be copied from them.
  "segments_only": {"model.memory": "segments", "model.copy": False},
  # The benchmark's task alone, or without the one sentence.
  "single_task": {"loss.level_weights": (0.0, 1.0, 0.0)},
  "two_levels": {"loss.level_weights": (0.0, 1.0, 1.0)},
}


def get_config(argument: str = ""):
  name, _, base = argument.partition(",")
  changes = variants.choose(name, CHANGES)
  config = variants.start_from(base or "papers_base")
  if name == "no_hierarchy":
    variants.make_flat(config, keep_pools=True)
  for key, value in changes.items():
    section, leaf = key.split(".")
    config[section][leaf] = value
  return config
