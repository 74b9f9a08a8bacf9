#!/usr/bin/env bash
# Build LightGBM with CUDA and the fixes of include/lightgbm/cuda.patch, in place of the installed wheel.
# Needs the CUDA toolkit, NCCL (Debian, Ubuntu: libnccl-dev), a C++ compiler and patch. PYTHON names the interpreter
# whose packages are changed, .venv's by default. Arguments are passed to pip; to build for one GPU architecture only:
# --config-settings=cmake.define.CMAKE_CUDA_ARCHITECTURES=90
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${PYTHON:-.venv/bin/python}
for tool in nvcc patch; do
    command -v "$tool" >/dev/null || { echo "error: $tool is not on the PATH" >&2; exit 1; }
done
"$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip >/dev/null

version=$(sed -n 's/^lightgbm==\([0-9.]*\).*/\1/p' requirements.txt)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m pip download --quiet --no-deps --no-binary lightgbm --dest "$work" "lightgbm==$version"
tar -xzf "$work/lightgbm-$version.tar.gz" -C "$work"
patch --quiet --strip=1 --directory="$work/lightgbm-$version" <include/lightgbm/cuda.patch
# A compiler without the shared C++ library links in its own copy, and the build then crashes in a process with Arrow.
export LDFLAGS="-Wl,--push-state,--no-as-needed,-l:libstdc++.so.6,--pop-state ${LDFLAGS:-}"
"$python" -m pip install --force-reinstall --no-deps --config-settings=cmake.define.USE_CUDA=ON "$@" "$work/lightgbm-$version"
