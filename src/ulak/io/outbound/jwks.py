"""Which keys do the tenants' identity providers publish right now?

One source for each ``[issuers.NAME]`` of each tenant, apart from all others, so that two tenants can't touch each
other's keys (CVE-2026-49998). The address is the operator's (CVE-2026-32301) and is asked through the egress guard.
A source is read every ``REFRESH`` seconds, and when a token names a key that is not there; never twice within
``PAUSE``, so that invented key ids make no traffic. What was read is used for ``STALE`` seconds while the address is
away. A set that was read is believed as it is: a key that is gone from it opens nothing more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ulak.core import jwks
from ulak.core.issuer import Issuer
from ulak.core.token import TokenKey
from ulak.providers.contract import HttpReply, HttpRequest, Lost, Refused

log = logging.getLogger(__name__)

REFRESH = 600.0
PAUSE = 30.0
STALE = 86_400.0
DEADLINE = 5.0
AT_ONCE = 8
BODY_CAP = jwks.MAX_SET + 1
"""Bytes of an answer that the HTTP client has to keep, so that a set that is too large is told from one that fits."""


class Http(Protocol):
    """The guarded client (``HttpClient``)."""

    async def send(self, request: HttpRequest, deadline: float) -> HttpReply | Lost | Refused:
        """What came back within ``deadline`` seconds."""
        ...


Name = tuple[int, str]
"""Tenant, and name of the issuer's table."""


class _Source:
    """One issuer of one tenant, and what is known of its keys."""

    def __init__(self, tenant: int, issuer: Issuer) -> None:
        self.tenant = tenant
        self.issuer = issuer
        self.keys: Mapping[str | None, Any] = {}
        self.read_at = float("-inf")
        self.tried_at = float("-inf")
        self.fails = False
        self.reading: asyncio.Task[None] | None = None
        if issuer.public_key is not None:
            self.keys = {None: jwks.pem(issuer.public_key, issuer.algorithm)}
            self.read_at = float("inf")

    def due(self, now: float) -> bool:
        wait = PAUSE if self.fails or self.read_at == float("-inf") else REFRESH
        return self.issuer.jwks_url is not None and now - self.tried_at >= wait

    def token_keys(self) -> list[TokenKey]:
        issuer = self.issuer
        rest = (issuer.algorithm, issuer.issuer, issuer.audience, issuer.user_claim)
        return [TokenKey(self.tenant, kid, key, *rest) for kid, key in self.keys.items()]


class KeySets:
    """The keys of all issuers; ``changed`` is called whenever they are others than before."""

    def __init__(self, http: Http, monotonic: Callable[[], float], changed: Callable[[], None]) -> None:
        self._http = http
        self._monotonic = monotonic
        self._changed = changed
        self._sources: dict[Name, _Source] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    def want(self, issuers: Mapping[Name, Issuer]) -> None:
        """Have these issuers and no others; keys of those that are as before are kept. Reads nothing yet."""
        if {name: source.issuer for name, source in self._sources.items()} == issuers:
            return
        for name in list(self._sources):
            if issuers.get(name) != self._sources[name].issuer:
                gone = self._sources.pop(name)
                if gone.reading is not None:
                    gone.reading.cancel()
        for name, issuer in issuers.items():
            if name not in self._sources:
                self._sources[name] = _Source(name[0], issuer)
        self._changed()

    def usable(self) -> list[TokenKey]:
        """Every key that may be used now."""
        return [key for source in self._sources.values() for key in source.token_keys()]

    def away(self, issuer: str) -> bool:
        """Whether this issuer is known and a source of it has no keys because they could not be read."""
        return any(source.fails and not source.keys for source in self._of(issuer))

    async def refresh(self) -> None:
        """Read all that is due, and drop what is too old; returns when it is done."""
        now = self._monotonic()
        for source in self._sources.values():
            if source.keys and now - source.read_at > STALE:
                log.error("the keys of issuer %s are too old: its tokens are refused", source.issuer.name)
                source.keys = {}
                self._changed()
        await self._read([source for source in self._sources.values() if source.due(now)])

    async def unknown(self, issuer: str) -> bool:
        """A token of this issuer names a key that is not there: read again unless that was just done.

        Returns whether anything was read; it may be worth another look then.
        """
        now = self._monotonic()
        wanted = [source for source in self._of(issuer) if source.issuer.jwks_url is not None]
        allowed = [source for source in wanted if source.reading is not None or now - source.tried_at >= PAUSE]
        await self._read(allowed)
        return bool(allowed)

    async def stop(self) -> None:
        """Give up what is being read."""
        tasks = [source.reading for source in self._sources.values() if source.reading is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _of(self, issuer: str) -> Sequence[_Source]:
        return [source for source in self._sources.values() if source.issuer.issuer == issuer]

    async def _read(self, sources: Sequence[_Source]) -> None:
        """Read each once, whoever else asks for it meanwhile; a caller that is cancelled stops nobody else's."""
        for source in sources:
            if source.reading is None:
                source.tried_at = self._monotonic()
                source.reading = asyncio.create_task(self._fetch(source))
        tasks = [source.reading for source in sources if source.reading is not None]
        if not tasks:
            return
        done, _ = await asyncio.wait(tasks)
        for task in done:
            if not task.cancelled():
                task.result()

    async def _fetch(self, source: _Source) -> None:
        try:
            async with self._slots:
                request = HttpRequest("GET", source.issuer.jwks_url or "", (("Accept", "application/json"),), b"")
                reply = await self._http.send(request, DEADLINE)
            self._take(source, reply)
        finally:
            source.reading = None

    def _take(self, source: _Source, reply: HttpReply | Lost | Refused) -> None:
        name = source.issuer.name
        try:
            found = jwks.read(_body(reply), source.issuer.algorithm)
        except jwks.BadKey as error:
            source.fails = True
            log.warning("the keys of issuer %s can't be read: %s", name, error)
            return
        source.fails = False
        source.read_at = self._monotonic()
        for reason in found.left_out:
            log.warning("issuer %s: %s", name, reason)
        if not found.keys:
            log.error("issuer %s publishes no key for %s", name, source.issuer.algorithm)
        if found.keys != source.keys:
            source.keys = found.keys
            self._changed()


def _body(reply: HttpReply | Lost | Refused) -> bytes:
    """The body of a 200; anything else, a redirect too, is a failure."""
    if isinstance(reply, Lost):
        raise jwks.BadKey(f"no answer ({reply.reason})")
    if isinstance(reply, Refused):
        raise jwks.BadKey(f"not asked ({reply.reason}: {reply.detail})")
    if reply.status != 200:
        raise jwks.BadKey(f"the answer was {reply.status}")
    return reply.body
