"""Which calls are there, what does each take and give, and which one is this request?

The table of routes is data: the router reads it to find a handler, the door to check scope, query and
body, and ``openapi`` to describe it all. Paths are matched segment by segment on the raw path, so that an
id may hold an encoded slash.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import unquote_to_bytes
from uuid import UUID

import msgspec

from ulak.core import apikey, connections, ids, values
from ulak.core.invalid import Invalid, invalid
from ulak.core.model import Channel
from ulak.edge.api.deps import ApiDeps
from ulak.edge.api.http import Response
from ulak.edge.api.problem import not_found


class Who(StrEnum):
    """Who may call."""

    KEY = "key"
    USER = "user"
    ANYONE = "anyone"


@dataclass(slots=True)
class Call:
    """One request that may be handled: authenticated, its parts checked.

    ``body`` is the route's body type, or raw bytes where the handler reads them; ``query`` the route's
    query type; ``user`` is set where a user token was shown; ``proof`` is the key's prefix or the token's id.
    """

    deps: ApiDeps
    tenant: int
    user: str
    params: Mapping[str, Any]
    query: Any
    body: Any
    headers: Mapping[bytes, bytes]
    now: datetime
    proof: str | None = None


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """One call. ``answers`` maps each success status to its body's type (None: no body).

    ``described`` is the body type for the documentation where the handler itself reads the bytes;
    ``may_be_empty`` says that no body means an empty object; ``raw`` is the media type of a body that is not JSON;
    ``anywhere`` lets pages of every origin call, where all the proof there is stands in the body.
    """

    method: str
    path: str
    handler: Handler
    tag: str
    summary: str
    answers: Mapping[int, Any]
    scope: apikey.Scope | None = None
    who: Who = Who.KEY
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    described: type[msgspec.Struct] | None = None
    may_be_empty: bool = False
    errors: Sequence[int] = ()
    header: tuple[str, str] | None = None
    media: str = "application/json"
    raw: str | None = None
    anywhere: bool = False

    @property
    def takes_body(self) -> bool:
        """Whether a body is read."""
        return self.body is not None or self.described is not None or self.raw is not None


# ---------------------------------------------------------------------------------- path parameters


def _internal(prefix: str, what: str) -> Callable[[str], UUID]:
    def read(text: str) -> UUID:
        found = ids.internal(prefix, text)
        if found is None:
            raise not_found(what)
        return found

    return read


def _value(name: str, check: Callable[[str], str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        try:
            return check(text)
        except values.Unfit as error:
            raise invalid(error.code, f"{{{name}}}", error.message, error.hint) from None

    return read


def _channel(text: str) -> str:
    if text not in _CHANNELS:
        raise values.Unfit("invalid_channel", "no such channel", "one of " + ", ".join(_CHANNELS))
    return text


def _connection(text: str) -> str:
    if connections.boot_of(text) is None:
        raise not_found("connection")
    return text


_CHANNELS = tuple(channel.value for channel in Channel)


def _text(text: str) -> str:
    return text


PARAMETERS: Mapping[str, tuple[Callable[[str], Any], str, Mapping[str, Any]]] = {
    "notification": (
        _internal("ntf", "notification"),
        "id of a notification",
        {"type": "string", "pattern": "^ntf_[0-9a-f]{32}$"},
    ),
    "delivery": (
        _internal("dlv", "delivery"),
        "id of a delivery",
        {"type": "string", "pattern": "^dlv_[0-9a-f]{32}$"},
    ),
    "user": (
        _value("user", values.identifier),
        "your id of the user",
        {"type": "string", "minLength": 1, "maxLength": values.MAX_ID},
    ),
    "device": (
        _value("device", values.identifier),
        "the app's own id of this installation",
        {"type": "string", "minLength": 1, "maxLength": values.MAX_ID},
    ),
    "account": (
        _value("account", values.identifier),
        "name of an account",
        {"type": "string", "minLength": 1, "maxLength": values.MAX_ID},
    ),
    "topic": (
        _value("topic", values.identifier),
        "name of the topic",
        {"type": "string", "minLength": 1, "maxLength": values.MAX_ID},
    ),
    "connection": (
        _connection,
        "id of an open connection",
        {"type": "string", "pattern": "^con_[0-9a-f]{24}$"},
    ),
    "channel": (_value("channel", _channel), "a channel", {"type": "string", "enum": list(_CHANNELS)}),
    "address": (
        _text,
        "an address of that channel",
        {"type": "string", "minLength": 1, "maxLength": values.MAX_ADDRESS},
    ),
}
"""How each parameter of a path is read, what it is, and its JSON schema."""


def decoded(segment: bytes) -> str:
    """One path segment, percent-decoded strictly."""
    try:
        text = unquote_to_bytes(segment).decode("utf-8") if b"%" in segment else segment.decode("ascii")
    except UnicodeDecodeError:
        raise Invalid(400, "invalid_path", "path", "a segment is not UTF-8", "percent-encode it") from None
    if "\0" in text:
        raise Invalid(400, "nul_character", "path", "a NUL character (U+0000) can't be part of an id")
    return text


# ------------------------------------------------------------------------------------------- matching


@dataclass(slots=True)
class _Node:
    """One place in the tree of segments."""

    fixed: dict[bytes, _Node] = field(default_factory=dict)
    parameter: tuple[str, _Node] | None = None
    routes: dict[str, Route] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Match:
    """What stands at a path: its routes by method, and the raw segments of its parameters."""

    routes: Mapping[str, Route]
    segments: Sequence[tuple[str, bytes]] = ()

    @property
    def allowed(self) -> bytes:
        """The value of ``Allow``."""
        methods = {*self.routes, "OPTIONS"} | ({"HEAD"} if "GET" in self.routes else set())
        return ", ".join(sorted(methods)).encode()

    def params(self) -> dict[str, Any]:
        """Read the parameters; raises ``Invalid`` or 404."""
        return {name: PARAMETERS[name][0](decoded(segment)) for name, segment in self.segments}


class Router:
    """Finds the routes of a path."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._static: dict[bytes, Match] = {}
        self._root = _Node()
        for route in routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        node, fixed = self._root, True
        for segment in route.path[1:].split("/"):
            if segment.startswith("{"):
                fixed = False
                if node.parameter is None:
                    node.parameter = (segment[1:-1], _Node())
                node = node.parameter[1]
            else:
                node = node.fixed.setdefault(segment.encode(), _Node())
        node.routes[route.method] = route
        if fixed:
            self._static[route.path.encode()] = Match(node.routes)

    def find(self, path: bytes) -> Match | None:
        """The routes of a raw path, without its query."""
        match = self._static.get(path)
        if match is not None:
            return match
        node = self._root
        segments: list[tuple[str, bytes]] = []
        for segment in path[1:].split(b"/"):
            below = node.fixed.get(segment)
            if below is None:
                if node.parameter is None or not segment:
                    return None
                name, below = node.parameter
                segments.append((name, segment))
            node = below
        return Match(node.routes, segments) if node.routes else None
