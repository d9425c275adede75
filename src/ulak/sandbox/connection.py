"""How does one connection hold lines back, answer, break as a fault asks, and go on?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

from ulak.sandbox.faults import At, Do, Fault, FaultBook

COMMAND_LINE = 2_048


class Connection(asyncio.Protocol):
    """The transport side of a peer: a subclass supplies ``greet`` and ``work``."""

    def __init__(self, faults: FaultBook) -> None:
        self.faults = faults
        self.transport: asyncio.Transport | None = None
        self.buffer = bytearray()
        self.held = False
        self._out: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self.on_lost: Callable[[Connection], object] = lambda _: None

    def greet(self) -> None:
        """Say the first word."""
        raise NotImplementedError

    def work(self) -> bool:
        """Handle one line or one text of ``buffer``; False when none is whole."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self.greet()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget timers; what was taken stays taken."""
        del exc
        self.transport = None
        self.held = True
        if self._timer is not None:
            self._timer.cancel()
        self.on_lost(self)

    def data_received(self, data: bytes) -> None:
        """Work through as many commands as the bytes hold."""
        self.buffer += data
        self.pump()

    def pump(self) -> None:
        """Work until the bytes run out or the connection is held."""
        while not self.held and self.work():
            pass
        self.flush()

    def flush(self) -> None:
        """Send what was said."""
        if self._out and self.transport is not None:
            self.transport.write(b"".join(self._out))
            self._out.clear()

    def say(self, code: int, text: str) -> None:
        """Answer; ``text`` may have several lines. 421 also closes the connection."""
        lines = text.split("\n")
        for at, line in enumerate(lines):
            self._out.append(f"{code}{'-' if at + 1 < len(lines) else ' '}{line}\r\n".encode("ascii"))
        if code == 421:
            self.hang_up()

    def hang_up(self) -> None:
        """Close after what was said."""
        self.flush()
        self.held = True
        if self.transport is not None:
            self.transport.close()

    def step(self, at: At, recipients: Sequence[str], go: Callable[[], None]) -> None:
        """Do ``go`` unless a fault goes off first."""
        fault = self.faults.due(at, recipients)
        if fault is None:
            go()
        elif fault.do is Do.REPLY:
            self.say(fault.code, fault.text)
        else:
            self.break_off(fault, go)

    def break_off(self, fault: Fault, go: Callable[[], None]) -> None:
        """Drop the connection, or stall and then go on."""
        self.flush()
        self.held = True
        if self.transport is None:
            return
        if fault.do is Do.DROP:
            self.transport.abort()
            return
        if fault.at is At.BODY:
            # Reading stops as well, so that a sender feels the full line; elsewhere a hang-up should be noticed.
            self.transport.pause_reading()
        if fault.seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(fault.seconds, self._wake, go)

    def _wake(self, go: Callable[[], None]) -> None:
        self._timer = None
        if self.transport is None:
            return
        self.held = False
        self.transport.resume_reading()
        go()
        self.pump()

    def next_line(self) -> bytes | None:
        """The next line without its CRLF; None when none is whole, or it was so wrong that the line is closed."""
        end = self.buffer.find(b"\n")
        if end < 0 and len(self.buffer) <= COMMAND_LINE:
            return None
        if end < 0 or end > COMMAND_LINE:
            self.say(500, "5.5.6 line too long")
            self.hang_up()
            return None
        line = bytes(self.buffer[: end + 1])
        del self.buffer[: end + 1]
        if line.endswith(b"\r\n") and b"\r" not in line[:-2] and b"\0" not in line and line.isascii():
            return line[:-2]
        self.say(500, "5.5.2 lines end in CRLF and are ASCII")
        self.hang_up()
        return None
