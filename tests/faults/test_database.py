"""Is nothing lost that was accepted, and nothing accepted that is lost, when PostgreSQL dies or its disk is full?"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.faults.stage import FILES, Process, settled, unknown
from tests.flow.harness import ask, body, open_node, prepare, put_users
from tests.support import eventually
from ulak.flow.accept import Accepted
from ulak.io.embedded import postgres
from ulak.io.embedded.errors import EmbeddedError
from ulak.io.postgres.errors import EXPECTED, Unavailable
from ulak.io.postgres.migrate import migrate
from ulak.io.postgres.pool import Pool
from ulak.node import Node

pytestmark = [pytest.mark.anyio, pytest.mark.pg, pytest.mark.slow, pytest.mark.timeout(240)]

USERS = [f"user{i}" for i in range(5)]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that the server's account can reach."""
    path = Path(tempfile.mkdtemp(prefix="ulak-fault-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own, soon full."""
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=260m,mode=755", "tmpfs", str(disk)]
    if os.getuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root outside of a container can mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture
def own_server(folder: Path) -> Iterator[postgres.RunningPostgres]:
    running = postgres.start(folder / "pg")
    yield running
    running.stop()


@asynccontextmanager
async def opened(server: postgres.RunningPostgres) -> AsyncIterator[Node]:
    """A door on a fresh schema."""
    pool = await Pool.open(server.url, size=8)
    await migrate(pool)
    await prepare(pool, FILES)
    await put_users(pool, *USERS)
    node = await open_node(pool, "door", roles="api")
    node.acceptor.start()
    yield node
    await node.acceptor.stop()
    pool.terminate()


async def insist(node: Node, wanted: dict[str, Any], key: str) -> tuple[UUID, int]:
    """A caller who tries until he is told yes, with his key; also how often he was told to come again."""
    refused = 0
    while True:
        try:
            result = await node.acceptor.accept(0, ask(node, wanted, key))
        except Unavailable as error:
            refused += 1
            await asyncio.sleep(error.retry_after / 4)
        else:
            assert isinstance(result, Accepted)
            return result.id, refused


async def look_after(server: postgres.RunningPostgres) -> None:
    """What a node's owner does: restart a server that died."""
    while True:
        with suppress(EmbeddedError):
            server.step()
        await asyncio.sleep(0.1)


class Crowd:
    """Callers who ask one after the other, each with keys of his own, until they are told to end."""

    def __init__(self, node: Node, callers: int) -> None:
        self.accepted: list[UUID] = []
        self.refused = 0
        self._node = node
        self._end = False
        self._tasks = [asyncio.create_task(self._call(number)) for number in range(callers)]

    async def _call(self, number: int) -> None:
        turn = 0
        while not self._end:
            turn += 1
            identity, refused = await insist(self._node, body("mail", *USERS), f"caller{number}-{turn}")
            self.accepted.append(identity)
            self.refused += refused
            await asyncio.sleep(0.02)

    async def end(self) -> None:
        self._end = True
        await asyncio.gather(*self._tasks)


async def test_a_postmaster_that_is_killed_under_load_loses_nothing(
    own_server: postgres.RunningPostgres, tmp_path: Path
) -> None:
    worker = Process(own_server.url, tmp_path)
    async with opened(own_server) as node:
        worker.start()
        keeper = asyncio.create_task(look_after(own_server))
        crowd = Crowd(node, 8)
        try:
            for _ in range(2):
                accepted, sent, pid = len(crowd.accepted), len(worker.calls()), own_server.pid

                def busy(accepted: int = accepted, sent: int = sent) -> bool:
                    return len(crowd.accepted) > accepted + 20 and len(worker.calls()) > sent + 5

                await eventually(busy, within=60, what="requests to be accepted and sent")
                os.kill(pid, signal.SIGKILL)

                def back(pid: int = pid) -> bool:
                    return own_server.pid != pid

                await eventually(back, within=60, what="the server to be back")
            await crowd.end()
            stored = await eventually(lambda: stored_ids(node.pool), within=30, every=0.1, what="an answer")
            assert stored == sorted(crowd.accepted), "what was accepted is there, and each key once"
            total = len(stored) * len(USERS)
            await eventually(lambda: settled(node.pool, total), within=120, every=0.2, what="every delivery to end")
            counts = worker.sent()
            assert len(counts) == total
            assert sum(n > 1 for n in counts.values()) <= await unknown(node.pool)
            assert crowd.refused > 0, "somebody was told to come again"
        finally:
            keeper.cancel()
            worker.kill()
            await asyncio.wait_for(crowd.end(), 60)


async def stored_ids(pool: Pool) -> list[UUID]:
    """All notifications; none while a connection of the pool still has to find out that its server died."""
    with suppress(*EXPECTED):
        return [row["id"] for row in await pool.fetch("SELECT id FROM notifications ORDER BY id")]
    return []


async def test_a_full_disk_is_told_to_the_caller_and_passes(small_disk: Path) -> None:
    server = postgres.start(small_disk / "pg", settings={"min_wal_size": "32MB", "max_wal_size": "64MB"})
    try:
        async with opened(server) as node:
            keeper = asyncio.create_task(look_after(server))
            filler = small_disk / "filler"
            with filler.open("wb") as file, suppress(OSError):
                while True:
                    file.write(b"x" * 65536)
                    file.flush()
            yes, no = await fill(node)
            assert no > 0, "a full disk must be felt, or this test proves nothing"
            filler.unlink()
            identity, _ = await insist(node, body("mail", *USERS), "after")
            yes.add(identity)
            stored = {row["id"] for row in await node.pool.fetch("SELECT id FROM notifications")}
            assert yes <= stored, "a yes was kept"
            works = {row["notification"] for row in await node.pool.fetch("SELECT notification FROM plan_work")}
            assert works == stored, "and each has its work"
            keeper.cancel()
    finally:
        server.stop()


async def fill(node: Node) -> tuple[set[UUID], int]:
    """Ask until the disk refuses a few times in a row; the ids of those who were told yes, and the noes."""
    yes: set[UUID] = set()
    no = 0
    for i in range(400):
        wanted = body("mail", *USERS, data={"number": i, "text": os.urandom(40_000).hex()})
        try:
            result = await asyncio.wait_for(node.acceptor.accept(0, ask(node, wanted, f"key{i}")), 30)
        except Unavailable:
            no += 1
            if no >= 3:
                break
        else:
            assert isinstance(result, Accepted)
            yes.add(result.id)
    return yes, no
