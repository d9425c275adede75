"""How much may a connection cost before anybody knows whose it is, and when is it cut?

uvicorn's HTTP protocol, bounded where it is not: a head that never ends or never comes, thousands of requests in
one packet, answers that are never read. Bodies are bounded where they are read (``api/http``), sockets in
``gateway/socket``.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEAD_BYTES = 65_536
"""Of request line and headers (and of what trails a chunked body)."""

HEAD_LINES = 200
HEAD_SECONDS = 10.0
"""For a head to be complete, from the connection's first moment or the first byte of a later request."""

PIPELINE = 100
"""Requests of one connection that wait for their answers' turn."""

STALL_SECONDS = 60.0
"""For the peer to take in what was sent, beyond the patience of a session; then the kernel cuts the connection."""

UNSENT_BYTES = 65_536
"""That the kernel takes of one connection beyond what is on its way; else it takes up to 4 MB (``tcp_wmem``) for a
peer that does not read, and all of that before the connection is known to be slow."""

_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
_NOTSENT_LOWAT: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)


def impatient(listener: socket.socket) -> None:
    """Let no peer of this listener hold a connection, or much memory, by not reading, or by having vanished.

    Connections inherit it. Linux: RFC 5482, tcp(7); it covers a window that stays shut. Elsewhere the system's own
    patience counts.
    """
    if _USER_TIMEOUT is not None:
        listener.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, int(STALL_SECONDS * 1000))
    if _NOTSENT_LOWAT is not None:
        listener.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, UNSENT_BYTES)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


class _Excess(Exception):
    """A request beyond the bounds; the parser turns it into a 400."""


class HttpGuard(HttpToolsProtocol):
    """One HTTP connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = False
        self._size = 0
        self._lines = 0
        self._untold = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._running: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Wait for the first head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request; uvicorn tells the newest, and those before it would write to what is gone."""
        self._head_came()
        for cycle in (self._running, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None:
                cycle.disconnected = True
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bound what the parser keeps to itself: a line that is not complete."""
        self._untold += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._untold > HEAD_BYTES:
            self.send_400_response("The head of the request is too large.")
        elif self._in_head and self._deadline is None:
            self._await_head()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head = True
        self._size = self._lines = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the URL."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; what trails a body is none, because nobody between the caller and us has looked at it."""
        self._lines += 1
        self._count(len(name) + len(value))
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._in_head = False
        self._untold = 0
        self._head_came()
        if len(self.pipeline) >= PIPELINE:
            raise _Excess
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._untold = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._untold = 0
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        # For a stream that nobody reads: without these it would fill more memory than it needs, and could only be left
        # to the kernel's patience.
        bounds: dict[object, object] = {
            "hang_up": self.transport.abort,
            "bound": self.transport.set_write_buffer_limits,
        }
        cycle.scope["extensions"] = {"ulak": bounds}
        super()._start_asgi_task(cycle, app)

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > HEAD_BYTES or self._lines > HEAD_LINES:
            raise _Excess

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _head_came(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
