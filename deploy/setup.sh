#!/usr/bin/env bash
# Everything `make run` and `make test` need, on a bare Debian, Ubuntu or conda machine:
# .venv with the CPU build of torch (a CUDA build only where a CUDA device is), Quantum ESPRESSO,
# and the SG15 v1.2 pseudopotentials; with the word `browser` also Chromium, for the tests of the pages.
# Running it again is quick and changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

TORCH_VERSION=2.13.0
TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
say() { printf '\033[1m[setup]\033[0m %s\n' "$*"; }
die() { printf '[setup] %s\n' "$*" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else return 1; fi
}

find_python() {
  for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null &&
       "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"; return
    fi
  done
  return 1
}

set_up_python() {
  local stamp=.venv/.installed wanted
  wanted="$(cat pyproject.toml deploy/setup.sh | sha256sum)"
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then say "Python packages: already there"; return; fi
  local python
  if ! python="$(find_python)"; then
    say "Python 3.11 with venv: installing"
    as_root apt-get update -qq && as_root apt-get install -y -qq --no-install-recommends python3 python3-venv \
      || die "Python 3.11 or newer with the venv module is needed: apt install python3 python3-venv"
    python="$(find_python)" || die "Python 3.11 or newer is needed; set PYTHON=/path/to/python"
  fi
  say "Python packages: installing into .venv (a few minutes the first time)"
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
  install_torch
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
  .venv/bin/python -c 'import torch, torch_geometric' || die "torch does not import; remove .venv and try again"
  echo "$wanted" > "$stamp"
}

install_torch() {
  local pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check)
  if .venv/bin/python -c "import torch, sys; sys.exit(torch.__version__.split('+')[0] != '$TORCH_VERSION')" 2>/dev/null; then
    return
  fi
  if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; then
    say "torch $TORCH_VERSION with CUDA (a device was found)"
    "${pip[@]}" "torch==$TORCH_VERSION"
  else
    say "torch $TORCH_VERSION, CPU build"
    # The local version label makes a CUDA build impossible, wherever the file comes from.
    "${pip[@]}" "torch==$TORCH_VERSION+cpu" 2>/dev/null ||
      "${pip[@]}" --extra-index-url "$TORCH_CPU_INDEX" "torch==$TORCH_VERSION+cpu"
  fi
}

set_up_quantum_espresso() {
  if command -v pw.x >/dev/null; then say "Quantum ESPRESSO: $(command -v pw.x)"; return; fi
  for conda in mamba micromamba conda; do
    if command -v "$conda" >/dev/null; then
      say "Quantum ESPRESSO: installing with $conda"
      "$conda" install -y -q -c conda-forge qe && return
    fi
  done
  if command -v apt-get >/dev/null; then
    say "Quantum ESPRESSO: installing with apt (a minute)"
    # The OpenBLAS kernels are a fifth faster in pw.x than the reference BLAS that apt would choose.
    if as_root apt-get update -qq &&
       as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
         quantum-espresso libopenblas0-pthread >/dev/null; then return; fi
  fi
  die "Quantum ESPRESSO is needed: apt install quantum-espresso, or conda install -c conda-forge qe"
}

set_up_browser() {
  for browser in chromium chromium-browser google-chrome; do
    if command -v "$browser" >/dev/null; then say "browser: $(command -v "$browser")"; return; fi
  done
  say "browser: installing Chromium with apt, for the tests of the pages"
  if command -v apt-get >/dev/null && as_root apt-get update -qq &&
     as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
       chromium >/dev/null; then return; fi
  say "no browser: the tests that need one are skipped"
}

set_up_python
set_up_quantum_espresso
if [ "${1:-}" = browser ]; then set_up_browser; fi
.venv/bin/python deploy/install_pseudopotentials.py
say "done: .venv/bin/farm --help"
