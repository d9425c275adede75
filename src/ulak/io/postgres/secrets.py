"""Which secrets do all nodes of an installation share?

By purpose. The newest of a purpose signs, older ones still verify until they are deleted; those of links in
messages never are, because a link outlives every rotation.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from ulak.io.postgres.pool import Pool
from ulak.io.postgres.queries import load


class Purpose(StrEnum):
    """What a secret is for."""

    TICKET = "ticket"
    LINK = "link"


class Secrets:
    """Secrets of at least 32 bytes."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = load("secrets")

    async def all(self, purpose: Purpose) -> Mapping[int, bytes]:
        """Every secret of a purpose by its id, oldest first."""
        return {row["kid"]: bytes(row["secret"]) for row in await self._pool.fetch(self._sql.held, purpose)}

    async def rotate(self, purpose: Purpose, secret: bytes, age: float) -> bool:
        """Add a secret if there is none or the newest is older than ``age`` seconds; whether it was added."""
        async with self._pool.transaction() as connection:
            added = await connection.fetchval(self._sql.rotate, purpose, secret, age)
            if added is None:
                return False
            await connection.execute(self._sql.bump)
        return True

    async def delete(self, purpose: Purpose, age: float) -> None:
        """Forget those that were retired more than ``age`` seconds ago."""
        if purpose is Purpose.LINK:
            raise ValueError("links in messages outlive every rotation: their secrets are kept")
        await self._pool.execute(self._sql.delete, purpose, age)
