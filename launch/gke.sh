#!/usr/bin/env bash
# Trains on Google Kubernetes Engine: a JobSet on a TPU slice, or on hosts with GPUs.
#
#   launch/gke.sh --kind=tpu|gpu [--dry_run] -- \
#       --config=configs/NAME.py --workdir=/workdir/run --mode=train ...
#
# Fills in launch/gke_tpu.yaml or launch/gke_gpu.yaml from launch/settings.env and gives it to
# kubectl, which has to point at a cluster with JobSet; --dry_run prints it. The image is made by
# launch/container.sh. Interrupted or failed, the JobSet starts again from the last checkpoint.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
help_if_asked "$@"
load_settings

kind=""
while [[ $# -gt 0 ]]; do
  case "$1" in
    --dry_run) DRY_RUN=1 ;;
    --kind=*) kind="${1#*=}" ;;
    --) shift; break ;;
    *) fail "unknown argument $1; the arguments of htmtl_jax.main stand after --" ;;
  esac
  shift
done
[[ -n "$kind" ]] || fail "--kind is missing; choose --kind=tpu or --kind=gpu"
[[ "$kind" == tpu || "$kind" == gpu ]] || fail "--kind=$kind is unknown; choose tpu or gpu"
[[ $# -gt 0 ]] || fail "nothing to run; give the arguments of htmtl_jax.main after --"
need_workdir_in /workdir/ "$@"
need HTMTL_JOB HTMTL_IMAGE HTMTL_GKE_CLAIM
if [[ "$kind" == tpu ]]; then
  need HTMTL_GKE_TPU HTMTL_GKE_TPU_TOPOLOGY HTMTL_GKE_TPU_HOSTS HTMTL_GKE_TPU_CHIPS
else
  need HTMTL_GKE_GPU HTMTL_GKE_GPU_HOSTS HTMTL_GKE_GPUS
fi

manifest="$(render "$HTMTL_ROOT/launch/gke_$kind.yaml" "$@")"
if [[ "$DRY_RUN" == 1 ]]; then
  echo "# kubectl apply -f - <<EOF"
  echo "$manifest"
  echo "# EOF"
else
  kubectl apply -f - <<< "$manifest"
  echo "follow it: kubectl logs -f -l jobset.sigs.k8s.io/jobset-name=$HTMTL_JOB --max-log-requests=64"
fi
