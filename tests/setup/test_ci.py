"""Does CI install what the tests need of the system, and go on to say what is missing where it can't?"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ("bash", "dirname", "mktemp", "rm", "sleep", "tail", "timeout")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A tree whose tests say only that they ran, on a machine with next to nothing."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    program(tmp_path / "ulak.sh", 'echo "ran: $* CI=$CI"')
    (tmp_path / "bin").mkdir()
    for name in NEEDED:
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or "")
    return tmp_path


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def run(machine: Path, user: int, *arguments: str) -> tuple[str, list[str]]:
    """What CI says, and which commands apt-get got."""
    program(machine / "bin/id", f"echo {user}")
    environment = {"PATH": str(machine / "bin"), "CI_PAUSE": "0", "LOG": str(machine / "log")}
    kept = {name: value for name, value in os.environ.items() if name == "TMPDIR"}
    command = [shutil.which("bash") or "bash", str(machine / ".ci/run"), *arguments]
    done = subprocess.run(command, env=kept | environment, capture_output=True, text=True, check=True, timeout=60)
    log = machine / "log"
    return done.stdout + done.stderr, log.read_text().splitlines() if log.exists() else []


def test_root_gets_what_is_missing_even_if_it_fails_at_first(machine: Path) -> None:
    script = 'echo "$*" >>"$LOG"; [ "$1" = -q ] || [ -e "$LOG.2" ] || { : >"$LOG.2"; exit 1; }'
    program(machine / "bin/apt-get", script)
    program(machine / "bin/node", "")
    said, commands = run(machine, 0, "tests/core")
    install = "-qy install --no-install-recommends chromium firefox-esr npm nghttp2-server"
    assert commands == ["-q update", install, "-q update", install]
    assert "missing" not in said
    assert "ran: test tests/core CI=true" in said


def test_where_nothing_is_missing_nothing_is_installed(machine: Path) -> None:
    program(machine / "bin/apt-get", 'echo "$*" >>"$LOG"')
    for name in ("chromium", "firefox-esr", "node", "npm", "nghttpd"):
        program(machine / "bin" / name, "")
    said, commands = run(machine, 0)
    assert (commands, said.strip()) == ([], "ran: test CI=true")


@pytest.mark.parametrize(("user", "apt"), [(1000, "exit 0"), (0, None), (0, "exit 1")])
def test_where_it_can_not_install_it_says_so_and_runs_the_tests(machine: Path, user: int, apt: str | None) -> None:
    if apt is not None:
        program(machine / "bin/apt-get", apt)
    said, _ = run(machine, user)
    assert "missing: chromium firefox-esr nodejs npm nghttp2-server; the tests that need them will fail" in said
    assert "ran: test CI=true" in said
