#!/usr/bin/env bash
# Rents a Cloud TPU slice. What is left out comes from launch/settings.env.
#
#   launch/tpu_create.sh [--name=NAME] [--zone=ZONE] [--type=v5litepod-16]
#       [--version=VERSION] [--project=PROJECT] [--spot] [--queued] [--dry_run]
#
# --spot: cheaper, may be taken away at any time; training saves and resumes.
# --version: of the machines' software; left out, the one that goes with the type.
# --queued: wait in Google's queue until the slice is free, in place of failing at once.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

help_if_asked "$@"
load_settings

name="${HTMTL_TPU_NAME:-}" zone="${HTMTL_ZONE:-}" project="${HTMTL_PROJECT:-}" queued=0
type="${HTMTL_TPU_TYPE:-v5litepod-16}" version="${HTMTL_TPU_VERSION:-}"
spot="${HTMTL_TPU_SPOT:-0}"
for argument in "$@"; do
  case "$argument" in
    --dry_run) DRY_RUN=1 ;;
    --name=*) name="${argument#*=}" ;;
    --zone=*) zone="${argument#*=}" ;;
    --type=*) type="${argument#*=}" ;;
    --version=*) version="${argument#*=}" ;;
    --project=*) project="${argument#*=}" ;;
    --spot) spot=1 ;;
    --queued) queued=1 ;;
    *) fail "unknown argument $argument; the head of this file lists them" ;;
  esac
done
[[ -n "$name" ]] || fail "--name is missing; give it, or HTMTL_TPU_NAME in launch/settings.env"
[[ -n "$zone" ]] || fail "--zone is missing, for example --zone=us-central1-a"
if [[ -z "$version" ]]; then
  case "$type" in
    v5litepod-*) version=v2-alpha-tpuv5-lite ;;
    v5p-*) version=v2-alpha-tpuv5 ;;
    v6e-*) version=v2-alpha-tpuv6e ;;
    v4-*) version=tpu-ubuntu2204-base ;;
    *) fail "--type=$type: no software is known for it; give it as --version" ;;
  esac
fi

common=(--zone="$zone" --accelerator-type="$type" ${project:+--project="$project"})
if [[ "$spot" == 1 ]]; then
  common+=(--spot)
fi
if [[ "$queued" == 1 ]]; then
  run gcloud compute tpus queued-resources create "$name" --node-id="$name" \
    --runtime-version="$version" "${common[@]}"
else
  run gcloud compute tpus tpu-vm create "$name" --version="$version" "${common[@]}"
fi
