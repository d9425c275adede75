"""How does a database do? Reads the facts that ``core.health`` judges, in short read-only statements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields

from ulak.core.health import Holder, NodeSeen, Queue, Schema, Server, Table, Waiting
from ulak.core.plan import BUCKETS
from ulak.io.postgres.migrate import Migration, available
from ulak.io.postgres.pool import Connection, Row
from ulak.io.postgres.queries import load

_sql = load("doctor")

_ALIVE = 5.0


async def read_server(connection: Connection, clock: Callable[[], float]) -> Server:
    """Read what is known of the server; ``clock`` is this machine's, in seconds since 1970."""
    before = clock()
    row = await connection.fetchrow(_sql.server)
    after = clock()
    assert row is not None  # one row without FROM
    known = {name: row[name] for name in (f.name for f in fields(Server)) if name != "ahead"}
    ahead = row["clock"] - (before + after) / 2
    # The database looked at its clock at some moment in between: only what exceeds that is a difference.
    slack = (after - before) / 2
    return Server(**known, ahead=0.0 if abs(ahead) <= slack else ahead)


async def read_holders(connection: Connection) -> list[Holder]:
    """Read what keeps old row versions alive."""
    return [Holder(row["what"], row["seconds"], row["xids"]) for row in await connection.fetch(_sql.holders)]


async def read_tables(connection: Connection) -> list[Table]:
    """Read the sizes of the hot tables."""
    rows = await connection.fetch(_sql.tables)
    return [Table(row["name"], row["live"], row["dead"], row["size"]) for row in rows]


async def read_schema(connection: Connection, migrations: Sequence[Migration] | None = None) -> Schema:
    """Compare what was applied with the files of this code."""
    known = available() if migrations is None else migrations
    if not await connection.fetchval(_sql.schema_there):
        return Schema(absent=True, pending=(), later=(), changed=(), newer=False)
    applied = {(row["number"], row["phase"]): row["checksum"] for row in await connection.fetch(_sql.migrations)}
    lacking = [m for m in known if (m.number, m.phase) not in applied]
    return Schema(
        absent=False,
        pending=[_name(m) for m in lacking if m.phase == "pre"],
        later=[_name(m) for m in lacking if m.phase == "post"],
        changed=[_name(m) for m in known if applied.get((m.number, m.phase), m.checksum) != m.checksum],
        newer=max((number for number, _ in applied), default=0) > max((m.number for m in known), default=0),
    )


async def read_queue(connection: Connection) -> Queue:
    """Read what waits, is in flight, and was given up."""
    leases = await connection.fetchrow(_sql.leases)
    assert leases is not None  # an aggregate has always one row
    return Queue(
        ready=_waiting(await connection.fetch(_sql.ready, BUCKETS)),
        timers=_waiting(await connection.fetch(_sql.timers)),
        plans=_waiting(await connection.fetch(_sql.plans)),
        leases=leases["leases"],
        expired=leases["expired"],
        expired_for=leases["expired_for"],
        dead={row["reason"]: row["rows"] for row in await connection.fetch(_sql.dead)},
        dead_plans=await connection.fetchval(_sql.dead_plans),
        dead_callbacks={row["reason"]: row["rows"] for row in await connection.fetch(_sql.dead_callbacks)},
        callbacks_late=await connection.fetchval(_sql.callbacks_late),
    )


async def read_nodes(connection: Connection, within: float = _ALIVE) -> list[NodeSeen]:
    """Nodes that beat in the last ``within`` seconds."""
    return [NodeSeen(row["boot"], row["name"], row["roles"]) for row in await connection.fetch(_sql.nodes, within)]


def _waiting(rows: Sequence[Row]) -> list[Waiting]:
    return [Waiting(row["place"], row["rows"], row["overdue"]) for row in rows]


def _name(migration: Migration) -> str:
    return f"{migration.number:04}_{migration.name}.{migration.phase}"
