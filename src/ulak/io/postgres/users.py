"""How are users stored, merged and erased, and how do callers choose for them?

Whatever forbids (preferences, an erasure) happens behind the gate, so that from its commit no attempt
that it forbids can begin. Erasing keeps the record of what was done and takes the person out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ulak.io.postgres import consents
from ulak.io.postgres.consents import By, Choice
from ulak.io.postgres.gate import FORBIDDING
from ulak.io.postgres.pool import Connection, Pool, Row
from ulak.io.postgres.queries import load

__all__ = ["By", "Choice", "Profile", "Users", "zones"]


@dataclass(frozen=True, slots=True)
class Profile:
    """What is stored about a user; ``attributes`` is a JSON object."""

    email: str | None = None
    phone: str | None = None
    locale: str | None = None
    timezone: str | None = None
    attributes: str | None = None


class Users:
    """Users and their preferences."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = load("users")

    async def get(self, tenant: int, user: str) -> Row | None:
        """One user, if there is such a one."""
        return await self._pool.fetchrow(self._sql.get, tenant, user)

    async def page(self, tenant: int, after: str, limit: int) -> list[Row]:
        """Users by id, above ``after``."""
        return await self._pool.fetch(self._sql.page, tenant, after, limit)

    async def put(self, tenant: int, user: str, profile: Profile) -> Row:
        """Create a user, or replace all that is known of him."""
        async with self._pool.connection() as connection:
            return await self._put(connection, tenant, user, profile)

    async def merge(self, tenant: int, user: str, change: Callable[[Profile], Profile]) -> Row | None:
        """Change a user that exists; None when there is no such user."""
        async with self._pool.transaction() as connection:
            row = await connection.fetchrow(self._sql.hold, tenant, user)
            if row is None:
                return None
            known = Profile(row["email"], row["phone"], row["locale"], row["timezone"], row["attributes"])
            return await self._put(connection, tenant, user, change(known))

    async def _put(self, connection: Connection, tenant: int, user: str, p: Profile) -> Row:
        row = await connection.fetchrow(
            self._sql.put, tenant, user, p.email, p.phone, p.locale, p.timezone, p.attributes
        )
        assert row is not None  # INSERT … RETURNING
        return row

    async def erase(self, tenant: int, user: str) -> bool:
        """Take a user out of everything but the suppressions; False when neither he nor a device of his is known."""
        async with self._pool.transaction(FORBIDDING) as connection:
            devices = await connection.fetch(self._sql.delete_devices, tenant, user)
            if await connection.fetchval(self._sql.delete, tenant, user) is None and not devices:
                return False
            # The counter's row first, as everyone does who changes an inbox.
            await connection.execute(self._sql.empty_inbox, tenant, user)
            await connection.execute(self._sql.delete_inbox, tenant, user)
            await connection.execute(self._sql.delete_preferences, tenant, user)
            await connection.execute(self._sql.delete_subscriptions, tenant, user)
            await connection.execute(self._sql.blank_deliveries, tenant, user)
        return True

    async def preferences(self, tenant: int, user: str) -> list[Row]:
        """A user's choices, by category and channel."""
        return await self._pool.fetch(self._sql.preferences, tenant, user)

    async def choose(self, tenant: int, user: str, choices: Sequence[Choice], by: By, *, replace: bool) -> list[Row]:
        """Write choices, and with ``replace`` forget all others; returns all that hold now."""
        async with self._pool.transaction(FORBIDDING) as connection:
            if replace:
                await consents.forget_others(connection, tenant, user, choices, by)
            await consents.choose(connection, tenant, user, choices, by)
            return await connection.fetch(self._sql.preferences, tenant, user)


async def zones(pool: Pool, keys: Sequence[tuple[int, str]]) -> dict[tuple[int, str], str]:
    """Stored time zones by tenant and user; users without one are missing."""
    rows = await pool.fetch(load("users").zones, [tenant for tenant, _ in keys], [user for _, user in keys])
    return {(row["tenant"], row["id"]): row["timezone"] for row in rows}
