"""How is a group of requests stored in one transaction?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from ulak.io.postgres.columns import Columns, turned
from ulak.io.postgres.pool import Connection, Pool, Row
from ulak.io.postgres.queries import load

_sql = load("accept")


class Accepting(msgspec.Struct, frozen=True, gc=False):
    """One request as it is stored. ``life`` (seconds) counts from the database's now where ``expires_at`` is None.

    ``works`` are its pieces of plan work: (audience, topic, recipients as JSON).
    """

    tenant: int
    id: UUID
    key_hash: bytes | None
    fingerprint: bytes
    type: str
    catalog: int
    lane: int
    recipients: int
    life: float
    expires_at: datetime | None
    send_at: datetime | None
    channels: str | None
    actor: str | None
    collapse_key: str | None
    context: str | None
    problems: str | None
    data: str
    works: tuple[tuple[str, str | None, str | None], ...]
    mine: bool


_COLUMNS = Columns(name for name in Accepting.__struct_fields__ if name not in ("works", "mine"))


async def store(connection: Connection, group: Sequence[Accepting], boot: int, lease: float) -> list[Row]:
    """Store a group of requests in one transaction.

    Returns a row (id, notification, boot, accepted_at, expires_at) for each piece of work that is new, the
    pieces of one request in order.
    Work of a request with ``mine`` is leased to ``boot`` for ``lease`` seconds.
    """
    works = turned([(a.id, *work, a.mine) for a in group for work in a.works], 5)
    return await connection.fetch(_sql.accept, *_COLUMNS.of(group), *works, boot, lease)


async def repeated(connection: Connection, keys: Sequence[tuple[int, bytes]]) -> dict[int, Row]:
    """What earlier requests with these keys became, by position in ``keys``."""
    rows = await connection.fetch(_sql.repeated, [k[0] for k in keys], [k[1] for k in keys])
    return {row["ord"] - 1: row for row in rows}


async def forget_keys(pool: Pool) -> None:
    """Delete some of the idempotency records that are older than 7 days."""
    await pool.execute(_sql.forget_keys)
