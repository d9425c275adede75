"""What came back from one request over HTTP/2?

The client for services that want many requests on few connections (APNs, FCM). It is the second of the project's two
HTTP clients and passes the same egress guard (``http2_dial``); like the first it follows no redirect, keeps no cookie,
uses no proxy and never raises for anything that the other side does:

- ``Lost(NOT_SENT)``: the service has not acted on it, and will not;
- ``Lost(SENT)``: it may have;
- ``Refused``: the guard would not dial, or the request can't be sent as it is.

One deadline covers waiting for a connection, sending, and the answer. A request that a service gave back untouched is
sent again on another connection within that deadline, which nobody notices.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from yarl import URL

from ulak.io.outbound import tls as trust
from ulak.io.outbound.egress import Network
from ulak.io.outbound.http import MAX_URL, unusable
from ulak.io.outbound.http2_connection import Connection
from ulak.io.outbound.http2_dial import ALPN, Dialler
from ulak.io.outbound.http2_fields import Fields
from ulak.io.outbound.http2_wire import Exchange, Options
from ulak.providers.contract import HttpReply, HttpRequest, Lost, Phase, Refused

__all__ = ["Http2Client", "Options"]

_HTTPS = "https://"
_TRIES = 3
"""How often a request is sent that comes back untouched."""
_FRUITLESS = 3
"""So many connections in a row that ended without any answer: the service is not there."""
_PAUSE = 1.0
"""Seconds before another dial, when one failed while other connections serve."""


class _Origin:
    """The connections to one origin, and the requests that wait for room on them."""

    def __init__(self, place: tuple[str, int], dialler: Dialler, options: Options) -> None:
        self.authority = _authority(*place)
        self._place = place
        self._dialler = dialler
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._connections: list[Connection] = []
        self._waiting: OrderedDict[Exchange, None] = OrderedDict()
        self._dialling: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self._fruitless = 0
        self._filling = False
        self.closing = False

    def submit(self, exchange: Exchange) -> None:
        """Start a request, or let it wait."""
        if not self._waiting:
            for connection in self._connections:
                if connection.room > 0:
                    connection.start(exchange)
                    return
        self._waiting[exchange] = None
        self._grow()

    def leave(self, exchange: Exchange) -> Phase:
        """Nobody waits for this request any more; says whether it had left."""
        if exchange in self._waiting:
            del self._waiting[exchange]
            return Phase.NOT_SENT
        if exchange.connection is None:
            return Phase.NOT_SENT
        exchange.connection.drop(exchange)
        return Phase.SENT

    async def close(self) -> None:
        """End every connection; what still waits is told so."""
        self.closing = True
        if self._dialling is not None:
            self._dialling.cancel()
            await asyncio.wait([self._dialling])
        self._give_up(Lost(Phase.NOT_SENT, "closed"))
        ending = list(self._connections)
        for connection in ending:
            connection.end("closed")
        await asyncio.gather(*(connection.closed for connection in ending))

    # ------------------------------------------------------------------------------------- from connections

    def again(self, exchange: Exchange, why: Lost) -> None:
        """Send it once more, before all that came later."""
        exchange.connection = None
        exchange.tries += 1
        if exchange.future.done():
            return
        if exchange.tries >= _TRIES or self.closing:
            exchange.done(why)
            return
        self._waiting[exchange] = None
        self._waiting.move_to_end(exchange, last=False)

    def room(self) -> None:
        """Start what waits, the oldest first."""
        if self._filling:  # a start may tell of its own room
            return
        self._filling = True
        try:
            for connection in self._connections:
                while self._waiting and connection.room > 0:
                    connection.start(self._waiting.popitem(last=False)[0])
        finally:
            self._filling = False
        self._grow()

    def gone(self, connection: Connection) -> None:
        """A connection is over."""
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        self._fruitless = 0 if connection.answered else self._fruitless + 1
        if self._fruitless >= _FRUITLESS and not self._serving():
            self._fruitless = 0
            self._give_up(Lost(Phase.NOT_SENT, "connect", "connections end before anything is answered"))
        self.room()

    # ------------------------------------------------------------------------------------- connections

    def _serving(self) -> list[Connection]:
        return [connection for connection in self._connections if not connection.retired]

    def _grow(self) -> None:
        """Dial one more connection when all are full; one at a time, each shown by a request to be of use."""
        if not self._waiting or self._dialling is not None or self.closing:
            return
        serving = self._serving()
        if len(serving) >= self._options.connections or any(connection.warming for connection in serving):
            return
        if serving and self._loop.time() < self._not_before:
            return
        self._dialling = self._loop.create_task(self._dial())

    async def _dial(self) -> None:
        newborn = Connection(self, self._options)
        made: Connection | Lost | Refused | None = None
        try:
            made = await self._dialler.dial(*self._place, lambda: newborn)
        finally:
            self._dialling = None
            if made is not newborn:
                newborn.abort()  # it may have got as far as TLS when time ran out
        if isinstance(made, Connection):
            self._connections.append(made)
            if made.closed.done():  # it ended before it was known here
                self.gone(made)
        elif self._serving():
            self._not_before = self._loop.time() + _PAUSE
        else:
            self._give_up(made)
        self.room()

    def _give_up(self, why: Lost | Refused) -> None:
        waiting, self._waiting = self._waiting, OrderedDict()
        for exchange in waiting:
            exchange.done(why)


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a request goes."""

    origin: _Origin
    block: bytes


class Http2Client:
    """Sends requests over HTTP/2 through the egress guard; an instance belongs to one event loop.

    ``allow_networks`` are the operator's exceptions to the deny list; ``tls`` replaces the context that trusts what
    the system trusts; ``dialler`` replaces both.
    """

    def __init__(
        self,
        allow_networks: Iterable[Network] = (),
        options: Options | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        dialler: Dialler | None = None,
    ) -> None:
        self._options = options or Options()
        self._dialler = dialler or Dialler(tls or trust.context(protocols=(ALPN,)), allow_networks)
        self._fields = Fields()
        self._origins: dict[tuple[str, int], _Origin] = {}
        self._known: dict[str, _Origin] = {}
        self._closed = False

    async def aclose(self) -> None:
        """Close every connection."""
        self._closed = True
        await asyncio.gather(*(origin.close() for origin in self._origins.values()))

    async def send(self, request: HttpRequest, deadline: float) -> HttpReply | Lost | Refused:
        """Send one request; the whole exchange may take ``deadline`` seconds. The body comes cut to the cap.

        Never raises for anything that the other side does.
        """
        if self._closed:
            return Lost(Phase.NOT_SENT, "closed")
        target = self._target(request)
        if isinstance(target, Refused):
            return target
        loop = asyncio.get_running_loop()
        exchange = Exchange(target.block, request.body, loop.create_future())
        timer = loop.call_later(deadline, _expire, target.origin, exchange)
        try:
            target.origin.submit(exchange)
            return await exchange.future
        except asyncio.CancelledError:
            target.origin.leave(exchange)
            raise
        finally:
            timer.cancel()

    def _target(self, request: HttpRequest) -> _Target | Refused:
        """The origin and the header block, or why there is none."""
        url = request.url
        start = url.find("/", len(_HTTPS))
        origin = self._known.get(url[:start]) if start > 0 else None
        if origin is None:
            found = self._origin(url)
            if isinstance(found, Refused):
                return found
            origin, path = found
        else:
            path = url[start:]
        if len(url) > MAX_URL:
            return Refused("url", "too long")
        block = self._fields.block(request, origin.authority, path)
        return block if isinstance(block, Refused) else _Target(origin, block)

    def _origin(self, url: str) -> tuple[_Origin, str] | Refused:
        """The origin of a URL that is not known yet, and what follows it."""
        flaw = unusable(HttpRequest("GET", url), {"https"})
        if flaw is not None:
            return flaw
        try:
            parsed = URL(url)
            place = (str(parsed.raw_host), parsed.port or 443)
            _authority(*place)
        except ValueError:
            return Refused("url", "not a host name or canonical address")
        origin = self._origins.get(place)
        if origin is None:
            origin = self._origins[place] = _Origin(place, self._dialler, self._options)
        rest = url[len(_HTTPS) :] if url.startswith(_HTTPS) else url.split("://", 1)[1]
        authority, slash, path = rest.partition("/")
        if slash and url.startswith(_HTTPS) and "?" not in authority:
            self._known[_HTTPS + authority] = origin
            return origin, "/" + path
        return origin, parsed.raw_path_qs


def _expire(origin: _Origin, exchange: Exchange) -> None:
    """The deadline has passed."""
    if not exchange.future.done():
        exchange.done(Lost(origin.leave(exchange), "timeout"))


def _authority(host: str, port: int) -> bytes:
    """The ``:authority`` of requests; raises ``ValueError`` for what is no ASCII name or address."""
    name = f"[{host}]" if ":" in host else host
    return (name if port == 443 else f"{name}:{port}").encode("ascii")
