"""How does timed work become ready, without overfilling a bulkhead?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec

from ulak.io.postgres.pool import Connection
from ulak.io.postgres.queries import load

_sql = load("queue")


async def due_bulkheads(connection: Connection) -> list[str]:
    """Bulkheads with due timers."""
    return [row["bulkhead"] for row in await connection.fetch(_sql.due_bulkheads)]


async def move_due(connection: Connection, bulkhead: str, limit: int) -> list[int]:
    """Move up to ``limit`` due timers of a bulkhead to the ready queue; returns their lanes."""
    return [row["lane"] for row in await connection.fetch(_sql.move_due, bulkhead, limit)]


class Stranded(msgspec.Struct, frozen=True, gc=False):
    """A ready row whose account can't send now: its place in the line, and whose it is."""

    lane: int
    bucket: int
    seq: int
    tenant: int
    delivery: UUID


async def stranded(connection: Connection, bulkhead: str, lanes: Sequence[int], limit: int) -> list[Stranded]:
    """Up to ``limit`` ready rows of a bulkhead that another may take over; they are locked to the transaction's end."""
    rows = await connection.fetch(_sql.stranded, bulkhead, list(lanes), limit)
    return [Stranded(*map(row.__getitem__, Stranded.__struct_fields__)) for row in rows]


async def divert(connection: Connection, bulkhead: str, moves: Sequence[tuple[Stranded, str]]) -> list[tuple[int, str]]:
    """Move such rows to the bulkheads given with them; returns the lane and bulkhead of each."""
    columns = [(row.lane, row.bucket, row.seq, target) for row, target in moves]
    rows = await connection.fetch(_sql.divert, bulkhead, *map(list, zip(*columns, strict=True)))
    return [(row["lane"], row["bulkhead"]) for row in rows]


async def depth(connection: Connection, lane: int, bulkhead: str, cap: int) -> int:
    """How many rows wait in a lane of a bulkhead, at most ``cap``."""
    return int(await connection.fetchval(_sql.depth, lane, bulkhead, cap))


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which parked deliveries to redrive: those that fit all that is given, at most ``limit``."""

    deliveries: Sequence[UUID] | None = None
    channel: str | None = None
    reason: str | None = None
    limit: int = 500


async def redrive(connection: Connection, tenant: int, chosen: Chosen, life: float = 86_400.0) -> list[UUID]:
    """Put parked deliveries of a tenant back to work, alive for at least ``life`` seconds."""
    ids = None if chosen.deliveries is None else list(chosen.deliveries)
    rows = await connection.fetch(_sql.redrive, tenant, ids, chosen.reason, chosen.channel, chosen.limit, life)
    return [row["delivery"] for row in rows]
