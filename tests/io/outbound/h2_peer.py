"""What does a server of HTTP/2 say that behaves, or misbehaves, as a test tells it to?"""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import Settings
from hyperframe.frame import Frame, GoAwayFrame

from tests.support import eventually
from tests.tls import certificate


@dataclass
class Arrival:
    """A request, whole; ``link`` is the connection that it came on."""

    link: Link
    stream: int
    fields: dict[str, str]
    body: bytes = b""
    ended: bool = False

    @property
    def path(self) -> str:
        return self.fields[":path"]

    def reply(self, status: int = 200, body: bytes = b"", **fields: str) -> None:
        self.link.reply(self.stream, status, body, **fields)

    def reset(self, code: ErrorCodes) -> None:
        self.link.h2.reset_stream(self.stream, code)
        self.link.flush()


Answer = Callable[[Arrival], None]


def nothing(_: Arrival) -> None:
    """Leave it unanswered."""


def ok(arrival: Arrival) -> None:
    arrival.reply(200, arrival.path.encode())


class Link(asyncio.Protocol):
    """One connection at the server."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.number = len(peer.links)
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.local_settings = Settings(client=False, initial_values=cast(Any, peer.settings))
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.arrivals: dict[int, Arrival] = {}
        self.resets: list[tuple[int, int]] = []
        self.pings = 0
        self.broken: str | None = None
        self.closed = False
        self.goodbye: events.ConnectionTerminated | None = None
        self.open: set[int] = set()
        self.most_open = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.peer.links.append(self)
        self.h2.initiate_connection()
        if not self.peer.mute:
            self.flush()
        self.peer.greeting(self)

    def data_received(self, data: bytes) -> None:
        try:
            heard = self.h2.receive_data(data)
        except ProtocolError as error:
            self.broken = repr(error)
            self.transport.abort()
            return
        for event in heard:
            if not self.transport.is_closing():
                self._hear(event)
        if not self.transport.is_closing():
            self.flush()

    def _hear(self, event: events.Event) -> None:
        if isinstance(event, events.RequestReceived):
            number = event.stream_id or 0
            self.arrivals[number] = Arrival(self, number, dict(cast(Any, event.headers)))
            self.peer.begun.append(self.arrivals[number])
            self.open.add(number)
            self.most_open = max(self.most_open, len(self.open))
        elif isinstance(event, events.DataReceived):
            arrival = self.arrivals[event.stream_id or 0]
            arrival.body += event.data or b""
            if not self.peer.stingy:
                self.h2.acknowledge_received_data(event.flow_controlled_length or 0, arrival.stream)
        elif isinstance(event, events.StreamEnded):
            arrival = self.arrivals[event.stream_id or 0]
            arrival.ended = True
            self.peer.arrivals.append(arrival)
            self.peer.answer(arrival)
        elif isinstance(event, events.StreamReset):
            self.resets.append((event.stream_id or 0, int(event.error_code or 0)))
            self.open.discard(event.stream_id or 0)
        elif isinstance(event, events.PingReceived):
            self.pings += 1
        elif isinstance(event, events.ConnectionTerminated):
            self.goodbye = event

    def reply(self, stream: int, status: int = 200, body: bytes = b"", **fields: str) -> None:
        named = [(name.replace("_", "-"), value) for name, value in fields.items()]
        self.h2.send_headers(stream, [(":status", str(status)), *named], end_stream=not body)
        if body:
            self.h2.send_data(stream, body, end_stream=True)
        self.open.discard(stream)
        self.flush()

    def settle(self, **settings: int) -> None:
        """Send SETTINGS."""
        self.h2.update_settings(cast(Any, {_SETTINGS[name]: value for name, value in settings.items()}))
        self.flush()

    def goaway(self, last: int, code: ErrorCodes = ErrorCodes.NO_ERROR, said: bytes = b"") -> None:
        """Say GOAWAY by hand: h2 would answer nothing more."""
        self.frames(GoAwayFrame(0, last_stream_id=last, error_code=int(code), additional_data=said))

    def frames(self, *frames: Frame) -> None:
        self.flush()
        self.transport.write(b"".join(frame.serialize() for frame in frames))

    def flush(self) -> None:
        if not self.peer.mute and not self.peer.deaf:
            self.transport.write(self.h2.data_to_send())

    def die(self) -> None:
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True


_SETTINGS = {"table": 1, "streams": 3, "window": 4, "frame": 5, "fields": 6}


@dataclass
class Peer:
    """A server on loopback. ``mute``: says nothing, not even SETTINGS. ``stingy``: opens no windows again."""

    folder: Path
    answer: Answer = ok
    greeting: Callable[[Link], None] = lambda _: None
    settings: dict[int, int] = field(default_factory=dict)
    alpn: tuple[str, ...] = ("h2",)
    mute: bool = False
    deaf: bool = False
    stingy: bool = False
    host: str = "127.0.0.1"
    links: list[Link] = field(default_factory=list)
    begun: list[Arrival] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    asked_for: list[str | None] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        context, self.ca = certificate(self.folder)
        context.set_alpn_protocols(list(self.alpn))
        context.sni_callback = self._named
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: Link(self), self.host, 0, ssl=context)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for link in self.links:
            link.die()
        await eventually(lambda: all(link.closed for link in self.links), within=15)
        if sys.version_info >= (3, 13):
            await self.server.wait_closed()
        else:  # it waits for nothing before 3.12; handshakes that were given up have to end, too
            await eventually(lambda: not self.server._active_count, within=15)  # type: ignore[attr-defined]

    def _named(self, _: object, name: str | None, __: ssl.SSLContext) -> None:
        self.asked_for.append(name)

    def url(self, path: str = "/", host: str | None = None) -> str:
        return f"https://{host or self.host}:{self.port}{path}"

    def unsilence(self) -> None:
        self.mute = False
        for link in self.links:
            link.flush()

    async def got(self, count: int) -> list[Arrival]:
        """Wait until so many requests have come whole."""
        await eventually(lambda: len(self.arrivals) >= count, within=15, what=f"{count} requests")
        return self.arrivals

    @property
    def paths(self) -> list[str]:
        return [arrival.path for arrival in self.arrivals]
