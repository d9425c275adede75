"""Which devices do users have, and how does an address change hands so that no push goes to the wrong one?

What forbids (a move, a replaced address, a logout) is written behind the gate: from its commit no attempt to the
former device can begin. A registration that changes nothing is one statement. What otherwise becomes of the devices
that stand is decided in ``core/binding.py``, under locks on the address and on the user.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from ulak.core.binding import Held, Settlement, settle
from ulak.core.device import FORGOTTEN, QUARANTINE
from ulak.core.registration import Registration
from ulak.io.postgres.gate import FORBIDDING
from ulak.io.postgres.pool import Connection, Pool, Row
from ulak.io.postgres.queries import load

_FORGET = 5_000


class Devices:
    """Push addresses by user; what is given back never holds an address or a key."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = load("devices")

    async def register(self, tenant: int, wanted: Registration, fresh: str) -> Row:
        """Bind an address to a user's device; final at the return. ``fresh`` is its id, where it needs a new one."""
        row = await self._refresh(tenant, wanted)
        # Without the gate first: a new device forbids nothing, and senders need not wait for it.
        for first in ((), (FORBIDDING,)):
            if row is None:
                async with self._pool.transaction(*first) as connection:
                    row = await self._bind(connection, tenant, wanted, fresh, gated=bool(first))
        assert row is not None  # behind the gate everything may be written
        return row

    async def _refresh(self, tenant: int, w: Registration) -> Row | None:
        """Take in that a device lives; None where this is another address, or a device that is not known."""
        return await self._pool.fetchrow(
            self._sql.refresh,
            tenant, w.user, w.app, w.name, w.kind, w.digest,
            w.platform, w.p256dh, w.auth, w.account, w.named, w.environment, w.app_version, w.model, w.expires_at,
        )  # fmt: skip

    async def _bind(
        self, connection: Connection, tenant: int, wanted: Registration, fresh: str, *, gated: bool
    ) -> Row | None:
        """Write what ``settle`` decides; None, and nothing written, where that needs the gate."""
        keys = (_key("address", tenant, wanted.kind, wanted.address), _key("user", tenant, wanted.user))
        await connection.execute(self._sql.hold, sorted(keys))
        rows = await connection.fetch(self._sql.standing, tenant, wanted.user, wanted.kind, wanted.digest)
        decided = settle([msgspec.convert(dict(row), Held) for row in rows], wanted)
        if decided.forbids and not gated:
            return None
        if decided.gone:
            await connection.execute(self._sql.drop, tenant, decided.gone)
        return await self._add(connection, tenant, wanted, decided, fresh)

    async def _add(self, connection: Connection, tenant: int, w: Registration, by: Settlement, fresh: str) -> Row:
        row = await connection.fetchrow(
            self._sql.add,
            tenant, by.id or fresh, w.user, w.name, w.app, w.kind, w.platform, w.address, w.digest, w.p256dh, w.auth,
            by.account, by.environment, w.app_version, w.model, w.expires_at, by.wait_until, by.created_at,
        )  # fmt: skip
        assert row is not None  # INSERT … RETURNING
        return row

    async def of_user(self, tenant: int, user: str, name: str | None = None, app: str | None = None) -> Sequence[Row]:
        """A user's devices, all or those of a name and an app."""
        return await self._pool.fetch(self._sql.of_user, tenant, user, name, app)

    async def remove(self, tenant: int, user: str, name: str, app: str | None = None) -> int:
        """Log a device out, of one app or of all; returns how many that were. Final at the return."""
        async with self._pool.transaction(FORBIDDING) as connection:
            await connection.execute(self._sql.hold, [_key("user", tenant, user)])
            return len(await connection.fetch(self._sql.remove, tenant, user, name, app))

    async def forget(self, limit: int = _FORGET) -> None:
        """Delete at most so many devices that were not heard of for 270 days, or dead for 90."""
        await self._pool.execute(self._sql.forget, FORGOTTEN, QUARANTINE, limit)


def _key(kind: str, tenant: int, *parts: str) -> int:
    """The number of an advisory lock: 64 bits, so that two things hardly ever share one (and then only wait)."""
    text = "\0".join((kind, str(tenant), *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)
