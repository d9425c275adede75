"""Who may open a socket, and what happens on it from the handshake to the last byte?

An ASGI application for ``GET /v1/socket``. The protocol itself is ``core/session``; here its actions
touch the world. Tokens come in the first frame, never in the URL or a cookie, so another site's page
can open a socket but say nothing on it; an origin that is not allowed is refused all the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ulak.core.session import Session
from ulak.core.session_actions import Action, Authenticate, Mark, Refresh, Subscribe, Unsubscribe
from ulak.core.session_commands import Limits
from ulak.core.token import Claims, TokenError
from ulak.edge.gateway.connection import Connection, Message, SendMessage, finish
from ulak.edge.gateway.hub import Hub, Store
from ulak.io.postgres.errors import EXPECTED

log = logging.getLogger(__name__)

SUBPROTOCOL = "ulak.v1"

Receive = Callable[[], Awaitable[Message]]
Verify = Callable[[str], Awaitable[Claims]]
"""Says whose token this is, or raises ``TokenError``."""


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Bounds of the door: ``high_water`` in bytes, times in seconds; no ``origins`` means every origin."""

    limits: Limits = field(default_factory=Limits)
    origins: frozenset[str] = frozenset()
    most_connections: int = 50_000
    high_water: int = 65_536
    close_seconds: float = 5.0
    longest_retry: float = 10.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """``monotonic`` gives seconds, ``chance`` numbers in [0, 1), ``entropy`` random bytes."""

    monotonic: Callable[[], float]
    chance: Callable[[], float]
    entropy: Callable[[int], bytes]


class Gateway:
    """The door."""

    def __init__(
        self,
        inbox: Store,
        verify: Verify,
        hub: Hub,
        surroundings: Surroundings,
        settings: GatewaySettings | None = None,
    ) -> None:
        self._inbox = inbox
        self._verify = verify
        self._hub = hub
        self._monotonic = surroundings.monotonic
        self._chance = surroundings.chance
        self._entropy = surroundings.entropy
        self._settings = settings or GatewaySettings()
        self._connections: set[Connection] = set()
        self._draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def connections(self) -> int:
        """Open sockets, those without a user included."""
        return len(self._connections)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: SendMessage) -> None:
        """Serve one socket until it is closed."""
        await receive()  # websocket.connect
        refusal = self._refusal(scope)
        if refusal is not None:
            await _reject(scope, send, *refusal)
            return
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
        session = Session(self._entropy(8).hex(), self._monotonic(), self._settings.limits)
        connection = Connection(session, self._hub, send, self._monotonic, self._settings.high_water)
        self._connections.add(connection)
        self._empty.clear()
        self._hub.enter(connection)
        try:
            await self._serve(connection, receive)
        finally:
            self._hub.leave(connection)
            self._connections.discard(connection)
            if not self._connections:
                self._empty.set()

    async def drain(self, seconds: float) -> None:
        """Send every client elsewhere within ``seconds``, spread out, and take no new ones."""
        self._draining = True
        leaving = sorted(self._connections, key=lambda _: self._chance())
        pause = seconds / 2 / max(1, len(leaving))
        for connection in leaving:
            connection.act(connection.session.drain(self._chance() * self._settings.longest_retry))
            await asyncio.sleep(pause)
        try:
            await asyncio.wait_for(self._empty.wait(), max(0.1, seconds / 2))
        except TimeoutError:
            log.warning("%d sockets did not close in time", len(self._connections))

    def _refusal(self, scope: Mapping[str, Any]) -> tuple[int, str] | None:
        origin = _header(scope, b"origin")
        if origin is not None and self._settings.origins and origin not in self._settings.origins:
            return 403, "origin_refused"
        if SUBPROTOCOL not in scope.get("subprotocols", ()):
            return 400, "subprotocol_missing"
        if self._draining or len(self._connections) >= self._settings.most_connections:
            return 503, "overloaded"
        return None

    async def _serve(self, connection: Connection, receive: Receive) -> None:
        writer = asyncio.create_task(connection.write())
        reader = asyncio.create_task(self._read(connection, receive))
        closing = asyncio.create_task(connection.closing.wait())
        try:
            await asyncio.wait({writer, reader, closing}, return_when=asyncio.FIRST_COMPLETED)
            if reader.done() and reader.exception() is not None:
                connection.act(connection.session.fail())
            if connection.closing.is_set():
                await finish(writer, self._settings.close_seconds)
        finally:
            for task in (writer, reader, closing):
                task.cancel()
            ended = await asyncio.gather(writer, reader, closing, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception) and not isinstance(error, OSError):
                log.error("a socket ended by a fault of ours", exc_info=error)

    async def _read(self, connection: Connection, receive: Receive) -> None:
        while True:
            await connection.calm()
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            data = text if text is not None else message.get("bytes") or b""
            await self._carry_out(connection, connection.session.receive(data, self._monotonic()))

    async def _carry_out(self, connection: Connection, actions: Iterable[Action]) -> None:
        """What takes time is done here, in the order of the frame; the next frame waits."""
        for action in actions:
            if isinstance(action, Authenticate):
                await self._authenticate(connection, action)
            elif isinstance(action, Mark):
                connection.act(connection.session.answered(action.command, await self._mark(connection, action)))
            elif isinstance(action, Subscribe | Unsubscribe):
                connection.act(connection.session.answered(action.command, "unavailable"))
            elif isinstance(action, Refresh):
                await self._refresh(connection, action)
            else:
                connection.act([action])

    async def _authenticate(self, connection: Connection, action: Authenticate) -> None:
        session = connection.session
        try:
            claims = await self._verify(action.token)
        except TokenError as error:
            connection.act(session.refused(expired=error.expired))
            return
        except EXPECTED as error:
            log.warning("tokens can not be checked: %s", type(error).__name__)
            connection.act(session.fail())
            return
        self._hub.leave(connection)
        connection.owner = (claims.tenant, claims.user)
        self._hub.enter(connection)
        connection.act(session.authenticated(claims.user, claims.expires_at))

    async def _refresh(self, connection: Connection, action: Refresh) -> None:
        session = connection.session
        try:
            claims = await self._verify(action.token)
        except TokenError:
            connection.act(session.answered(action.command, "bad_token"))
        except EXPECTED:
            connection.act(session.answered(action.command, "unavailable"))
        else:
            same = (claims.tenant, claims.user) == connection.owner
            good = session.refreshed(action.command, claims.expires_at) if same else None
            connection.act(session.answered(action.command, "bad_token") if good is None else good)

    async def _mark(self, connection: Connection, action: Mark) -> str | None:
        """Write it; the answer's error code, or None. The change itself comes back as news to every device."""
        tenant, user = connection.owner
        command = action.command
        try:
            await self._inbox.change(tenant, user, action.op, command.ids, command.up_to)
        except EXPECTED as error:
            log.warning("a mark can not be written: %s", type(error).__name__)
            return "unavailable"
        return None


def _header(scope: Mapping[str, Any], name: bytes) -> str | None:
    found = [value for key, value in scope["headers"] if key.lower() == name]
    return b", ".join(found).decode("latin-1") if found else None


async def _reject(scope: Mapping[str, Any], send: SendMessage, status: int, code: str) -> None:
    """Answer the handshake with a problem, where the server lets us."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"application/problem+json")]
    if status == 503:
        headers.append((b"retry-after", b"5"))
    body = f'{{"type":"about:blank","title":"The socket was refused","status":{status},"code":"{code}"}}'.encode()
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
