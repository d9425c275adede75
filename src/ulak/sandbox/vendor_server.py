"""How does one connection to the fake vendors read requests, break as a fault asks, and answer?

HTTP/1.1 by hand over a parser, because a server that is made to be right can't be made to hang up in the middle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, cast

import httptools

from ulak.sandbox.faults import Do
from ulak.sandbox.record import Received
from ulak.sandbox.vendor import Asked, Judge, Said, Verdict, said
from ulak.sandbox.vendor_faults import Moment, VendorFault

MOST_BYTES = 64 * 1024 * 1024

Take = Callable[[Any, str], Received]
"""Keep a message that a vendor took; the text says whether its sender hears of it, as the record has it."""


class Faults(Protocol):
    """The book of faults, as a connection asks it."""

    def due(self, at: Moment, vendor: str = "", recipients: Sequence[str] = ()) -> VendorFault | None:
        """The fault that goes off now, if any; counts the chance."""


class Office:
    """What all connections share: the vendors by path, the faults, where messages go, and other pages."""

    def __init__(
        self,
        vendors: Mapping[str, tuple[str, Judge]],
        faults: Faults,
        take: Take,
        pages: Callable[[Asked], Said | None],
    ) -> None:
        self._vendors = vendors
        self.faults = faults
        self.take = take
        self.pages = pages

    def of(self, path: str) -> tuple[str, Judge]:
        """The vendor that answers under a path: the very one, else the longest beginning that ends with a slash."""
        while path not in self._vendors and path.strip("/"):
            path = path.rstrip("/").rpartition("/")[0] + "/"
        return self._vendors.get(path, ("", _nobody))


class VendorConnection(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._waiting: list[asyncio.TimerHandle] = []
        self._taken: list[Received] = []
        self.on_lost: Callable[[VendorConnection], object] = lambda _: None

    # ------------------------------------------------------------------------------------- transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request, unless a fault goes off."""
        self._transport = cast("asyncio.Transport", transport)
        fault = self._office.faults.due(Moment.CONNECT)
        if fault is not None:
            self._transport.pause_reading()
            self._break(fault, self._transport.resume_reading)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was to be said."""
        del exc
        self._transport = None
        for timer in self._waiting:
            timer.cancel()
        self.on_lost(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.abort()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------------------------------- parser

    def on_message_begin(self) -> None:
        """Start a request."""
        self._target, self._headers = b"", {}
        self._body.clear()

    def on_url(self, url: bytes) -> None:
        """Note the request target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a field; several of a name are joined."""
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_body(self, body: bytes) -> None:
        """Collect, to a limit."""
        self._body += body
        if len(self._body) > MOST_BYTES:
            self.abort()

    def on_message_complete(self) -> None:
        """Judge the request and go through the moments at which a fault may go off."""
        method = self._parser.get_method().decode("ascii")
        asked = Asked(method, self._target.decode("latin-1"), self._headers, bytes(self._body))
        page = self._office.pages(asked)
        if page is not None:
            self._write(page)
            return
        name, judge = self._office.of(asked.target.partition("?")[0])
        verdict = judge(asked, datetime.now(UTC))
        self._at(Moment.REQUEST, name, verdict, lambda: self._take(name, verdict))

    # ------------------------------------------------------------------------------------- moments

    def _take(self, name: str, verdict: Verdict) -> None:
        """Keep the messages; what the record says of the answer is known before, as it must be."""
        whom = _recipients(verdict)
        fault = self._office.faults.due(Moment.TAKEN, name, whom)
        goes_on = fault is None or fault.do is Do.STALL
        half = self._office.faults.due(Moment.ANSWER, name, whom) if goes_on else None
        label = "withheld" if verdict.cut else "sent" if verdict.said.status < 300 else str(verdict.said.status)
        for each in filter(None, (half, fault)):
            late = each.do is Do.STALL and each.seconds is not None
            label = str(each.status) if each.do is Do.REPLY else "late" if late else "withheld"
        self._taken = [self._office.take(parcel, label) for parcel in verdict.parcels]
        self._do(fault, lambda: self._answer(verdict, half))

    def _answer(self, verdict: Verdict, fault: VendorFault | None) -> None:
        if fault is None and not verdict.cut:
            self._write(verdict.said)
            return
        data = _bytes(verdict.said)
        half = max(len(data) - max(1, len(verdict.said.body) // 2), 1)
        if self._transport is not None:
            self._transport.write(data[:half])
        if fault is not None and fault.do is Do.STALL:
            self._break(fault, lambda: self._send(data[half:]))
        elif self._transport is not None:
            self._transport.close()  # not abort: what was written should arrive

    def _at(self, moment: Moment, name: str, verdict: Verdict, go: Callable[[], None]) -> None:
        """Do ``go`` unless a fault goes off first."""
        self._do(self._office.faults.due(moment, name, _recipients(verdict)), go)

    def _do(self, fault: VendorFault | None, go: Callable[[], None]) -> None:
        if fault is None:
            go()
        elif fault.do is Do.REPLY:
            self._write(Said(fault.status, fault.body.encode(), tuple(fault.headers.items())))
        else:
            self._break(fault, go)

    def _break(self, fault: VendorFault, go: Callable[[], None]) -> None:
        """Drop the connection, or stall and then go on."""
        if fault.do is Do.DROP:
            self.abort()
        elif fault.seconds is not None:
            self._waiting.append(asyncio.get_running_loop().call_later(fault.seconds, go))

    def _write(self, answer: Said) -> None:
        self._send(_bytes(answer))

    def _send(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(data)
        for received in self._taken:
            received.answered = True
        self._taken = []


def _recipients(verdict: Verdict) -> list[str]:
    return [parcel.recipient for parcel in verdict.parcels]


def _bytes(answer: Said) -> bytes:
    fields = [*answer.headers, ("Content-Length", str(len(answer.body))), ("Connection", "keep-alive")]
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"HTTP/1.1 {answer.status} Sandbox\r\n{head}\r\n".encode("latin-1") + answer.body


def _nobody(asked: Asked, now: datetime) -> Verdict:
    """What is answered under an address of no vendor."""
    del asked, now
    return Verdict(said(404, {"message": "no vendor answers here"}))
