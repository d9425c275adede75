"""How do several nodes of one installation run on this machine, each with a port of its own, so that one can be killed?

They share a PostgreSQL and a Valkey that the caller has. Each is a real ``ulak serve`` whose life is bound to ours.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bench.common import PROJECT
from bench.gateway_servers import Taken, taken
from bench.stack import new_key
from ulak.cli.demonstration.stack import Child, spawn
from ulak.core.project import load
from ulak.io.postgres.catalogs import apply
from ulak.io.postgres.pool import Pool

TYPE = "inbox"
"""A type of ``PROJECT`` that only makes an inbox item."""


@dataclass(slots=True)
class Node:
    """One node: where it listens, in all its lives, and its process in the present one."""

    name: str
    url: str
    child: Child | None = None

    @property
    def pid(self) -> int:
        """Of the present life."""
        assert self.child is not None
        return self.child.process.pid

    def taken(self) -> Taken:
        """CPU and memory of the present life."""
        return taken(self.pid)

    async def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        assert self.child is not None
        self.child.kill()
        await self.child.process.wait()

    async def stop(self, grace: float = 30.0) -> None:
        """SIGTERM: it drains."""
        if self.child is not None:
            await self.child.stop(grace)


@dataclass(slots=True)
class Nodes:
    """The installation: its database and bus by URL, the folder for logs, an API key that may do everything."""

    database: str
    valkey: str
    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    all: list[Node] = field(default_factory=list)

    async def begin(self, number: int) -> None:
        """Put the project in force, make a key, start so many nodes."""
        pool = await Pool.open(self.database, size=1)
        await apply(pool, 0, load(PROJECT))
        await pool.close()
        self.key = await new_key(self.database)
        self.all = [Node(f"node-{i}", f"http://127.0.0.1:{_free_port()}") for i in range(number)]
        await asyncio.gather(*(self.start(node) for node in self.all))

    async def start(self, node: Node) -> None:
        """Start a node, or start it again: the same name, the same port."""
        port = str(urlsplit(node.url).port)
        environment = {
            "ULAK_DATABASE_URL": self.database,
            "ULAK_VALKEY_URL": self.valkey,
            "ULAK_NODE": node.name,
            "ULAK_LOG_LEVEL": "info",
            "ULAK_DRAIN_SECONDS": "5",
            **self.settings,
        }
        node.child = await spawn(node.name, ["serve", "--port", port, "--ready-json"], self.folder, environment)
        await node.child.ready()

    async def end(self) -> None:
        """Stop all that run."""
        await asyncio.gather(*(node.stop() for node in self.all))

    def urls(self, but: Sequence[Node] = ()) -> list[str]:
        """Where nodes listen."""
        return [node.url for node in self.all if node not in but]


def _free_port() -> int:
    """A port that nobody has now, and that a node keeps over its lives."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
