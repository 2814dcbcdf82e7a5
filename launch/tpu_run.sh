#!/usr/bin/env bash
# Copies the project to every host of a TPU slice and runs htmtl_jax.main on all of them.
#
#   launch/tpu_run.sh [--name=NAME] [--zone=ZONE] [--project=PROJECT] [--dry_run] -- \
#       --config=configs/NAME.py --workdir=/mnt/shared/run --mode=train ...
#
# The workdir has to be on a file system that all hosts mount. What is left out comes from
# launch/settings.env. tpu_train.sh also rents the slice, and starts again what was interrupted.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

help_if_asked "$@"
load_settings

name="${HTMTL_TPU_NAME:-}" zone="${HTMTL_ZONE:-}" project="${HTMTL_PROJECT:-}"
while [[ $# -gt 0 ]]; do
  case "$1" in
    --dry_run) DRY_RUN=1 ;;
    --name=*) name="${1#*=}" ;;
    --zone=*) zone="${1#*=}" ;;
    --project=*) project="${1#*=}" ;;
    --) shift; break ;;
    *) fail "unknown argument $1; the arguments of htmtl_jax.main stand after --" ;;
  esac
  shift
done
[[ -n "$name" ]] || fail "--name is missing; give it, or HTMTL_TPU_NAME in launch/settings.env"
[[ -n "$zone" ]] || fail "--zone is missing; give it, or HTMTL_ZONE in launch/settings.env"
[[ $# -gt 0 ]] || fail "nothing to run; give the arguments of htmtl_jax.main after --"
need_workdir_in / "$@"
common=(--zone="$zone" --worker=all ${project:+--project="$project"})

# The working tree as it is, changes included, without what is made on each machine.
if [[ "$DRY_RUN" == 1 ]]; then
  archive_folder="${TMPDIR:-/tmp}"
else
  archive_folder="$(mktemp -d)"
  trap 'rm -rf "$archive_folder"' EXIT
fi
archive="$archive_folder/htmtl_jax.tar.gz"
run tar -C "$HTMTL_ROOT" --exclude=./.venv --exclude=./runs --exclude=./.git \
  --exclude=./launch/settings.env -czf "$archive" .
run gcloud compute tpus tpu-vm scp "$archive" "$name:htmtl_jax.tar.gz" "${common[@]}"

unpack='mkdir -p htmtl_jax && tar -C htmtl_jax -xzf htmtl_jax.tar.gz && cd htmtl_jax'
install='HTMTL_EXTRAS=tpu launch/env.sh'
passed=""  # what these are set to here holds on the hosts too
for variable in HTMTL_HEARTBEAT_SECONDS HTMTL_WAIT_HOURS; do
  [[ -z "${!variable:-}" ]] || passed+="$(print_command "$variable=${!variable}") "
done
main="HTMTL_MULTIHOST=1 $passed.venv/bin/python -m htmtl_jax.main $(print_command "$@")"
run gcloud compute tpus tpu-vm ssh "$name" "${common[@]}" \
  --command="$unpack && $install && $main"
