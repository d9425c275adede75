"""How do frames pass over one transport, from the handshake to the last byte?

An ``asyncio.Protocol`` that uvicorn hands a connection to when its request asks for a socket. Callbacks only:
an open connection that says nothing has no task, timer or queue. In one turn of the event loop the first frame leaves
at once, and what follows it in one call of the kernel at the turn's end. Beyond ``HIGH`` unsent bytes neither more is
told nor is the client read, so that its pings and commands can't make answers pile up either.

What is said in the frames is for the class that derives from this one (``connection``).
"""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from ulak.core.handshake import Refusal, Upgrade, acceptance, read_upgrade, rejection
from ulak.core.websocket import TOO_BIG, Event, Opcode, Reader, close_frame, frame

log = logging.getLogger(__name__)

HIGH = 32_768
"""Unsent bytes of one connection above which it waits. As much again may be written in the same turn, and one page of
an inbox (64 kB) be under way: together 128 kB.
"""

_SHAKING, _OPEN, _CLOSING, _CLOSED = range(4)
_PING = frame(Opcode.PING, b"")


class Turn:
    """The turn of the loop in which sockets write: its number, and those that have more to write at its end."""

    __slots__ = ("_begun", "_sockets", "number")

    def __init__(self) -> None:
        self.number = 0
        self._begun = False
        self._sockets: list[Socket] = []

    def begin(self) -> int:
        """Somebody writes: the turn has a number, until its end."""
        if not self._begun:
            self._begun = True
            asyncio.get_running_loop().call_soon(self._end)
        return self.number

    def add(self, socket: Socket) -> None:
        """Flush it at the end of the turn."""
        self._sockets.append(socket)

    def _end(self) -> None:
        self._begun = False
        self.number += 1
        sockets, self._sockets = self._sockets, []
        for socket in sockets:
            socket.flush()


class Socket(asyncio.Protocol):
    """One WebSocket of a server. ``limit`` bounds a message in bytes, ``parts`` its frames; times in seconds."""

    __slots__ = ("_close_timer", "_full", "_out", "_reader", "_size", "_state", "_turn", "_wrote", "transport")

    limit = 16_384
    parts = 64
    close_seconds = 5.0

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._wrote = -1  # the number of the turn in which it wrote last
        self._out: list[bytes] | None = None
        self._size = 0
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # connection_made comes first
        self._reader: Reader | None = None
        self._state = _SHAKING
        self._full = False
        self._close_timer: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Frames may be sent: the handshake is done, and no close has been said."""
        return self._state == _OPEN

    # ------------------------------------------------------------------------------------ for the deriving class

    def admit(self, upgrade: Upgrade) -> Refusal | None:
        """Let it in, or not."""
        raise NotImplementedError

    def opened(self) -> None:
        """The handshake is done."""

    def received(self, event: Event) -> None:
        """A text or binary message."""
        raise NotImplementedError

    def controlled(self, event: Event) -> None:
        """A ping, which has been answered, or a pong."""

    def filled(self) -> None:
        """The client reads slowly: tell it nothing until ``drained``."""

    def drained(self) -> None:
        """What was written has left."""

    def oversized(self, reason: str) -> None:
        """A message beyond the limits: close."""
        self.bye(TOO_BIG, reason)

    def failed(self) -> None:
        """A fault of ours: close."""
        self.bye(1011)

    def ended(self) -> None:
        """No more is said: a close was sent or came, or the connection is lost. Once for whom ``admit`` let in."""

    def gone(self) -> None:
        """Its transport is closed, too. Once for whom ``admit`` let in."""

    @property
    def busy(self) -> bool:
        """What came last is still being carried out: nothing more is to be read."""
        return False

    # ------------------------------------------------------------------------------------ asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection comes from the HTTP server."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(HIGH)

    def data_received(self, data: bytes) -> None:
        """Bytes came; the first are the whole head of the request, from the HTTP server."""
        if self._reader is not None:
            self._reader.feed(data)
            self.read()
        elif self._state == _SHAKING:
            self._shake(data)

    def pause_writing(self) -> None:
        """More is unsent than should be."""
        self._full = True
        if self._state == _OPEN:
            self.pause()
            self.filled()

    def resume_writing(self) -> None:
        """It has left."""
        self._full = False
        if self._state == _OPEN:
            self.drained()
            self.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, whatever the reason."""
        del exc
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        before, self._state = self._state, _CLOSED
        self._reader = self._out = None
        if before == _OPEN:
            self.ended()
        if before in (_OPEN, _CLOSING):
            self.gone()

    # ------------------------------------------------------------------------------------ reading

    def pause(self) -> None:
        """Read nothing more from the client."""
        self.transport.pause_reading()

    def resume(self) -> None:
        """Read on, first what has come already; unless something else is in the way."""
        if self._state == _OPEN and not self._full and not self.busy:
            self.transport.resume_reading()
            self.read()

    def read(self) -> None:
        """Take in what has come, as long as nothing is in the way."""
        reader = self._reader
        try:
            while reader is not None and self._state < _CLOSED:
                if self._state == _OPEN and (self._full or self.busy):
                    return
                event = reader.next()
                if event is None:
                    return
                self._take(event)
        except Exception:
            log.exception("a socket ends by a fault of ours")
            self.failed()

    def _take(self, event: Event) -> None:
        if event.opcode == Opcode.CLOSE:
            self._hang_up(event)
        elif self._state != _OPEN:
            return  # said before the client has seen our close
        elif event.opcode <= Opcode.BINARY:
            self.received(event)
        else:
            if event.opcode == Opcode.PING:
                self.write(frame(Opcode.PONG, event.data))
            self.controlled(event)

    def _hang_up(self, event: Event) -> None:
        """The client said its close, or something that ends the connection."""
        if self._state != _OPEN:
            self._finish()
        elif event.fault:
            if event.code == TOO_BIG:
                self.oversized(event.text)
            else:
                self.bye(event.code, event.text)
            # Nothing more of this client can be read, its close neither: it is told the end by that of the connection.
            self._reader = None
            try:
                self.transport.write_eof()
            except OSError:  # it is lost, and the loop has not told us yet
                self.transport.abort()
        else:
            self.write(close_frame(event.code))
            self.flush()
            self._state = _CLOSING
            self.ended()
            self._finish()

    # ------------------------------------------------------------------------------------ writing

    def write(self, data: bytes) -> None:
        """Send a frame: the first of this turn at once, the others together at its end."""
        out = self._out
        if out is not None:
            out.append(data)
            self._size += len(data)
            if self._size > HIGH:
                self.flush()
            return
        turn = self._turn.begin()
        if self._wrote != turn:
            self._wrote = turn
            self.transport.write(data)
            return
        self._out = [data]
        self._size = len(data)
        self._turn.add(self)

    def flush(self) -> None:
        """Hand what has been written to the transport."""
        out = self._out
        if out is not None:
            self._out = None
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))

    def ping(self) -> None:
        """Ask whether it is there."""
        self.write(_PING)

    def bye(self, code: int, reason: str = "") -> None:
        """Say a close; then wait for the client's, but not long."""
        if self._state != _OPEN:
            return
        self.write(close_frame(code, reason))
        self.flush()
        self._state = _CLOSING
        self.transport.resume_reading()
        self._cut_later()
        self.ended()

    def abort(self) -> None:
        """Cut the connection at once."""
        self.transport.abort()

    def _finish(self) -> None:
        """Both have said their close: the server hangs up first (RFC 6455, 7.1.1), once all has left."""
        self._reader = None
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._cut_later()

    def _cut_later(self) -> None:
        if self._close_timer is None:
            self._close_timer = asyncio.get_running_loop().call_later(self.close_seconds, self.transport.abort)

    # ------------------------------------------------------------------------------------ the handshake

    def _shake(self, head: bytes) -> None:
        upgrade = read_upgrade(head)
        refusal = upgrade if isinstance(upgrade, Refusal) else self.admit(upgrade)
        if refusal is not None or isinstance(upgrade, Refusal):
            assert refusal is not None
            self._state = _CLOSED
            self.transport.write(rejection(refusal))
            self.transport.close()
            return
        self._reader = Reader(self.limit, self.parts)
        self._state = _OPEN
        self.write(acceptance(upgrade.key))
        self.opened()
