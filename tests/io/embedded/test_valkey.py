"""What an embedded Valkey is: private, forgetful, restarted, and gone with its owner."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.io.embedded.helpers import Owner, wait_until
from ulak.io.embedded import valkey
from ulak.io.embedded.binaries import find_valkey
from ulak.io.embedded.errors import AlreadyOwned, EmbeddedError
from ulak.io.embedded.process import start_of


def ping(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        return bool(client.ping())


def test_it_answers_over_a_private_socket_and_keeps_nothing(spot: Path) -> None:
    with valkey.start(spot / "data") as server:
        assert server.step()
        assert server.poll() is None
        with redis.Redis.from_url(server.url) as client:
            assert client.config_get("port") == {"port": "0"}
            assert client.config_get("save") == {"save": ""}
            assert client.config_get("appendonly") == {"appendonly": "no"}
            assert client.config_get("maxmemory") == {"maxmemory": str(64 << 20)}
        assert (spot / "data" / "valkey").stat().st_mode & 0o077 == 0
        assert valkey.connect_url(spot / "data") == server.url
        with pytest.raises(AlreadyOwned, match=f"process {os.getpid()}"):
            valkey.start(spot / "data")
        pid = server.pid
    assert start_of(pid) is None
    assert valkey.connect_url(spot / "data") is None
    with pytest.raises(EmbeddedError, match="was stopped"):
        server.step()


def test_it_dies_with_its_owner_and_the_next_one_starts(spot: Path, owner: Callable[[str, Path], Owner]) -> None:
    first = owner("valkey", spot / "data")
    pid = first.read("pid")
    assert ping(valkey.connect_url(spot / "data") or "")
    first.kill()
    wait_until(lambda: start_of(pid) is None)
    with valkey.start(spot / "data") as server:
        assert ping(server.url)


def test_it_is_started_again_when_it_dies(spot: Path) -> None:
    with valkey.start(spot / "data") as server:
        pid, url = server.pid, server.url
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: server.poll() is not None)
        wait_until(server.step)
        assert (server.url, server.pid != pid) == (url, True)
        assert ping(url)
        assert valkey.connect_url(spot / "data") == url


@pytest.mark.parametrize("name", ["x" * 120, "with, space %20"])
def test_awkward_paths(spot: Path, name: str) -> None:
    with valkey.start(spot / name) as server:
        assert ping(server.url)


def test_a_start_that_fails_is_told(spot: Path) -> None:
    with pytest.raises(EmbeddedError, match="did not start"):
        valkey.start(spot / "data", max_memory="much")
    valkey.start(spot / "data").stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as somebody else")
def test_root_runs_it_as_somebody_else_from_a_closed_place_too(spot: Path) -> None:
    closed = spot / "home"
    closed.mkdir(mode=0o700)
    program = find_valkey(None)
    subprocess.run(["cp", str(program), str(closed)], check=True)
    with valkey.start(spot / "data", binary=closed / program.name) as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid != 0
        assert ping(server.url)
