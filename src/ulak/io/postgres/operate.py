"""How is a notification cancelled, and how is what was given up tried again?

A cancel is a "no": behind the gate, final at its commit. What is not planned is taken away; what is
planned is stopped by the mark, row by row, when its turn comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from ulak.io.postgres.gate import FORBIDDING
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.queries import load
from ulak.io.postgres.timing import Chosen, redrive


@dataclass(frozen=True, slots=True)
class Cancelled:
    """How many deliveries (or recipients not yet planned) were stopped, and for how many it came too late."""

    cancelled: int
    too_late: int


class Operations:
    """What an operator does to notifications under way."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = load("reads")

    async def cancel(self, tenant: int, notification: UUID) -> Cancelled | None:
        """Stop all that is not done yet; None when there is no such notification."""
        async with self._pool.transaction(FORBIDDING) as connection:
            row = await connection.fetchrow(self._sql.cancel, tenant, notification)
            if row is None:
                return None
            unplanned = await connection.fetchval(self._sql.cancel_plan, tenant, notification, row["lane"])
            # A statement of its own, so that it sees what a planner committed while the delete waited for it.
            counts = await connection.fetchrow(self._sql.cancel_counts, tenant, notification)
            assert counts is not None  # an aggregate has always one row
            return Cancelled(unplanned + counts["cancelled"], counts["too_late"])

    async def redrive(
        self, tenant: int, deliveries: Sequence[UUID] | None, channel: str | None, reason: str | None, limit: int
    ) -> int:
        """Put parked deliveries back to work; returns how many."""
        async with self._pool.transaction() as connection:
            found = await redrive(connection, tenant, Chosen(deliveries, channel, reason, limit))
        return len(found)
