"""May this user listen to these topics?

He may if his token names them, or if he is a member of the topic. Asked once, when he subscribes: who loses a
membership listens on until he comes again, and who loses his token loses the connection.

Look-ups of many connections are one statement: while one is under way, the next gathers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Protocol

from ulak.core.token import Claims, permits

Membership = tuple[int, str, str]
"""Tenant, user, topic."""

_AT_ONCE = 5_000


class Memberships(Protocol):
    """Who is a member (``ulak.io.postgres.topics.Topics``)."""

    async def subscribed(self, asked: Collection[Membership]) -> set[Membership]:
        """Those of the asked that hold now."""
        ...


class Listening:
    """Says who may listen."""

    def __init__(self, memberships: Memberships) -> None:
        self._memberships = memberships
        self._asked: list[tuple[Sequence[Membership], asyncio.Future[bool]]] = []
        self._task: asyncio.Task[None] | None = None

    async def may(self, claims: Claims, topics: Sequence[str]) -> bool:
        """Whether he may listen to all of them. Raises what the store raises."""
        asked = [(claims.tenant, claims.user, topic) for topic in topics if not permits(claims.topics, topic)]
        if not asked:
            return True
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked.append((asked, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())
        return await answer

    async def _look(self) -> None:
        """Look up until nobody asks any more."""
        while self._asked:
            batch = self._batch()
            try:
                found = await self._memberships.subscribed({one for asked, _ in batch for one in asked})
            except Exception as error:  # noqa: BLE001  # it belongs to those who asked, and is raised there
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for asked, answer in batch:
                if not answer.done():
                    answer.set_result(all(one in found for one in asked))

    def _batch(self) -> list[tuple[Sequence[Membership], asyncio.Future[bool]]]:
        size = count = 0
        for asked, _ in self._asked:
            if count and size + len(asked) > _AT_ONCE:
                break
            size, count = size + len(asked), count + 1
        batch, self._asked = self._asked[:count], self._asked[count:]
        return batch
