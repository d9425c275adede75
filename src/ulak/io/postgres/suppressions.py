"""Which addresses must not be written to, and who may change that?

A suppression is a "no": it is written behind the gate, so that it is final at its commit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ulak.io.postgres.gate import FORBIDDING
from ulak.io.postgres.pool import Pool, Row
from ulak.io.postgres.queries import load


@dataclass(frozen=True, slots=True)
class Suppression:
    """One address and how far it is forbidden: ``scope`` is ``all`` or a category."""

    channel: str
    address: str
    scope: str
    reason: str
    evidence: str | None = None
    expires_at: datetime | None = None


class Suppressions:
    """The list of forbidden addresses."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = load("suppressions")

    async def add(self, tenant: int, s: Suppression) -> Row:
        """Forbid an address; returns the row as it is stored."""
        args = (s.channel, s.address, s.scope, s.reason, s.evidence, s.expires_at)
        async with self._pool.transaction(FORBIDDING) as connection:
            row = await connection.fetchrow(self._sql.add, tenant, *args)
        assert row is not None  # INSERT … RETURNING
        return row

    async def remove(self, tenant: int, channel: str, address: str, scope: str | None) -> int:
        """Allow an address again (in one scope, or all); returns how many rows that took."""
        return len(await self._pool.fetch(self._sql.remove, tenant, channel, address, scope))

    async def page(
        self, tenant: int, after: tuple[str, str, str], channel: str | None, reason: str | None, limit: int
    ) -> list[Row]:
        """Suppressions by channel, address and scope, above ``after``."""
        return await self._pool.fetch(self._sql.page, tenant, *after, channel, reason, limit)
