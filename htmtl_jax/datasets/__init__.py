"""arXiv, PubMed and users' own corpora as TFDS datasets, made without TensorFlow."""
