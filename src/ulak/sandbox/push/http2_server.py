"""How does one HTTP/2 connection to a fake service count streams, answer, and break as a fault asks?

The frames are read by ``h2``, which is strict. Two things are done by hand, since ``h2`` would do them too well: how
many streams are announced, so that one too many gets REFUSED_STREAM (RFC 9113 §5.1.2) instead of ending the
connection, and GOAWAY, after which streams below the last are still answered (§6.8).
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from ulak.sandbox.push import frames
from ulak.sandbox.push.faults import Do, PushFault, PushFaults
from ulak.sandbox.push.service import Call, Line, Ruling, Service
from ulak.sandbox.pushed import Pushed
from ulak.sandbox.record import Received
from ulak.sandbox.vendor import Said
from ulak.sandbox.vendor_faults import Moment

MOST_BYTES = 1024 * 1024
MOST_HEADERS = 64 * 1024
_ANY_NUMBER = 2**31 - 1

Take = Callable[[Pushed, str], Received]
"""Keep a push that a service took; the text says whether its sender hears of it, as the record has it."""


@dataclass(slots=True)
class Tally:
    """What a service counts over all its connections."""

    connections: int = 0
    requests: int = 0
    refused_streams: int = 0
    goaways: int = 0
    broken: int = 0


@dataclass(frozen=True, slots=True)
class Office:
    """What all connections of a service share."""

    service: Service
    faults: PushFaults
    take: Take
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    tally: Tally = field(default_factory=Tally)


@dataclass(slots=True)
class _Stream:
    """A request that comes, and the rest of its answer."""

    fields: list[tuple[str, str]]
    body: bytearray = field(default_factory=bytearray)
    rest: bytes | None = None
    received: Received | None = None


class Http2Connection(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._transport: asyncio.Transport | None = None
        self._h2 = H2Connection(H2Configuration(client_side=False))
        self._h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: _ANY_NUMBER,
                SettingCodes.MAX_HEADER_LIST_SIZE: MOST_HEADERS,
            },
        )
        self._line = Line()
        self._most = office.service.streams[0]
        self._streams: dict[int, _Stream] = {}
        self._taken = 0
        self._last: int | None = None
        self._waiting: list[asyncio.TimerHandle] = []
        self.on_lost: Callable[[Http2Connection], object] = lambda _: None

    # ------------------------------------------------------------------------------------- transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say which protocol and how many streams; a client that does not speak HTTP/2 is cut off."""
        self._transport = cast("asyncio.Transport", transport)
        self._office.tally.connections += 1
        wrapped: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if wrapped is not None and wrapped.selected_alpn_protocol() != "h2":
            self.abort()
            return
        self._h2.initiate_connection()
        self._h2.data_to_send()  # the same settings, but for how many streams
        fault = self._office.faults.due(Moment.CONNECT, self._office.service.name)
        if fault is None:
            self._announce()
            return
        self._transport.pause_reading()
        self._break(fault, self._begin)

    def _begin(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()
            self._announce()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was to be said."""
        del exc
        self._transport = None
        for timer in self._waiting:
            timer.cancel()
        self.on_lost(self)

    def data_received(self, data: bytes) -> None:
        """Read frames, and answer all that they complete in one write."""
        if self._transport is None or self._transport.is_closing():
            return
        try:
            for event in self._h2.receive_data(data):
                self._handle(event)
        except ProtocolError:
            self._office.tally.broken += 1
            self._flush()
            self._close()
            return
        self._flush()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
        if self._last is not None and not self._streams:
            self._close()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _announce(self) -> None:
        """Tell how many streams may be open at once."""
        most: dict[int, int] = {SettingCodes.MAX_CONCURRENT_STREAMS: self._most}
        self._write(frames.settings({**most, SettingCodes.MAX_HEADER_LIST_SIZE: MOST_HEADERS}))

    # ------------------------------------------------------------------------------------- frames

    def _handle(self, event: events.Event) -> None:
        match event:
            case events.RequestReceived(stream_id=number, headers=headers) if number is not None:
                self._open(number, headers or [])
            case events.DataReceived(stream_id=number, data=data, flow_controlled_length=length):
                self._data(number or 0, data or b"", length or 0)
            case events.StreamEnded(stream_id=number) if number in self._streams:
                self._complete(number, self._streams[number])
            case events.StreamReset(stream_id=number):
                self._streams.pop(number or 0, None)
            case events.WindowUpdated() | events.RemoteSettingsChanged():
                self._resume()
            case events.ConnectionTerminated():
                self._last = 0
                self._streams.clear()  # h2 sends no answer any more
            case _:
                pass

    def _open(self, number: int, headers: list[tuple[bytes, bytes]]) -> None:
        if self._last is not None and number > self._last:
            return  # after GOAWAY: never looked at
        if len(self._streams) >= self._most:
            self._office.tally.refused_streams += 1
            self._h2.reset_stream(number, ErrorCodes.REFUSED_STREAM)
            return
        text = [(bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in headers]
        self._streams[number] = _Stream(text)

    def _data(self, number: int, data: bytes, length: int) -> None:
        if length:
            self._h2.acknowledge_received_data(length, number)
        stream = self._streams.get(number)
        if stream is None:
            return
        stream.body += data
        if len(stream.body) > MOST_BYTES:
            self._reset(number, ErrorCodes.ENHANCE_YOUR_CALM)

    # ------------------------------------------------------------------------------------- moments

    def _complete(self, number: int, stream: _Stream) -> None:
        """Judge the request and go through the moments at which a fault may go off."""
        pseudo = {name: value for name, value in stream.fields if name[:1] == ":"}
        rest = [(name, value) for name, value in stream.fields if name[:1] != ":"]
        call = Call(pseudo.get(":method", ""), pseudo.get(":path", ""), rest, bytes(stream.body))
        self._office.tally.requests += 1
        ruling = self._office.service.judge(call, self._line, self._office.clock())
        self._do(self._due(Moment.REQUEST, ruling), number, lambda: self._take(number, ruling))

    def _due(self, moment: Moment, ruling: Ruling) -> PushFault | None:
        return self._office.faults.due(moment, ruling.service or self._office.service.name, ruling.device)

    def _take(self, number: int, ruling: Ruling) -> None:
        """Keep the push; what the record says of the answer is known before, as it must be."""
        stream = self._streams.get(number)
        if stream is None:
            return  # the client gave up meanwhile
        self._taken = max(self._taken, number)
        taken = self._due(Moment.TAKEN, ruling)
        answer = None if taken is not None and taken.do is not Do.STALL else self._due(Moment.ANSWER, ruling)
        if ruling.pushed is not None:
            stream.received = self._office.take(ruling.pushed, self._label(ruling, taken, answer))
        self._do(taken, number, lambda: self._answer(number, ruling, answer))

    def _label(self, ruling: Ruling, *faults: PushFault | None) -> str:
        """What the record says of the answer: sent, late, withheld, or the status that was said instead."""
        for fault in faults:
            if fault is None or (fault.do is Do.GOAWAY and fault.at is Moment.ANSWER):
                continue
            if fault.do is Do.REPLY:
                return str(self._office.service.reply(fault, self._office.clock()).status)
            return "late" if fault.do is Do.STALL and fault.seconds is not None else "withheld"
        return "sent" if ruling.said.status < 300 else str(ruling.said.status)

    def _answer(self, number: int, ruling: Ruling, fault: PushFault | None) -> None:
        if ruling.proves and self._most < self._office.service.streams[1] and fault is None:
            self._most = self._office.service.streams[1]
            self._line.proven = True
            self._flush()
            self._announce()
        if fault is None:
            self._say(number, ruling.said)
        elif fault.do is Do.GOAWAY:
            self._goaway(fault, max(self._taken, number))
            self._say(number, ruling.said)
        else:
            self._half(number, ruling.said, fault)

    def _half(self, number: int, answer: Said, fault: PushFault) -> None:
        """The head and half of the body, then what the fault says."""
        if number not in self._streams:
            return
        half = len(answer.body) // 2
        with suppress(ProtocolError):
            self._h2.send_headers(number, _head(answer))
            if half:
                self._h2.send_data(number, answer.body[:half])
        self._flush()
        self._do(fault, number, lambda: self._body(number, answer.body[half:]))

    def _do(self, fault: PushFault | None, number: int, go: Callable[[], None]) -> None:
        """Do ``go`` unless a fault goes off first."""
        if fault is None:
            go()
        elif fault.do is Do.REPLY:
            self._say(number, self._office.service.reply(fault, self._office.clock()))
        elif fault.do is Do.RESET:
            self._reset(number, fault.error(ErrorCodes.INTERNAL_ERROR))
        elif fault.do is Do.GOAWAY:
            self._streams.pop(number, None)
            self._goaway(fault, self._taken)
        else:
            self._break(fault, lambda: self._later(go))

    def _later(self, go: Callable[[], None]) -> None:
        go()
        self._flush()

    def _break(self, fault: PushFault, go: Callable[[], None]) -> None:
        """Drop the connection, or stall and then go on."""
        if fault.do is Do.DROP:
            self._flush()
            self._close()  # not abort: what was written should arrive
        elif fault.seconds is not None:
            self._waiting.append(asyncio.get_running_loop().call_later(fault.seconds, go))

    def _goaway(self, fault: PushFault, last: int) -> None:
        """Streams above ``last`` are not looked at any more; the others are finished, then the line is closed."""
        self._last = last
        self._office.tally.goaways += 1
        self._streams = {number: stream for number, stream in self._streams.items() if number <= last}
        said = json.dumps({"reason": fault.reason}).encode() if fault.reason else b""
        self._write(self._h2.data_to_send() + frames.goaway(last, fault.error(ErrorCodes.NO_ERROR), said))

    # ------------------------------------------------------------------------------------- answers

    def _say(self, number: int, answer: Said) -> None:
        """Answer a stream; the body goes as far as the client's window lets it."""
        if number not in self._streams:
            return
        with suppress(ProtocolError):  # the client has reset the stream, or left
            self._h2.send_headers(number, _head(answer), end_stream=not answer.body)
            if answer.body:
                self._body(number, answer.body)
            else:
                self._finished(number)

    def _body(self, number: int, body: bytes) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return
        with suppress(ProtocolError):
            self._part(number, stream, body)

    def _part(self, number: int, stream: _Stream, body: bytes) -> None:
        room = min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size)
        now, rest = body[: max(room, 0)], body[max(room, 0) :]
        stream.rest = rest or None
        if now or not body:
            self._h2.send_data(number, now, end_stream=not rest)
        if not rest:
            self._finished(number)

    def _resume(self) -> None:
        for number, stream in list(self._streams.items()):
            if stream.rest is not None:
                self._body(number, stream.rest)

    def _finished(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is not None and stream.received is not None:
            stream.received.answered = True

    def _reset(self, number: int, code: ErrorCodes) -> None:
        if self._streams.pop(number, None) is not None:
            with suppress(ProtocolError):
                self._h2.reset_stream(number, code)


def _head(answer: Said) -> list[tuple[str, str]]:
    return [(":status", str(answer.status)), *((name.lower(), value) for name, value in answer.headers)]
