"""How does what calls said of devices come into their rows?"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ulak.core.device import STRIKES
from ulak.core.fate import Change
from ulak.io.postgres.columns import turned
from ulak.io.postgres.pool import Connection
from ulak.io.postgres.queries import load

_sql = load("device_fates")


async def change(connection: Connection, changes: Sequence[Change]) -> None:
    """Change those devices that are still registered as the calls saw them."""
    rows = [
        (
            each.tenant,
            each.device.id,
            hashlib.sha256(each.device.address.encode()).digest(),
            each.device.registered_at,
            each.resets,
            each.strikes,
            each.flips,
            each.wait,
            each.dies,
            each.dead_since,
            each.last.account,
            each.last.reason,
            each.last.evidence,
        )
        for each in changes
    ]
    if rows:
        await connection.execute(_sql.change, *turned(rows, 13), STRIKES)


async def restore(connection: Connection, account: str, app: str | None, seconds: float) -> int:
    """Take devices (of an app) out of quarantine that an account put there within so many seconds; how many."""
    return int(await connection.fetchval(_sql.restore, account, seconds, app))
