# Sourced by the scripts of this folder: where the project is, and --dry_run.

HTMTL_ROOT="${HTMTL_ROOT:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)}"
HTMTL_PYTHON_BIN="$HTMTL_ROOT/.venv/bin/python"
DRY_RUN="${DRY_RUN:-0}"

# Ends the script with one line.
fail() {
  echo "$(basename "$0"): error: $*" >&2
  exit 2
}

# Prints a command as one could type it.
print_command() {
  local line="" word
  for word in "$@"; do
    line+="$(printf '%q' "$word") "
  done
  printf '%s\n' "${line% }"
}

# Runs a command, or prints it with --dry_run.
run() {
  if [[ "$DRY_RUN" == 1 ]]; then
    print_command "$@"
  else
    "$@"
  fi
}
