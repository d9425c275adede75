"""Who counts what an account has sent, and who stops its marketing when too much of it comes back?

Each node counts its own calls in memory and adds them to the common counts every few seconds: a node that dies
takes the last few with it, which makes rates look a little worse, never better. Every node judges; the pause is a
row, and the last check before each call reads it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from ulak.core.model import Account, Channel
from ulak.core.outcome import Kind, Outcome
from ulak.core.score import REFUSED, SENT, Alarm
from ulak.io.postgres.errors import EXPECTED
from ulak.io.postgres.scores import Place, Scores, Standing
from ulak.providers.contract import Message

log = logging.getLogger(__name__)

_EVERY = 2.0
_ROUNDS = 5
"""Judged each so-many-th time that counts are written."""


class Scoring:
    """Counts and judges; ``clock`` gives the time in UTC."""

    def __init__(self, scores: Scores, clock: Callable[[], datetime]) -> None:
        self._scores = scores
        self._clock = clock
        self._counts: Counter[Place] = Counter()
        self._task: asyncio.Task[None] | None = None
        self.standing = Standing()

    def sent(self, account: Account, messages: Sequence[Message], outcomes: Sequence[Outcome]) -> None:
        """Take note of one call.

        Not of pushes: dead addresses are a part of their life, and no reputation hangs on them (``core/mortality``).
        """
        if account.channel == Channel.PUSH:
            return
        for message, outcome in zip(messages, outcomes, strict=True):
            refused = outcome.kind is Kind.RECIPIENT_PERMANENT
            if refused or outcome.kind is Kind.ACCEPTED:
                self._counts[message.tenant, account.name, message.klass.value, SENT] += 1
                if refused:
                    self._counts[message.tenant, account.name, message.klass.value, REFUSED] += 1

    def start(self) -> None:
        """Start to write and to judge."""
        self._task = asyncio.create_task(self._forever())

    async def stop(self) -> None:
        """Write what was counted, and end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._tried(self.write)

    async def _forever(self) -> None:
        rounds = 0
        while True:
            await self._tried(self.write)
            if rounds % _ROUNDS == 0:
                await self._tried(self.judge)
            rounds += 1
            await asyncio.sleep(_EVERY)

    async def _tried(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except EXPECTED as error:
            log.warning("scores can't be kept up to date: %s", type(error).__name__)

    async def write(self) -> None:
        """Add what was counted to the common counts."""
        counts, self._counts = self._counts, Counter()
        try:
            await self._scores.count(counts)
        except BaseException:
            self._counts.update(counts)
            raise

    async def judge(self) -> None:
        """Read how accounts do, and stop the marketing of those that do too badly."""
        self.standing = await self._scores.standing(self._clock())
        for account, score in self.standing.scores.items():
            alarm = score.pauses
            if alarm is None or self.standing.paused(account) is not None:
                continue
            number = score.bounced if alarm is Alarm.BOUNCES else score.complained
            evidence = f"{number} of {score.sent} ({score.rates[alarm]:.2%}) since {score.since:%Y-%m-%d %H:%M} UTC"
            if await self._scores.pause(account, alarm.value, evidence):
                log.error("account %s: marketing is paused, too many %s: %s", account, alarm, evidence)

    def rates(self, alarm: Alarm) -> dict[str, float]:
        """The rate of each account, as last judged."""
        return {account: score.rates[alarm] for account, score in self.standing.scores.items()}

    def pauses(self) -> dict[str, float]:
        """1 for each account whose marketing is paused, as last judged."""
        return {name: 1.0 for name in self.standing.pauses if self.standing.paused(name) is not None}
