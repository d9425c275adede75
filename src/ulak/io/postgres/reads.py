"""What does the record say: notifications, deliveries, their timeline, and what is parked?

Reading only, always within one tenant; rows come back as the driver gives them, and the door gives them
their outer form. Pages go by keyset over ids, which are in order of time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ulak.core.ids import new_id
from ulak.io.postgres.pool import Pool, Row
from ulak.io.postgres.queries import load

LAST = UUID(int=2**128 - 1)
"""Above every id: where a page by descending id starts."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which deliveries, or notifications with such deliveries; None means any. ``until`` is exclusive."""

    notification: UUID | None = None
    user: str | None = None
    type: str | None = None
    state: str | None = None
    channel: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Reads:
    """Queries of the record."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = load("reads")

    async def notification(self, tenant: int, notification: UUID) -> Row | None:
        """One notification, if it is this tenant's."""
        return await self._pool.fetchrow(self._sql.notification, tenant, notification)

    async def counts(self, tenant: int, notifications: Sequence[UUID]) -> dict[UUID, dict[str, dict[str, int]]]:
        """Deliveries by channel and state, for each of these notifications that has any."""
        found: dict[UUID, dict[str, dict[str, int]]] = {}
        for row in await self._pool.fetch(self._sql.counts, tenant, list(notifications)):
            found.setdefault(row["notification"], {}).setdefault(row["channel"], {})[row["state"]] = row["n"]
        return found

    async def notifications(self, tenant: int, chosen: Filter, after: UUID | None, limit: int) -> list[Row]:
        """A page of notifications, newest first, below the id ``after``."""
        below, above = _range(chosen, after)
        args = (chosen.type, chosen.user, chosen.state, chosen.channel, chosen.reason, limit)
        return await self._pool.fetch(self._sql.notifications, tenant, below, above, *args)

    async def deliveries(self, tenant: int, chosen: Filter, after: UUID | None, limit: int) -> list[Row]:
        """A page of deliveries, newest first, below the id ``after``."""
        below, above = _range(chosen, after)
        args = (tenant, below, above, chosen.type, chosen.state, chosen.channel, chosen.reason, limit)
        if chosen.notification is not None:
            return await self._pool.fetch(self._sql.deliveries_of_notification, *args, chosen.user, chosen.notification)
        if chosen.user is not None:
            return await self._pool.fetch(self._sql.deliveries_of_user, *args, chosen.user)
        return await self._pool.fetch(self._sql.deliveries, *args)

    async def delivery(self, tenant: int, delivery: UUID) -> Row | None:
        """One delivery, if it is this tenant's."""
        return await self._pool.fetchrow(self._sql.delivery, tenant, delivery)

    async def log(self, tenant: int, deliveries: Sequence[UUID]) -> tuple[list[Row], list[Row]]:
        """Attempts (with outcomes) and receipts of these deliveries, in order."""
        async with self._pool.connection() as connection:
            calls = await connection.fetch(self._sql.calls, tenant, list(deliveries))
            receipts = await connection.fetch(self._sql.receipts, tenant, list(deliveries))
        return calls, receipts

    async def dead(
        self, tenant: int, channel: str | None, reason: str | None, after: UUID | None, limit: int
    ) -> list[Row]:
        """A page of parked deliveries, newest first, below the id ``after``."""
        return await self._pool.fetch(self._sql.dead, tenant, after or LAST, channel, reason, limit)


def _range(chosen: Filter, after: UUID | None) -> tuple[UUID, UUID]:
    """The ids (time-ordered) below which and from which on a page looks."""
    below = after or LAST
    if chosen.until is not None:
        below = min(below, _first_id(chosen.until))
    return below, UUID(int=0) if chosen.since is None else _first_id(chosen.since)


def _first_id(at: datetime) -> UUID:
    """The lowest id of a millisecond."""
    return new_id(max(0, int(at.timestamp() * 1000)), bytes(10))
