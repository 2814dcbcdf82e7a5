#!/usr/bin/env bash
# Rents a Cloud TPU slice.
#
#   launch/tpu_create.sh --name=NAME --zone=ZONE [--type=v5litepod-16]
#       [--version=v2-alpha-tpuv5-lite] [--project=PROJECT] [--spot] [--queued] [--dry_run]
#
# --spot: cheaper, may be taken away at any time; training saves and resumes.
# --queued: wait in Google's queue until the slice is free, in place of failing at once.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

name="" zone="" type="v5litepod-16" version="v2-alpha-tpuv5-lite" queued=0
common=()
for argument in "$@"; do
  case "$argument" in
    --dry_run) DRY_RUN=1 ;;
    --name=*) name="${argument#*=}" ;;
    --zone=*) zone="${argument#*=}" ;;
    --type=*) type="${argument#*=}" ;;
    --version=*) version="${argument#*=}" ;;
    --project=*) common+=("$argument") ;;
    --spot) common+=(--spot) ;;
    --queued) queued=1 ;;
    *) fail "unknown argument $argument; the head of this file lists them" ;;
  esac
done
[[ -n "$name" ]] || fail "--name is missing"
[[ -n "$zone" ]] || fail "--zone is missing, for example --zone=us-central1-a"

common=(--zone="$zone" --accelerator-type="$type" ${common[@]+"${common[@]}"})
if [[ "$queued" == 1 ]]; then
  run gcloud compute tpus queued-resources create "$name" --node-id="$name" \
    --runtime-version="$version" "${common[@]}"
else
  run gcloud compute tpus tpu-vm create "$name" --version="$version" "${common[@]}"
fi
