#!/bin/sh
# Set Ulak up beside this file, then run it. Needs Python 3.11 or newer and nothing else.
#
#   ./ulak.sh COMMAND ...      what the `ulak` command does (dev, serve, demo, ...)
#   ./ulak.sh test [ARG ...]   all that CI does; the arguments go to pytest
#
# ULAK_PYTHON names the interpreter to use, ULAK_VENV the environment to keep (default: .venv here).
# When nothing changed since the last run, nothing is touched and no network is needed.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
venv=${ULAK_VENV:-$root/.venv}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
boot=$root/.bootstrap                           # our own uv, its cache if the home is unusable, the lock
[ -z "${ULAK_VENV:-}" ] || boot=$venv.bootstrap # elsewhere too, so that a read-only tree can be run
case ${1:-} in test | bench) need=dev ;; *) need=run ;; esac

say() { printf 'ulak.sh: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

find_python() { # prints a real path: version managers put shims on the PATH that may not start
  if [ -n "${ULAK_PYTHON:-}" ]; then set -- "$ULAK_PYTHON"; else set -- python3.14 python3.13 python3.12 python3.11 python3; fi
  for name do
    found=$("$name" -c 'import sys; print(sys._base_executable if sys.version_info >= (3, 11) else "")' 2>/dev/null) || continue
    [ -z "$found" ] || { printf '%s\n' "$found"; return; }
  done
  return 1
}

find_uv() { # prints a uv that works: the user's own, or one fetched with --target, which PEP 668 does not forbid
  for uv in uv "$boot/bin/uv"; do "$uv" --version >/dev/null 2>&1 && { command -v "$uv"; return; }; done
  say "fetching uv, the installer"
  PIP_USER=0 "$python" -m pip install --quiet --disable-pip-version-check --no-input --retries 1 --target "$boot" uv >"$boot/log" 2>&1
  "$boot/bin/uv" --version >/dev/null 2>&1 && printf '%s\n' "$boot/bin/uv"
}

version() { "$1" -V 2>/dev/null || echo "none"; }

stamp() { # prints what an environment that fits this tree is stamped with, $1 being run or dev
  printf '%s\n' "$1" "$root" "$(version "$venv/bin/python")" "$(cd "$root/requirements" && cksum run.txt dev.txt)"
}

wanted_python() { [ -z "${ULAK_PYTHON:-}" ] || [ "$(version "$ULAK_PYTHON")" = "$(version "$venv/bin/python")" ]; }

ready() { # development requirements include those to run
  now=$(cat "$venv/ulak-stamp" 2>/dev/null) && wanted_python && { [ "$now" = "$(stamp dev)" ] || [ "$now" = "$(stamp "$need")" ]; }
}

usable() { # made for this very place, and its interpreter starts; one without a stamp is adopted
  wanted_python && "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
    { [ ! -s "$venv/ulak-stamp" ] || [ "$(sed -n 2p "$venv/ulak-stamp")" = "$root" ]; }
}

clear_away() { # removes an environment, and nothing that is not one
  [ ! -e "$venv" ] || [ -e "$venv/pyvenv.cfg" ] || rmdir "$venv" 2>/dev/null || die "$venv is in the way: not a Python environment"
  rm -rf "$venv"
}

with_uv() { # --directory: the settings of some other project that the caller stands in are not ours
  uv=$(find_uv) || return
  usable || "$uv" venv --quiet --directory "$root" --python "$python" "$venv" || return
  set -- install -r                          # what somebody put into an environment of their own making stays
  [ ! -s "$venv/ulak-stamp" ] || set -- sync # in one that we made, what is no longer required goes
  "$uv" pip "$1" --quiet --directory "$root" --require-hashes --python "$venv/bin/python" ${2:+"$2"} "$root/requirements/$need.txt"
}

with_pip() {
  say "uv did not do it: trying plain pip, which takes a minute or two"
  if "$python" -m pip --version >/dev/null 2>&1; then
    usable || "$python" -m venv --without-pip "$venv" || return
    set -- "$python" -m pip --python "$venv/bin/python"
  else # an interpreter without pip may still have the one that venv brings
    usable || "$python" -m venv "$venv" || return
    set -- "$venv/bin/python" -m pip
  fi
  "$@" --quiet --disable-pip-version-check install --require-hashes -r "$root/requirements/$need.txt"
}

set_up() ( # a subshell: what it opens and exports ends with it
  python=$(find_python) || die "found no Python 3.11 or newer as ${ULAK_PYTHON:-python3.14 ... python3.11 or python3}; install one, or name it in ULAK_PYTHON"
  (mkdir -p "$boot" && true >>"$boot/lock") 2>/dev/null || die "cannot write to $boot; name another place in ULAK_VENV"
  exec 9>>"$boot/lock" # held until the last process with this descriptor ends, so a killed set-up leaves no lock behind
  "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' 9>&9
  ! ready || return 0 # somebody else did it while we waited
  [ "$(sed -n 1p "$venv/ulak-stamp" 2>/dev/null)" != dev ] || need=dev # development tools, once there, stay
  say "setting up $venv ($need) with $(version "$python")"
  usable || clear_away
  export UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}" # trust what pip and the system trust
  cache=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/uv
  [ -n "${UV_CACHE_DIR:-}" ] || { mkdir -p "$cache" && [ -w "$cache" ]; } 2>/dev/null || export UV_CACHE_DIR="$boot/cache" PIP_CACHE_DIR="$boot/cache"
  with_uv || with_pip || {
    cat "$boot/log" >&2 2>/dev/null || true
    die 'could not install the requirements (see above). No network, or a mirror to name? "Set-up" in CONTRIBUTING.md tells how.'
  }
  "$venv/bin/python" -c 'import pathlib, sys, sysconfig
pathlib.Path(sysconfig.get_path("purelib"), "ulak-src.pth").write_text(sys.argv[1] + "\n")' "$root/src"
  stamp "$need" >"$venv/ulak-stamp"
)

check() { # everything runs even when an early step fails, so that one run tells all; pytest has the last word
  cd "$root"
  bin=$venv/bin failed=
  for step in "ruff format --check ." "ruff check ." mypy lint-imports "python tools/check_links.py"; do
    printf '\n== %s\n' "$step"
    "$bin"/$step || failed="$failed [$step]"
  done
  printf '\n== pytest %s\n' "$*"
  "$bin/python" -m pytest "$@" || failed="$failed [pytest]"
  [ -z "$failed" ] || die "failed:$failed"
}

ready || set_up
if [ "${1:-}" = test ]; then shift; check "$@"; else exec "$venv/bin/python" -m ulak "$@"; fi
