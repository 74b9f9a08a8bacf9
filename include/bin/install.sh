#!/usr/bin/env bash
# Install a lock file into a virtual environment, created if necessary: with uv if available, else with Python's own
# venv and pip.
# Usage: include/bin/install.sh LOCK [FOLDER], by default .venv
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
lock=$1
venv=${2:-.venv}

supported() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        if supported "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "error: no Python 3.11, 3.12 or 3.13 found (tried ${PYTHON:-python3 python3.13 python3.12 python3.11 python});" \
        "install one, or name it: make PYTHON=/path/to/python3.12" >&2
    return 1
}

make_venv() {
    local python
    python=$(find_python)
    rm -rf "$venv"
    if command -v uv >/dev/null; then
        uv venv --quiet --python "$(command -v "$python")" "$venv"
    elif ! "$python" -m venv "$venv"; then
        echo "error: $python cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2
        return 1
    fi
}

supported "$venv/bin/python" || make_venv
[ "$venv" != .venv ] || ln -sf ../../include/bin/mtl .venv/bin/mtl # the command of an activated .venv
echo "Installing $lock into $venv" >&2
if command -v uv >/dev/null; then
    uv pip install --quiet --python "$venv/bin/python" --require-hashes -r "$lock"
else
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip >/dev/null
    for file in include/requirements/installer.txt "$lock"; do
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$file"
    done
fi
