# shellcheck shell=bash disable=SC2034  # what is set here is used by the scripts that source it
# Sourced by the scripts of this folder: where the project is, the settings, and --dry_run.

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

# Reads launch/settings.env (HTMTL_SETTINGS names another file). Lines are NAME=VALUE and nothing
# is executed; what is set in the environment already wins.
load_settings() {
  local file="${HTMTL_SETTINGS:-$HTMTL_ROOT/launch/settings.env}" line name
  if [[ ! -e "$file" ]]; then
    [[ -z "${HTMTL_SETTINGS:-}" ]] || fail "HTMTL_SETTINGS=$file not found"
    return 0
  fi
  while IFS= read -r line || [[ -n "$line" ]]; do
    line="${line%$'\r'}"
    [[ -n "$line" && "$line" != "#"* ]] || continue
    [[ "$line" =~ ^HTMTL_[A-Z0-9_]+= ]] || fail "$file: '$line' is not HTMTL_NAME=VALUE"
    name="${line%%=*}"
    [[ -n "${!name:-}" ]] || export "$name=${line#*=}"
  done < "$file"
}

# Ends the script if some of these settings are missing.
need() {
  local name missing=""
  for name in "$@"; do
    [[ -n "${!name:-}" ]] || missing+="${missing:+, }$name"
  done
  [[ -z "$missing" ]] \
    || fail "not set: $missing; copy launch/settings.env.example to launch/settings.env, and edit it"
}

# Prints the comment at the head of the script, and ends, if --help is the first argument.
help_if_asked() {
  [[ "${1:-}" == --help ]] || return 0
  sed -n -e '1d' -e '/^#SBATCH/d' -e '/^#/!q' -e 's/^# \{0,1\}//p' "$0"
  exit 0
}

# Ends the script if the arguments of htmtl_jax.main name a workdir outside of a folder ("/" for
# any absolute path): elsewhere it would be lost with the machine.
need_workdir_in() {
  local folder="$1" argument
  shift
  for argument in "$@"; do
    if [[ "$argument" == --workdir=* && "${argument#--workdir=}" != "$folder"* ]]; then
      fail "$argument would be lost with the machine: it has to lie in $folder, which outlives it"
    fi
  done
}

# Sets DRY_RUN if --dry_run is among the arguments, wherever, and ARGUMENTS to the others.
take_dry_run() {
  local argument
  ARGUMENTS=()
  for argument in "$@"; do
    if [[ "$argument" == --dry_run ]]; then
      DRY_RUN=1
    else
      ARGUMENTS+=("$argument")
    fi
  done
}

# Runs a command again as long as it ends with 75, that is: interrupted, and saved. Who ends this
# script with SIGTERM ends the command, too, and then it is not run again.
run_until_finished() {
  local status stopped=0 child=""
  if [[ "$DRY_RUN" == 1 ]]; then
    print_command "$@"
    echo "# again, as long as it ends with 75"
    return 0
  fi
  trap 'stopped=1; [[ -z "$child" ]] || kill -TERM "$child" 2>/dev/null || true' TERM
  while true; do
    status=0
    "$@" &
    child=$!
    wait "$child" || status=$?
    # A signal ends the wait, not the command: it is still saving.
    while kill -0 "$child" 2>/dev/null; do
      status=0
      wait "$child" || status=$?
    done
    if [[ "$status" != 75 || "$stopped" == 1 ]]; then
      return "$status"
    fi
    echo "$(basename "$0"): interrupted and saved; going on" >&2
  done
}

# Prints a template of this folder with its ${HTMTL_...} filled in from the environment.
render() {
  local python
  for python in "$HTMTL_PYTHON_BIN" python3 python; do
    if "$python" -c '' 2>/dev/null; then
      "$python" "$HTMTL_ROOT/launch/render.py" "$@"
      return
    fi
  done
  fail "no Python found to fill in $1"
}
