#!/usr/bin/env bash
# Trains by SkyPilot, as a managed job on spot machines: where they are taken away, SkyPilot finds
# others and runs the same command, which goes on from the last checkpoint.
#
#   launch/sky.sh [--dry_run] -- --config=configs/NAME.py --workdir=/workdir/run --mode=train ...
#
# Fills in launch/skypilot.yaml from launch/settings.env; --dry_run prints it. Needs `sky`, logged in.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
help_if_asked "$@"
load_settings

while [[ $# -gt 0 ]]; do
  case "$1" in
    --dry_run) DRY_RUN=1 ;;
    --) shift; break ;;
    *) fail "unknown argument $1; the arguments of htmtl_jax.main stand after --" ;;
  esac
  shift
done
[[ $# -gt 0 ]] || fail "nothing to run; give the arguments of htmtl_jax.main after --"
need_workdir_in /workdir/ "$@"
need HTMTL_SKY_ACCELERATORS HTMTL_SKY_NODES HTMTL_SKY_BUCKET

export HTMTL_ROOT
task="$(render "$HTMTL_ROOT/launch/skypilot.yaml" "$@")"
if [[ "$DRY_RUN" == 1 ]]; then
  echo "# sky jobs launch --yes --name=htmtl TASK.yaml, with TASK.yaml:"
  echo "$task"
else
  file="$(mktemp --suffix=.yaml)"
  trap 'rm -f "$file"' EXIT
  echo "$task" > "$file"
  sky jobs launch --yes --name=htmtl "$file"
fi
