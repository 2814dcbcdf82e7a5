#!/usr/bin/env bash
# Trains on a Cloud TPU slice to the end: asks for the slice in Google's queue, waits for it, runs
# htmtl_jax.main on all its hosts, and where the slice is taken away (spot), asks for another one
# and goes on from the last checkpoint. One command for one host or a whole pod slice.
#
#   launch/tpu_train.sh [--name=NAME] [--zone=ZONE] [--type=v5litepod-16] [--version=VERSION]
#       [--project=PROJECT] [--spot] [--keep] [--dry_run] -- \
#       --config=configs/NAME.py --workdir=/mnt/shared/run --mode=train ...
#
# What is left out comes from launch/settings.env. At the end the slice is given back; --keep keeps
# it. The workdir has to outlive the slice, on a file system that its hosts mount.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
help_if_asked "$@"
load_settings

name="${HTMTL_TPU_NAME:-}" zone="${HTMTL_ZONE:-}" project="${HTMTL_PROJECT:-}" keep=0
create=()
while [[ $# -gt 0 ]]; do
  case "$1" in
    --dry_run) DRY_RUN=1 ;;
    --name=*) name="${1#*=}" ;;
    --zone=*) zone="${1#*=}" ;;
    --project=*) project="${1#*=}" ;;
    --type=* | --version=* | --spot) create+=("$1") ;;
    --keep) keep=1 ;;
    --) shift; break ;;
    *) fail "unknown argument $1; the arguments of htmtl_jax.main stand after --" ;;
  esac
  shift
done
[[ -n "$name" ]] || fail "--name is missing; give it, or HTMTL_TPU_NAME in launch/settings.env"
[[ -n "$zone" ]] || fail "--zone is missing, for example --zone=us-central1-a"
[[ $# -gt 0 ]] || fail "nothing to run; give the arguments of htmtl_jax.main after --"
need_workdir_in / "$@"

place=(--zone="$zone" ${project:+--project="$project"})
queue=(gcloud compute tpus queued-resources)
create=("$HTMTL_ROOT/launch/tpu_create.sh" --name="$name" "${place[@]}" --queued \
  ${create[@]+"${create[@]}"})
train=("$HTMTL_ROOT/launch/tpu_run.sh" --name="$name" "${place[@]}" -- "$@")
describe=("${queue[@]}" describe "$name" "${place[@]}" --format="value(state.state)")
delete=("${queue[@]}" delete "$name" "${place[@]}" --force --quiet)
poll_seconds="${HTMTL_POLL_SECONDS:-30}"

if [[ "$DRY_RUN" == 1 ]]; then
  print_command "${create[@]}"
  echo "# until it is ACTIVE:"
  print_command "${describe[@]}"
  print_command "${train[@]}"
  echo "# where it was interrupted, train again, until it fails three times in a row without having"
  echo "# saved a step or run for hours; where the slice was taken away, first:"
  print_command "${delete[@]}"
  print_command "${create[@]}"
  if [[ "$keep" != 1 ]]; then
    echo "# at the end:"
    print_command "${delete[@]}"
  fi
  exit 0
fi

# Trains, passes on what is said, and sets `status` and `advanced`: whether a later step was saved
# than ever before here, or at least hours went by.
newest=0 long_seconds=10800
said_saved="$(mktemp)"
trap 'rm -f "$said_saved"' EXIT
train_once() {
  local line started="$SECONDS" saved
  status=0
  # Only what goes to standard error is looked at; standard output passes by.
  {
    "${train[@]}" 2>&1 >&3 3>&- | while IFS= read -r line || [[ -n "$line" ]]; do
      printf '%s\n' "$line" >&2
      if [[ "$line" =~ saved\ step\ ([0-9]+) ]]; then
        echo "${BASH_REMATCH[1]}" > "$said_saved"
      fi
    done || status="${PIPESTATUS[0]}"
  } 3>&1
  advanced=0
  saved="$(cat "$said_saved")"
  if [[ "${saved:-0}" -gt "$newest" ]]; then
    newest="$saved" advanced=1
  elif [[ $((SECONDS - started)) -ge "$long_seconds" ]]; then
    advanced=1
  fi
}

failures=0
while true; do
  # An error that is not about a missing slice would make us ask for a second one.
  errors="$(mktemp)"
  if ! state="$("${describe[@]}" 2>"$errors")"; then
    grep -qi "not.found" "$errors" || { cat "$errors" >&2; rm -f "$errors"; fail "gcloud failed"; }
    state=NONE
  fi
  rm -f "$errors"
  case "$state" in
    NONE) "${create[@]}" ;;
    ACTIVE)
      train_once
      if [[ "$status" == 0 ]]; then
        break
      elif [[ "$status" == 2 ]]; then
        fail "wrong input, see above; the slice $name is still there"
      elif [[ "$status" != 75 && "$("${describe[@]}" 2>/dev/null || true)" == ACTIVE ]]; then
        [[ "$advanced" == 0 ]] || failures=0
        failures=$((failures + 1))
        [[ "$failures" -lt 3 ]] \
          || fail "training failed three times in a row, without progress, on a slice that is there"
      else
        failures=0
      fi
      echo "tpu_train.sh: training ended with $status; going on from the last checkpoint" >&2
      ;;
    SUSPENDED | FAILED)
      echo "tpu_train.sh: the slice is $state; asking for another one" >&2
      "${delete[@]}"
      ;;
    *) sleep "$poll_seconds" ;;  # waiting, being made, or being taken away
  esac
done
if [[ "$keep" != 1 ]]; then
  "${delete[@]}"
fi
