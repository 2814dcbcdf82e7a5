"""The model by its definition: NumPy, float64, one ragged document, loops, no padding.

Slow and plain. The packed, jitted model must agree with this.
"""

import numpy as np

from htmtl_jax.data.tokenizer import BOS_ID, NUM_STRUCTURE_IDS, SECTION_ID, SENTENCE_ID


def softmax(x):
  x = np.exp(x - x.max(-1, keepdims=True))
  return x / x.sum(-1, keepdims=True)


def log_sum_exp(x):
  top = x.max()
  return top + np.log(np.exp(x - top).sum())


def get(tree, path):
  """params["a"]["b"]["c"] for "a/b/c", as float64."""
  for name in path.split("/"):
    tree = tree[name]
  return np.asarray(tree, np.float64)


class Layers:
  """One module's parameters, by path below it; `index` picks a layer of a scanned stack."""

  def __init__(self, params, path="", index=None):
    self._params, self._path, self._index = params, path, index

  def __call__(self, name):
    value = get(self._params, f"{self._path}/{name}".strip("/"))
    return value if self._index is None else value[self._index]

  def sub(self, name, index=None):
    index = self._index if index is None else index
    return Layers(self._params, f"{self._path}/{name}".strip("/"), index)


def rms_norm(x, scale):
  return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * scale


def gelu(x):
  return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def mlp(x, w):
  return x + gelu(rms_norm(x, w("norm/scale")) @ w("wide/kernel")) @ w("narrow/kernel")


def rotate(x, positions):
  """Rotary embedding, pair by pair: [n, H, E]."""
  out = x.copy()
  half = x.shape[-1] // 2
  for n, position in enumerate(positions):
    for i in range(half):
      angle = position * 10_000.0 ** (-i / half)
      a, b = x[n, :, i], x[n, :, i + half]
      out[n, :, i] = a * np.cos(angle) - b * np.sin(angle)
      out[n, :, i + half] = a * np.sin(angle) + b * np.cos(angle)
  return out


def attend(query, key, value, bias=0.0):
  """[q, H, E], [k, H, E], [k, H, E] -> ([q, H, E], weights [H, q, k])."""
  scores = np.einsum("qhe,khe->hqk", query, key) / np.sqrt(query.shape[-1]) + bias
  weights = softmax(scores)
  return np.einsum("hqk,khe->qhe", weights, value), weights


def self_attention(x, w, positions=None, causal=False):
  qkv = np.einsum("nd,dche->cnhe", rms_norm(x, w("norm/scale")), w("qkv/kernel"))
  query, key, value = qkv
  if positions is not None:
    query, key = rotate(query, positions), rotate(key, positions)
  bias = np.where(np.tri(len(x), dtype=bool), 0.0, -np.inf) if causal else 0.0
  h, _ = attend(query, key, value, bias)
  return x + np.einsum("nhe,hed->nd", h, w("out/kernel"))


def pool(x, w):
  h = rms_norm(x, w("norm/scale"))
  weights = softmax((h @ w("query/kernel")).T)  # [H, n]
  value = np.einsum("nd,dhe->nhe", h, w("value/kernel"))
  return np.einsum("hn,nhe,hed->d", weights, value, w("out/kernel"))


def shift(x, w):
  previous = np.concatenate([np.zeros_like(x[:1]), x[:-1]])
  return x + previous @ w("token_shift/mix/kernel")


def transformer(x, w, num_layers, rotary=False):
  """A stack of sibling layers: (states, pooled)."""
  positions = np.arange(len(x)) if rotary else None
  for i in range(num_layers):
    layer = w.sub("stack/layers", i)
    x = self_attention(x, layer.sub("attention"), positions)
    x = mlp(x, layer.sub("mlp"))
  return x, pool(x, w.sub("pool"))


def position(w, name, i, config):
  return w(f"{name}/embedding")[min(i, config.max_positions - 1)]


def from_parent(x, parent, w, mixes=True):
  x = x + rms_norm(parent, w("norm/scale")) @ w("parent/kernel")
  return mlp(x, w.sub("mlp")) if mixes else x


def encode(params, config, tree):
  """Encodes one ragged document.

  Args:
    params: of `Htmtl`, scanned layers.
    config: ModelConfig.
    tree: sections of paragraphs of sentences (token ids, is_heading).

  Returns:
    dict of tokens [N, D], sentences, paragraphs, sections, and of log importance
    imp_sentences, imp_paragraphs, imp_sections and shares w_sentences, w_paragraphs, all
    in reading order.
  """
  w = Layers(params, "encoder")
  table = get(params, "embedding") * np.sqrt(config.width)
  heading = w("heading_embedding")
  token_states, sentence_states, paragraph_states, section_vectors = [], [], [], []
  for section in tree:
    paragraph_vectors = []
    for paragraph in section:
      sentence_vectors = []
      for i, (ids, is_heading) in enumerate(paragraph):
        x = table[ids]
        if config.token_shift:
          x = shift(x, w)
        x = x + is_heading * heading[0]
        x, vector = transformer(x, w.sub("sentence_transformer"), config.token_layers, rotary=True)
        token_states.append(x)
        sentence_vectors.append(
          vector + is_heading * heading[1] + position(w, "sentence_position", i, config)
        )
      x, vector = transformer(
        np.stack(sentence_vectors), w.sub("paragraph_transformer"), config.paragraph_layers
      )
      sentence_states.append(x)
      i = len(paragraph_vectors)
      paragraph_vectors.append(vector + position(w, "paragraph_position", i, config))
    x, vector = transformer(
      np.stack(paragraph_vectors), w.sub("section_transformer"), config.section_layers
    )
    paragraph_states.append(x)
    i = len(section_vectors)
    section_vectors.append(vector + position(w, "section_position", i, config))
  sections = np.stack(section_vectors)
  for i in range(config.document_layers):
    layer = w.sub("document_transformer/layers", i)
    sections = mlp(self_attention(sections, layer.sub("attention")), layer.sub("mlp"))

  if config.top_down:
    token_states, sentence_states, paragraph_states = _top_down(
      w, config, token_states, sentence_states, paragraph_states, sections
    )
  out = {
    "tokens": np.concatenate(token_states),
    "sentences": np.concatenate(sentence_states),
    "paragraphs": np.concatenate(paragraph_states),
    "sections": sections,
  }
  out |= _importance(w.sub("importance"), sentence_states, paragraph_states, sections)
  for level in ("token", "sentence", "paragraph", "section"):
    out[f"{level}s"] = rms_norm(out[f"{level}s"], w(f"{level}_norm/scale"))
  return out


def _top_down(w, config, token_states, sentence_states, paragraph_states, sections):
  mixes = config.top_down_mlps != "none"
  paragraph_states = [
    from_parent(x, section, w.sub("section_to_paragraph"), mixes)
    for x, section in zip(paragraph_states, sections)
  ]
  all_paragraphs = np.concatenate(paragraph_states)
  sentence_states = [
    from_parent(x, paragraph, w.sub("paragraph_to_sentence"), mixes)
    for x, paragraph in zip(sentence_states, all_paragraphs)
  ]
  context = np.concatenate([all_paragraphs, sections])
  x = np.concatenate(sentence_states)
  for i in range(config.top_down_layers):
    layer = w.sub("document_to_sentence/layers", i)
    a = layer.sub("attention")
    query = np.einsum("nd,dhe->nhe", rms_norm(x, a("norm/scale")), a("query/kernel"))
    memory = rms_norm(context, a("memory_norm/scale"))
    key = np.einsum("nd,dhe->nhe", memory, a("key/kernel"))
    value = np.einsum("nd,dhe->nhe", memory, a("value/kernel"))
    h, _ = attend(query, key, value)
    x = mlp(x + np.einsum("nhe,hed->nd", h, a("out/kernel")), layer.sub("mlp"))
  ends = np.cumsum([len(s) for s in sentence_states])
  mixes = config.top_down_mlps == "all"
  token_states = [
    from_parent(t, sentence, w.sub("sentence_to_token"), mixes)
    for t, sentence in zip(token_states, x)
  ]
  return token_states, np.split(x, ends[:-1]), paragraph_states


def _importance(w, sentence_states, paragraph_states, sections):
  def score(states, name):
    return rms_norm(states, w(f"{name}_norm/scale")) @ w(f"{name}_score")

  log_softmax = lambda x: x - log_sum_exp(x)
  imp_sections = log_softmax(score(sections, "section"))
  w_paragraphs = [log_softmax(score(x, "paragraph")) for x in paragraph_states]
  imp_paragraphs = np.concatenate([i + x for i, x in zip(imp_sections, w_paragraphs)])
  w_sentences = [log_softmax(score(x, "sentence")) for x in sentence_states]
  imp_sentences = np.concatenate([i + x for i, x in zip(imp_paragraphs, w_sentences)])
  return {
    "imp_sections": imp_sections,
    "imp_paragraphs": imp_paragraphs,
    "imp_sentences": imp_sentences,
    "w_paragraphs": np.concatenate(w_paragraphs),
    "w_sentences": np.concatenate(w_sentences),
  }


def parents_of(tree):
  """(sentence of each token, paragraph of each sentence, section of each paragraph)."""
  token_sentence, sentence_paragraph, paragraph_section = [], [], []
  for c, section in enumerate(tree):
    for paragraph in section:
      for ids, _ in paragraph:
        token_sentence += [len(sentence_paragraph)] * len(ids)
        sentence_paragraph.append(len(paragraph_section))
      paragraph_section.append(c)
  return tuple(map(np.array, (token_sentence, sentence_paragraph, paragraph_section)))


def pieces_before(target_ids, level):
  """[T]: how many of the summary's pieces were complete when each token is to be predicted."""
  marker = (None, SENTENCE_ID, SECTION_ID)[level]
  pieces, count = [], 0
  for i in range(len(target_ids)):
    count += i > 0 and target_ids[i - 1] == marker
    pieces.append(max(count - 1, 0) if level == 2 else count)
  return np.array(pieces)


def decode(params, config, tree, encoded, target_ids, level, num_real_ids, ramp=1.0):
  """Teacher-forced pass over one summary of one document.

  Args:
    params, config, tree: as in `encode`.
    encoded: its result.
    target_ids: [T] tokens to predict, EOS included.
    level: 0, 1 or 2.
    num_real_ids: vocabulary without the rounding.
    ramp: how much importance gates.

  Returns:
    (probabilities [T, V], states [T, D], scores by level [T, S], [T, P], [T, C]).
  """
  w = Layers(params, "decoder")
  stack = w.sub("stack_0" if config.decoder_stacks == "shared" else f"stack_{level}")
  token_sentence, sentence_paragraph, paragraph_section = parents_of(tree)
  floor = lambda x: (1 - config.importance_floor) * np.exp(x) + config.importance_floor / len(x)
  names = ("sentences", "paragraphs", "sections")
  gates = [np.log(floor(encoded[f"imp_{name}"])) for name in names]
  tokens_in = np.bincount(token_sentence)

  memory, bias = [encoded[names[level]]], [ramp * gates[level]]
  if config.memory == "all":
    memory.insert(0, encoded["tokens"])
    bias.insert(0, ramp * (gates[0] - np.log(tokens_in))[token_sentence])
  memory, bias = np.concatenate(memory), np.concatenate(bias)
  num_tokens = len(token_sentence) if config.memory == "all" else 0
  keys_values = np.einsum(
    "md,dnche->ncmhe",
    rms_norm(memory, stack("memory_norm/scale")),
    stack("memory_projection/kernel"),
  )

  embedding = get(params, "embedding")
  x = embedding[np.concatenate([[BOS_ID], target_ids[:-1]]).astype(int)] * np.sqrt(config.width)
  if config.token_shift:
    x = shift(x, w)
  x = x + w("level_embedding")[level]
  if config.piece_positions:
    x = x + w("piece_position/embedding")[pieces_before(target_ids, level)]
  if config.length_condition:  # tokens left, this one included: 1, 2, ... 8, then by octaves
    steps = [*range(1, 9), *(round(8 * 2 ** (k / 4)) for k in range(1, 33))]
    left = range(len(target_ids), 0, -1)
    x = x + w("length/embedding")[[sum(n >= step for step in steps) for n in left]]
  for i in range(config.decoder_layers):
    last = i == config.decoder_layers - 1
    layer = stack.sub("last_layer") if last else stack.sub("layers", i)
    x = self_attention(x, layer.sub("self_attention"), np.arange(len(x)), causal=True)
    a = layer.sub("cross_attention")
    query = np.einsum("nd,dhe->nhe", rms_norm(x, a("norm/scale")), a("query/kernel"))
    h, weights = attend(query, keys_values[i][0], keys_values[i][1], bias)
    context = np.einsum("nhe,hed->nd", h, a("out/kernel"))
    x = mlp(x + context, layer.sub("mlp"))
  states = rms_norm(x, stack("final_norm/scale"))
  attention = weights.mean(0)  # [T, M]

  probabilities = np.zeros((len(x), len(embedding)))
  probabilities[:, :num_real_ids] = softmax(states @ embedding[:num_real_ids].T)
  if config.copy:
    ids = np.array([t for c in tree for p in c for s, _ in p for t in s])
    gate = 1 / (
      1
      + np.exp(
        -(
          np.concatenate([states, context], -1) @ get(params, "generator/gate/kernel")
          + get(params, "generator/gate/bias")
        )
      )
    )
    pointer = attention[:, :num_tokens] * (ids >= NUM_STRUCTURE_IDS)
    pointer = pointer / pointer.sum(-1, keepdims=True)
    copied = np.zeros_like(probabilities)
    for m, token in enumerate(ids):
      copied[:, token] += pointer[:, m]
    probabilities = gate * probabilities + (1 - gate) * copied

  scores = [np.zeros((len(x), len(g))) for g in gates]
  scores[level] += attention[:, num_tokens:]
  if level == 2:
    scores[1] += scores[2][:, paragraph_section] * np.exp(encoded["w_paragraphs"])
  if level >= 1:
    scores[0] += scores[1][:, sentence_paragraph] * np.exp(encoded["w_sentences"])
  for m in range(num_tokens):
    scores[0][:, token_sentence[m]] += attention[:, m]
  scores[1] = np.zeros_like(scores[1])
  for s, p in enumerate(sentence_paragraph):
    scores[1][:, p] += scores[0][:, s]
  scores[2] = np.zeros_like(scores[2])
  for p, c in enumerate(paragraph_section):
    scores[2][:, c] += scores[1][:, p]
  return probabilities, states, scores
