"""Does the whole of Ulak do its job on real events, and does a killed node cost nothing?

Both are judged by the demo itself, from outside: see ``tests/cli/demonstration/test_judge.py`` for the
proof that its judge catches every fraud.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EVENTS = ROOT.parent / "shared" / "data" / "github-events.jsonl"

pytestmark = [pytest.mark.slow, pytest.mark.pg, pytest.mark.timeout(420)]
real = pytest.mark.skipif(not EVENTS.exists(), reason=f"the real events are not here: {EVENTS}")


def demo(*arguments: str, folder: Path) -> tuple[int, dict[str, Any], str]:
    """Run the demo with its temporary files under ``folder``; exit code, its JSON line, its errors."""
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-m", "ulak", "demo", "--json", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=400,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 1, done.stdout + done.stderr
    return done.returncode, json.loads(lines[0]), done.stderr


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for temporary files that any account may pass through, as PostgreSQL's has to."""
    made = Path(tempfile.mkdtemp(prefix="ulak-journey-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_the_story_runs_without_events_and_leaves_nothing_behind(folder: Path) -> None:
    code, told, errors = demo(folder=folder)
    assert code == 0, errors
    assert (told["lost"], told["duplicates"], told["unknown"]) == (0, 0, 0)
    assert set(told) == {"accepted", "deliveries", "lost", "duplicates", "unknown", "passed_on", "socket_ms", "seconds"}
    assert told["passed_on"] > 0, "one of the vendors was in trouble"
    assert set(told["deliveries"]["email"]) >= {"accepted", "skipped", "suppressed"}
    assert set(told["deliveries"]["push"]) == {"accepted", "skipped"}
    assert told["socket_ms"]["p50"] > 0
    assert not list(folder.iterdir())


@real
def test_every_real_event_is_accounted_for(folder: Path) -> None:
    code, told, errors = demo("--events", str(EVENTS), folder=folder)
    assert code == 0, errors
    assert told["accepted"] == 238
    assert (told["lost"], told["duplicates"]) == (0, 0)


@real
def test_a_node_that_is_killed_loses_nothing_and_doubles_only_what_was_never_answered(folder: Path) -> None:
    code, told, errors = demo("--events", str(EVENTS), "--kill", "3", "--seed", "7", folder=folder)
    assert code == 0, errors
    assert told["lost"] == 0
    assert told["duplicates"] <= told["unknown"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_the_demo_ends_all_that_it_started(folder: Path, number: signal.Signals) -> None:
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT / "src"), "ULAK_TEST_MARK": str(folder)}
    process = subprocess.Popen(
        [sys.executable, "-m", "ulak", "demo", "--repeat", "50"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    try:
        wait_for(lambda: _has(folder, "node.log") and len(_marked(str(folder))) >= 3, "the stack to start")
        process.send_signal(number)
        assert process.wait(60) != 0
        wait_for(lambda: not _marked(str(folder)) and not _inside(folder), "everything to end")
    finally:
        process.kill()
        process.wait()
    if number != signal.SIGKILL:
        assert not list(folder.iterdir())


def wait_for(condition: Any, what: str, within: float = 90.0) -> None:
    """Poll for something outside of this process."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, f"not within {within:.0f} s: {what}"
        time.sleep(0.05)


def _has(folder: Path, name: str) -> bool:
    return any(folder.glob(f"ulak-demo-*/{name}"))


def _marked(mark: str) -> list[int]:
    """Living processes that carry our mark in their environment (the demo, its node, its sandbox)."""
    return [pid for pid in _pids() if f"ULAK_TEST_MARK={mark}".encode() in _read(pid, "environ")]


def _inside(folder: Path) -> list[int]:
    """Living processes that name the folder in their command line (PostgreSQL, whose environment is cleared)."""
    return [pid for pid in _pids() if str(folder).encode() in _read(pid, "cmdline")]


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
