"""What happens on one connection that speaks HTTP/2?

h2 knows the protocol, an ``asyncio.Protocol`` moves the bytes; nothing here waits, and nothing costs a task. Requests
that start in one turn of the loop leave in one write. What is kept is bounded: streams by the peer's SETTINGS and our
own limit, answers by caps, header blocks by h2 (64 CONTINUATION frames, then the connection ends), and what a peer that
does not read makes us say.

How a request ends, which decides whether it may be sent again (RFC 9113 §8.7):

- its answer came whole: ``HttpReply``;
- the peer said that it did not touch it (GOAWAY below it, REFUSED_STREAM), or it never left: ``again`` of the house;
- all else: ``Lost(SENT)``. The peer may have acted on it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from h2 import events
from h2.errors import ErrorCodes
from h2.exceptions import NoAvailableStreamIDError, ProtocolError

from ulak.io.outbound.http2_dial import ALPN
from ulak.io.outbound.http2_wire import Exchange, House, Options, Wire
from ulak.providers.contract import HttpReply, Lost, Phase

LAST_STREAM = 2**31 - 1
_WINDOW = 2**20
"""Bytes that a peer may send on a connection before we say that we have read them."""
_UNREAD = 65_536
"""Bytes of our answers to frames that a peer may leave unread while it sends more."""
_DETAIL = 200
_STATUS = re.compile(rb"[1-9][0-9]{2}")


class Connection(asyncio.Protocol):
    """One connection; what can be asked of it from outside is ``room``, ``start``, ``drop``, ``retire``."""

    def __init__(self, house: House, options: Options) -> None:
        self._house = house
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._h2 = Wire()
        self._transport: asyncio.Transport | None = None
        self._open: dict[int, Exchange] = {}
        self._limit = 1
        self._settled = False
        self._proven = options.proves is None
        self._flushed = 0
        """The last stream of which anything may have left."""
        self._flushing = False
        self._paused = False
        self._unread = 0
        self._owed = 0
        self._why = ("cut_off", "")
        self._heard = self._used = self._loop.time()
        self._pinged: float | None = None
        self._watching: asyncio.TimerHandle | None = None
        self.retired = False
        self.answered = False
        self.closed: asyncio.Future[None] = self._loop.create_future()

    # ------------------------------------------------------------------------------------- from the house

    @property
    def room(self) -> int:
        """How many requests may be started now."""
        return 0 if self.retired or self._paused or self._asked() else self._limit - len(self._open)

    @property
    def warming(self) -> bool:
        """Whether it may soon take more than it does now, because it has not shown yet what it is good for."""
        return not self.retired and not (self._settled and self._proven)

    def start(self, exchange: Exchange) -> None:
        """Send a request; only with ``room``."""
        try:
            self._h2.request(exchange)
        except NoAvailableStreamIDError:
            self.retire()
            self._house.again(exchange, Lost(Phase.NOT_SENT, "cut_off", "no stream left"))
            return
        exchange.connection = self
        self._used = self._loop.time()
        self._open[exchange.stream] = exchange
        if exchange.body:
            exchange.unsent = exchange.body
            self._feed(exchange)
        if exchange.stream >= LAST_STREAM - 1:
            self.retired = True
        self._flush_soon()

    def drop(self, exchange: Exchange) -> None:
        """Nobody waits for this request any more."""
        if self._open.pop(exchange.stream, None) is not None:
            self._used = self._loop.time()
            self._reset(exchange.stream)
            self._leave_or_room()

    def retire(self) -> None:
        """Take no more requests, and close when the last has ended."""
        self.retired = True
        if not self._open:
            self._close()

    def end(self, reason: str) -> None:
        """Close now; requests that are open end as ``Lost``."""
        self.retired = True
        self._why = (reason, "")
        self._close()
        self._loop.call_later(1.0, self.abort)

    # ------------------------------------------------------------------------------------- from the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is done: say hello, if the server speaks HTTP/2."""
        self._transport = cast(asyncio.Transport, transport)
        if transport.get_extra_info("ssl_object").selected_alpn_protocol() != ALPN:
            self.retired = True
            return
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_WINDOW)
        self._flush()
        self._heard = self._used = self._loop.time()
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Hear what the peer says, then let the house fill the room that there is."""
        self._flush()  # h2 forgets what it has not given out when a GOAWAY comes
        self._heard = self._loop.time()
        try:
            heard = self._h2.receive_data(data)
        except ProtocolError as error:
            self._fail("protocol", type(error).__name__)
            return
        if self._h2.overlong:
            self._fail("protocol", "FrameTooLargeError")
        for event in heard:
            handle = _HANDLERS.get(type(event))
            if handle is not None:
                handle(self, event)
        if self._owed > _WINDOW // 2:
            self._h2.increment_flow_control_window(self._owed)
            self._owed = 0
        self._echo()
        self._leave_or_room()

    def pause_writing(self) -> None:
        """The peer reads too slowly: start nothing more."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self._paused = False
        self._unread = 0
        self._house.room()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end: say of each open request whether it had left."""
        self.retired = True
        if self._watching is not None:
            self._watching.cancel()
        reason, detail = self._why
        detail = detail or (type(exc).__name__ if exc else "")
        left, self._open = self._open, {}
        for exchange in reversed(left.values()):
            if exchange.stream > self._flushed:
                self._house.again(exchange, Lost(Phase.NOT_SENT, reason, detail))
            else:
                exchange.done(Lost(Phase.SENT, reason, detail))
        if not self.closed.done():
            self.closed.set_result(None)
        self._house.gone(self)

    # ------------------------------------------------------------------------------------- what the peer says

    def _response(self, event: events.ResponseReceived) -> None:
        exchange = self._open.get(event.stream_id or 0)
        if exchange is None:
            return
        size = 0
        for name, value in event.headers:
            size += len(name) + len(value) + 32
            if name == b":status":
                exchange.status = int(value) if _STATUS.fullmatch(value) else 0
                continue
            key, text = name.decode("latin-1"), value.decode("latin-1")
            known = exchange.fields.get(key)
            exchange.fields[key] = text if known is None else f"{known}, {text}"
        if not exchange.status:
            self._finish(exchange, Lost(Phase.SENT, "bad_reply", "not a status of HTTP"), cut=True)
        elif size > self._options.header_cap:
            self._finish(exchange, Lost(Phase.SENT, "bad_reply", "too many header fields"), cut=True)

    def _data(self, event: events.DataReceived) -> None:
        self._owed += event.flow_controlled_length or 0
        exchange = self._open.get(event.stream_id or 0)
        if exchange is None:
            return
        exchange.answer += event.data or b""
        if len(exchange.answer) > self._options.body_cap:
            exchange.answer = exchange.answer[: self._options.body_cap]
            self._finish(exchange, HttpReply(exchange.status, exchange.fields, exchange.answer), cut=True)

    def _ended(self, event: events.StreamEnded) -> None:
        exchange = self._open.get(event.stream_id or 0)
        if exchange is not None:
            reply = HttpReply(exchange.status, exchange.fields, exchange.answer)
            self._finish(exchange, reply, cut=bool(exchange.unsent))

    def _was_reset(self, event: events.StreamReset) -> None:
        exchange = self._open.pop(event.stream_id or 0, None)
        code = event.error_code
        if code == ErrorCodes.ENHANCE_YOUR_CALM:
            self.retired = True
        if exchange is None:
            return
        self._used = self._heard
        self._h2.forget(exchange.stream)
        if code == ErrorCodes.REFUSED_STREAM:
            self._house.again(exchange, Lost(Phase.NOT_SENT, "refused_stream"))
        else:
            exchange.done(Lost(Phase.SENT, "reset", _code(code)))

    def _going(self, event: events.ConnectionTerminated) -> None:
        """Streams above the last that the peer looked at were never touched; the others may still be answered."""
        self.retired = True
        said = _printable(event.additional_data or b"")
        self._why = ("goaway", f"{_code(event.error_code)} {said}".strip())
        last = event.last_stream_id or 0
        for stream in sorted((stream for stream in self._open if stream > last), reverse=True):
            self._house.again(self._open.pop(stream), Lost(Phase.NOT_SENT, *self._why))

    def _new_settings(self, event: events.RemoteSettingsChanged) -> None:
        del event
        self._settled = True
        self._set_limit()
        self._feed_all()

    def _windows(self, event: events.WindowUpdated) -> None:
        if not event.stream_id:
            self._feed_all()
            return
        exchange = self._open.get(event.stream_id)
        if exchange is not None and exchange.unsent:
            self._feed(exchange)

    # ------------------------------------------------------------------------------------- inner works

    def _set_limit(self) -> None:
        allowed = min(self._h2.remote_settings.max_concurrent_streams, self._options.streams)
        self._limit = allowed if self._settled and self._proven else min(1, allowed)

    def _finish(self, exchange: Exchange, result: HttpReply | Lost, *, cut: bool) -> None:
        """A request has its result; ``cut``: the stream has not ended by itself."""
        self._open.pop(exchange.stream, None)
        self._used = self._heard
        exchange.unsent = b""
        if cut:
            self._reset(exchange.stream)
        else:
            self._h2.forget(exchange.stream)
        if isinstance(result, HttpReply):
            self.answered = True
            if not self._proven and self._options.proves is not None and self._options.proves(result):
                self._proven = True
                self._set_limit()
        exchange.done(result)

    def _reset(self, stream: int) -> None:
        with suppress(ProtocolError):  # it, or the whole connection, has ended meanwhile
            self._h2.reset_stream(stream, ErrorCodes.CANCEL)
        self._h2.forget(stream)
        self._flush_soon()

    def _feed_all(self) -> None:
        for exchange in self._open.values():
            if exchange.unsent:
                self._feed(exchange)

    def _feed(self, exchange: Exchange) -> None:
        """Send as much of a body as the windows allow."""
        h2, stream = self._h2, exchange.stream
        while exchange.unsent:
            size = min(len(exchange.unsent), h2.local_flow_control_window(stream), h2.max_outbound_frame_size)
            if size <= 0:
                return
            h2.send_data(stream, exchange.unsent[:size], end_stream=size == len(exchange.unsent))
            exchange.unsent = exchange.unsent[size:]
        self._flush_soon()

    def _leave_or_room(self) -> None:
        self._flush_soon()
        if self.retired and not self._open:
            self._close()
        self._house.room()

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """One write for all that has gathered."""
        self._flushing = False
        said = self._h2.data_to_send()
        if said and self._transport is not None and not self._transport.is_closing():
            self._flushed = self._h2.highest_outbound_stream_id
            self._transport.write(said)

    def _echo(self) -> None:
        """Write the answers to frames (PING, SETTINGS) at once, and end with a peer that sends on without reading."""
        if not self._paused:
            return
        said = self._h2.data_to_send()
        self._unread += len(said)
        if self._unread > _UNREAD:
            self._fail("protocol", "the peer does not read")
        elif said and self._transport is not None:
            self._transport.write(said)

    def _watch(self) -> None:
        """Look from time to time whether the peer lives, and whether anybody needs it."""
        now, options = self._loop.time(), self._options
        if not self._open and now - self._used >= options.idle:
            self.retire()
            return
        if not self._asked():
            self._pinged = None
        if self._pinged is not None and now - self._pinged >= options.patience:
            self._fail("silent", "no answer to a ping")
            return
        if self._pinged is None and now - self._heard >= self._silence():
            self._pinged = now
            with suppress(ProtocolError):
                self._h2.ping(b"ulakping")
            self._flush_soon()
        self._watching = self._loop.call_later(self._next_look(now), self._watch)

    def _asked(self) -> bool:
        """Whether it has been asked if it lives, and has not said anything since: nothing more is given to it."""
        return self._pinged is not None and self._heard < self._pinged

    def _silence(self) -> float:
        """Seconds after which it is asked: soon where somebody waits for an answer, which may never come."""
        return min(self._options.ping, self._options.patience) if self._open else self._options.ping

    def _next_look(self, now: float) -> float:
        options = self._options
        due = self._heard + self._silence() if self._pinged is None else self._pinged + options.patience
        if not self._open:  # somebody may begin to wait meanwhile
            due = min(due, self._used + options.idle, now + options.patience)
        return max(due - now, 0.001)

    def _fail(self, reason: str, detail: str) -> None:
        self.retired = True
        self._why = (reason, detail)
        self._flush()  # h2 may have made a GOAWAY that says why
        self.abort()

    def _close(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        with suppress(ProtocolError):
            self._h2.close_connection()
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """End it without a word."""
        if self._transport is not None:
            self._transport.abort()


def _code(code: ErrorCodes | int | None) -> str:
    return code.name if isinstance(code, ErrorCodes) else f"code {int(code or 0)}"


def _printable(data: bytes) -> str:
    text = data[:_DETAIL].decode("ascii", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text)


_HANDLERS: dict[type[events.Event], Callable[[Connection, Any], None]] = {
    events.ResponseReceived: Connection._response,  # noqa: SLF001 - this module's own
    events.DataReceived: Connection._data,  # noqa: SLF001
    events.StreamEnded: Connection._ended,  # noqa: SLF001
    events.StreamReset: Connection._was_reset,  # noqa: SLF001
    events.ConnectionTerminated: Connection._going,  # noqa: SLF001
    events.RemoteSettingsChanged: Connection._new_settings,  # noqa: SLF001
    events.WindowUpdated: Connection._windows,  # noqa: SLF001
}
"""What is done about which event; the others (1xx, trailers, PING) need nothing."""
