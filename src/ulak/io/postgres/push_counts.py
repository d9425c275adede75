"""How many pushes did services take or refuse, and what did apps say of them, hour by hour?

What a service accepted is not what a user saw: services store, drop and collapse messages, and tell nobody. Only the
app can say that something was shown, and only where it does (docs/how-to/push-receipts.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import msgspec

from ulak.io.postgres.columns import turned
from ulak.io.postgres.pool import Connection, Pool
from ulak.io.postgres.queries import load

_sql = load("push_counts")

MOST = 5_000
"""Groups that are told at most."""


class What(StrEnum):
    """What is counted: the first three of what services answered, the others of what apps said."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    SHOWN = "shown"
    OPENED = "opened"
    DISMISSED = "dismissed"


class By(StrEnum):
    """What sums may be told apart by."""

    ACCOUNT = "account"
    APP = "app"
    PLATFORM = "platform"
    APP_VERSION = "app_version"
    DAY = "day"
    HOUR = "hour"


class Count(msgspec.Struct, frozen=True, gc=False):
    """So many of a kind in this hour. ``reason`` is the outcome's word of what was rejected, else empty."""

    tenant: int
    account: str
    app: str
    platform: str
    app_version: str
    what: What
    reason: str = ""
    n: int = 1


@dataclass(frozen=True, slots=True)
class Sums:
    """One group: what it has in common, and its sums. ``reasons`` are those of what was rejected."""

    group: Mapping[By, str | datetime]
    sums: Mapping[What, int]
    reasons: Mapping[str, int] = field(default_factory=dict)


async def add(connection: Connection, counts: Sequence[Count]) -> None:
    """Count in the transaction of what is counted; call it last, because others count in the same rows."""
    if counts:
        await connection.execute(_sql.add, *turned([msgspec.structs.astuple(each) for each in counts], 8))


class PushCounts:
    """The counts as the API reads them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def sums(self, tenant: int, since: datetime, until: datetime, by: Sequence[By]) -> list[Sums] | None:
        """Sums of the hours that began from ``since`` on and before ``until``; None where there are too many groups."""
        rows = await self._pool.fetch(_sql.sums, tenant, since, until, [str(each) for each in by], MOST + 1)
        if len(rows) > MOST:
            return None
        made = []
        for row in rows:
            told = {What(what): n for what, n in zip(row["others"] or (), row["counts"] or (), strict=True)}
            reasons = dict(zip(row["reasons"] or (), row["refused"] or (), strict=True))
            if reasons:
                told[What.REJECTED] = sum(reasons.values())
            made.append(Sums({each: row[each.value] for each in by}, told, reasons))
        return made

    async def forget(self) -> None:
        """Delete counts that are older than 400 days."""
        await self._pool.execute(_sql.forget)
