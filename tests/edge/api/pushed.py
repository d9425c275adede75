"""What is behind a door when apps tell of pushes: deliveries to devices, and the tokens that came with them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from tests.edge.api.conftest import door
from tests.edge.api.harness import Answer, call
from ulak.core.model import Mark
from ulak.edge.api import Api
from ulak.flow.receipts import PushReceipts, Receipts
from ulak.io.links import Linker
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.secrets import Secrets

NTF = UUID(int=7)
HERE = "/v1/receipts/push"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class World:
    """A door, and what is needed to look behind it. Deliveries are put there as the planner would."""

    pool: Pool
    app: Api
    linker: Linker
    made: list[UUID] = field(default_factory=list)

    async def push(self, *, tenant: int = 0, user: str = "ada", state: str = "accepted", **more: Any) -> UUID:
        delivery = UUID(int=(0x0190_0000_0000_7000_8000 << 48) + len(self.made))
        self.made.append(delivery)
        device = more.get("device", f"dev_{delivery.hex}")
        await self.pool.execute(
            """INSERT INTO deliveries (tenant, id, notification, user_id, channel, target, state, reason, category,
                   class, lane, bulkhead, planned_at, expires_at, decision, resend, unless)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'orders', 'transactional', 1, 'push/first', $9,
                       now() + interval '1 day', '{}', true, $10)""",
            tenant, delivery, more.get("notification", NTF), user, more.get("channel", "push"), device, state,
            more.get("reason"), LONG_AGO, int(more.get("unless", Mark.NONE)),
        )  # fmt: skip
        await self.pool.execute(
            """INSERT INTO attempts (tenant, delivery, n, token, account, reconcile_at)
               VALUES ($1, $2, 1, 1, 'first', now()), ($1, $2, 2, 1, 'second', now())""",
            tenant,
            delivery,
        )
        await self.pool.execute(
            """INSERT INTO devices (tenant, id, user_id, name, app, kind, platform, address, digest, app_version)
               VALUES ($1, $2::text, $3, $2, 'com.example', 'apns', 'ios', $2, sha256($2::text::bytea), '1.0')""",
            tenant,
            device,
            user,
        )
        return delivery

    def token(self, delivery: UUID, tenant: int = 0) -> str:
        return self.linker.receipt(tenant, delivery)

    async def tell(self, token: str, event: str = "shown", **more: Any) -> Answer:
        return await call(self.app, "POST", HERE, {"receipt": token, "event": event, **more}, token=None)

    async def noted(self) -> list[tuple[str, str]]:
        rows = await self.pool.fetch("SELECT kind, source FROM receipts ORDER BY id")
        return [(row["kind"], row["source"]) for row in rows]

    async def counted(self) -> list[tuple[Any, ...]]:
        rows = await self.pool.fetch("SELECT * FROM push_counts ORDER BY tenant, app_version, what")
        names = ("tenant", "account", "app", "platform", "app_version", "what", "reason", "n")
        return [tuple(row[name] for name in names) for row in rows]

    async def standing(self, delivery: UUID) -> dict[str, Any]:
        row = await self.pool.fetchrow("SELECT * FROM deliveries WHERE id = $1", delivery)
        assert row is not None
        return dict(row)

    async def mask(self) -> Mark:
        return Mark(await self.pool.fetchval("SELECT mask FROM markers") or 0)


@asynccontextmanager
async def opened(store: Pool) -> AsyncIterator[World]:
    """A door over this database."""
    linker = Linker(Secrets(store), "", os.urandom, lambda: 0.0)
    await linker.ready()
    async with door(store) as app:
        yield World(store, app, linker)


async def node(pool: Pool) -> PushReceipts:
    """What takes apps' words on another node, which has the secrets: who comes first is first in the line."""
    linker = Linker(Secrets(pool), "", os.urandom, lambda: 0.0)
    await linker.ready()
    return PushReceipts(pool, linker, Receipts(pool), lambda: datetime.now(UTC), lambda: 0.0)
