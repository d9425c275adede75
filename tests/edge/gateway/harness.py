"""How does a test run the real gateway, and how does a real client listen to it?"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self, cast
from uuid import UUID

import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support import eventually
from ulak.core import token
from ulak.core.ids import external, new_id
from ulak.core.inbox import News, new_text, origin_text
from ulak.core.session_commands import Limits
from ulak.core.token import Claims, TokenKey
from ulak.edge.gateway import Gateway, GatewaySettings, Hub, Pace, Rights, Surroundings
from ulak.edge.guard import HttpGuard
from ulak.io.postgres.inbox import InboxStore
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.queries import load

KEY = TokenKey(0, "k", b"k" * 32)
OTHER = TokenKey(7, "o", b"o" * 32)
KEYS = token.ring([KEY, OTHER])

DELIVERY = """
INSERT INTO deliveries (tenant, id, notification, user_id, channel, target, state, category, class, lane, bulkhead,
                        resend, expires_at, settled_at, decision)
VALUES ($1, $2, $3, $4, 'in_app', '', 'accepted', 'c', 'transactional', 1, 'in_app/inbox', true,
        now() + interval '1 day', now(), '{}')"""
ITEM = """
INSERT INTO inbox_items (tenant, user_id, id, revision, born, notification, type, content, watched)
VALUES ($1, $2, $3, $4, $4, $5, 'issues', $6, $7)"""


class Clock:
    """Wall and monotonic time that a test can push forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def unix(self) -> float:
        return time.time() + self.ahead


class Server(uvicorn.Server):
    """uvicorn without signal handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass
class Node:
    """A gateway on a free port, over a real database."""

    pool: Pool
    store: InboxStore
    hub: Hub
    gateway: Gateway
    clock: Clock
    port: int = 0
    server: Server | None = None
    hints: list[News] = field(default_factory=list)
    mute: bool = False

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/socket"

    def hint(self, news: Sequence[News]) -> None:
        self.hints += news
        if not self.mute:
            self.hub.hint(news)

    async def add(self, user: str, n: int = 1, *, body: str = "", watched: bool = False, tenant: int = 0) -> list[UUID]:
        """Add items as the planner does, and hint."""
        made = [new_id(time.time_ns() // 1_000_000, os.urandom(10)) for _ in range(n)]
        async with self.pool.transaction() as connection:
            content, notification = "", UUID(int=0)
            (row,) = await connection.fetch(load("plan").count_up, [tenant], [user], [n])
            for position, delivery in enumerate(made):
                revision = row["revision"] - n + 1 + position
                notification = new_id(time.time_ns() // 1_000_000, os.urandom(10))
                await connection.execute(DELIVERY, tenant, delivery, notification, user)
                content = json.dumps({"title": f"item {revision}", "body": body}, ensure_ascii=False)
                await connection.execute(ITEM, tenant, user, delivery, revision, notification, content, watched)
        news = News(tenant, user, row["revision"])
        if n == 1:  # as the planner tells it
            origin = origin_text("issues", notification, row["now"])
            text = new_text(made[0], row["revision"], origin, content)
            news = News(tenant, user, row["revision"], text, row["unread"], row["unseen"], row["epoch"])
        self.hint([news])
        return made


async def api(scope: Any, receive: Any, send: Any) -> None:
    """What answers requests that are for no socket."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def running(
    pool: Pool,
    *,
    limits: Limits | None = None,
    pace: Pace | None = None,
    store: Any = None,
    rights: Rights | None = None,
    boot: int = 7,
    **settings: Any,
) -> AsyncIterator[Node]:
    """A node whose truth check sleeps unless ``pace`` says otherwise."""
    clock = Clock()
    nodes: list[Node] = []

    def hint(news: Sequence[News]) -> None:
        nodes[0].hint(news)

    inbox = store or InboxStore(pool, hint)
    hub = Hub(inbox, clock.monotonic, clock.unix, pace or Pace(compare=1e9, sweep=0.05, pause=0.01))

    async def verify(text: str) -> Claims:
        return token.verify(text, KEYS, clock.unix())

    gateway = Gateway(
        inbox,
        rights or Rights(verify),
        hub,
        Surroundings(clock.monotonic, clock.unix, random.Random(1).random, os.urandom, boot),
        GatewaySettings(limits=limits or Limits(), **settings),
    )
    node = Node(pool, inbox, hub, gateway, clock)
    nodes.append(node)
    config = uvicorn.Config(
        api, port=0, loop="none", http=HttpGuard, ws=cast(Any, gateway.socket), lifespan="off", log_level="warning"
    )
    node.server = Server(config)
    serving = asyncio.create_task(node.server.serve())
    working = asyncio.create_task(hub.run())
    await eventually(lambda: node.server is not None and node.server.started)
    node.port = node.server.servers[0].sockets[0].getsockname()[1]
    try:
        yield node
    finally:
        await gateway.drain(0.0)
        working.cancel()
        node.server.should_exit = True
        await asyncio.gather(serving, working, return_exceptions=True)


class Device:
    """A client that applies the protocol and keeps what it holds over disconnects."""

    def __init__(self, node: Node, user: str, *, tenant: int = 0, ttl: int = 600) -> None:
        self.node = node
        self.user = user
        self.token = token.mint(OTHER if tenant == OTHER.tenant else KEY, user, ttl, node.clock.unix())
        self.revision = 0
        self.epoch: str | None = None
        self.holds: dict[str, dict[str, Any]] = {}
        self.shown: list[str] = []
        self.frames: list[dict[str, Any]] = []
        self.count: tuple[int, int] | None = None
        self.close: tuple[int, str] | None = None
        self.socket: ClientConnection | None = None
        self._listening: asyncio.Task[None] | None = None
        self._heard = asyncio.Condition()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.disconnect()

    async def connect(self, *, hello: bool = True) -> None:
        self.close = None
        self.socket = await connect(self.node.url, subprotocols=["ulak.v1"], compression=None)  # type: ignore[list-item]
        self._listening = asyncio.create_task(self._listen(self.socket))
        if hello:
            known = {"since": self.revision, "epoch": self.epoch} if self.epoch else {}
            await self.say({"op": "hello", "token": self.token, **known})

    async def disconnect(self, *, abruptly: bool = False) -> None:
        assert self.socket is not None
        assert self._listening is not None
        if abruptly:
            self.socket.transport.abort()
        else:
            await self.socket.close()
        await self._listening

    async def say(self, *commands: dict[str, Any]) -> None:
        assert self.socket is not None
        await self.socket.send(json.dumps(list(commands) if len(commands) > 1 else commands[0]))

    async def until(self, condition: Any, within: float = 30.0) -> Any:
        """Wait until the condition on this device is true."""
        async with self._heard:
            await asyncio.wait_for(self._heard.wait_for(lambda: condition(self)), within)
        return condition(self)

    async def reaches(self, revision: int) -> None:
        await self.until(lambda d: d.revision >= revision)

    async def closed(self) -> tuple[int, str]:
        found: tuple[int, str] = await self.until(lambda d: d.close)
        return found

    async def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Say a command with an id and wait for its answer."""
        key = os.urandom(4).hex()
        await self.say({**command, "id": key})
        found = await self.until(lambda d: next((f for f in d.frames if f.get("id") == key), None))
        return {name: value for name, value in found.items() if name != "id"}

    def told(self, *ops: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["op"] in ops]

    async def _listen(self, socket: ClientConnection) -> None:
        try:
            async for text in socket:
                said = json.loads(text)
                async with self._heard:
                    for frame in said if isinstance(said, list) else [said]:
                        self._take(frame)
                    self._heard.notify_all()
        except ConnectionClosed:
            pass
        async with self._heard:
            self.close = (socket.close_code or 0, socket.close_reason or "")
            self._heard.notify_all()

    def _take(self, frame: dict[str, Any]) -> None:
        self.frames.append(frame)
        if frame["op"] == "welcome":
            if frame["full"]:
                self.revision, self.holds, self.shown = 0, {}, []
            self.epoch = frame["epoch"]
        elif frame["op"] in ("items", "changed"):
            assert frame["prev"] == self.revision, "a gap"
            for item in frame["items"]:
                self._hold(item, known=frame["op"] == "changed")
            self.revision = frame["revision"]
        elif frame["op"] == "count":
            self.count = (frame["unread"], frame["unseen"])

    def _hold(self, item: dict[str, Any], *, known: bool) -> None:
        assert item["revision"] > self.holds.get(item["id"], {"revision": 0})["revision"], "told twice"
        if item.get("removed"):
            self.holds.pop(item["id"], None)
            return
        assert not known or item["id"] in self.holds
        if item["id"] not in self.holds:
            assert item["id"] not in self.shown
            self.shown.append(item["id"])
        self.holds[item["id"]] = {**self.holds.get(item["id"], {}), **item}


def dlv(item: UUID) -> str:
    return external("dlv", item)
