"""HTMTL-JAX: long structured documents, summarised at three levels.

    import htmtl_jax
    model = htmtl_jax.load("runs/quickstart")
    record = model.summarize(htmtl_jax.read_paper("paper.md"))

Names are imported when first used, so that `import htmtl_jax` and the command line's
error messages do not wait for JAX.
"""

import importlib

__version__ = "0.1.0"

_LAZY = {
  "Document": ("htmtl_jax.documents.document", "Document"),
  "Section": ("htmtl_jax.documents.document", "Section"),
  "UserError": ("htmtl_jax.errors", "UserError"),
  "load": ("htmtl_jax.summarize", "Summarizer"),
  "read_paper": ("htmtl_jax.documents.parsers.files", "read_paper"),
  "summarize_without_model": ("htmtl_jax.summarize", "summarize_without_model"),
}
__all__ = list(_LAZY)


def __getattr__(name: str):
  if name not in _LAZY:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  module, attribute = _LAZY[name]
  return getattr(importlib.import_module(module), attribute)
