"""Who is subscribed to a topic?"""

from __future__ import annotations

from collections.abc import Collection

from ulak.io.postgres.pool import Pool, Row
from ulak.io.postgres.queries import load


class Topics:
    """Memberships of topics."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = load("topics")

    async def subscribe(self, tenant: int, topic: str, user: str) -> None:
        """Make a user a member, if he is none yet."""
        await self._pool.execute(self._sql.subscribe, tenant, topic, user)

    async def unsubscribe(self, tenant: int, topic: str, user: str) -> bool:
        """End a membership; False when there was none."""
        return await self._pool.fetchval(self._sql.unsubscribe, tenant, topic, user) is not None

    async def subscribers(self, tenant: int, topic: str, after: str, limit: int) -> list[Row]:
        """Members by user id, above ``after``."""
        return await self._pool.fetch(self._sql.subscribers, tenant, topic, after, limit)

    async def subscribed(self, asked: Collection[tuple[int, str, str]]) -> set[tuple[int, str, str]]:
        """Of (tenant, user, topic): those where the user is a member now."""
        if not asked:
            return set()
        rows = await self._pool.fetch(self._sql.subscribed, *map(list, zip(*asked, strict=True)))
        return {(row["tenant"], row["user_id"], row["topic"]) for row in rows}
