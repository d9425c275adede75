"""What may a client say on a socket ``ulak.v1``, and with which code is each mistake answered?

A frame that can't be read at all closes the socket; a command that can't be carried out is answered
``error`` and the socket lives on. The numbers tell a client that knows nothing else what to do:
4000-4499 come back (with back-off), 4500-4999 do not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from ulak.core import jsonsafe, values
from ulak.core.ids import internal
from ulak.core.inbox import Op
from ulak.core.invalid import Invalid

MAX_OFFSET = 2**53 - 1
"""The greatest revision that every JSON reader keeps exactly."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one session; times in seconds, sizes in bytes or characters."""

    frame: int = 16_384
    commands: int = 32
    ids: int = 100
    burst: int = 200
    per_second: float = 100.0
    hello_seconds: float = 5.0
    slow_seconds: float = 30.0
    ping_seconds: int = 25
    pong_seconds: float = 8.0
    chunk: int = 65_536
    token: int = 4_096
    name: int = 64
    parts: int = 64
    meta: int = 1_024
    topics: int = 100
    topics_a_command: int = 50


@dataclass(frozen=True, slots=True)
class CloseCode:
    """One way to end a socket."""

    code: int
    name: str
    meaning: str

    @property
    def reconnect(self) -> bool:
        """Whether the client should come back by itself."""
        return self.code < 4500


CLOSE_CODES: Mapping[str, CloseCode] = {
    name: CloseCode(code, name, meaning)
    for code, name, meaning in (
        (4000, "draining", "the node goes away; come back after `retry_after` seconds of the `drain` before it"),
        (4001, "slow_consumer", "the client did not read for 30 s; come back with its revision, nothing is lost"),
        (4002, "resync", "the inbox's history has changed under the connection; come back and be told what holds"),
        (4003, "internal", "a fault of ours, or the database is away"),
        (4004, "hello_timeout", "no `hello` within 5 s"),
        (4005, "missed_ping", "a ping was not answered within 8 s; nothing is lost, come back"),
        (4006, "token_expired", "get a new token first (or send `refresh` in time)"),
        (4007, "too_many", "the user has as many sockets open as one may have"),
        (4500, "bad_token", "the token is not believed; another of the same make will not be either"),
        (4501, "bad_frame", "not text, not JSON, or not an object or an array of objects"),
        (4502, "bad_hello", "the first command was not a good `hello`"),
        (4503, "hello_twice", "a socket belongs to one user from its first `hello` on"),
        (4504, "too_big", "a message of more than 16 kB, or in more than 64 frames"),
        (4505, "too_fast", "commands, pings or pongs went on coming long after the limit"),
        (4506, "revoked", "the token was taken back; a new one may do"),
        (4507, "disconnected", "an operator closed this socket"),
    )
}
"""Every close code that the protocol itself uses; breaches of RFC 6455 are closed with its own codes (1002, 1007)."""

ERRORS: Mapping[str, str] = {
    "unknown_op": "no such command",
    "unknown_field": "the command has a field that it must not have",
    "bad_id": "`id` is neither an integer nor a text of 1 to 64 characters",
    "bad_token": "`token` (or the `ticket` of `hello`) is missing or no text; `refresh`: not believed, or another's",
    "bad_offset": "`since`, `revision` or `up_to` is not an integer between 0 and 2^53 - 1",
    "bad_epoch": "`epoch` is not a text of 1 to 64 characters",
    "bad_device": "`device` is not a text of 1 to 64 characters",
    "bad_meta": "`meta` is not an object of at most 1 kB",
    "bad_topics": "`topics` is not a list of 1 to 50 names",
    "too_many_topics": "more than 100 topics on one connection",
    "forbidden": "the token does not name the topic, and the user is no subscriber of it; nothing was subscribed",
    "bad_items": "neither `ids` (1 to 100 ids `dlv_…`) nor `up_to`, or both",
    "not_ready": "wait for `welcome`",
    "not_sent": "the revision was not sent on this connection",
    "rate_limited": "more than 100 commands a second, after a burst of 200",
    "unavailable": "the database is away; nothing was written, say it again later",
}
"""Every code of an ``error``."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket with this code; ``reason`` is the code's name and perhaps a few words more."""

    code: int
    reason: str


def closing(name: str, detail: str = "") -> Close:
    """The close of this name; the reason fits into a close frame (123 bytes, RFC 6455 §5.5)."""
    reason = f"{name}: {detail}" if detail else name
    return Close(CLOSE_CODES[name].code, reason.encode()[:120].decode(errors="ignore"))


Id = int | str | None


@dataclass(frozen=True, slots=True)
class Bad:
    """A command that can't be carried out."""

    id: Id
    code: str


@dataclass(frozen=True, slots=True)
class Hello:
    """Who this is (by a token or a ticket), and what it holds already; ``meta`` is a JSON object."""

    id: Id
    token: str
    since: int | None = None
    epoch: str | None = None
    device: str | None = None
    ticket: bool = False
    meta: str | None = None


class Ack(msgspec.Struct, frozen=True, gc=False):
    """Everything up to this revision has arrived."""

    id: Id
    revision: int


@dataclass(frozen=True, slots=True)
class MarkItems:
    """These items, or all that came up to a revision, were seen, read or archived."""

    id: Id
    op: Op
    ids: tuple[UUID, ...] = ()
    up_to: int | None = None


@dataclass(frozen=True, slots=True)
class Presence:
    """Somebody looks at this device, or no longer."""

    id: Id
    active: bool


@dataclass(frozen=True, slots=True)
class Renew:
    """A new token for the same user."""

    id: Id
    token: str


@dataclass(frozen=True, slots=True)
class Listen:
    """These topics' messages, from now on or no longer."""

    id: Id
    topics: tuple[str, ...]
    on: bool


@dataclass(frozen=True, slots=True)
class Ping:
    """Is anybody there?"""

    id: Id


Command = Bad | Hello | Ack | MarkItems | Presence | Renew | Listen | Ping


class Bucket:
    """A token bucket of commands; ``exhausted`` once a client has gone on for a burst after it was empty."""

    __slots__ = ("_at", "_level", "_limits")

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._level = float(limits.burst)
        self._at = now

    def take(self, now: float) -> bool:
        """Take one; False if none is left. Asking costs, too."""
        self._level = min(self._limits.burst, self._level + (now - self._at) * self._limits.per_second)
        self._at = now
        self._level -= 1
        return self._level >= 0

    @property
    def exhausted(self) -> bool:
        """The client does not listen."""
        return self._level < -self._limits.burst


_PLAIN_ACK = re.compile(r'\{"op":"ack","revision":(0|[1-9][0-9]{0,14})(?:,"id":"([a-z]{1,64})")?\}').fullmatch


def plain_ack(data: str | bytes) -> Ack | None:
    """An ack as clients write it, which is most of what they say; None: ``read_frame`` and ``parse`` tell."""
    found = _PLAIN_ACK(data) if isinstance(data, str) else None
    return None if found is None else Ack(found[2], int(found[1]))


def read_frame(data: str | bytes, limits: Limits) -> list[object]:
    """The commands of one frame, not yet looked at; raises ``Invalid`` if there are none to be found."""
    if isinstance(data, bytes):
        raise Invalid(400, "bad_frame", "$", "text frames only")
    body = data.encode("utf-8", "surrogatepass")
    if len(body) > limits.frame:
        raise Invalid(413, "too_big", "$", f"more than {limits.frame} bytes")
    value, _ = jsonsafe.loads(body)
    commands: list[object] = value if isinstance(value, list) else [value]
    if not 1 <= len(commands) <= limits.commands:
        raise Invalid(400, "bad_frame", "$", f"1 to {limits.commands} commands a frame")
    if not all(isinstance(command, dict) for command in commands):
        raise Invalid(400, "bad_frame", "$", "a command is an object")
    return commands


def parse(raw: object, limits: Limits) -> Command:
    """Read one command; a mistake becomes ``Bad`` with its code."""
    assert isinstance(raw, dict)
    known = _id(raw.get("id"), limits)
    if known is _BAD:
        return Bad(None, "bad_id")
    op = raw.get("op")
    row = COMMANDS.get(op) if isinstance(op, str) else None
    if row is None:
        return Bad(known, "unknown_op")
    if not raw.keys() <= {"op", "id", *row.fields}:
        return Bad(known, "unknown_field")
    read = row.read(raw, known, limits)
    return Bad(known, read) if isinstance(read, str) else read


_BAD: Any = object()
Read = Callable[[Mapping[str, Any], Id, Limits], Command | str]


def _id(value: object, limits: Limits) -> Any:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    return value if _is_name(value, limits.name) else _BAD


def _is_name(value: object, longest: int) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= longest


def _is_offset(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_OFFSET


def _hello(raw: Mapping[str, Any], known: Id, limits: Limits) -> Command | str:
    since, epoch, device = raw.get("since"), raw.get("epoch"), raw.get("device")
    secret = raw.get("ticket") if "ticket" in raw else raw.get("token")
    if not _is_name(secret, limits.token) or ("ticket" in raw and "token" in raw):
        return "bad_token"
    if since is not None and not _is_offset(since):
        return "bad_offset"
    if epoch is not None and not _is_name(epoch, limits.name):
        return "bad_epoch"
    if device is not None and not _is_name(device, limits.name):
        return "bad_device"
    meta = _meta(raw.get("meta"), limits)
    if meta is _BAD:
        return "bad_meta"
    return Hello(known, str(secret), since, epoch, device, ticket="ticket" in raw, meta=meta)


def _meta(value: object, limits: Limits) -> Any:
    """The object as compact JSON; a client tells about itself, and so may not fill our memory."""
    if value is None:
        return None
    text = msgspec.json.encode(value) if isinstance(value, dict) else b""
    return text.decode() if 0 < len(text) <= limits.meta else _BAD


def _listen(raw: Mapping[str, Any], known: Id, limits: Limits) -> Command | str:
    names = raw.get("topics")
    if not isinstance(names, list) or not 1 <= len(names) <= limits.topics_a_command:
        return "bad_topics"
    try:
        topics = tuple(values.identifier(name) if isinstance(name, str) else "" for name in names)
    except values.Unfit:
        return "bad_topics"
    return Listen(known, topics, raw["op"] == "subscribe") if all(topics) else "bad_topics"


def _renew(raw: Mapping[str, Any], known: Id, limits: Limits) -> Command | str:
    return Renew(known, raw["token"]) if _is_name(raw.get("token"), limits.token) else "bad_token"


def _ack(raw: Mapping[str, Any], known: Id, _: Limits) -> Command | str:
    return Ack(known, raw["revision"]) if _is_offset(raw.get("revision")) else "bad_offset"


def _mark(raw: Mapping[str, Any], known: Id, limits: Limits) -> Command | str:
    op = Op(raw["op"])
    if ("ids" in raw) == ("up_to" in raw):
        return "bad_items"
    if "up_to" in raw:
        return MarkItems(known, op, up_to=raw["up_to"]) if _is_offset(raw["up_to"]) else "bad_offset"
    ids = raw["ids"]
    if not isinstance(ids, list) or not 1 <= len(ids) <= limits.ids:
        return "bad_items"
    found = [internal("dlv", each) if isinstance(each, str) else None for each in ids]
    return "bad_items" if None in found else MarkItems(known, op, tuple(each for each in found if each))


@dataclass(frozen=True, slots=True)
class Row:
    """One command: its fields beside ``op`` and ``id``, what it does, and how it is read."""

    fields: tuple[str, ...]
    meaning: str
    read: Read


_MARKING = "for `ids`, or for all that came up to the revision `up_to`"

COMMANDS: Mapping[str, Row] = {
    "hello": Row(
        ("token", "ticket", "since", "epoch", "device", "meta"),
        "first of all: the user's token, or the ticket of the last `welcome`; the revision and epoch that the client "
        "holds, if any; what it tells of itself (`meta`, an object)",
        _hello,
    ),
    "ack": Row(("revision",), "everything up to `revision` has arrived; about every second or 20 items", _ack),
    "seen": Row(("ids", "up_to"), f"the user has seen items: {_MARKING}", _mark),
    "read": Row(("ids", "up_to"), f"the user has read items, and so seen them: {_MARKING}", _mark),
    "archive": Row(("ids", "up_to"), f"the user has put items away, and so seen them: {_MARKING}", _mark),
    "active": Row((), "somebody looks at this device", lambda _raw, known, _limits: Presence(known, active=True)),
    "idle": Row((), "nobody does (as at the beginning)", lambda _raw, known, _limits: Presence(known, active=False)),
    "refresh": Row(("token",), "a new token for the same user; `ok` brings a new `ticket` and `expires`", _renew),
    "ping": Row((), "answered `pong`", lambda _raw, known, _limits: Ping(known)),
    "subscribe": Row(("topics",), "the messages of these topics, all or none; once more changes nothing", _listen),
    "unsubscribe": Row(("topics",), "no longer", _listen),
}
"""Every command of the protocol."""
