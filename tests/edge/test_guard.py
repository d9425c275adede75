"""Does a connection stay cheap whatever its caller sends, or does not send, or does not read?"""

from __future__ import annotations

import asyncio
import base64
import select
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from tests.support import eventually
from ulak.edge import guard
from ulak.edge.guard import HEAD_BYTES, HEAD_LINES, PIPELINE, HttpGuard, impatient

pytestmark = pytest.mark.anyio

KEY = base64.b64encode(bytes(16))
UPGRADE = b"Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
HANDSHAKE = UPGRADE + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n"


class Peer:
    """An application that takes its time, in a server on a port of its own."""

    def __init__(self) -> None:
        self.port = 0
        self.heard: list[dict[str, Any]] = []
        self.scopes: list[Any] = []
        self.go = asyncio.Event()
        self.server: uvicorn.Server
        self.writers: list[asyncio.StreamWriter] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await self.go.wait()
            while (message := await receive())["type"] != "websocket.disconnect":
                self.heard.append(message)
            return
        while (await receive()).get("more_body"):
            pass
        if scope["path"] == "/wait":
            await self.go.wait()
        body = bytes(1 << 20) if scope["path"] == "/large" else b"ok"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    @property
    def connections(self) -> int:
        """How many the server holds."""
        return len(self.server.server_state.connections)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        return reader, writer


@pytest.fixture
async def peer(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Peer]:
    monkeypatch.setattr(guard, "HEAD_SECONDS", 60.0)
    monkeypatch.setattr(guard, "STALL_SECONDS", 1.0)
    made = Peer()
    listener = socket.create_server(("127.0.0.1", 0))
    impatient(listener)
    made.port = listener.getsockname()[1]
    config = uvicorn.Config(made, http=HttpGuard, ws="none", lifespan="off", log_config=None)
    made.server = uvicorn.Server(config)
    task = asyncio.create_task(made.server.serve(sockets=[listener]))
    await eventually(lambda: made.server.started)
    yield made
    made.go.set()
    for writer in made.writers:
        writer.transport.abort()
    await asyncio.gather(*(writer.wait_closed() for writer in made.writers), return_exceptions=True)
    made.server.should_exit = made.server.force_exit = True
    await task
    listener.close()


async def ended(reader: asyncio.StreamReader, within: float = 30.0) -> bytes:
    """All that comes until the server ends the connection."""
    async with asyncio.timeout(within):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def test_a_request_is_answered_and_a_trailer_is_no_header(peer: Peer) -> None:
    reader, writer = await peer.open()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head + b"2\r\n{}\r\n0\r\nAuthorization: Bearer smuggled\r\n\r\n")
    assert (await ended(reader)).endswith(b"\r\n\r\nok")
    assert b"authorization" not in dict(peer.scopes[0]["headers"])


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nX: "])
async def test_a_head_that_does_not_come_ends_the_connection(
    peer: Peer, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "HEAD_SECONDS", 0.3)
    reader, writer = await peer.open()
    writer.write(begun)
    assert await ended(reader) == b""
    await eventually(lambda: peer.connections == 0)


async def test_a_later_head_must_come_as_well(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "HEAD_SECONDS", 1.0)
    reader, writer = await peer.open()
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT")
    assert (await ended(reader)).endswith(b"ok")


@pytest.mark.parametrize(
    "flood",
    [
        b"GET /" + b"a" * (HEAD_BYTES + 1),
        b"GET / HTTP/1.1\r\nX: " + b"a" * (HEAD_BYTES + 1),
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * (HEAD_LINES + 2),
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"a" * (2 * HEAD_BYTES),
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * (HEAD_LINES + 2),
    ],
    ids=["url", "header", "headers", "trailer", "trailers"],
)
async def test_a_head_is_bounded(peer: Peer, flood: bytes) -> None:
    reader, writer = await peer.open()
    for start in range(0, len(flood), 10_000):
        writer.write(flood[start : start + 10_000])
        await asyncio.sleep(0)
    answer = await ended(reader)
    assert answer.startswith(b"HTTP/1.1 400") or not answer


async def test_a_body_of_many_parts_is_no_head(peer: Peer) -> None:
    reader, writer = await peer.open()
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (4 * HEAD_BYTES))
    for _ in range(4):
        writer.write(bytes(HEAD_BYTES))
        await writer.drain()
    assert (await ended(reader)).endswith(b"ok")


async def test_requests_do_not_pile_up_behind_an_answer(peer: Peer) -> None:
    reader, writer = await peer.open()
    writer.write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * (PIPELINE + 1))
    assert b" 200 " not in await ended(reader)


async def test_waiting_requests_of_a_caller_who_has_gone_are_dropped_silently(
    peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    _, writer = await peer.open()
    writer.write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 5)
    await eventually(lambda: len(peer.scopes) == 1)
    writer.transport.abort()
    await eventually(lambda: peer.connections == 0)
    peer.go.set()
    await eventually(lambda: not peer.server.server_state.tasks)
    assert len(peer.scopes) == 1
    assert not caplog.records


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
async def test_an_answer_that_is_not_read_does_not_hold_the_connection(peer: Peer) -> None:
    reader, writer = await peer.open()
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a stream's transport
    writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
    await eventually(lambda: peer.connections == 1)
    await eventually(lambda: peer.connections == 0)
    del reader


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="Linux has it")
def test_the_kernel_holds_little_for_a_peer_that_does_not_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        impatient(listener)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.connect(listener.getsockname())
            with listener.accept()[0] as slow:
                slow.setblocking(False)
                taken = 0
                while taken < 8 * guard.UNSENT_BYTES and select.select([], [slow], [], 0.2)[1]:
                    taken += slow.send(bytes(2_000))
    assert guard.UNSENT_BYTES / 2 < taken < 4 * guard.UNSENT_BYTES
