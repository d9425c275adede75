"""How does somebody say no by a link in a message, without a login?

``/t/{token}`` leads where a link of a tracked message led, or is its picture of one pixel. Where to go is inside the
seal, so nobody can make it lead elsewhere.

``/u/{token}``: GET and HEAD show a page and change nothing, because programs that look at mail open every link. POST
changes: ``List-Unsubscribe=One-Click`` (RFC 8058), which mail programs send for their user, or the form of the page.
The answer is 200 without a redirect or a cookie, and it comes after the commit: from then on no send begins that the
answer forbids. The token is all the proof there is, so what it covers is narrow (``core/choice``); whatever is wrong
with it is told with the same page. No address, no id and nothing that a caller sent is ever shown.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from ulak.core.choice import LINK, Change, Chosen, Offer, answered, offers, stand
from ulak.core.content.tracked import fit
from ulak.core.ids import external
from ulak.core.link import Click, LinkError, Open, Preferences, Unsubscribe
from ulak.core.loaded import Loaded
from ulak.core.rate import Rates
from ulak.core.states import Event
from ulak.edge.body import HungUp, Unread, read
from ulak.edge.links import form, page
from ulak.edge.links.words import accepted, language
from ulak.io.links import CHOICES, TRACKED, Linker
from ulak.io.postgres.consents import By, Consents, agent
from ulak.io.postgres.errors import EXPECTED, Trouble, trouble
from ulak.io.postgres.tracking import Tracking

log = logging.getLogger("ulak.links")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

PREFIXES = (CHOICES, TRACKED)
MAX_BODY = 65_536
BODY_SECONDS = 5.0
LINE = 256
"""Requests under way at a time: it bounds the memory that strangers can take. More are told to come back."""

AT_ONCE = 4
"""Of these at the database at a time: whoever says no waits for the gate, and must not hold up the stages' work."""

BURST, PAUSE = 20, 6.0
"""Uses of one link: so many at once, then one each ``PAUSE`` seconds."""

PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
"""A transparent GIF."""

_PURPOSES = (b"purpose", b"sec-purpose", b"x-purpose", b"x-moz")
_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", page.POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-robots-tag", b"noindex"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
_ALLOW: Header = (b"allow", b"GET, HEAD, OPTIONS, POST")


class Answer(NamedTuple):
    """Status, page or picture, and extra headers."""

    status: int
    body: str | bytes
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class LinkDeps:
    """What the door needs of the node: ``loaded`` is the project in force for a tenant."""

    linker: Linker
    consents: Consents
    tracking: Tracking
    loaded: Callable[[int], Loaded]
    clock: Callable[[], datetime]
    monotonic: Callable[[], float]


@dataclass(frozen=True, slots=True)
class _Visit:
    """One request by a link that holds."""

    link: Unsubscribe | Preferences
    chosen: Sequence[Chosen]
    offers: Sequence[Offer]
    language: str


class LinkDoor:
    """The door as an ASGI application (scope type ``http`` only)."""

    def __init__(self, deps: LinkDeps) -> None:
        self._deps = deps
        self._rates = Rates(BURST, PAUSE)
        self._room = asyncio.Semaphore(AT_ONCE)
        self._line = 0
        self.answered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; never raises for what a caller did."""
        speaks = language(*accepted(dict(scope["headers"]).get(b"accept-language")))
        self._line += 1
        try:
            answer = await self._answer(scope, receive, speaks)
        except HungUp:
            return
        except Unread as bad:
            answer = Answer(bad.status, page.plain("invalid", speaks), ((b"connection", b"close"),))
        except EXPECTED as error:
            log.warning("a link could not be answered: %s", type(error).__name__)
            answer = _busy(503, speaks)
        except Exception as error:  # noqa: BLE001  # a fault of ours; its words may quote a user
            log.error("a link failed: %s", type(error).__name__)  # noqa: TRY400
            answer = _busy(500, speaks)
        finally:
            self._line -= 1
        body = answer.body if isinstance(answer.body, bytes) else answer.body.encode()
        length = {b"content-length": str(len(body)).encode()}
        headers = list((dict(_HEADERS) | length | dict(answer.headers)).items())
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Scope, receive: Receive, speaks: str) -> Answer:
        if scope["path"].startswith(TRACKED):
            return await self._tracked(scope, speaks)
        method, token = scope["method"], scope["path"][len(CHOICES) :]
        if method == "OPTIONS":
            return Answer(200, "", (_ALLOW,))
        if method not in ("GET", "HEAD", "POST"):
            return Answer(405, "", (_ALLOW,))
        if self._line > LINE:
            return _busy(503, speaks)
        try:
            link = await self._deps.linker.open(token)
        except LinkError:
            link = None
        if not isinstance(link, Unsubscribe | Preferences):
            return Answer(404, page.plain("invalid", speaks))
        # A "no" has bounds of its own: programs that look at the page often must not keep it out.
        if not self._rates.take(f"{method == 'POST'}{token}", self._deps.monotonic()):
            return _busy(429, speaks)
        body = await read(receive, MAX_BODY, BODY_SECONDS) if method == "POST" else b""
        async with self._room:
            visit = await self._visit(link, speaks)
            if method != "POST":
                return Answer(200, _shown(visit, done=False))
            return await self._post(visit, dict(scope["headers"]), body)

    async def _tracked(self, scope: Scope, speaks: str) -> Answer:
        """Where a link of a message leads, or a picture of one pixel; the first visit is noted."""
        method, token = scope["method"], scope["path"][len(TRACKED) :]
        if method not in ("GET", "HEAD"):
            return Answer(405, "", ((b"allow", b"GET, HEAD"),))
        try:
            link = await self._deps.linker.open(token)
        except LinkError:
            link = None
        if not isinstance(link, Click | Open) or (isinstance(link, Click) and not fit(link.url)):
            return Answer(404, page.plain("invalid", speaks))
        asked = method == "GET" and not ahead(scope["headers"]) and self._line <= LINE
        if asked and self._rates.take(token, self._deps.monotonic()):
            await self._note(link)
        if isinstance(link, Click):
            return Answer(302, "", ((b"location", link.url.encode("ascii")),))
        return Answer(200, PIXEL, ((b"content-type", b"image/gif"),))

    async def _note(self, link: Click | Open) -> None:
        """Nobody is kept from where he goes because it can't be noted."""
        event = Event.CLICKED if isinstance(link, Click) else Event.OPENED
        try:
            async with self._room:
                await self._deps.tracking.note(link.tenant, link.delivery, event, self._deps.clock())
        except EXPECTED as error:
            log.warning("a visit could not be noted: %s", type(error).__name__)

    async def _visit(self, link: Unsubscribe | Preferences, speaks: str) -> _Visit:
        rows = await self._deps.consents.chosen(link.tenant, link.user)
        catalog = self._deps.loaded(link.tenant).catalog
        if isinstance(link, Unsubscribe):
            # Whatever became of the category since the message was sent: this "no" is taken.
            shown = [Offer(link.category, link.channel, stand(rows, link.category, link.channel))]
        else:
            shown = offers(catalog, rows)
        own = await self._deps.consents.locale(link.tenant, link.user, link.delivery)
        return _Visit(link, rows, shown, language(own) if own else speaks)

    async def _post(self, visit: _Visit, headers: Mapping[bytes, bytes], body: bytes) -> Answer:
        fields = form.read(headers.get(b"content-type"), body)
        change = None if fields is None else _meant(visit, fields)
        if change is None:
            return Answer(400, page.plain("invalid", visit.language))
        if change.refuse or change.restore:
            link = visit.link
            evidence = None if link.delivery is None else external("dlv", link.delivery)
            by = By(LINK, evidence, agent(headers.get(b"user-agent")))
            await self._change(link, change, by)
            self.answered += 1
            visit = await self._visit(link, visit.language)
        return Answer(200, _shown(visit, done=True))

    async def _change(self, link: Unsubscribe | Preferences, change: Change, by: By) -> None:
        """Write it. Many mail programs ask once: who comes upon a crowd at the gate is taken there again."""
        for last in (False, False, True):
            try:
                await self._deps.consents.change(link.tenant, link.user, change, by)
            except EXPECTED as error:
                if last or trouble(error) is not Trouble.CLASH:
                    raise
            else:
                return


def ahead(headers: Sequence[Header]) -> bool:
    """Whether a program fetches what its user has not asked for yet."""
    return any(name in _PURPOSES and (b"prefetch" in value or b"preview" in value) for name, value in headers)


def _meant(visit: _Visit, fields: form.Fields) -> Change | None:
    """What a form changes; None where it says nothing that this link covers."""
    if isinstance(visit.link, Preferences):
        if ("do", "save") not in fields:
            return None
        seen = {value for name, value in fields if name == "shown"}
        wanted = {value for name, value in fields if name == "on"}
        asked = [offer for offer in visit.offers if f"{offer.category}/{offer.channel}" in seen]
        on = [(o.category, o.channel) for o in asked if f"{o.category}/{o.channel}" in wanted]
        return answered(asked, on)
    pair = (visit.link.category, visit.link.channel)
    if form.ONE_CLICK in fields or ("do", "off") in fields:
        # Even where something wider says no already: that may be taken back, and this "no" stays.
        said = any((c.category, c.channel, c.allowed) == (*pair, False) for c in visit.chosen)
        return Change() if said else Change(refuse=(pair,))
    return answered(visit.offers, [pair]) if ("do", "on") in fields else None


def _shown(visit: _Visit, *, done: bool) -> str:
    if isinstance(visit.link, Unsubscribe):
        return page.one(visit.offers[0], visit.language, done=done)
    return page.every(visit.offers, visit.language, done=done)


def _busy(status: int, speaks: str) -> Answer:
    return Answer(status, page.plain("busy", speaks), ((b"retry-after", b"10"),))
