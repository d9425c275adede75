"""How are callbacks kept, leased and applied: all that their events change in one transaction?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from ulak.core.states import Event, Folded, State
from ulak.io.postgres.columns import turned
from ulak.io.postgres.pool import Connection, Pool, Row
from ulak.io.postgres.queries import load

_sql = load("callbacks")

_FORGET = 5_000
_ENTROPY = 32

Key = tuple[int, UUID]
"""Tenant and delivery."""

Address = tuple[int, str, str]
"""Tenant, channel, and address as suppressions know it."""


class Taken(msgspec.Struct, frozen=True, gc=False):
    """One callback under a lease. ``tries`` counts the times it was taken."""

    id: int
    tenant: int
    provider: str
    account: str
    received_at: datetime
    tries: int
    body: bytes


class Standing(msgspec.Struct, frozen=True):
    """A delivery before events are applied to it."""

    tenant: int
    id: UUID
    notification: UUID
    user: str
    channel: str
    target: str
    category: str
    klass: str
    folded: Folded


class Noted(msgspec.Struct, frozen=True, gc=False):
    """One receipt to write: the attempt ``n`` that it speaks of, where known."""

    tenant: int
    delivery: UUID
    n: int | None
    kind: str
    detail: str | None
    at: datetime


class Mark(msgspec.Struct, frozen=True, gc=False):
    """What later steps of a user's notification are told."""

    tenant: int
    notification: UUID
    user: str
    mask: int


class Counted(msgspec.Struct, frozen=True, gc=False):
    """Events of one kind that an account had at about that time."""

    tenant: int
    account: str
    klass: str
    at: datetime
    kind: str
    n: int = 1


class Forbidden(msgspec.Struct, frozen=True, gc=False):
    """A suppression that events cause; ``source`` is the account that told."""

    tenant: int
    channel: str
    address: str
    scope: str
    reason: str
    evidence: str | None
    source: str
    event: str | None
    event_at: datetime
    expires_at: datetime | None


class Reached(msgspec.Struct, frozen=True, gc=False):
    """An address at which something arrived, or where a soft bounce came from."""

    tenant: int
    channel: str
    address: str
    at: datetime
    soft: bool


class Callbacks:
    """The door's side: keeps what was verified."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def keep(self, tenant: int, provider: str, account: str, headers: str, body: bytes) -> None:
        """Store a callback; it is durable when this returns. ``headers`` is a JSON object."""
        async with self._pool.transaction() as connection:
            await connection.execute(_sql.keep, tenant, provider, account, headers, body)

    async def secret(self, entropy: bytes) -> bytes:
        """What ids of callback addresses are made with; ``entropy`` (32 bytes) becomes it where there is none yet."""
        if len(entropy) < _ENTROPY:
            raise ValueError(f"{len(entropy)} bytes of entropy; {_ENTROPY} are needed")
        found = await self._pool.fetchval(_sql.secret)
        if found is None:
            await self._pool.execute(_sql.make_secret, entropy)
            found = await self._pool.fetchval(_sql.secret)
        return bytes(found)


async def take(connection: Connection, room: tuple[int, int], boot: int, lease: float) -> list[Taken]:
    """Lease callbacks for ``lease`` seconds; ``room`` is the most of them, and about their most bytes."""
    rows = await connection.fetch(_sql.take, *room, boot, lease)
    return [Taken(*map(row.__getitem__, Taken.__struct_fields__)) for row in rows]


async def release(connection: Connection, ids: Sequence[int], boot: int, delay: float) -> None:
    """Give callbacks back, to be taken again after ``delay`` seconds; this time does not count."""
    await connection.execute(_sql.release, list(ids), boot, delay)


async def release_former(connection: Connection, boot: int, *, everybody: bool) -> None:
    """Let go of what an earlier boot of this node held, or anybody did: when no other node can live."""
    await connection.execute(_sql.release_former, boot, everybody)


async def put_aside(connection: Connection, ids: Sequence[int], boot: int, reason: str) -> None:
    """Keep a copy of callbacks for people, and for a later release."""
    await connection.execute(_sql.put_aside, list(ids), boot, reason)


async def finish(connection: Connection, ids: Sequence[int], boot: int) -> set[int]:
    """Remove callbacks under their lease; returns those that were still ours."""
    return {row["id"] for row in await connection.fetch(_sql.finish, list(ids), boot)}


async def watched(connection: Connection, marks: Sequence[tuple[Key, int]]) -> bool:
    """Whether a step waits for one of these marks (a delivery and the mark's mask)."""
    if not marks:
        return False
    rows = [(tenant, delivery, mask) for (tenant, delivery), mask in marks]
    return bool(await connection.fetchval(_sql.watched, *turned(rows, 3)))


async def fresh(connection: Connection, events: Sequence[tuple[int, str, bytes]]) -> list[int]:
    """Positions of those (tenant, account, hash of the event's id) that were not applied before."""
    rows = await connection.fetch(_sql.fresh, *turned(list(events), 3))
    return sorted(row["ord"] - 1 for row in rows)


async def standing(connection: Connection, keys: Sequence[Key]) -> dict[Key, Standing]:
    """The deliveries of these keys, held to the end of the transaction."""
    if not keys:
        return {}
    rows = await connection.fetch(_sql.standing, [key[0] for key in keys], [key[1] for key in keys])
    return {(row["tenant"], row["id"]): _standing(row) for row in rows}


_TIMES: Mapping[Event, str] = {
    Event.DELIVERED: "delivered_at",
    Event.OPENED: "opened_at",
    Event.CLICKED: "clicked_at",
    Event.COMPLAINED: "complained_at",
}


def _standing(row: Row) -> Standing:
    times = {event: row[column] for event, column in _TIMES.items() if row[column] is not None}
    folded = Folded(State(row["state"]), row["reason"], row["attempts"], row["settled_at"], times)
    return Standing(
        tenant=row["tenant"],
        id=row["id"],
        notification=row["notification"],
        user=row["user_id"],
        channel=row["channel"],
        target=row["target"],
        category=row["category"],
        klass=row["class"],
        folded=folded,
    )


async def write(
    connection: Connection,
    folded: Mapping[Key, Folded],
    noted: Sequence[Noted],
    marks: Sequence[Mark],
    counted: Sequence[Counted],
) -> None:
    """Write what events come to for deliveries, later steps and the account's counts."""
    states = [
        (*key, f.state, f.reason, f.settled_at, *(f.times.get(event) for event in _TIMES)) for key, f in folded.items()
    ]
    await connection.execute(
        _sql.write,
        *turned(states, 9),
        *turned([msgspec.structs.astuple(each) for each in noted], 6),
        *turned([msgspec.structs.astuple(each) for each in marks], 4),
        *turned([msgspec.structs.astuple(each) for each in counted], 6),
    )


async def reach(
    connection: Connection, reached: Sequence[Reached], keep: int
) -> list[tuple[Address, datetime | None, list[datetime]]]:
    """Add what is known of addresses; for each the latest delivery and the latest ``keep`` soft bounces."""
    if not reached:
        return []
    rows = await connection.fetch(_sql.reach, *turned([msgspec.structs.astuple(each) for each in reached], 5), keep)
    return [((row["tenant"], row["channel"], row["address"]), row["delivered_at"], row["soft"]) for row in rows]


async def suppress(connection: Connection, forbidden: Sequence[Forbidden]) -> None:
    """Forbid addresses, each scope of one at most once; call it behind the gate."""
    if forbidden:
        await connection.execute(_sql.suppress, *turned([msgspec.structs.astuple(each) for each in forbidden], 10))


async def lift(connection: Connection, addresses: Sequence[Address]) -> None:
    """Forget that soft bounces forbid these addresses."""
    if addresses:
        await connection.execute(_sql.lift, *turned(list(addresses), 3))


async def forget(pool: Pool) -> None:
    """Delete records of applied events, and what was put aside, after 30 days."""
    await pool.execute(_sql.forget_events, _FORGET)
    await pool.execute(_sql.forget_dead, _FORGET)


async def counts(pool: Pool) -> tuple[int, int]:
    """How many callbacks wait, and how many were put aside."""
    row = await pool.fetchrow(_sql.counts)
    return (0, 0) if row is None else (row["waiting"], row["dead"])
