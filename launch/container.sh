#!/usr/bin/env bash
# Builds the container image, and with --push uploads it.
#
#   launch/container.sh [--image=NAME:TAG] [--extras=cuda13|tpu|none] [--push] [--dry_run]
#
# --image is HTMTL_IMAGE of launch/settings.env by default. HTMTL_CONTAINER_TOOL=podman works too.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
help_if_asked "$@"
load_settings

image="${HTMTL_IMAGE:-}" extras=cuda13 push=0 tool="${HTMTL_CONTAINER_TOOL:-docker}"
for argument in "$@"; do
  case "$argument" in
    --dry_run) DRY_RUN=1 ;;
    --image=*) image="${argument#*=}" ;;
    --extras=*) extras="${argument#*=}" ;;
    --push) push=1 ;;
    *) fail "unknown argument $argument; the head of this file lists them" ;;
  esac
done
[[ -n "$image" ]] || fail "--image is missing, for example --image=htmtl:latest; or HTMTL_IMAGE in launch/settings.env"
case "$extras" in
  cuda13 | tpu | none) ;;
  *) fail "--extras=$extras is unknown; choose cuda13, tpu or none" ;;
esac

run "$tool" build --file="$HTMTL_ROOT/launch/Containerfile" --build-arg=EXTRAS="$extras" \
  --tag="$image" "$HTMTL_ROOT"
if [[ "$push" == 1 ]]; then
  run "$tool" push "$image"
fi
