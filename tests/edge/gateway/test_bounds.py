"""How much waits at most for a client that does not read, in bytes, whatever its items are written in?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.edge.gateway.harness import KEY, Node, running
from tests.edge.gateway.raw import TEXT, frame, head
from tests.support import eventually
from ulak.core import token
from ulak.edge.gateway.connection import Connection
from ulak.edge.gateway.stream import Stream
from ulak.edge.gateway.streams import PATH, Streams
from ulak.io.postgres.pool import Pool

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

MOST = 128 * 1024
SLACK = 6 * 1024
"""Heads, and what stands around items."""

BODIES = ["x" * 4_000, "é" * 4_000, "漢" * 4_000, "🦊" * 4_000]


def unsent(node: Node, member: Any) -> int:
    """What waits in this process: handed to the transport or not yet."""
    if isinstance(member, Connection):
        return member.transport.get_write_buffer_size() + sum(map(len, member._out or ()))
    assert node.server is not None
    (protocol,) = node.server.server_state.connections
    return protocol.transport.get_write_buffer_size() + sum(map(len, member._outbox))


def watched(monkeypatch: pytest.MonkeyPatch, node: Node, kind: type, name: str) -> list[int]:
    """What was unsent after each time that something was written."""
    seen: list[int] = []
    writes: Callable[..., None] = getattr(kind, name)

    def write(member: Any, data: bytes) -> None:
        writes(member, data)
        seen.append(unsent(node, member))

    monkeypatch.setattr(kind, name, write)
    return seen


async def begin(node: Node, transport: str) -> asyncio.StreamWriter:
    """A client that says who it is and then reads nothing."""
    known = token.mint(KEY, "ann", 600, node.clock.unix())
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    if transport == "socket":
        writer.write(head())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(frame(TEXT, json.dumps({"op": "hello", "token": known}).encode()))
    else:
        writer.write(f"GET {PATH.decode()} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {known}\r\n\r\n".encode())
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await eventually(lambda: len(node.hub) == 1)
    return writer


@pytest.mark.parametrize("body", BODIES, ids=["ascii", "two bytes", "three bytes", "four bytes"])
@pytest.mark.parametrize("transport", ["socket", "stream"])
async def test_128_kb_at_most_wait_for_one_client(
    store: Pool, transport: str, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(store) as node:
        assert node.server is not None
        node.server.config.loaded_app = Streams(node.gateway)
        place = (Connection, "write") if transport == "socket" else (Stream, "_put")
        seen = watched(monkeypatch, node, *place)
        await node.add("ann", 40, body=body)  # so that it begins with pages
        writer = await begin(node, transport)
        try:
            (member,) = node.hub.members()
            notice = json.dumps({"op": "notice", "data": body}, ensure_ascii=False)

            async def write() -> bool:
                await node.add("ann", 30, body=body)
                await node.add("ann", body=body)  # live
                for _ in range(50):
                    node.hub.broadcast(0, notice)
                seen.append(unsent(node, member))
                return member.session.held

            await eventually(write)
            for _ in range(5):
                await write()
            assert member.session.held
            assert 32 * 1024 < max(seen) <= MOST + SLACK
        finally:
            writer.transport.abort()
        await eventually(lambda: node.gateway.gauges()["sockets"] == 0)
