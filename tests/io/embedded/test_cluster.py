"""What is true of a data directory before a server starts on it: it is whole, and nobody else is on it."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.io.embedded.helpers import Owner, ask, wait_until
from ulak.io.embedded import account, cluster, postgres
from ulak.io.embedded.binaries import find_postgres
from ulak.io.embedded.errors import EmbeddedError

pytestmark = pytest.mark.pg
BIN = find_postgres(None, major=None)


def plant_pid_file(data: Path, pid: int) -> None:
    path = data / "postgres" / "postmaster.pid"
    path.write_text(f"{pid}\n{data / 'postgres'}\n1700000000\n5432\n{data / 'socket'}\n\n  1 1\nready   \n")
    status = (data / "postgres").stat()
    os.chown(path, status.st_uid, status.st_gid)


@pytest.fixture(params=["with", "without"])
def defence(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """The mutation check: without the proof that a pid file is stale, PostgreSQL has to refuse the start."""
    if request.param == "without":
        monkeypatch.setattr(cluster, "is_clear", lambda *_args, **_more: True)
        monkeypatch.setattr(cluster, "PATIENCE", 0.1)
    return bool(request.param == "with")


def starts(data: Path, defence: bool) -> None:
    if defence:
        with postgres.start(data) as server:
            assert ask(server.url, "SELECT 1") == 1
    else:
        with pytest.raises(EmbeddedError, match=r"postmaster\.pid"):
            postgres.start(data)


def test_a_zombie_with_the_recorded_pid_is_no_server(data: Path, as_server: dict[str, Any], defence: bool) -> None:
    with subprocess.Popen(["/bin/true"], **as_server) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        plant_pid_file(data, child.pid)
        starts(data, defence)


def test_a_recycled_pid_is_no_server(data: Path, as_server: dict[str, Any], defence: bool) -> None:
    with subprocess.Popen(["/bin/sleep", "60"], **as_server) as child:
        plant_pid_file(data, child.pid)
        starts(data, defence)
        assert child.poll() is None  # and nobody shot the bystander
        child.kill()


def test_a_pid_file_of_nobody_and_a_half_written_one_do_no_harm(data: Path) -> None:
    with subprocess.Popen(["/bin/true"]) as child:
        child.wait()
    plant_pid_file(data, child.pid)
    starts(data, defence=True)
    plant_pid_file(data, child.pid)
    (data / "postgres" / "postmaster.pid").write_text("")
    starts(data, defence=True)


def test_a_foreign_server_on_the_directory_is_waited_for_and_then_named(
    data: Path, spot: Path, as_server: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = spot / "own"
    socket.mkdir()
    socket.chmod(0o777)
    argv: list[str | Path] = [BIN.postgres, "-D", data / "postgres", "-k", socket, "-h", ""]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL, **as_server) as foreign:
        try:
            wait_until(lambda: cluster.is_ready(data / "postgres", foreign.pid))
            monkeypatch.setattr(cluster, "PATIENCE", 0.3)
            with pytest.raises(EmbeddedError, match=f"did not start .process {foreign.pid}.") as raised:
                postgres.start(data)
            assert f"kill -INT {foreign.pid}" in raised.value.hint
            assert foreign.poll() is None
        finally:
            foreign.send_signal(signal.SIGINT)


def test_a_start_killed_in_the_middle_leaves_nothing_behind(spot: Path, owner: Callable[[str, Path], Owner]) -> None:
    first = owner("postgres", spot / "data")
    assert "new database" in first.read("progress")
    wait_until(lambda: any(spot.glob("data/postgres.new-*/global")))
    first.kill()
    assert not (spot / "data" / "postgres").exists()
    wait_until(lambda: not running_on(spot))
    with postgres.start(spot / "data") as server:
        assert ask(server.url, "SELECT current_database()") == "ulak"
    assert not list(spot.glob("data/postgres.new-*"))


def running_on(spot: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(spot) in words and b"pytest" not in words:
                found.append(entry.name)
    return found


@pytest.mark.parametrize(
    ("release", "method"), [("6.1.0-9", "syncfs"), ("5.8.1", "syncfs"), ("5.4.0", "fsync"), ("?", "fsync")]
)
def test_the_whole_disk_is_synced_at_once_only_where_errors_are_reported(
    monkeypatch: pytest.MonkeyPatch, release: str, method: str
) -> None:
    monkeypatch.setattr(platform, "release", lambda: release)
    assert cluster.sync_method() == method


def test_a_failed_initdb_is_explained_and_cleared_away(spot: Path, tmp_path: Path) -> None:
    for name, text in {
        "postgres": "echo 'postgres (PostgreSQL) 18.6'",
        "initdb": "echo 'initdb: error: No space left on device'; exit 1",
    }.items():
        program = spot / name
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    with pytest.raises(EmbeddedError, match=r"is full\. PostgreSQL said: No space left"):
        postgres.start(spot / "data", binaries=spot)
    assert not list((spot / "data").glob("postgres*"))


def test_too_little_space_is_told_before_anything_is_written(spot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "FREE_BYTES_NEEDED", 1 << 60)
    with pytest.raises(EmbeddedError, match="a new database needs"):
        postgres.start(spot / "data")


def test_strange_data_is_left_alone(spot: Path) -> None:
    (spot / "data" / "postgres").mkdir(parents=True)
    (spot / "data" / "postgres" / "letter").write_text("dear")
    with pytest.raises(EmbeddedError, match="has no PG_VERSION"):
        postgres.start(spot / "data")
    (spot / "data" / "postgres" / "PG_VERSION").write_text("eighteen")
    with pytest.raises(EmbeddedError, match="is damaged"):
        postgres.start(spot / "data")
    assert (spot / "data" / "postgres" / "letter").read_text() == "dear"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as somebody else")
def test_programs_in_a_closed_place_are_copied(spot: Path) -> None:
    closed = spot / "home"
    closed.mkdir(mode=0o700)
    package = BIN.directory.parent.parent
    for part in (package, package.with_name(f"{package.name}.libs")):
        subprocess.run(["cp", "-a", str(part), str(closed)], check=True)
    with postgres.start(spot / "data", binaries=closed / package.name / "pginstall" / "bin") as server:
        assert ask(server.url, "SELECT 1") == 1
    chosen = account.choose(spot, wanted=None, owner_of=spot / "data" / "postgres")
    assert account.barrier(closed, chosen) == closed if chosen else False
    assert closed.stat().st_mode & 0o777 == 0o700
