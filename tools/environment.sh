#!/bin/sh
# Creates .venv with the versions in constraints.txt, or leaves it alone when it is up to date.
set -eu

fail() {
    printf 'make: %s\n' "$1" >&2
    exit 1
}

# The newest there is, unless PYTHON names one. A name on the PATH can be a stub that starts nothing,
# so each interpreter is asked for its version.
find_python() {
    for name in ${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3}; do
        if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}

wanted=$(cat pyproject.toml constraints.txt | cksum)
if [ "$(cat .venv/installed 2>/dev/null)" = "$wanted" ] && .venv/bin/python -c '' 2>/dev/null; then
    exit 0
fi

python=$(find_python) || fail "Python 3.11, 3.12, 3.13 or 3.14 is needed, and none was found."
echo "Installing the packages into .venv, about a minute ..."
rm -rf .venv
"$python" -m venv .venv >/dev/null 2>&1 ||
    fail "$python could not create a virtual environment (on Debian and Ubuntu, install python3-venv)."
# uv installs the set in half of pip's time.
{
    .venv/bin/python -m pip install --quiet --retries 1 --constraint constraints.txt uv &&
        .venv/bin/uv pip install --quiet --python .venv/bin/python \
            --constraint constraints.txt --build-constraint constraints.txt --editable '.[book,dev]'
} >.venv/install.log 2>&1 ||
    fail "the packages could not be installed; is there a network? The installer's words are in .venv/install.log."
echo "$wanted" >.venv/installed
