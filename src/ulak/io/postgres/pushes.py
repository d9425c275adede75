"""How is written what apps say of pushes, each thing once?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from ulak.core.push_receipt import MARKS, Said, after, moment
from ulak.core.states import Event, Folded, State
from ulak.io.postgres import callbacks, gate, push_counts
from ulak.io.postgres.callbacks import Key
from ulak.io.postgres.columns import turned
from ulak.io.postgres.pool import PINS, Connection, Pool, Row
from ulak.io.postgres.push_counts import Count, What
from ulak.io.postgres.queries import load

_sql = load("pushes")

_TIMES: Mapping[Event, str] = {
    Event.DELIVERED: "delivered_at",
    Event.SEEN: "seen_at",
    Event.CLICKED: "clicked_at",
}


class AppSaid(msgspec.Struct, frozen=True, gc=False):
    """One thing that an app says of one push: ``at`` by its own clock, ``app_version`` None where it tells none."""

    tenant: int
    delivery: UUID
    said: Said
    at: datetime | None = None
    app_version: str | None = None

    @property
    def key(self) -> Key:
        """Tenant and delivery."""
        return self.tenant, self.delivery


async def note(pool: Pool, told: Sequence[AppSaid], now: datetime) -> int:
    """Write what is new in this in one transaction; returns how much that was."""
    async with pool.transaction(PINS) as connection:
        if await callbacks.watched(connection, [(each.key, int(MARKS[each.said])) for each in told]):
            await gate.forbid(connection)
        keys = sorted({each.key for each in told})
        rows = {(row["tenant"], row["id"]): row for row in await connection.fetch(_sql.standing, *turned(keys, 2))}
        new = await _new(connection, [each for each in told if each.key in rows])
        if new:
            await _write(connection, new, rows, now)
            await push_counts.add(connection, [_count(each, rows[each.key]) for each in new])
    return len(new)


async def _new(connection: Connection, told: Sequence[AppSaid]) -> list[AppSaid]:
    """The first of each kind for each delivery, without what was said before."""
    rows = await connection.fetch(_sql.said, *turned(sorted({each.key for each in told}), 2))
    known = {(row["tenant"], row["delivery"], row["kind"]) for row in rows}
    fresh: dict[tuple[int, UUID, str], AppSaid] = {}
    for each in told:
        identity = (*each.key, each.said.value)
        if identity not in known:
            fresh.setdefault(identity, each)
    return list(fresh.values())


async def _write(connection: Connection, new: Sequence[AppSaid], rows: Mapping[Key, Row], now: datetime) -> None:
    said: dict[Key, list[tuple[Said, datetime]]] = {}
    for each in new:
        at = moment(each.at, rows[each.key]["planned_at"], now)
        said.setdefault(each.key, []).append((each.said, at))
    states, receipts, marks = [], [], []
    for key, things in said.items():
        row = rows[key]
        f = after(_folded(row), things)
        states.append((*key, f.state, f.reason, f.settled_at, *(f.times.get(event) for event in _TIMES)))
        receipts += [(*key, what.value, at) for what, at in things]
        marks += [(key[0], row["notification"], row["user_id"], int(MARKS[what])) for what, _ in things]
    await connection.execute(_sql.write, *turned(states, 8), *turned(receipts, 4), *turned(marks, 4))


def _folded(row: Row) -> Folded:
    times = {event: row[column] for event, column in _TIMES.items() if row[column] is not None}
    return Folded(State(row["state"]), row["reason"], row["attempts"], row["settled_at"], times)


def _count(each: AppSaid, row: Row) -> Count:
    version = row["app_version"] if each.app_version is None else each.app_version
    return Count(each.tenant, row["account"], row["app"], row["platform"], version, What(each.said.value))


async def items(pool: Pool, keys: Sequence[Key]) -> dict[tuple[int, str], list[UUID]]:
    """The inbox items that stand beside these pushes, by tenant and user."""
    found: dict[tuple[int, str], list[UUID]] = {}
    for row in await pool.fetch(_sql.items, *turned(list(keys), 2)):
        found.setdefault((row["tenant"], row["user_id"]), []).append(row["id"])
    return found
