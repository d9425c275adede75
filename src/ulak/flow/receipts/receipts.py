"""Who writes what clients say of their inboxes?"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from ulak.core.failpoint import Failpoints, NoFailpoints
from ulak.core.inbox import Op
from ulak.io.postgres.inbox import Ack, Hint, InboxStore
from ulak.io.postgres.pool import Pool


class Receipts(InboxStore):
    """The inboxes of the database, as the doors read and change them."""

    def __init__(self, pool: Pool, hint: Hint | None = None, failpoints: Failpoints | None = None) -> None:
        points = failpoints or NoFailpoints()
        super().__init__(pool, hint, before_commit=lambda: points.hit("receipts.before_commit"))
        self._failpoints = points

    async def change(self, tenant: int, user: str, op: Op, ids: Sequence[UUID] = (), up_to: int | None = None) -> int:
        """Mark items by id, or all that came up to a revision; returns the revision before the change."""
        before = await super().change(tenant, user, op, ids, up_to)
        self._failpoints.hit("receipts.after_commit")
        return before

    async def acked(self, acks: Sequence[Ack]) -> int:
        """Write what arrived on devices, many at once; returns how many items that was news of."""
        news = await super().acked(acks)
        self._failpoints.hit("receipts.after_commit")
        return news
