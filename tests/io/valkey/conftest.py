"""Nodes on a real Valkey, and an eye on what crosses it."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from redis.asyncio import Redis

from tests.support import eventually
from ulak.core.connections import Described, Question, Reply
from ulak.core.inbox import News
from ulak.io.bus import Place
from ulak.io.embedded import valkey
from ulak.io.valkey.bus import ValkeyBus
from ulak.io.valkey.link import Pace

QUICK = Pace(beat=0.05, deaf=10.0, pause=0.05, lease=20, gather=0.001)
"""A flush or a death that closes connections is seen soon; a machine that stands still for seconds is neither."""
BRIEF = Pace(beat=0.05, deaf=0.6, pause=0.05, lease=1, gather=0.001)
"""Silence, too, is taken for death soon."""


@dataclass
class Hub:
    """What one node heard, and the connections that it says it has: (tenant, user, connection)."""

    connections: list[tuple[int, str, str]] = field(default_factory=list)
    news: list[News] = field(default_factory=list)
    said: list[tuple[int, str | None, str]] = field(default_factory=list)
    ups: list[bool] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    asked: list[Question] = field(default_factory=list)

    def hint(self, news: Sequence[News]) -> None:
        self.news += news

    def deliver(self, tenant: int, topic: str | None, text: str) -> None:
        self.said.append((tenant, topic, text))

    def bus(self, up: bool) -> None:
        self.ups.append(up)

    def held(self, places: Sequence[Place]) -> None:
        self.places += places

    def answer(self, question: Question) -> Reply:
        self.asked.append(question)
        found = [
            (user, connection)
            for tenant, user, connection in self.connections
            if tenant == question.tenant and question.user in (None, user) and question.connection in (None, connection)
        ]
        if question.close:
            self.connections = [one for one in self.connections if one[1:] not in found]
            return Reply(len(found))
        described = tuple(Described(connection, user, "socket", 0.0, 0.0) for user, connection in found)
        return Reply(len(found), described[: question.limit])


class Node:
    """One node on the bus."""

    def __init__(self, url: str, boot: int, pace: Pace = QUICK) -> None:
        self.boot = boot
        self.hub = Hub()
        self.bus = ValkeyBus(url, boot, self.hub, pace)

    async def hold(self, *users: str, topics: Sequence[str] = ()) -> None:
        """Users of tenant 0 connect, and it is entered."""
        self.hub.places.clear()
        for user in users:
            self.bus.hold("u", 0, user)
        for topic in topics:
            self.bus.hold("t", 0, topic)
        await eventually(lambda: len(self.hub.places) >= len(users) + len(topics))

    @property
    def published(self) -> int:
        return int(self.bus.gauges()["bus_published"])


@asynccontextmanager
async def nodes(url: str, *boots: int, pace: Pace = QUICK) -> AsyncIterator[list[Node]]:
    """Some nodes that know of one another and hear."""
    async with AsyncExitStack() as stack:
        made = [Node(url, boot, pace) for boot in boots]
        for node in made:
            node.bus.nodes(boots)
            node.bus.start()
            stack.push_async_callback(node.bus.stop)
        await eventually(lambda: all(node.bus.up for node in made))
        yield made


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Redis]:
    """A look at Valkey itself."""
    async with Redis.from_url(url) as found:
        yield found


@contextmanager
def standing_still(running: valkey.RunningValkey) -> Iterator[None]:
    """Valkey is paused meanwhile."""
    os.kill(running.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(running.pid, signal.SIGCONT)
