#!/usr/bin/env bash
# Runs on one host with NVIDIA GPUs, on all of them, again whenever it was interrupted and saved.
# Arguments go to htmtl_jax.main.
#
#   launch/gpu_run.sh [--dry_run] --config=configs/NAME.py --workdir=DIR --mode=train ...
#
# CUDA_VISIBLE_DEVICES chooses fewer GPUs. Needs a driver for CUDA 13; CUDA itself is installed
# into .venv. SIGTERM to this script saves and ends with 75; Ctrl-C ends at once.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
help_if_asked "$@"

take_dry_run "$@"
set -- ${ARGUMENTS[@]+"${ARGUMENTS[@]}"}
[[ $# -gt 0 ]] || fail "nothing to run; give the arguments of htmtl_jax.main, like --config=..."

run env HTMTL_EXTRAS=cuda13 "$HTMTL_ROOT/launch/env.sh"
run_until_finished "$HTMTL_PYTHON_BIN" -m htmtl_jax.main "$@"
