"""Has the vendor got what is about to be sent a second time? Who can be asked is asked before.

Only a row whose last call went unanswered is asked about. What the vendor holds is accepted and not sent again; a
look-up that finds nothing, or that fails in whatever way, changes nothing: the row goes on by its type's policy.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import cast

from ulak.core.outcome import Kind, Outcome
from ulak.core.states import State
from ulak.flow.attempt.model import Clock, Route, Settings
from ulak.io.postgres.attempting import Started
from ulak.providers.contract import Findable, Message

log = logging.getLogger(__name__)


class Asking:
    """Asks one account's vendor for messages, by the account's own sender."""

    def __init__(self, route: Route, settings: Settings, clock: Clock) -> None:
        self._account = route.account
        self._sender = route.sender
        self._provider = cast("Findable", route.provider) if route.provider.CAPABILITIES.lookup else None
        self._clock = clock
        # Half of what a lease has to spare at most: were it more, a row might never find a lease that is long enough.
        spare = settings.lease - settings.margin - self._account.timeout
        self._most = max(0.0, min(self._account.timeout, spare / 2))

    def seconds(self, messages: Mapping[Started, Message]) -> float:
        """How long asking for those of ``messages`` that may have been taken lasts at most."""
        return self._most if self._open(messages) else 0.0

    async def found(self, messages: Mapping[Started, Message], now: datetime) -> dict[Started, Outcome]:
        """Those of ``messages`` that the vendor has, each with its outcome; never raises for a failed look-up."""
        asked = self._open(messages)
        until, places = self._clock() + self._most, asyncio.Semaphore(self._account.concurrency)

        async def ask(provider: Findable, row: Started) -> Outcome | None:
            async with places:
                return await self._ask(provider, messages[row], now, until)

        if self._provider is None or not asked:
            return {}
        verdicts = await asyncio.gather(*(ask(self._provider, row) for row in asked))
        return {row: each for row, each in zip(asked, verdicts, strict=True) if each is not None}

    def _open(self, messages: Mapping[Started, Message]) -> list[Started]:
        if self._provider is None:
            return []
        return [row for row in messages if row.before == State.UNKNOWN]

    async def _ask(self, provider: Findable, message: Message, now: datetime, until: float) -> Outcome | None:
        left = until - self._clock()
        if left <= 0:
            return None
        account = self._account
        try:
            reply = await self._sender.send(provider.lookup(message, account, now), left)
            verdict = provider.found(reply, message, account, now)
        except Exception:
            # Ours, and about a question: the row is sent by its policy as if nobody could be asked.
            log.exception("a look-up by %s failed in our own code", account.name)
            return None
        return verdict if verdict is not None and verdict.kind is Kind.ACCEPTED else None
