"""Every key there is, with its default and its meaning. Not an experiment.

Experiments start from it and change what they need; `--config.a.b=v` changes more.
Triples go by level: (sentence, paragraph, section).
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  config = ml_collections.ConfigDict()
  config.seed = 0  # of the initial parameters, dropout and the order of documents

  # ---- documents
  config.data = data = ml_collections.ConfigDict()
  data.source = "synthetic"  # "synthetic" (generated papers), "jsonl", "papers" or "tfds"
  # jsonl: a file or a folder of .jsonl / .jsonl.gz; papers: a folder of papers in any
  # format that docs/formats.md names; tfds: the folder where datasets are kept, "" for
  # ~/tensorflow_datasets
  data.path = ""
  data.name = ""  # tfds: "arxiv", "pubmed", or a dataset that is there (docs/datasets.md)
  data.raw = ""  # tfds: folder with the raw release, if it is to be made; "" to download it
  data.exclude = ()  # jsonl: names of files in the folder to leave out, without ending
  data.max_documents = 0  # stop after so many (tfds: of each split); 0 for all
  data.on_bad_line = "skip"  # or unreadable paper: "skip" (and count) or "stop"
  data.split_seed = 0  # a document's split is a hash of this seed and its id
  data.validation_share = 0.05
  data.test_share = 0.05
  data.num_train = 2000  # synthetic: documents of each split
  data.num_validation = 64
  data.num_test = 100
  data.synthetic_seed = 0
  data.prepared = ""  # where the prepared arrays are kept; "" for WORKDIR/prepared
  data.processes = 0  # for preparing and scoring; 0 for one a core
  data.workers = 0  # processes that pack training batches; 0 packs in a thread of the trainer
  data.max_input_tokens = 16384  # the rest of a longer document is cut, counted, logged
  data.max_target_tokens = (64, 512, 640)
  data.importance_labels = False  # compute soft ROUGE-gain labels (needed by loss.importance)

  config.tokenizer = ml_collections.ConfigDict()
  config.tokenizer.vocab_size = 32000
  config.tokenizer.model_type = "unigram"  # or "bpe"

  # ---- packed rows and buckets, see htmtl_jax/layout.py
  config.layout = layout = ml_collections.ConfigDict()
  layout.row_tokens = 128  # token slots in a row; a longer sentence is split into pieces
  layout.row_sentence_slots = 16  # sentences a token row can hold
  layout.row_sentences = 32  # sentence slots in a row of whole paragraphs
  layout.row_paragraphs = 16  # paragraph slots in a row of whole sections
  layout.sentences_per_token_row = 8.0  # room for segments, in proportion to token rows
  layout.paragraphs_per_token_row = 2.5
  layout.sections_per_token_row = 0.25
  layout.min_sections = 16
  layout.paragraph_units = 32  # sentences of a paragraph summary told apart by coverage
  # (token rows, target tokens) of each compiled size, from small to large. Steps of 8 rows
  # keep 89% of the slots real on papers; fewer buckets compile faster and waste more. One more is
  # added for papers cut at `data.max_input_tokens`, if none fits them (layout.make_buckets).
  layout.buckets = (
    (16, 768),
    (24, 1024),
    (32, 1216),
    (40, 1216),
    (48, 1216),
    (56, 1216),
    (64, 1216),
    (80, 1216),
    (96, 1216),
    (112, 1216),
    (136, 1216),
  )

  # ---- model
  config.model = model = ml_collections.ConfigDict()
  model.width = 512  # D
  model.num_heads = 8
  model.mlp_width = 2048
  # What a token attends to: "sentence", its own (the hierarchical encoder), or "blocks": the
  # text around it in reading order, L tokens at least on either side (a flat Transformer)
  model.token_attention = "sentence"
  model.token_layers = 4  # of the sentence transformer, or of the flat one
  model.paragraph_layers = 4  # paragraph transformer: sentences inside their paragraph
  model.section_layers = 2  # section transformer: paragraphs inside their section
  model.document_layers = 2  # sections across the document
  model.top_down_layers = 1  # sentences read the document's paragraphs and sections
  model.decoder_layers = 4
  model.max_positions = 64  # index among siblings; later ones share the last
  model.position_scale = 0.5  # of position, level and heading embeddings; tokens have 1
  model.token_shift = True  # each token also sees its predecessor's embedding
  model.piece_positions = True  # the decoder is told which piece of the summary it writes
  model.length_condition = True  # the decoder can be told how long to write (decode.target_words)
  model.top_down = True  # False: no context flows back (the description's literal method)
  # Who mixes what it receives from its parent by an MLP: "all", "segments" (not the tokens, which
  # learn no worse without and cost 5% less: docs/performance.md, "The split"), "none"
  model.top_down_mlps = "segments"
  model.copy = True  # pointer-generator copy gate
  model.memory = "all"  # what the decoder reads: "all", "tokens" alone or "segments" alone
  model.decoder_stacks = "shared"  # or "separate": one stack a level
  model.importance = "learned"  # or "uniform" among siblings, or "random" (ablations)
  model.importance_gate = True  # False: importance does not decide what the decoder reads
  model.importance_floor = 0.1  # share of the decoder's gate given out evenly
  # What layers add starts small, by the depth of the stacks; "unit": with variance one each. Six
  # layers a stack learn far faster with "depth" (docs/experiments.md, "Initial values ...").
  model.residual_init = "depth"
  model.dropout = 0.1
  model.dtype = "bfloat16"  # of matmuls; parameters, softmaxes and losses are float32
  model.remat = "none"  # recompute activations: "none", "dots" or "full"
  model.scan_layers = True  # parameters of all layers in one array; False: an array each
  # Layers that a turn of the scan computes, of tokens and of the decoder (of segments always one):
  # 0 is all of them, so that nothing is stacked for the backward pass; 1 compiles one layer alone.
  model.scan_unroll = 0
  model.key_block = 512  # memory keys that cross-attention looks at at a time, at most

  # ---- loss
  config.loss = loss = ml_collections.ConfigDict()
  loss.level_weights = (1.0, 1.0, 1.0)  # alpha of each level
  loss.label_smoothing = 0.1  # on the generator's softmax; not applied with the copy gate
  loss.coverage = 0.1  # lambda of the KL between importance and the mean decoder score
  loss.coverage_segments = (
    "sentences"  # what every level covers; or "level": its own kind of segment
  )
  # KL(attention || importance): importance must cover whatever any of the three summaries
  # draws on. The other, "importance_to_attention", lets the one sentence's narrow attention
  # starve what only the paragraph and the digest need (docs/experiments.md).
  loss.coverage_direction = "attention_to_importance"
  loss.coverage_gradient = "both"  # or only "attention" / "importance" learns from it
  loss.twice = 0.02  # lambda of covering the same segments in two units
  loss.diversity = 0.01  # lambda of the units' mean cosine similarity
  loss.importance = 0.0  # weight of supervision by soft labels; 0 is off
  loss.ramp_start = 1000  # coverage, twice and diversity come in after this step
  loss.ramp_steps = 1000  # ... over so many steps
  loss.importance_ramp_start = 0  # importance gates the decoder's memory from here on
  loss.importance_ramp_steps = 200

  # ---- optimiser
  config.optimizer = optimizer = ml_collections.ConfigDict()
  optimizer.name = "adamw"  # or "adafactor"
  optimizer.learning_rate = 5e-4  # peak
  optimizer.schedule = "rsqrt"  # "cosine", "rsqrt" or "constant", after the warm-up
  optimizer.warmup_steps = 1000
  optimizer.schedule_steps = 100_000  # length of the cosine, whatever train.num_steps is
  optimizer.final_share = 0.05  # of the peak, at the end of the cosine
  optimizer.beta1 = 0.9
  optimizer.beta2 = 0.98
  optimizer.weight_decay = 0.01
  optimizer.clip_norm = 1.0

  # ---- training
  config.train = train = ml_collections.ConfigDict()
  train.num_steps = 100_000
  train.batch_token_rows = 1024  # a bucket's batch is as many documents as fit in so many rows
  # Share of the training summaries whose length the decoder is not told, so that it can also
  # choose a length itself; it is never told in validation.
  train.hide_length = 0.5
  train.accumulate = 1  # cut each batch into so many pieces, run one after the other
  train.log_every = 20
  train.checkpoint_every = 500
  train.evaluate_every = 1000  # validation loss; the best checkpoint goes by it
  train.validation_documents = 0  # 0 for all
  train.keep_latest = 2
  train.evaluate_at_end = True  # decode and score the test split when training is finished

  # ---- decoding
  config.decode = decode = ml_collections.ConfigDict()
  # What to write; a level that is left out costs nothing, and its summaries are empty
  decode.levels = ("sentence", "paragraph", "section")
  decode.beam_size = 4
  decode.length_penalty = 0.8  # GNMT's alpha
  decode.min_tokens = (8, 32, 32)
  decode.max_tokens = (64, 512, 640)
  decode.no_repeat_ngram = (4, 4, 0)  # tokens; 0 is off
  # Read so many tokens of a document, those of its most important sentences; 0 reads all.
  # Bounds the time and memory of writing summaries of very long documents
  decode.memory_tokens = 0
  decode.target_words = (0, 0, 0)  # words to aim at; 0 leaves the length to the model

  # ---- evaluation
  config.evaluate = evaluate = ml_collections.ConfigDict()
  evaluate.max_documents = 0  # 0 for all
  evaluate.batch_token_rows = 256
  # Also write every document at these shares of the mean length of the training references,
  # such as 0.5,1.0,1.5, and score it: what shorter summaries cost
  evaluate.length_factors = ()
  evaluate.bootstrap_samples = 1000
  evaluate.mmr = True  # the extractive mode avoids redundant sentences
  evaluate.examples = 1  # documents whose summaries are printed at the end
  evaluate.reports = 5  # the best and the worst so many get an HTML report; -1 for all, 0 for none

  # ---- devices; -1 takes all that are left
  config.mesh = mesh = ml_collections.ConfigDict()
  mesh.data = -1
  mesh.fsdp = 1
  mesh.tensor = 1
  mesh.sequence = 1
  return config
