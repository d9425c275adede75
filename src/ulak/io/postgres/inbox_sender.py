"""How does a call to the inbox "provider" become a transaction?"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from ulak.core.ids import internal
from ulak.core.inbox import News
from ulak.io.postgres import planning
from ulak.io.postgres.errors import EXPECTED
from ulak.io.postgres.pool import PINS, Pool
from ulak.providers.contract import InboxRequest, Lost, Phase, Refused, Reply, Request, Stored

log = logging.getLogger(__name__)


class InboxSender:
    """Stores items, then tells of the inboxes that changed."""

    def __init__(self, pool: Pool, hint: Callable[[Sequence[News]], None]) -> None:
        self._pool = pool
        self._hint = hint

    async def send(self, request: Request, deadline: float) -> Reply:
        """Store the items of an ``InboxRequest`` within ``deadline`` seconds."""
        if not isinstance(request, InboxRequest):
            return Refused("inbox_foreign", "not an inbox request")
        items = []
        for tenant, delivery, content in request.items:
            identity = internal("dlv", delivery)
            if identity is None:
                return Refused("inbox_foreign", "not a delivery id")
            items.append((tenant, identity, content.json, content.watched))
        try:
            async with self._pool.transaction(PINS, timeout=deadline) as connection:
                news = await planning.add_items(connection, items)
        except EXPECTED as error:
            log.warning("storing %d items failed: %s", len(items), type(error).__name__)
            return Lost(Phase.SENT, "database_lost", type(error).__name__)
        self._hint(news)
        return Stored()

    async def close(self) -> None:
        """Nothing is kept open."""
