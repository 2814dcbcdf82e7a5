"""The folder of a study: packets for the raters, and beside them what raters must not see.

    STUDY/packets/RATER.html   one form a rater; everything in this folder can be handed out
    STUDY/key.json             who wrote what; opens the blinded answers
    STUDY/protocol.md          the study in words

The *study id* is a digest of the whole key, packets included. An answer that names another
id belongs to another study, or to another export of this one.
"""

from collections.abc import Mapping
import hashlib
import json
import os
import pathlib
from typing import Any

from htmtl_jax.errors import UserError

KEY, PROTOCOL, PACKETS = "key.json", "protocol.md", "packets"
KEY_FORMAT = "htmtl_jax human evaluation key"
VERSION = 1


def digest(value: Any) -> str:
  """16 hexadecimal digits of anything that JSON can hold."""
  text = json.dumps(value, sort_keys=True, ensure_ascii=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_output(output: str) -> None:
  """Refuses to write a study over another one, whose packets may be with raters already.

  Raises:
    UserError: there is a file or a study.
  """
  if os.path.exists(output) and not os.path.isdir(output):
    raise UserError(f"--output={output} is a file; name a folder")
  if os.path.exists(os.path.join(output, KEY)):
    raise UserError(
      f"--output={output} holds a study already, and without its key.json the answers to its packets "
      "could not be read; give another folder, or move that one away"
    )


def read_key(study: str) -> dict[str, Any]:
  """The key of a study.

  Raises:
    UserError: there is none, or it was changed.
  """
  path = os.path.join(study, KEY)
  if not os.path.isdir(study):
    raise UserError(f"--study={study} not found; name the folder that --action=export wrote")
  try:
    key = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
  except OSError as error:
    raise UserError(
      f"{path} cannot be read ({error.strerror}); --study is the folder that --action=export wrote"
    ) from None
  except ValueError:
    raise UserError(f"{path} is not JSON; restore the file that --action=export wrote") from None
  if not isinstance(key, dict) or key.get("format") != KEY_FORMAT:
    raise UserError(f"{path} is not the key of a study; name the folder that export wrote")
  if key.get("version") != VERSION:
    raise UserError(
      f"{path} has version {key.get('version')}, this program reads {VERSION}; use the version of "
      "htmtl_jax that made the study"
    )
  if key.get("study") != study_id(key):
    raise UserError(
      f"{path} was changed after the export, so answers cannot be told from others; restore it"
    )
  return key


def study_id(key: Mapping[str, Any]) -> str:
  """The id that belongs to a key's content."""
  return digest({name: value for name, value in key.items() if name != "study"})
