#!/usr/bin/env bash
# Installs what is missing and runs the tests.
#
#   launch/test.sh [--dry_run] [pytest arguments]
#   launch/test.sh tests/config_test.py -k override

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

take_dry_run "$@"
set -- ${ARGUMENTS[@]+"${ARGUMENTS[@]}"}
run "$HTMTL_ROOT/launch/env.sh" test
cd "$HTMTL_ROOT"
# A file of tests stays on one worker, which compiles its programs once; the longest come first.
run "$HTMTL_PYTHON_BIN" -m pytest -q -n auto --maxprocesses=4 --dist=loadfile \
  --no-loadscope-reorder "$@"
