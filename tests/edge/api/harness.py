"""What the tests of the door share: a caller without a socket, doubles, and a project."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64encode as b64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ulak.core.apikey import ENTROPY, Scope, key_hash, make_key
from ulak.core.breaker import State
from ulak.core.connections import Answers, Question
from ulak.core.inbox import Op, Page
from ulak.core.loaded import Loaded
from ulak.core.model import Channel
from ulak.core.project import load
from ulak.core.registration import ApplicationServer
from ulak.core.revocation import Revocation
from ulak.core.token import Claims, TokenError
from ulak.edge.api import Api, ApiDeps
from ulak.edge.api.deps import Limits
from ulak.flow.accept import Accepted, AcceptRequest, Result
from ulak.flow.reactivate import Reactivated
from ulak.io.bus import LocalBus
from ulak.io.postgres.inbox import Ack
from ulak.io.postgres.keys import Key
from ulak.io.tokens import Issued, Tokens

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NTF = "ntf_" + "0" * 31 + "1"
DLV = "dlv_" + "0" * 31 + "2"
KEY = make_key(bytes(ENTROPY))[0]
WEAK = make_key(b"\1" * ENTROPY)[0]

PROJECT = load(
    {
        "ulak.toml": """
            [email]
            from = "Octo <octo@example.com>"
            [accounts.mail]
            channel = "email"
            provider = "smtp"
            host = "127.0.0.1"
            port = 1025
            [types.issues]
            category = "issues"
            class = "transactional"
            route = [{channel = "in_app"}, {channel = "email", after = "10m", unless = "read"}]
        """,
        "templates/issues/in_app.txt": '+++\ntitle = "{{ data.title }}"\n+++\nHello {{ user.id }}',
        "templates/issues/email.tr.md": '+++\nsubject = "{{ data.title }}"\n+++\nMerhaba',
        "templates/issues/email.md": '+++\nsubject = "{{ data.title }}"\n+++\nHello',
    }
)
LOADED = Loaded.of(PROJECT.with_version(1))

_POINT = ec.derive_private_key(7, ec.SECP256R1()).public_key()
PUBLIC = b64(_POINT.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)).rstrip(b"=").decode()
"""A public key as browsers know it."""
SERVERS = [ApplicationServer("web", PUBLIC)]


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def call(  # a request has many parts
    app: Any,
    method: str,
    path: str,
    body: Any = None,
    *,
    token: str | None = KEY,
    headers: dict[str, str] | None = None,
    receive: Callable[[], Any] | None = None,
) -> Answer:
    """Send one request through the ASGI face; bytes go as they are, anything else as JSON."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    given = {"authorization": f"Bearer {token}"} if token is not None else {}
    if body is not None:
        given |= {"content-type": "application/json", "content-length": str(len(raw))}
    given |= headers or {}
    target, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": target,
        "raw_path": target.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in given.items()],
    }
    sent: list[Any] = []

    async def once() -> Any:
        return {"type": "http.request", "body": raw, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive or once, send)
    start, end = sent
    return Answer(start["status"], {n.decode(): v.decode() for n, v in start["headers"]}, end["body"])


class Untouched:
    """A store that nobody may touch."""

    def __getattr__(self, name: str) -> Any:
        async def touched(*args: Any, **kwargs: Any) -> Any:
            raise AssertionError(f"the store was asked for {name}")

        return touched


@dataclass
class Accepts:
    """An accept stage that takes everything, or fails as it is told."""

    got: list[AcceptRequest] = field(default_factory=list)
    error: Exception | None = None
    result: Result | None = None

    async def accept(self, tenant: int, request: AcceptRequest) -> Result:
        return (await self.accept_many(tenant, [request]))[0]

    async def accept_many(self, tenant: int, requests: Sequence[AcceptRequest]) -> list[Result]:
        if self.error is not None:
            raise self.error
        self.got += requests
        done = Accepted(UUID(int=1), 1, None, replayed=False)
        return [self.result or done for _ in requests]


@dataclass
class KeyDouble:
    """Keys in a dictionary; counts what is asked."""

    keys: dict[bytes, Key] = field(default_factory=dict)
    number: int = 0
    asked: int = 0
    error: Exception | None = None

    def add(self, text: str, tenant: int, *scopes: str, expires_at: datetime | None = None) -> None:
        self.keys[key_hash(text)] = Key(tenant, text[:17], frozenset(scopes), expires_at)

    async def version(self) -> int:
        if self.error is not None:
            raise self.error
        return self.number

    async def find(self, key_hash: bytes) -> Key | None:
        self.asked += 1
        return self.keys.get(key_hash)


class TokenDouble:
    """``user:<tenant>:<name>`` is a token, ``error:<code>`` one that is refused with this code."""

    async def issue(self, tenant: int, user: str, seconds: int, topics: Sequence[str] = ()) -> Issued:
        del seconds, topics
        return Issued(f"user:{tenant}:{user}", "tok_1", NOW)

    async def verify(self, text: str) -> Claims:
        kind, _, rest = text.partition(":")
        tenant, _, user = rest.partition(":")
        if kind != "user":
            raise TokenError(rest if kind == "error" else "token_invalid")
        return Claims(int(tenant), user, NOW.timestamp() + 60)

    async def revoke(self, tenant: int, user: str, token_id: str | None = None) -> Revocation:
        return Revocation(1, tenant, user, token_id, NOW.timestamp(), NOW.timestamp() + 90_000)


class InboxDouble:
    """An inbox with nothing in it, which remembers what was done."""

    def __init__(self) -> None:
        self.done: list[tuple[Op, Sequence[UUID], int | None]] = []
        self.waited: list[float] = []
        self.held: list[Ack] = []
        self.top = 7

    async def page(self, tenant: int, user: str, since: int, limit: int) -> Page:
        return Page(since, self.top, 3, 0, 0, "e1", (), more=False)

    async def wait(self, tenant: int, user: str, since: int, seconds: float) -> None:
        self.waited.append(seconds)

    async def change(self, tenant: int, user: str, op: Op, ids: Sequence[UUID], up_to: int | None) -> int:
        self.done.append((op, ids, up_to))
        return self.top

    async def acked(self, acks: Sequence[Ack]) -> int:
        self.held += acks
        return len(acks)


class BusDouble(LocalBus):
    """A bus over connections of the test's choice, which may be incomplete."""

    def __init__(self) -> None:
        super().__init__(cast(Any, self))
        self.answers = Answers(0, (), complete=True)
        self.asked: list[Question] = []
        self.said: list[tuple[int, str | None, Any]] = []
        self.everywhere = True

    def publish(self, tenant: int, topic: str | None, text: str) -> bool:
        self.said.append((tenant, topic, json.loads(text)))
        return self.everywhere

    async def ask(self, question: Question, seconds: float) -> Answers:
        self.asked.append(question)
        return self.answers


class NoVendors:
    """A tenant whose accounts have no list of their own."""

    async def reactivate(self, tenant: int, channel: Channel, address: str) -> Sequence[Reactivated]:
        return []


async def _ready() -> str | None:
    return None


def keys() -> KeyDouble:
    """One key that may do all (tenant 0), one that may do nothing."""
    double = KeyDouble()
    double.add(KEY, 0, Scope.ALL)
    double.add(WEAK, 0)
    return double


def deps(**changes: Any) -> ApiDeps:
    """Everything doubled; no store may be touched unless it is given."""
    untouched = cast(Any, Untouched())
    base = ApiDeps(
        accept=Accepts(),
        reads=untouched,
        operate=untouched,
        users=untouched,
        consents=untouched,
        devices=untouched,
        topics=untouched,
        suppressions=untouched,
        vendors=NoVendors(),
        scores=untouched,
        push_receipts=untouched,
        push_counts=untouched,
        inbox=InboxDouble(),
        bus=BusDouble(),
        keys=cast(Any, keys()),
        tokens=cast(Tokens, TokenDouble()),
        loaded=lambda tenant: LOADED,
        clock=lambda: NOW,
        monotonic=lambda: 0.0,
        entropy=bytes,
        metrics=lambda: b"ulak_up 1\n",
        ready=_ready,
        breakers=lambda: {"email/mail": (State.OPEN, 4.0)},
        application_servers=lambda tenant: SERVERS,
        limits=Limits(body_deadline=0.05),
    )
    return replace(base, **changes)


def api(**changes: Any) -> Api:
    """The door over doubles."""
    return Api(deps(**changes))


async def never() -> Any:
    """A caller who sends nothing more."""
    await asyncio.Event().wait()
