"""A node that only accepts, and processes that do the rest and may be killed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.faults.stage import FILES, USERS, Make, Process
from tests.flow.harness import open_node, prepare, put_users
from ulak.io.postgres.pool import Pool
from ulak.node import Node


@pytest.fixture
async def door(database: Pool) -> AsyncIterator[Node]:
    """Accepts; everything else is done by processes."""
    await prepare(database, FILES)
    await put_users(database, *USERS)
    node = await open_node(database, "door", roles="api")
    node.acceptor.start()
    yield node
    await node.acceptor.stop()


@pytest.fixture
def make(database_url: str, tmp_path: Path) -> Iterator[Make]:
    """Makes processes, and ends them whatever the test found."""
    processes: list[Process] = []

    def one(name: str = "worker", **environment: str) -> Process:
        processes.append(Process(database_url, tmp_path, name, **environment))
        return processes[-1]

    yield one
    for process in processes:
        process.kill()
