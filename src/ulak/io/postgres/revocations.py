"""Which tokens were taken back, and since when does every node know?

An append-only log. Its numbers are those of ``changes``, which every heartbeat reads; a node that sees a new one
reads what it lacks.
"""

from __future__ import annotations

from collections.abc import Sequence

from ulak.core.revocation import Revocation
from ulak.core.token import MAX_LIFE
from ulak.io.postgres.pool import Pool, Row
from ulak.io.postgres.queries import load

LIFE = MAX_LIFE + 3_600.0
"""Seconds that an entry matters: no token lives longer; an hour for clocks that differ."""

_PURGE = 10_000


class Revocations:
    """The log."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = load("revocations")

    async def versions(self) -> dict[str, int]:
        """The numbers of ``changes``."""
        return {row["name"]: row["version"] for row in await self._pool.fetch(self._sql.versions)}

    async def position(self) -> int:
        """How far the log has come."""
        return int(await self._pool.fetchval(self._sql.position) or 0)

    async def add(self, tenant: int, user: str, token_id: str | None) -> Revocation:
        """Take back one token of a user by its id, or all that were made until now; returns after the commit."""
        row = await self._pool.fetchrow(self._sql.add, tenant, user, token_id, LIFE)
        assert row is not None, "migration 0002 put the row into changes"
        return _entry(row)

    async def since(self, position: int) -> Sequence[Revocation]:
        """What came after ``position`` and still matters, in order."""
        return [_entry(row) for row in await self._pool.fetch(self._sql.since, position)]

    async def purge(self) -> None:
        """Delete entries that can matter no longer, some thousands at a time."""
        await self._pool.execute(self._sql.purge, _PURGE)


def _entry(row: Row) -> Revocation:
    return Revocation(row["id"], row["tenant"], row["user_id"], row["token_id"], row["not_before"], row["expires_at"])
