"""Which credential does a call carry right now?

Calls of one account share credentials, one for each scope (``Credentialed`` in the contract). One that is there is
given out without waiting; from ``renew_at`` on it is renewed in the background while it still serves; past ``ends_at``
calls wait for a new one. Whoever asks, one request at a time goes out for a scope; when it fails, that is told to all
who ask within ``PAUSE``, so that a storm asks the vendor once a second. Nothing of a credential is ever logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ulak.core.model import Account
from ulak.providers.contract import (
    Credential,
    Credentialed,
    HttpReply,
    HttpRequest,
    Lost,
    Phase,
    Refused,
    Ungranted,
)

log = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds in which a failure is not tried again."""
FRESH = 5.0
"""Seconds in which a credential that was just granted is not replaced, though the vendor refuses it."""
DEADLINE = 10.0
"""Seconds that a request for a credential may take, whoever waits for it."""
BACK = 60.0
"""Seconds by which a clock may be put back without a word; time servers do so."""
SCOPES = 1_024

Send = Callable[[HttpRequest, float], Awaitable[HttpReply | Lost | Refused]]


@dataclass(frozen=True, slots=True)
class Clocks:
    """``now`` is wall time, aware; ``monotonic`` is in seconds."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float]


class _Scope:
    """What is known of one scope's credential."""

    __slots__ = ("credential", "failed_at", "failure", "granted_at", "kept_at", "renewing")

    def __init__(self) -> None:
        self.credential: Credential | None = None
        self.kept_at = datetime.min.replace(tzinfo=UTC)
        self.granted_at = float("-inf")
        self.failure: Ungranted | None = None
        self.failed_at = float("-inf")
        self.renewing: asyncio.Task[None] | None = None


class Credentials:
    """The credentials of one account; ``send`` makes the requests that ask for them."""

    def __init__(self, provider: Credentialed, account: Account, send: Send, clocks: Clocks) -> None:
        self._provider = provider
        self._account = account
        self._send = send
        self._clocks = clocks
        self._scopes: OrderedDict[str, _Scope] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, scope: str, deadline: float) -> Credential | Ungranted:
        """The credential of a scope, waiting at most ``deadline`` seconds for one."""
        entry = self._entry(scope)
        now = self._clocks.now()
        if now + timedelta(seconds=BACK) < entry.kept_at:
            entry.credential = None
        held = entry.credential
        if held is not None and (now < held.renew_at or (now < held.ends_at and self._fresh(entry))):
            return held
        self._renew(scope, entry, now)
        held = entry.credential
        if held is not None and now < held.ends_at:
            return held
        return await self._wait(entry, deadline)

    async def instead(self, scope: str, refused: Credential, deadline: float) -> Credential | Ungranted:
        """A newer credential than one that the vendor has refused; ``refused`` itself where there is none.

        Only the first of those who were refused together causes a new one, and never one after the other: a vendor
        that refuses what was granted ``FRESH`` seconds ago will refuse the next one, too.
        """
        entry = self._entry(scope)
        held = entry.credential
        if held is not None and held != refused:
            return held
        if entry.renewing is None and self._fresh(entry):
            return refused
        if not self._renew(scope, entry, self._clocks.now()):
            return entry.failure or refused
        if entry.renewing is None:  # minted on the spot
            return entry.credential or refused
        newer = await self._wait(entry, deadline, refused)
        return refused if newer == refused else newer

    async def close(self) -> None:
        """Give up what is being asked for."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fresh(self, entry: _Scope) -> bool:
        return self._clocks.monotonic() - entry.granted_at < FRESH

    def _entry(self, scope: str) -> _Scope:
        entry = self._scopes.get(scope)
        if entry is None:
            entry = self._scopes[scope] = _Scope()
            if len(self._scopes) > SCOPES:
                self._scopes.popitem(last=False)
        else:
            self._scopes.move_to_end(scope)
        return entry

    def _renew(self, scope: str, entry: _Scope, now: datetime) -> bool:
        """See that a new credential comes, or has come; False within the pause after a failure."""
        if entry.renewing is not None:
            return True
        if self._clocks.monotonic() - entry.failed_at < PAUSE:
            return False
        made = self._provider.credential(scope, self._account, now)
        if isinstance(made, Credential):
            self._keep(entry, made)
            return True
        task = entry.renewing = asyncio.get_running_loop().create_task(self._ask(entry, made))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def _keep(self, entry: _Scope, credential: Credential) -> None:
        """Have a new one; but one that was minted for the same time is the same, however it is signed."""
        held = entry.credential
        if held is None or (held.renew_at, held.ends_at) != (credential.renew_at, credential.ends_at):
            entry.credential = credential
        entry.granted_at, entry.kept_at = self._clocks.monotonic(), self._clocks.now()
        entry.failure = None

    async def _ask(self, entry: _Scope, request: HttpRequest) -> None:
        try:
            reply = await self._send(request, DEADLINE)
            now = self._clocks.now()
            granted = self._provider.granted(reply, self._account, now) if isinstance(reply, HttpReply) else None
            if granted is not None and now < granted.ends_at:
                self._keep(entry, granted)
                return
            entry.failure, entry.failed_at = Ungranted(reply), self._clocks.monotonic()
            log.warning("account %s: no credential was granted (%s)", self._account.name, _what(reply))
        finally:
            entry.renewing = None

    async def _wait(self, entry: _Scope, deadline: float, other: Credential | None = None) -> Credential | Ungranted:
        """What the renewal that is under way comes to; it goes on if this caller is cancelled or runs out of time."""
        if entry.renewing is not None:
            await asyncio.wait([entry.renewing], timeout=deadline)
        held = entry.credential
        if entry.renewing is None and entry.failure is not None:
            return entry.failure
        if held is not None and held != other and self._clocks.now() < held.ends_at:
            return held
        return Ungranted(Lost(Phase.NOT_SENT, "timeout"))


def _what(reply: HttpReply | Lost | Refused) -> str:
    return f"status {reply.status}" if isinstance(reply, HttpReply) else reply.reason
