#!/usr/bin/env bash
# From nothing to a trained model: installs, trains on generated papers, and shows
# scores and summaries. About five minutes on two CPU cores.
#
#   launch/quickstart.sh [--dry_run] [WORKDIR]      default WORKDIR: runs/quickstart

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
help_if_asked "$@"

workdir=""
for argument in "$@"; do
  case "$argument" in
    --dry_run) DRY_RUN=1 ;;
    -*) fail "unknown flag $argument; usage: launch/quickstart.sh [--dry_run] [WORKDIR]" ;;
    *)
      [[ -z "$workdir" ]] || fail "more than one WORKDIR: $workdir and $argument"
      workdir="$argument"
      ;;
  esac
done
workdir="${workdir:-$HTMTL_ROOT/runs/quickstart}"

run "$HTMTL_ROOT/launch/env.sh"
# SIGTERM to this script reaches the training, which saves.
run_until_finished "$HTMTL_PYTHON_BIN" -m htmtl_jax.main --config="$HTMTL_ROOT/configs/quickstart.py" \
  --workdir="$workdir" --mode=train

if [[ "$DRY_RUN" != 1 ]]; then
  echo
  echo "To summarise a paper of your own (any format of docs/formats.md). This model has learnt"
  echo "generated papers only: of a real one it makes nonsense; train on real papers for that."
  printf '  '
  print_command "$HTMTL_PYTHON_BIN" -m htmtl_jax.main --mode=summarize \
    --workdir="$workdir" --input=paper.md
fi
