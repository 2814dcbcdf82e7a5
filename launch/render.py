"""Prints a template with its ${HTMTL_NAME} filled in from the environment.

    python launch/render.py TEMPLATE [ARGUMENT ...]

Templates quote what is text, so values are escaped as inside double quotes of YAML.
${HTMTL_ARGUMENTS} becomes the list of the arguments, ${HTMTL_COMMAND} the same as a line for a
shell. Needs the standard library only.
"""

from collections.abc import Mapping, Sequence
import json
import os
import re
import shlex
import sys


def render(template: str, variables: Mapping[str, str], arguments: Sequence[str]) -> str:
  """Fills in a template.

  Args:
    template: text with `${HTMTL_NAME}`.
    variables: values by name.
    arguments: of htmtl_jax.main.

  Raises:
    KeyError: a name without a value.
  """
  special = {
    "HTMTL_ARGUMENTS": json.dumps(list(arguments)),
    "HTMTL_COMMAND": shlex.join(arguments),
  }

  def fill(match: re.Match) -> str:
    name = match[1]
    return special[name] if name in special else json.dumps(variables[name])[1:-1]

  return re.sub(r"\$\{(HTMTL_[A-Z_]+)\}", fill, template)


def main() -> None:
  path, *arguments = sys.argv[1:]
  with open(path, encoding="utf-8") as file:
    template = file.read()
  try:
    print(render(template, os.environ, arguments), end="")
  except KeyError as error:
    sys.exit(f"render.py: error: {path} needs {error.args[0]}; set it in launch/settings.env")


if __name__ == "__main__":
  main()
