"""How does a vendor's callback come in: read, believed, kept, answered?

``POST /v1/callbacks/{provider}/{id}``. What is not proven to be the vendor's is answered with 4xx and leaves nothing
but a quiet line in the log, for an unverified bounce that were applied would let anybody silence a user. What is
proven is stored raw in one transaction and answered at once; the stage ``receipts`` applies it afterwards. So a vendor
never waits for what its events mean, and a crash after the 200 loses nothing.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from ulak.edge.body import HungUp, Unread, read
from ulak.edge.callbacks.accounts import Accounts, Owner
from ulak.io.postgres.callbacks import Callbacks
from ulak.io.postgres.errors import EXPECTED
from ulak.providers.contract import (
    Callback,
    ConfirmSubscription,
    Events,
    FetchCertificate,
    HttpReply,
    HttpRequest,
    Lost,
    Refused,
    Rejected,
)
from ulak.providers.registry import EVENTS

log = logging.getLogger("ulak.callbacks")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Fetch = Callable[[HttpRequest, float], Awaitable[HttpReply | Lost | Refused]]

PREFIX = "/v1/callbacks/"
MAX_BODY = 4 << 20
"""Bytes of a body. Vendors stay below one megabyte; a bounce that gives our mail back in full may not."""

BODY_SECONDS = 10.0
FETCH_SECONDS = 5.0
AT_ONCE = 32
"""Callbacks under way at a time: it bounds the memory that strangers can take. More are told to come back."""

_PATH = re.compile(re.escape(PREFIX) + r"([a-z0-9_-]{1,40})/(acc_[0-9a-f]{32})\Z")
_KEPT_HEADERS = ("content-type",)
_CERTIFICATES = 32
_DAY = 86_400.0
_QUIET = 60.0


class Answer(NamedTuple):
    """Status and extra headers; a callback's answer has no body that anybody reads."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()


_BUSY = Answer(503, ((b"retry-after", b"5"),))


@dataclass(frozen=True, slots=True)
class CallbackDeps:
    """What the door needs of the node. ``stored`` is called after a callback was kept."""

    store: Callbacks
    accounts: Accounts
    fetch: Fetch
    clock: Callable[[], datetime]
    monotonic: Callable[[], float]
    entropy: Callable[[int], bytes]
    stored: Callable[[], None] = lambda: None
    events: Mapping[str, Events] = field(default_factory=lambda: EVENTS)


class CallbackDoor:
    """The door as an ASGI application (scope type ``http`` only)."""

    def __init__(self, deps: CallbackDeps) -> None:
        self._deps = deps
        self._secret: bytes | None = None
        self._room = asyncio.Semaphore(AT_ONCE)
        self._certificates: dict[str, tuple[float, bytes]] = {}
        self._told: dict[tuple[str, str], float] = {}
        self.kept = 0
        self.rejected = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; never raises for what a caller did."""
        try:
            answer = await self._answer(scope, receive)
        except HungUp:
            return
        except EXPECTED as error:
            log.warning("a callback could not be kept: %s", type(error).__name__)
            answer = _BUSY
        except Exception as error:  # noqa: BLE001  # a fault of ours; its words may quote the body
            log.error("a callback failed: %s", type(error).__name__)  # noqa: TRY400
            answer = Answer(500)
        headers = [(b"content-length", b"0"), (b"cache-control", b"no-store"), *answer.headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        match = _PATH.match(scope["path"])
        if match is None:
            return Answer(404)
        if scope["method"] != "POST":
            return Answer(405, ((b"allow", b"POST"),))
        owner = self._deps.accounts.find(await self._key(), match[2])
        if owner is None or owner.account.provider != match[1] or match[1] not in self._deps.events:
            return self._refuse("an account", "there is none of that id", Answer(404))
        if self._room.locked():
            return _BUSY
        async with self._room:
            try:
                body = await read(receive, MAX_BODY, BODY_SECONDS)
            except Unread as error:
                return Answer(error.status, ((b"connection", b"close"),))
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            return await self._judge(owner, Callback(headers, body))

    async def _key(self) -> bytes:
        if self._secret is None:
            self._secret = await self._deps.store.secret(self._deps.entropy(32))
        return self._secret

    async def _judge(self, owner: Owner, callback: Callback) -> Answer:
        """Believe a callback or not; keep what was believed."""
        account, now = owner.account, self._deps.clock()
        vendor = self._deps.events[account.provider]
        fetched = {}
        for need in vendor.needs(callback, account, now):
            certificate = await self._certificate(need)
            if certificate is None:
                return self._refuse(account.provider, "certificate not to be had", _BUSY)
            fetched[need.url] = certificate
        verdict = vendor.verify(callback, account, fetched, now)
        if isinstance(verdict, Rejected):
            return self._refuse(account.provider, verdict.reason, _refusal(verdict))
        for wanted in verdict.then:
            if not await self._confirm(wanted):
                return self._refuse(account.provider, "subscription not confirmed", _BUSY)
            log.info("account %s: the subscription of its topic was confirmed", account.name)
        if verdict.events:
            await self._keep(owner, callback)
        return Answer(200)

    async def _keep(self, owner: Owner, callback: Callback) -> None:
        headers = {name: callback.headers[name] for name in _KEPT_HEADERS if name in callback.headers}
        text = msgspec.json.encode(headers).decode()
        account = owner.account
        await self._deps.store.keep(owner.tenant, account.provider, account.name, text, callback.body)
        self.kept += 1
        self._deps.stored()

    async def _certificate(self, need: FetchCertificate) -> bytes | None:
        """From memory, or fetched: the URL was judged before, and no redirect is followed."""
        now = self._deps.monotonic()
        known = self._certificates.get(need.url)
        if known is not None and now < known[0]:
            return known[1]
        reply = await self._deps.fetch(HttpRequest("GET", need.url), FETCH_SECONDS)
        if not isinstance(reply, HttpReply) or reply.status != 200 or b"BEGIN CERTIFICATE" not in reply.body:
            return None
        if len(self._certificates) >= _CERTIFICATES:
            self._certificates.clear()
        self._certificates[need.url] = (now + _DAY, reply.body)
        return reply.body

    async def _confirm(self, wanted: ConfirmSubscription) -> bool:
        reply = await self._deps.fetch(HttpRequest("GET", wanted.url), FETCH_SECONDS)
        return isinstance(reply, HttpReply) and reply.status == 200

    def _refuse(self, provider: str, reason: str, answer: Answer) -> Answer:
        """Answer, and say so in the log at most once a minute: strangers must not fill it."""
        self.rejected += 1
        now = self._deps.monotonic()
        if now >= self._told.get((provider, reason), 0.0):
            if len(self._told) >= 1_000:
                self._told.clear()
            self._told[provider, reason] = now + _QUIET
            log.warning("callbacks for %s are refused: %s", provider, reason)
        return answer


def _refusal(verdict: Rejected) -> Answer:
    if verdict.challenge:
        return Answer(verdict.status, ((b"www-authenticate", b'Basic realm="callbacks"'),))
    return Answer(verdict.status)
