#!/bin/sh
# Pin the requirements: ranges in pyproject.toml and dev.in become exact versions with hashes in run.txt and dev.txt.
# Run it after changing either, or to move to newer versions (arguments go to uv: --upgrade, --upgrade-package NAME).
# The result is for every platform, names no index, and is read by uv and pip alike. Needs uv (UV=path when not on PATH).
set -eu
cd "$(dirname "$0")/.."
lock() {
  "${UV:-uv}" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-emit-find-links --custom-compile-command requirements/lock.sh "$@" >/dev/null
}
lock "$@" pyproject.toml -o requirements/run.txt
lock "$@" -c requirements/run.txt pyproject.toml requirements/dev.in -o requirements/dev.txt
