"""How does a test speak WebSocket byte by byte, to a node that keeps its inboxes in memory?"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self, cast
from uuid import UUID

import uvicorn

from tests.edge.gateway.harness import Clock, Server, api
from tests.support import eventually
from ulak.core.inbox import Op, Page
from ulak.core.session_commands import Limits
from ulak.core.token import Claims, TokenError
from ulak.core.websocket import unmask
from ulak.edge.gateway import Gateway, GatewaySettings, Hub, Pace, Rights, Surroundings
from ulak.edge.gateway.model import Pair
from ulak.edge.guard import HttpGuard
from ulak.io.postgres.inbox import Ack

KEY = b"\x37\xfa\x21\x3d"
HANDSHAKE = {
    "Host": "x",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "ulak.v1",
}
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Memory:
    """Inboxes without items."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.changes: list[str] = []

    async def epoch(self) -> str:
        return "1-a"

    async def pages(self, asked: Sequence[Pair], limit: int) -> list[Page]:
        return [Page(since, 0, 0, 0, 0, "1-a", (), more=False) for _, _, since in asked]

    async def moved(self, known: Sequence[Pair]) -> list[Pair]:
        return []

    async def acked(self, acks: Sequence[Ack]) -> int:
        return len(acks)

    async def change(self, tenant: int, user: str, op: Op, ids: Sequence[UUID] = (), up_to: int | None = None) -> int:
        await self.go.wait()
        self.changes.append(op)
        return 0


async def trusting(text: str) -> Claims:
    """Everybody is who he says he is, but the bad one."""
    if text == "bad":
        raise TokenError("token_invalid")
    return Claims(0, text, 1e12, 0.0, f"jti-{text}", (), 5)


@dataclass
class Port:
    """A node on a port."""

    gateway: Gateway
    hub: Hub
    clock: Clock
    store: Memory
    number: int
    server: Server


@asynccontextmanager
async def port(limits: Limits | None = None, rights: Rights | None = None, **settings: Any) -> AsyncIterator[Port]:
    clock, store = Clock(), Memory()
    hub = Hub(store, clock.monotonic, clock.unix, Pace(compare=1e9, sweep=0.02, pause=0.01))
    surroundings = Surroundings(clock.monotonic, clock.unix, random.Random(1).random, os.urandom, boot=7)
    bounds = GatewaySettings(limits=limits or Limits(), **settings)
    gateway = Gateway(store, rights or Rights(trusting, trusting), hub, surroundings, bounds)
    config = uvicorn.Config(
        api, port=0, loop="none", http=HttpGuard, ws=cast(Any, gateway.socket), lifespan="off", log_level="warning"
    )
    server = Server(config)
    working = asyncio.create_task(hub.run())
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    try:
        yield Port(gateway, hub, clock, store, server.servers[0].sockets[0].getsockname()[1], server)
    finally:
        await gateway.drain(0.0)
        working.cancel()
        server.should_exit = True
        await asyncio.gather(serving, working, return_exceptions=True)


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """One frame as a client sends it, or as it must not."""
    size, mask = len(payload), 0x80 if masked else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if size < 126:
        head += bytes([mask | size])
    elif size < 65_536:
        head += bytes([mask | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([mask | 127]) + size.to_bytes(8, "big")
    return head + (KEY + unmask(payload, KEY) if masked else payload)


def head(**changes: str | None) -> bytes:
    """A handshake; ``Some_Name=None`` leaves a header out."""
    headers: dict[str, str | None] = {**HANDSHAKE, **{name.replace("_", "-"): v for name, v in changes.items()}}
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join(["GET /v1/socket HTTP/1.1", *lines, "", ""]).encode()


class Raw:
    """One client, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, node: Port) -> Raw:
        return cls(*await asyncio.open_connection("127.0.0.1", node.number))

    @classmethod
    async def shaken(cls, node: Port) -> Raw:
        """After the handshake."""
        raw = await cls.connect(node)
        raw.writer.write(head())
        answer = await raw.reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        return raw

    @classmethod
    async def welcomed(cls, node: Port, user: str = "ann", **hello: Any) -> Raw:
        """After the welcome, and the counts that follow it."""
        raw = await cls.shaken(node)
        raw.say({"op": "hello", "token": user, **hello})
        opcode, payload = await raw.frame()
        assert opcode == TEXT, payload
        assert [each["op"] for each in json.loads(payload)] == ["welcome", "count"]
        return raw

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    def send(self, *chunks: bytes) -> None:
        for chunk in chunks:
            self.writer.write(chunk)

    def say(self, *commands: dict[str, Any]) -> None:
        self.send(frame(TEXT, json.dumps(commands[0] if len(commands) == 1 else list(commands)).encode()))

    async def drip(self, data: bytes, size: int = 1) -> None:
        """Send in pieces that arrive apart."""
        for start in range(0, len(data), size):
            self.writer.write(data[start : start + size])
            await self.writer.drain()
            await asyncio.sleep(0)

    async def frame(self, within: float = 30.0) -> tuple[int, bytes]:
        async with asyncio.timeout(within):
            first, second = await self.reader.readexactly(2)
            assert first & 0xF0 == 0x80, "a server's frames here are whole"
            assert not second & 0x80, "a server does not mask"
            size = second
            if second >= 126:
                size = int.from_bytes(await self.reader.readexactly(2 if second == 126 else 8), "big")
            return first & 0x0F, await self.reader.readexactly(size)

    async def heard(self) -> Any:
        """The next text frame's JSON; pings are passed over."""
        while True:
            opcode, payload = await self.frame()
            if opcode == TEXT:
                return json.loads(payload)
            assert opcode == PING, (opcode, payload)

    async def closed(self) -> tuple[int, str]:
        """What the close says (1005: no code); then the server hangs up. Whatever comes before is passed over."""
        while True:
            opcode, payload = await self.frame()
            if opcode == CLOSE:
                break
        self.send(frame(CLOSE, payload[:2]))
        assert await self.ended() == b"", "nothing follows a close"
        return (int.from_bytes(payload[:2], "big") if payload else 1005), payload[2:].decode()

    async def ended(self) -> bytes:
        """All that comes until the server ends the connection."""
        async with asyncio.timeout(30.0):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""
