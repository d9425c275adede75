"""What do links of ours tell of a delivery, each thing once?"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from ulak.core.model import Mark
from ulak.core.states import Event, Happened, step
from ulak.io.postgres import callbacks, gate
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.queries import load

_sql = load("tracking")

MARKS = {Event.OPENED: Mark.DELIVERED, Event.CLICKED: Mark.CLICKED | Mark.DELIVERED}
"""What later steps are told. Programs that look at mail open links, too: none of it is "seen" or "read"."""


class Tracking:
    """Notes what happened to emails whose type asks for it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def note(self, tenant: int, delivery: UUID, event: Event, at: datetime) -> bool:
        """Write an open or a click; False when it is not the first, or there is no such delivery."""
        key, mark = (tenant, delivery), int(MARKS[event])
        async with self._pool.transaction() as connection:
            if await callbacks.watched(connection, [(key, mark)]):
                await gate.forbid(connection)
            row = (await callbacks.standing(connection, [key])).get(key)
            if row is None or event in row.folded.times:
                return False
            now = step(row.folded, Happened(event, at, None))
            times = [now.times.get(each) for each in (Event.DELIVERED, Event.OPENED, Event.CLICKED)]
            state = (now.state, now.reason, now.settled_at, *times)
            await connection.execute(_sql.write, *key, *state, event.value, row.notification, row.user, mark)
        return True
