"""What an embedded PostgreSQL survives: the death of its owner, its own, both; and whom it lets in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.io.embedded.helpers import Owner, ask, modes, wait_until
from ulak.io.embedded import cluster, postgres
from ulak.io.embedded.binaries import find_postgres, inspect
from ulak.io.embedded.errors import AlreadyOwned, EmbeddedError
from ulak.io.embedded.process import identify, servers_in, start_of

pytestmark = pytest.mark.pg
ROOT = os.geteuid() == 0
LINUX = sys.platform == "linux"


def until_ready(server: postgres.RunningPostgres) -> None:
    wait_until(server.step)


def kill_and_wait(server: postgres.RunningPostgres) -> None:
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: server.poll() is not None)


def fill(url: str) -> None:
    ask(url, "DROP TABLE IF EXISTS kept")
    ask(url, "CREATE TABLE kept (n int)")
    ask(url, "INSERT INTO kept SELECT generate_series(1, 1000)")


def test_neither_slow_nor_refused_statements_put_what_they_are_about_into_the_log(data: Path) -> None:
    address = "ann@example.com"

    async def provoke(url: str) -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("DROP TABLE IF EXISTS people; CREATE TABLE people (address text PRIMARY KEY)")
        for _ in range(2):
            with contextlib.suppress(asyncpg.UniqueViolationError):
                await connection.execute("INSERT INTO people VALUES ($1)", address)
        await connection.close()

    with postgres.start(data, settings={"log_min_duration_statement": "0"}) as server:
        asyncio.run(provoke(server.url))
        said = server.log.read_text()
    assert "INSERT INTO people" in said
    assert "duplicate key" in said
    assert address not in said


def test_from_nothing_to_answers_and_back(spot: Path) -> None:
    told: list[str] = []
    before = modes(spot)
    began = time.monotonic()
    with postgres.start(spot / "data", progress=told.append) as server:
        first = time.monotonic() - began
        assert server.poll() is None
        assert server.step()
        assert ask(server.url, "SELECT current_user || current_database()") == "ulakulak"
        assert ask(server.superuser_url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        assert not ask(server.url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        for name, value in {
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "data_checksums": "on",
            "listen_addresses": "",
            "server_encoding": "UTF8",
            "jit": "off",
        }.items():
            assert ask(server.url, f"SHOW {name}") == value
        assert ask(server.url, "SELECT 'B' < 'a' COLLATE \"default\"")  # C order, not a language's
        assert ask(server.url, "SELECT upper('ğ')") == "Ğ"  # yet letters of all languages
        pid = server.pid
    assert server.poll() == 0
    assert start_of(pid) is None
    assert postgres.connect_url(spot / "data") is None
    assert told[0].startswith("Making a new database")
    assert modes(spot) == before
    assert first < 15  # the goal is 3 s; this machine may be busy


def test_everything_in_the_directory_is_private(data: Path) -> None:
    with postgres.start(data):
        for path in (data / "postgres", data / "socket", data / "log"):
            assert path.stat().st_mode & 0o077 == 0
        assert (data / "server.json").stat().st_mode & 0o077 == 0
        assert not list(data.glob("*.new"))


def test_after_the_death_of_its_owner_the_server_goes(data: Path, owner: Callable[[str, Path], Owner]) -> None:
    first = owner("postgres", data)
    pid, url = first.read("pid"), postgres.connect_url(data)
    assert url is not None
    fill(url)
    first.kill()
    wait_until(lambda: start_of(pid) is None and not servers_in(data / "postgres", "postgres"))
    assert postgres.connect_url(data) is None
    with postgres.start(data) as server:
        assert ask(server.url, "SELECT count(*) FROM kept") == 1000


def test_the_next_owner_may_come_at_once(data: Path, owner: Callable[[str, Path], Owner]) -> None:
    first = owner("postgres", data)
    first.read("pid")
    first.process.kill()
    first.process.wait()
    with postgres.start(data) as server:  # while the old postmaster is still ending
        assert ask(server.url, "SELECT 1") == 1


def test_after_its_own_death_the_server_is_started_again(data: Path) -> None:
    with postgres.start(data) as server:
        fill(server.url)
        url, pid = server.url, server.pid
        kill_and_wait(server)
        assert server.poll() == -signal.SIGKILL
        until_ready(server)
        assert server.url == url
        assert server.pid != pid
        assert ask(server.url, "SELECT count(*) FROM kept") == 1000


def test_after_the_death_of_both_the_next_start_recovers(data: Path, owner: Callable[[str, Path], Owner]) -> None:
    first = owner("postgres", data)
    pid, url = first.read("pid"), postgres.connect_url(data)
    assert url is not None
    fill(url)
    os.kill(pid, signal.SIGKILL)
    first.kill()
    with postgres.start(data) as server:
        assert ask(server.url, "SELECT count(*) FROM kept") == 1000


@pytest.mark.skipif(not LINUX, reason="workers are found through /proc")
@pytest.mark.parametrize("then", ["start again", "stop"])
def test_a_worker_that_outlives_its_postmaster_is_ended(data: Path, then: str) -> None:
    with postgres.start(data) as server:

        async def compute_for_ever() -> None:
            connection = await asyncpg.connect(server.url)
            try:
                await connection.execute("DO $$ BEGIN LOOP PERFORM 1; END LOOP; END $$")  # never waits for anything
            except (asyncpg.PostgresError, OSError):
                return

        thread = threading.Thread(target=lambda: asyncio.run(compute_for_ever()), daemon=True)
        thread.start()
        query = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'DO %' AND state = 'active'"
        wait_until(lambda: ask(server.superuser_url, query))
        worker = identify(ask(server.superuser_url, query))
        assert worker is not None
        kill_and_wait(server)
        assert worker.alive()
        if then == "stop":
            server.stop()
        else:
            until_ready(server)
            assert ask(server.url, "SELECT 1") == 1
        assert not worker.alive()
        thread.join(10)


def test_one_owner_others_connect(data: Path, owner: Callable[[str, Path], Owner]) -> None:
    first = owner("postgres", data)
    url = first.read("url")
    with pytest.raises(AlreadyOwned, match=f"process {first.process.pid}") as raised:
        postgres.start(data)
    assert raised.value.pid == first.process.pid
    assert raised.value.url == url == postgres.connect_url(data)
    assert ask(url, "SELECT 1") == 1


def test_a_thread_may_not_start_it(data: Path) -> None:
    caught: list[BaseException] = []

    def attempt() -> None:
        try:
            postgres.start(data)
        except EmbeddedError as error:
            caught.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])
    postgres.start(data).stop()  # and the lock was not kept


def test_stop_is_final_and_may_be_repeated(data: Path) -> None:
    server = postgres.start(data)
    server.stop(fast=False)
    server.stop()
    with pytest.raises(EmbeddedError, match="was stopped"):
        server.step()


def test_a_smart_stop_does_not_wait_for_ever(data: Path) -> None:
    server = postgres.start(data)

    async def hold() -> None:
        connection = await asyncpg.connect(server.url)
        await asyncio.to_thread(lambda: None)
        server.stop(fast=False, timeout=0.3)
        connection.terminate()

    asyncio.run(hold())
    assert server.poll() is not None


@pytest.mark.parametrize("name", ["fsync", "synchronous_commit", "full_page_writes"])
def test_promises_cannot_be_switched_off(spot: Path, name: str) -> None:
    for value in ("off", "OFF", "false", "local"):
        with pytest.raises(EmbeddedError, match="has to be durable"):
            postgres.start(spot / "data", settings={name: value})
    assert not (spot / "data").exists()


@pytest.mark.parametrize("name", ["listen_addresses", "unix_socket_directories", "hba_file", "a b", "-c"])
def test_settings_that_are_ours_or_none_are_refused(spot: Path, name: str) -> None:
    with pytest.raises(EmbeddedError, match=r"cannot be changed|no name"):
        postgres.start(spot / "data", settings={name: "x"})


def test_settings_of_the_caller_hold(data: Path) -> None:
    with postgres.start(data, settings={"work_mem": "7MB", "fsync": "on"}) as server:
        assert ask(server.url, "SHOW work_mem") == "7MB"


def test_a_setting_that_postgresql_refuses_is_told(data: Path) -> None:
    with pytest.raises(EmbeddedError, match='invalid value for parameter "work_mem"'):
        postgres.start(data, settings={"work_mem": "much"})
    postgres.start(data).stop()  # and nothing is left locked


@pytest.mark.parametrize("name", ["x" * 120, "with, comma", "with space %20 'quote' \"two\""])
def test_awkward_paths(spot: Path, data: Path, name: str) -> None:
    subprocess.run(["cp", "-a", str(data), str(spot / name)], check=True)
    with postgres.start(spot / name) as server:
        assert ask(server.url, "SELECT 1") == 1
        socket = server._socket
        assert socket.stat().st_mode & 0o077 == 0
    if socket.parent != spot / name:
        assert not socket.exists()


def test_data_of_another_major_version_is_explained(spot: Path) -> None:
    data = spot / "data"
    (data / "postgres").mkdir(parents=True)
    (data / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedError, match=r"made by PostgreSQL 9; here is only PostgreSQL") as raised:
        postgres.start(data)
    assert "ULAK_POSTGRES_BIN" in raised.value.hint


def other_versions() -> list[Path]:
    found = [inspect(path) for path in Path("/usr/lib/postgresql").glob("*/bin")]
    mine = find_postgres(None, major=None).major
    return [one.directory for one in found if one and one.major != mine]


@pytest.mark.skipif(not other_versions(), reason="no PostgreSQL of another major version is installed here")
def test_an_older_system_version_makes_data_that_is_found_again(spot: Path) -> None:
    with postgres.start(spot / "data", binaries=other_versions()[0]) as server:
        version = ask(server.url, "SHOW server_version_num")
        fill(server.url)
    with postgres.start(spot / "data") as server:  # the wheel's is newer; the fitting one is taken
        assert ask(server.url, "SHOW server_version_num") == version
        assert ask(server.url, "SELECT count(*) FROM kept") == 1000


def test_a_long_recovery_is_waited_for_and_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began, real = time.monotonic(), cluster.is_ready
    monkeypatch.setattr(cluster, "is_ready", lambda *a: time.monotonic() - began > 2.5 and real(*a))
    told: list[str] = []
    with postgres.start(data, progress=told.append) as server:
        assert ask(server.url, "SELECT 1") == 1
    assert any(text.startswith("Waiting for PostgreSQL for 2 s: ") for text in told)


def test_the_log_stays_short(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "LOG_BYTES", 4096)
    with postgres.start(data) as server:
        for _ in range(3):
            with pytest.raises(asyncpg.PostgresError):
                ask(server.url, f"SELECT 1 / 0 -- {'x' * 5000}")
            server.poll()
        assert server.log.stat().st_size < 4096
        assert (data / "log" / "postgres.log.1").stat().st_size <= 4096
        assert ask(server.url, "SELECT 1") == 1


def test_without_the_kernels_help_a_watching_launcher_does_it(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "LINUX", False)
    server = postgres.start(data)
    assert ask(server.url, "SELECT 1") == 1
    assert server._child is not None
    assert server._child.stdin is not None
    assert server._child.pid != server.pid
    server._child.stdin.close()  # as at our death
    wait_until(lambda: server.poll() is not None)
    assert start_of(server.pid) is None
    until_ready(server)
    server.stop()
    assert server.poll() == 0


@pytest.fixture
def stranger() -> list[str]:
    """A command line that runs a script as a user who is neither we nor the server."""
    if not ROOT or not shutil.which("setpriv"):
        pytest.skip("only root with setpriv can become a second user")
    return ["setpriv", "--reuid=2", "--regid=2", "--clear-groups", "/usr/bin/python3", "-c"]


HELLO = """
import socket, struct, sys
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(sys.argv[1])
except PermissionError:
    sys.exit("no way in")
words = b"user\\0ulak\\0database\\0ulak\\0\\0"
s.sendall(struct.pack("!ii", 8 + len(words), 196608) + words)
answer = s.recv(1000)
sys.exit("let in" if answer[:1] == b"R" and answer[5:9] == bytes(4) else answer.decode(errors="replace"))
"""


@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="no interpreter that everybody may run")
def test_a_second_local_user_is_kept_out_twice(data: Path, stranger: list[str]) -> None:
    def knock(user: list[str]) -> str:
        path = str(server._socket / cluster.SOCKET)
        return subprocess.run([*user, HELLO, path], capture_output=True, text=True, check=False).stderr.strip()

    with postgres.start(data) as server:
        assert knock(stranger) == "no way in"
        server._socket.chmod(0o755)  # the first wall taken away …
        (server._socket / cluster.SOCKET).chmod(0o777)
        assert "Peer authentication failed" in knock(stranger)
        assert knock(["/usr/bin/python3", "-c"]) == "let in"
        (data / "pg_hba.conf").write_text("local all all trust\n")  # … and the second: now the test must see it
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: knock(stranger) == "let in")


@pytest.mark.skipif(not ROOT, reason="only root is in danger of changing others' permissions")
def test_a_closed_parent_stays_closed(spot: Path) -> None:
    closed = spot / "home"
    closed.mkdir(mode=0o700)
    before = modes(closed)
    with pytest.raises(EmbeddedError, match="may not enter"):
        postgres.start(closed / "data")
    assert modes(closed) == before


@pytest.mark.skipif(ROOT, reason="root's server is another user")
def test_a_closed_parent_is_no_hindrance_for_its_owner(spot: Path, data: Path) -> None:
    closed = spot / "home"
    closed.mkdir(mode=0o700)
    before = modes(closed)
    subprocess.run(["cp", "-a", str(data), str(closed / "data")], check=True)
    with postgres.start(closed / "data") as server:
        assert ask(server.url, "SELECT 1") == 1
    assert modes(closed) == before


@pytest.fixture
def small_disk(spot: Path) -> Iterator[Path]:
    """A file system of 150 MiB."""
    disk = spot / "disk"
    disk.mkdir()
    mounted = ROOT and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=150m,mode=755", "tmpfs", str(disk)], check=False, capture_output=True
    ).returncode == 0  # fmt: skip
    if not mounted:
        pytest.skip("only root outside of a container can mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill_up(path: Path) -> None:
    """Leave not a byte on the disk."""
    with path.open("wb", buffering=0) as ballast:
        while ballast.write(bytes(4096)):
            pass


def test_a_full_disk_is_told_and_overcome(small_disk: Path) -> None:
    data = small_disk / "data"
    with postgres.start(data) as server:
        fill(server.url)
    with pytest.raises(OSError, match="No space left"):
        fill_up(small_disk / "ballast")
    with pytest.raises(EmbeddedError, match=r"is full|No space left"):
        postgres.start(data)
    (small_disk / "ballast").unlink()
    with postgres.start(data) as server:
        assert ask(server.url, "SELECT count(*) FROM kept") == 1000


def test_a_disk_that_fills_while_it_runs_stops_writes_and_loses_nothing(small_disk: Path) -> None:
    with postgres.start(small_disk / "data") as server:
        fill(server.url)
        with pytest.raises(OSError, match="No space left"):
            fill_up(small_disk / "ballast")
        with pytest.raises((asyncpg.PostgresError, OSError)):
            ask(server.url, "INSERT INTO kept SELECT generate_series(1, 2000000)")
        (small_disk / "ballast").unlink()
        wait_until(lambda: comes_back(server))
        assert ask(server.url, "SELECT count(*) FROM kept") == 1000


def comes_back(server: postgres.RunningPostgres) -> bool:
    """PostgreSQL may have stopped rather than lie, when the write-ahead log itself found no room."""
    if not server.step():
        return False
    try:
        return bool(ask(server.url, "SELECT true"))
    except (asyncpg.PostgresError, OSError):
        return False
