"""Who may open a stream of his inbox, and from where does it go on?

An ASGI application for ``GET /v1/me/inbox/stream``. A browser reads it by ``fetch``, so that the token stands in a
header and not in the URL. Everything that can be wrong is told by a status before the stream begins; afterwards it is
a member of the hub like a socket, and ends with a close code.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from ulak.core.handshake import Refusal, Upgrade
from ulak.core.session_commands import ERRORS, Bad, Hello, Limits, Listen, parse
from ulak.core.token import Claims, TokenError
from ulak.edge.gateway.house import House
from ulak.edge.gateway.stream import Caller, Flow, Message, Receive, SendMessage, Stream
from ulak.io.postgres.errors import EXPECTED

log = logging.getLogger(__name__)

PATH = b"/v1/me/inbox/stream"
"""As it stands in the request."""

Headers = Mapping[bytes, bytes]

_PARAMETERS = frozenset({"since", "epoch", "topics"})
_PLACEHOLDER = "-"
_TITLES = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    422: "Unprocessable Content",
    503: "Service Unavailable",
}
_AWAY = Refusal(503, "unavailable", "the database can't answer now", 1)
_HEAD = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would collect the events
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a request asks for."""

    token: str
    hello: str
    topics: tuple[str, ...]


class Streams:
    """The door for streams: room, origins, rights and limits are the gateway's."""

    def __init__(self, house: House, flow: Flow | None = None) -> None:
        self._house = house
        self._flow = flow or Flow()

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: SendMessage) -> None:
        """Serve one stream until it ends."""
        house, headers = self._house, _combined(scope["headers"])
        upgrade = _upgrade(headers)
        address = house.address((scope.get("client") or ("",))[0], upgrade)
        refusal = house.enter(address, upgrade)
        if refusal is not None:
            await self._refuse(send, headers, refusal)
            return
        server = scope.get("extensions", {}).get("ulak", {})
        hang_up, bound = server.get("hang_up", _nothing), server.get("bound", _nothing)
        caller = Caller(house.unix(), address, house.agent(upgrade), hang_up, bound)
        try:
            refusal = await self._serve(scope["query_string"], headers, caller, receive, send)
            if refusal is not None:
                await self._refuse(send, headers, refusal)
        finally:
            house.leave(address)

    async def _serve(
        self, query: bytes, headers: Headers, caller: Caller, receive: Receive, send: SendMessage
    ) -> Refusal | None:
        """Stream until the end, or say why it can't begin."""
        house = self._house
        wish = read(query, headers, house.settings.limits)
        if isinstance(wish, Refusal):
            return wish
        claims = await self._believe(wish.token)
        if isinstance(claims, Refusal):
            return claims
        crowded = house.crowded((claims.tenant, claims.user))
        stream = Stream(house, claims, caller, self._flow)
        house.hub.enter(stream)  # before anything else is awaited: a revocation that comes meanwhile must find it
        try:
            allowed = await self._may(claims, wish.topics)
            if isinstance(allowed, Refusal):
                return allowed
            await send(_start(200, [*_HEAD, *self._cross_origin(headers)]))
            if crowded:
                stream.close("too_many")
            else:
                stream.begin(wish.hello, wish.topics, allowed=allowed)
            await stream.run(receive, send)
        finally:
            house.hub.leave(stream)
        return None

    async def _believe(self, token: str) -> Claims | Refusal:
        try:
            return await self._house.rights.verify(token)
        except TokenError as error:
            return _disbelieved(error)
        except EXPECTED as error:
            log.warning("tokens can not be checked: %s", type(error).__name__)
            return _AWAY

    async def _may(self, claims: Claims, topics: Sequence[str]) -> bool | Refusal:
        try:
            return not topics or await self._house.rights.may_subscribe(claims, topics)
        except EXPECTED as error:
            log.warning("subscribers can not be looked up: %s", type(error).__name__)
            return _AWAY

    # ------------------------------------------------------------------------------------ answers

    async def _refuse(self, send: SendMessage, headers: Headers, refusal: Refusal) -> None:
        problem = {
            "type": "about:blank",
            "title": _TITLES[refusal.status],
            "status": refusal.status,
            "code": refusal.code,
            "detail": refusal.detail,
        }
        body = json.dumps(problem).encode()
        head = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            *self._cross_origin(headers),
        ]
        if refusal.retry_after is not None:
            head.append((b"retry-after", str(refusal.retry_after).encode()))
        if refusal.status == 401:
            head.append((b"www-authenticate", b"Bearer"))
        await send(_start(refusal.status, head))
        await send({"type": "http.response.body", "body": body})

    def _cross_origin(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """Let a page of a listed origin read the answer, as the rest of ``/v1/me`` does."""
        origin = headers.get(b"origin")
        origins = self._house.settings.origins
        varies = [(b"vary", b"origin")] if origins else []
        if origin is None or origin.decode("latin-1") not in origins:
            return varies
        return [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", b"retry-after"), *varies]


def read(query: bytes, headers: Headers, limits: Limits) -> _Wish | Refusal:
    """What a request asks for, judged by the rules of ``hello`` and ``subscribe``, or what is wrong with it."""
    scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        return Refusal(401, "unauthorised", "send the user's token: Authorization: Bearer …")
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    given = dict(pairs)
    if len(given) != len(pairs) or not given.keys() <= _PARAMETERS:
        return Refusal(
            422, "unknown_parameter", f"each of {', '.join(sorted(_PARAMETERS))}, and no other, at most once"
        )
    last = headers.get(b"last-event-id", b"").decode("latin-1")
    if last:
        given["epoch"], _, given["since"] = last.rpartition(":")
    hello = {"op": "hello", "token": _PLACEHOLDER, **_offset(given)}
    told = parse(hello, limits)
    if not isinstance(told, Hello):
        return _unfit(told)
    if "topics" not in given:
        return _Wish(token.strip(), json.dumps(hello), ())
    wanted = parse({"op": "subscribe", "topics": _list(given["topics"])}, limits)
    return _Wish(token.strip(), json.dumps(hello), wanted.topics) if isinstance(wanted, Listen) else _unfit(wanted)


def _offset(given: Mapping[str, str]) -> dict[str, object]:
    found: dict[str, object] = {"epoch": given["epoch"]} if "epoch" in given else {}
    since = given.get("since")
    if since is not None:
        found["since"] = int(since) if since.isascii() and since.isdigit() and len(since) <= 16 else since
    return found


def _list(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _unfit(told: object) -> Refusal:
    assert isinstance(told, Bad)
    return Refusal(422, told.code, ERRORS[told.code])


def _disbelieved(error: TokenError) -> Refusal:
    if error.unavailable:
        return Refusal(503, "unavailable", "tokens can't be judged now", 1)
    code = "token_revoked" if error.revoked else "token_expired" if error.expired else "unauthorised"
    return Refusal(401, code, "fetch a new token: POST /v1/users/{user}/tokens")


def _combined(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Those that come several times as one, with commas (RFC 9110, 5.3): no line hides another."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        found[name] = found[name] + b", " + value if name in found else value
    return found


def _upgrade(headers: Headers) -> Upgrade:
    """What the gateway asks of everybody who comes in."""
    origin, agent = headers.get(b"origin"), headers.get(b"user-agent")
    hops = headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")
    return Upgrade(
        b"",
        None if origin is None else origin.decode("latin-1"),
        None if agent is None else agent.decode("latin-1"),
        tuple(hop.strip() for hop in hops if hop.strip()),
    )


def _start(status: int, headers: list[tuple[bytes, bytes]]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}


def _nothing(*_: int) -> None:
    """For a server that does not let us hang up, or say how much may be unsent."""
