"""Which addresses must not be written to, and who may change that?

A suppression is a "no": it is written behind the gate, so that it is final at its commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from ulak.core.suppression_csv import Entry
from ulak.io.postgres.columns import turned
from ulak.io.postgres.gate import FORBIDDING
from ulak.io.postgres.pool import Pool, Row
from ulak.io.postgres.queries import load

_PART = 1_000


@dataclass(frozen=True, slots=True)
class Suppression:
    """One address and how far it is forbidden: ``scope`` is ``all`` or a category."""

    channel: str
    address: str
    scope: str
    reason: str
    evidence: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which suppressions to list; None: all."""

    channel: str | None = None
    reason: str | None = None
    scope: str | None = None
    address: str | None = None


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

    async def add_many(self, tenant: int, entries: Sequence[Entry]) -> None:
        """Forbid many addresses, each scope of one at most once; a part at a time, so that no sender waits long."""
        for at in range(0, len(entries), _PART):
            rows = [msgspec.structs.astuple(each) for each in entries[at : at + _PART]]
            async with self._pool.transaction(FORBIDDING) as connection:
                await connection.execute(self._sql.add_many, tenant, *turned(rows, 6))

    async def page(self, tenant: int, after: tuple[str, str, str], wanted: Wanted, limit: int) -> list[Row]:
        """Suppressions by channel, address and scope, above ``after``."""
        filters = (wanted.channel, wanted.reason, limit, wanted.scope, wanted.address)
        return await self._pool.fetch(self._sql.page, tenant, *after, *filters)
