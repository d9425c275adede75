"""What did accounts send and what came of it, and whose marketing is paused?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ulak.core.score import DAYS, Hour, Score, score
from ulak.io.postgres.columns import turned
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.queries import load

Place = tuple[int, str, str, str]
"""Tenant, account, class, kind."""


@dataclass(frozen=True, slots=True)
class Pause:
    """An account whose marketing was stopped; ``resumed_at`` is when it went on."""

    reason: str
    evidence: str
    paused_at: datetime
    resumed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Scores of all accounts that have sent, and pauses, by account."""

    scores: Mapping[str, Score] = field(default_factory=dict)
    pauses: Mapping[str, Pause] = field(default_factory=dict)

    def paused(self, account: str) -> Pause | None:
        """The pause that holds now, if one does."""
        found = self.pauses.get(account)
        return None if found is None or found.resumed_at is not None else found


class Scores:
    """Counts, scores and pauses of the installation's accounts."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = load("scores")

    async def count(self, counts: Mapping[Place, int]) -> None:
        """Add to what accounts have sent."""
        if counts:
            rows = [(*place, n) for place, n in counts.items()]
            await self._pool.execute(self._sql.count, *turned(rows, 5))

    async def standing(self, now: datetime, account: str | None = None) -> Standing:
        """How accounts (or one) do at ``now``."""
        pauses = {
            row["account"]: Pause(row["reason"], row["evidence"], row["paused_at"], row["resumed_at"])
            for row in await self._pool.fetch(self._sql.pauses)
        }
        hours: dict[str, list[Hour]] = {}
        for row in await self._pool.fetch(self._sql.hours, float(DAYS), account):
            hours.setdefault(row["account"], []).append(Hour(row["hour"], row["kind"], row["n"]))
        resumed = {name: pause.resumed_at for name, pause in pauses.items()}
        return Standing({name: score(rows, now, resumed.get(name)) for name, rows in hours.items()}, pauses)

    async def pause(self, account: str, reason: str, evidence: str) -> bool:
        """Stop an account's marketing from the commit on; False when it was stopped before."""
        return bool(await self._pool.fetchval(self._sql.pause, account, reason, evidence))

    async def resume(self, account: str) -> bool:
        """Let it go on; False when it was not stopped."""
        return bool(await self._pool.fetchval(self._sql.resume, account))

    async def forget(self) -> None:
        """Delete counts that are older than 30 days."""
        await self._pool.execute(self._sql.forget)
