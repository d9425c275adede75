"""How is a user's inbox read and changed?

Every change holds the user's counter row (``inboxes``), takes the next revisions from it and counts in
it, all in one transaction: revisions have no holes, commit in order, and counts can't drift. A change
that can stop a later step (a *watched* item) takes the gate first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

import msgspec

from ulak.core.inbox import Item, News, Op, Page
from ulak.core.model import IMPLIES, Mark
from ulak.io.postgres import gate
from ulak.io.postgres.pool import Pool, Row
from ulak.io.postgres.queries import load

_sql = load("inbox")

_MARKS = {Op.SEEN: IMPLIES[Mark.SEEN], Op.READ: IMPLIES[Mark.READ], Op.ARCHIVE: IMPLIES[Mark.SEEN]}

Hint = Callable[[Sequence[News]], None]
"""Told after a commit what it did to inboxes; must not block."""


class Ack(msgspec.Struct, frozen=True, gc=False):
    """One device holds what was sent to it with revisions in (``after``, ``upto``]."""

    tenant: int
    user: str
    after: int
    upto: int
    active: bool


class InboxStore:
    """All inboxes of the database. Raises what ``errors.EXPECTED`` names when it is away."""

    def __init__(
        self, pool: Pool, hint: Hint | None = None, *, before_commit: Callable[[], None] = lambda: None
    ) -> None:
        self._pool = pool
        self._hint = hint
        self._before_commit = before_commit

    async def epoch(self) -> str:
        """Changes whenever revisions may have gone back."""
        return str(await self._pool.fetchval(_sql.epoch))

    async def page(self, tenant: int, user: str, since: int, limit: int) -> Page:
        """What changed in one inbox after ``since``, at most ``limit`` items."""
        return (await self.pages([(tenant, user, since)], limit))[0]

    async def pages(self, asked: Sequence[tuple[int, str, int]], limit: int) -> list[Page]:
        """The same for many (tenant, user, since) at once, in order."""
        if not asked:
            return []
        tenants, users, sinces = zip(*asked, strict=True)
        rows = await self._pool.fetch(_sql.pages, tenants, users, sinces, limit)
        grouped: dict[int, list[Row]] = {}
        for row in rows:
            grouped.setdefault(row["ord"], []).append(row)
        return [_page(grouped[n + 1], limit) for n in range(len(asked))]

    async def moved(self, known: Sequence[tuple[int, str, int]]) -> list[tuple[int, str, int]]:
        """Of (tenant, user, revision): those whose newest revision is another, with that one."""
        if not known:
            return []
        rows = await self._pool.fetch(_sql.moved, *zip(*known, strict=True))
        return [(row["tenant"], row["user_id"], row["revision"]) for row in rows]

    async def change(self, tenant: int, user: str, op: Op, ids: Sequence[UUID] = (), up_to: int | None = None) -> int:
        """Mark items by id, or all that came up to a revision; returns the revision before the change.

        What is marked already, removed or not this user's is left alone: saying it twice changes nothing.
        """
        chosen = None if up_to is not None else list(ids)
        async with self._pool.transaction() as connection:
            seen = await connection.fetchrow(_sql.look, tenant, user, chosen, up_to)
            if seen is None:
                return 0
            if up_to is not None:  # what comes after that look may be watched, and we might not hold the gate
                up_to = min(up_to, seen["revision"])
            if seen["watched"]:
                await gate.forbid(connection)
            (counter,) = await connection.fetch(_sql.lock, [tenant], [user])
            after = await connection.fetchval(_sql.change, tenant, user, op.value, chosen, up_to, _MARKS[op].value)
            self._before_commit()
        if after is not None and self._hint is not None:
            self._hint([News(tenant, user, after)])
        return int(counter["revision"])

    async def acked(self, acks: Sequence[Ack]) -> int:
        """Write what arrived on devices, many at once; returns how many items that was news of."""
        if not acks:
            return 0
        owners = sorted({(a.tenant, a.user) for a in acks})
        async with self._pool.transaction() as connection:
            if any(a.active for a in acks) and await connection.fetchval(_sql.acks_watched, *_columns(acks)):
                await gate.forbid(connection)
            rows = await connection.fetch(_sql.lock, *zip(*owners, strict=True))
            locked = {(row["tenant"], row["user_id"]) for row in rows}
            held = [ack for ack in acks if (ack.tenant, ack.user) in locked]
            news = await connection.fetch(_sql.acked, *_columns(held)) if held else []
            self._before_commit()
        return len(news)


def _columns(acks: Sequence[Ack]) -> list[tuple[object, ...]]:
    return list(zip(*((a.tenant, a.user, a.after, a.upto, a.active) for a in acks), strict=True))


def _page(rows: list[Row], limit: int) -> Page:
    first = rows[0]
    found = [row for row in rows if row["id"] is not None]
    items = tuple(_item(row) for row in found[:limit])
    counts = (first["top"], first["oldest"], first["unread"], first["unseen"], first["epoch"])
    return Page(first["since"], *counts, items, len(found) > limit)


def _item(row: Row) -> Item:
    return Item(
        row["id"],
        row["revision"],
        row["born"],
        row["notification"],
        row["type"],
        row["content"],
        row["created_at"],
        row["seen_at"],
        row["read_at"],
        row["archived_at"],
        row["removed"],
    )
